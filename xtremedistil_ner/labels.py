"""Tags and types: the label scheme, the tag formats of corpora, legal paths and decoding.

Inside the package every tag is IOB2: an entity starts with `B-X` and continues with `I-X`. Corpora in IOB1, BIOES or
BILOU are converted once, when they are read. An `I-X` that continues nothing is no entity (strict reading). In *gold*
tags it is repaired and counted; where *logits* prefer one, the decoder takes the best path without it. If the argmax of
a sentence is legal, decoding costs that argmax and a table look-up.
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
"""Types and their new types, None to leave a type out; types that are not named do not change."""

OUTSIDE = "O"
_OUTSIDE_ID = 0
_HUGE_LOGIT = 1e30
"""Replaces infinity where sums must stay finite: larger than any logit, and far below float64's maximum."""
_SENTENCES_AT_ONCE = 1024
"""Sentences whose paths are searched together; of 7 tags and 100 words each, their choices take 6 MB."""
_PREFIXES: dict[TagFormat, str] = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIESLU"}
_STARTS_ENTITY = "BSU"
_ENDS_ENTITY = "ESLU"


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
        for number, type_name in enumerate(self.types):
            if not is_type(type_name):
                raise UsageError(f"type {number + 1} is {quoted(type_name)}. {TYPE_RULE}.")
            if type_name in self.types[:number]:
                raise UsageError(f"type {type_name!r} is given twice. Name every type once.")

    @classmethod
    def from_tags(cls, tags: Iterable[str]) -> LabelScheme:
        """Make the scheme of all types that occur in `tags`, sorted by name.

        Raises: CorpusError for a tag that is neither `O` nor prefix, hyphen, type.
        """
        return cls(tuple(sorted({type_name for _, type_name in map(split_tag, set(tags)) if type_name})))

    @classmethod
    def from_ordered_tags(cls, tags: Iterable[str]) -> LabelScheme:
        """Make the scheme of a model's tags, given in the order of their ids.

        Raises: UsageError if they are not the tags of a scheme in its order.
        """
        names = tuple(tags)
        scheme = cls(tuple(tag[2:] for tag in names[1::2]))
        if scheme.tags != names:
            raise UsageError(f"the tags are {', '.join(names)}. Expected {', '.join(scheme.tags)}.")
        return scheme

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags in the order of their ids: `O`, `B-X`, `I-X`, `B-Y`, …."""
        return _tags(self.types)

    @property
    def may_start(self) -> npt.NDArray[np.bool_]:
        """Whether a sentence may start with a tag.

        Shapes: (tags,) bool, read-only.
        """
        return _may_start(self.types)

    @property
    def may_follow(self) -> npt.NDArray[np.bool_]:
        """Whether one tag may directly follow another.

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

    Raises: CorpusError for anything but `O`, or one of B I E S L U, a hyphen and a type.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, type_name = tag[:1], tag[2:]
    if prefix not in tuple(_PREFIXES["BIOES"]) or tag[1:2] != "-" or not is_type(type_name):
        raise CorpusError(f"{quoted(tag)} is not a tag. A tag is O, or B- or I- and a type, such as B-LOC.")
    return prefix, type_name


def tag_format(sentences: Iterable[Sequence[str]]) -> TagFormat:
    """Find the format in which the tags of a whole file are written.

    E, S, L or U mean BIOES. In IOB1 entities start with I, except directly after an entity of the same type. So one B
    elsewhere means IOB2, and entities that start with I are then counted as mistakes.
    Raises: CorpusError for a text that is not a tag.
    """
    first_inside = first_begin = False
    for tags in sentences:
        previous = ""
        for prefix, type_name in map(split_tag, tags):
            if prefix in "ESLU":
                return "BIOES"
            if type_name and type_name != previous:
                first_begin |= prefix == "B"
                first_inside |= prefix == "I"
            previous = type_name
    return "IOB1" if first_inside and not first_begin else "IOB2"


