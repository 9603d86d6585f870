"""Tags and types: the label scheme, the forms that corpora write tags in, legal paths and decoding.

Inside the package every tag is IOB2: an entity starts with `B-X` and goes on with `I-X`. Corpora in IOB1, BIOES or
BILOU are converted once, when they are read. An `I-X` that has nothing to go on from is no span (strict reading);
where *gold* tags have one it is repaired and counted, where *logits* prefer one the decoder takes the best path
without it. Decoding costs one argmax and a table look-up for every sentence whose argmax is legal already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from xtremedistil_ner.errors import CorpusError, UsageError

TagFormat = Literal["IOB1", "IOB2", "BIOES"]
TagIds = npt.NDArray[np.int16]

OUTSIDE = "O"
_OUTSIDE_ID = 0
_PREFIXES: dict[TagFormat, str] = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIESLU"}
_STARTS_ONE = "BSU"
_ENDS_ONE = "ESLU"


@dataclass(frozen=True, slots=True)
class Span:
    """An entity of a sentence: the words [start, stop) and their type."""

    start: int
    stop: int
    type: str


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """The entity types that a model knows, in the order of its outputs.

    Tag 0 is `O`; type k has the tags 2k + 1 (`B-`) and 2k + 2 (`I-`).
    Raises: UsageError for types that are empty, repeated or contain white space.
    """

    types: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", tuple(self.types))
        for number, kind in enumerate(self.types):
            if not kind or any(character.isspace() for character in kind):
                raise UsageError(f"type {number + 1} is {kind!r}. A type is a word such as LOC, without white space.")
            if kind in self.types[:number]:
                raise UsageError(f"type {kind!r} is given twice. Name every type once.")

    @classmethod
    def from_tags(cls, tags: Iterable[str]) -> LabelScheme:
        """Make the scheme of all types that occur in `tags`, sorted by name.

        Raises: CorpusError for a tag that is neither `O` nor prefix, hyphen, type.
        """
        return cls(tuple(sorted({kind for _, kind in map(split_tag, set(tags)) if kind})))

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags, by id: `O`, `B-X`, `I-X`, `B-Y`, …."""
        return _tags(self.types)

    @property
    def may_start(self) -> npt.NDArray[np.bool_]:
        """Whether a sentence may start with a tag.

        Shapes: (tags,) bool, read-only.
        """
        return _may_start(self.types)

    @property
    def may_follow(self) -> npt.NDArray[np.bool_]:
        """Whether the second tag may come right after the first.

        Shapes: (tags, tags) bool [previous, next], read-only.
        """
        return _may_follow(self.types)

    def tag_id(self, tag: str) -> int:
        """Look up the id of an IOB2 tag.

        Raises: UsageError for a tag that the scheme lacks.
        """
        number = _tag_ids(self.types).get(tag)
        if number is None:
            raise UsageError(f"unknown tag {tag!r}. Known tags: {', '.join(self.tags)}.")
        return number

    def encode(self, tags: Sequence[str]) -> TagIds:
        """Ids of IOB2 tags.

        Shapes: result (words,) int16.
        Raises: UsageError for a tag that the scheme lacks.
        """
        return np.array([self.tag_id(tag) for tag in tags], dtype=np.int16)

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> tuple[str, ...]:
        """Names of tag ids, the inverse of `encode`.

        Raises: UsageError for an id outside the scheme, negative ones included.
        """
        names = self.tags
        numbers = [int(number) for number in ids]
        for number in numbers:
            if not 0 <= number < len(names):
                raise UsageError(f"unknown tag id {number}. Ids go from 0 to {len(names) - 1}: {', '.join(names)}.")
        return tuple(names[number] for number in numbers)


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag of any format; `O` gives ("O", "").

    Raises: CorpusError for anything else than `O` or one of B I E S L U, a hyphen and a type.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, kind = tag[:1], tag[2:]
    if prefix not in tuple(_PREFIXES["BIOES"]) or tag[1:2] != "-" or not kind or any(map(str.isspace, kind)):
        raise CorpusError(f"{tag!r} is not a tag. A tag is O, or B- or I- and a type, such as B-LOC.")
    return prefix, kind


def tag_format(sentences: Iterable[Sequence[str]]) -> TagFormat:
    """Find the format that the tags of a whole file are written in.

    E, S, L or U mean BIOES. IOB1 is a file whose entities all start with I, but for those right after an entity of
    the same type; one B elsewhere makes it IOB2, whose stray I are then mistakes and counted as such.
    Raises: CorpusError for a tag that is none.
    """
    first_inside = first_begin = False
    for tags in sentences:
        previous = ""
        for prefix, kind in map(split_tag, tags):
            if prefix in "ESLU":
                return "BIOES"
            if kind and kind != previous:
                first_begin |= prefix == "B"
                first_inside |= prefix == "I"
            previous = kind
    return "IOB1" if first_inside and not first_begin else "IOB2"


