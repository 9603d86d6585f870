"""Thresholds by hand, ties included."""

from __future__ import annotations

import numpy as np

from xtremedistil_ner.evaluation.operating_points import operating_points


def points(rows, gold):
    scores, right = zip(*rows, strict=True)
    return operating_points(np.array(scores), np.array(right, dtype=bool), gold)


def test_the_threshold_for_precision_keeps_most_and_that_for_recall_is_the_highest():
    rows = [(0.5, 1), (0.9, 1), (0.3, 0), (0.8, 1)]
    found = points(rows, gold=3)
    assert found["precision_95"] == {"threshold": 0.5, "precision": 1.0, "recall": 1.0}
    assert found["recall_95"] == {"threshold": 0.5, "precision": 1.0, "recall": 1.0}
    missing = points(rows, gold=4)
    assert missing["precision_95"]["recall"] == 0.75
    assert missing["recall_95"] is None, "one entity of the corpus is not found at all"


def test_equal_scores_are_kept_or_dropped_together():
    assert points([(0.9, 1), (0.9, 0)], gold=1)["precision_95"] is None
    assert points([(0.9, 1), (0.9, 0)], gold=1)["recall_95"]["precision"] == 0.5


def test_a_type_that_is_never_predicted_has_no_threshold():
    empty = operating_points(np.zeros(0), np.zeros(0, dtype=bool), 3)
    assert empty == {"precision_95": None, "recall_95": None}
