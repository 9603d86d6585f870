"""A sentence: words, and tags where a corpus has them."""

from __future__ import annotations

from dataclasses import dataclass

from xtremedistil_ner.errors import CorpusError


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence in the words of its corpus; `tags` are IOB2, or None where there are none.

    Raises: CorpusError for an empty word, and if there are more or fewer tags than words.
    """

    id: str
    language: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not all(self.words):
            raise CorpusError(f"sentence {self.id}: word {self.words.index('') + 1} is empty. Leave it out.")
        if self.tags is not None and len(self.tags) != len(self.words):
            raise CorpusError(
                f"sentence {self.id}: {len(self.words)} words but {len(self.tags)} tags. Give one tag per word."
            )
