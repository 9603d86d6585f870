from __future__ import annotations

import dataclasses
import itertools
import statistics
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2, Entities

from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.evaluation.scoring import LanguageScores, macro, micro_f1, score_language, span_counts
from xtremedistil_ner.labels import LabelScheme

properties = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

SCHEME = LabelScheme(("LOC", "ORG", "PER"))
Ids = list[np.ndarray]


@st.composite
def tagged_pairs(draw: st.DrawFn, *, min_sentences: int = 0) -> tuple[Ids, Ids]:
    """Gold and predicted ids of the same sentences; both legal or not, the prediction often partly right."""
    tag_id = st.integers(0, len(SCHEME.tags) - 1)
    word = st.one_of(tag_id.map(lambda number: (number, number)), st.tuples(tag_id, tag_id))
    sentences = draw(st.lists(st.lists(word, max_size=8), min_size=min_sentences, max_size=6))
    columns = [np.array(words, dtype=np.int16).reshape(-1, 2) for words in sentences]
    return [pair[:, 0] for pair in columns], [pair[:, 1] for pair in columns]


def names(sentences: Ids) -> list[list[str]]:
    return [list(SCHEME.decode(ids)) for ids in sentences]


def counts_of(*sentences: tuple[int, int, int]) -> np.ndarray:
    """Build the counts of a corpus with one type."""
    return np.array(sentences, dtype=np.int64).reshape(-1, 1, 3)


ONE_TYPE = LabelScheme(("X",))


@properties
@given(tagged_pairs())
def test_counts_of_every_sentence_and_type_are_those_of_seqevals_strict_entities(pair: tuple[Ids, Ids]) -> None:
    gold, predicted = pair
    counts = span_counts(gold, predicted, SCHEME)
    assert (counts.shape, counts.dtype) == ((len(gold), 3, 3), np.int64)
    gold_entities = Entities(names(gold), scheme=IOB2).entities
    predicted_entities = Entities(names(predicted), scheme=IOB2).entities
    for sentence, (expected, found) in enumerate(zip(gold_entities, predicted_entities, strict=True)):
        for column, entities in enumerate((set(expected) & set(found), found, expected)):
            per_type = Counter(entity.tag for entity in entities)
            assert counts[sentence, :, column].tolist() == [per_type[kind] for kind in SCHEME.types]


@properties
@given(tagged_pairs(min_sentences=1))
def test_scores_are_those_of_seqeval_in_strict_mode(pair: tuple[Ids, Ids]) -> None:
    gold, predicted = pair
    counts = span_counts(gold, predicted, SCHEME)
    scores = score_language(counts, SCHEME, bootstrap=0, seed=0)
    strict = {"scheme": IOB2, "zero_division": 0}
    precision, recall, f1, _ = precision_recall_fscore_support(names(gold), names(predicted), average="micro", **strict)
    assert [scores.precision, scores.recall, scores.f1] == pytest.approx([precision, recall, f1], abs=1e-12)
    assert micro_f1(counts) == scores.f1
    assert scores.f1 == pytest.approx(f1_score(names(gold), names(predicted), mode="strict", **strict), abs=1e-12)
    per_type = precision_recall_fscore_support(names(gold), names(predicted), average=None, **strict)
    present = [kind for kind in SCHEME.types if counts[:, SCHEME.types.index(kind), 1:].any()]
    for kind, *expected in zip(present, *per_type, strict=True):
        assert dataclasses.astuple(scores.types[kind]) == pytest.approx(tuple(expected), abs=1e-12)


def test_an_entity_does_not_go_on_into_the_next_sentence() -> None:
    begin, inside = SCHEME.tag_id("B-PER"), SCHEME.tag_id("I-PER")
    sentences = [np.array([0, begin]), np.array([inside, inside])]
    one_word = [np.array([0, begin]), np.array([0, 0])]
    assert span_counts(sentences, one_word, SCHEME).sum(axis=(0, 1)).tolist() == [1, 1, 1]


def test_a_stray_inside_tag_is_no_entity() -> None:
    gold = [SCHEME.encode(["B-PER", "I-PER", "O", "B-LOC"])]
    predicted = [SCHEME.encode(["I-PER", "I-PER", "O", "B-LOC"])]
    assert span_counts(gold, predicted, SCHEME).sum(axis=(0, 1)).tolist() == [1, 1, 2]


