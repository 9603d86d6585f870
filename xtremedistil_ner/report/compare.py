"""Runs side by side: scores, retention, size and time of each student, and whether they differ by more than chance.

A difference is tested where both runs have counts per sentence (`scores/student.npz`) of the same test sentences; where
they have not, it is left out and the comparison says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.evaluation.bootstrap import has_entities, macro_difference
from xtremedistil_ner.report.cells import Table, between, is_scored, named, percent
from xtremedistil_ner.report.form import ComparedReport
from xtremedistil_ner.report.stored import find_counts, read_report
from xtremedistil_ner.run_folder.files import RunFolder

_RESAMPLES = 2000
_SEED = 13
_SHOWN_SPLITS = ("dev", "test")


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run's report under the name it is shown by; `folder` is None for a report file by itself."""

    label: str
    report: Mapping[str, Any]
    folder: RunFolder | None


def open_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """Read the reports of run folders or report.json files, each under the shortest name that tells them apart.

    Raises: UsageError for fewer than two, and for one given twice; ArtefactError for a report that is missing, broken
    or of another schema.
    """
    if len(paths) < 2:
        raise UsageError("compare needs two runs or more. Give their folders, or their report.json files.")
    folders = [(path.parent if path.is_file() else path).resolve() for path in paths]
    for number, folder in enumerate(folders):
        if folder in folders[:number]:
            raise UsageError(f"{paths[number]}: this run is given twice. Give each run once.")
    return [
        ComparedRun(label, read_report(path, ComparedReport), RunFolder(path) if path.is_dir() else None)
        for label, path in zip(_labels(folders), paths, strict=True)
    ]


