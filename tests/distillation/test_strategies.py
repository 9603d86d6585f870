"""Strategies as data: which losses, in which order, which layers, for how many updates.

The oracle is the table of strategies in `docs/method.md`, written out below by hand: a step is its losses and whether
the layers are released from the top to the bottom (XtremeDistil) or train together.
"""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import table_under

from xtremedistil_ner.distillation.strategies import (
    STRATEGIES,
    needs_projection,
    plan_phases,
    trains_per_language,
    uses_soft_labels,
)
from xtremedistil_ner.recipe.schema import Strategy

BILSTM = ("classifier", "projection", "lstm", "embeddings")
TRANSFORMER = ("classifier", "projection", "layer 3", "layer 2", "layer 1", "embeddings")
LAYERS = {"bilstm": BILSTM, "transformer": TRANSFORMER}
LABELS, LOGITS, STATES = ("labels",), ("logits",), ("representation",)
BOTH = ("labels", "logits")
TOGETHER, RELEASED = False, True
TABLE = {
    "D0": [(LABELS, TOGETHER)],
    "D0-S": [(LABELS, TOGETHER)],
    "hard": [(("hard",), TOGETHER)],
    "D1": [(BOTH, TOGETHER)],
    "D2": [((*BOTH, *STATES), TOGETHER)],
    "D3.1": [(STATES, TOGETHER), (BOTH, TOGETHER)],
    "D3.2": [(STATES, RELEASED), (BOTH, RELEASED)],
    "D4.1": [(STATES, TOGETHER), (LOGITS, TOGETHER), (LABELS, TOGETHER)],
    "D4.2": [(STATES, RELEASED), (LOGITS, RELEASED), (LABELS, RELEASED)],
}


def plans(strategy, *, head="projected", updates=1000, layers=BILSTM):
    return plan_phases(strategy, updates=updates, layers=layers, head=head)


def reached_layers(losses, head, layers):
    """A representation loss never sees the classifier; a direct head needs a projection for that loss alone."""
    unseen = {"classifier"} if losses == STATES else set()
    if head == "direct" and "representation" not in losses:
        unseen.add("projection")
    return tuple(layer for layer in layers if layer not in unseen)


@pytest.mark.parametrize("strategy", TABLE)
@pytest.mark.parametrize("head", ["projected", "direct"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_strategy_has_the_steps_of_the_table(strategy, head, kind):
    expected = []
    for losses, released in TABLE[strategy]:
        layers = reached_layers(losses, head, LAYERS[kind])
        counts = range(1, len(layers) + 1) if released else [len(layers)]
        expected += [(losses, layers[:count]) for count in counts]
    assert [(plan.losses, plan.layers) for plan in plans(strategy, head=head, layers=LAYERS[kind])] == expected


def test_every_strategy_of_the_schema_is_there_and_no_other():
    assert set(STRATEGIES) == {*TABLE, "D4.2-control"} == set(get_args(Strategy))


def test_the_documented_table_is_the_one_held_here():
    listed = {name.strip("`"): steps for name, steps, *_ in table_under("method.md", "Strategies")}
    for name, steps in TABLE.items():
        text = " → ".join(" + ".join(losses) for losses, _ in steps)
        assert listed[name].startswith(text), name
        assert ("unfreezing" in listed[name]) == any(released for _, released in steps), name
    assert listed.keys() == set(STRATEGIES)


@pytest.mark.parametrize("head", ["projected", "direct"])
@pytest.mark.parametrize("kind", LAYERS)
@given(updates=st.integers(1, 100_000))
def test_the_control_restarts_as_often_as_d4_2_trains_as_long_and_freezes_nothing(head, kind, updates):
    control, unfreezing = (
        plans(name, head=head, layers=LAYERS[kind], updates=updates) for name in ("D4.2-control", "D4.2")
    )
    assert [(plan.losses, plan.updates) for plan in control] == [(plan.losses, plan.updates) for plan in unfreezing]
    assert all(plan.layers == reached_layers(plan.losses, head, LAYERS[kind]) for plan in control)


def test_a_bilstms_releases_share_the_updates_of_their_step():
    """20, 60 and 20 % for the steps; in each 60 % for the embeddings, 30 for the LSTM, 10 for the head's layers."""
    found = [plan.updates - 1 for plan in plans("D4.2", updates=10_011)]
    assert found == [200, 600, 1200, *[300, 300, 1800, 3600], *[100, 100, 600, 1200]]


def test_a_transformers_layers_share_the_updates_of_a_bilstms_body():
    found = [plan.updates - 1 for plan in plans("D3.2", updates=10_011, layers=TRANSFORMER)][5:]
    assert found == [400, 400, 800, 800, 800, 4800]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("head", ["projected", "direct"])
@given(updates=st.integers(1, 100_000))
def test_the_updates_of_the_phases_add_up_to_the_budget(strategy, head, updates):
    found = plans(strategy, head=head, updates=updates)
    assert all(plan.updates >= 1 for plan in found)
    assert sum(plan.updates for plan in found) == max(updates, len(found))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_names_of_phases_tell_them_apart(strategy):
    names = [plan.name for plan in plans(strategy)]
    assert len(set(names)) == len(names)


def test_only_gold_labels_need_no_soft_labels():
    assert {name for name in STRATEGIES if not uses_soft_labels(name)} == {"D0", "D0-S"}


def test_a_projection_is_needed_where_states_are_compared():
    without = {name for name, stages in TABLE.items() if not any("representation" in losses for losses, _ in stages)}
    assert {name for name in STRATEGIES if not needs_projection(name)} == without


def test_d0_alone_makes_a_student_per_language():
    assert [name for name in STRATEGIES if trains_per_language(name)] == ["D0"]
