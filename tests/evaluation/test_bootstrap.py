"""Paired intervals against all equally likely resamples, and what pairing and independence must do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xtremedistil_ner.evaluation.bootstrap import (
    f1_of,
    interval,
    macro_difference,
    macro_interval,
    resampled_f1,
    retention_intervals,
)

# [correct, predicted, gold] of six sentences by two models, which both fail on the last two
TEACHER = np.array([(2, 2, 2), (1, 1, 1), (3, 3, 3), (2, 2, 2), (0, 1, 2), (0, 2, 3)])
STUDENT = np.array([(2, 2, 2), (1, 1, 1), (2, 3, 3), (2, 2, 2), (0, 2, 2), (0, 1, 3)])


def all_resamples(*models):
    """F1 of each model for each of the 6 ** 6 equally likely resamples."""
    picks = np.array(list(itertools.product(range(6), repeat=6)))
    totals = [counts[picks].sum(axis=1) for counts in models]
    return [2 * total[:, 0] / (total[:, 1] + total[:, 2]) for total in totals]


def assert_ends(interval, exact):
    """100,000 resamples place each end within 0.0005 of its rank (one standard deviation); allow five."""
    for end, rank in zip(interval, (0.025, 0.975), strict=True):
        below, above = np.quantile(exact, [rank - 0.0025, rank + 0.0025])
        assert below <= end <= above


def test_the_interval_of_retention_is_that_of_all_paired_resamples():
    teacher, student = all_resamples(TEACHER, STUDENT)
    macro, languages = retention_intervals({"en": TEACHER}, {"en": STUDENT}, resamples=100_000, seed=5)
    ratio = np.divide(student, teacher, out=np.zeros_like(student), where=teacher > 0)
    assert_ends(languages["en"], ratio)
    assert macro == languages["en"], "of one language"


def test_pairing_makes_the_interval_narrower_than_two_intervals_would():
    (low, high), _ = retention_intervals({"en": TEACHER}, {"en": STUDENT}, resamples=4000, seed=5)
    teacher = resampled_f1(TEACHER[:, None], resamples=4000, seed=1)[:, 0]
    student = resampled_f1(STUDENT[:, None], resamples=4000, seed=2)[:, 0]
    apart = np.quantile(student / np.maximum(teacher, 1e-9), [0.025, 0.975])
    assert high - low < 0.5 * (apart[1] - apart[0])


def test_a_model_keeps_all_of_itself():
    both = {"en": TEACHER, "no": STUDENT}
    macro, languages = retention_intervals(both, both, resamples=500, seed=1)
    assert macro == languages["en"] == languages["no"] == (1.0, 1.0)


def test_languages_are_resampled_on_their_own():
    # Equal languages: were their draws the same, the macro mean would vary as much as one language does.
    one = np.array([(1, 1, 1), (0, 1, 1)] * 50)
    zero = np.array([(1, 1, 1), (1, 1, 1)] * 50)
    _, alone = retention_intervals({"en": zero}, {"en": one}, resamples=4000, seed=3)
    names = [f"l{number}" for number in range(16)]
    macro, _ = retention_intervals(dict.fromkeys(names, zero), dict.fromkeys(names, one), resamples=4000, seed=3)
    ratio = (macro[1] - macro[0]) / (alone["en"][1] - alone["en"][0])
    assert ratio == pytest.approx(1 / 4, rel=0.15), "the square root of 16 languages"


def test_languages_that_one_model_lacks_do_not_count():
    _, languages = retention_intervals({"en": TEACHER, "tl": TEACHER}, {"en": STUDENT}, resamples=50, seed=1)
    assert list(languages) == ["en"]
    assert retention_intervals({"en": TEACHER}, {}, resamples=50, seed=1) == ((0.0, 0.0), {})


def test_a_difference_is_that_of_the_macro_means_and_has_its_sign():
    first, second = {"en": TEACHER, "no": TEACHER}, {"en": STUDENT, "no": TEACHER}
    found = macro_difference([first], [second], resamples=2000, seed=1)
    assert found.macro_f1 == pytest.approx((f1_of(STUDENT.sum(axis=0)) - f1_of(TEACHER.sum(axis=0))) / 2)
    assert found.low <= found.macro_f1 <= found.high
    other = macro_difference([second], [first], resamples=2000, seed=1)
    assert other.macro_f1 == -found.macro_f1
    assert other.p == pytest.approx(found.p, abs=0.1)


def test_a_clear_difference_is_significant_and_none_is_not():
    good = np.array([(1, 1, 1)] * 90 + [(0, 1, 1)] * 10)
    bad = np.array([(1, 1, 1)] * 60 + [(0, 1, 1)] * 40)
    assert macro_difference([{"en": bad}], [{"en": good}], resamples=1000, seed=1).p == 2 / 1000
    assert macro_difference([{"en": good}], [{"en": good}], resamples=1000, seed=1).p == 1.0


def test_p_is_the_share_of_all_resamples_on_the_other_side():
    teacher, student = all_resamples(TEACHER, STUDENT)
    change = student - teacher
    exact = 2 * min(np.mean(change <= 0), np.mean(change >= 0))
    assert macro_difference([{"en": TEACHER}], [{"en": STUDENT}], resamples=100_000, seed=2).p == pytest.approx(
        min(1.0, exact), abs=0.01
    )


def sentences_of(correct):
    """Two equal sentences, so that F1 is `correct` / 2 in every resample."""
    return {"en": np.array([(correct, 2, 2)] * 2)}


def test_seeds_of_two_models_are_drawn_apart():
    """F1 of the seeds is 0 and 0.5 against 0.5 and 1: a difference of 0, 0.25, 0.5, 0.75 or 1.

    The three means of two draws have chances 1/4, 1/2 and 1/4, so that these have 1/16, 4/16, 6/16, 4/16 and 1/16.
    """
    found = macro_difference(
        [sentences_of(0), sentences_of(1)], [sentences_of(1), sentences_of(2)], resamples=50_000, seed=1
    )
    assert (found.macro_f1, found.low, found.high) == (0.5, 0.0, 1.0)
    assert found.p == pytest.approx(2 / 16, abs=0.007), "five standard deviations"


def test_the_same_seeds_are_drawn_together():
    """Each seed of the second model is 0.5 better than the same seed of the first, whichever seeds are drawn."""
    first, second = [sentences_of(0), sentences_of(1)], [sentences_of(1), sentences_of(2)]
    found = macro_difference(first, second, same_seeds=True, resamples=1000, seed=1)
    assert (found.macro_f1, found.low, found.high, found.p) == (0.5, 0.5, 0.5, 2 / 1000)


def test_the_interval_over_seeds_and_sentences_is_that_of_all_resamples_of_both():
    good = np.array([(2, 2, 2), (1, 1, 1), (2, 2, 2), (1, 2, 3)])
    fair = np.array([(2, 2, 2), (0, 1, 1), (1, 2, 2), (1, 2, 3)])
    poor = np.array([(1, 2, 2), (0, 1, 1), (2, 3, 2), (0, 2, 3)])
    picks = np.array(list(itertools.product(range(4), repeat=4)))
    f1 = [f1_of(counts[picks].sum(axis=1)) for counts in (poor, fair, good)]
    exact = np.concatenate([f1[2] - (f1[one] + f1[other]) / 2 for one in (0, 1) for other in (0, 1)])
    found = macro_difference([{"en": poor}, {"en": fair}], [{"en": good}], resamples=100_000, seed=5)
    assert_ends((found.low, found.high), exact)
    assert found.p == pytest.approx(2 * np.mean(exact <= 0), abs=0.01)


def test_seeds_that_vary_more_than_the_models_differ_leave_a_difference_to_chance():
    """Over sentences alone each seed of the second model is clearly better than the same seed of the first."""

    def right(count):
        return {"en": np.array([(1, 1, 1)] * count + [(0, 1, 1)] * (1000 - count))}

    first, second = [right(500), right(700), right(900)], [right(560), right(760), right(960)]
    alone = [macro_difference([one], [other], resamples=1000, seed=1) for one, other in zip(first, second, strict=True)]
    assert all(found.low > 0 and found.p < 0.01 for found in alone)
    found = macro_difference(first, second, resamples=1000, seed=1)
    assert found.macro_f1 == pytest.approx(0.06)
    assert found.low < 0 < found.high and found.p > 0.1


def test_nothing_to_resample_gives_zeros():
    assert resampled_f1(np.zeros((0, 2, 3), dtype=np.int64), resamples=4, seed=1).tolist() == [[0.0, 0.0]] * 4


def test_the_interval_of_macro_f1_is_that_of_all_resamples_and_none_without_entities():
    (exact,) = all_resamples(STUDENT)
    assert_ends(macro_interval({"en": STUDENT}, resamples=100_000, seed=5), exact)
    assert macro_interval({"en": STUDENT}, resamples=0, seed=5) is None
    assert macro_interval({"en": np.zeros((4, 3), dtype=np.int64)}, resamples=10, seed=5) is None


def draw_sentences(rng, sentences):
    """Counts of sentences with up to four entities; hard sentences are hard for all their entities.

    Shapes: result (sentences, 3) [correct, predicted, gold].
    """
    gold = rng.binomial(4, 0.4, size=sentences)
    recall = rng.beta(4, 1, size=sentences)
    correct = rng.binomial(gold, recall)
    return np.stack([correct, correct + rng.binomial(2, 0.08, size=sentences), gold], axis=1)


@pytest.mark.slow
def test_intervals_of_a_thousand_test_sets_hold_the_true_f1_in_93_to_97_percent():
    """With a true coverage of 95 %, the share of 1,000 sets has a standard deviation of 0.7 points."""
    rng = np.random.default_rng(7)
    true = float(f1_of(draw_sentences(rng, 4_000_000).sum(axis=0)))
    held = 0
    for number in range(1000):
        counts = draw_sentences(rng, 1000)
        low, high = interval(resampled_f1(counts[:, None], resamples=1000, seed=number)[:, 0])
        held += low <= true <= high
    assert 930 <= held <= 970
