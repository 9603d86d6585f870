"""Algorithms of a GPU that give the same bytes each time, for `deterministic: true`. A CPU's do so anyway.

torch raises an error where it has no such algorithm. By its sources (2.8 to 2.13), the backward pass of attention then
sums in a fixed order in the flash kernel, splits no keys in the memory-efficient one, and never takes cuDNN's. With
`warn_only` the first two would stay as they are. cuBLAS, and with it cuDNN's LSTM, repeats its bytes if its workspace
is fixed, by a variable that must stand before CUDA starts. The sums of NCCL repeat on the same machines with the same
version. None of this has been tried on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Source: NVIDIA, cuBLAS, "Results Reproducibility"."""


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Compute the block by deterministic algorithms if that is wanted and there is a GPU."""
    if not wanted or not torch.cuda.is_available():
        yield
        return
    os.environ.setdefault(*_WORKSPACE)
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic = before[1]
