"""The convolutional student as an ONNX graph, written node by node.

A convolution is a product of each piece's row of neighbours with one matrix, not a `Conv` node: so its int8 form is
that of every other matrix. (ONNX Runtime, one thread of an EPYC, (50, 100), three layers over 5 pieces, us of CPU a
batch of 32 rows as a product in float32, as `Conv`, as a product in int8: 2,300, 1,920 and 1,470 at 32 pieces, 1,030,
1,300 and 660 at 12; a (50, 200) BiLSTM beside them 6,460 in float32 and 4,040 in int8, 2,380 and 1,580.)
All dimensions are symbolic; padding belongs on the right.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from xtremedistil_ner.export.onnx_nodes import Floats, Weights, head_nodes, linear_nodes, make_graph, numbers
from xtremedistil_ner.models.cnn import Cnn

_TO_THE_END = np.iinfo(np.int64).max


def build_cnn_graph(network: Cnn, *, metadata: dict[str, str]) -> onnx.ModelProto:
    """The graph of a student.

    Shapes: input_ids, attention_mask (batch, pieces) int64; logits (batch, pieces, tags) float32, those of padding
    mean nothing.
    """
    weights: Weights = {
        "embeddings": numbers(network.embeddings.weight),
        "last_axis": np.array([-1], dtype=np.int64),
        "pieces_axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["real"]),
        helper.make_node("Gather", ["embeddings", "input_ids"], ["states_0"]),
    ]
    for index, layer in enumerate(network.convolutions):
        name, convolution = f"convolution_{index}", cast("nn.Conv1d", layer)
        nodes += _convolution_nodes(f"states_{index}", name, f"states_{index + 1}", convolution, is_residual=index > 0)
        weights |= _convolution_weights(name, convolution)
    projection = network.projection if network.shape.head == "projected" else None
    top, top_weights = head_nodes(f"states_{len(network.convolutions)}", projection, network.classifier)
    return make_graph(nodes + top, weights | top_weights, name="xner-cnn", metadata=metadata)


def _convolution_nodes(
    source: str, name: str, target: str, convolution: nn.Conv1d, *, is_residual: bool
) -> list[onnx.NodeProto]:
    """One layer over `_convolution_weights` of the same name; padding is zero before it.

    Shapes: source, target (batch, pieces, width).
    """
    kernel = convolution.kernel_size[0]
    activated = f"{name}_found" if is_residual else target
    nodes = [
        helper.make_node("Mul", [source, "real"], [f"{name}_real"]),
        helper.make_node("Pad", [f"{name}_real", f"{name}_border"], [f"{name}_padded"]),
        *(
            helper.make_node(
                "Slice",
                [f"{name}_padded", f"{name}_start_{index}", f"{name}_end_{index}", "pieces_axis"],
                [f"{name}_neighbour_{index}"],
            )
            for index in range(kernel)
        ),
        helper.make_node(
            "Concat", [f"{name}_neighbour_{index}" for index in range(kernel)], [f"{name}_window"], axis=-1
        ),
        *linear_nodes(f"{name}_window", name, f"{name}_sum"),
        helper.make_node("Relu", [f"{name}_sum"], [activated]),
    ]
    return [*nodes, helper.make_node("Add", [f"{name}_real", activated], [target])] if is_residual else nodes


def _convolution_weights(name: str, convolution: nn.Conv1d) -> Weights:
    """The matrix (kernel * width before, width), its bias, and where each neighbour begins and ends in a padded row."""
    kernel, step = convolution.kernel_size[0], convolution.dilation[0]
    border = (kernel - 1) // 2 * step
    matrix: Floats = numbers(convolution.weight).transpose(2, 1, 0).reshape(-1, convolution.out_channels)
    weights: Weights = {
        f"{name}_w": np.ascontiguousarray(matrix),
        f"{name}_b": numbers(cast("nn.Parameter", convolution.bias)),
        f"{name}_border": np.array([0, border, 0, 0, border, 0], dtype=np.int64),
    }
    for index in range(kernel):
        behind = (kernel - 1 - index) * step
        weights[f"{name}_start_{index}"] = np.array([index * step], dtype=np.int64)
        weights[f"{name}_end_{index}"] = np.array([-behind if behind else _TO_THE_END], dtype=np.int64)
    return weights
