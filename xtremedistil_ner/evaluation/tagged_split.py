"""The same sentences as the corpus and two models tagged them: counts of slices, and example sentences.

Everything here comes from stored tags, so that a new student needs no new labels of its teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.evaluation.bootstrap import Counts, f1_of
from xtremedistil_ner.labels import LabelScheme, TagIds, legal_spans, spans_of

Entity = tuple[int, int, int]
"""First word and end among the words of all sentences, and number of the type."""
Surface = tuple[str, ...]

LONG = 30
"""Words from which on a sentence counts as long."""
SLICES = {
    "surface": ("seen in training", "not seen in training"),
    "case": ("all capitals", "some capitals", "no capitals", "script without case"),
    "length": (f"under {LONG} words", f"{LONG} words or more"),
}
"""The slices of each group; every entity is in one slice of each group."""
_EXAMPLE_WORDS = 60
_LEAST_SUPPORT = 10


@dataclass(frozen=True)
class TaggedSplit:
    """One language. Shapes: gold, teacher, student (all words,) ids of the scheme, legal."""

    sentences: Sequence[Sequence[str]]
    scheme: LabelScheme
    gold: TagIds
    teacher: TagIds
    student: TagIds

    @cached_property
    def words(self) -> list[str]:
        """The words of all sentences."""
        return [word for sentence in self.sentences for word in sentence]

    @cached_property
    def offsets(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Where each sentence begins among all words, and the end. Shapes: (sentences + 1,)."""
        return np.cumsum([0, *map(len, self.sentences)])

    @cached_property
    def entities(self) -> dict[str, set[Entity]]:
        """The entities of gold, teacher and student."""
        return {name: _entities(getattr(self, name)) for name in ("gold", "teacher", "student")}

    def sentence_of(self, entity: Entity) -> int:
        """The number of the sentence that has an entity."""
        return int(np.searchsorted(self.offsets, entity[0], side="right")) - 1


def _entities(ids: TagIds) -> set[Entity]:
    begins, ends = legal_spans(ids)
    types = (ids[begins] - 1) // 2
    return set(zip(begins.tolist(), ends.tolist(), types.tolist(), strict=True))


def training_surfaces(corpus: LabelledCorpus) -> set[Surface]:
    """The words of every entity of the training text, of all languages: the teacher learns from them together.

    They are the corpus's words, as those of the other splits are.
    """
    seen: set[Surface] = set()
    corpus = corpus.in_its_own_words()
    for code in corpus.languages:
        for sentence in corpus.sentences(code, "train"):
            seen |= {sentence.words[span.start : span.stop] for span in spans_of(sentence.tags or ())}
    return seen


def count_slices(split: TaggedSplit, seen: set[Surface]) -> dict[str, dict[str, Counts]]:
    """Strict counts of teacher and student by slice; those of a group add up to the counts of the language.

    `seen` are the surfaces of the training text's entities. A predicted entity belongs to the slice of its own words,
    which is that of the gold entity if it is right.

    Shapes: counts per model and slice (3,) [correct, predicted, gold].
    """
    gold = split.entities["gold"]
    counts = {
        name: {part: np.zeros(3, dtype=np.int64) for parts in SLICES.values() for part in parts}
        for name in ("teacher", "student")
    }
    slices = {
        entity: _slices(split, entity, seen) for found in split.entities.values() for entity in found
    }  # once for each entity, whoever found it
    for name, of_model in counts.items():
        predicted = split.entities[name]
        for entity in gold | predicted:
            row = (entity in gold and entity in predicted, entity in predicted, entity in gold)
            for part in slices[entity]:
                of_model[part] += row
    return counts


def _slices(split: TaggedSplit, entity: Entity, seen: set[Surface]) -> tuple[str, str, str]:
    surface = tuple(split.words[entity[0] : entity[1]])
    length = len(split.sentences[split.sentence_of(entity)])
    return (
        SLICES["surface"][surface not in seen],
        _case("".join(surface)),
        SLICES["length"][length >= LONG],
    )


def _case(text: str) -> str:
    capitals, some, none, without = SLICES["case"]
    letters = [letter for letter in text if letter.isupper() or letter.islower()]
    if not letters:
        return without
    if not any(map(str.isupper, letters)):
        return none
    return capitals if len(letters) > 1 and all(map(str.isupper, letters)) else some


