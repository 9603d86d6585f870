"""Which entities of a tagger's answer are kept: those of some types, with at least some score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xtremedistil_ner.errors import UsageError, quoted
from xtremedistil_ner.labels import LabelScheme, legal_spans
from xtremedistil_ner.tagging.entity_scores import entity_scores
from xtremedistil_ner.tagging.tagger import Entity, WordTags


@dataclass(frozen=True, slots=True)
class EntityFilter:
    """Keeps entities of these types whose score is at least `min_score`; without `types`, entities of all types.

    Raises: UsageError for a score that is no probability.
    """

    min_score: float = 0.0
    types: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"The least score is {quoted(self.min_score)}. Give a number from 0 to 1.")

    def require_known(self, known: Sequence[str]) -> None:
        """Raises: UsageError for a type that the model does not have, and for an empty list of types."""
        if self.types is not None and not (self.types and set(self.types) <= set(known)):
            unknown = [kind for kind in self.types if kind not in known]
            said = f"{quoted(unknown[0])} is no type of this model" if unknown else "no type is named"
            raise UsageError(f"types: {said}. It has {', '.join(known)}.")

    def keeps(self, kind: str, score: float) -> bool:
        """Whether an entity is kept."""
        return score >= self.min_score and (self.types is None or kind in self.types)

    def of_entities(self, entities: Sequence[Entity]) -> list[Entity]:
        """The entities that are kept."""
        return [entity for entity in entities if self.keeps(entity.type, entity.score)]

    def of_words(self, word_tags: WordTags, scheme: LabelScheme) -> WordTags:
        """The tags of words, where words of entities that are not kept are `O`."""
        if self == KEEP_ALL:
            return word_tags
        begins, ends = legal_spans(word_tags.ids)
        scores = entity_scores(word_tags.scores, begins, ends)
        kinds = (word_tags.ids[begins] - 1) // 2
        ids = word_tags.ids.copy()
        for begin, end, kind, score in zip(*(each.tolist() for each in (begins, ends, kinds, scores)), strict=True):
            if not self.keeps(scheme.types[kind], score):
                ids[begin:end] = 0
        return replace(word_tags, ids=ids)


KEEP_ALL = EntityFilter()
