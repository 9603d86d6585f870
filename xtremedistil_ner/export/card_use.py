"""The model card's sections on what a student is for and how to load it, for the files that an export has.

The snippets run as they stand, from inside the folder; a test runs them.
"""

from __future__ import annotations

from collections.abc import Collection

from xtremedistil_ner.models.student import WEIGHTS_FILE
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES

_LIMITS = """
## Intended use and limits

For finding names in running text of the languages it was trained on. What is known of its quality are the scores above;
in other languages, kinds of text and spellings, such as text without capitals, it is unknown. Tags are guesses about
text and no facts about persons: decide nothing about people by them.

It was trained on windows of at most {max_pieces} pieces.
"""

_XNER = """
With `xner` (numpy, tokenizers and ONNX Runtime; it checks `manifest.json` first):

```python
from xtremedistil_ner import Tagger

tagger = Tagger.from_pretrained(".")
for entity in tagger.tag(["Marie Curie was born in Warsaw."])[0]:
    print(entity.text, entity.type, entity.start, entity.end, entity.score)
```
"""
_TRANSFORMERS = """
With `transformers`. Of its strategies `first` comes nearest to `xner`: it takes each word's best tag by itself. The
others read the tags of all pieces, of which only each word's first was trained: `simple` cuts words into parts, and
with `average` and `max` untrained pieces have a say in their word's tag.

```python
{pipeline}
print(tagger("Marie Curie was born in Warsaw."))
```
"""
_ONNX = """
With ONNX Runtime alone, in any language that has it. This prints each word's best tag by itself, that of its first
piece; `CONTRACT.md` has batches, windows and decoding:

```python
import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("{graph}")
tags = json.loads(session.get_modelmeta().custom_metadata_map["tags"])

encoding = tokenizer.encode("Marie Curie was born in Warsaw.")
input_ids = np.array([encoding.ids], dtype=np.int64)
inputs = {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)}
(logits,) = session.run(["logits"], inputs)
previous = None
for word, piece, scores in zip(encoding.word_ids, encoding.tokens, logits[0]):
    if {starts}:
        print(piece, tags[scores.argmax()])
    previous = word
```
"""
_HTTP = """
Over HTTP, with `xner serve .` running (`pip install 'xtremedistil-ner[serve]'`; it has a page to try it at `/`):

```sh
curl -s http://127.0.0.1:8000/v1/tag -H 'Content-Type: application/json' \\
  -d '{"texts": ["Marie Curie was born in Warsaw."]}'
```
"""
_CRF = """

This student has a CRF: `xner` alone adds its transition scores (`transitions` in `config.json`) to the logits and takes
the best path, as the scores above were made. Whatever else loads it takes each word's best tag."""

_OWN = {
    "{windows}": (
        "`xner` alone reads long\n"
        "texts in the windows that the model was trained on, and never answers an `I-` tag that continues nothing."
    ),
    "{pipeline}": (
        "import xtremedistil_ner.hf  # registers the architecture\n"
        "from transformers import pipeline\n\n"
        'tagger = pipeline("token-classification", model=".", aggregation_strategy="first")'
    ),
    "{starts}": "word != previous",
}
_STOCK = {
    "{windows}": (
        "`xner` cuts long\n"
        "texts at word borders into windows of {max_pieces} pieces; `transformers` does so with `stride`, and the\n"
        "graph alone leaves it to you. `xner` alone never answers an `I-` tag that continues nothing."
    ),
    "{pipeline}": (
        "from transformers import pipeline\n\n"
        'tagger = pipeline("token-classification", model=".", aggregation_strategy="first", stride={stride})'
    ),
    "{starts}": "word is not None and word != previous",
}


def format_limits(max_pieces: int) -> str:
    """What the model is for, and what it is not."""
    return _LIMITS.replace("{max_pieces}", str(max_pieces))


def format_use(files: Collection[str], *, is_own: bool, max_pieces: int, has_crf: bool) -> str:
    """How to load what the export has: one snippet for each way."""
    text = '\n## Use\n\nRun these inside this folder, or give its path instead of `"."`. They share pieces and logits.'
    text += " `CONTRACT.md` says\nwhat `xner` does around the graph; `decoding_vectors.json` has answers to test by."
    text += " {windows}" + (_CRF if has_crf else "") + "\n"
    graphs = [file for file in GRAPH_FILES.values() if file in files]
    if graphs:
        text += _XNER
    if WEIGHTS_FILE in files:
        text += _TRANSFORMERS
    if graphs:
        text += _ONNX.replace("{graph}", graphs[0]) + _HTTP
    for place, words in (_OWN if is_own else _STOCK).items():
        text = text.replace(place, words)
    return text.replace("{max_pieces}", str(max_pieces)).replace("{stride}", str(max_pieces // 4))
