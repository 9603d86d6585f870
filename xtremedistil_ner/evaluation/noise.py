"""The same sentences as a careless typist writes them: how much F1 teacher and student lose.

Words stay words, so the gold tags stay as they are. The choice of sentences and the errors are the same in every run,
for every model: a comparison compares nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xtremedistil_ner.evaluation.tagged_split import counted

AS_WRITTEN, LOWER_CASE, TYPING_ERRORS = "as written", "lower case", "typing errors"
MISTYPED = 0.1
"""Share of the words, of those that have two different letters side by side, in which two are swapped; chosen."""
_SEED = 13
Words = Sequence[str]


def chosen_sentences(count: int, most: int) -> list[int]:
    """At most `most` of `count` sentences, at equal distances."""
    chosen = min(count, most)
    return [place * count // chosen for place in range(chosen)]


def in_lower_case(sentences: Sequence[Words]) -> list[list[str]]:
    """All words without capitals."""
    return [[word.lower() for word in words] for words in sentences]


def with_typing_errors(sentences: Sequence[Words]) -> list[list[str]]:
    """Two neighbouring letters swapped in some words."""
    random = np.random.default_rng(_SEED)
    return [[_mistyped(word, random) for word in words] for words in sentences]


def _mistyped(word: str, random: np.random.Generator) -> str:
    places = [
        place
        for place, (left, right) in enumerate(pairwise(word))
        if left != right and left.isalpha() and right.isalpha()
    ]
    if not places or random.random() >= MISTYPED:
        return word
    place = places[random.integers(len(places))]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


NOISE: dict[str, Callable[[Sequence[Words]], list[list[str]]]] = {
    LOWER_CASE: in_lower_case,
    TYPING_ERRORS: with_typing_errors,
}
"""Kinds of noise, each as a function of all chosen sentences of a language."""


def noise_slices(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The noise slices of report.json: all languages that both models were scored on added up.

    `teacher` and `student` are entries of `models`.
    """
    noise = {"teacher": teacher.get("noise", {}), "student": student.get("noise", {})}
    both = noise["teacher"].keys() & noise["student"].keys()
    if not both:
        return []
    return [
        {
            "group": "noise",
            "slice": part,
            **{
                name: counted(np.sum([of_model[code][part] for code in both], axis=0))
                for name, of_model in noise.items()
            },
        }
        for part in (AS_WRITTEN, *NOISE)
    ]
