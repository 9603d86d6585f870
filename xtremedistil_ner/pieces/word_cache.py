"""Words to piece ids, each word once: text repeats itself, and a look-up costs a tenth of a tokenizer's work.

A tokenizer that gets words cuts each by itself, so a word has the same pieces next to any others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

_MOST_WORDS = 50_000  # about 12 MB
_LONGEST_WORD = 40
_WORDS_AT_A_TIME = 256


class WordPieces:
    """A tokenizer and the ids of words that it was asked for before; safe to share between threads.

    When it is full it forgets everything; frequent words soon come back.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, bytes] = {}  # int32 ids; values never change

    def look_up(self, words: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Pieces of words, one after the other, and how many each word has.

        Shapes: pieces (all pieces,) int32; counts (words,) int64, 0 for a word without a piece, such as U+200B.
        """
        # The words "in", "Oslo", "in" and U+200B, of which only "in" is known, with the id 7: missing has "Oslo" and
        # U+200B. fresh has the ids 12 and 30 for "Oslo", none for U+200B. So counts is [1, 2, 1, 0], and the pieces
        # are [7, 12, 30, 7].
        cached: list[bytes | None] = list(map(self._known.get, words))
        missing = {word for word, ids in zip(words, cached, strict=True) if ids is None}
        fresh = self._encode(missing) if missing else {}
        ids_of = [fresh[word] if ids is None else ids for word, ids in zip(words, cached, strict=True)]
        counts = np.fromiter(map(len, ids_of), dtype=np.int64, count=len(ids_of)) // 4  # bytes of an int32
        return np.frombuffer(b"".join(ids_of), dtype=np.int32), counts

    def _encode(self, missing: set[str]) -> dict[str, bytes]:
        fresh: dict[str, bytes] = {}
        ordered = sorted(missing)
        for start in range(0, len(ordered), _WORDS_AT_A_TIME):
            words = ordered[start : start + _WORDS_AT_A_TIME]
            fresh.update(zip(words, self._ids_of(words), strict=True))
        short = {word: ids for word, ids in fresh.items() if len(word) <= _LONGEST_WORD}
        if len(self._known) + len(short) > _MOST_WORDS:
            self._known.clear()
        if len(short) <= _MOST_WORDS:
            self._known.update(short)
        return fresh

    def _ids_of(self, words: Sequence[str]) -> list[bytes]:
        try:
            encoding = self._tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):  # a lone surrogate somewhere: the tokenizer cannot take it
            clean = [word.encode("utf-8", "replace").decode("utf-8") for word in words]
            encoding = self._tokenizer.encode(clean, is_pretokenized=True, add_special_tokens=False)
        counts = np.bincount(np.array(encoding.word_ids, dtype=np.int64), minlength=len(words))
        ids = np.array(encoding.ids, dtype=np.int32).tobytes()
        ends = (4 * np.cumsum(counts)).tolist()
        return [ids[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
