"""Words to rows of pieces, rows to padded batches, and the positions of a batch's words.

Sentences become *rows*: a sentence that fits is one row, a longer one is cut at word borders into overlapping
windows, and every word takes its logits from the window in which it has most context. Nothing is dropped: a word
without any piece (U+200B) is counted, and of one longer than a whole window the model reads the beginning. Teacher and
student may have different tokenizers, because everything that leaves this module is indexed by word.

Numpy and `tokenizers` only: the tagging path imports this module and must not pay for torch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from xtremedistil_ner.errors import ModelError, UsageError
from xtremedistil_ner.pieces.word_cache import WordPieces

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class PieceBatch:
    """A padded batch of rows.

    Shapes: input_ids, attention_mask (batch, pieces) int64; first_piece (batch, words) int64, 0 where masked;
    word_mask (batch, words) bool, true for words that have a piece and take their logits from this row;
    rows (batch,) int64, the rows of the `EncodedCorpus`.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    first_piece: NDArray[np.int64]
    word_mask: NDArray[np.bool_]
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedCorpus:
    """Rows of pieces as flat arrays with offsets, in memory or memory-mapped.

    Shapes: pieces (all pieces,) int32 and piece_offsets (rows + 1,) int64; first_piece (all row words,) int32, the
    position in the row or -1, kept (all row words,) bool and word_offsets (rows + 1,) int64; sentence (rows,) int64
    and first_word (rows,) int64: where a row's words come from; sentence_words (sentences + 1,) int64: offsets of
    the sentences in the flat sequence of all words.
    """

    pieces: Ints
    piece_offsets: Ints
    first_piece: Ints
    kept: NDArray[np.bool_]
    word_offsets: Ints
    sentence: Ints
    first_word: Ints
    sentence_words: Ints

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.sentence)

    @property
    def n_words(self) -> int:
        """Number of words of all sentences."""
        return int(self.sentence_words[-1])

    def piece_lengths(self) -> NDArray[np.int64]:
        """Pieces of each row. Shapes: (rows,) int64."""
        return np.diff(self.piece_offsets).astype(np.int64)

    def word_positions(self, rows: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the words of `rows` lie in the flat sequence of all words.

        Shapes: rows (batch,); result: first positions (batch,) and numbers of words (batch,), both int64.
        """
        start = np.asarray(self.sentence_words[self.sentence[rows]] + self.first_word[rows], dtype=np.int64)
        count = np.asarray(self.word_offsets[rows + 1] - self.word_offsets[rows], dtype=np.int64)
        return start, count

    def predicted_words(self) -> NDArray[np.int64]:
        """Words of each row that have a piece and take their logits from it. Shapes: (rows,) int64."""
        is_predicted = self.kept & (self.first_piece >= 0)
        return np.diff(_offsets(is_predicted)[self.word_offsets])

    def predicted_positions(self, batch: PieceBatch) -> NDArray[np.int64]:
        """Where the words that `batch.word_mask` selects lie in the flat sequence of all words, in the mask's order.

        Shapes: (selected words,) int64.
        """
        start, count = self.word_positions(batch.rows)
        is_word = np.arange(batch.word_mask.shape[1])[None, :] < count[:, None]
        return ragged_index(start, count)[batch.word_mask[is_word]]


class PieceEncoder:
    """A tokenizer with its special pieces and its length limit: words to rows."""

    def __init__(self, tokenizer: Tokenizer, *, max_pieces: int, pad_id: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self._word_pieces = WordPieces(tokenizer)
        self.pad_id = pad_id
        self.prefix, self.suffix = _special_ids(tokenizer)
        self.budget = max_pieces - len(self.prefix) - len(self.suffix)
        self.reads_whole_sentences = True
        if self.budget < 1:
            raise UsageError(f"max_pieces {max_pieces} leaves no room beside the special pieces.")

    def cut_at(self, max_pieces: int) -> PieceEncoder:
        """This encoder with one row per sentence, its first pieces; words behind them are not covered.

        `max_pieces` counts special pieces, where there are any, and never exceeds what this encoder takes.
        """
        cut = copy.copy(self)
        cut.budget = min(self.budget, max_pieces - len(self.prefix) - len(self.suffix))
        cut.reads_whole_sentences = False
        return cut

    def encode(self, sentences: Sequence[Sequence[str]]) -> EncodedCorpus:
        """Encode sentences given as words; an empty sentence has no row."""
        # One sentence, four words of 3, 2, 2 and 4 pieces, and a budget of 8: piece_ends is [0, 3, 5, 7, 11]. Its rows
        # are the words 0 to 2 and 2 to 3, so start is [0, 2] and stop is [3, 4]; the first row has word 2's logits, so
        # keep_start is [0, 3] and keep_stop is [3, 4]. Then n_pieces is [7, 6], word [0, 1, 2, 2, 3], position
        # [0, 3, 5, 0, 2] and kept [True, True, True, False, True].
        sentence_words = _offsets(np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences)))
        pieces, counts = self._word_pieces.look_up(list(chain.from_iterable(sentences)))
        piece_ends = _offsets(counts)
        sentence, start, stop, keep_start, keep_stop = self._rows(sentence_words, counts, piece_ends)
        n_pieces = np.minimum(piece_ends[stop] - piece_ends[start], self.budget)
        n_words = stop - start
        word = ragged_index(start, n_words)
        position = piece_ends[word] - np.repeat(piece_ends[start], n_words)
        has_piece = (counts[word] > 0) & (position < self.budget)
        return EncodedCorpus(
            pieces=self._with_special_pieces(pieces[ragged_index(piece_ends[start], n_pieces)], n_pieces),
            piece_offsets=_offsets(n_pieces + len(self.prefix) + len(self.suffix)),
            first_piece=np.where(has_piece, position + len(self.prefix), -1).astype(np.int32),
            kept=(word >= np.repeat(keep_start, n_words)) & (word < np.repeat(keep_stop, n_words)),
            word_offsets=_offsets(n_words),
            sentence=sentence,
            first_word=start - sentence_words[sentence],
            sentence_words=sentence_words,
        )

    def collate(self, encoded: EncodedCorpus, rows: Ints) -> PieceBatch:
        """Pad some rows of an encoded corpus into a batch. Shapes: rows (batch,) int."""
        chosen: NDArray[np.int64] = np.asarray(rows, dtype=np.int64)
        piece_start = encoded.piece_offsets[chosen]
        n_pieces = encoded.piece_offsets[chosen + 1] - piece_start
        in_row = np.arange(n_pieces.max(initial=0))[None, :] < n_pieces[:, None]
        input_ids = np.full(in_row.shape, self.pad_id, dtype=np.int64)
        input_ids[in_row] = encoded.pieces[ragged_index(piece_start, n_pieces)]
        word_start = encoded.word_offsets[chosen]
        n_words = encoded.word_offsets[chosen + 1] - word_start
        is_word = np.arange(n_words.max(initial=0))[None, :] < n_words[:, None]
        flat = ragged_index(word_start, n_words)
        first_piece = np.zeros(is_word.shape, dtype=np.int64)
        first_piece[is_word] = np.maximum(encoded.first_piece[flat], 0)
        word_mask = np.zeros(is_word.shape, dtype=np.bool_)
        word_mask[is_word] = encoded.kept[flat] & (encoded.first_piece[flat] >= 0)
        return PieceBatch(input_ids, in_row.astype(np.int64), first_piece, word_mask, chosen)

    def _rows(
        self, sentence_words: NDArray[np.int64], counts: NDArray[np.int64], piece_ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], ...]:
        """Of each row its sentence, start, stop, keep_start and keep_stop, all words numbered through.

        Shapes: five times (rows,) int64.
        """
        # Sentences of 1, 0 and 3 words, four in all: begins is [0, 1, 1], ends is [1, 1, 4], and sentence is [0, 2].
        # The columns of rows are (0, 0, 1, 0, 1) and (2, 1, 4, 1, 4). If sentence 2 is too long, its windows replace
        # the second column: a window (0, 2, 0, 1) of its words becomes (2, 1, 3, 1, 2).
        begins, ends = sentence_words[:-1], sentence_words[1:]
        sentence = np.flatnonzero(ends > begins)
        rows = np.stack([sentence, begins[sentence], ends[sentence], begins[sentence], ends[sentence]])
        if not self.reads_whole_sentences:
            return tuple(rows)
        is_long = piece_ends[rows[2]] - piece_ends[rows[1]] > self.budget
        windows = [
            (index, *(begins[index] + np.array(window)))
            for index in sentence[is_long]
            for window in cut_into_windows(counts[begins[index] : ends[index]], self.budget)
        ]
        if windows:
            rows = np.concatenate([rows[:, ~is_long], np.array(windows, dtype=np.int64).T], axis=1)
            rows = rows[:, np.argsort(rows[0], kind="stable")]
        return tuple(rows)

    def _with_special_pieces(self, pieces: NDArray[np.int32], n_pieces: NDArray[np.int64]) -> NDArray[np.int32]:
        """Rows of pieces, each between its special pieces. Shapes: pieces (all pieces,); n_pieces (rows,)."""
        if not self.prefix and not self.suffix:
            return pieces
        begins = _offsets(n_pieces + len(self.prefix) + len(self.suffix))[:-1]
        body = begins + len(self.prefix)
        result = np.empty(len(pieces) + len(n_pieces) * (len(self.prefix) + len(self.suffix)), dtype=np.int32)
        result[ragged_index(body, n_pieces)] = pieces
        for position, piece in enumerate(self.prefix):
            result[begins + position] = piece
        for position, piece in enumerate(self.suffix):
            result[body + n_pieces + position] = piece
        return result


def load_encoder(folder: Path, *, max_pieces: int) -> PieceEncoder:
    """The encoder of a model folder that has a `tokenizer.json`.

    Raises: ModelError.
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
        configuration = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        pad_id = tokenizer.token_to_id(str(configuration.get("pad_token", "[PAD]")))
        encoder = PieceEncoder(tokenizer, max_pieces=max_pieces, pad_id=pad_id or 0)
    except Exception as error:  # tokenizers raises plain Exception for a missing or broken file
        raise ModelError(f"{path}: not a readable tokenizer ({error}). Export or train the model again.") from error
    if pad_id is None:
        raise ModelError(f"{folder}: the tokenizer has no padding piece. Name one in tokenizer_config.json.")
    return encoder


def ragged_index(starts: Ints, counts: Ints) -> NDArray[np.int64]:
    """Concatenated ranges of `count` numbers from `start` each. Shapes: (n,), (n,); result (sum of counts,) int64."""
    counts = np.asarray(counts, dtype=np.int64)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    shifts: NDArray[np.int64] = np.repeat(np.asarray(starts, np.int64) - (ends - counts), counts)
    return shifts + np.arange(total, dtype=np.int64)


def _special_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    encoding = tokenizer.encode(["a"], is_pretokenized=True, add_special_tokens=True)
    inner = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    if not inner:
        return [], []
    return encoding.ids[: inner[0]], encoding.ids[inner[-1] + 1 :]


def cut_into_windows(counts: Ints, budget: int) -> list[tuple[int, int, int, int]]:
    """Windows (start, stop, keep_start, keep_stop) over words of `counts` pieces, overlapping by up to budget/4 pieces.

    Of the words that two windows share, each keeps the half that lies deeper inside it.
    """
    # Four words of 3, 2, 2 and 4 pieces, and a budget of 8: ends is [3, 5, 7, 11]. The first window stops at word 3,
    # because ends[2] is the last within 8. The next one may have 8 // 4 = 2 pieces of context, those of word 2, and
    # starts there. Of the one shared word the first window keeps it: the windows are (0, 3, 0, 3) and (2, 4, 3, 4).
    n_words = len(counts)
    if n_words == 0:
        return []
    ends = np.cumsum(counts)
    if ends[-1] <= budget:
        return [(0, n_words, 0, n_words)]
    windows: list[tuple[int, int, int, int]] = []
    start = keep_start = 0
    while True:
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + budget, side="right")), start + 1)
        if stop >= n_words:
            windows.append((start, n_words, keep_start, n_words))
            return windows
        context = int(ends[stop - 1]) - budget // 4
        next_start = max(int(np.searchsorted(ends, context, side="left")) + 1, start + 1)
        next_start = min(next_start, stop)
        keep_stop = (next_start + stop + 1) // 2
        windows.append((start, stop, keep_start, keep_stop))
        start, keep_start = next_start, keep_stop


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Where each of some parts begins and the last one ends. Shapes: lengths (n,); result (n + 1,) int64."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
