"""AdamW of an embedding table that leaves rows behind, against torch's dense one; the loop that trains with it."""

from __future__ import annotations

import functools
import math
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from xtremedistil_ner.errors import Interrupted
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.progress import silent
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.deferred_adamw import DeferredAdamW, separate_tables
from xtremedistil_ner.training.loop import train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase, Source, learning_rate
from xtremedistil_ner.training.sampling import BatchPlan

ALONE = Processes(0, 1, torch.device("cpu"))
N_PIECES, WIDTH, UPDATES = 120, 4, 200
RATES = [1e-2 * min(1, (update + 1) / 20) * (1 + math.cos(math.pi * update / UPDATES)) / 2 for update in range(UPDATES)]
"""Ten per cent of warm-up, then a cosine to almost zero."""


def make_pair(dtype):
    torch.manual_seed(0)
    table, oracle = (nn.Embedding(N_PIECES, WIDTH, dtype=dtype) for _ in range(2))
    oracle.load_state_dict(table.state_dict())
    return table, oracle


def batches(scale, dtype):
    """Pieces by Zipf's law, so that many rows rest for a hundred updates and some for ever, and what their sum is."""
    random = np.random.default_rng(1)
    share = 1 / np.arange(1, N_PIECES + 1) ** 1.3
    for _ in range(UPDATES):
        pieces = random.choice(N_PIECES, 8, p=share / share.sum())
        yield torch.from_numpy(pieces), torch.from_numpy(random.normal(size=(8, WIDTH)) * scale).to(dtype)


@functools.cache
def train_both(*, scale=1.0, dtype=torch.float64, flushed_after=(), look=lambda *_: None):
    """The table trained by DeferredAdamW and the one trained by torch's AdamW."""
    table, oracle = make_pair(dtype)
    ours, theirs = DeferredAdamW(table, RATES), torch.optim.AdamW(oracle.parameters(), weight_decay=0.0, fused=True)
    with ours.attached():
        for update, (pieces, factors) in enumerate(batches(scale, dtype)):
            table.weight.grad = oracle.weight.grad = None
            looked_up, expected = table(pieces), oracle(pieces)
            look(looked_up, expected)
            for part in range(0, 8, 4):  # two backward passes, as of two sources
                (looked_up[part : part + 4] * factors[part : part + 4]).sum().backward(retain_graph=True)
            (expected * factors).sum().backward()
            touched = ours.touched()
            norms = [nn.utils.clip_grad_norm_(part, 1.0) for part in (touched.weights, oracle.weight)]
            assert torch.allclose(*norms, rtol=1e-6)
            ours.step(touched)
            theirs.param_groups[0]["lr"] = RATES[update]
            theirs.step()
            if update in flushed_after:
                ours.catch_up_all()
    ours.catch_up_all()
    return ours, table.weight.detach(), oracle.weight.detach(), theirs.state[oracle.weight]


@pytest.mark.parametrize(("scale", "tolerance"), [(1.0, 1e-9), (1e-3, 2e-6), (1e-5, 2e-4), (1e-7, 5e-4), (1e-9, 2e-4)])
def test_rows_left_behind_end_where_dense_adamw_has_them(scale, tolerance):
    """In float64 all that differs is the mean of epsilon. Rows move by some tenths, at the last scale by hundredths."""
    ours, table, oracle, moments = train_both(scale=scale)
    assert torch.allclose(table, oracle, rtol=0, atol=tolerance)
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.allclose(ours.state[name], moments[name], rtol=1e-9, atol=0)


def test_in_float32_they_differ_by_rounding():
    _, table, oracle, _ = train_both(dtype=torch.float32)
    assert torch.allclose(table, oracle, rtol=0, atol=1e-5)


def test_a_row_is_caught_up_before_it_is_looked_up():
    differences = []
    train_both(look=lambda ours, theirs: differences.append((ours - theirs).abs().max().item()))
    assert len(differences) == UPDATES
    assert max(differences) < 1e-9


def test_catching_up_in_between_changes_nothing():
    _, straight, _, _ = train_both()
    _, interrupted, _, _ = train_both(flushed_after=(0, 7, 8, 150))
    assert torch.allclose(straight, interrupted, rtol=0, atol=1e-9)


def test_a_row_that_no_batch_looks_up_stays():
    table, _ = make_pair(torch.float32)
    before = table.weight.detach().clone()
    ours = DeferredAdamW(table, RATES)
    with ours.attached():
        for pieces in (torch.tensor([3, 3, 5]), torch.tensor([5])):
            table(pieces).sum().backward()
            ours.step(ours.touched())
    ours.catch_up_all()
    moved = (table.weight != before).any(dim=1).nonzero()[:, 0]
    assert moved.tolist() == [3, 5]


