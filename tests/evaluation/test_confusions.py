"""What is taken for what: worked examples, and sums that must agree with the scores."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtremedistil_ner.evaluation.confusions import Confusion, count_confusions
from xtremedistil_ner.evaluation.scoring import span_counts
from xtremedistil_ner.labels import LabelScheme

SCHEME = LabelScheme(("LOC", "ORG", "PER"))


def confusions(gold, predicted):
    return count_confusions([SCHEME.encode(gold.split())], [SCHEME.encode(predicted.split())], SCHEME)


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ("B-PER I-PER O", "B-PER I-PER O", []),
        ("B-PER I-PER O", "O O O", [("PER", None, "missed")]),
        ("O O O", "O B-LOC O", [(None, "LOC", "spurious")]),
        ("B-PER I-PER O", "B-LOC I-LOC O", [("PER", "LOC", "wrong type")]),
        ("B-PER I-PER O", "B-PER I-PER I-PER", [("PER", "PER", "wrong border")]),
        ("B-PER I-PER O", "B-LOC I-LOC I-LOC", [("PER", "LOC", "wrong type and border")]),
        # one prediction over two entities stands for the one that it shares more words with
        ("B-ORG I-ORG B-LOC", "B-ORG I-ORG I-ORG", [("ORG", "ORG", "wrong border"), ("LOC", None, "missed")]),
        ("B-LOC B-ORG I-ORG", "B-ORG I-ORG I-ORG", [("ORG", "ORG", "wrong border"), ("LOC", None, "missed")]),
        # of equals the earlier
        ("B-LOC B-PER", "B-ORG I-ORG", [("LOC", "ORG", "wrong type and border"), ("PER", None, "missed")]),
        # two predictions inside one entity
        (
            "B-ORG I-ORG I-ORG",
            "B-ORG B-LOC I-LOC",
            [("ORG", "LOC", "wrong type and border"), (None, "ORG", "spurious")],
        ),
        # neighbours share no word
        ("B-PER O", "O B-PER", [("PER", None, "missed"), (None, "PER", "spurious")]),
        # a stray I- is no entity
        ("B-PER O", "I-PER O", [("PER", None, "missed")]),
    ],
)
def test_an_error_is_named_after_what_stands_in_its_place(gold, predicted, expected):
    assert confusions(gold, predicted) == Counter(Confusion(*one) for one in expected)


tags = st.lists(st.integers(0, 6), min_size=1, max_size=8)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(tags, tags), max_size=5))
def test_every_entity_that_is_not_right_is_counted_once(pairs):
    import numpy as np

    gold = [np.array(one[: len(other)]) for one, other in pairs]
    predicted = [np.array(other[: len(one)]) for one, other in pairs]
    counts = count_confusions(gold, predicted, SCHEME)
    correct, found, there = span_counts(gold, predicted, SCHEME).sum(axis=(0, 1))
    assert sum(count for one, count in counts.items() if one.gold) == there - correct
    assert sum(count for one, count in counts.items() if one.predicted) == found - correct
