"""Rows in, logits of every word out: batches by length for any model that reads pieces.

Numpy only: the tagging path imports this module and must not pay for torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.pieces.encoder import EncodedCorpus, Ints, PieceBatch, PieceEncoder

Predictor = Callable[[PieceBatch], NDArray[np.float32]]
"""Word logits of a batch: (batch, words, tags) float32. Teacher, student and ONNX session all are predictors."""

NEVER = -1e4
"""Logit of a tag that a word without a piece cannot have, or a teacher does not give; finite, also in float16."""


@dataclass(frozen=True, slots=True)
class WordLogits:
    """Logits of the words of some sentences, one sentence after the other.

    Shapes: logits (all words, tags) float32, those of tag 0, `O`, where not covered; covered (all words,) bool, false
    for words without a piece; offsets (sentences + 1,) int64 into both.
    """

    logits: NDArray[np.float32]
    covered: NDArray[np.bool_]
    offsets: NDArray[np.int64]


def plan_batches(lengths: Ints, *, batch_pieces: int) -> list[NDArray[np.int64]]:
    """Rows grouped by length so that rows times longest length stays within the budget (one row at least).

    Shapes: lengths (rows,); result: arrays of row numbers, shortest rows first; equal lengths keep their order.
    """
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    batches, start = [], 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - start) * int(lengths[order[stop]]) > batch_pieces:
            batches.append(order[start:stop])
            start = stop
    return batches


def compute_word_logits(
    predictor: Predictor, encoder: PieceEncoder, sentences: Sequence[Sequence[str]], *, n_tags: int, batch_pieces: int
) -> WordLogits:
    """Logits of every word of some sentences.

    Raises: ModelError for logits that are not finite.
    """
    return compute_encoded_logits(
        predictor, encoder, encoder.encode(sentences), n_tags=n_tags, batch_pieces=batch_pieces
    )


def compute_encoded_logits(
    predictor: Predictor, encoder: PieceEncoder, encoded: EncodedCorpus, *, n_tags: int, batch_pieces: int
) -> WordLogits:
    """Logits of every word of an encoded corpus, in batches of rows of similar length.

    Raises: ModelError for logits that are not finite.
    """
    logits = np.full((encoded.n_words, n_tags), NEVER, dtype=np.float32)
    logits[:, 0] = 0.0
    covered = np.zeros(encoded.n_words, dtype=np.bool_)
    for rows in plan_batches(encoded.piece_lengths(), batch_pieces=batch_pieces):
        batch = encoder.collate(encoded, rows)
        positions = encoded.predicted_positions(batch)
        batch_logits = predictor(batch)[batch.word_mask]
        if not np.isfinite(batch_logits).all():
            raise ModelError("The model gives logits that are no finite numbers. Train or export it again.")
        logits[positions] = batch_logits
        covered[positions] = True
    return WordLogits(logits, covered, np.asarray(encoded.sentence_words, dtype=np.int64))
