"""Do the scores of entities mean what they say? The error of a model's scores, and the temperature that lowers it.

A score is calibrated if, of the entities with a score around 0.9, nine in ten are right. Logits divided by a
temperature keep their order, so a student has the same tags at any temperature, and other scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.evaluation.scoring import IdSequences, correct_starts
from xtremedistil_ner.labels import LabelScheme, TagIds, legal_spans
from xtremedistil_ner.tagging.entity_scores import entity_scores, type_probabilities

BINS = 15
TEMPERATURES: NDArray[np.float64] = np.geomspace(0.25, 8.0, 121)
"""Twenty-four steps an octave: neighbours differ by 3 %."""
_LEAST = 1e-6


def bin_scores(scores: NDArray[np.float64], is_right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Entities by their score, in bins of equal width.

    Shapes: scores, is_right (entities,); result (BINS, 3) [entities, sum of scores, right ones].
    """
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    columns = [np.bincount(bins, weights=values, minlength=BINS) for values in (np.ones_like(scores), scores, is_right)]
    return np.stack(columns, axis=1)


def expected_error(bins: NDArray[np.float64]) -> float | None:
    """Expected calibration error: |mean score − share of right entities| of each bin, weighted by its entities.

    None without entities. Shapes: bins (BINS, 3), of `bin_scores`.
    Source: Guo et al. 2017, *On Calibration of Modern Neural Networks*.
    """
    entities = bins[:, 0].sum()
    return float(np.abs(bins[:, 1] - bins[:, 2]).sum() / entities) if entities else None


def score_entities(
    logits: NDArray[np.float32], ids: TagIds, mapped: TagIds, gold: IdSequences, scheme: LabelScheme
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Type, score and rightness of the entities of many sentences.

    `ids` are a model's tags, `mapped` what they are in `scheme`, whose types the gold tags have; an entity whose type
    that scheme lacks counts nowhere.

    Shapes: logits (all words, tags of the model); ids, mapped (all words,); results (entities,).
    """
    begins, ends = legal_spans(ids)
    kept = mapped[begins] > 0
    begins, ends = begins[kept], ends[kept]
    scores = entity_scores(type_probabilities(logits, ids), begins, ends)
    types = (mapped[begins].astype(np.int64) - 1) // 2
    return types, scores, correct_starts(gold, mapped, scheme)[begins]


def log_losses(logits: NDArray[np.float32], ids: TagIds, gold: IdSequences, scheme: LabelScheme) -> NDArray[np.float64]:
    """Log loss of the entities' scores as probabilities of being right, at each of `TEMPERATURES`.

    Shapes: logits (all words, tags); ids (all words,); result (temperatures,).
    Units: nats, summed over entities.
    """
    begins, ends = legal_spans(ids)
    is_right = correct_starts(gold, ids, scheme)[begins]
    words = np.flatnonzero(ids)  # words of no entity have no part in a score
    first, stop = np.searchsorted(words, begins), np.searchsorted(words, ends)
    losses = np.zeros(len(TEMPERATURES))
    for number, temperature in enumerate(TEMPERATURES):
        of_words = type_probabilities(logits[words] / np.float32(temperature), ids[words])
        scores = entity_scores(of_words, first, stop)
        losses[number] = -np.log(np.maximum(np.where(is_right, scores, 1 - scores), _LEAST)).sum()
    return losses


def calibration_entry(bins: NDArray[np.float64]) -> dict[str, Any]:
    """The error of a model's scores, and its reliability diagram, for report.json.

    Shapes: bins (BINS, 3), of `bin_scores`.
    """
    return {
        "error": expected_error(bins),
        "bins": [
            {
                "low": number / BINS,
                "high": (number + 1) / BINS,
                "entities": int(entities),
                "score": score / entities,
                "precision": right / entities,
            }
            for number, (entities, score, right) in enumerate(bins.tolist())
            if entities
        ],
    }
