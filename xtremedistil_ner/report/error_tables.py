"""The report's tables of what the models get wrong, where, and at which score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xtremedistil_ner.evaluation.noise import MISTYPED
from xtremedistil_ner.report.cells import COMPARED, Table, percent

_SHOWN_CONFUSIONS = 12


def error_kinds_table(report: Mapping[str, Any]) -> Table:
    """How many entities are wrong in which way."""
    teacher, student = (report["models"][name].get("errors", {}) for name in COMPARED)
    rows = [(kind, f"{teacher.get(kind, 0):,}", f"{count:,}") for kind, count in student.items() if teacher]
    return Table("Kinds of error", ("kind", *COMPARED), tuple(rows), "Entities that are not right, of all languages.")


def confusions_table(report: Mapping[str, Any]) -> Table:
    """The student's most common confusions and how often the teacher has them; all languages added up."""
    models = [report["models"][name] for name in COMPARED]
    counted = [{(c["gold"], c["predicted"], c["kind"]): c["count"] for c in m.get("confusions", ())} for m in models]
    teacher, student = counted
    unlisted = sum(models[0].get("errors", {}).values()) - sum(teacher.values())  # rarer than those in the report
    rows = [
        (
            f"{gold or 'nothing'} → {predicted or 'nothing'}",
            kind,
            f"{teacher[key]:,}" if key in teacher else f"≤ {min(teacher.values()):,}" if unlisted and teacher else "0",
            f"{count:,}",
        )
        for key, count in list(student.items())[:_SHOWN_CONFUSIONS]
        for gold, predicted, kind in (key,)
    ]
    note = "The student's most frequent ones: what the corpus says → what the model says."
    return Table("Confusions", ("gold → predicted", "kind", *COMPARED), tuple(rows), note)


def slices_table(report: Mapping[str, Any]) -> Table:
    """F1 of both models on entities that have something in common."""
    rows = [_slice_row(entry) for entry in report.get("slices", ()) if entry["group"] != "noise"]
    note = (
        "Entities of all languages together. Seen in training: the same words are an entity of the training text. The "
        "slices of entities, of capitals and of sentence lengths each add up to all entities."
    )
    return Table("Slices", ("entities", "number", *COMPARED), tuple(rows), note)


def noise_table(report: Mapping[str, Any]) -> Table:
    """F1 of both models on the same sentences with and without noise."""
    rows = [_slice_row(entry) for entry in report.get("slices", ()) if entry["group"] == "noise"]
    note = (
        f"The same sentences of the {report['run']['split']} split, spread over it, written in three ways. Typing "
        f"errors: in {100 * MISTYPED:.0f} % of the words two neighbouring letters are swapped."
    )
    return Table("Noise", ("text", "entities", *COMPARED), tuple(rows), note)


def _slice_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    f1 = (percent(entry[name]["f1"]) if entry[name]["gold"] else "–" for name in COMPARED)
    return (entry["slice"], f"{entry['student']['gold']:,}", *f1)


def thresholds_table(report: Mapping[str, Any]) -> Table:
    """Thresholds of the student's scores, from dev where it was scored."""
    student = report["models"]["student"]
    split = "dev" if student.get("dev") else report["run"]["split"]
    points = (student.get("dev") or student).get("operating_points", {})
    rows = [
        (kind, *_point(of_type["precision_95"], "recall"), *_point(of_type["recall_95"], "precision"))
        for kind, of_type in points.items()
    ]
    note = f"Measured on {split}: keep the student's entities with at least this score. A dash: no score reaches it."
    head = ("type", "score for 95 % precision", "recall there", "score for 95 % recall", "precision there")
    return Table("Thresholds", head, tuple(rows), note)


def _point(point: Mapping[str, float] | None, other: str) -> tuple[str, str]:
    return (f"{point['threshold']:.3f}", percent(point[other])) if point else ("–", "–")
