"""`report.html`: the report as one page that needs nothing else, light or dark as the reader's system is.

Jinja escapes every value. The page loads nothing, and its content security policy lets nothing be loaded; its one
script, named there by its hash, sorts a table when a heading is clicked, and everything can be read without it.
Pictures are SVG inside the page; the tables have their numbers as well.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xtremedistil_ner.languages import count_languages
from xtremedistil_ner.report.caveats import SYNTHETIC
from xtremedistil_ner.report.cells import COMPARED, Table, align_right, between, percent, size_change
from xtremedistil_ner.report.charts import (
    STRIP_HEIGHT,
    STRIP_WIDTH,
    language_strips,
    reliability_chart,
    training_curves,
)
from xtremedistil_ner.report.example_text import example_cells
from xtremedistil_ner.report.making_tables import DATA
from xtremedistil_ner.report.score_tables import LANGUAGES_AND_TYPES
from xtremedistil_ner.report.tables import protocol_note, report_tables
from xtremedistil_ner.report.verdict import OUTCOMES, format_languages, format_rule, verdict_of

_SCRIPT = "sort_tables.js"


def format_page(report: Mapping[str, Any], more: Sequence[Table] = ()) -> str:
    """The report as one HTML document, `more` tables behind its own."""
    verdict = verdict_of(report)
    return render_page(
        "report.html.jinja",
        title=f"{report['run']['name']}: teacher and student",
        synthetic=SYNTHETIC if report["synthetic"] else "",
        note=protocol_note(report),
        verdict=verdict["whole"],
        for_languages=format_languages(verdict),
        rule=format_rule(verdict["rule"]),
        headline=_headline(report),
        strips=language_strips(report),
        strip_size=(STRIP_WIDTH, STRIP_HEIGHT),
        folded=(LANGUAGES_AND_TYPES, DATA),
        cells=example_cells(report),
        reliability=reliability_chart(report),
        curves=training_curves(report),
        seed=report["run"].get("seed", ""),
        tables=[(table, align_right(table)) for table in (*report_tables(report), *more)],
        recipe=json.dumps(report["run"].get("recipe", {}), indent=2, ensure_ascii=False),
        versions=report["run"].get("versions", {}),
        fingerprint=report["run"].get("fingerprint", ""),
    )


def render_page(template: str, **values: Any) -> str:  # noqa: ANN401 - what the template names
    """A page that extends `page.html.jinja`, with its script; it has a `title`, and `synthetic` as a warning."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = Path(__file__).with_name(_SCRIPT).read_text(encoding="utf-8")
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values |= {"outcomes": [outcome.upper() for outcome in OUTCOMES], "script": script, "script_hash": script_hash}
    return environment.get_template(template).render(values)


def _headline(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Number, what it is, and what qualifies it."""
    teacher, student = (report["models"][name] for name in COMPARED)
    retention = report["retention"]
    bounds = retention.get("macro_low"), retention.get("macro_high")
    interval = f"95 % interval {between(*bounds)}" if None not in bounds else ""
    return [
        (percent(teacher["macro_f1"]), "teacher's macro-F1", f"{teacher['parameters']:,} parameters"),
        (percent(student["macro_f1"]), "student's macro-F1", f"{student['parameters']:,} parameters"),
        (f"{percent(retention['macro'])} %", "retention of the teacher's F1", interval),
        (size_change(report["compression"]), "parameters", count_languages(len(student["languages"]))),
    ]
