"""A model repository for NVIDIA Triton's ONNX Runtime backend, with what a client must know to call it.

Triton runs the graph and nothing else: words and pieces are the client's. It batches requests of one shape alone, so
the contract says how to group by length.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from xtremedistil_ner.models.student import LoadedStudent
from xtremedistil_ner.names import escape_markdown

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
_CONTRACT = """# Calling this model in Triton

    tritonserver --model-repository triton

Model `{model}`: inputs `input_ids` and `attention_mask`, int64, (batch, pieces); output `logits`, float32,
(batch, pieces, {n_tags}).

1. Cut the text into words: at white space, and around every punctuation character (BERT's pre-tokenizer). A corpus that
   comes in words needs no cutting.
2. Encode the words with `tokenizer.json` of the export: in Python
   `Tokenizer.from_file("tokenizer.json").encode(words, is_pretokenized=True)`, which gives the ids and, as `word_ids`,
   the word of each piece. {special}
3. A row has at most {max_pieces} pieces. Cut longer texts at word borders into windows that overlap by a quarter, and
   take each word from the window in which it lies deeper.
4. Rows of one request have one length: pad on the right with {pad_id} and 0 in `attention_mask`. Triton batches
   requests of equal shape together, so pad to a few lengths (16, 32, 64, 128, {max_pieces}).
5. A word's scores are those of its first piece. Tags, in the order of the last axis: {tags}.{crf}
6. Taking each word's best tag is enough for most uses. `xner` takes the best sequence in which `I-X` follows nothing
   but `B-X` and `I-X`.
"""


def write_triton(folder: Path, graph: Path, student: LoadedStudent) -> None:
    """Write a model repository at `folder` with a copy of the float32 `graph`, and its contract beside it."""
    place = folder / MODEL
    (place / "1").mkdir(parents=True)
    shutil.copyfile(graph, place / "1" / "model.onnx")
    config = _CONFIG.format(model=MODEL, n_tags=len(student.scheme.tags))
    (place / "config.pbtxt").write_text(config, encoding="utf-8")
    special = (
        "It puts [CLS] before them and [SEP] behind; these have no word."
        if student.encoder.prefix
        else "There are no special pieces: do not add any."
    )
    crf = " This student has a CRF: add `transitions` of `config.json` and take the best path."
    contract = _CONTRACT.format(
        model=MODEL,
        n_tags=len(student.scheme.tags),
        special=special,
        max_pieces=student.max_pieces,
        pad_id=student.encoder.pad_id,
        tags=escape_markdown(", ".join(student.scheme.tags)),
        crf="" if student.transitions is None else crf,
    )
    (folder / "CONTRACT.md").write_text(contract, encoding="utf-8")
