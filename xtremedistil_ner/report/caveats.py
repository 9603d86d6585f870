"""Warnings that belong beside a student's scores; terminal, report and model card give the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
