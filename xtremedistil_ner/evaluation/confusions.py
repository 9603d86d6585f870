"""Confusions of a model: entities that are not right, each with the prediction that replaces it.

An entity that is not right is paired with the wrong prediction that shares most words with it, the earlier one of
equals; what shares words with nothing is missed or spurious. Spans are read strictly, as the scores read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from xtremedistil_ner.labels import LabelScheme, Span, spans_of

Kind = Literal["missed", "spurious", "wrong type", "wrong border", "wrong type and border"]
KINDS: tuple[Kind, ...] = ("missed", "spurious", "wrong type", "wrong border", "wrong type and border")


class Confusion(NamedTuple):
    """A gold type (None: no entity) and the predicted one (None: none found)."""

    gold: str | None
    predicted: str | None
    kind: Kind


def count_confusions(
    gold: Sequence[npt.NDArray[np.integer[Any]]], predicted: Sequence[npt.NDArray[np.integer[Any]]], scheme: LabelScheme
) -> Counter[Confusion]:
    """How often each confusion occurs.

    Shapes: gold, predicted one (words,) array of tag ids per sentence.
    """
    counts: Counter[Confusion] = Counter()
    for gold_ids, predicted_ids in zip(gold, predicted, strict=True):
        if not np.array_equal(gold_ids, predicted_ids):
            counts.update(_confusions(spans_of(gold_ids, scheme), spans_of(predicted_ids, scheme)))
    return counts


def _confusions(gold: Sequence[Span], predicted: Sequence[Span]) -> Iterable[Confusion]:
    missed = [span for span in gold if span not in predicted]
    spurious = [span for span in predicted if span not in gold]
    pairs = ((_shared_words(one, other), one, other) for one in missed for other in spurious)
    for shared, one, other in sorted(pairs, key=lambda pair: (-pair[0], pair[1].start, pair[2].start)):
        if shared and one in missed and other in spurious:
            missed.remove(one)
            spurious.remove(other)
            yield Confusion(one.type, other.type, _kind(one, other))
    yield from (Confusion(span.type, None, "missed") for span in missed)
    yield from (Confusion(None, span.type, "spurious") for span in spurious)


def _shared_words(one: Span, other: Span) -> int:
    return max(0, min(one.stop, other.stop) - max(one.start, other.start))


def _kind(gold: Span, predicted: Span) -> Kind:
    if gold.type == predicted.type:
        return "wrong border"
    same_words = (gold.start, gold.stop) == (predicted.start, predicted.stop)
    return "wrong type" if same_words else "wrong type and border"
