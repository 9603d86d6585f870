"""Updates on 2, 3 and 4 real processes that talk through gloo: sums of gradients, lack of memory, resumed jobs.

A launch takes some seconds of imports, so that one launch of each number of processes does everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from xtremedistil_ner.errors import CheckpointError, ResourceError
from xtremedistil_ner.processes.world import Processes, current_processes
from xtremedistil_ner.progress import silent
from xtremedistil_ner.training import gradient_sum
from xtremedistil_ner.training.checkpoints import CheckpointFolder, TrainingState
from xtremedistil_ner.training.gradient_sum import GradientSum
from xtremedistil_ner.training.launch import launch
from xtremedistil_ner.training.loop import step_gradients, train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase, Source
from xtremedistil_ner.training.sampling import BatchPlan

COUNTS = (2, *(pytest.param(count, marks=pytest.mark.slow) for count in (3, 4)))
N_ROWS, PIECES, UPDATES = 13, 700, 8
LENGTHS = np.random.default_rng(3).integers(1, 9, N_ROWS)
"""Pieces of each row, one word each."""
ROWS = [np.random.default_rng(row).integers(1, PIECES, length) for row, length in enumerate(LENGTHS)]
LARGEST = 10**6


class Model(nn.Module):
    """A table of which rows are touched, one that is touched whole, small weights, and one that nothing reads."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(PIECES, 3)
        self.whole = nn.Embedding(300, 3)
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)
        self.unread = nn.Parameter(torch.zeros(4))
        self.dropout = nn.Dropout(dropout)

    def loss(self, rows: np.ndarray) -> torch.Tensor:
        pieces = torch.from_numpy(np.concatenate([ROWS[row] for row in rows]))
        states = self.dropout(torch.tanh(self.first(self.table(pieces) + self.whole.weight.mean(dim=0))))
        return self.second(states).pow(2).sum()


def make_model(dropout: float = 0.0) -> Model:
    torch.manual_seed(0)
    return Model(dropout)


def make_source(model: Model, batch: int, loss: Callable[[np.ndarray], torch.Tensor] | None = None) -> Source:
    return Source("rows", BatchPlan(LENGTHS, batch=batch, seed=2), LENGTHS, loss or model.loss)


def settings_with(micro_batch_pieces: int, *, checkpoint_every_s: float = 0.0) -> LoopSettings:
    return LoopSettings("train", 1, torch.float32, micro_batch_pieces, checkpoint_every_s)


def gradients(batch: int, processes: Processes, *, is_summed: bool = True) -> dict[str, torch.Tensor | None]:
    """Gradients of one update, in small passes; of this process alone unless they are summed."""
    model = make_model()
    loss = step_gradients((make_source(model, batch),), update=0, settings=settings_with(10), processes=processes)
    if is_summed:
        loss = GradientSum(model, list(model.parameters()), processes).add_up(loss)
    return {**{name: parameter.grad for name, parameter in model.named_parameters()}, "loss": loss}


class Killed(Exception):
    """Stands for a kill: raised in every process before it sends anything of an update, which has rows for all."""


