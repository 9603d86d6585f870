"""`report.md`: the report as tables to read in a terminal or on a code host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xtremedistil_ner.names import escape_markdown
from xtremedistil_ner.report.caveats import SYNTHETIC
from xtremedistil_ner.report.cells import Table, align_right
from xtremedistil_ner.report.tables import protocol_note, report_tables
from xtremedistil_ner.report.verdict import format_languages, format_rule, format_whole, verdict_of


def format_report(report: Mapping[str, Any], more: Sequence[Table] = ()) -> str:
    """The report as Markdown, `more` tables behind its own."""
    lines = [f"# {escape_markdown(report['run']['name'])}: teacher and student", ""]
    if report["synthetic"]:
        lines += [f"**{SYNTHETIC}**", ""]
    verdict = verdict_of(report)
    lines += [f"**{escape_markdown(format_whole(verdict))}**", "", escape_markdown(format_languages(verdict)), ""]
    lines += [escape_markdown(format_rule(verdict["rule"])), "", escape_markdown(protocol_note(report)), ""]
    for table in (*report_tables(report), *more):
        if table.title:
            lines += [f"## {escape_markdown(table.title)}", ""]
        if table.note:
            lines += [escape_markdown(table.note), ""]
        lines += [format_table(table), ""]
    return "\n".join(lines)


def format_table(table: Table) -> str:
    """Head and rows of a table."""
    border = ["---:" if right else "---" for right in align_right(table)]
    rows = [[escape_markdown(cell) for cell in row] for row in (table.head, *table.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (rows[0], border, *rows[1:]))
