"""Batches that grow with the processes: how many sentences, updates, and at which rate."""

from __future__ import annotations

import json
import math

import pytest
import torch

from xtremedistil_ner.errors import ArtefactError
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.training.budget import LEAST_UPDATES, Budget, note_processes


def test_on_one_process_nothing_changes():
    budget = Budget(32, 5000, 5e-5)
    assert budget.for_processes(1, rows=10**6) == budget


def test_as_many_sentences_are_seen_in_larger_updates_at_a_higher_rate():
    """4 x 32 sentences; 4,999 / 4 updates, rounded up; twice the rate."""
    assert Budget(32, 4999, 5e-5).for_processes(4, rows=10**6) == Budget(128, 1250, pytest.approx(1e-4), factor=4)


@pytest.mark.parametrize(("updates", "factor"), [(LEAST_UPDATES - 1, 1), (3 * LEAST_UPDATES, 3), (10**6, 8)])
def test_a_short_training_keeps_its_least_updates(updates, factor):
    budget = Budget(32, updates, 1.0).for_processes(8, rows=10**6)
    assert (budget.factor, budget.batch_sentences) == (factor, 32 * factor)
    assert budget.updates >= min(updates, LEAST_UPDATES)
    assert budget.learning_rate == math.sqrt(factor)


def test_a_stage_keeps_the_number_of_processes_that_it_was_begun_with(tmp_path):
    """Also if another recipe is begun in between: until that is saved, the first one's checkpoints stay."""
    path, alone = tmp_path / "work" / "processes.json", Processes(0, 1, torch.device("cpu"))
    path.parent.mkdir()
    path.write_text(json.dumps({"job": 2}), encoding="utf-8")
    assert note_processes(path, "job", alone) == 2
    assert note_processes(path, "another job", alone) == 1
    assert note_processes(path, "job", alone) == 2


def test_a_damaged_note_is_named(tmp_path):
    path = tmp_path / "processes.json"
    path.write_text(json.dumps({"job": "two"}), encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"processes\.json: job must be a whole number"):
        note_processes(path, "job", Processes(0, 1, torch.device("cpu")))


def test_a_batch_grows_no_further_than_its_rows():
    """A batch ends with an epoch: 100 rows in batches of 32 are at most three times as large."""
    assert Budget(32, 5000, 1.0).for_processes(8, rows=100).factor == 3
    assert Budget(512, 5000, 1.0).for_processes(8, rows=100).factor == 1
