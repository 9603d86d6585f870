"""The text that is timed: sentences of a corpus, all its languages mixed, and the pieces they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.recipe.data_sections import CorpusSection

_SEED = 13


@dataclass(frozen=True, slots=True)
class Workload:
    """Sentences in a fixed random order. Parts have no sentence in common until all sentences are used up."""

    name: str
    synthetic: bool
    sentences: tuple[tuple[str, ...], ...]

    def part(self, number: int, size: int) -> list[tuple[str, ...]]:
        """`size` sentences, from the end of the part before; after the last sentence it begins again."""
        return [self.sentences[(number * size + index) % len(self.sentences)] for index in range(size)]

    def texts(self, number: int, size: int) -> list[str]:
        """A part as raw text, words separated by spaces."""
        return [" ".join(words) for words in self.part(number, size)]

    def describe(self, encoder: PieceEncoder) -> dict[str, Any]:
        """Its size, as JSON has it, in the pieces of an encoder."""
        sample = self.part(0, min(len(self.sentences), 5000))
        encoded = encoder.encode(sample)
        return {
            "name": self.name,
            "synthetic": self.synthetic,
            "sentences": len(self.sentences),
            "words_per_sentence": encoded.n_words / len(sample),
            "pieces_per_sentence": len(encoded.pieces) / len(sample),
        }


def load_workload(corpus: str, *, split: str, languages: Sequence[str] = ()) -> Workload:
    """Sentences of a labelled corpus, a folder, a URL or `demo`.

    Raises: CorpusError for a corpus without the split.
    """
    opened = open_corpus(CorpusSection(path=corpus, languages=tuple(languages)))
    sentences = [sentence.words for code in opened.languages for sentence in opened.sentences(code, split)]
    if not sentences:
        raise CorpusError(f"{opened.name}: no sentence in {split}. Give another --split.")
    order = np.random.default_rng(_SEED).permutation(len(sentences)).tolist()
    return Workload(f"{opened.name}, {split}", opened.synthetic, tuple(sentences[index] for index in order))


def batch_of(pieces: NDArray[np.integer[Any]], number: int, *, batch: int, length: int) -> NDArray[np.int64]:
    """A batch of running text without padding: pieces are as frequent in it as in text.

    Shapes: pieces (all pieces,); result (batch, length) int64.
    """
    positions = (number * batch * length + np.arange(batch * length)) % len(pieces)
    return pieces[positions].astype(np.int64).reshape(batch, length)
