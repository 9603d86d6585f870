"""A student as an ONNX file, whichever kind it is: one contract, all dimensions symbolic, padding on the right."""

from __future__ import annotations

import json
from pathlib import Path
from pkgutil import resolve_name

import onnx

from xtremedistil_ner.labels import LabelScheme, Transitions
from xtremedistil_ner.models.kinds import StudentNetwork, kind_of


def write_graph(path: Path, graph: onnx.ModelProto) -> None:
    """Write a graph as an ONNX file; equal graphs give equal bytes."""
    path.write_bytes(graph.SerializeToString(deterministic=True))


def build_graph(
    network: StudentNetwork, scheme: LabelScheme, *, max_pieces: int, transitions: Transitions | None = None
) -> onnx.ModelProto:
    """The graph of a student; its metadata has `tags` (a JSON list), `max_pieces`, and a CRF's `transitions`.

    Shapes: input_ids, attention_mask (batch, pieces) int64; logits (batch, pieces, tags) float32, those of padding
    mean nothing; transitions (tags + 1, tags), a JSON list of lists in the metadata.
    """
    metadata = {"tags": json.dumps(scheme.tags, ensure_ascii=False), "max_pieces": str(max_pieces)}
    if transitions is not None:
        metadata["transitions"] = json.dumps(transitions.tolist())
    graph: onnx.ModelProto = resolve_name(kind_of(network).graph)(network, metadata=metadata)
    return graph