def to_iob2(tags: Sequence[str], *, format: TagFormat) -> tuple[tuple[str, ...], int]:
    """Rewrite one sentence's tags as legal IOB2, and count the tags that were illegal in their format.

    An inside or end tag that continues no entity of its type is repaired: it becomes `B-`. In IOB1 entities start like
    that, so nothing is counted. `format="BIOES"` reads BILOU as well.
    Raises: CorpusError for a tag that the format does not have.
    """
    result: list[str] = []
    repaired = 0
    open_type = ""
    for tag in tags:
        prefix, type_name = split_tag(tag)
        if type_name and prefix not in _PREFIXES[format]:
            raise CorpusError(f"{tag!r} is not a tag of {format}, which has O and {', '.join(_PREFIXES[format])}.")
        starts = bool(type_name) and (prefix in _STARTS_ENTITY or type_name != open_type)
        repaired += starts and prefix not in _STARTS_ENTITY and format != "IOB1"
        result.append(f"{'B' if starts else 'I'}-{type_name}" if type_name else OUTSIDE)
        open_type = "" if prefix in _ENDS_ENTITY else type_name
    return tuple(result), repaired


def map_types(tags: Sequence[str], types: TypeMapping) -> tuple[str, ...]:
    """IOB2 tags with mapped types; tags of a type that the mapping leaves out become `O`.

    Adjacent entities whose types become the same are still two entities.
    """
    mapped = ((tag[:2], types.get(tag[2:], tag[2:])) for tag in tags)
    return tuple(f"{prefix}{new_type}" if new_type else OUTSIDE for prefix, new_type in mapped)


def spans_of(tags: Sequence[str] | npt.NDArray[np.integer[Any]], scheme: LabelScheme | None = None) -> tuple[Span, ...]:
    """Entities of one sentence, read strictly: `B-X` and the `I-X` directly after it; other `I-X` are no entities.

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
    """Find the legal IOB2 path with the largest sum of logits, and of transition scores if they are given.

    Without transitions, this path is the argmax if that is legal.

    Shapes: word_logits (words, tags) float; transitions (tags + 1, tags) [previous, next], row 0 for the start, of
    which only the legal ones count; result (words,) int16.
    Raises: UsageError for logits or transitions of another shape.
    """
    n_tags = len(scheme.tags)
    if word_logits.ndim != 2 or word_logits.shape[1] != n_tags:
        raise UsageError(f"logits of shape {word_logits.shape}, but the scheme has {n_tags} tags.")
    if transitions is not None and transitions.shape != (n_tags + 1, n_tags):
        raise UsageError(f"transitions of shape {transitions.shape}, but the scheme has {n_tags} tags.")
    return decode_sentences(word_logits, np.array([0, len(word_logits)]), scheme, transitions)


def decode_sentences(
    word_logits: npt.NDArray[np.floating[Any]],
    offsets: npt.NDArray[np.int64],
    scheme: LabelScheme,
    transitions: Transitions | None = None,
) -> TagIds:
    """`decode_tags` of many sentences at once. Paths are searched where the argmax is not surely the best legal path.

    Shapes: word_logits (all words, tags) float; offsets (sentences + 1,); result (all words,) int16.
    """
    ids: TagIds = word_logits.argmax(axis=1).astype(np.int16)
    # Sentences of 2 and 3 words, offsets [0, 2, 5], argmax O I-X | B-X I-X O: only word 1 is illegal, because nothing
    # precedes its I-X. `searchsorted` finds its sentence, 0, and only that one is searched.
    first_words = offsets[:-1][np.diff(offsets) > 0]
    is_settled = np.ones(len(ids), dtype=bool)
    is_settled[1:] = scheme.may_follow[ids[:-1], ids[1:]]
    is_settled[first_words] = scheme.may_start[ids[first_words]]
    if transitions is not None and len(scheme.tags) > 1:
        is_settled &= _are_surely_best(word_logits, ids, first_words, transitions, scheme)
    unsettled = np.unique(np.searchsorted(offsets, np.flatnonzero(~is_settled), side="right") - 1)
    scores = _legal_scores(scheme.types, transitions)
    for start in range(0, len(unsettled), _SENTENCES_AT_ONCE):
        part = unsettled[start : start + _SENTENCES_AT_ONCE]
        _search_paths(word_logits, offsets[part], np.diff(offsets)[part], scores, ids)
    return ids


def legal_spans(ids: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Starts and ends of the entities of many legally tagged sentences, whose words are numbered consecutively.

    With the tags `O B-X I-X B-X`, ids 0 1 2 1, entities begin at the odd ids, words 1 and 3. Each ends at the first
    border after it; borders are the words that are not `I-`, 0, 1 and 3, and the end, 4. So the ends are 3 and 4.

    Shapes: ids (all words,); result (entities,) int64 both, the ends exclusive.
    """
    begins = np.flatnonzero(ids % 2)
    is_inside = (ids > 0) & (ids % 2 == 0)
    borders = np.append(np.flatnonzero(~is_inside), len(ids)).astype(np.int64)
    return begins, borders[np.searchsorted(borders, begins, side="right")]


