"""`report.json`: every model of a run side by side, the student's retention, and what was lost on the way.

F1 values lie between 0 and 1; nothing is NaN; keys may be added, never changed, under one `schema` number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from xtremedistil_ner.evaluation.bootstrap import Counts, macro_interval, retention_intervals
from xtremedistil_ner.evaluation.calibration import calibration_entry
from xtremedistil_ner.evaluation.confusions import KINDS, Confusion
from xtremedistil_ner.evaluation.operating_points import operating_points
from xtremedistil_ner.evaluation.score_split import SplitScores
from xtremedistil_ner.evaluation.scoring import LanguageScores, macro
from xtremedistil_ner.report.verdict import judge

SCHEMA = 1
_MOST_COMMON = 50


def model_entry(parameters: int, scores: SplitScores) -> dict[str, Any]:
    """One entry of `models`: size, means over languages, scores of each, confusions, calibration of entity scores."""
    entry = {"parameters": parameters, **_means(scores.languages)}
    entry["languages"] = {language: asdict(reached) for language, reached in scores.languages.items()}
    entry["errors"] = {kind: _total(scores.confusions, kind) for kind in KINDS}
    entry["confusions"] = [
        {**confusion._asdict(), "count": count} for confusion, count in _by_count(scores.confusions)[:_MOST_COMMON]
    ]
    if scores.calibration.any():
        entry["calibration"] = calibration_entry(scores.calibration)
        entry["operating_points"] = _operating_points(scores)
    if scores.raw_text:
        entry["raw_text"] = {"macro_f1": _mean(scores), "languages": dict(scores.raw_text)}
    if scores.noise:
        entry["noise"] = {
            language: {kind: counts.tolist() for kind, counts in kinds.items()}
            for language, kinds in scores.noise.items()
        }
    if scores.paper:
        entry["paper_protocol"] = {**_means(scores.paper), "languages": _without_intervals(scores.paper)}
    return entry


def macro_bounds(counts: Mapping[str, Counts], *, resamples: int, seed: int) -> dict[str, float | None]:
    """The ends of the 95 % interval of a model's macro-F1, for its entry."""
    low, high = macro_interval(counts, resamples=resamples, seed=seed) or (None, None)
    return {"macro_low": low, "macro_high": high}


def build_retention(
    teacher: Mapping[str, Any],
    student: Mapping[str, Any],
    counts: tuple[Mapping[str, Counts], Mapping[str, Counts]],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Student's F1 / teacher's F1 with 95 % intervals, over the languages with entities that both were scored on.

    `counts` are the teacher's and the student's, per sentence; without them or without resamples an interval is the
    value itself.
    """
    f1 = {
        language: (teacher["languages"][language]["f1"], scores["f1"])
        for language, scores in student["languages"].items()
        if language in teacher["languages"] and scores["support"]
    }
    languages = {language: _ratio(part, whole) for language, (whole, part) in f1.items()}
    retention = _ratio(sum(part for _, part in f1.values()), sum(whole for whole, _ in f1.values())) if f1 else None
    of_macro, intervals = retention_intervals(*counts, resamples=resamples, seed=seed)
    macro_low, macro_high = of_macro if intervals else (retention, retention)
    bounds = {language: intervals.get(language, (value, value)) for language, value in languages.items()}
    return {
        "macro": retention,
        "languages": languages,
        "macro_low": macro_low,
        "macro_high": macro_high,
        "intervals": {language: {"low": low, "high": high} for language, (low, high) in bounds.items()},
    }


def build_report(
    models: Mapping[str, Mapping[str, Any]],
    *,
    retention: Mapping[str, Any],
    synthetic: bool,
    data: Mapping[str, Any],
    papers: Mapping[str, Any] | None,
    run: Mapping[str, Any],
    slices: Sequence[Mapping[str, Any]] = (),
    examples: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The whole report from its models' entries. `data` counts what was lost; `run` says how it was made."""
    report = {
        "schema": SCHEMA,
        "synthetic": synthetic,
        "models": {name: dict(entry) for name, entry in models.items()},
        "retention": dict(retention),
        "compression": _ratio(models["teacher"]["parameters"], models["student"]["parameters"]),
        "data": dict(data),
        "papers": papers,
        "run": dict(run),
        "slices": list(slices),
        "examples": list(examples),
    }
    return {**report, "verdict": judge(report)}


def _operating_points(scores: SplitScores) -> dict[str, Any]:
    """By type, over all languages."""
    points = {}
    for kind, parts in scores.scored.items():
        values, is_right = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        gold = sum(of_language.types[kind].support for of_language in scores.languages.values())
        points[kind] = operating_points(values, is_right, gold)
    return points


def _means(scores: Mapping[str, LanguageScores]) -> dict[str, Any]:
    macro_f1, std_f1 = macro(scores)
    without = [language for language, reached in scores.items() if not reached.support]
    return {"macro_f1": macro_f1, "std_f1": std_f1, "languages_without_entities": without}


def _mean(scores: SplitScores) -> float | None:
    """The mean of F1 in running text over the languages with a gold entity."""
    scored = [f1 for language, f1 in scores.raw_text.items() if scores.languages[language].support]
    return sum(scored) / len(scored) if scored else None


def _without_intervals(scores: Mapping[str, LanguageScores]) -> dict[str, Any]:
    names = ("precision", "recall", "f1", "support")
    return {language: {name: getattr(reached, name) for name in names} for language, reached in scores.items()}


def _total(confusions: Counter[Confusion], kind: str) -> int:
    return sum(count for confusion, count in confusions.items() if confusion.kind == kind)


def _by_count(confusions: Counter[Confusion]) -> list[tuple[Confusion, int]]:
    """The most common first; equals by name, so that equal models give equal reports."""
    return sorted(confusions.items(), key=lambda item: (-item[1], tuple(map(str, item[0]))))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
