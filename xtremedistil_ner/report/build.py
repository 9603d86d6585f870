"""`report.json`: every model of a run side by side, what distillation kept, and what was lost on the way.

F1 values lie between 0 and 1; nothing is NaN; keys may be added, never changed, under one `schema` number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xtremedistil_ner.scoring import LanguageScores, macro

SCHEMA = 1


def model_entry(parameters: int, scores: Mapping[str, LanguageScores]) -> dict[str, Any]:
    """One entry of `models`: size, macro-F1 and its deviation over languages, and the scores per language."""
    macro_f1, std_f1 = macro(scores)
    return {
        "parameters": parameters,
        "macro_f1": macro_f1,
        "std_f1": std_f1,
        "languages": {language: asdict(found) for language, found in scores.items()},
    }


def build_report(
    models: Mapping[str, Mapping[str, Any]],
    *,
    synthetic: bool,
    data: Mapping[str, Any],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole report from its models' entries. `data` counts what was lost; `run` says how it was made."""
    teacher, student = models["teacher"], models["student"]
    return {
        "schema": SCHEMA,
        "synthetic": synthetic,
        "models": {name: dict(entry) for name, entry in models.items()},
        "retention": {
            "macro": _ratio(student["macro_f1"], teacher["macro_f1"]),
            "languages": {
                language: _ratio(scores["f1"], teacher["languages"][language]["f1"])
                for language, scores in student["languages"].items()
            },
        },
        "compression": _ratio(teacher["parameters"], student["parameters"]),
        "data": dict(data),
        "run": dict(run),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
