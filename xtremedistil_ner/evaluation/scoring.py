"""Gold and predicted tags → entity counts → precision, recall and F1 per language and type, with intervals.

The protocol of record: an entity is right if its words and its type are; spans are read as strict IOB2; micro-averaged
F1 per language, then the mean and the population standard deviation over the languages with a gold entity: without one
F1 is 0 whatever a model does. The counts equal those of seqeval's `mode="strict", scheme=IOB2` (a test holds them
equal) and come from array operations, because training looks at dev every few hundred updates. Everything after the
counts needs the counts alone, never the tags again. 0/0 is 0.0 throughout: no score is
ever NaN. conlleval's way of reading spans serves the papers' protocol and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.evaluation.bootstrap import Counts, f1_of, has_entities, interval, resampled_f1
from xtremedistil_ner.labels import LabelScheme

IdSequences = Sequence[npt.NDArray[np.integer[Any]]]
SpanRules = Literal["strict", "conlleval"]


@dataclass(frozen=True, slots=True)
class TypeScores:
    """Scores of one entity type; `support` counts its gold entities."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class LanguageScores:
    """Scores of one language; `f1_low` and `f1_high` bound the 95 % bootstrap interval over its sentences."""

    precision: float
    recall: float
    f1: float
    support: int
    f1_low: float
    f1_high: float
    types: dict[str, TypeScores]
    words_lost: int = 0


def span_counts(
    gold: IdSequences, predicted: IdSequences, scheme: LabelScheme, *, rules: SpanRules = "strict"
) -> Counts:
    """Count right, predicted and gold entities of every sentence and type.

    Under conlleval's rules a stray `I-X` starts an entity, at the start of a sentence, after `O` and after another
    type; these are seqeval's default mode as well.

    Shapes: gold, predicted one (words,) array of tag ids per sentence; result (sentences, types, 3) int64
    [correct, predicted, gold].
    Raises: UsageError if sentences or words do not correspond, or an id is not of the scheme.
    """
    lengths = _common_lengths(gold, predicted)
    sentence_of = np.repeat(np.arange(len(lengths)), lengths)
    gold_type, gold_stop = _read_entities(gold, sentence_of, scheme, rules)
    predicted_type, predicted_stop = _read_entities(predicted, sentence_of, scheme, rules)
    is_gold, is_predicted = gold_type >= 0, predicted_type >= 0
    is_correct = is_gold & (gold_type == predicted_type) & (gold_stop == predicted_stop)
    n_types = len(scheme.types)
    shape = (len(lengths), n_types, 3)
    counts = np.zeros(shape, dtype=np.int64)
    for column, (starts, types) in enumerate(
        ((is_correct, gold_type), (is_predicted, predicted_type), (is_gold, gold_type))
    ):
        cells = sentence_of[starts] * n_types + types[starts]
        counts[:, :, column] = np.bincount(cells, minlength=shape[0] * n_types).reshape(shape[:2])
    return counts


def correct_starts(
    gold: IdSequences, predicted: npt.NDArray[np.integer[Any]], scheme: LabelScheme
) -> npt.NDArray[np.bool_]:
    """Whether a right entity starts at each word: read strictly, with the words and the type of a gold one.

    Shapes: gold one (words,) array of tag ids per sentence; predicted (all words,); result (all words,) bool.
    """
    lengths = np.array([len(ids) for ids in gold], dtype=np.int64)
    sentence_of = np.repeat(np.arange(len(lengths)), lengths)
    gold_type, gold_stop = _read_entities(gold, sentence_of, scheme, "strict")
    predicted_type, predicted_stop = _read_entities([predicted], sentence_of, scheme, "strict")
    is_right: npt.NDArray[np.bool_] = (gold_type >= 0) & (gold_type == predicted_type) & (gold_stop == predicted_stop)
    return is_right


