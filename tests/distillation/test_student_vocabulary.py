"""A student's pieces: whose vocabulary it is, what is learnt, and what is pruned."""

from __future__ import annotations

import pytest
from support.tiny_teacher import BERT_PIECES, load
from transformers import BertTokenizer

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.distillation.student_vocabulary import student_tokenizer
from xtremedistil_ner.errors import ModelError, RecipeError
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES
from xtremedistil_ner.processes.world import current_processes
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.soft_labels import open_store


@pytest.fixture
def tokenizer_of(finished_run, tmp_path):
    """The tokenizer of a recipe's student, over the text of a finished run."""

    def make(teacher, *overrides):
        recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
        store = open_store(RunFolder(finished_run / "run").soft_labels)
        options = {"work": tmp_path / "work", "fingerprint": str(overrides), "processes": current_processes()}
        options["tell"] = silent
        return student_tokenizer(
            recipe.student, open_corpus(recipe.corpus), store, teacher.encoder.tokenizer, **options
        )

    return make


def lower_casing_folder(folder):
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL_PIECES, "ada", "paris", "##s"]) + "\n", encoding="utf-8")
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def test_a_checkpoints_vocabulary_comes_with_its_lower_casing(tokenizer_of, bert_folder, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    lower_casing_folder(folder)
    tokenizer, lowercase = tokenizer_of(
        load(bert_folder), f"student.vocabulary={folder}", "student.prune_vocabulary=false"
    )
    assert lowercase is True
    assert sorted(tokenizer.get_vocab()) == sorted([*SPECIAL_PIECES, "ada", "paris", "##s"])
    assert tokenizer.encode(["PARIS"], is_pretokenized=True).tokens == ["paris"]


def test_a_vocabulary_file_is_cased_unless_the_recipe_says_otherwise(tokenizer_of, bert_folder, tmp_path):
    lower_casing_folder(tmp_path)
    given = f"student.vocabulary={tmp_path / 'vocab.txt'}"
    assert tokenizer_of(load(bert_folder), given)[1] is False
    assert tokenizer_of(load(bert_folder), given, "student.lowercase=true")[1] is True


def test_a_trained_vocabulary_covers_the_text_within_its_size(tokenizer_of, xlm_roberta_folder):
    overrides = ("student.vocabulary=trained", "student.vocabulary_size=120")
    tokenizer, _ = tokenizer_of(load(xlm_roberta_folder), *overrides)
    assert len(SPECIAL_PIECES) + 20 < tokenizer.get_vocab_size() <= 120
    assert (
        "[UNK]" not in tokenizer.encode("Emmy Noether of Red Cross left Paris !".split(), is_pretokenized=True).tokens
    )
    again, _ = tokenizer_of(load(xlm_roberta_folder), *overrides)
    assert again.get_vocab() == tokenizer.get_vocab()


def test_rare_pieces_of_a_trained_vocabulary_are_pruned_by_count(tokenizer_of, bert_folder):
    common, _ = tokenizer_of(load(bert_folder), "student.vocabulary=trained", "student.min_piece_count=9")
    every, _ = tokenizer_of(load(bert_folder), "student.vocabulary=trained")
    longer = [{piece for piece in found.get_vocab() if len(piece.removeprefix("##")) > 1} for found in (common, every)]
    assert longer[0] < longer[1]


@pytest.mark.parametrize("given", ["", "student.vocabulary={folder}"])
def test_a_sentence_piece_vocabulary_is_refused_with_what_to_give(tokenizer_of, xlm_roberta_folder, given):
    overrides = [given.format(folder=xlm_roberta_folder)] if given else []
    with pytest.raises(RecipeError, match=r"no WordPiece vocabulary to share\. Give `trained` .* vocab\.txt"):
        tokenizer_of(load(xlm_roberta_folder), *overrides)


def test_lower_casing_is_not_asked_of_a_cased_tokenizer(tokenizer_of, bert_folder, tmp_path):
    teacher = load(bert_folder)
    with pytest.raises(RecipeError, match=r"student\.lowercase: .* cased tokenizer"):
        tokenizer_of(teacher, "student.lowercase=true")
    (tmp_path / "uncased").mkdir()
    uncased = lower_casing_folder(tmp_path / "uncased")
    assert tokenizer_of(teacher, "student.lowercase=true", f"student.vocabulary={uncased}")[1] is True


def test_a_vocabulary_that_is_nowhere_is_named(tokenizer_of, bert_folder):
    with pytest.raises(ModelError, match="nobody/nothing"):
        tokenizer_of(load(bert_folder), "student.vocabulary=nobody/nothing")


def test_a_transformer_from_a_checkpoint_takes_its_vocabulary_and_special_rows(
    tokenizer_of, bert_folder, xlm_roberta_folder
):
    start = f"student.transformer={{start: checkpoint, checkpoint: {bert_folder}}}"
    overrides = ("student.kind=transformer", start, "student.prune_vocabulary=false")
    tokenizer, _ = tokenizer_of(load(xlm_roberta_folder), *overrides)
    assert set(tokenizer.get_vocab()) == set(BERT_PIECES)
    assert tokenizer.encode(["ab"], is_pretokenized=True).tokens == ["[CLS]", "ab", "[SEP]"]
