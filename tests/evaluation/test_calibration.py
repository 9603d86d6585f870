"""The error of entity scores, against counting by hand, and the temperature, against models of a known one."""

from __future__ import annotations

import numpy as np
import pytest

from xtremedistil_ner.evaluation.calibration import (
    BINS,
    TEMPERATURES,
    bin_scores,
    calibration_entry,
    expected_error,
    log_losses,
    score_entities,
)
from xtremedistil_ner.labels import LabelScheme, decode_sentences

SCHEME = LabelScheme(("LOC", "PER"))


def sure_model(words, *, temperature, seed=0):
    """Logits of one-word sentences, gold tags drawn from softmax(logits / temperature), and the decoded tags."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, size=(words, len(SCHEME.tags))).astype(np.float32)
    logits[:, 2::2] = -1e4  # one word has no room for a continuation
    chances = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    chances /= chances.sum(axis=1, keepdims=True)
    gold = (random.random((words, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    ids = decode_sentences(logits, np.arange(words + 1), SCHEME)
    return logits, ids, [np.array([tag], dtype=np.int16) for tag in gold]


def binned(*arguments):
    """As the report bins the entities of a language."""
    _, scores, is_right = score_entities(*arguments)
    return bin_scores(scores, is_right)


def test_the_error_is_the_distance_of_score_and_precision_weighted_by_entities():
    scores = np.array([0.95, 0.95, 0.95, 0.95, 0.31, 1.0])
    is_right = np.array([True, True, True, False, False, True])
    bins = bin_scores(scores, is_right)
    assert bins[:, 0].sum() == 6
    # the last bin is [14/15, 1]: 5 entities, 4 right, sum of scores 4.8; the other has one of 0.31, wrong
    assert expected_error(bins) == pytest.approx((abs(4.8 - 4) + 0.31) / 6)
    assert expected_error(np.zeros((BINS, 3))) is None


def test_every_score_from_zero_to_one_has_a_bin():
    scores = np.linspace(0, 1, 1001)
    bins = bin_scores(scores, scores > 2)
    assert bins[:, 0].sum() == 1001
    assert bins[:, 1].sum() == pytest.approx(scores.sum())
    entry = calibration_entry(bins)
    for row in entry["bins"]:
        assert row["low"] <= row["score"] <= row["high"]
        assert row["precision"] == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found_and_lowers_the_error(temperature):
    logits, ids, gold = sure_model(20_000, temperature=temperature)
    best = TEMPERATURES[log_losses(logits, ids, gold, SCHEME).argmin()]
    assert best == pytest.approx(temperature, rel=0.1)
    error = expected_error(binned(logits / best, ids, ids, gold, SCHEME))
    assert error < 0.02
    if temperature != 1:
        assert error < expected_error(binned(logits, ids, ids, gold, SCHEME)) / 2


def test_an_entity_is_right_with_all_its_words_and_its_type_alone():
    # gold  B-LOC I-LOC O B-PER | B-PER; predicted  B-LOC I-LOC O B-LOC | B-PER, and I-LOC left out of the second one
    gold = [np.array([1, 2, 0, 3]), np.array([1, 2])]
    ids = np.array([1, 2, 0, 1, 1, 0], dtype=np.int16)
    logits = np.where(np.arange(5) == ids[:, None], 20.0, 0.0).astype(np.float32)
    bins = binned(logits, ids, ids, gold, SCHEME)
    assert bins.sum(axis=0).tolist() == pytest.approx([3, 3, 1], abs=1e-6)


def test_an_entity_of_a_type_that_is_left_out_counts_nowhere():
    gold = [np.array([1, 0])]
    ids, mapped = np.array([1, 3], dtype=np.int16), np.array([1, 0], dtype=np.int16)
    logits = np.where(np.arange(5) == ids[:, None], 20.0, 0.0).astype(np.float32)
    assert binned(logits, ids, mapped, gold, SCHEME)[:, 0].sum() == 1