def to_iob2(tags: Sequence[str], *, format: TagFormat) -> tuple[tuple[str, ...], int]:
    """Rewrite one sentence's tags as legal IOB2, and count the tags that were illegal in their own format.

    What is repaired is an inside or end tag that nothing of its type precedes: it becomes `B-`. In IOB1 that is how
    entities start, so nothing is counted. `format="BIOES"` reads BILOU as well.
    Raises: CorpusError for a tag that the format does not have.
    """
    result: list[str] = []
    repaired = 0
    open_type = ""
    for tag in tags:
        prefix, kind = split_tag(tag)
        if kind and prefix not in _PREFIXES[format]:
            raise CorpusError(f"{tag!r} is not a tag of {format}, which has O and {', '.join(_PREFIXES[format])}.")
        starts = bool(kind) and (prefix in _STARTS_ONE or kind != open_type)
        repaired += starts and prefix not in _STARTS_ONE and format != "IOB1"
        result.append(f"{'B' if starts else 'I'}-{kind}" if kind else OUTSIDE)
        open_type = "" if prefix in _ENDS_ONE else kind
    return tuple(result), repaired


def spans_of(tags: Sequence[str] | npt.NDArray[np.integer[Any]], scheme: LabelScheme | None = None) -> tuple[Span, ...]:
    """Entities of one sentence, read strictly: `B-X` and the `I-X` right after it; a stray `I-X` is no entity.

    `tags` are IOB2 tags, or ids of `scheme`.
    """
    names = tuple(cast("Sequence[str]", tags)) if scheme is None else scheme.decode(cast("Sequence[int]", tags))
    spans: list[Span] = []
    start, inside = 0, ""
    for position, tag in enumerate((*names, OUTSIDE)):
        if inside and tag != inside:
            spans.append(Span(start, position, inside[2:]))
            inside = ""
        if tag.startswith("B-"):
            start, inside = position, "I-" + tag[2:]
    return tuple(spans)


def decode_tags(word_logits: npt.NDArray[np.floating[Any]], scheme: LabelScheme) -> TagIds:
    """Find the legal IOB2 path with the largest sum of logits; it is the argmax wherever the argmax is legal.

    Shapes: word_logits (words, tags) float; result (words,) int16.
    Raises: UsageError for logits of another shape.
    """
    if word_logits.ndim != 2 or word_logits.shape[1] != len(scheme.tags):
        raise UsageError(f"logits of shape {word_logits.shape}, but the scheme has {len(scheme.tags)} tags.")
    ids: TagIds = word_logits.argmax(axis=1).astype(np.int16)
    if len(ids) == 0 or (scheme.may_start[ids[0]] and scheme.may_follow[ids[:-1], ids[1:]].all()):
        return ids
    return _best_legal_path(word_logits.astype(np.float64))


def _best_legal_path(logits: npt.NDArray[np.float64]) -> TagIds:
    """Viterbi over the transitions that exist: anything → O and B-X; B-X or I-X → I-X.

    The structure is followed, not masked with -inf, so that the path is legal for every input and a word costs
    O(tags) instead of O(tags²). Before the first word stands `O`.
    """
    n_words, n_tags = logits.shape
    begin, inside = np.arange(1, n_tags, 2), np.arange(2, n_tags, 2)
    came_from = np.zeros((n_words, n_tags), dtype=np.int16)
    best = logits[0].copy()
    reachable = np.ones(n_tags, dtype=bool)
    reachable[inside] = False
    for word in range(1, n_words):
        candidates = np.flatnonzero(reachable)
        came_from[word] = candidates[best[candidates].argmax()]
        goes_on = reachable[inside] & (best[inside] > best[begin])
        came_from[word, inside] = np.where(goes_on, inside, begin)
        best = best[came_from[word]] + logits[word]
        reachable[:] = True
    path = np.empty(n_words, dtype=np.int16)
    last = np.flatnonzero(reachable)
    path[-1] = last[best[last].argmax()]
    for word in range(n_words - 1, 0, -1):
        path[word - 1] = came_from[word, path[word]]
    return path


@lru_cache(maxsize=64)
def _tags(types: tuple[str, ...]) -> tuple[str, ...]:
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


@lru_cache(maxsize=64)
def _tag_ids(types: tuple[str, ...]) -> dict[str, int]:
    return {tag: number for number, tag in enumerate(_tags(types))}


@lru_cache(maxsize=64)
def _may_start(types: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    return _read_only(_may_follow(types)[_OUTSIDE_ID].copy())


@lru_cache(maxsize=64)
def _may_follow(types: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    allowed = np.ones((1 + 2 * len(types),) * 2, dtype=bool)
    for inside in range(2, len(allowed), 2):
        allowed[:, inside] = False
        allowed[[inside - 1, inside], inside] = True
    return _read_only(allowed)


def _read_only(array: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    array.setflags(write=False)
    return array
