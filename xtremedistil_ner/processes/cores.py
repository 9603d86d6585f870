"""What this process may use of its machine: its cores, and whether its processor multiplies bf16 itself."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

_BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
"""As Linux names them in /proc/cpuinfo; the last one is Arm's. An AVX-512 without them emulates bf16."""
_ONEDNN_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_ONEDNN_WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Source: oneDNN, "CPU Dispatcher Control". All higher ones have bf16; AVX2_VNNI_2 only converts it."""
_TORCH_CAP = "ATEN_CPU_CAPABILITY"
_TORCH_WITHOUT_BF16 = {"DEFAULT", "AVX2"}


def available_cores() -> int:
    """Cores that this process may run on; all cores if the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The model of the processor, or its architecture if the system does not say."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def cpu_bf16() -> str:
    """The flags of this processor's native bf16; empty if it has none, or may not use it."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return "" if bf16_cap(os.environ) else ", ".join(bf16_flags(text))


def bf16_flags(cpuinfo: str) -> list[str]:
    """The bf16 flags of the first processor in a /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return [flag for flag in _BF16_FLAGS if flag in value.split()]
    return []


def bf16_cap(environment: Mapping[str, str]) -> str:
    """The first variable, as `NAME=value`, that makes oneDNN or torch compute without bf16; empty if none does."""
    caps = {name: _ONEDNN_WITHOUT_BF16 for name in _ONEDNN_CAPS} | {_TORCH_CAP: _TORCH_WITHOUT_BF16}
    set_caps = (f"{name}={environment[name]}" for name, low in caps.items() if environment.get(name, "").upper() in low)
    return next(set_caps, "")
