"""A model repository for NVIDIA Triton's ONNX Runtime backend.

Triton runs the graph and nothing else: words, pieces and tags are the client's, as the export's contract has them. The
folder is not called `triton`: inside an export, that name would take the place of the Python package, which torch looks
for, and no import of transformers would succeed there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from xtremedistil_ner.models.student import LoadedStudent

FOLDER = "triton_model_repository"
MODEL = "xner"
_CONFIG = """name: "{model}"
backend: "onnxruntime"
max_batch_size: 64
input [
  {{ name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }},
  {{ name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }}
]
output [
  {{ name: "logits" data_type: TYPE_FP32 dims: [ -1, {n_tags} ] }}
]
dynamic_batching {{ max_queue_delay_microseconds: 5000 }}
"""


def write_triton(folder: Path, graph: Path, student: LoadedStudent) -> None:
    """Write a model repository at `folder` with a copy of the float32 `graph`."""
    model = folder / MODEL
    (model / "1").mkdir(parents=True)
    shutil.copyfile(graph, model / "1" / "model.onnx")
    config = _CONFIG.format(model=MODEL, n_tags=len(student.scheme.tags))
    (model / "config.pbtxt").write_text(config, encoding="utf-8")