def compare_runs(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """One value per run and number, and each student's difference from the first run's. F1 lies between 0 and 1."""
    return {
        "schema": 1,
        "runs": {run.label: _values(run.report) for run in runs},
        "differences": {run.label: _difference(runs[0], run) for run in runs[1:]},
    }


def comparison_tables(compared: Mapping[str, Any]) -> list[Table]:
    """Numbers, F1 per language and differences; models are columns, equal teachers one."""
    runs = compared["runs"]
    columns = _columns(runs)
    codes = dict.fromkeys(code for column in columns.values() for code in column["languages"])
    languages = [(named(code), *(percent(c["languages"].get(code)) for c in columns.values())) for code in codes]
    synthetic = [label for label, run in runs.items() if run["synthetic"]]
    warning = f"Synthetic, and nothing about real text: {', '.join(synthetic)}." if synthetic else ""
    tables = [
        Table("", ("", *columns), tuple(_number_rows(columns)), warning),
        Table("Languages", ("F1", *columns), tuple(languages), _about_splits(runs)),
    ]
    differences = [_format_difference(label, value) for label, value in compared["differences"].items()]
    note = (
        f"Student's macro-F1 minus that of {next(iter(runs))}, over the languages of which both scored the same "
        "sentences; paired bootstrap."
    )
    head = ("student", "difference", "95 % interval", "languages", "p")
    tables.append(Table("Differences", head, tuple(differences), note))
    return tables


def _about_splits(runs: Mapping[str, Any]) -> str:
    splits = {label: run["split"] for label, run in runs.items()}
    if len(set(splits.values())) == 1:
        return ""
    return f"Not the same split: {', '.join(f'{label} {split}' for label, split in splits.items())}."


def _columns(runs: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Teachers, equal ones once, then students."""
    teachers: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for label, run in runs.items():
        teachers.setdefault(run["teacher"]["identity"] or label, (label, run["teacher"]))
    one = len(teachers) == 1 and "teacher" not in runs
    named_teachers = {"teacher" if one else f"teacher of {label}": entry for label, entry in teachers.values()}
    return {**named_teachers, **{label: run["student"] for label, run in runs.items()}}


def _values(report: Mapping[str, Any]) -> dict[str, Any]:
    teacher, student = (_model_values(report, name) for name in ("teacher", "student"))
    retention = report["retention"]
    stages = report["run"].get("stages", {})
    student |= {
        "retention": retention["macro"],
        "retention_low": retention.get("macro_low"),
        "retention_high": retention.get("macro_high"),
        "compression": report["compression"],
        "strategy": report["run"].get("strategy"),
        "training_s": stages.get("train", {}).get("seconds"),
    }
    return {
        "name": report["run"]["name"],
        "synthetic": report["synthetic"],
        "split": report["run"].get("split"),
        "teacher": teacher,
        "student": student,
    }


def _model_values(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    entry = report["models"][name]
    splits = {report["run"].get("split", "test"): entry}
    splits |= {split: entry[split] for split in (*_SHOWN_SPLITS, "train") if entry.get(split)}
    return {
        "identity": entry.get("identity"),
        "parameters": entry["parameters"],
        "macro_f1": {split: scores["macro_f1"] for split, scores in splits.items()},
        "std_f1": entry["std_f1"],
        "languages": {code: scores["f1"] for code, scores in entry["languages"].items() if is_scored(scores)},
    }


def _number_rows(columns: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    def row(name: str, cells: Sequence[str]) -> tuple[str, ...]:
        return (name, *cells)

    shown = list(columns.values())
    rows = [row("strategy", [column.get("strategy") or "–" for column in shown])]
    rows += [
        row(f"macro-F1 on {split}", [percent(column["macro_f1"].get(split)) for column in shown])
        for split in _SHOWN_SPLITS
    ]
    rows += [
        row("sd over languages", [percent(column["std_f1"]) for column in shown]),
        row("languages", [str(len(column["languages"])) for column in shown]),
        row("retention %", [percent(column.get("retention")) for column in shown]),
        row("retention %, 95 % interval", [between(c.get("retention_low"), c.get("retention_high")) for c in shown]),
        row("parameters", [f"{column['parameters']:,}" for column in shown]),
        row("compression", [f"{column['compression']:.1f}x" if "compression" in column else "–" for column in shown]),
        row("training s", [f"{column['training_s']:.0f}" if column.get("training_s") else "–" for column in shown]),
    ]
    return rows


def _difference(first: ComparedRun, other: ComparedRun) -> dict[str, Any]:
    """The paired difference, or `{"left_out": why}`."""
    counts = []
    for run in (first, other):
        split = run.report["run"].get("split", "test")
        identity = run.report["models"]["student"].get("identity", "")
        splits = find_counts([run.folder], "student", identity) if run.folder else None
        if not splits or not splits.get(split):
            return {"left_out": f"{run.label} has no counts per sentence"}
        hashes = run.report.get("data", {}).get("scored", {}).get(split, {})
        counts.append({code: (hashes.get(code), value) for code, value in splits[split].items()})
    mine, theirs = counts
    same = [code for code in mine if code in theirs and mine[code][0] == theirs[code][0] is not None]
    same = [code for code in same if has_entities(mine[code][1])]
    if not same:
        return {"left_out": f"{other.label} was scored on other sentences than {first.label}"}
    difference = macro_difference(
        {code: mine[code][1] for code in same},
        {code: theirs[code][1] for code in same},
        resamples=_RESAMPLES,
        seed=_SEED,
    )
    return {**asdict(difference), "languages": len(same)}


def _format_difference(label: str, value: Mapping[str, Any]) -> tuple[str, ...]:
    if "left_out" in value:
        return (label, "–", "–", "–", f"left out: {value['left_out']}")
    interval = f"{100 * value['low']:+.2f} to {100 * value['high']:+.2f}"
    return (label, f"{100 * value['macro_f1']:+.2f}", interval, str(value["languages"]), f"{value['p']:.3f}")


def _labels(folders: Sequence[Path]) -> list[str]:
    """Names of different folders, with the fewest parents that tell them apart."""
    length = 1
    while len({folder.parts[-length:] for folder in folders}) < len(folders):
        length += 1
    return ["/".join(folder.parts[-length:]) for folder in folders]
