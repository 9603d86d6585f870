"""What a benchmark measures, and how."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

from xtremedistil_ner.bench.rounds import Clock


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """`against` are peers; `batches` and `lengths` the cells of stage `tag`. Units: `lengths` in pieces."""

    stage: Literal["tag", "label", "train"]
    teacher: str | None
    against: tuple[str, ...]
    corpus: str
    split: str
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    threads: int
    rounds: int
    device: Literal["cpu", "cuda"]

    @property
    def clock(self) -> Clock:
        """Process CPU time where that is what a user waits for, else wall time."""
        if self.device == "cuda":
            return _time_of_gpu
        return time.process_time if self.threads == 1 else time.perf_counter


def _time_of_gpu() -> float:
    """Wall time once the GPU has done what it was given: the host only queues its work."""
    torch.cuda.synchronize()
    return time.perf_counter()