def test_scores_of_a_worked_example() -> None:
    # Right: LOC at 4. PER is one word too long; ORG is missed; the second LOC is invented.
    gold = [SCHEME.encode(["B-PER", "I-PER", "O", "O", "B-LOC"]), SCHEME.encode(["B-ORG", "O"])]
    predicted = [SCHEME.encode(["B-PER", "I-PER", "I-PER", "O", "B-LOC"]), SCHEME.encode(["O", "B-LOC"])]
    scores = score_language(span_counts(gold, predicted, SCHEME), SCHEME, bootstrap=0, seed=0, words_lost=4)
    assert (scores.precision, scores.recall, scores.f1, scores.support) == (1 / 3, 1 / 3, 1 / 3, 3)
    assert dataclasses.astuple(scores.types["LOC"]) == (1 / 2, 1.0, 2 / 3, 1)
    assert dataclasses.astuple(scores.types["ORG"]) == (0.0, 0.0, 0.0, 1)
    assert (scores.f1_low, scores.f1_high, scores.words_lost) == (scores.f1, scores.f1, 4)


@pytest.mark.parametrize(("gold", "predicted"), [([], [[0]]), ([[0, 0]], [[0]]), ([[0], [0, 0]], [[0], [0]])])
def test_sentences_that_do_not_correspond_are_refused(gold: list[list[int]], predicted: list[list[int]]) -> None:
    with pytest.raises(UsageError, match="sentence"):
        span_counts([np.array(ids) for ids in gold], [np.array(ids) for ids in predicted], SCHEME)


@pytest.mark.parametrize("number", [-100, -1, 7])
def test_an_id_that_is_not_of_the_scheme_is_refused(number: int) -> None:
    with pytest.raises(UsageError, match=rf"sentence 1 .*tag id {number}"):
        span_counts([np.array([0]), np.array([0, 0])], [np.array([0]), np.array([0, number])], SCHEME)


def test_nothing_to_score_gives_zeros() -> None:
    for scheme in (SCHEME, LabelScheme(())):
        for sentences in ([], [np.zeros(0, dtype=np.int16)], [np.zeros(3, dtype=np.int16)]):
            scores = score_language(span_counts(sentences, sentences, scheme), scheme, bootstrap=20, seed=0)
            assert dataclasses.astuple(scores)[:6] == (0.0, 0.0, 0.0, 0, 0.0, 0.0)
            assert list(scores.types) == list(scheme.types)
        assert macro({"en": scores}) == macro({}) == (None, None)
    assert micro_f1(np.zeros((0, 3), dtype=np.int64)) == 0.0


@properties
@given(tagged_pairs(), st.integers(0, 2**32 - 1))
def test_the_interval_holds_the_score_and_stays_within_zero_and_one(pair: tuple[Ids, Ids], seed: int) -> None:
    scores = score_language(span_counts(*pair, SCHEME), SCHEME, bootstrap=200, seed=seed)
    assert 0 <= scores.f1_low <= scores.f1 <= scores.f1_high <= 1


def test_the_interval_is_that_of_all_equally_likely_resamples() -> None:
    sentences = [(3, 4, 3), (0, 2, 3), (2, 2, 2), (2, 2, 2), (2, 2, 2), (0, 0, 1)]
    totals = np.array(list(itertools.product(sentences, repeat=6))).sum(axis=1)
    exact = np.sort(2 * totals[:, 0] / (totals[:, 1] + totals[:, 2]))
    scores = score_language(counts_of(*sentences), ONE_TYPE, bootstrap=100_000, seed=7)
    # 100,000 resamples place each end within 0.0005 of its rank (one standard deviation); allow five.
    for end, rank in ((scores.f1_low, 0.025), (scores.f1_high, 0.975)):
        below, above = np.quantile(exact, [rank - 0.0025, rank + 0.0025])
        assert below <= end <= above


def test_the_interval_narrows_with_the_square_root_of_the_sentences() -> None:
    few = [(1, 1, 1), (0, 1, 1), (1, 2, 1), (1, 1, 2)] * 25
    narrow, wide = (score_language(counts_of(*few * times), ONE_TYPE, bootstrap=4000, seed=1) for times in (16, 1))
    ratio = (wide.f1_high - wide.f1_low) / (narrow.f1_high - narrow.f1_low)
    assert ratio == pytest.approx(4, rel=0.15)


def test_the_interval_depends_on_the_seed_and_not_on_the_order_of_sentences() -> None:
    sentences = [(index % 3, index % 3 + zlib.crc32(bytes([index])) % 2, index % 3 + index % 2) for index in range(60)]
    first = score_language(counts_of(*sentences), ONE_TYPE, bootstrap=50, seed=3)
    assert score_language(counts_of(*reversed(sentences)), ONE_TYPE, bootstrap=50, seed=3) == first
    assert score_language(counts_of(*sentences), ONE_TYPE, bootstrap=50, seed=4) != first


def test_macro_is_the_mean_and_the_population_deviation_of_languages() -> None:
    f1 = {"de": 0.75, "no": 0.5, "fi": 1.0, "yo": 0.0}
    scores = {code: LanguageScores(0.0, 0.0, value, 1, 0.0, 1.0, {}, 0) for code, value in f1.items()}
    assert macro(scores) == pytest.approx((statistics.mean(f1.values()), statistics.pstdev(f1.values())))
