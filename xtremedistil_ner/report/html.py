"""`report.html`: the report as one page that needs nothing else, light or dark as the reader's system is.

Jinja escapes every value. The page loads nothing, runs no script, and its one picture is SVG inside it; the
table of languages has the picture's numbers as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xtremedistil_ner.languages import count_languages
from xtremedistil_ner.report.tables import (
    SYNTHETIC,
    Table,
    align_right,
    between,
    is_scored,
    named,
    percent,
    protocol_note,
    report_tables,
    size_change,
)

_TEMPLATE = "page.html.jinja"
_MODELS = ("teacher", "student")
_LABELS_WIDTH, _PLOT_WIDTH, _ROW_HEIGHT, _TOP, _MARGIN = 150, 560, 22, 24, 16


@dataclass(frozen=True, slots=True)
class Mark:
    """One score of the plot. Units: pixels; `low` and `high` are the ends of its interval."""

    model: str
    text: str
    low: float
    x: float
    high: float
    y: float


@dataclass(frozen=True, slots=True)
class Plot:
    """F1 and intervals of all languages. Units: pixels; `ticks` are (x, per cent), `rows` (y, language)."""

    width: int
    height: int
    left: int
    ticks: tuple[tuple[float, int], ...]
    rows: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...]


def format_page(report: Mapping[str, Any], more: Sequence[Table] = ()) -> str:
    """The report as one HTML document, `more` tables behind its own."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = [*report_tables(report), *more]
    return environment.get_template(_TEMPLATE).render(
        name=report["run"]["name"],
        synthetic=SYNTHETIC if report["synthetic"] else "",
        note=protocol_note(report),
        headline=_headline(report),
        plot=_plot(report),
        tables=[(table, align_right(table)) for table in tables],
        recipe=json.dumps(report["run"].get("recipe", {}), indent=2, ensure_ascii=False),
        versions=report["run"].get("versions", {}),
        fingerprint=report["run"].get("fingerprint", ""),
    )


def _headline(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Number, what it is, and what qualifies it."""
    teacher, student = (report["models"][name] for name in _MODELS)
    retention = report["retention"]
    bounds = retention.get("macro_low"), retention.get("macro_high")
    interval = f"95 % interval {between(*bounds)}" if None not in bounds else ""
    return [
        (percent(teacher["macro_f1"]), "teacher's macro-F1", f"{teacher['parameters']:,} parameters"),
        (percent(student["macro_f1"]), "student's macro-F1", f"{student['parameters']:,} parameters"),
        (f"{percent(retention['macro'])} %", "retention of the teacher's F1", interval),
        (size_change(report["compression"]), "parameters", count_languages(len(student["languages"]))),
    ]


def _plot(report: Mapping[str, Any]) -> Plot:
    scores = {
        name: {
            code: reached
            for code, reached in report["models"][name]["languages"].items()
            if is_scored(reached) and None not in (reached["f1"], reached["f1_low"], reached["f1_high"])
        }
        for name in _MODELS
    }
    codes = list(dict.fromkeys(code for languages in scores.values() for code in languages))
    lows = [reached["f1_low"] for languages in scores.values() for reached in languages.values()]
    start = int(10 * min(9, int(10 * min(lows, default=0.0))))

    def x(share: float) -> float:
        return round(_LABELS_WIDTH + _PLOT_WIDTH * (100 * share - start) / (100 - start), 1)

    marks = []
    for row, code in enumerate(codes):
        for shift, (model, languages) in zip((-4, 4), scores.items(), strict=True):
            if code in languages:
                low, f1, high = (languages[code][key] for key in ("f1_low", "f1", "f1_high"))
                y = _TOP + _ROW_HEIGHT * (row + 0.5) + shift
                marks.append(Mark(model, f"{named(code)}, {model}: {percent(f1)}", x(low), x(f1), x(high), y))
    return Plot(
        width=_LABELS_WIDTH + _PLOT_WIDTH + _MARGIN,
        height=_TOP + _ROW_HEIGHT * len(codes) + 4,
        left=_LABELS_WIDTH,
        ticks=tuple((x(tick / 100), tick) for tick in range(start, 101, 10)),
        rows=tuple((_TOP + _ROW_HEIGHT * (row + 0.5), named(code)) for row, code in enumerate(codes)),
        marks=tuple(marks),
    )
