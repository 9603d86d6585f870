"""Distillation strategies as data: which losses, in which order, and which layers train when.

Gradual unfreezing starts a stage with everything frozen and releases the layers from the classifier down to the
embeddings; each release is a phase of the loop: it ends when dev stops improving and goes back to its best weights.
A release also restarts optimiser and schedule, so what it does is told from what the restarts do by a control that
has the same phases and freezes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the module loads torch; a dry run reads strategies without it
    from xtremedistil_ner.models.head import Head

Loss = Literal["labels", "hard", "logits", "representation"]
Phases = Literal["one", "releases", "restarts"]
"""One phase; one per released layer; or as many as that, of the same length, with every layer in each."""

_HEAD_LAYERS = ("classifier", "projection")
_BODY_SHARE, _LAST_SHARE = 0.3, 0.6
"""Shares of a stage's updates for the releases between head and embeddings together, and for the last one: these
layers hold nearly all parameters. The releases of the head's layers share the rest."""


@dataclass(frozen=True, slots=True)
class StrategyStage:
    """One stage: its losses (added up), its phases, its share of all updates."""

    losses: tuple[Loss, ...]
    phases: Phases
    share: float


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """One phase of a strategy: what trains, on what, for how many updates at most."""

    name: str
    losses: tuple[Loss, ...]
    layers: tuple[str, ...]
    updates: int


def _three_stages(phases: Phases) -> tuple[StrategyStage, ...]:
    return (
        StrategyStage(("representation",), phases, share=0.2),
        StrategyStage(("logits",), phases, share=0.6),
        StrategyStage(("labels",), phases, share=0.2),
    )


def _two_stages(phases: Phases) -> tuple[StrategyStage, ...]:
    return (
        StrategyStage(("representation",), phases, share=0.2),
        StrategyStage(("labels", "logits"), phases, share=0.8),
    )


STRATEGIES: dict[str, tuple[StrategyStage, ...]] = {
    "D0": (StrategyStage(("labels",), "one", share=1.0),),
    "D0-S": (StrategyStage(("labels",), "one", share=1.0),),
    "hard": (StrategyStage(("hard",), "one", share=1.0),),
    "D1": (StrategyStage(("labels", "logits"), "one", share=1.0),),
    "D2": (StrategyStage(("labels", "logits", "representation"), "one", share=1.0),),
    "D3.1": _two_stages("one"),
    "D3.2": _two_stages("releases"),
    "D4.1": _three_stages("one"),
    "D4.2": _three_stages("releases"),
    "D4.2-control": _three_stages("restarts"),
}
"""Source: XtremeDistil (D0 to D4.2); arXiv 1910.01769 (hard). The shares and the control are ours."""


def trains_per_language(strategy: str) -> bool:
    """Whether every language gets a student of its own."""
    return strategy == "D0"


def uses_soft_labels(strategy: str) -> bool:
    """Whether a strategy trains on the transfer set at all."""
    return any(loss != "labels" for stage in STRATEGIES[strategy] for loss in stage.losses)


def needs_projection(strategy: str) -> bool:
    """Whether a strategy compares states with the teacher's, even under a direct head."""
    return any("representation" in stage.losses for stage in STRATEGIES[strategy])


def plan_phases(strategy: str, *, updates: int, layers: Sequence[str], head: Head) -> list[PhasePlan]:
    """The phases of a strategy whose updates add up to `updates`, one each at least.

    `layers` are the student's, from the classifier down to the embeddings.
    """
    phases: list[tuple[str, tuple[Loss, ...], tuple[str, ...], float]] = []
    for stage in STRATEGIES[strategy]:
        name = "+".join(stage.losses)
        reached = _layers_of(stage, layers, head)
        if stage.phases == "one":
            phases.append((name, stage.losses, reached, stage.share))
            continue
        for count, share in enumerate(_release_shares(reached), start=1):
            released = reached[:count]
            place = f"from {released[-1]} up"
            if stage.phases == "restarts":
                released, place = reached, f"start {count} of {len(reached)}"
            phases.append((f"{name}, {place}", stage.losses, released, share * stage.share))
    spare = max(updates - len(phases), 0)
    ends = [round(spare * share) for share in accumulate(share for *_, share in phases)]
    return [
        PhasePlan(name, losses, trained, 1 + end - start)
        for (name, losses, trained, _), start, end in zip(phases, [0, *ends], ends, strict=False)
    ]


def _layers_of(stage: StrategyStage, layers: Sequence[str], head: Head) -> tuple[str, ...]:
    """The layers that a stage's losses reach, top first."""
    if stage.losses == ("representation",):
        return tuple(layer for layer in layers if layer != "classifier")
    if head == "direct" and "representation" not in stage.losses:
        return tuple(layer for layer in layers if layer != "projection")
    return tuple(layers)


def _release_shares(layers: Sequence[str]) -> list[float]:
    """The share of a stage's updates that each release gets. Shapes: layers, result (releases,)."""
    top = sum(layer in _HEAD_LAYERS for layer in layers)
    body = len(layers) - top - 1
    return [(1 - (_BODY_SHARE + _LAST_SHARE)) / top] * top + [_BODY_SHARE / body] * body + [_LAST_SHARE]
