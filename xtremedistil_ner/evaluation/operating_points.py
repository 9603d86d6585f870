"""Scores above which a model's entities have a wanted precision, or all of a wanted share of the right ones.

A service that must not err keeps the entities above the first score; one that must not miss keeps those above the
second. Both are measured on a split, and hold for text like it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WANTED = 0.95


def operating_points(scores: NDArray[np.float64], is_right: NDArray[np.bool_], gold: int) -> dict[str, Any]:
    """The thresholds of one type: for a precision of 95 % and for a recall of 95 %, each null if none reaches it.

    An entity is kept if its score is at least `threshold`. For precision it is the lowest such score, which keeps
    most; for recall the highest.

    Shapes: scores, is_right (entities,), the predicted entities of the type; `gold` counts those of the corpus.
    """
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(is_right[order])
    thresholds = scores[order]
    is_last = np.append(thresholds[1:] != thresholds[:-1], True)[: len(thresholds)]  # equal scores are kept together
    precision = right / np.arange(1, len(order) + 1)
    recall = right / max(gold, 1)

    def point(reached: NDArray[np.bool_], *, last: bool) -> dict[str, float] | None:
        places = np.flatnonzero(reached & is_last)
        if not len(places):
            return None
        place = places[-1 if last else 0]
        values = (thresholds[place], precision[place], recall[place])
        return dict(zip(("threshold", "precision", "recall"), map(float, values), strict=True))

    return {
        "precision_95": point(precision >= WANTED, last=True),
        "recall_95": point(recall >= WANTED, last=False),
    }
