"""The report as files to read, `report.md` and `report.html`, with what was measured since `report.json` was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xtremedistil_ner.report.cells import Table
from xtremedistil_ner.report.html import format_page
from xtremedistil_ner.report.markdown import format_report
from xtremedistil_ner.run_folder.files import RunFolder, read_timings
from xtremedistil_ner.run_folder.whole_files import write_text


def write_pages(run: RunFolder, report: Mapping[str, Any], more: Sequence[Table] = ()) -> str:
    """Write both files, with the newest costs of the stages, and `more` tables behind the report's; the Markdown."""
    stages = {**report["run"].get("stages", {}), **read_timings(run)}
    newest = {**report, "run": {**report["run"], "stages": stages}}
    text = format_report(newest, more)
    write_text(run.report_markdown, text)
    write_text(run.report_html, format_page(newest, more))
    return text
