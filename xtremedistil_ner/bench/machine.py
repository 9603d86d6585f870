"""What the machine can do at most: rates of matrix products, and of reading and writing memory.

Every rate is the best of the libraries that a model could run on, because none is best on all processors: on an AMD
EPYC torch's float32 product reaches 95 GFLOP/s, ONNX Runtime's more.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from xtremedistil_ner.processes.precision import has_native_bf16
from xtremedistil_ner.tagging.tagger import open_session

_WIDTHS = (256, 512, 1024)
_MEASURE_S = 0.4
_COPY_BYTES = 256 * 2**20
_VERSIONS = ("torch", "onnxruntime", "openvino", "spacy", "transformers")


def describe_machine(*, threads: int, device: str = "cpu") -> dict[str, Any]:
    """Name, limits and versions, as JSON has them.

    Units: GFLOP/s, where a multiplication and an addition of int8 count as two as well; GB/s read plus written.
    """
    rates = _cuda_rates() if device == "cuda" else _cpu_rates(threads)
    return {
        "processor": _processor_name() if device == "cpu" else torch.cuda.get_device_name(),
        "threads": threads,
        "device": device,
        **rates,
        "versions": dict(_versions()),
    }


def _cpu_rates(threads: int) -> dict[str, Any]:
    clock = time.process_time if threads == 1 else time.perf_counter
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        gemm = {name: max(_rate(run, flop, clock) for run, flop in runs) for name, runs in _products(threads).items()}
    finally:
        torch.set_num_threads(before)
    source = np.ones(_COPY_BYTES // 8)
    target = np.empty_like(source)
    copied = _rate(lambda: np.copyto(target, source), 2 * _COPY_BYTES, clock)
    return {"gemm_gflops": {name: rate / 1e9 for name, rate in gemm.items()}, "memory_gb_per_s": copied / 1e9}


def _products(threads: int) -> dict[str, list[tuple[Callable[[], object], float]]]:
    """Square matrix products in each precision that the processor has, with their FLOP."""
    products: dict[str, list[tuple[Callable[[], object], float]]] = {"float32": [], "bfloat16": [], "int8": []}
    for width in _WIDTHS:
        flop = 2.0 * width**3
        left, right = torch.randn(width, width), torch.randn(width, width)
        whole = torch.randint(-100, 100, (width, width), dtype=torch.int8)
        products["float32"] += [
            (_bind(torch.mm, left, right), flop),
            (_onnx_product(width, TensorProto.FLOAT, threads), flop),
        ]
        if has_native_bf16(torch.device("cpu")):
            products["bfloat16"].append((_bind(torch.mm, left.bfloat16(), right.bfloat16()), flop))
        products["int8"].append((_onnx_product(width, TensorProto.UINT8, threads), flop))
        if hasattr(torch, "_int_mm"):
            products["int8"].append((_bind(torch._int_mm, whole, whole), flop))
    return {name: runs for name, runs in products.items() if runs}


def _bind(product: Callable[..., object], *arguments: torch.Tensor) -> Callable[[], object]:
    return lambda: product(*arguments)


def _onnx_product(width: int, kind: int, threads: int) -> Callable[[], object]:
    """A product in ONNX Runtime whose right side is a weight, which it packs once, as in a model."""
    is_float = kind == TensorProto.FLOAT
    random = np.random.default_rng(0)
    left = random.normal(size=(width, width)).astype(np.float32)
    weights = left if is_float else random.integers(-60, 60, (width, width)).astype(np.int8)
    fed = left if is_float else random.integers(0, 100, (width, width)).astype(np.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMul" if is_float else "MatMulInteger", ["left", "weights"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", kind, ["rows", width])],
        [helper.make_tensor_value_info("product", kind if is_float else TensorProto.INT32, ["rows", width])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = open_session(model.SerializeToString(), threads=threads)
    return lambda: session.run(None, {"left": fed})


def _cuda_rates() -> dict[str, Any]:
    gemm = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        if name == "bfloat16" and not has_native_bf16(torch.device("cuda")):
            continue
        left = torch.randn(8192, 8192, device="cuda", dtype=dtype)
        gemm[name] = _rate(_waiting(torch.mm, left, left), 2.0 * 8192**3, time.perf_counter) / 1e9
    source = torch.ones(2**28, device="cuda")
    target = torch.empty_like(source)
    copied = _rate(_waiting(target.copy_, source), 2 * 4 * 2**28, time.perf_counter)
    return {"gemm_gflops": gemm, "memory_gb_per_s": copied / 1e9}


def _waiting(run: Callable[..., object], *arguments: torch.Tensor) -> Callable[[], object]:
    def finished() -> None:
        run(*arguments)
        torch.cuda.synchronize()

    return finished


def _rate(run: Callable[[], object], amount: float, clock: Callable[[], float]) -> float:
    """Amount per second of the fastest of several runs: a limit is what is reached without disturbance."""
    run()
    best, end = 0.0, time.monotonic() + _MEASURE_S
    while time.monotonic() < end:
        begin, count = clock(), 0
        while clock() - begin < _MEASURE_S / 10:
            run()
            count += 1
        best = max(best, count * amount / (clock() - begin))
    return best


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    from importlib.metadata import PackageNotFoundError, version

    for name in _VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            yield name, version(name)
