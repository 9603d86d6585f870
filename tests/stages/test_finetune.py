"""A checkpoint with another vocabulary in the finetune stage: its layers stay frozen at first."""

from __future__ import annotations

import pytest
import torch
from support.tiny_run import write_recipe
from support.tiny_teacher import save_bert

from xtremedistil_ner.models.pretrained import load_tokenizer
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.stages.training_job import TrainingJob

NEW_PIECES = ("teacher.vocabulary.frozen_updates=3", "finetune.masked_language_model.updates=2")


@pytest.fixture
def make(finished_run, tmp_path):
    """The run of a teacher that starts from a tiny BERT."""
    checkpoint = save_bert(tmp_path / "bert")

    def run_with(*overrides, until="finetune"):
        recipe = load_recipe(
            write_recipe(tmp_path / "tiny.yaml", finished_run / "corpus"),
            overrides=("teacher.shape=null", f"teacher.checkpoint={checkpoint}", *overrides),
        )
        run_pipeline(recipe, tmp_path / "run", until=until, tell=silent)
        return RunFolder(tmp_path / "run")

    return run_with


def test_a_teacher_reads_the_pieces_of_its_text_and_can_be_distilled(make, tmp_path):
    run = make(*NEW_PIECES, "teacher.vocabulary.vocabulary_size=150", until="evaluate")
    tokens = load_tokenizer(run.teacher).backend_tokenizer.encode("Paris".split(), is_pretokenized=True).tokens
    assert "[UNK]" not in tokens
    assert "[UNK]" in load_tokenizer(tmp_path / "bert").backend_tokenizer.encode("Paris").tokens


def test_layers_are_frozen_in_the_first_phase_alone(make, monkeypatch):
    seen = []
    train = TrainingJob.train

    def watch(job, model, phases, *, checkpoints):
        if checkpoints == "masked":
            before = {name: value.clone() for name, value in model.state_dict().items()}
            train(job, model, phases[:1], checkpoints=checkpoints)
            changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
            seen.append((changed, [phase.updates for phase in phases]))
            return []
        return train(job, model, phases, checkpoints=checkpoints)

    monkeypatch.setattr(TrainingJob, "train", watch)
    make(*NEW_PIECES)
    ((changed, updates),) = seen
    assert updates == [3, 2]
    assert "bert.embeddings.word_embeddings.weight" in changed
    assert not [name for name in changed if "encoder.layer" in name or "position" in name]
