"""The places of marks and lines in the page's SVG pictures; the template draws them. Units: pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xtremedistil_ner.report.cells import COMPARED, interval_cell, is_scored, percent
from xtremedistil_ner.report.score_tables import languages_worst_first

STRIP_WIDTH, STRIP_HEIGHT = 260, 22
_STRIP_MARGIN = 6
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 420, 260, 46, 34, 10, 24


@dataclass(frozen=True, slots=True)
class Mark:
    """One score of a strip; `low` and `high` are the ends of its interval, `kind` is teacher, student or baseline."""

    kind: str
    text: str
    low: float
    x: float
    high: float
    y: float


@dataclass(frozen=True, slots=True)
class Strips:
    """A row of marks per language, in the order of the table, on one scale from `start` per cent to 100."""

    start: int
    ticks: tuple[float, ...]
    rows: tuple[tuple[Mark, ...], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its name, the points that it joins, and what each of them says."""

    name: str
    points: tuple[tuple[float, float], ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over two axes with ticks (place, label)."""

    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    diagonal: bool = False
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def language_strips(report: Mapping[str, Any]) -> Strips:
    """F1 of every model in every language, with intervals."""
    models = report["models"]
    scored = {
        name: {code: scores for code, scores in entry["languages"].items() if is_scored(scores) and _has_ends(scores)}
        for name, entry in models.items()
    }
    lows = [scores["f1_low"] for languages in scored.values() for scores in languages.values()]
    start = int(10 * min(9, int(10 * min(lows, default=0.0))))

    def x(share: float) -> float:
        inner = STRIP_WIDTH - 2 * _STRIP_MARGIN
        return round(_STRIP_MARGIN + inner * (100 * share - start) / (100 - start), 1)

    def mark(name: str, scores: Mapping[str, Any]) -> Mark:
        kind = name if name in COMPARED else "baseline"
        y = {"teacher": 7, "student": 15}.get(name, 11)
        low, f1, high = (x(scores[key]) for key in ("f1_low", "f1", "f1_high"))
        return Mark(kind, f"{name} {interval_cell(scores)}", low, f1, high, y)

    rows = [
        tuple(mark(name, languages[code]) for name, languages in scored.items() if code in languages)
        for code in languages_worst_first(report)
    ]
    return Strips(start, tuple(x(tick / 100) for tick in range(start, 101, 10)), tuple(rows))


def _has_ends(scores: Mapping[str, Any]) -> bool:
    return None not in (scores["f1"], scores["f1_low"], scores["f1_high"])


def reliability_chart(report: Mapping[str, Any]) -> Chart | None:
    """The share of right entities by their score; a calibrated model lies on the diagonal. None without scores."""
    lines = {
        name: [
            (row["score"], row["precision"], f"{name}: score {row['score']:.2f}, {percent(row['precision'])} % right")
            for row in report["models"][name].get("calibration", {}).get("bins", ())
        ]
        for name in COMPARED
    }
    if not any(lines.values()):
        return None
    ticks = {share / 5: f"{share * 20} %" for share in range(6)}
    return _line_chart(
        lines,
        x_label="score of the entity",
        y_label="right",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        x_ticks=ticks,
        y_ticks=ticks,
        diagonal=True,
    )


def dev_curves(report: Mapping[str, Any]) -> list[tuple[str, Chart]]:
    """The score on dev over the updates, a chart per model."""
    charts = []
    for name, looks in report["run"].get("training", {}).items():
        last = max((look["total"] for look in looks), default=0)
        if len(looks) < 2 or not last:
            continue
        phases: dict[str, list[tuple[float, float, str]]] = {}
        for look in looks:
            text = f"{look['phase']}, update {look['total']:,}: {percent(look['score'])}"
            phases.setdefault(look["phase"], []).append((look["total"], look["score"], text))
        chart = _line_chart(
            phases,
            x_label="updates",
            y_label="F1 on dev",
            x_range=(0.0, last),
            y_range=(0.0, 1.0),
            x_ticks={last * part / 4: f"{last * part // 4:,}" for part in range(5)},
            y_ticks={share / 5: str(share * 20) for share in range(6)},
        )
        charts.append((name, chart))
    return charts


def _line_chart(
    lines: Mapping[str, Sequence[tuple[float, float, str]]],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_ticks: Mapping[float, str],
    y_ticks: Mapping[float, str],
    diagonal: bool = False,
) -> Chart:
    """Lines through (x, y, text) in the units of the axes."""

    def place_x(value: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - x_range[0]) / (x_range[1] - x_range[0]), 1)

    def place_y(value: float) -> float:
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_HEIGHT - _BOTTOM - height * (value - y_range[0]) / (y_range[1] - y_range[0]), 1)

    return Chart(
        x_label=x_label,
        y_label=y_label,
        x_ticks=tuple((place_x(value), text) for value, text in x_ticks.items()),
        y_ticks=tuple((place_y(value), text) for value, text in y_ticks.items()),
        lines=tuple(
            Line(name, tuple((place_x(x), place_y(y)) for x, y, _ in points), tuple(text for _, _, text in points))
            for name, points in lines.items()
            if points
        ),
        diagonal=diagonal,
    )
