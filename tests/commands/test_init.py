"""`xner init`: a recipe for a corpus of the user's own, which `xner distil` takes as it is."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest
from support import tiny_teacher
from support.command_line import run_xner
from support.tiny_run import write_corpus

from xtremedistil_ner.pipeline import new_recipe
from xtremedistil_ner.recipe.reader import load_recipe


@pytest.fixture
def xner(monkeypatch, capfd, tmp_path):
    """Run the command line in an empty folder; give its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    return partial(run_xner, monkeypatch, capfd)


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "my-corpus")


@pytest.fixture
def text(tmp_path):
    (tmp_path / "my-text").mkdir()
    (tmp_path / "my-text" / "en.txt").write_text("Ada Byron lives in Oslo .\nAlan came\n", encoding="utf-8")
    return tmp_path / "my-text"


def test_five_commands_lead_from_a_folder_to_tagged_text_and_each_names_the_next(
    xner, corpus, text, monkeypatch, tmp_path
):
    monkeypatch.setattr(new_recipe, "_LEAST_UPDATES", 10)
    monkeypatch.setattr(tiny_teacher, "WIDTH", 48)
    tiny_teacher.save_bert(tmp_path / "encoder")
    Path("some.txt").write_text("Ada Byron lives in Oslo .\n", encoding="utf-8")
    code, _, err = xner("corpus", "check", "my-corpus")
    assert (code, "xner init DIR --corpus my-corpus" in err) == (0, True)
    options = ("--text", "my-text", "--teacher", "encoder", "--vocabulary", "trained", "--student", "tiny")
    code, _, err = xner("init", "mine", "--corpus", "my-corpus", *options)
    assert (code, "xner distil mine/recipe.yaml --dry-run" in err) == (0, True)
    code, _, err = xner("distil", "mine/recipe.yaml", "--dry-run")
    assert (code, "the same command without --dry-run" in err) == (0, True)
    code, _, err = xner("distil", "mine/recipe.yaml", "--processes", 1)
    assert (code, "Next: xner tag runs/mine/export FILE" in err) == (0, True), err
    code, out, _ = xner("tag", "runs/mine/export", "some.txt", "--format", "jsonl")
    assert code == 0
    assert json.loads(out)["text"] == "Ada Byron lives in Oslo ."
    assert isinstance(json.loads(out)["entities"], list)


def test_the_recipe_has_absolute_paths_and_a_budget_that_follows_from_the_corpus(xner, corpus, text):
    code, out, _ = xner("init", "a b/mine?", "--corpus", "my-corpus", "--text", "my-text", "--teacher", "org/encoder")
    assert code == 0
    assert "2 languages (en, no), types LOC, ORG, PER, 48 training sentences, 50 sentences to label" in out
    recipe = load_recipe("a b/mine?/recipe.yaml")
    assert (recipe.name, recipe.corpus.path, recipe.transfer.path) == ("mine", str(corpus), str(text))
    assert (recipe.teacher.checkpoint, recipe.finetune.epochs, recipe.train.updates) == ("org/encoder", 10, 200)


def test_a_recipe_needs_neither_text_nor_encoder(xner, corpus):
    Path("vocab.txt").write_text("[PAD]\n[UNK]\n", encoding="utf-8")
    options = ("--teacher", "scratch", "--vocabulary", "vocab.txt", "--student", "large")
    assert xner("init", "mine", "--corpus", corpus, *options)[0] == 0
    recipe = load_recipe("mine/recipe.yaml")
    assert recipe.teacher.shape.vocabulary == str(Path("vocab.txt").absolute())
    assert (recipe.transfer.path, recipe.student.vocabulary, recipe.student.hidden_width) == (None, None, 600)


def test_raw_text_beside_the_corpus_is_taken_and_a_missing_test_split_is_not_scored(xner, corpus):
    (corpus / "en.txt").write_text("Alan came\n", encoding="utf-8")
    for language in ("en", "no"):
        (corpus / language / "test.tsv").unlink()
    assert xner("init", "mine", "--corpus", corpus)[0] == 0
    recipe = load_recipe("mine/recipe.yaml")
    assert (recipe.transfer.path, recipe.evaluate.splits) == (str(corpus), ("dev",))


def test_a_teacher_without_word_pieces_gets_a_student_with_pieces_of_its_own(xner, corpus, tmp_path):
    tiny_teacher.save_xlm_roberta(tmp_path / "xlmr")
    assert xner("init", "mine", "--corpus", corpus, "--teacher", "xlmr")[0] == 0
    assert load_recipe("mine/recipe.yaml").student.vocabulary == "trained"


def test_a_recipe_is_not_written_over(xner, corpus):
    Path("mine").mkdir()
    Path("mine/recipe.yaml").write_text("name: old\n", encoding="utf-8")
    code, _, err = xner("init", "mine", "--corpus", corpus)
    assert (code, "there is a recipe" in err) == (2, True)
    assert Path("mine/recipe.yaml").read_text(encoding="utf-8") == "name: old\n"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "--corpus is missing."),
        (("--corpus", "nowhere"), 3, "nowhere: no such folder"),
        (("--corpus", "my-corpus", "--text", "my-corpus"), 3, "no text of en, no"),
        (("--corpus", "my-corpus", "--teacher", "./nowhere"), 2, "--teacher ./nowhere: no such folder."),
        (("--corpus", "my-corpus", "--vocabulary", "vocab.txt"), 2, "--vocabulary vocab.txt: no such file."),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(xner, corpus, monkeypatch, options, code, message):
    monkeypatch.setattr(sys, "stdin", None)
    found, _, err = xner("init", "mine", *options)
    assert (found, message in err) == (code, True), err
    assert not Path("mine").exists()


def test_a_corpus_without_a_dev_split_gets_no_recipe(xner, corpus):
    for language in ("en", "no"):
        (corpus / language / "dev.tsv").unlink()
    code, _, err = xner("init", "mine", "--corpus", corpus)
    assert (code, "no language has a dev split" in err) == (3, True)
