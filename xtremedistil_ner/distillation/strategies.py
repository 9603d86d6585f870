"""Distillation strategies as data: which losses, in which order, and which layers train when.

Gradual unfreezing begins a step with all layers frozen and releases them from the classifier down to the embeddings.
Each release is a phase of the loop: it ends when dev stops improving, and keeps its best weights. A release also
restarts optimiser and schedule. A control with the same phases, which freezes nothing, shows what the restarts do
alone.
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
"""One phase; one per released layer; or the same number and lengths of phases, each of which trains every layer."""

_HEAD_LAYERS = ("classifier", "projection")
_BODY_SHARE, _LAST_SHARE = 0.3, 0.6
"""Shares of a step's updates for all releases between head and embeddings together, and for the last one: these layers
hold nearly all parameters. The releases of the head's layers share the rest."""


@dataclass(frozen=True, slots=True)
class StrategyStep:
    """One step: its losses (added up), its phases, its share of all updates."""

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


def _three_steps(phases: Phases) -> tuple[StrategyStep, ...]:
    return (
        StrategyStep(("representation",), phases, share=0.2),
        StrategyStep(("logits",), phases, share=0.6),
        StrategyStep(("labels",), phases, share=0.2),
    )


def _two_steps(phases: Phases) -> tuple[StrategyStep, ...]:
    return (
        StrategyStep(("representation",), phases, share=0.2),
        StrategyStep(("labels", "logits"), phases, share=0.8),
    )


STRATEGIES: dict[str, tuple[StrategyStep, ...]] = {
    "D0": (StrategyStep(("labels",), "one", share=1.0),),
    "D0-S": (StrategyStep(("labels",), "one", share=1.0),),
    "hard": (StrategyStep(("hard",), "one", share=1.0),),
    "D1": (StrategyStep(("labels", "logits"), "one", share=1.0),),
    "D2": (StrategyStep(("labels", "logits", "representation"), "one", share=1.0),),
    "D3.1": _two_steps("one"),
    "D3.2": _two_steps("releases"),
    "D4.1": _three_steps("one"),
    "D4.2": _three_steps("releases"),
    "D4.2-control": _three_steps("restarts"),
}
"""Source: XtremeDistil (D0 to D4.2); arXiv 1910.01769 (hard). The shares and the control are ours."""


def trains_per_language(strategy: str) -> bool:
    """Whether every language gets a student of its own."""
    return strategy == "D0"


def uses_soft_labels(strategy: str) -> bool:
    """Whether a strategy trains on the transfer set at all."""
    return any(loss != "labels" for step in STRATEGIES[strategy] for loss in step.losses)


def needs_projection(strategy: str) -> bool:
    """Whether a strategy compares states with the teacher's, even under a direct head."""
    return any("representation" in step.losses for step in STRATEGIES[strategy])


def plan_phases(strategy: str, *, updates: int, layers: Sequence[str], head: Head) -> list[PhasePlan]:
    """The phases of a strategy. Their updates add up to `updates`; each phase has at least one.

    `layers` are the student's, from the classifier down to the embeddings.
    """
    phases: list[tuple[str, tuple[Loss, ...], tuple[str, ...], float]] = []
    for step in STRATEGIES[strategy]:
        name = "+".join(step.losses)
        reached = _layers_of(step, layers, head)
        if step.phases == "one":
            phases.append((name, step.losses, reached, step.share))
            continue
        for count, share in enumerate(_release_shares(reached), start=1):
            trained, what = reached[:count], f"from {reached[count - 1]} up"
            if step.phases == "restarts":
                trained, what = reached, f"start {count} of {len(reached)}"
            phases.append((f"{name}, {what}", step.losses, trained, share * step.share))
    spare = max(updates - len(phases), 0)
    ends = [round(spare * share) for share in accumulate(share for *_, share in phases)]
    return [
        PhasePlan(name, losses, trained, 1 + end - start)
        for (name, losses, trained, _), start, end in zip(phases, [0, *ends], ends, strict=False)
    ]


def _layers_of(step: StrategyStep, layers: Sequence[str], head: Head) -> tuple[str, ...]:
    """The layers that a step's losses reach, top first."""
    if step.losses == ("representation",):
        return tuple(layer for layer in layers if layer != "classifier")
    if head == "direct" and "representation" not in step.losses:
        return tuple(layer for layer in layers if layer != "projection")
    return tuple(layers)


def _release_shares(layers: Sequence[str]) -> list[float]:
    """The share of a step's updates that each release gets. Shapes: layers, result (releases,)."""
    top = sum(layer in _HEAD_LAYERS for layer in layers)
    body = len(layers) - top - 1
    return [(1 - (_BODY_SHARE + _LAST_SHARE)) / top] * top + [_BODY_SHARE / body] * body + [_LAST_SHARE]
