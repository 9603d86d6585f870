"""A comparison as one page that looks like `report.html`: students are rows, and the answer stands first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xtremedistil_ner.report.caveats import SYNTHETIC
from xtremedistil_ner.report.cells import Table, align_right
from xtremedistil_ner.report.compare_tables import (
    comparison_tables,
    has_seeds,
    settings_table,
    signed,
    signed_interval,
)
from xtremedistil_ner.report.html import render_page

_EQUAL, _UNTESTED = "No difference beyond chance", "Not tested"


def format_comparison(compared: Mapping[str, Any]) -> str:
    """What `compare_runs` found, as one HTML document."""
    numbers, languages, *differences = comparison_tables(compared, worst_first=True)
    tables = (_students_table(numbers), *differences, languages, settings_table(compared))
    outcomes = _outcomes(compared["groups"])
    return render_page(
        "comparison.html.jinja",
        title=f"{', '.join(compared['groups'])}: students compared",
        synthetic=SYNTHETIC if any(run["synthetic"] for run in compared["runs"].values()) else "",
        heading=_heading(next(iter(compared["groups"])), outcomes),
        sentences=[f"{outcome}: {'; '.join(students.values())}." for outcome, students in outcomes.items()],
        rule=_rule(compared),
        tables=[(table, align_right(table)) for table in tables if table.rows],
    )


def _outcomes(groups: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The students that came out better, worse, equal or untested, each with its difference from the first."""
    first, *others = groups
    outcomes: dict[str, dict[str, str]] = {
        outcome: {} for outcome in (f"Better than {first}", f"Worse than {first}", _EQUAL, _UNTESTED)
    }
    better, worse, equal, untested = outcomes.values()
    for label in others:
        found = groups[label]["difference"]
        if "left_out" in found:
            untested[label] = f"{label} ({found['left_out']})"
        else:
            of_label = better if found["low"] > 0 else worse if found["high"] < 0 else equal
            of_label[label] = f"{label} ({signed(found['macro_f1'])}, {signed_interval(found)})"
    return {outcome: students for outcome, students in outcomes.items() if students}


def _heading(first: str, outcomes: Mapping[str, Mapping[str, str]]) -> str:
    if not outcomes:
        return f"All runs are seeds of {first}"
    if {*outcomes} == {_UNTESTED}:
        return "No difference could be tested"
    differing = [label for outcome, found in outcomes.items() if outcome not in (_EQUAL, _UNTESTED) for label in found]
    if not differing:
        return f"No student differs from {first} by more than chance"
    return f"{', '.join(differing)} {'differs' if len(differing) == 1 else 'differ'} from {first} by more than chance"


def _rule(compared: Mapping[str, Any]) -> str:
    """What chance is here."""
    notes = ["By more than chance: the 95 % interval of the difference in macro-F1 excludes 0."]
    if len(compared["groups"]) > 2:
        notes.append("Each student is tested by itself; about one of 20 equal ones would differ by chance.")
    if not has_seeds(compared):
        notes.append("One seed each: the intervals are about these models, not about their recipes.")
    return " ".join(notes)


def _students_table(numbers: Table) -> Table:
    """The table of numbers, with a row for each student."""
    names, *columns = zip(*numbers.rows, strict=True)
    rows = tuple((label, *column) for label, column in zip(numbers.head[1:], columns, strict=True))
    return Table("Students", ("model", *names), rows, numbers.note)
