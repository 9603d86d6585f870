"""What the ONNX graphs of all kinds of student are made of, and the contract that all keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 17
IR_VERSION = 8  # what opset 17 came with: runtimes since 2022 read it
Floats = NDArray[np.float32]
Weights = dict[str, NDArray[np.generic]]


def make_graph(
    nodes: Sequence[onnx.NodeProto], weights: Mapping[str, NDArray[np.generic]], *, name: str, metadata: dict[str, str]
) -> onnx.ModelProto:
    """A checked graph from `input_ids` and `attention_mask` to `logits`.

    Shapes: input_ids, attention_mask (batch, pieces) int64; logits (batch, pieces, tags) float32; all symbolic.
    """
    model = helper.make_model(
        helper.make_graph(
            nodes,
            name,
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "pieces"])
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "pieces", "tags"])],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        producer_name="xtremedistil_ner",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model


def gelu_nodes(source: str, target: str, *, prefix: str = "gelu") -> list[onnx.NodeProto]:
    """Exact GELU, x / 2 * (1 + erf(x / sqrt 2)), over `gelu_weights`; opset 17 has no node of that name.

    ONNX Runtime makes one kernel of these very nodes: with a product in place of the quotient it does not.
    """
    return [
        helper.make_node("Div", [source, "sqrt_two"], [f"{prefix}_scaled"]),
        helper.make_node("Erf", [f"{prefix}_scaled"], [f"{prefix}_erf"]),
        helper.make_node("Add", [f"{prefix}_erf", "one"], [f"{prefix}_gate"]),
        helper.make_node("Mul", [source, f"{prefix}_gate"], [f"{prefix}_double"]),
        helper.make_node("Mul", [f"{prefix}_double", "half"], [target]),
    ]


def gelu_weights() -> Weights:
    """The constants of `gelu_nodes`."""
    constants = {"sqrt_two": math.sqrt(2.0), "one": 1.0, "half": 0.5}
    return {name: np.array(value, dtype=np.float32) for name, value in constants.items()}


def linear_nodes(source: str, name: str, target: str) -> list[onnx.NodeProto]:
    """A linear layer over `linear_weights` of the same name."""
    return [
        helper.make_node("MatMul", [source, f"{name}_w"], [f"{name}_product"]),
        helper.make_node("Add", [f"{name}_product", f"{name}_b"], [target]),
    ]


def linear_weights(name: str, layer: nn.Linear) -> Weights:
    """Matrix and bias of a linear layer, the matrix as ONNX multiplies it."""
    return {f"{name}_w": np.ascontiguousarray(numbers(layer.weight).T), f"{name}_b": numbers(layer.bias)}


def head_nodes(
    source: str, projection: nn.Linear | None, classifier: nn.Linear
) -> tuple[list[onnx.NodeProto], Weights]:
    """From states to `logits`: the projection with its GELU, if there is one, and the classifier; and their weights."""
    nodes: list[onnx.NodeProto] = []
    weights: Weights = {}
    if projection is not None:
        nodes += linear_nodes(source, "projection", "projected") + gelu_nodes("projected", "represented")
        weights |= linear_weights("projection", projection)
        weights |= gelu_weights()
        source = "represented"
    nodes += linear_nodes(source, "classifier", "logits")
    return nodes, weights | linear_weights("classifier", classifier)


def numbers(parameter: Tensor) -> Floats:
    """A weight as float32 numbers."""
    values: Floats = parameter.detach().float().cpu().numpy()
    return values
