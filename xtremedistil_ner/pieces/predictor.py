"""Rows in, logits of every word out: batches by length for any model that reads pieces.

While a GPU computes a batch, the host collates the next one and takes the logits of the last one. If memory runs out,
the remaining rows are computed in batches of half the size, unless a caller forbids it.

Numpy only: the tagging path imports this module and must not pay for torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.errors import ModelError, is_lack_of_memory
from xtremedistil_ner.pieces.encoder import EncodedCorpus, Ints, PieceBatch, PieceEncoder

Logits = NDArray[np.float32]
Predictor = Callable[[PieceBatch], Logits]
"""Word logits of a batch: (batch, words, tags) float32. Teacher, student and ONNX session all are predictors."""

GPU_BATCH_PIECES = 65_536
"""Pieces of a batch that is only scored on a GPU. Larger ones add memory, and no speed that was measured."""
NEVER = -1e4
"""Logit of a tag that a word without a piece cannot have, or a teacher does not give; finite, also in float16."""


def unheard(_: str) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class QueuedPredictor:
    """A predictor that begins a batch and gives its logits later: a GPU computes while the host prepares the next.

    `begin` returns the function that waits for a batch's logits; `free` gives unused memory back to the device. After
    memory ran out, `most_pieces` limits the pieces of a batch, padding included; `say` is told each new limit.
    """

    begin: Callable[[PieceBatch], Callable[[], Logits]]
    free: Callable[[], None] = lambda: None
    say: Callable[[str], None] = unheard
    most_pieces: int | None = None

    def __call__(self, batch: PieceBatch) -> Logits:
        """A batch's logits, waited for."""
        return self.begin(batch)()

    def limit(self, pieces: int) -> None:
        """Free memory, and give later batches `pieces` pieces at most."""
        self.free()
        self.say(f"memory ran out: batches of at most {pieces:,} pieces from here on")
        self.most_pieces = pieces


def counting_words(predictor: Predictor, heard: Callable[[int], None]) -> QueuedPredictor:
    """The predictor, which tells `heard` the number of words of each batch that it begins."""
    queued = _queued(predictor)

    def begin(batch: PieceBatch) -> Callable[[], Logits]:
        heard(int(np.count_nonzero(batch.word_mask)))
        return queued.begin(batch)

    return replace(queued, begin=begin)


def _queued(predictor: Predictor) -> QueuedPredictor:
    return (
        predictor if isinstance(predictor, QueuedPredictor) else QueuedPredictor(lambda rows: partial(predictor, rows))
    )


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
    predictor: Predictor,
    encoder: PieceEncoder,
    encoded: EncodedCorpus,
    *,
    n_tags: int,
    batch_pieces: int,
    may_halve: bool = True,
) -> WordLogits:
    """Logits of every word of an encoded corpus, in batches of rows of similar length.

    Raises: ModelError for logits that are not finite; the error of a lack of memory if the longest row does not fit, or
    if batches may not be halved.
    """
    logits = np.full((encoded.n_words, n_tags), NEVER, dtype=np.float32)
    logits[:, 0] = 0.0
    covered = np.zeros(encoded.n_words, dtype=np.bool_)
    for batch, padded_logits in _score_rows(predictor, encoder, encoded, batch_pieces, may_halve):
        positions = encoded.predicted_positions(batch)
        batch_logits = padded_logits[batch.word_mask]
        if not np.isfinite(batch_logits).all():
            raise ModelError("The model gives logits that are no finite numbers. Train or export it again.")
        logits[positions] = batch_logits
        covered[positions] = True
    return WordLogits(logits, covered, np.asarray(encoded.sentence_words, dtype=np.int64))


def _score_rows(
    predictor: Predictor, encoder: PieceEncoder, encoded: EncodedCorpus, batch_pieces: int, may_halve: bool
) -> Iterator[tuple[PieceBatch, Logits]]:
    """All rows in batches, and their logits; after memory ran out in smaller batches."""
    queued = _queued(predictor)
    lengths = encoded.piece_lengths()
    left = np.ones(len(lengths), dtype=np.bool_)
    while left.any():
        most = min(batch_pieces, queued.most_pieces or batch_pieces)
        rows = np.flatnonzero(left)
        batches = [rows[part] for part in plan_batches(lengths[rows], batch_pieces=most)]
        try:
            for batch, logits in _one_ahead(queued, (encoder.collate(encoded, part) for part in batches)):
                yield batch, logits
                left[batch.rows] = False
            continue
        except Exception as error:
            largest, longest = max(len(part) * int(lengths[part[-1]]) for part in batches), int(lengths[rows].max())
            if not may_halve or not is_lack_of_memory(error) or largest <= longest:
                raise
        # here, because inside `except` the error still holds what the failed batch has computed
        queued.limit(max(largest // 2, longest))


def _one_ahead(queued: QueuedPredictor, batches: Iterator[PieceBatch]) -> Iterator[tuple[PieceBatch, Logits]]:
    """Batches in order with their logits; each is begun before the one before it is waited for."""
    begun: tuple[PieceBatch, Callable[[], Logits]] | None = None
    for batch in batches:
        before, begun = begun, (batch, queued.begin(batch))
        if before is not None:
            yield before[0], before[1]()
    if begun is not None:
        yield begun[0], begun[1]()
