"""The places of marks and lines in the page's SVG pictures; the template draws them. Units: pixels."""

from __future__ import annotations

import math
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
    """One line of a chart: its name, the number of its colour, the points that it joins, and what each of them says."""

    name: str
    colour: int
    points: tuple[tuple[float, float], ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over two axes with ticks (place, label), and borders across them (place, what begins there)."""

    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    borders: tuple[tuple[float, str], ...] = ()
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


def training_curves(report: Mapping[str, Any]) -> list[tuple[str, Chart]]:
    """F1 on dev and the loss over the updates: one or two charts per model, each with what it shows."""
    charts = []
    for name, looks in report["run"].get("training", {}).items():
        if f1 := _dev_curve(looks):
            charts.append((f"{name}, F1 on dev", f1))
        if loss := _loss_curve(looks):
            charts.append((f"{name}, training loss", loss))
    return charts


def _dev_curve(looks: Sequence[Mapping[str, Any]]) -> Chart | None:
    """F1 at each look. Phases that are scored by an error, which is negated, are not in it."""
    values = [look.get("score") for look in looks]
    ticks = {share / 5: str(share * 20) for share in range(6)}
    return _curve(
        looks,
        [value if value is not None and value >= 0 else None for value in values],
        [percent(value) for value in values],
        y_label="F1 on dev",
        y_ticks=ticks,
    )


def _loss_curve(looks: Sequence[Mapping[str, Any]]) -> Chart | None:
    """The mean loss since the look before, on a logarithmic axis: phases may have losses of different sizes."""
    losses = [look.get("loss") or 0.0 for look in looks]
    ticks = _logarithmic_ticks([loss for loss in losses if loss > 0] or [1.0])
    values = [math.log10(loss) if loss > 0 else None for loss in losses]
    return _curve(looks, values, [f"{loss:.4g}" for loss in losses], y_label="loss", y_ticks=ticks)


def _logarithmic_ticks(values: Sequence[float]) -> dict[float, str]:
    """Ticks around all values: powers of ten, and 2 and 5 times these if there are few."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = (1, 2, 5) if high - low < 2 else (1,)
    labels = [step * 10.0**power for power in range(math.floor(low), math.floor(high) + 2) for step in steps]
    ticks = {math.log10(label): f"{label:g}" for label in labels}
    start = max(tick for tick in ticks if tick <= low)
    stop = min(tick for tick in ticks if tick > high)
    return {tick: text for tick, text in ticks.items() if start <= tick <= stop}


def _curve(
    looks: Sequence[Mapping[str, Any]],
    values: Sequence[float | None],
    texts: Sequence[str],
    *,
    y_label: str,
    y_ticks: Mapping[float, str],
) -> Chart | None:
    """A line per phase over the updates, where a look has a value; None with fewer than two values.

    Shapes: looks, values, texts (looks,).
    """
    last = max((look["total"] for look in looks), default=0)
    phases: dict[str, list[tuple[float, float, str]]] = {look["phase"]: [] for look in looks}
    borders = {look["phase"]: look["total"] - look.get("update", 0) for look in reversed(looks)}
    for look, value, text in zip(looks, values, texts, strict=True):
        if value is not None:
            point = f"{look['phase']}, update {look['total']:,}: {text}"
            phases[look["phase"]].append((look["total"], value, point))
    if not last or sum(map(len, phases.values())) < 2:
        return None
    return _line_chart(
        phases,
        x_label="updates",
        y_label=y_label,
        x_range=(0.0, last),
        y_range=(min(y_ticks), max(y_ticks)),
        x_ticks={last * part / 4: f"{last * part // 4:,}" for part in range(5)},
        y_ticks=y_ticks,
        borders={place: f"{phase} begins" for phase, place in borders.items() if place},
    )


def _line_chart(
    lines: Mapping[str, Sequence[tuple[float, float, str]]],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_ticks: Mapping[float, str],
    y_ticks: Mapping[float, str],
    borders: Mapping[float, str] | None = None,
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
            Line(
                name,
                colour,
                tuple((place_x(x), place_y(y)) for x, y, _ in points),
                tuple(text for _, _, text in points),
            )
            for colour, (name, points) in enumerate(lines.items())
            if points
        ),
        borders=tuple((place_x(value), text) for value, text in (borders or {}).items()),
        diagonal=diagonal,
    )
