"""All tables of a report, in order; Markdown and HTML render them.

Reports of earlier versions lack some keys; their tables are shorter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xtremedistil_ner.report.cells import Table
from xtremedistil_ner.report.error_tables import (
    confusions_table,
    error_kinds_table,
    noise_table,
    slices_table,
    thresholds_table,
)
from xtremedistil_ner.report.making_tables import data_table, stages_table
from xtremedistil_ner.report.reference_tables import baselines_table, paper_protocol_table, papers_table
from xtremedistil_ner.report.score_tables import (
    act_on_table,
    headline_table,
    languages_and_types_table,
    languages_table,
    types_table,
)
from xtremedistil_ner.report.verdict import has_intervals


def protocol_note(report: Mapping[str, Any]) -> str:
    """What the scores of a report are."""
    run = report["run"]
    intervals = (
        "with 95 % bootstrap intervals"
        if has_intervals(report)
        else "without resampling, so that intervals have no width"
    )
    return (
        f"Strict entity F1 in per cent on the {run['split']} split, whole sentences, {intervals}. "
        f"Strategy {run['strategy']}."
    )


def report_tables(report: Mapping[str, Any]) -> list[Table]:
    """All tables of a report, in order; those that would be empty are left out."""
    tables = [
        act_on_table(report),
        headline_table(report),
        languages_table(report),
        error_kinds_table(report),
        confusions_table(report),
        types_table(report),
        languages_and_types_table(report),
        slices_table(report),
        noise_table(report),
        thresholds_table(report),
        baselines_table(report),
        papers_table(report),
        paper_protocol_table(report),
        data_table(report["data"]),
        stages_table(report["run"]),
    ]
    return [table for table in tables if table.rows]
