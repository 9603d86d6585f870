"""Bootstrap over sentences and seeds: intervals of F1, of retention, and of the difference between two models.

Sentences with the same counts are interchangeable, so a resample is one multinomial draw over the distinct rows (a few
dozen to a few hundred, however many sentences there are) instead of an index per sentence. Models that were scored on
the same sentences are resampled together: a hard sentence is hard for both, which is what makes the interval of their
ratio or difference narrower than those of their scores. Languages are resampled on their own. A model that was trained
with several seeds is also resampled over these, because another seed is another model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Difference:
    """Macro-F1 of one model minus that of another, over the languages that both have.

    `low` and `high` bound the 95 % interval; `p` is the two-sided probability of a difference of the other sign.
    """

    macro_f1: float
    low: float
    high: float
    p: float


def f1_of(counts: npt.NDArray[Any]) -> Floats:
    """F1 as 2 · correct / (predicted + gold); 0/0 is 0.

    Shapes: counts (..., 3) [correct, predicted, gold]; result (...).
    """
    entities = counts[..., 1] + counts[..., 2]
    return np.asarray(2 * counts[..., 0] / np.maximum(entities, 1), dtype=np.float64)


def has_entities(counts: npt.NDArray[Any]) -> bool:
    """Whether there is a gold entity, without which F1 measures nothing.

    Shapes: counts (..., 3) [correct, predicted, gold].
    """
    return bool(counts[..., 2].any())


def resampled_f1(counts: Counts, *, resamples: int, seed: int | list[int]) -> Floats:
    """F1 of models over sentences drawn with replacement, the same ones for all models.

    Shapes: counts (sentences, models, 3); result (resamples, models).
    """
    n_sentences, n_models = counts.shape[:2]
    if n_sentences == 0:
        return np.zeros((resamples, n_models))
    rows, often = np.unique(counts.reshape(n_sentences, -1), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(n_sentences, often / n_sentences, size=resamples)
    return f1_of((draws @ rows).reshape(resamples, n_models, 3))


def interval(values: Floats) -> tuple[float, float]:
    """The middle 95 % of some values.

    Source: Efron and Tibshirani 1993, the percentile interval.
    """
    low, high = np.quantile(values, _INTERVAL)
    return float(low), float(high)


def retention_intervals(
    teacher: Mapping[str, Counts], student: Mapping[str, Counts], *, resamples: int, seed: int
) -> tuple[tuple[float, float], dict[str, tuple[float, float]]]:
    """95 % intervals of student F1 / teacher F1: of the macro means, and of each language with entities that both have.

    Shapes: counts per language (sentences, 3), of the same sentences in the same order.
    """
    draws = _paired_draws([teacher, student], resamples=resamples, seed=seed)
    if not draws:
        return (0.0, 0.0), {}
    macro = np.mean(list(draws.values()), axis=0)
    return _ratio_interval(macro), {language: _ratio_interval(f1) for language, f1 in draws.items()}


def macro_interval(counts: Mapping[str, Counts], *, resamples: int, seed: int) -> tuple[float, float] | None:
    """The 95 % interval of macro-F1 over the languages with entities; None without any, or without resamples.

    Shapes: counts per language (sentences, 3).
    """
    draws = _paired_draws([counts], resamples=resamples, seed=seed)
    return interval(np.mean(list(draws.values()), axis=0)[:, 0]) if draws else None


def macro_difference(
    first: Sequence[Mapping[str, Counts]],
    second: Sequence[Mapping[str, Counts]],
    *,
    same_seeds: bool = False,
    resamples: int,
    seed: int,
) -> Difference:
    """Mean macro-F1 of `second`, one entry per seed, minus that of `first`, over the languages with entities.

    Each resample draws sentences, the same for every entry, and seeds: of each model on its own or, with `same_seeds`,
    entries at the same places together. A single entry says nothing of other seeds and is never drawn otherwise.
    Shapes: counts per language (sentences, 3), of the same sentences in the same order.
    Source: Koehn 2004, paired bootstrap resampling; here two-sided, and never below one resample. Davison and Hinkley
    1997, section 3.8, for hierarchical data.
    """
    draws = _paired_draws([*first, *second], resamples=resamples, seed=seed)
    if not draws:
        return Difference(0.0, 0.0, 0.0, 1.0)
    macro = np.mean(list(draws.values()), axis=0)
    rng = np.random.default_rng([seed])
    weights = _seed_weights(len(first), resamples, rng)
    others = weights if same_seeds else _seed_weights(len(second), resamples, rng)
    change = (macro[:, len(first) :] * others).sum(axis=1) - (macro[:, : len(first)] * weights).sum(axis=1)
    low, high = interval(change)
    beyond = min(np.count_nonzero(change <= 0), np.count_nonzero(change >= 0))
    changes = [_mean_f1(second, name) - _mean_f1(first, name) for name in draws]
    return Difference(float(np.mean(changes)), low, high, min(1.0, 2 * max(int(beyond), 1) / resamples))


def _seed_weights(n_seeds: int, resamples: int, rng: np.random.Generator) -> Floats:
    """The share of each seed in resamples of as many seeds.

    Shapes: result (resamples, seeds).
    """
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=resamples) / n_seeds


def _mean_f1(seeds: Sequence[Mapping[str, Counts]], language: str) -> float:
    return float(np.mean([f1_of(counts[language].sum(axis=0)) for counts in seeds]))


def _paired_draws(models: Sequence[Mapping[str, Counts]], *, resamples: int, seed: int) -> dict[str, Floats]:
    """Resampled F1 of all models per language with entities that all have, a random stream of its own for each."""
    first, *others = models
    return {
        language: resampled_f1(
            np.stack([counts[language] for counts in models], axis=1),
            resamples=resamples,
            seed=[seed, *language.encode()],
        )
        for language in first
        if all(language in counts for counts in others) and resamples and has_entities(first[language])
    }


def _ratio_interval(f1: Floats) -> tuple[float, float]:
    """Shapes: f1 (resamples, 2) [whole, part]."""
    whole, part = f1[:, 0], f1[:, 1]
    return interval(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))