def slice_entries(counts: Sequence[Mapping[str, Mapping[str, Counts]]]) -> list[dict[str, Any]]:
    """The `slices` of report.json: all languages added up, without slices that have no entity at all."""
    entries = []
    for group, parts in SLICES.items():
        for part in parts:
            totals = {
                name: sum((of_language[name][part] for of_language in counts), np.zeros(3, dtype=np.int64))
                for name in ("teacher", "student")
            }
            if any(total.any() for total in totals.values()):
                entries.append({"group": group, "slice": part, **{n: counted(total) for n, total in totals.items()}})
    return entries


def counted(total: Counts) -> dict[str, Any]:
    """Counts of a slice as report.json has them. Shapes: total (3,) [correct, predicted, gold]."""
    correct, predicted, gold = total.tolist()
    return {"correct": correct, "predicted": predicted, "gold": gold, "f1": float(f1_of(total))}


def worst_cells(teacher: Mapping[str, Any], student: Mapping[str, Any], count: int) -> list[tuple[str, str]]:
    """The languages and types in which F1 falls most from teacher to student; both are entries of `models`.

    Cells with fewer than ten gold entities come last: there F1 says little.
    """
    falls = {
        (code, kind): (of_student["support"] < _LEAST_SUPPORT, of_student["f1"] - of_teacher["f1"], of_student["f1"])
        for code, scores in student["languages"].items()
        for kind, of_student in scores["types"].items()
        if of_student["support"] and (of_teacher := teacher["languages"].get(code, {}).get("types", {}).get(kind))
    }
    return sorted(falls, key=lambda cell: (*falls[cell], cell))[:count]


def cell_examples(split: TaggedSplit, kind: str, count: int) -> dict[str, Any]:
    """How many gold entities of a type both, one or no model finds, and at most `count` sentences of the last three.

    The sentences of each outcome are spread over the corpus, one entity of each sentence.
    """
    number = split.scheme.types.index(kind)
    outcomes: dict[str, list[Entity]] = {name: [] for name in ("both", "teacher alone", "student alone", "neither")}
    for entity in sorted(split.entities["gold"]):
        if entity[2] == number:
            found = (entity in split.entities["teacher"], entity in split.entities["student"])
            name = {(True, True): "both", (True, False): "teacher alone", (False, True): "student alone"}.get(found)
            outcomes[name or "neither"].append(entity)
    shown = [
        [(name, entity) for entity in _spread(split, entities, count)]
        for name, entities in outcomes.items()
        if name != "both"
    ]
    by_turns = [example for turn in zip_longest(*shown) for example in turn if example][:count]
    return {
        "outcomes": {name: len(entities) for name, entities in outcomes.items()},
        "examples": [
            _example(split, name, entity)
            for name, entity in sorted(by_turns, key=lambda one: list(outcomes).index(one[0]))
        ],
    }


def _spread(split: TaggedSplit, entities: Sequence[Entity], count: int) -> list[Entity]:
    """At most `count` entities of different sentences, at equal distances."""
    of_sentence = list({split.sentence_of(entity): entity for entity in reversed(entities)}.values())[::-1]
    return of_sentence[:: max(1, len(of_sentence) // max(count, 1))][:count]


def _example(split: TaggedSplit, outcome: str, entity: Entity) -> dict[str, Any]:
    """A sentence with the entities of corpus and models, cut to the words around the entity if it is long."""
    number = split.sentence_of(entity)
    start, stop = int(split.offsets[number]), int(split.offsets[number + 1])
    if stop - start > _EXAMPLE_WORDS:
        start = max(start, min(entity[0] - _EXAMPLE_WORDS // 2, stop - _EXAMPLE_WORDS))
        stop = start + _EXAMPLE_WORDS
    spans = {
        name: [
            {"start": max(begin, start) - start, "stop": min(end, stop) - start, "type": split.scheme.types[kind]}
            for begin, end, kind in sorted(found)
            if begin < stop and end > start
        ]
        for name, found in split.entities.items()
    }
    return {"outcome": outcome, "words": split.words[start:stop], **spans}