def _are_surely_best(
    logits: npt.NDArray[np.floating[Any]],
    ids: TagIds,
    first_words: npt.NDArray[np.int64],
    transitions: Transitions,
    scheme: LabelScheme,
) -> npt.NDArray[np.bool_]:
    """Whether no path gains from another tag for a word, whatever the transitions of other paths.

    Another path loses at least the margin between the two best logits of each word that it tags otherwise. For that
    word it gains at most the shortfalls of the two transitions on both sides of the word: the best legal transition
    score minus the one that `ids` takes. If every margin of a sentence covers its two shortfalls, and `ids` is legal
    there, no path is better.

    Example: three words with margins 5, 1, 4. Every transition scores 0, except that the one between words 1 and 2
    scores -2: the shortfalls before word 0, between the words and after word 2 are 0, 0, 2, 0. Word 1 has margin 1 but
    may gain 0 + 2 with another tag, so the path must be searched. With a margin of 2 it would be kept.

    Shapes: first_words (sentences,), of those with words; result (all words,) bool, false at logits that are infinite.
    """
    best_two = np.partition(logits, -2, axis=1)[:, -2:].astype(np.float64)
    is_finite = np.isfinite(best_two).all(axis=1)
    margins = np.subtract(best_two[:, 1], best_two[:, 0], where=is_finite, out=np.zeros(len(ids)))
    pairs = transitions[1:]
    before, after = np.zeros((2, len(ids)))
    before[1:] = pairs[scheme.may_follow].max() - pairs[ids[:-1], ids[1:]]
    after[:-1] = before[1:]
    before[first_words] = transitions[0][scheme.may_start].max() - transitions[0, ids[first_words]]
    after[first_words[1:] - 1] = 0.0  # a last word has no transition behind it
    is_best: npt.NDArray[np.bool_] = is_finite & (margins >= before + after)
    return is_best


def _search_paths(
    logits: npt.NDArray[np.floating[Any]],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    ids: TagIds,
) -> None:
    """Write the best legal paths of some sentences into `ids`: Viterbi, one word of all of them at a time.

    Infinite logits and NaN are first replaced by large finite ones, so that the path is legal for every input.

    Shapes: starts, lengths (sentences,), one word at least; scores (tags, tags + 1) [next, previous], the last column
    for the start, -inf where illegal.
    """
    order = np.argsort(-lengths, kind="stable")  # longest first: those that have a word of some number are in front
    starts, n_words, n_tags = starts[order], int(lengths.max()), len(scores)
    reach = np.searchsorted(-lengths[order], -np.arange(n_words)).tolist()
    words = [starts[:count] + word for word, count in enumerate(reach)]
    emissions = logits[np.concatenate(words)].astype(np.float64)
    if not np.isfinite(emissions).all():
        emissions = np.nan_to_num(emissions, nan=-_HUGE_LOGIT, posinf=_HUGE_LOGIT, neginf=-_HUGE_LOGIT)
    ends = np.cumsum(reach).tolist()
    first, *steps = (emissions[end - count : end] for end, count in zip(ends, reach, strict=True))
    pairs, rows = np.ascontiguousarray(scores[:, :-1]), np.arange(len(starts) * n_tags)
    best = scores[:, -1] + first  # of paths that end in each tag
    previous = []
    for step in steps:
        sums = (pairs + best[: len(step), None, :]).reshape(-1, n_tags)
        choice = sums.argmax(axis=1)
        best[: len(step)] = sums[rows[: len(sums)], choice].reshape(step.shape) + step
        previous.append(choice.reshape(step.shape))
    tags = best.argmax(axis=1)
    for word, choice in zip(reversed(words), [*reversed(previous), None], strict=True):
        ids[word] = tags[: len(word)]
        if choice is not None:
            tags[: len(word)] = choice[rows[: len(word)], tags[: len(word)]]


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
    return (OUTSIDE, *(f"{prefix}-{type_name}" for type_name in types for prefix in "BI"))


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
