"""Tags and types: the label scheme, the forms that corpora write tags in, legal paths and decoding.

Inside the package every tag is IOB2: an entity starts with `B-X` and goes on with `I-X`. Corpora in IOB1, BIOES or
BILOU are converted once, when they are read. An `I-X` that has nothing to go on from is no span (strict reading);
where *gold* tags have one it is repaired and counted, where *logits* prefer one the decoder takes the best path
without it. Decoding costs one argmax and a table look-up for every sentence whose argmax is legal already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from xtremedistil_ner.errors import CorpusError, UsageError, quoted
from xtremedistil_ner.names import TYPE_RULE, is_type

TagFormat = Literal["IOB1", "IOB2", "BIOES"]
TagIds = npt.NDArray[np.int16]
Transitions = npt.NDArray[np.floating[Any]]
"""Scores of neighbouring tags. Shapes: (tags + 1, tags) [previous, next], row 0 for the start of a sentence."""

TypeMapping = Mapping[str, str | None]
"""Types and what they become, None for nothing; types that are not named stay as they are."""

OUTSIDE = "O"
_OUTSIDE_ID = 0
_NO_NUMBER = 1e30
"""Stands for infinity where sums must stay finite: above any logit, far from float64's end."""
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
    Raises: UsageError for types that are repeated or that `names.is_type` refuses.
    """

    types: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", tuple(self.types))
        for number, kind in enumerate(self.types):
            if not is_type(kind):
                raise UsageError(f"type {number + 1} is {quoted(kind)}. {TYPE_RULE}.")
            if kind in self.types[:number]:
                raise UsageError(f"type {kind!r} is given twice. Name every type once.")

    @classmethod
    def from_tags(cls, tags: Iterable[str]) -> LabelScheme:
        """Make the scheme of all types that occur in `tags`, sorted by name.

        Raises: CorpusError for a tag that is neither `O` nor prefix, hyphen, type.
        """
        return cls(tuple(sorted({kind for _, kind in map(split_tag, set(tags)) if kind})))

    @classmethod
    def from_ordered_tags(cls, tags: Iterable[str]) -> LabelScheme:
        """Make the scheme of tags that a model has in this order, by id.

        Raises: UsageError when they are not those of a scheme.
        """
        names = tuple(tags)
        scheme = cls(tuple(tag[2:] for tag in names[1::2]))
        if scheme.tags != names:
            raise UsageError(f"the tags are {', '.join(names)}. Expected {', '.join(scheme.tags)}.")
        return scheme

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
    if prefix not in tuple(_PREFIXES["BIOES"]) or tag[1:2] != "-" or not is_type(kind):
        raise CorpusError(f"{quoted(tag)} is not a tag. A tag is O, or B- or I- and a type, such as B-LOC.")
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


def map_types(tags: Sequence[str], types: TypeMapping) -> tuple[str, ...]:
    """IOB2 tags with the types that a mapping gives; those of a type that it leaves out become `O`.

    Borders stay: entities side by side whose types become one are still two.
    """
    return tuple(_mapped_tag(tag, types) for tag in tags)


def _mapped_tag(tag: str, types: TypeMapping) -> str:
    kind = types.get(tag[2:], tag[2:])
    return f"{tag[:2]}{kind}" if kind else OUTSIDE


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


def decode_tags(
    word_logits: npt.NDArray[np.floating[Any]], scheme: LabelScheme, transitions: Transitions | None = None
) -> TagIds:
    """Find the legal IOB2 path with the largest sum of logits and of transition scores, if there are any.

    Without transitions it is the argmax wherever the argmax is legal.

    Shapes: word_logits (words, tags) float; transitions (tags + 1, tags) [previous, next], row 0 for the start, of
    which only the legal ones count; result (words,) int16.
    Raises: UsageError for logits or transitions of another shape.
    """
    n_tags = len(scheme.tags)
    if word_logits.ndim != 2 or word_logits.shape[1] != n_tags:
        raise UsageError(f"logits of shape {word_logits.shape}, but the scheme has {n_tags} tags.")
    if transitions is not None and transitions.shape != (n_tags + 1, n_tags):
        raise UsageError(f"transitions of shape {transitions.shape}, but the scheme has {n_tags} tags.")
    ids: TagIds = word_logits.argmax(axis=1).astype(np.int16)
    legal = len(ids) == 0 or bool(scheme.may_start[ids[0]] and scheme.may_follow[ids[:-1], ids[1:]].all())
    if legal and (transitions is None or _outweighs(word_logits, ids, transitions, scheme)):
        return ids
    return _best_legal_path(word_logits.astype(np.float64), _legal_scores(scheme.types, transitions))


def decode_sentences(
    word_logits: npt.NDArray[np.floating[Any]],
    offsets: npt.NDArray[np.int64],
    scheme: LabelScheme,
    transitions: Transitions | None = None,
) -> TagIds:
    """`decode_tags` of many sentences: all at once where the argmax is legal and there are no transitions.

    Shapes: word_logits (all words, tags) float; offsets (sentences + 1,); result (all words,) int16.
    """
    ids: TagIds = word_logits.argmax(axis=1).astype(np.int16)
    if transitions is None:
        is_legal = np.ones(len(ids), dtype=bool)
        is_legal[1:] = scheme.may_follow[ids[:-1], ids[1:]]
        first = offsets[:-1][np.diff(offsets) > 0]
        is_legal[first] = scheme.may_start[ids[first]]
        chosen = np.unique(np.searchsorted(offsets, np.flatnonzero(~is_legal), side="right") - 1)
    else:
        chosen = np.flatnonzero(np.diff(offsets))
    for start, stop in zip(offsets[chosen].tolist(), offsets[chosen + 1].tolist(), strict=True):
        ids[start:stop] = decode_tags(word_logits[start:stop], scheme, transitions)
    return ids


def legal_spans(ids: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the entities of many sentences, all tagged legally, begin and end, their words counted through.

    Shapes: ids (all words,); result (entities,) int64 both, the ends exclusive.
    """
    begins = np.flatnonzero(ids % 2)
    goes_on = (ids > 0) & (ids % 2 == 0)
    borders = np.append(np.flatnonzero(~goes_on), len(ids)).astype(np.int64)
    return begins, borders[np.searchsorted(borders, begins, side="right")]


