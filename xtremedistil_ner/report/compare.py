"""Students side by side: scores, retention, size and time, and whether they differ by more than chance.

Runs that differ in their seeds alone are one student. A difference is tested where all runs of both students have
counts per sentence (`scores/student.npz`) of the same test sentences; where they have not, it is left out and the
comparison says why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xtremedistil_ner.errors import ArtefactError, UsageError
from xtremedistil_ner.evaluation.bootstrap import Counts, has_entities, macro_difference
from xtremedistil_ner.report.cells import is_scored, mean_and_std
from xtremedistil_ner.report.form import ComparedReport
from xtremedistil_ner.report.seeds import ComparedRun, Group, group_runs
from xtremedistil_ner.report.speed import read_records, student_rates
from xtremedistil_ner.report.stored import find_counts, read_report
from xtremedistil_ner.run_folder.files import RunFolder

SHOWN_SPLITS = ("dev", "test")
_RESAMPLES = 2000
_SEED = 13


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
    """One value per run and number, each student's difference from the first run's, groups of seeds, their settings.

    Units: F1 lies between 0 and 1.
    """
    differences = {run.label: _difference(_alone(runs[0]), _alone(run)) for run in runs[1:]}
    values = {run.label: _values(run) for run in runs}
    first, *others = in_groups = group_runs(runs)
    groups = {first.label: {**_over_seeds(first, values), "difference": None}}
    for group in others:
        is_tested = len(first.runs) == len(group.runs) == 1
        difference = differences[group.label] if is_tested else _difference(first, group)
        groups[group.label] = {**_over_seeds(group, values), "difference": difference}
    return {
        "schema": 1,
        "runs": values,
        "differences": differences,
        "groups": groups,
        "settings": _differing_settings(in_groups),
    }


def _alone(run: ComparedRun) -> Group:
    return Group(run.label, (run,))


def _over_seeds(group: Group, values: Mapping[str, Any]) -> dict[str, Any]:
    """The runs of a group, their seeds, and the mean and standard deviation of its students."""
    students = [values[run.label]["student"] for run in group.runs]

    def over_seeds(keyed: str) -> dict[str, Any]:
        return {key: mean_and_std([student[keyed].get(key) for student in students]) for key in students[0][keyed]}

    return {
        "runs": [run.label for run in group.runs],
        "seeds": [of_training for _, of_training in (run.seeds for run in group.runs)],
        "student": {
            **{name: over_seeds(name) for name in ("macro_f1", "languages")},
            **{name: mean_and_std([student[name] for student in students]) for name in ("retention", "training_s")},
        },
    }


def _differing_settings(groups: Sequence[Group]) -> dict[str, dict[str, list[Any]]]:
    """Recipe fields in which groups differ, with the values that each group has; nothing of groups without a recipe."""
    settings: dict[str, dict[str, list[Any]]] = {}
    with_recipe = [group for group in groups if group.runs[0].report["run"].get("recipe")]
    for group in with_recipe:
        for run in group.runs:
            for path, value in _settings(run.report["run"]["recipe"]):
                values = settings.setdefault(path, {}).setdefault(group.label, [])
                if value not in values:
                    values.append(value)
    labels = [group.label for group in with_recipe]
    return {
        path: of_groups
        for path, of_groups in settings.items()
        if path != "name" and len({json.dumps(of_groups.get(label), sort_keys=True) for label in labels}) > 1
    }


def _settings(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields of a recipe by their path."""
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _values(run: ComparedRun) -> dict[str, Any]:
    report = run.report
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
        "sentences_per_s": _speeds(run.folder) if run.folder else [],
    }
    return {
        "name": report["run"]["name"],
        "synthetic": report["synthetic"],
        "split": report["run"].get("split"),
        "teacher": teacher,
        "student": student,
    }


def _speeds(folder: RunFolder) -> list[dict[str, Any]]:
    """What `xner bench` measured, per processor, threads and graph; nothing where its records are broken."""
    with suppress(ArtefactError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        speeds: list[dict[str, Any]] = [
            {"processor": str(processor), "threads": int(threads), "graph": graph, "median": float(speed["median"])}
            for (processor, threads, graph), speed in student_rates(read_records(folder)).items()
        ]
        return [speed for speed in speeds if math.isfinite(speed["median"])]
    return []


def _model_values(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    entry = report["models"][name]
    splits = {report["run"].get("split", "test"): entry}
    splits |= {split: entry[split] for split in (*SHOWN_SPLITS, "train") if entry.get(split)}
    return {
        "identity": entry.get("identity"),
        "parameters": entry["parameters"],
        "macro_f1": {split: scores["macro_f1"] for split, scores in splits.items()},
        "std_f1": entry["std_f1"],
        "languages": {code: scores["f1"] for code, scores in entry["languages"].items() if is_scored(scores)},
    }


def _difference(first: Group, other: Group) -> dict[str, Any]:
    """The paired difference, or `{"left_out": why}`."""
    same_seeds = {run.seeds for run in first.runs} == {run.seeds for run in other.runs}
    order = [run.seeds for run in first.runs]
    partners = sorted(other.runs, key=lambda run: order.index(run.seeds)) if same_seeds else other.runs
    counts = []
    for run in (*first.runs, *partners):
        of_run = _counts(run)
        if not of_run:
            return {"left_out": f"{run.label} has no counts per sentence"}
        counts.append(of_run)
    mine, *others = counts
    same = [code for code, (digest, _) in mine.items() if digest is not None]
    same = [code for code in same if all(code in each and each[code][0] == mine[code][0] for each in others)]
    same = [code for code in same if has_entities(mine[code][1])]
    if not same:
        return {"left_out": f"{other.label} was scored on other sentences than {first.label}"}
    of_same = [{code: each[code][1] for code in same} for each in counts]
    difference = macro_difference(
        of_same[: len(first.runs)],
        of_same[len(first.runs) :],
        same_seeds=same_seeds,
        resamples=_RESAMPLES,
        seed=_SEED,
    )
    return {**asdict(difference), "languages": len(same)}


def _counts(run: ComparedRun) -> dict[str, tuple[str | None, Counts]]:
    """The student's counts per language, each with the hash of its sentences; empty if there are none."""
    split = run.report["run"].get("split", "test")
    identity = run.report["models"]["student"].get("identity", "")
    splits = (find_counts([run.folder], "student", identity) if run.folder else None) or {}
    hashes = run.report.get("data", {}).get("scored", {}).get(split, {})
    return {code: (hashes.get(code), counts) for code, counts in splits.get(split, {}).items()}


def _labels(folders: Sequence[Path]) -> list[str]:
    """Names of different folders, with the fewest parents that tell them apart."""
    length = 1
    while len({folder.parts[-length:] for folder in folders}) < len(folders):
        length += 1
    return ["/".join(folder.parts[-length:]) for folder in folders]
