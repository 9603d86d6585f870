"""The most memory that this process held since a moment; on Linux and on GPUs."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Source: proc(5), /proc/pid/clear_refs."""


def reset_peaks() -> bool:
    """Begin to measure anew; whether the system allows that for main memory."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """The largest resident memory since the last reset."""
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def gpu_peak_bytes() -> int:
    """The most that tensors took on the GPU since the last reset; 0 if this process uses none."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