def _outweighs(
    logits: npt.NDArray[np.floating[Any]], ids: TagIds, transitions: Transitions, scheme: LabelScheme
) -> bool:
    """Whether no transitions can make up for a logit below the argmax, so that the legal path `ids` is the best.

    Another path loses at least the margin of each word that it tags otherwise, and gains at most what the transitions
    on both sides of these words fall short of the best one.
    """
    if not len(ids) or len(scheme.tags) == 1:
        return True
    best_two = np.partition(logits, -2, axis=1)[:, -2:].astype(np.float64)
    if not np.isfinite(best_two).all():
        return False
    pairs = transitions[1:]
    shortfall = np.zeros(len(ids) + 1)
    shortfall[0] = transitions[0][scheme.may_start].max() - transitions[0, ids[0]]
    shortfall[1:-1] = pairs[scheme.may_follow].max() - pairs[ids[:-1], ids[1:]]
    return bool((best_two[:, 1] - best_two[:, 0] >= shortfall[:-1] + shortfall[1:]).all())


def _best_legal_path(logits: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> TagIds:
    """Viterbi. Shapes: scores (tags, tags + 1) [next, previous], the last column for the start, -inf where illegal.

    Logits that are no finite numbers are replaced by such first, so that the path is legal for every input.
    """
    n_words, n_tags = logits.shape
    if not np.isfinite(logits).all():
        logits = np.nan_to_num(logits, nan=-_NO_NUMBER, posinf=_NO_NUMBER, neginf=-_NO_NUMBER)
    every = np.arange(n_tags)
    pairs, best = np.ascontiguousarray(scores[:, :-1]), scores[:, -1] + logits[0]
    came_from = np.empty((n_words, n_tags), dtype=np.int16)
    for word in range(1, n_words):
        sums = pairs + best
        came_from[word] = chosen = sums.argmax(axis=1)
        best = sums[every, chosen] + logits[word]
    path = np.empty(n_words, dtype=np.int16)
    path[-1] = best.argmax()
    for word in range(n_words - 1, 0, -1):
        path[word - 1] = came_from[word, path[word]]
    return path


def _legal_scores(types: tuple[str, ...], transitions: Transitions | None) -> npt.NDArray[np.float64]:
    if transitions is None:
        return _legality(types)
    learnt = np.concatenate([transitions[1:], transitions[:1]]).T.astype(np.float64)
    return _legality(types) + learnt


@lru_cache(maxsize=64)
def _legality(types: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Zero where legal, -inf elsewhere. Shapes: (tags, tags + 1) [next, previous], the last column for the start."""
    legal = np.concatenate([_may_follow(types), _may_start(types)[None]]).T
    return np.where(legal, 0.0, -np.inf)


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
