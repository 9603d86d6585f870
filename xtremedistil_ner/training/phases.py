"""What the loop trains: sources of rows with their losses, phases over them, and the settings of all phases."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xtremedistil_ner.models.kinds import PassCost
from xtremedistil_ner.training.sampling import BatchPlan

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to train on and their loss.

    Shapes: `words` (rows,) int64, what a row adds to the divisor; `loss` takes rows (micro-batch,) and gives their
    summed loss (). With `words_per_row` every row adds that number instead, so that a word in a batch of short rows
    counts as much as a word in a batch of long rows. Without a `cost`, passes are as large as the budget allows.
    """

    name: str
    plan: BatchPlan
    words: NDArray[np.int64]
    loss: Callable[[Rows], Tensor]
    weight: float = 1.0
    words_per_row: float | None = None
    cost: PassCost | None = None

    def divisor(self, rows: Rows) -> float:
        """The divisor of an update's summed loss; 0 if its rows have no word. Shapes: rows (batch,)."""
        words = int(self.words[rows].sum())
        return words if self.words_per_row is None or not words else len(rows) * self.words_per_row


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with one optimiser.

    Of the numbers that `evaluate` gives, the one called `score` selects: higher is better. Without `evaluate` the last
    weights are kept.
    """

    name: str
    sources: tuple[Source, ...]
    trained: frozenset[str]
    updates: int
    learning_rate: float
    evaluate: Callable[[], Mapping[str, float]] | None
    evaluate_every: int
    patience: int
    final_learning_rate: float = 0.0
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Settings that all phases share. Units: `checkpoint_every_s` seconds; 0 saves after every update."""

    stage: str
    seed: int
    dtype: torch.dtype
    micro_batch_pieces: int
    checkpoint_every_s: float


def learning_rate(phase: Phase, update: int) -> float:
    """The learning rate of an update of a phase: linear warm-up, then cosine or linear to the final rate."""
    warmup = int(phase.warmup * phase.updates)
    if update < warmup:
        return phase.learning_rate * (update + 1) / warmup
    done = (update - warmup) / max(phase.updates - warmup, 1)
    left = (1 + math.cos(math.pi * done)) / 2 if phase.schedule == "cosine" else 1 - done
    return phase.final_learning_rate + (phase.learning_rate - phase.final_learning_rate) * left
