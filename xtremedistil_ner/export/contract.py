"""What a client of the graph must do around it: words, pieces, windows and decoding, as a page and as test vectors.

Whoever calls the graph without `xner` (ONNX Runtime, Triton, another language) writes these steps again. The vectors
tell whether that was done right: `labels.py` and `pieces/encoder.py` give the answers, and a test follows the
page alone.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.labels import LabelScheme, Transitions, decode_tags, legal_spans
from xtremedistil_ner.models.student import LoadedStudent
from xtremedistil_ner.names import escape_markdown
from xtremedistil_ner.pieces.encoder import cut_into_windows
from xtremedistil_ner.pieces.predictor import NEVER
from xtremedistil_ner.run_folder.whole_files import write_json
from xtremedistil_ner.tagging.entity_scores import type_probabilities

CONTRACT_FILE = "CONTRACT.md"
VECTORS_FILE = "decoding_vectors.json"
_FAVOUR = 4.0  # of logits between -1 and 1, what makes a tag the best one
_CONTRACT = """# Calling this model without xner

Inputs `input_ids` and `attention_mask`, int64, (batch, pieces); output `logits`, float32, (batch, pieces, {n_tags}).
`{vectors}` has inputs and right answers of steps 3, 6 and 7.

1. Cut the text into words: at white space, and around every punctuation character (BERT's pre-tokenizer). A corpus that
   comes in words needs no cutting.
2. Encode the words with `tokenizer.json` of the export: in Python
   `Tokenizer.from_file("tokenizer.json").encode(words, is_pretokenized=True)`, which gives the ids and, as `word_ids`,
   the word of each piece. {special}
3. A row has at most {max_pieces} pieces, of which {room} are words'. Cut longer texts into windows of whole words:

       windows(counts):                  # counts[w]: pieces of word w; ends[w] = counts[0] + … + counts[w]
           start = keep_start = 0
           repeat:
               before = ends[start - 1], or 0 where start is 0
               stop = max(start + 1, number of words w with ends[w] <= before + {room})
               if stop is the number of words:
                   give (start, stop, keep_start, stop) and end
               next = 1 + the first word w with ends[w] >= ends[stop - 1] - {overlap}
               next = min(stop, max(start + 1, next))
               keep_stop = (next + stop + 1) // 2
               give (start, stop, keep_start, keep_stop)
               start, keep_start = next, keep_stop

   A window holds the words from start to before stop; those from keep_start to before keep_stop take their logits from
   it.
   Of a word of more than {room} pieces the first {room} are read.
4. Rows of one request have one length: pad on the right with {pad_id} and 0 in `attention_mask`. (Triton batches
   requests of equal shape together, so pad to a few lengths there.) Send at least one row of at least one piece: a
   batch without rows ends the process in ONNX Runtime's recurrent nodes (segmentation fault). A text without words, or
   whose words have no pieces, has no entities and needs no call.
5. A word's logits are those of its first piece; the logits of other pieces mean nothing. A word without a piece has 0
   for `O` and {never:.0f} for every other tag. Tags, in the order of the last axis: {tags}.
6. Decode all words of a text together, its windows joined. The best tag of each word by itself is not enough: it may be
   an `I-X` that follows neither `B-X` nor `I-X`.

       decode(logits):                   # logits[w][t] of word w and tag t; of equal sums the first is taken
           best[t] = start[t] + logits[0][t]
           for w = 1, 2, …:
               from[w][t] = the p with the largest best[p] + step[p][t]
               best[t] = best[p] + step[p][t] + logits[w][t], with that p, for all t at once
           the last word has the t with the largest best[t]; the word before a word w of tag t has from[w][t]

   `start[t]` is minus infinity for every `I-`, else 0. `step[p][t]` is minus infinity where t is `I-X` and p is neither
   `B-X` nor `I-X`, else 0.{crf}
7. An entity of type X is a `B-X` and every `I-X` right after it. Its score is the mean over its words of P(`B-X`) +
   P(`I-X`), the softmax of the word's logits alone.
"""
_CRF = """ This student has a CRF: add `transitions[0][t]` of `config.json` to `start[t]`, and
   `transitions[1 + p][t]` to `step[p][t]`."""


def write_contract(folder: Path, student: LoadedStudent) -> None:
    """Write `CONTRACT.md` and the test vectors of a student into an export."""
    encoder, tags = student.encoder, student.scheme.tags
    contract = _CONTRACT.format(
        n_tags=len(tags),
        vectors=VECTORS_FILE,
        special="It puts [CLS] before them and [SEP] behind; these have no word."
        if encoder.prefix
        else "There are no special pieces: do not add any.",
        max_pieces=student.max_pieces,
        room=encoder.budget,
        overlap=encoder.budget // 4,
        pad_id=encoder.pad_id,
        never=NEVER,
        tags=escape_markdown(", ".join(tags)),
        crf="" if student.transitions is None else _CRF,
    )
    (folder / CONTRACT_FILE).write_text(contract, encoding="utf-8")
    write_json(
        folder / VECTORS_FILE,
        {
            "tags": tags,
            "room": encoder.budget,
            "windows": [_window_vector(counts, encoder.budget) for counts in _piece_counts(encoder.budget)],
            "decoding": [
                _decoding_vector(name, logits, student.scheme, student.transitions)
                for name, logits in _word_logits(student.scheme).items()
            ],
        },
    )


def _piece_counts(room: int) -> list[list[int]]:
    """Pieces of each word of some texts: one that fits, long ones, words without a piece, and one longer than a row."""
    return [
        [1] * room,
        [1] * (3 * room),
        [1 + word % 3 for word in range(2 * room)],
        [word % 2 for word in range(3 * room)],
        [1, room + 1, 1, 1],
    ]


def _window_vector(counts: list[int], room: int) -> dict[str, Any]:
    return {"pieces": counts, "windows": cut_into_windows(np.array(counts, dtype=np.int64), room)}


def _word_logits(scheme: LabelScheme) -> dict[str, NDArray[np.float32]]:
    """Logits of some texts by what they show. Shapes: (words, tags), multiples of 1/64, which every format keeps."""
    one, other = scheme.types[:1], scheme.types[1:2]
    texts = {"no tag stands out": [""] * 12}
    for x in one:
        texts |= {
            "legal as it is": ["O", f"B-{x}", f"I-{x}", "O", f"B-{x}", f"B-{x}"],
            "begins with I-": [f"I-{x}", f"I-{x}", "O"],
            "I- after O": ["O", f"I-{x}", "O", f"I-{x}", f"I-{x}"],
            "a word without a piece in an entity": [f"B-{x}", "no piece", f"I-{x}"],
            "an entity over the border of two windows": [f"B-{x}", *[f"I-{x}"] * 4, "O"],
        }
        for y in other:
            texts["I- after another type"] = [f"B-{x}", f"I-{y}", f"I-{y}", f"I-{x}", f"I-{x}"]
    return {name: _logits_that_favour(best, scheme.tags) for name, best in texts.items()}


def _logits_that_favour(best_tags: list[str], tags: tuple[str, ...]) -> NDArray[np.float32]:
    logits = np.full((len(best_tags), len(tags)), NEVER, dtype=np.float32)
    for word, best in enumerate(best_tags):
        if best == "no piece":
            logits[word, 0] = 0.0
            continue
        for index, tag in enumerate(tags):
            noise = math.sin(1.7 * word + 2.3 * index + 0.4 * word * index)
            logits[word, index] = round(64 * noise) / 64 + _FAVOUR * (tag == best)
    return logits


def _decoding_vector(
    name: str, logits: NDArray[np.float32], scheme: LabelScheme, transitions: Transitions | None
) -> dict[str, Any]:
    ids = decode_tags(logits, scheme, transitions)
    scores = type_probabilities(logits, ids)
    entities = [
        {"type": scheme.tags[ids[begin]][2:], "first": begin, "stop": stop, "score": float(scores[begin:stop].mean())}
        for begin, stop in zip(*(borders.tolist() for borders in legal_spans(ids)), strict=True)
    ]
    return {"name": name, "logits": logits.tolist(), "tags": scheme.decode(ids), "entities": entities}