@dataclass
class Job:
    """A training of a few updates, which may be cut off, in a memory that may be too small."""

    folder: Path
    processes: Processes
    micro_batch_pieces: int = LARGEST
    too_large_at: int | None = None
    """From this update on, a pass of `too_large_from` pieces does not fit into the memory of the last process."""
    too_large_from: int = 13
    lacks: int = LARGEST
    """Number of times that memory runs out."""
    checkpoint_every_s: float = 0.0

    def train(self, *, killed_at: int | None = None, tell=silent) -> dict[str, torch.Tensor]:
        """The weights, and the losses of the looks, one of them in the middle, of a job that was not killed."""
        model, done = make_model(dropout=0.3), {"updates": 0}
        checkpoints = CheckpointFolder(self.folder / "checkpoints", fingerprint="job")
        saved = checkpoints.load_newest()
        done["updates"] = saved[0].total if saved else 0

        def loss(rows):
            if done["updates"] == killed_at:
                raise Killed
            is_last = self.processes.rank == self.processes.count - 1
            too_large = len(rows) * LENGTHS[rows].max() >= self.too_large_from
            is_time = self.too_large_at is not None and done["updates"] >= self.too_large_at
            if is_time and is_last and too_large and self.lacks:
                self.lacks -= 1
                raise torch.OutOfMemoryError("tried to allocate 1 PiB")
            return model.loss(rows)

        def note(event):
            done["updates"] += event.unit == "updates"
            tell(event)

        names = frozenset(name for name, _ in model.named_parameters())
        source = make_source(model, 12, loss)
        phase = Phase("a phase", (source,), names, UPDATES, 0.05, evaluate=None, evaluate_every=4, patience=1)
        looks = []
        try:
            looks = train_phases(
                model,
                [phase],
                settings=settings_with(self.micro_batch_pieces, checkpoint_every_s=self.checkpoint_every_s),
                processes=self.processes,
                checkpoints=checkpoints,
                tell=note,
            )
        except Killed:
            self.processes.barrier()  # a new start would find the last checkpoint as well
        losses = torch.tensor([look["loss"] for look in looks], dtype=torch.float64)
        return {**{name: value.detach().clone() for name, value in model.state_dict().items()}, "losses": losses}


def run_out_of_memory(folder, processes):
    """Weights of several jobs, and what the first one said of its memory, which is too small from update 2 on."""
    events = []
    found = {"whole": Job(folder / "whole", processes, too_large_at=2).train(tell=events.append)}
    said = [event.message for event in events if "memory" in event.message]
    cut = Job(folder / "cut", processes, too_large_at=2)
    for killed_at in (0, 2, 4):
        cut.train(killed_at=killed_at)
    found["cut"] = cut.train()
    smaller = Job(folder / "smaller", processes)
    smaller.train(killed_at=2)
    pieces = int(said[-1].partition("at most ")[2].split()[0])
    found["smaller passes from update 2 on"] = replace(smaller, micro_batch_pieces=pieces).train()
    found["enough memory"] = Job(folder / "enough", processes).train()
    found["too little for a moment"] = Job(folder / "moment", processes, too_large_at=2, lacks=1).train()
    unsaved = Job(folder / "unsaved", processes, too_large_at=2, checkpoint_every_s=1e9)
    unsaved.train(killed_at=4)
    found["enough after a kill"] = replace(unsaved, too_large_at=None).train()
    return found, said


def fails(function):
    """The type and the words of an error."""
    try:
        function()
    except Exception as error:
        return type(error), str(error)
    return None


def lack_memory_for_a_row(folder, processes):
    """What ends a job whose memory does not hold one row."""
    job = Job(folder / "no-memory", processes, too_large_at=0)
    job.too_large_from = 1
    return fails(job.train)


def see_another_checkpoint(folder, processes):
    """What ends a job of which the last process sees an older checkpoint than the others."""
    own = folder / f"disk-{processes.rank}"
    behind = processes.rank == processes.count - 1
    state = TrainingState(update=2 if behind else 5, total=2 if behind else 5)
    CheckpointFolder(own / "checkpoints", fingerprint="job").save(state, {})
    return fails(Job(own, processes).train)


def do_everything(folder):
    processes = current_processes()
    gradient_sum._BUCKET_BYTES = 64  # three buckets of small weights, one of them with a single tensor
    found = {
        "gradients": gradients(12, processes),
        "fewer rows than processes": gradients(1, processes),
        "memory": run_out_of_memory(folder, processes),
        "no memory": lack_memory_for_a_row(folder, processes),
        "other checkpoint": see_another_checkpoint(folder, processes),
    }
    torch.save(found, folder / f"found-{processes.rank}.pt")


