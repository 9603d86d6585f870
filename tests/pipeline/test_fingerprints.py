"""What checkpoints and a student's vocabulary are to the fingerprints: their bytes, wherever they lie."""

from __future__ import annotations

import shutil

import pytest
from support.tiny_teacher import save_bert

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.pipeline.fingerprints import stage_fingerprints
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.stage_table import STAGES


@pytest.fixture
def fingerprints(finished_run):
    def of(*overrides):
        recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
        return stage_fingerprints(recipe, open_corpus(recipe.corpus))

    return of


@pytest.fixture
def checkpoint(tmp_path):
    return save_bert(tmp_path / "bert")


def as_vocabulary(path):
    return (f"student.vocabulary={path}",)


def as_start(path):
    return ("student.kind=transformer", f"student.transformer={{start: checkpoint, checkpoint: {path}}}")


def as_teacher(path):
    return (f"teacher={{checkpoint: {path}}}", "finetune.epochs=0")


def as_voter(path):
    return (f"teacher.voters=[{{checkpoint: {path}}}]",)


STAGES_DECIDED = {as_vocabulary: STAGES[2:], as_start: STAGES[2:], as_teacher: STAGES, as_voter: STAGES}


@pytest.mark.parametrize("use", STAGES_DECIDED)
def test_a_checkpoint_that_moved_invalidates_nothing_and_one_whose_tokenizer_changed_does(
    fingerprints, checkpoint, tmp_path, use
):
    before = fingerprints(*use(checkpoint))
    shutil.copytree(checkpoint, tmp_path / "moved")
    assert fingerprints(*use(tmp_path / "moved")) == before
    path = tmp_path / "moved" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    after = fingerprints(*use(tmp_path / "moved"))
    assert tuple(stage for stage in STAGES if after[stage] != before[stage]) == STAGES_DECIDED[use]


@pytest.mark.parametrize("use", STAGES_DECIDED)
def test_a_checkpoints_lower_casing_decides_what_is_read_with_it(fingerprints, checkpoint, use):
    before = fingerprints(*use(checkpoint))
    (checkpoint / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    after = fingerprints(*use(checkpoint))
    assert tuple(stage for stage in STAGES if after[stage] != before[stage]) == STAGES_DECIDED[use]


def test_a_vocabulary_does_not_depend_on_a_checkpoints_weights_but_a_start_does(fingerprints, checkpoint):
    vocabulary, start = fingerprints(*as_vocabulary(checkpoint)), fingerprints(*as_start(checkpoint))
    (checkpoint / "model.safetensors").write_bytes(b"other weights")
    assert fingerprints(*as_vocabulary(checkpoint)) == vocabulary
    assert fingerprints(*as_start(checkpoint))["train"] != start["train"]


@pytest.mark.parametrize("name", ["vocab.txt", "none/vocab.txt", "./here", "/none", "a/b/c"])
def test_a_vocabulary_that_is_no_hub_id_must_be_there(fingerprints, name):
    with pytest.raises(UsageError, match=r"no such file\. Check student\.vocabulary"):
        fingerprints(f"student.vocabulary={name}")


@pytest.mark.parametrize("name", ["bert-base-multilingual-cased", "google/bert_uncased_L-4_H-256_A-4", "trained"])
def test_a_hub_id_stands_for_itself(fingerprints, name):
    assert fingerprints(f"student.vocabulary={name}") != fingerprints()
