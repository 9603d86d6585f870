"""Warnings that belong beside a student's scores; terminal, report and model card give the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xtremedistil_ner.report.cells import is_scored

SYNTHETIC = "Synthetic data: these numbers say that the pipeline works, and nothing about real text."
WEAK_F1 = 0.1
WEAK_SHARE = 0.5
"""A student below one of these finds too few entities for any likely use; chosen, not measured."""


def about_weak_student(models: Mapping[str, Any]) -> str:
    """A warning where the student's macro-F1 is below `WEAK_F1`, or below `WEAK_SHARE` of the teacher's; else nothing.

    `models` are those of a report.
    """
    student, teacher = (models.get(name, {}).get("macro_f1") for name in ("student", "teacher"))
    teacher = teacher or 0.0
    if student is None:
        return ""
    if student >= WEAK_F1 and student >= WEAK_SHARE * teacher:
        return ""
    bound = f"{100 * WEAK_F1:.0f}" if student < WEAK_F1 else f"half of the teacher's {100 * teacher:.2f}"
    return (
        f"Weak student: its macro-F1 of {100 * student:.2f} is below {bound}. It is not fit for use: train it with "
        "more updates, more text or a better teacher."
    )


def about_means(models: Mapping[str, Any]) -> str:
    """Which languages the means leave out, and which count for one mean and not for the other."""
    notes = (about_missing_entities(models.values()), _about_unequal_languages(models))
    return " ".join(note for note in notes if note)


def about_missing_entities(entries: Iterable[Mapping[str, Any]]) -> str:
    """Which languages have no entity to find."""
    languages = [item for entry in entries for item in entry["languages"].items()]
    codes = dict.fromkeys(code for code, scores in languages if not is_scored(scores))
    return f"Without an entity to find, and so left out of every mean: {', '.join(codes)}." if codes else ""


def _about_unequal_languages(models: Mapping[str, Any]) -> str:
    """Students per language need not cover all."""
    if not {"teacher", "student"} <= models.keys():
        return ""
    alone = [code for code in models["teacher"]["languages"] if code not in models["student"]["languages"]]
    if not alone:
        return ""
    return (
        f"The student has no model for {', '.join(alone)}. Each mean covers the languages of its model; retention "
        "covers those of both."
    )
