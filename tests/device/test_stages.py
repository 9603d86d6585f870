"""A whole run where there is a device: every stage computes there, and its artefacts serve on any machine."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from unittest.mock import patch

import pytest
import torch
from support.pretended_device import pretended_device
from support.tiny_run import write_recipe
from transformers import ModernBertForTokenClassification

from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.whole_files import read_json
from xtremedistil_ner.stages.evaluate_model import evaluate_model
from xtremedistil_ner.stages.pseudolabel import CPU_BATCH_PIECES, pseudolabel_transfer_set
from xtremedistil_ner.tagging.tagger import Tagger

ASKED = (
    "finetune.masked_language_model.updates=2",
    "student.crf=true",
    "train.logit_loss=posterior",
    "evaluate.protocol=paper",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, finished_run):
    """A run that was made on the device, its recipe, and the waits, by the file that asked for them."""
    folder = tmp_path_factory.mktemp("device")
    recipe = load_recipe(write_recipe(folder / "tiny.yaml", finished_run / "corpus"), overrides=ASKED)
    with pretended_device() as waits:
        result = run_pipeline(recipe, folder / "run", tell=silent)
    return folder / "run", recipe, result, {wait.partition(" at ")[2].partition(":")[0] for wait in waits}


def test_every_stage_computes_on_the_device_in_its_precision(made):
    _, _, result, waited = made
    assert [step.state for step in result.steps] == ["done"] * 5
    assert [step.precision for step in result.steps] == [
        "bf16",
        "bf16",
        "bf16, LSTM in float32",
        "teacher in bf16, student in float32",
        "float32",
    ]
    assert {"models/on_device.py", "models/teacher.py", "training/loop.py", "models/student.py"} <= waited
    assert "stages/finetune.py" not in waited


def test_shards_that_other_processes_read_have_the_cpus_bytes(made, tmp_path):
    """Shards of three sentences, so that there are more than are held, in float32 and in the CPU's batches."""
    folder, recipe, *_ = made
    small = recipe.pseudolabel.model_copy(
        update={"shard_sentences": 3, "precision": "float32", "batch_pieces": CPU_BATCH_PIECES}
    )
    recipe = recipe.model_copy(update={"pseudolabel": small})
    stores = []
    for name, place in (("there", pretended_device), ("here", nullcontext)):
        shutil.copytree(folder / "teacher", tmp_path / name / "teacher")
        events = []
        with place(), patch("xtremedistil_ner.models.packed_layers._has_kernels", lambda _: False):
            pseudolabel_transfer_set(recipe, RunFolder(tmp_path / name), "labels", events.append)
        shards = [event for event in events if "sentences/s" in event.metrics]
        assert len(shards) > 2 * 7
        (tmp_path / name / "soft_labels" / shards[5].message.partition(":")[0] / "covered.npy").unlink()
        events.clear()
        with place(), patch("xtremedistil_ner.models.packed_layers._has_kernels", lambda _: False):
            pseudolabel_transfer_set(recipe, RunFolder(tmp_path / name), "labels", events.append)
        assert sum("sentences/s" in event.metrics for event in events) == 1
        labels = tmp_path / name / "soft_labels"
        stores.append({path.relative_to(labels): path.read_bytes() for path in labels.rglob("*") if path.is_file()})
    assert stores[0] == stores[1]


@pytest.mark.parametrize("deterministic", [False, True])
def test_where_memory_runs_out_a_run_with_repeatable_bytes_ends(made, tmp_path, monkeypatch, deterministic):
    """Others go on in smaller batches. Memory holds 40 pieces."""
    folder, recipe, *_ = made
    shutil.copytree(folder / "teacher", tmp_path / "teacher")
    plain, events = ModernBertForTokenClassification.forward, []

    def forward(self, input_ids, **more):
        if input_ids.numel() > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(self, input_ids=input_ids, **more)

    monkeypatch.setattr(ModernBertForTokenClassification, "forward", forward)
    recipe = recipe.model_copy(update={"deterministic": deterministic})
    ends = pytest.raises(torch.OutOfMemoryError) if deterministic else nullcontext()
    with ends:
        pseudolabel_transfer_set(recipe, RunFolder(tmp_path), "labels", events.append)
    said = [event.message for event in events if "memory ran out" in event.message]
    assert bool(said) != deterministic
    assert (tmp_path / "soft_labels" / "manifest.json").exists() != deterministic


def test_one_process_is_taken_for_one_device(made):
    folder, *_ = made
    assert {stage["processes"] for stage in read_json(folder / "timings.json").values()} == {1}


def test_what_was_made_there_is_current_where_there_is_no_device(made):
    folder, recipe, *_ = made
    again = run_pipeline(recipe, folder, processes=1, tell=silent)
    assert [step.state for step in again.steps] == ["reused"] * 5
    assert Tagger.from_pretrained(folder / "export").tag(["Ada Byron lives in Paris ."])


@pytest.mark.parametrize("name", ["student", "teacher", "export"])
def test_its_models_are_scored_alike_on_both(made, finished_run, name):
    folder, *_ = made

    def score():
        options = {"corpus": str(finished_run / "corpus"), "split": "test", "languages": (), "tell": silent}
        return evaluate_model(folder / name, **options)

    with pretended_device() as waits:
        found = score()
    assert bool(waits) == (name != "export"), "an export runs on ONNX Runtime"
    expected = score()
    assert found["macro_f1"] == pytest.approx(expected["macro_f1"], abs=0.05), "the teacher's is in bf16"
