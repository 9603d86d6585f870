"""Data order: which rows each update sees."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtremedistil_ner.training.sampling import BatchPlan, mix_seed


def plan_of(n_rows=23, batch=5, seed=3, **options):
    lengths = np.random.default_rng(0).integers(1, 40, n_rows)
    return BatchPlan(lengths, batch=batch, seed=seed, **options)


def epoch_of(plan, epoch):
    start = epoch * plan.batches_per_epoch
    return [plan.rows(update).tolist() for update in range(start, start + plan.batches_per_epoch)]


def rows_of(plan, epoch):
    return [row for rows in epoch_of(plan, epoch) for row in rows]


@settings(max_examples=40, deadline=None)
@given(
    n_rows=st.integers(1, 60),
    batch=st.integers(1, 17),
    pool=st.integers(1, 5),
    chunk=st.integers(1, 20),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 3),
)
def test_every_row_comes_once_per_epoch(n_rows, batch, pool, chunk, seed, epoch):
    batches = epoch_of(plan_of(n_rows, batch, seed, pool=pool, chunk=chunk), epoch)
    assert sorted([row for rows in batches for row in rows]) == list(range(n_rows))
    assert sorted(map(len, batches), reverse=True) == [batch] * (n_rows // batch) + [n_rows % batch] * (
        n_rows % batch > 0
    )


@pytest.mark.parametrize("pool", [1, 3])
def test_the_order_depends_on_seed_and_epoch_alone(pool):
    expected = {update: plan_of(pool=pool).rows(update).tolist() for update in range(15)}
    plan = plan_of(pool=pool)
    for update in np.random.default_rng(1).permutation(np.repeat(np.arange(15), 2)).tolist():
        assert plan.rows(update).tolist() == expected[update]
    assert epoch_of(plan, 0) != epoch_of(plan, 1)
    assert epoch_of(plan, 0) != epoch_of(plan_of(pool=pool, seed=4), 0)


def test_the_order_of_a_seed_never_changes():
    """Written down, because a run that goes on under a newer version must see the rows it would have seen."""
    assert epoch_of(BatchPlan(np.arange(1, 8), batch=3, seed=13), 0) == [[6, 1, 2], [5, 4, 3], [0]]
    assert epoch_of(BatchPlan(np.arange(1, 8), batch=2, seed=13, pool=2), 1) == [[0, 3], [5, 6], [1, 2], [4]]


def test_large_temperatures_give_every_language_the_same_share():
    languages = {"big": np.arange(90), "small": np.arange(90, 100)}
    plan = plan_of(100, 10, languages=languages, temperature=1e9)
    counts = Counter("small" if row >= 90 else "big" for row in rows_of(plan, 0))
    assert counts == {"big": 50, "small": 50}


def test_a_language_with_share_p_gets_p_to_the_one_over_t():
    """Shares 0.64 and 0.36 at T = 2: square roots 0.8 and 0.6, so 4/7 and 3/7 of 100 rows: 57 and 43."""
    languages = {"a": np.arange(64), "b": np.arange(64, 100)}
    rows = rows_of(plan_of(100, 9, languages=languages, temperature=2.0), 2)
    assert sum(row < 64 for row in rows) == 57
    assert sum(row >= 64 for row in rows) == 43


def test_thinned_languages_repeat_no_row_and_repeated_ones_use_all_rows_equally_often():
    languages = {"big": np.arange(90), "small": np.arange(90, 100)}
    counts = Counter(rows_of(plan_of(100, 10, languages=languages, temperature=1e9), 0))
    assert {counts[row] for row in range(90)} == {0, 1}
    assert {counts[row] for row in range(90, 100)} == {5}


def test_temperature_one_samples_by_size():
    languages = {"big": np.arange(90), "small": np.arange(90, 100)}
    assert sorted(rows_of(plan_of(100, 7, languages=languages, temperature=1.0), 0)) == list(range(100))


def test_a_language_without_rows_takes_no_share():
    languages = {"a": np.arange(20), "none": np.zeros(0, dtype=np.int64)}
    assert sorted(rows_of(plan_of(20, 6, languages=languages, temperature=3.0), 0)) == list(range(20))


def test_pools_put_rows_of_similar_length_together():
    lengths = np.random.default_rng(5).integers(1, 100, 400)

    def padding(pool):
        plan = BatchPlan(lengths, batch=10, seed=0, pool=pool)
        batches = [lengths[rows] for rows in epoch_of(plan, 0)]
        return sum(len(batch) * batch.max() - batch.sum() for batch in batches) / lengths.sum()

    assert padding(16) < padding(1) / 5


def test_a_batch_of_several_chunks_has_rows_of_several_lengths():
    """Of 400 different lengths, a batch of 40 rows is four chunks of ten neighbours each, from all over the pool."""
    plan = BatchPlan(np.random.default_rng(1).permutation(400), batch=40, seed=0, pool=10, chunk=10)
    for rows in epoch_of(plan, 0):
        lengths = np.sort(plan.lengths[rows])
        assert (np.diff(lengths) > 1).sum() <= 3
        assert lengths[-1] - lengths[0] > 40


def test_pools_leave_short_and_long_batches_in_random_order():
    plan = BatchPlan(np.arange(400), batch=10, seed=0, pool=40)
    means = np.array([np.mean(rows) for rows in epoch_of(plan, 0)])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_mixed_seeds_differ_wherever_a_part_differs():
    seeds = {mix_seed(a, b, c) for a in range(6) for b in range(6) for c in range(6)}
    assert len(seeds) == 216
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_mean_of_a_number_is_that_over_the_rows_of_many_epochs(temperature):
    values = np.arange(100) ** 2
    plan = plan_of(100, 10, languages={"en": np.arange(90), "da": np.arange(90, 100)}, temperature=temperature)
    drawn = [row for epoch in range(40) for row in rows_of(plan, epoch)]
    assert plan.mean(values) == pytest.approx(values[drawn].mean(), rel=0.01)
