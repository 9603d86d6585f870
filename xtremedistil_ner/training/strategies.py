"""Distillation strategies as data: which losses, in which order, and which layers train when.

Gradual unfreezing starts a stage with everything frozen and releases the layers from the classifier down to the
embeddings; each release is a phase of the loop: it ends when dev stops improving and goes back to its best weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

Loss = Literal["labels", "hard", "logits", "representation"]
Layer = Literal["classifier", "projection", "lstm", "embeddings"]

TOP_TO_BOTTOM: tuple[Layer, ...] = ("classifier", "projection", "lstm", "embeddings")
_LAST_RELEASES = (0.3, 0.6)
"""Shares of a stage's updates for its last two releases: LSTM and embeddings hold nearly all parameters."""


@dataclass(frozen=True, slots=True)
class StrategyStage:
    """One stage: its losses (added up), whether layers are released one by one, its share of all updates."""

    losses: tuple[Loss, ...]
    unfreezing: bool
    share: float


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """One phase of a strategy: what trains, on what, for how many updates at most."""

    name: str
    losses: tuple[Loss, ...]
    layers: tuple[Layer, ...]
    updates: int


STRATEGIES: dict[str, tuple[StrategyStage, ...]] = {
    "D0-S": (StrategyStage(("labels",), unfreezing=False, share=1.0),),
    "hard": (StrategyStage(("hard",), unfreezing=False, share=1.0),),
    "D1": (StrategyStage(("labels", "logits"), unfreezing=False, share=1.0),),
    "D4.2": (
        StrategyStage(("representation",), unfreezing=True, share=0.2),
        StrategyStage(("logits",), unfreezing=True, share=0.6),
        StrategyStage(("labels",), unfreezing=True, share=0.2),
    ),
}
"""Source: XtremeDistil (D0-S, D1, D4.2); arXiv 1910.01769 (hard)."""


def uses_soft_labels(strategy: str) -> bool:
    """Whether a strategy trains on the transfer set at all."""
    return any(loss != "labels" for stage in STRATEGIES[strategy] for loss in stage.losses)


def needs_projection(strategy: str) -> bool:
    """Whether a strategy compares states with the teacher's, even under a direct head."""
    return any("representation" in stage.losses for stage in STRATEGIES[strategy])


def plan_phases(strategy: str, *, updates: int, head: Literal["projected", "direct"]) -> list[PhasePlan]:
    """The phases of a strategy whose updates add up to `updates`, one each at least."""
    phases: list[tuple[str, tuple[Loss, ...], tuple[Layer, ...], float]] = []
    for stage in STRATEGIES[strategy]:
        name = "+".join(stage.losses)
        layers = _layers_of(stage, head)
        if not stage.unfreezing:
            phases.append((name, stage.losses, layers, stage.share))
            continue
        for count, share in enumerate(_release_shares(len(layers)), start=1):
            released = layers[:count]
            phases.append((f"{name}, from {released[-1]} up", stage.losses, released, share * stage.share))
    spare = max(updates - len(phases), 0)
    ends = [round(spare * share) for share in accumulate(share for *_, share in phases)]
    return [
        PhasePlan(name, losses, layers, 1 + end - start)
        for (name, losses, layers, _), start, end in zip(phases, [0, *ends], ends, strict=False)
    ]


def _layers_of(stage: StrategyStage, head: Literal["projected", "direct"]) -> tuple[Layer, ...]:
    """The layers that a stage's losses reach, top first."""
    if stage.losses == ("representation",):
        return tuple(layer for layer in TOP_TO_BOTTOM if layer != "classifier")
    if head == "direct" and "representation" not in stage.losses:
        return tuple(layer for layer in TOP_TO_BOTTOM if layer != "projection")
    return TOP_TO_BOTTOM


def _release_shares(count: int) -> Sequence[float]:
    rest = count - len(_LAST_RELEASES)
    return (*[(1 - sum(_LAST_RELEASES)) / rest] * rest, *_LAST_RELEASES) if rest else _LAST_RELEASES
