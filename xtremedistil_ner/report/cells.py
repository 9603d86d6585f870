"""A table of text cells, and how values become cells. Units: F1 and retention in per cent."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xtremedistil_ner.languages import language_name

COMPARED = ("teacher", "student")
RATIOS = {"precision": "precision", "recall": "recall", "f1": "F1"}
"""Keys of scores, and the heads of their columns."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its heading and what has to be said about it; the first column names the rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def align_right(table: Table) -> Sequence[bool]:
    """Which columns hold numbers: all but the first and those with a word in some row."""
    columns = list(zip(*table.rows, strict=True))
    return [index > 0 and not any(cell[:1].isalpha() for cell in column) for index, column in enumerate(columns)]


def named(code: str) -> str:
    """A language as tables show it: its name and its code."""
    return f"{language_name(code)} ({code})" if language_name(code) != code else code


def percent(share: float | None) -> str:
    """A share in per cent, two decimals; a dash for none."""
    return "–" if share is None else f"{100 * share:.2f}"


def between(low: float | None, high: float | None) -> str:
    """An interval of shares in per cent; a dash for none."""
    return "–" if low is None or high is None else f"{percent(low)}–{percent(high)}"


def bounded(value: float | None, low: float | None, high: float | None, *, unit: str = "") -> str:
    """A share in per cent, with its interval in brackets if it has one."""
    text = percent(value) + unit
    return text if low is None or high is None else f"{text} ({between(low, high)})"


def mean_and_std(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and sample standard deviation of a value over seeds: no mean if one is missing, no deviation of one seed."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return {"mean": None, "std": None}
    return {"mean": statistics.mean(known), "std": statistics.stdev(known) if len(known) > 1 else None}


def mean_cell(values: Sequence[float | None], shown: Callable[[float | None], str] = percent) -> str:
    """The mean of a value over seeds, with the standard deviation in brackets if there are several seeds."""
    over_seeds = mean_and_std(values)
    spread = "" if over_seeds["std"] is None else f" ({shown(over_seeds['std'])})"
    return shown(over_seeds["mean"]) + spread


def size_change(compression: float) -> str:
    """How many parameters the student has beside the teacher; students per language may have more together."""
    return f"{1 / compression:.1f}x more" if 0 < compression < 1 else f"{compression:.1f}x fewer"


def is_scored(scores: Mapping[str, Any]) -> bool:
    """Whether a language has a gold entity, without which F1 says nothing."""
    return scores.get("support") != 0


def interval_cell(scores: Mapping[str, Any] | None) -> str:
    """F1 of a language with its interval; a dash without a gold entity."""
    if scores is None or not is_scored(scores):
        return "–"
    return bounded(scores["f1"], scores["f1_low"], scores["f1_high"])
