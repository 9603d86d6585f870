"""How sure a model is of an entity that it tagged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.labels import TagIds


def type_probabilities(logits: NDArray[np.float32], ids: TagIds) -> NDArray[np.float64]:
    """How likely each word is of the type of its tag, whether it begins or continues an entity.

    This is not the probability of the tag: where the model prefers an `I-` that is illegal there, the decoder takes
    `B-`, to which the model may give hardly any probability, although it is sure of the type.

    Shapes: logits (words, tags); ids (words,); result (words,).
    """
    weights = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    words = np.arange(len(ids))
    first = np.where(ids > 0, (ids - 1) // 2 * 2 + 1, 0)
    chosen = weights[words, first] + np.where(ids > 0, weights[words, np.minimum(first + 1, weights.shape[1] - 1)], 0.0)
    probabilities: NDArray[np.float64] = np.minimum(chosen / weights.sum(axis=1), 1.0)
    return probabilities


def entity_scores(
    word_scores: NDArray[np.float64], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean of the scores of each entity's words.

    Shapes: word_scores (all words,); begins, ends (entities,), the ends exclusive; result (entities,).
    """
    if not len(begins):
        return np.zeros(0)
    borders = np.stack([begins, ends], axis=1).ravel()
    means: NDArray[np.float64] = np.add.reduceat(np.append(word_scores, 0.0), borders)[::2] / (ends - begins)
    return means
