"""The student as an ONNX graph, written node by node.

Not by torch's exporters: they freeze the number of pieces of an LSTM. Here both directions are one bidirectional
`LSTM` node with `sequence_lens`, whose kernel stops at a row's last piece, so that in float32 a row's logits are
bit for bit the same alone and in any batch. All dimensions are symbolic; padding belongs on the right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.bilstm import BiLstm

OPSET = 17
IR_VERSION = 8  # what opset 17 came with: runtimes since 2022 read it
Floats = NDArray[np.float32]


def write_onnx(path: Path, network: BiLstm, scheme: LabelScheme, *, max_pieces: int) -> None:
    """Write `network` as an ONNX file; equal weights give equal bytes."""
    graph = build_graph(network, scheme, max_pieces=max_pieces)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def build_graph(network: BiLstm, scheme: LabelScheme, *, max_pieces: int) -> onnx.ModelProto:
    """The graph of a student; its metadata has `tags` (a JSON list) and `max_pieces`.

    Shapes: input_ids, attention_mask (batch, pieces) int64; logits (batch, pieces, tags) float32, those of padding
    mean nothing.
    """
    hidden_width = network.shape.hidden_width
    weights = {
        "embeddings": _numbers(network.embeddings.weight),
        **_lstm_weights([network.forward_lstm, network.backward_lstm]),
        "merged": np.array([0, 0, 2 * hidden_width], dtype=np.int64),
        "pieces_axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("ReduceSum", ["attention_mask", "pieces_axis"], ["lengths_wide"], keepdims=0),
        helper.make_node("Cast", ["lengths_wide"], ["lengths"], to=TensorProto.INT32),
        helper.make_node("Transpose", ["input_ids"], ["ids_by_step"], perm=[1, 0]),
        helper.make_node("Gather", ["embeddings", "ids_by_step"], ["embedded"]),
        helper.make_node(
            "LSTM",
            ["embedded", "lstm_w", "lstm_r", "lstm_b", "lengths"],
            ["states_by_step"],  # (pieces, directions, batch, hidden)
            direction="bidirectional",
            hidden_size=hidden_width,
        ),
        helper.make_node("Transpose", ["states_by_step"], ["states"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["states", "merged"], ["hidden"]),
    ]
    hidden = "hidden"
    if network.shape.head == "projected":
        nodes += _linear_nodes("hidden", "projection", "projected") + _gelu_nodes("projected", "represented")
        weights |= _linear_weights("projection", cast("nn.Linear", network.projection))
        weights |= {name: np.array(value, dtype=np.float32) for name, value in _GELU_CONSTANTS.items()}
        hidden = "represented"
    nodes += _linear_nodes(hidden, "classifier", "logits")
    weights |= _linear_weights("classifier", network.classifier)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "xner-bilstm",
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
    metadata = {"tags": json.dumps(scheme.tags, ensure_ascii=False), "max_pieces": str(max_pieces)}
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model


_GELU_CONSTANTS = {"sqrt_half": math.sqrt(0.5), "one": 1.0, "half": 0.5}


def _gelu_nodes(source: str, target: str) -> list[onnx.NodeProto]:
    """Exact GELU, x / 2 * (1 + erf(x / sqrt 2)); opset 17 has no node of that name."""
    return [
        helper.make_node("Mul", [source, "sqrt_half"], ["gelu_scaled"]),
        helper.make_node("Erf", ["gelu_scaled"], ["gelu_erf"]),
        helper.make_node("Add", ["gelu_erf", "one"], ["gelu_gate"]),
        helper.make_node("Mul", [source, "gelu_gate"], ["gelu_double"]),
        helper.make_node("Mul", ["gelu_double", "half"], [target]),
    ]


def _linear_nodes(source: str, name: str, target: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", [source, f"{name}_w"], [f"{name}_product"]),
        helper.make_node("Add", [f"{name}_product", f"{name}_b"], [target]),
    ]


def _linear_weights(name: str, layer: nn.Linear) -> dict[str, NDArray[np.generic]]:
    return {f"{name}_w": np.ascontiguousarray(_numbers(layer.weight).T), f"{name}_b": _numbers(layer.bias)}


def _lstm_weights(directions: Sequence[nn.LSTM]) -> dict[str, NDArray[np.generic]]:
    """Weights as ONNX stacks them.

    Shapes: lstm_w (directions, 4 * hidden, embedding), lstm_r (directions, 4 * hidden, hidden), lstm_b (directions,
    8 * hidden): the biases of the input, then those of the recurrence.
    """
    gates = [{name: _reorder_gates(parameter) for name, parameter in lstm.named_parameters()} for lstm in directions]
    return {
        "lstm_w": np.stack([direction["weight_ih_l0"] for direction in gates]),
        "lstm_r": np.stack([direction["weight_hh_l0"] for direction in gates]),
        "lstm_b": np.stack([np.concatenate([direction["bias_ih_l0"], direction["bias_hh_l0"]]) for direction in gates]),
    }


def _reorder_gates(parameter: Tensor) -> Floats:
    """From torch's order (input, forget, cell, output) to ONNX's (input, output, forget, cell)."""
    gate_i, gate_f, gate_c, gate_o = np.split(_numbers(parameter), 4)
    return np.concatenate([gate_i, gate_o, gate_f, gate_c])


def _numbers(parameter: Tensor) -> Floats:
    numbers: Floats = parameter.detach().float().cpu().numpy()
    return numbers
