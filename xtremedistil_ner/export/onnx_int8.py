"""The int8 version of a student's graph: a quarter of the bytes, and kernels that are about twice as fast on a CPU.

Matrices have one scale per output column and 7 bits, so that the sums of two products that older processors (AVX2
without VNNI) keep in 16 bits cannot overflow; a piece's embedding has a scale of its own. What goes into a matrix
product is quantised when it runs, with one scale for the whole batch: a text's logits depend a little on its company.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from xtremedistil_ner.export.onnx_nodes import Floats

_LARGEST = 127  # of a symmetric int8


def quantise_graph(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with int8 matrices, recurrences and embeddings; inputs, output and metadata stay.

    Equal graphs give equal graphs.
    """
    with tempfile.TemporaryDirectory(prefix="xner-int8-") as folder, _silent_logging():
        path = Path(folder, "model.onnx")
        quantize_dynamic(
            graph,
            path,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["LSTM", "MatMul"],
            extra_options={"MatMulConstBOnly": True},
        )
        quantised = onnx.load(path)
    _quantise_embeddings(quantised.graph)
    for field in ("output", "value_info"):  # shapes that the quantiser inferred have numbers for names
        quantised.graph.ClearField(field)
        getattr(quantised.graph, field).extend(getattr(graph.graph, field))
    helper.set_model_props(quantised, {entry.key: entry.value for entry in graph.metadata_props})
    onnx.checker.check_model(quantised)
    return quantised


def _quantise_embeddings(graph: onnx.GraphProto) -> None:
    """Replace each look-up in a float table by one in an int8 table, times the row's own scale."""
    tables = {table.name: table for table in graph.initializer if table.data_type == TensorProto.FLOAT}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables:
            nodes.append(node)
            continue
        table, (name, ids), (target,) = tables[node.input[0]], node.input, node.output
        rows, scales = _quantise_rows(numpy_helper.to_array(table))
        graph.initializer.remove(table)
        graph.initializer.append(numpy_helper.from_array(rows, f"{name}_rows"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
        nodes += [
            helper.make_node("Gather", [f"{name}_rows", ids], [f"{target}_int8"]),
            helper.make_node("Cast", [f"{target}_int8"], [f"{target}_unscaled"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}_scales", ids], [f"{target}_scale_half"]),
            helper.make_node("Cast", [f"{target}_scale_half"], [f"{target}_scale"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{target}_unscaled", f"{target}_scale"], [target]),
        ]
    graph.ClearField("node")
    graph.node.extend(nodes)


def _quantise_rows(table: Floats) -> tuple[np.typing.NDArray[np.int8], np.typing.NDArray[np.float16]]:
    """A table as whole numbers times one scale per row, rounded up so that the largest of a row stays in range.

    Shapes: (rows, width); (rows, width) int8, (rows, 1) float16.
    """
    exact = np.abs(table).max(axis=1, keepdims=True) / _LARGEST
    limits = np.finfo(np.float16)
    nearest = np.clip(exact, limits.smallest_normal, limits.max).astype(np.float16)
    scales = np.where(nearest < exact, np.nextafter(nearest, np.float16(np.inf)), nearest)
    return np.clip(np.rint(table / scales.astype(np.float32)), -_LARGEST, _LARGEST).astype(np.int8), scales


@contextmanager
def _silent_logging() -> Iterator[None]:
    """The quantiser advises on the root logger to infer shapes first; these graphs' weights need none."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
