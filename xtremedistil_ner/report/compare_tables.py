"""A comparison as tables: students are columns, each with the mean and standard deviation over its seeds."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xtremedistil_ner.report.cells import Table, between, mean_cell, named
from xtremedistil_ner.report.compare import SHOWN_SPLITS

Column = Sequence[Mapping[str, Any]]
"""The entries of a student's seeds, or of the teachers of these."""


def comparison_tables(compared: Mapping[str, Any], *, worst_first: bool = False) -> list[Table]:
    """Numbers, F1 per language and, of several students, differences; equal teachers are one column.

    With `worst_first` the first language is the one in which some student has the lowest F1.
    """
    runs, groups = compared["runs"], compared["groups"]
    columns = _columns(compared)
    codes = dict.fromkeys(code for column in columns.values() for entry in column for code in entry["languages"])
    if worst_first:
        codes = dict.fromkeys(sorted(codes, key=lambda code: _lowest_f1(groups, code)))
    languages = [
        (named(code), *(mean_cell([entry["languages"].get(code) for entry in column]) for column in columns.values()))
        for code in codes
    ]
    rows = _number_rows(columns)
    notes = []
    if synthetic := [label for label, group in groups.items() if any(runs[run]["synthetic"] for run in group["runs"])]:
        notes.append(f"Synthetic, and nothing about real text: {', '.join(synthetic)}.")
    if has_seeds(compared):
        rows.insert(1, ("seeds", *(_seeds(groups.get(label)) for label in columns)))
        notes.append("Means over seeds; the standard deviation over them is in brackets.")
    tables = [
        Table("", ("", *columns), tuple(rows), " ".join(notes)),
        Table("Languages", ("F1", *columns), tuple(languages), _about_languages(compared, worst_first)),
    ]
    if differences := _difference_rows(groups):
        head = ("student", "difference", "95 % interval", "languages", "p")
        tables.append(Table("Differences", head, tuple(differences), _about_differences(compared)))
    return tables


def settings_table(compared: Mapping[str, Any]) -> Table:
    """The settings in which students differ; values of several seeds are listed."""
    labels = list(compared["groups"])
    rows = [
        (path, *(", ".join(map(_setting, of_groups.get(label, ()))) or "–" for label in labels))
        for path, of_groups in compared["settings"].items()
    ]
    return Table("Settings that differ", ("setting", *labels), tuple(rows))


def _setting(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _lowest_f1(groups: Mapping[str, Any], code: str) -> float:
    f1 = [group["student"]["languages"].get(code, {}).get("mean") for group in groups.values()]
    return min((value for value in f1 if value is not None), default=math.inf)


def has_seeds(compared: Mapping[str, Any]) -> bool:
    """Whether some student was trained with several seeds."""
    return len(compared["groups"]) < len(compared["runs"])


def _about_languages(compared: Mapping[str, Any], worst_first: bool) -> str:
    notes = ["The language in which a student has its lowest F1 comes first."] if worst_first else []
    splits = {label: compared["runs"][group["runs"][0]]["split"] for label, group in compared["groups"].items()}
    if len(set(splits.values())) > 1:
        notes.append(f"Not the same split: {', '.join(f'{label} {split}' for label, split in splits.items())}.")
    return " ".join(notes)


def _about_differences(compared: Mapping[str, Any]) -> str:
    over = " over sentences and seeds" if has_seeds(compared) else ""
    return (
        f"Student's macro-F1 minus that of {next(iter(compared['groups']))}, over the languages of which both scored "
        f"the same sentences; paired bootstrap{over}."
    )


def _columns(compared: Mapping[str, Any]) -> dict[str, Column]:
    """Teachers, equal ones once, then students."""
    runs, groups = compared["runs"], compared["groups"]
    teachers: dict[frozenset[str], tuple[str, Column]] = {}
    for label, group in groups.items():
        of_group = {runs[run]["teacher"]["identity"] or run: runs[run]["teacher"] for run in group["runs"]}
        teachers.setdefault(frozenset(of_group), (label, list(of_group.values())))
    one = len(teachers) == 1 and "teacher" not in groups
    named_teachers = {"teacher" if one else f"teacher of {label}": column for label, column in teachers.values()}
    students = {label: [runs[run]["student"] for run in group["runs"]] for label, group in groups.items()}
    return {**named_teachers, **students}


def _number_rows(columns: Mapping[str, Column]) -> list[tuple[str, ...]]:
    def row(name: str, cells: Sequence[str]) -> tuple[str, ...]:
        return (name, *cells)

    shown = list(columns.values())
    rows = [row("strategy", [column[0].get("strategy") or "–" for column in shown])]
    rows += [
        row(f"macro-F1 on {split}", [mean_cell([entry["macro_f1"].get(split) for entry in column]) for column in shown])
        for split in SHOWN_SPLITS
    ]
    rows += [
        row("sd over languages", [mean_cell([entry["std_f1"] for entry in column]) for column in shown]),
        row("languages", [str(len(column[0]["languages"])) for column in shown]),
        row("retention %", [mean_cell([entry.get("retention") for entry in column]) for column in shown]),
        row("retention %, 95 % interval", [_retention_interval(column) for column in shown]),
        row("parameters", [f"{statistics.mean(entry['parameters'] for entry in column):,.0f}" for column in shown]),
        row(
            "compression",
            [f"{column[0]['compression']:.1f}x" if "compression" in column[0] else "–" for column in shown],
        ),
        row("training s", [mean_cell([entry.get("training_s") for entry in column], _whole) for column in shown]),
    ]
    return [*rows, *_speed_rows(shown)]


def _speed_rows(columns: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    """A row for each machine and graph, so that no two machines stand in one."""
    rates = [[_rates(entry) for entry in column] for column in columns]
    for key in sorted({key for column in rates for measured in column for key in measured}):
        graph, processor, threads = key
        cells = (mean_cell([measured.get(key) for measured in column], _whole) for column in rates)
        yield (f"sentences/s, {graph} ({processor}, threads: {threads})", *cells)


def _rates(entry: Mapping[str, Any]) -> dict[tuple[str, str, int], float]:
    speeds = entry.get("sentences_per_s", ())
    return {(speed["graph"], speed["processor"], speed["threads"]): speed["median"] for speed in speeds}


def _seeds(group: Mapping[str, Any] | None) -> str:
    known = [str(seed) for seed in group["seeds"] if seed is not None] if group else []
    return ", ".join(known) or "–"


def _retention_interval(column: Column) -> str:
    """Of one run; over several seeds there is none."""
    ends = (column[0].get("retention_low"), column[0].get("retention_high"))
    return between(*ends) if len(column) == 1 else "–"


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _difference_rows(groups: Mapping[str, Any]) -> list[tuple[str, ...]]:
    others = {label: group["difference"] for label, group in groups.items() if group["difference"]}
    return [_format_difference(label, difference) for label, difference in others.items()]


def _format_difference(label: str, value: Mapping[str, Any]) -> tuple[str, ...]:
    if "left_out" in value:
        return (label, "–", "–", "–", f"left out: {value['left_out']}")
    return (label, signed(value["macro_f1"]), signed_interval(value), str(value["languages"]), f"{value['p']:.3f}")


def signed_interval(difference: Mapping[str, Any]) -> str:
    """The ends of a difference's interval, in points."""
    return f"{signed(difference['low'])} to {signed(difference['high'])}"


def signed(share: float) -> str:
    """A difference in points."""
    return f"{100 * share:+.2f}"
