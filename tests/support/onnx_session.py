"""A student's graph in ONNX Runtime, and what every student's graph promises to a service."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from support.tiny_student import MAX_PIECES, SCHEME
from xtremedistil_ner.export.onnx_graph import build_graph


def open_session(network, *, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    graph = build_graph(network, SCHEME, max_pieces=MAX_PIECES)
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session, input_ids, mask):
    return session.run(["logits"], {"input_ids": np.asarray(input_ids), "attention_mask": np.asarray(mask)})[0]


def assert_contract(graph):
    """Its interface is the promised one, and old runtimes and browsers read the graph."""
    assert_interface(graph)
    assert graph.ir_version == 8
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]


def assert_interface(graph):
    """The graph is valid, and its dimensions are symbolic."""
    onnx.checker.check_model(graph, full_check=True)
    dimensions = {
        value.name: [dimension.dim_param for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    assert dimensions == {
        "input_ids": ["batch", "pieces"],
        "attention_mask": ["batch", "pieces"],
        "logits": ["batch", "pieces", "tags"],
    }
    assert {value.type.tensor_type.elem_type for value in graph.graph.input} == {onnx.TensorProto.INT64}