def test_nothing_moves_at_a_rate_of_zero_and_without_a_gradient():
    table, _ = make_pair(torch.float32)
    before = table.weight.detach().clone()
    ours = DeferredAdamW(table, [0.0, 0.0, 0.1])
    with ours.attached():
        table(torch.tensor([1])).sum().backward()
        ours.step(ours.touched())
        table.weight.grad = None
        ours.step(ours.touched())
        ours.catch_up_all()
    assert torch.equal(table.weight, before)


def test_the_table_is_as_it_was_after_the_phase():
    table, _ = make_pair(torch.float32)
    with DeferredAdamW(table, RATES).attached():
        assert table.sparse
    assert not table.sparse
    assert not table._forward_pre_hooks


def test_only_tables_that_nothing_else_reads_are_separate():
    model = nn.ModuleDict(
        {"own": nn.Embedding(3, 2), "frozen": nn.Embedding(3, 2), "tied": nn.Embedding(3, 2), "head": nn.Linear(2, 3)}
    )
    model["head"].weight = model["tied"].weight
    assert list(separate_tables(model, {"own.weight", "tied.weight", "head.weight"})) == ["own.weight"]


class Tagger(nn.Module):
    """A table of 40 pieces, of which a batch sees a few, and a layer over it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.Embedding(40, 3)
        self.dropout = nn.Dropout(0.3)
        self.layer = nn.Linear(3, 2)

    def loss(self, rows):
        return self.layer(self.dropout(self.embeddings(ROWS[rows]))).pow(2).sum()


ROWS = torch.randint(0, 40, (24, 4), generator=torch.Generator().manual_seed(3))
LENGTHS = np.full(24, 4)


def phases_of(model, *, weight_decay=0.0):
    def source(seed):
        return Source(f"rows {seed}", BatchPlan(LENGTHS, batch=3, seed=seed), LENGTHS, model.loss)

    def phase(updates, **options):
        names = frozenset(name for name, _ in model.named_parameters())
        return Phase("a phase", (source(1), source(2)), names, updates, 0.05, patience=9, warmup=0.3, **options)

    def evaluate():
        return {"score": -float(model.loss(np.arange(24)))}

    return [
        phase(4, evaluate=evaluate, evaluate_every=3, weight_decay=weight_decay),
        phase(5, evaluate=None, evaluate_every=3, weight_decay=weight_decay),
    ]


def train(model, phases, folder, *, report=silent, checkpoint_every_s=1e9):
    return train_phases(
        model,
        phases,
        settings=LoopSettings("train", 7, torch.float32, 8, checkpoint_every_s),
        processes=ALONE,
        checkpoints=CheckpointFolder(folder, job="job"),
        report=report,
    )


def bytes_of(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def stop_after(update):
    seen = []

    def report(event):
        seen.extend([event] if event.unit == "updates" else [])
        if len(seen) == update and event.unit == "updates":
            os.kill(os.getpid(), signal.SIGTERM)

    return report


@pytest.mark.parametrize("update", range(1, 10))
def test_a_job_that_stops_with_rows_behind_ends_with_the_same_bytes(tmp_path, update):
    undisturbed, stopped, again = Tagger(), Tagger(), Tagger()
    looks = train(undisturbed, phases_of(undisturbed), tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train(stopped, phases_of(stopped), tmp_path / "stopped", report=stop_after(update))
    assert train(again, phases_of(again), tmp_path / "stopped") == looks
    assert bytes_of(again) == bytes_of(undisturbed)


def test_how_often_checkpoints_are_written_changes_nothing(tmp_path):
    seldom, often = Tagger(), Tagger()
    train(seldom, phases_of(seldom), tmp_path / "seldom")
    train(often, phases_of(often), tmp_path / "often", checkpoint_every_s=0)
    assert bytes_of(seldom) == bytes_of(often)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_loop_trains_a_table_as_a_plain_loop_with_dense_adamw_does(tmp_path, weight_decay):
    model, oracle = Tagger(), Tagger()
    model.dropout.p = oracle.dropout.p = 0.0
    (_, phase), (_, expected) = (phases_of(network, weight_decay=weight_decay) for network in (model, oracle))
    train(model, [phase], tmp_path)
    optimizer = torch.optim.AdamW(oracle.parameters(), weight_decay=weight_decay)
    for update in range(phase.updates):
        optimizer.param_groups[0]["lr"] = learning_rate(phase, update)
        optimizer.zero_grad()
        for source in expected.sources:
            (source.loss(source.plan.rows(update)) / 12).backward()
        nn.utils.clip_grad_norm_(oracle.parameters(), 1.0)
        optimizer.step()
    for ours, other in zip(model.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(ours, other, rtol=0, atol=1e-6)
