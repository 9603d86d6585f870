"""The BiLSTM student as an ONNX graph, written node by node.

Not by torch's exporters: they freeze the number of pieces of an LSTM. Here both directions are one bidirectional
`LSTM` node with `sequence_lens`, whose kernel stops at a row's last piece, so that in float32 a row's logits are
bit for bit the same alone and in any batch. All dimensions are symbolic; padding belongs on the right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from xtremedistil_ner.export.onnx_nodes import Floats, Weights, head_nodes, make_graph, numbers
from xtremedistil_ner.models.bilstm import BiLstm


def build_bilstm_graph(network: BiLstm, *, metadata: dict[str, str]) -> onnx.ModelProto:
    """The graph of a student.

    Shapes: input_ids, attention_mask (batch, pieces) int64; logits (batch, pieces, tags) float32, those of padding
    mean nothing.
    """
    hidden_width = network.shape.hidden_width
    weights: Weights = {
        "embeddings": numbers(network.embeddings.weight),
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
    projection = network.projection if network.shape.head == "projected" else None
    top, top_weights = head_nodes("hidden", projection, network.classifier)
    return make_graph(nodes + top, weights | top_weights, name="xner-bilstm", metadata=metadata)


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
    gate_i, gate_f, gate_c, gate_o = np.split(numbers(parameter), 4)
    return np.concatenate([gate_i, gate_o, gate_f, gate_c])
