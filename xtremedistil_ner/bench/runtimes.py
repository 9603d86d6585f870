"""One batch of pieces through a model, in each runtime that is installed."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xtremedistil_ner.tagging.tagger import BATCH_PIECES, open_session

RunBatch = Callable[[NDArray[np.int64]], object]
"""Logits of a batch without padding. Shapes: input_ids (batch, pieces) int64."""


def torch_runner(model: nn.Module, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> RunBatch:
    """A network of `transformers` or a student, in one precision throughout."""
    model = model.to(device, dtype).eval()

    @torch.inference_mode()
    def run(input_ids: NDArray[np.int64]) -> object:
        ids = torch.from_numpy(input_ids).to(device)
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return getattr(output, "logits", output).float().cpu()

    return run


def onnx_runner(graph: Path, *, threads: int, device: Literal["cpu", "cuda"] = "cpu") -> RunBatch:
    """A graph in ONNX Runtime."""
    session = open_session(graph, threads=threads, device=device)

    def run(input_ids: NDArray[np.int64]) -> object:
        return session.run(["logits"], {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)})[0]

    return run


def in_tagger_batches(run: RunBatch) -> RunBatch:
    """A runner as a tagger uses it: a batch above its budget of pieces goes through in parts."""

    def run_parts(input_ids: NDArray[np.int64]) -> object:
        rows = max(1, BATCH_PIECES // input_ids.shape[1])
        return [run(input_ids[start : start + rows]) for start in range(0, len(input_ids), rows)]

    return run_parts


def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def has_nncf() -> bool:
    """Whether NNCF, which quantises for OpenVINO, is installed."""
    return find_spec("nncf") is not None


def quantise_for_openvino(graph: Path, target: Path, *, vocabulary_size: int) -> Path:
    """A transformer's float32 graph with int8 products, calibrated on random pieces: good for its speed alone."""
    import nncf
    import openvino

    random = np.random.default_rng(0)
    ids = [random.integers(0, vocabulary_size, (4, 32)) for _ in range(8)]
    samples = nncf.Dataset([{"input_ids": batch, "attention_mask": np.ones_like(batch)} for batch in ids])
    model = openvino.Core().read_model(str(graph))
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # it draws progress bars there, in the middle of our JSON
        quantised = nncf.quantize(model, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(ids))
    openvino.save_model(quantised, target)
    return target


def openvino_runner(graph: Path, *, threads: int, precision: str = "float32") -> RunBatch:
    """A float32 graph in OpenVINO, computed in `precision`: float32 or bfloat16."""
    import openvino

    core = openvino.Core()
    options: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(core.read_model(str(graph)), "CPU", options).create_infer_request()

    def run(input_ids: NDArray[np.int64]) -> object:
        return request.infer({"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)})

    return run
