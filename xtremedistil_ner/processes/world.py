"""The processes of one job, as Accelerate sees them: which one this is, its device, and how they communicate.

Accelerate's `PartialState` finds out how the process was started (alone, by `launch.py`, by an outside launcher) and
sets up the process group; `Processes` has what the stages need of it. Precision is not part of it: every stage chooses
its own, and Accelerate's full state is fixed for the life of a process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, distributed

_LONGEST_WAIT = timedelta(hours=12)
"""Peers wait while the main process encodes or evaluates alone: with much text, longer than NCCL's 10 minutes.
If a peer dies, nobody waits for it: the launcher ends the others."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among its peers."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes artefacts."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            distributed.barrier()

    def share_tensor(self, tensor: Tensor) -> None:
        """Give every process the numbers of the main one, in place. Shapes: any, the same everywhere."""
        if self.count > 1:
            distributed.broadcast(tensor, src=0)

    def sum_tensor(self, tensor: Tensor) -> None:
        """Add up a tensor over processes, in place. Shapes: any, the same everywhere."""
        if self.count > 1:
            distributed.all_reduce(tensor)

    def start_sum(self, tensor: Tensor) -> distributed.Work:
        """Begin to add up a tensor over several processes, in place. Shapes: any, in one piece of memory."""
        work: distributed.Work = distributed.all_reduce(tensor, async_op=True)
        return work

    def start_gather(self, tensor: Tensor) -> tuple[Tensor, distributed.Work]:
        """Begin to collect a tensor of several processes. Shapes: (a, ...), the same everywhere; (count, a, ...)."""
        collected = tensor.new_empty((self.count, *tensor.shape))
        work: distributed.Work = distributed.all_gather(list(collected.unbind()), tensor, async_op=True)
        return collected, work

    def sum_array(self, array: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sum of an array over processes. Shapes: any, the same everywhere, int64."""
        tensor = torch.from_numpy(array.copy()).to(self.device)
        self.sum_tensor(tensor)
        return tensor.cpu().numpy()

    def gather(self, numbers: Sequence[int], *more: Tensor) -> NDArray[np.int64]:
        """The numbers of every process; `more` may still be under way on the device.

        Shapes: numbers (n,), as many in each; more () integer, m in each; result (count, n + m).
        """
        own = torch.tensor([*numbers, *(0 for _ in more)], dtype=torch.int64).to(self.device)
        for place, number in enumerate(more, start=len(numbers)):
            own[place] = number
        table = own.new_zeros((self.count, len(own)))
        table[self.rank] = own
        self.sum_tensor(table)
        return table.cpu().numpy()


def current_processes() -> Processes:
    """The processes that this one was started among; joins their group the first time."""
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)
    return Processes(rank=state.process_index, count=state.num_processes, device=state.device)


def leave_group() -> None:
    """Leave the group of processes, if this one is in one: NCCL complains of a process that ends inside its group."""
    if distributed.is_initialized():
        PartialState().destroy_process_group()
        PartialState._reset_state()


def no_peers() -> Processes:
    """This process by itself, without others that share its work."""
    return Processes(rank=0, count=1, device=torch.device("cpu"))


def put_on(device: torch.device, array: NDArray[Any]) -> torch.Tensor:
    """An array as a tensor on a device; a GPU copies it from pinned memory while the host continues."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads inside the block: the bits of a matrix product may depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
