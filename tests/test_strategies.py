"""Strategies as data: which losses, in which order, which layers, for how many updates.

The oracle is the table of strategies: D4.2 is representation, then logits, then labels, each with the layers released
from the top to the bottom (XtremeDistil, section 4).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremedistil_ner.training.strategies import (
    STRATEGIES,
    TOP_TO_BOTTOM,
    needs_projection,
    plan_phases,
    uses_soft_labels,
)

ALL = ("classifier", "projection", "lstm", "embeddings")
WITHOUT_CLASSIFIER = ("projection", "lstm", "embeddings")
WITHOUT_PROJECTION = ("classifier", "lstm", "embeddings")


def shape_of(strategy, head):
    return [(plan.losses, plan.layers) for plan in plan_phases(strategy, updates=1000, head=head)]


def releases(losses, layers):
    return [(losses, layers[:count]) for count in range(1, len(layers) + 1)]


@pytest.mark.parametrize(
    ("strategy", "losses"), [("D0-S", ("labels",)), ("hard", ("hard",)), ("D1", ("labels", "logits"))]
)
def test_joint_strategies_are_one_phase_of_all_layers(strategy, losses):
    assert shape_of(strategy, "projected") == [(losses, ALL)]
    assert shape_of(strategy, "direct") == [(losses, WITHOUT_PROJECTION)]


def test_d4_2_releases_layers_from_the_top_in_each_of_its_three_stages():
    assert shape_of("D4.2", "projected") == [
        *releases(("representation",), WITHOUT_CLASSIFIER),
        *releases(("logits",), ALL),
        *releases(("labels",), ALL),
    ]


def test_a_direct_head_trains_the_projection_for_the_representation_loss_alone():
    assert shape_of("D4.2", "direct") == [
        *releases(("representation",), WITHOUT_CLASSIFIER),
        *releases(("logits",), WITHOUT_PROJECTION),
        *releases(("labels",), WITHOUT_PROJECTION),
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("head", ["projected", "direct"])
@given(updates=st.integers(1, 100_000))
def test_the_updates_of_the_phases_add_up_to_the_budget(strategy, head, updates):
    plans = plan_phases(strategy, updates=updates, head=head)
    assert all(plan.updates >= 1 for plan in plans)
    assert sum(plan.updates for plan in plans) == max(updates, len(plans))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_names_of_phases_tell_them_apart(strategy):
    names = [plan.name for plan in plan_phases(strategy, updates=1000, head="projected")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("head", ["projected", "direct"])
def test_every_phase_trains_layers_from_the_top_down_without_a_gap(strategy, head):
    for plan in plan_phases(strategy, updates=1000, head=head):
        reachable = [layer for layer in TOP_TO_BOTTOM if layer in plan.layers]
        assert list(plan.layers) == reachable


def test_only_gold_labels_need_no_soft_labels():
    assert {name for name in STRATEGIES if not uses_soft_labels(name)} == {"D0-S"}


def test_a_projection_is_needed_where_states_are_compared():
    assert needs_projection("D4.2")
    assert not any(needs_projection(name) for name in ("D0-S", "hard", "D1"))