@pytest.fixture(scope="module", params=COUNTS)
def found(request, tmp_path_factory):
    """What each of some processes found."""
    count, folder = request.param, tmp_path_factory.mktemp("processes")
    launch(do_everything, (folder,), count=count, run_folder=folder)
    return [torch.load(folder / f"found-{rank}.pt", weights_only=False) for rank in range(count)]


def alone(rank=0, count=1):
    return Processes(rank, count, torch.device("cpu"))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    differ = [
        name for name, value in expected.items() if value is not found[name] and not torch.equal(found[name], value)
    ]
    assert differ == []


@pytest.mark.parametrize(("name", "batch"), [("gradients", 12), ("fewer rows than processes", 1)])
def test_gradients_are_the_sum_of_the_shares_the_same_in_every_process(found, name, batch):
    """The shares have unequal numbers of rows and words; those of the table are added up in the processes' order."""
    for other in found[1:]:
        assert_same(other[name], found[0][name])
    shares = [gradients(batch, alone(rank, len(found)), is_summed=False) for rank in range(len(found))]
    for parameter, summed in found[0][name].items():
        parts = [share[parameter] for share in shares if share[parameter] is not None]
        if not parts:
            assert (parameter, summed) == ("unread", None), "as on one process"
            continue
        total = sum(parts, start=torch.zeros_like(summed))
        assert torch.allclose(summed, total, rtol=1e-5, atol=1e-7)
        if parameter == "table.weight":
            assert torch.equal(summed, total)
            assert 0 < int((summed != 0).any(dim=1).sum()) < PIECES / len(found), "else it was not exchanged by rows"
    whole = gradients(batch, alone(), is_summed=False)
    for parameter in ("table.weight", "whole.weight", "first.weight", "second.bias"):
        assert torch.allclose(found[0][name][parameter], whole[parameter], rtol=1e-4, atol=1e-6)
    assert whole["unread"] is None


def check_memory(weights, said):
    assert weights["whole"]["losses"].shape == (2,)
    assert_same(weights["cut"], weights["whole"])
    assert_same(weights["smaller passes from update 2 on"], weights["whole"])
    assert not torch.equal(weights["enough memory"]["table.weight"], weights["whole"]["table.weight"]), "shows nothing"
    assert_same(weights["too little for a moment"], weights["enough memory"])
    assert_same(weights["enough after a kill"], weights["whole"])
    again, *smaller = said
    assert again == "memory ran out in update 3: it begins again"
    assert all(message.startswith("memory ran out in update 3: passes of at most ") for message in smaller)


def test_where_one_process_runs_out_of_memory_all_begin_the_update_again_with_smaller_passes(found):
    """Also after kills before, in and after that update: the size of the passes is part of the state, saved at once."""
    for own in found:
        weights, said = own["memory"]
        check_memory(weights, said)
        assert_same(weights["whole"], found[0]["memory"][0]["whole"])
        assert len(said) > 1


def test_one_process_begins_an_update_again_with_smaller_passes(tmp_path):
    weights, said = run_out_of_memory(tmp_path, alone())
    check_memory(weights, said)
    assert len(said) == 1 + 3, "84 pieces, once more, then halved until they are at most 12"


def test_a_row_that_does_not_fit_ends_all_processes(found, tmp_path):
    *others, last = [own["no memory"] for own in found]
    assert last == (torch.OutOfMemoryError, "tried to allocate 1 PiB")
    assert {error for error, _ in others} == {ResourceError}
    assert lack_memory_for_a_row(tmp_path, alone()) == last


def test_processes_that_see_different_checkpoints_all_end_with_the_same_words(found):
    errors = [own["other checkpoint"] for own in found]
    assert {error for error, _ in errors} == {CheckpointError}
    for _, words in errors:
        assert (
            f"process {len(found) - 1} is at update 2 (phase 0, update 2 of it), the main process at update 5" in words
        )
        assert "All machines need to see one run folder" in words
