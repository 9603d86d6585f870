"""Gradients of one update, added up over processes: rows of tables that were touched, buckets of all other numbers.

An embedding table is most of a model, and an update touches few of its rows: of mBERT's 119,547 rows an update of 32
sentences touches about a thousand. Processes exchange those rows, and every process adds them up in the order of the
processes. If they would be more bytes than the table itself, as with a language-model head whose weights are tied to
it, the table is summed whole.

All other gradients are copied into buckets of 25 MB in the order of the parameters; while one is exchanged, the next
one is copied. A gradient larger than a bucket is summed where it lies. Not by DistributedDataParallel: it orders its
buckets by the first backward pass that it sees. Phases change which parameters train, so after a resume that order may
differ, and with more than two processes another order gives another sum. The price: nothing is exchanged before the
backward pass has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xtremedistil_ner.processes.world import Processes

_UNDER_WAY = 2
"""Exchanges that may wait for their end: one is copied while another is sent, and no third one takes memory."""
_BUCKET_BYTES = 25 * 2**20
"""As DistributedDataParallel's: large enough for the bandwidth of a network, small enough to overlap."""
_LEAST_TABLE_ROWS = 256
"""Of a smaller table, to find the touched rows takes longer than to exchange all of them."""


class GradientSum:
    """The gradients of some parameters of a model, and how they are added up over processes."""

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter], processes: Processes) -> None:
        self.processes, self.parameters = processes, parameters
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        is_table = [id(p) in tables and len(p) >= _LEAST_TABLE_ROWS for p in parameters]
        self.tables = [p for p, apart in zip(parameters, is_table, strict=True) if apart]
        self.buckets = list(_buckets([p for p, apart in zip(parameters, is_table, strict=True) if not apart]))

    def add_up(self, loss: Tensor | None) -> Tensor | None:
        """Replace every gradient by its sum over processes; the result is the sum of their losses.

        It is None if some process has none, because it failed to compute its gradients; then nothing is added up, in
        any process. What no process has a gradient of has none afterwards: an optimiser leaves it alone, as on one
        process.

        Shapes: loss, result () float32.
        """
        if self.processes.count == 1:
            return loss
        failed = loss is None
        touched = [] if failed else [_touched_rows(p) for p in self.tables]
        counts = map(len, touched) if not failed else (0 for _ in self.tables)
        has_gradient = (p.grad is not None for p in self.parameters)
        bits = torch.zeros((), dtype=torch.int32) if loss is None else loss.view(torch.int32)
        has_failed, *numbers, losses = self.processes.gather([failed, *counts, *has_gradient], bits).T
        if has_failed.any():
            return None
        tables = zip(self.tables, touched, numbers, strict=False)
        exchanges: list[Callable[[], Callable[[], None]]]
        exchanges = [partial(self._start_table, *of_table) for of_table in tables]
        exchanges += [partial(self._start_bucket, bucket) for bucket in self.buckets]
        under_way: deque[Callable[[], None]] = deque()
        for start in exchanges:
            under_way.append(start())
            if len(under_way) > _UNDER_WAY:
                under_way.popleft()()
        for finish in under_way:
            finish()
        for parameter, by_process in zip(self.parameters, numbers[len(self.tables) :], strict=True):
            if not by_process.any():
                parameter.grad = None
        return torch.from_numpy(losses.astype(np.int32)).view(torch.float32).sum().to(self.processes.device)

    def _start_table(self, table: nn.Parameter, own: Tensor, counts: NDArray[np.int64]) -> Callable[[], None]:
        """Begin to exchange a table's gradient. Shapes: own (touched rows,); counts (processes,), of touched rows."""
        most = int(counts.max())
        if most * len(counts) > len(table):
            return self._start_bucket([table])
        gradient = table.grad = _gradient(table)
        if not most:
            return lambda: None
        padded = own.new_zeros(most)
        padded[: len(own)] = own
        rows, rows_exchanged = self.processes.start_gather(padded)
        values, values_exchanged = self.processes.start_gather(gradient.index_select(0, padded))

        def finish() -> None:
            rows_exchanged.wait()
            values_exchanged.wait()
            gradient.index_fill_(0, own, 0)
            for of_process, numbers, count in zip(rows, values, counts.tolist(), strict=True):
                gradient.index_add_(0, of_process[:count], numbers[:count])

        return finish

    def _start_bucket(self, parameters: Sequence[nn.Parameter]) -> Callable[[], None]:
        """Begin to sum a bucket, of which the gradients become parts; a single one stays in its place."""
        gradients = [_gradient(p) for p in parameters]
        flat = gradients[0] if len(gradients) == 1 else torch.cat([gradient.flatten() for gradient in gradients])
        exchanged = self.processes.start_sum(flat)

        def finish() -> None:
            exchanged.wait()
            for parameter, part in zip(parameters, flat.flatten().split([p.numel() for p in parameters]), strict=True):
                parameter.grad = part.view_as(parameter)

        return finish


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters in their order, as many together as a bucket holds, or one that is larger."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.nbytes for p in bucket) + parameter.nbytes > _BUCKET_BYTES:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _gradient(parameter: nn.Parameter) -> Tensor:
    """A parameter's gradient in one piece of memory; zeros where this process has none."""
    gradient: Tensor = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return gradient.contiguous()


def _touched_rows(table: nn.Parameter) -> Tensor:
    """Rows of a table whose gradient is not zero, also if it is not finite. Shapes: result (touched rows,) int64."""
    if table.grad is None:
        return torch.zeros(0, dtype=torch.int64, device=table.device)
    largest: Tensor = torch.linalg.vector_norm(table.grad, ord=float("inf"), dim=1)
    return (largest != 0).nonzero().squeeze(1)
