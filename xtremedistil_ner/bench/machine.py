"""What a benchmark ran on: processor or GPU, threads, versions of the libraries."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_VERSIONS = ("torch", "onnxruntime", "openvino", "spacy", "transformers")


def describe_machine(*, threads: int, device: str = "cpu") -> dict[str, Any]:
    """Name and versions, as JSON has them."""
    return {
        "processor": _processor_name() if device == "cpu" else torch.cuda.get_device_name(),
        "threads": threads,
        "device": device,
        "versions": dict(_versions()),
    }


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for name in _VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            yield name, version(name)
