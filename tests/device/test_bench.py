"""`xner bench --device cuda`: what it times lies on the device."""

from __future__ import annotations

import pytest
from bench.test_run import TINY, settings
from support.pretended_device import pretended_device
from support.tiny_export import make_export
from support.tiny_run import write_corpus

from xtremedistil_ner.bench import label, models, rounds
from xtremedistil_ner.bench.run import run_bench
from xtremedistil_ner.progress import silent


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Run a stage of the benchmark on the pretended device: its record, and the waits by file."""
    monkeypatch.setattr(rounds, "_LEAST_S", 0.0)
    monkeypatch.setattr(label, "_SENTENCES", {"cuda": 12})
    monkeypatch.setitem(models.SHAPES, "tiny", TINY)
    corpus, export = write_corpus(tmp_path / "corpus"), make_export(tmp_path / "tiny", formats=("hf", "onnx"))

    def run(**changes):
        with pretended_device() as waits:
            asked = settings(device="cuda", corpus=str(corpus), **changes)
            record, _ = run_bench([export], asked, tmp_path / "bench", silent)
        return record, {wait.partition(" at ")[2].partition(":")[0] for wait in waits}

    return run


def test_labelling_is_timed_on_the_device(measure):
    record, waited = measure(stage="label")
    assert set(record["sentences_per_s"]) == {record["baseline"], "by length, float32", "by length, bfloat16"}
    assert record["machine"]["processor"] == "a pretended device"
    assert "models/teacher.py" in waited, "labels come back from the device"


def test_training_is_timed_on_the_device(measure):
    _, waited = measure(stage="train", teacher=None, batches=(256,))
    assert "training/loop.py" in waited, "the loss comes back from the device"
