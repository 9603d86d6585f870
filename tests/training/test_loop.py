"""The training loop on a network of 24 weights: gradients, resuming, selection, stopping."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from xtremedistil_ner.errors import Interrupted, ModelError
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.progress import silent
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.loop import micro_batches, step_gradients, train_phases
from xtremedistil_ner.training.phases import LoopSettings, PassCost, Phase, Source, learning_rate
from xtremedistil_ner.training.sampling import BatchPlan

ALONE = Processes(0, 1, torch.device("cpu"))
N_ROWS, WIDTH, N_TAGS = 17, 3, 3
LENGTHS = np.random.default_rng(1).integers(1, 7, N_ROWS)
"""Words of each row, which are its pieces too."""
ENDS = np.cumsum(LENGTHS)
FEATURES = torch.randn(int(ENDS[-1]), WIDTH, generator=torch.Generator().manual_seed(2))
TAGS = torch.randint(0, N_TAGS, (int(ENDS[-1]),), generator=torch.Generator().manual_seed(3))


def make_model(*, dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 3), nn.Tanh(), nn.Dropout(dropout), nn.Linear(3, N_TAGS))


def words_of(rows):
    return np.concatenate([np.arange(ENDS[row] - LENGTHS[row], ENDS[row]) for row in rows])


def summed_loss(model, rows):
    words = words_of(rows)
    return functional.cross_entropy(model(FEATURES[words]), TAGS[words], reduction="sum")


def make_source(model, *, batch=8, weight=1.0, seed=5):
    plan = BatchPlan(LENGTHS, batch=batch, seed=seed)
    return Source("tags", plan, LENGTHS, lambda rows: summed_loss(model, rows), weight)


def make_phase(model, *, trained=("0.", "3."), **options):
    names = frozenset(name for name, _ in model.named_parameters() if name.startswith(trained))
    values = {"updates": 6, "learning_rate": 0.05, "evaluate_every": 2, "patience": 9, "evaluate": None}
    source = make_source(model, batch=options.pop("batch", 8))
    return Phase(name="a phase", sources=(source,), trained=names, **{**values, **options})


def negative_loss(model):
    return lambda: {"score": -float(summed_loss(model, range(N_ROWS)))}


def two_phases(model):
    """The last layer, then all of it: a change of parameters and of optimiser, a look at dev at every other update."""
    evaluate = negative_loss(model)
    return [
        make_phase(model, trained=("3.",), updates=3, evaluate=evaluate),
        make_phase(model, updates=5, evaluate=evaluate, weight_decay=0.1),
    ]


def settings_with(*, micro_batch_pieces=10**6, checkpoint_every_s=1e9):
    return LoopSettings("train", 7, torch.float32, micro_batch_pieces, checkpoint_every_s)


def train(model, phases, folder, *, checkpoint_every_s=1e9, fingerprint="job", tell=silent, micro_batch_pieces=10**6):
    return train_phases(
        model,
        phases,
        settings=settings_with(checkpoint_every_s=checkpoint_every_s, micro_batch_pieces=micro_batch_pieces),
        processes=ALONE,
        checkpoints=CheckpointFolder(folder, fingerprint=fingerprint),
        tell=tell,
    )


def bytes_of(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def stop_after(update, number=signal.SIGTERM):
    """A reporter that sends this process a signal when so many updates are done, over all phases."""
    seen = []

    def report(event):
        if event.unit == "updates":
            seen.append(event)
            if len(seen) == update:
                os.kill(os.getpid(), number)

    return report


@pytest.mark.parametrize("micro_batch_pieces", [1, 7, 13, 10**6])
def test_an_updates_gradient_is_that_of_the_summed_loss_over_its_words(micro_batch_pieces):
    """One step of SGD at rate 1 moves every weight by the gradient itself; Adam would hide its scale."""
    model, oracle = make_model(), make_model()
    source = make_source(model)
    for update in range(4):
        rows = source.plan.rows(update)
        model.zero_grad()
        oracle.zero_grad()
        total = step_gradients(
            (source,), update=update, settings=settings_with(micro_batch_pieces=micro_batch_pieces), processes=ALONE
        )
        expected = summed_loss(oracle, rows) / LENGTHS[rows].sum()
        expected.backward()
        assert total.item() == pytest.approx(expected.item(), rel=1e-5)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        torch.optim.SGD(model.parameters(), lr=1.0).step()
        for old, new, other in zip(before, model.parameters(), oracle.parameters(), strict=True):
            assert torch.allclose(old - new, other.grad, atol=1e-6)
        model.load_state_dict(oracle.state_dict())


def test_the_shares_of_processes_add_up_to_the_gradient_of_one():
    model, oracle = make_model(), make_model()
    step_gradients((make_source(oracle),), update=1, settings=settings_with(), processes=ALONE)
    for rank in range(3):  # gradients of one network add up over backward passes as they do over processes
        share = Processes(rank, 3, torch.device("cpu"))
        step_gradients((make_source(model),), update=1, settings=settings_with(micro_batch_pieces=9), processes=share)
    for ours, other in zip(model.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(ours.grad, other.grad, atol=1e-6)


def test_sources_are_each_divided_by_their_own_words_and_added_with_their_weights():
    model, oracle = make_model(), make_model()
    sources = (make_source(model, batch=4), make_source(model, batch=9, weight=0.25, seed=6))
    step_gradients(sources, update=0, settings=settings_with(), processes=ALONE)
    for source in sources:
        rows = source.plan.rows(0)
        (summed_loss(oracle, rows) * source.weight / LENGTHS[rows].sum()).backward()
    for ours, other in zip(model.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(ours.grad, other.grad, atol=1e-6)


def test_with_words_per_row_a_word_counts_the_same_in_every_batch():
    model, oracle = make_model(), make_model()
    source = replace(make_source(model), words_per_row=2.5)
    for update in range(2):  # gradients of two batches of other numbers of words
        step_gradients((source,), update=update, settings=settings_with(), processes=ALONE)
        (summed_loss(oracle, source.plan.rows(update)) / (8 * 2.5)).backward()
    assert len({int(LENGTHS[source.plan.rows(update)].sum()) for update in range(2)}) == 2
    for ours, other in zip(model.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(ours.grad, other.grad, atol=1e-6)


@pytest.mark.parametrize("budget", [1, 6, 11, 1000])
def test_micro_batches_hold_every_row_once_and_keep_to_the_budget(budget):
    rows = np.random.default_rng(0).permutation(N_ROWS)
    parts = list(micro_batches(rows, LENGTHS[rows], budget))
    assert sorted(np.concatenate(parts).tolist()) == list(range(N_ROWS))
    assert all(len(part) * LENGTHS[part].max() <= max(budget, LENGTHS[part].max()) for part in parts)


def takes(parts, cost):
    """What passes over rows of such lengths take, in padded pieces."""
    return sum(cost.per_pass + max(part) * (cost.per_column + len(part)) for part in parts)


@pytest.mark.parametrize(("per_pass", "per_column"), [(0, 0), (3, 1), (20, 0), (5, 9), (1000, 1000)])
@pytest.mark.parametrize("budget", [12, 10**6])
def test_passes_are_cut_where_that_is_cheapest(per_pass, per_column, budget):
    """Against all 2^8 ways to cut nine sorted rows of six lengths. The small budget is kept."""
    lengths = np.array([1, 2, 2, 2, 3, 4, 4, 6, 9])
    cost = PassCost(per_pass, per_column, most_pieces=10**6)
    parts = [lengths[rows].tolist() for rows in micro_batches(np.arange(9), lengths, budget, cost=cost)]
    assert [length for part in parts for length in part] == lengths.tolist()
    assert all(len(part) * max(part) <= budget for part in parts)
    if budget > lengths.sum() * 9:
        cuts = [np.flatnonzero([choice >> place & 1 for place in range(8)]) + 1 for choice in range(2**8)]
        assert takes(parts, cost) == min(takes([p.tolist() for p in np.split(lengths, cut)], cost) for cut in cuts)


def test_rows_of_two_lengths_share_a_pass_where_its_cost_outweighs_the_padding():
    """6 pieces of padding against a pass that costs as much as 8: the example beside the code."""
    cost = PassCost(per_pass=8, per_column=0, most_pieces=10**6)
    parts = micro_batches(np.arange(6), np.array([3, 3, 3, 5, 5, 8]), 24, cost=cost)
    assert [rows.tolist() for rows in parts] == [[0, 1, 2], [3, 4, 5]]


def test_a_pass_holds_no_more_pieces_than_it_is_fast_with():
    cost = PassCost(per_pass=1000, per_column=0, most_pieces=20)
    parts = list(micro_batches(np.arange(9), np.full(9, 5), 10**6, cost=cost))
    assert [len(part) for part in parts] == [3, 3, 3]
    assert [rows.tolist() for rows in micro_batches(np.arange(2), np.full(2, 50), 10, cost=cost)] == [[0], [1]]


def test_layers_that_a_phase_does_not_train_do_not_move(tmp_path):
    model = make_model()
    before = bytes_of(model)
    train(model, [make_phase(model, trained=("3.",), weight_decay=0.5)], tmp_path)
    moved = {name for name, value in bytes_of(model).items() if value != before[name]}
    assert moved == {"3.weight", "3.bias"}


def test_training_lowers_the_loss(tmp_path):
    model = make_model()
    before = summed_loss(model, range(N_ROWS)).item()
    train(model, [make_phase(model, updates=40)], tmp_path)
    assert summed_loss(model, range(N_ROWS)).item() < 0.9 * before


@pytest.mark.parametrize("update", range(1, 9))
def test_a_job_interrupted_at_any_update_ends_with_the_same_bytes(tmp_path, update):
    """Eight updates in two phases, with dropout, in micro-batches of different random state."""
    undisturbed = make_model(dropout=0.4)
    looks = train(undisturbed, two_phases(undisturbed), tmp_path / "undisturbed", micro_batch_pieces=9)
    model = make_model(dropout=0.4)
    with pytest.raises(Interrupted, match=f"update {update}"):
        train(model, two_phases(model), tmp_path / "stopped", tell=stop_after(update), micro_batch_pieces=9)
    again = make_model(dropout=0.4)
    assert train(again, two_phases(again), tmp_path / "stopped", micro_batch_pieces=9) == looks
    assert bytes_of(again) == bytes_of(undisturbed)


def test_a_job_interrupted_at_every_update_ends_with_the_same_bytes(tmp_path):
    undisturbed = make_model(dropout=0.4)
    looks = train(undisturbed, two_phases(undisturbed), tmp_path / "undisturbed")
    for _ in range(8):
        model = make_model(dropout=0.4)
        with pytest.raises(Interrupted):
            train(model, two_phases(model), tmp_path / "stopped", tell=stop_after(1))
    model = make_model(dropout=0.4)
    assert train(model, two_phases(model), tmp_path / "stopped") == looks
    assert bytes_of(model) == bytes_of(undisturbed)


@pytest.mark.parametrize("update", [3, 5])
def test_the_best_weights_survive_an_interruption(tmp_path, update):
    """The score falls as the model learns, so the weights of the first look win."""
    model = make_model()
    first = bytes_of(model)

    def phases(model):
        return [make_phase(model, evaluate=lambda: {"score": float(summed_loss(model, range(N_ROWS)))})]

    with pytest.raises(Interrupted):
        train(model, phases(model), tmp_path, tell=stop_after(update))
    again = make_model()
    looks = train(again, phases(again), tmp_path)
    assert looks[0]["score"] > max(look["score"] for look in looks[1:])
    assert bytes_of(again) == first


def test_random_state_differs_between_updates_processes_sources_and_micro_batches():
    model = make_model()
    seeds = []

    def loss(rows):
        seeds.append(torch.initial_seed())
        return summed_loss(model, rows)

    def run():
        seeds.clear()
        source = replace(make_source(model), loss=loss)
        for update in range(3):
            for rank in range(2):
                share = Processes(rank, 2, torch.device("cpu"))
                step_gradients(
                    (source, source), update=update, settings=settings_with(micro_batch_pieces=9), processes=share
                )
        return list(seeds)

    first = run()
    assert len(set(first)) == len(first) > 3 * 2 * 2
    assert run() == first


def test_how_often_checkpoints_are_written_changes_nothing(tmp_path):
    seldom, often = make_model(dropout=0.4), make_model(dropout=0.4)
    train(seldom, two_phases(seldom), tmp_path / "seldom")
    train(often, two_phases(often), tmp_path / "often", checkpoint_every_s=0)
    assert bytes_of(seldom) == bytes_of(often)


def test_the_history_has_the_mean_loss_since_the_last_look(tmp_path):
    """At a learning rate of zero the loss of an update is that of its rows."""
    model = make_model()
    phase = make_phase(model, updates=5, evaluate_every=2, learning_rate=0.0)
    source = phase.sources[0]
    rows = [source.plan.rows(update) for update in range(5)]
    losses = [summed_loss(model, of_update).item() / LENGTHS[of_update].sum() for of_update in rows]
    looks = train(model, [phase], tmp_path)
    assert [(look["total"], look["loss"]) for look in looks] == [
        (2, pytest.approx(np.mean(losses[:2]))),
        (4, pytest.approx(np.mean(losses[2:4]))),
        (5, pytest.approx(losses[4])),
    ]


def test_a_look_before_the_first_update_names_no_loss(tmp_path):
    model, events = make_model(), []
    train(model, two_phases(model), tmp_path, tell=events.append)
    looks = {event.message: event.metrics for event in events if event.unit != "updates"}
    assert {message for message, metrics in looks.items() if "loss" not in metrics} == {
        message for message in looks if message.endswith("update 0")
    }
    assert len(looks) > 2


class Killed(Exception):
    """Stands for a kill after an update."""


def test_a_job_that_is_killed_after_its_passes_shrank_goes_on_with_them_and_looks_once(tmp_path):
    """Memory does not hold 8 rows at the first update, which follows a look; after the kill it holds them."""

    def phases(model, *, most_rows):
        def loss(rows):
            if len(rows) > most_rows:
                raise torch.OutOfMemoryError("tried to allocate 1 PiB")
            return summed_loss(model, rows)

        return [with_source(phase, loss=loss) for phase in two_phases(model)]

    def killing(event):
        if event.unit == "updates":
            raise Killed

    undisturbed, killed, model = (make_model(dropout=0.4) for _ in range(3))
    looks = train(undisturbed, phases(undisturbed, most_rows=7), tmp_path / "undisturbed")
    with pytest.raises(Killed):
        train(killed, phases(killed, most_rows=7), tmp_path / "killed", tell=killing)
    assert train(model, phases(model, most_rows=8), tmp_path / "killed") == looks
    assert bytes_of(model) == bytes_of(undisturbed)


def test_a_finished_job_only_hands_out_its_weights(tmp_path):
    model = make_model()
    looks = train(model, two_phases(model), tmp_path)
    again = make_model()
    events = []
    assert train(again, two_phases(again), tmp_path, tell=events.append) == looks
    assert bytes_of(again) == bytes_of(model)
    assert not [event for event in events if event.unit == "updates"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_while_the_last_checkpoint_is_written_is_not_lost(tmp_path, number):
    sent = []

    class Signalled(CheckpointFolder):
        def save(self, state, tensors):
            super().save(state, tensors)
            if state.phase == 1 and not sent:
                sent.append(number)
                signal.raise_signal(number)

    model = make_model()
    checkpoints = Signalled(tmp_path, fingerprint="job")
    with pytest.raises(Interrupted, match=r"train stopped at update 6; the state is saved\."):
        train_phases(
            model,
            [make_phase(model)],
            settings=settings_with(),
            processes=ALONE,
            checkpoints=checkpoints,
            tell=silent,
        )
    assert CheckpointFolder(tmp_path, fingerprint="job").load_newest()[0].phase == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_saves_the_state_and_gives_the_handlers_back(tmp_path, number):
    model = make_model()
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"train stopped at update 2; the state is saved\."):
        train(model, [make_phase(model)], tmp_path, tell=stop_after(2, number))
    assert signal.getsignal(number) is before
    (checkpoint,) = tmp_path.iterdir()
    saved = load_file(checkpoint / "state.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(saved[f"model/{name}"], value)


def test_the_weights_of_the_best_look_are_handed_on(tmp_path):
    model = make_model()
    seen = []
    scores = iter([0.1, 0.5, 0.9, 0.4, 0.3])

    def evaluate():
        seen.append(bytes_of(model))
        return {"score": next(scores)}

    looks = train(model, [make_phase(model, updates=4, evaluate_every=1, evaluate=evaluate)], tmp_path)
    assert [look["score"] for look in looks] == [0.1, 0.5, 0.9, 0.4, 0.3]
    assert [look["update"] for look in looks] == [0, 1, 2, 3, 4]
    assert bytes_of(model) == seen[2]
    assert seen[2] != seen[4]


def test_a_phase_goes_on_from_the_best_weights_of_the_one_before(tmp_path):
    model = make_model()
    starts = []
    scores = iter([0.0, 0.7, 0.2, 0.0, 0.9])

    def evaluate():
        starts.append(bytes_of(model))
        return {"score": next(scores)}

    first = make_phase(model, updates=2, evaluate_every=1, evaluate=evaluate)
    second = make_phase(model, updates=1, evaluate_every=1, evaluate=evaluate)
    train(model, [first, second], tmp_path)
    assert starts[3] == starts[1]
    assert bytes_of(model) == starts[4]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_without_a_score_the_last_weights_are_kept(tmp_path, weight_decay):
    model, oracle = make_model(), make_model()
    train(model, [make_phase(model, updates=2, weight_decay=weight_decay)], tmp_path)
    phase = make_phase(oracle, updates=2, weight_decay=weight_decay)
    optimizer = torch.optim.AdamW(oracle.parameters(), weight_decay=weight_decay, fused=True)
    for update in range(2):
        optimizer.param_groups[0]["lr"] = learning_rate(phase, update)
        optimizer.zero_grad()
        rows = phase.sources[0].plan.rows(update)
        (summed_loss(oracle, rows) / LENGTHS[rows].sum()).backward()
        nn.utils.clip_grad_norm_(oracle.parameters(), 1.0)
        optimizer.step()
    for ours, other in zip(model.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(ours, other, atol=1e-6)


def test_a_phase_ends_after_so_many_looks_without_improvement(tmp_path):
    """Better at the second look (update 2), then two looks without improvement: it ends at update 6 of 20."""
    model = make_model()
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    phase = make_phase(model, updates=20, evaluate=lambda: {"score": next(scores)}, patience=2)
    looks = train(model, [phase], tmp_path)
    assert [look["update"] for look in looks] == [0, 2, 4, 6]


def test_dropout_is_off_while_the_model_is_scored_and_on_while_it_trains(tmp_path):
    model = make_model(dropout=0.5)
    modes = []
    phase = make_phase(
        model, updates=1, evaluate=lambda: {"score": float(modes.append((model.training, "score")) or 0)}
    )
    hook = model.register_forward_pre_hook(lambda *_: modes.append((model.training, "loss")))
    train(model, [phase], tmp_path)
    hook.remove()
    assert modes == [(False, "score"), (True, "loss"), (False, "score")]


def test_the_cosine_schedule_goes_from_the_rate_to_the_final_rate():
    phase = make_phase(make_model(), updates=4, learning_rate=1.0, final_learning_rate=0.2)
    rates = [learning_rate(phase, update) for update in range(5)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([1.0, 0.2 + 0.4 * (1 + half), 0.6, 0.2 + 0.4 * (1 - half), 0.2])


def test_the_linear_schedule_warms_up_and_falls():
    """Ten updates, two of them warm-up: 1/2, 1, then eighths downwards."""
    phase = make_phase(make_model(), updates=10, learning_rate=1.0, schedule="linear", warmup=0.2)
    expected = [0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0.0]
    assert [learning_rate(phase, update) for update in range(11)] == pytest.approx(expected)


def test_the_optimiser_follows_the_schedule(tmp_path):
    """At a rate of zero and without a score nothing moves."""
    model = make_model()
    before = bytes_of(model)
    train(model, [make_phase(model, learning_rate=0.0)], tmp_path)
    assert bytes_of(model) == before


def with_source(phase, **changes):
    return replace(phase, sources=(replace(phase.sources[0], **changes),))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_its_phase(tmp_path, value):
    model = make_model()
    phase = make_phase(model, evaluate_every=1)
    broken = with_source(phase, loss=lambda rows: phase.sources[0].loss(rows) * value)
    with pytest.raises(ModelError, match=rf"loss of train, a phase, is {value} at update 1\. Lower the learning rate"):
        train(model, [broken], tmp_path)


def test_a_score_that_is_not_finite_is_an_error_too(tmp_path):
    """Weights can overflow in the last update before a look, whose loss was still finite."""
    model = make_model()
    with pytest.raises(ModelError, match="score of train, a phase, is nan at update 0"):
        train(model, [make_phase(model, evaluate=lambda: {"score": math.nan})], tmp_path)


def test_rows_without_words_leave_the_weights_alone(tmp_path):
    model = make_model()
    before = bytes_of(model)
    train(model, [with_source(make_phase(model, updates=1), words=np.zeros_like(LENGTHS))], tmp_path)
    assert bytes_of(model) == before