def score_language(
    counts: Counts, scheme: LabelScheme, *, bootstrap: int, seed: int, words_lost: int = 0
) -> LanguageScores:
    """Score one language from the counts of its sentences.

    Shapes: counts (sentences, types, 3), of `span_counts`.
    `bootstrap` is the number of resamples; with 0 the interval is the F1 itself.
    """
    by_type = counts.sum(axis=0)
    total = by_type.sum(axis=0)
    f1 = float(f1_of(total))
    low = high = f1
    if bootstrap:
        low, high = interval(resampled_f1(counts.sum(axis=1)[:, None], resamples=bootstrap, seed=seed)[:, 0])
    return LanguageScores(
        precision=_ratio(total[0], total[1]),
        recall=_ratio(total[0], total[2]),
        f1=f1,
        support=int(total[2]),
        f1_low=low,
        f1_high=high,
        types={
            kind: TypeScores(_ratio(row[0], row[1]), _ratio(row[0], row[2]), float(f1_of(row)), int(row[2]))
            for kind, row in zip(scheme.types, by_type, strict=True)
        },
        words_lost=words_lost,
    )


def macro(scores: Mapping[str, LanguageScores]) -> tuple[float, float] | tuple[None, None]:
    """Mean and population standard deviation of F1 over the languages with a gold entity; None without any."""
    f1 = np.array([language.f1 for language in scores.values() if language.support])
    return (float(f1.mean()), float(f1.std())) if len(f1) else (None, None)


def macro_f1(counts: Mapping[str, Counts]) -> float:
    """Mean of F1 over the languages with a gold entity, 0.0 without any.

    Shapes: counts per language (..., 3) [correct, predicted, gold].
    """
    f1 = [micro_f1(of_language) for of_language in counts.values() if has_entities(of_language)]
    return float(np.mean(f1)) if f1 else 0.0


def micro_f1(counts: Counts) -> float:
    """F1 over all entities.

    Shapes: counts (..., 3) [correct, predicted, gold].
    """
    return float(f1_of(counts.reshape(-1, 3).sum(axis=0)))


def _common_lengths(gold: IdSequences, predicted: IdSequences) -> npt.NDArray[np.int64]:
    if len(gold) != len(predicted):
        raise UsageError(f"{len(gold)} gold sentences but {len(predicted)} predicted ones. They must correspond.")
    lengths = np.array([len(ids) for ids in gold], dtype=np.int64)
    other = np.array([len(ids) for ids in predicted], dtype=np.int64)
    differing = np.flatnonzero(lengths != other)
    if len(differing):
        first = differing[0]
        raise UsageError(
            f"sentence {first} (from 0): {lengths[first]} gold tags but {other[first]} predicted ones. "
            "Score whole sentences, one tag per word."
        )
    return lengths


def _read_entities(
    sentences: IdSequences, sentence_of: npt.NDArray[np.int64], scheme: LabelScheme, rules: SpanRules
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Type and stop of the entity that starts at each word, all sentences end to end; type -1 where none starts.

    A word continues the one before if it is `I-X` after `B-X` or `I-X` of its sentence; an entity stops at the
    next word that does not. A stray `I-X` continues nothing and is no `B-`, so, read strictly, it and its followers
    belong to no entity; to conlleval it is the start of one.
    """
    # Four words of one sentence, B-PER I-PER O I-LOC, whose ids are [1, 2, 0, 4]: continues is [False, True, False,
    # False], so the words that continue nothing are borders = [0, 2, 3], with 4 added for the end, and stop is
    # [2, 0, 3, 4], each border's next one. Strictly, only word 0 begins an entity: kind is [0, -1, -1, -1]. To
    # conlleval word 3 begins one too: kind is [0, -1, -1, 1].
    ids = np.concatenate([np.asarray(tags, dtype=np.int64) for tags in sentences] or [np.zeros(0, dtype=np.int64)])
    unknown = np.flatnonzero((ids < 0) | (ids >= len(scheme.tags)))
    if len(unknown):
        where, number = sentence_of[unknown[0]], ids[unknown[0]]
        raise UsageError(f"sentence {where} (from 0): tag id {number}. Ids go from 0 to {len(scheme.tags) - 1}.")
    continues = np.zeros(len(ids), dtype=bool)
    continues[1:] = scheme.may_follow[ids[:-1], ids[1:]] & (ids[1:] % 2 == 0) & (ids[1:] > 0)
    continues[1:] &= sentence_of[1:] == sentence_of[:-1]
    borders = np.append(np.flatnonzero(~continues), len(ids))
    kind = np.full(len(ids), -1, dtype=np.int64)
    stop = np.zeros(len(ids), dtype=np.int64)
    begins = ids % 2 == 1 if rules == "strict" else (ids > 0) & ~continues
    kind[begins] = (ids[begins] - 1) // 2
    stop[borders[:-1]] = borders[1:]
    return kind, stop


def _ratio(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else 0.0
