"""The report's tables of scores: what to act on, means, languages, types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xtremedistil_ner.languages import count_languages
from xtremedistil_ner.report.caveats import about_means, about_weak_student
from xtremedistil_ner.report.cells import COMPARED, RATIOS, Table, bounded, interval_cell, named, percent, size_change
from xtremedistil_ner.report.verdict import verdict_of, worst_first

LANGUAGES_AND_TYPES = "Languages and types"
_SHOWN_TO_ACT_ON = 10


def act_on_table(report: Mapping[str, Any]) -> Table:
    """The languages that are not fit, the worst first."""
    verdict = verdict_of(report)
    codes = verdict["act_on"]
    rows = [
        (
            named(code),
            verdict["languages"][code]["verdict"].upper(),
            verdict["languages"][code]["reason"],
            _most_lost(*(report["models"][name]["languages"].get(code, {}).get("types", {}) for name in COMPARED)),
        )
        for code in codes[:_SHOWN_TO_ACT_ON]
    ]
    more = len(codes) - len(rows)
    note = f"The worst first; {count_languages(more)} more below." if more > 0 else "The worst first."
    return Table("Languages to act on", ("language", "verdict", "why", "F1 lost most"), tuple(rows), note)


def _most_lost(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> str:
    """The type with the largest fall of F1 from teacher to student, if there is one."""
    falls = {
        kind: (teacher[kind]["f1"] or 0.0) - (scores["f1"] or 0.0)
        for kind, scores in student.items()
        if scores["support"] and kind in teacher
    }
    worst = max(falls, key=lambda kind: falls[kind], default="")
    if not worst or falls[worst] <= 0:
        return "–"
    return f"{worst}: {percent(teacher[worst]['f1'])} to {percent(student[worst]['f1'])}"


def headline_table(report: Mapping[str, Any]) -> Table:
    """Means, size and calibration of both models."""
    teacher, student = (report["models"][name] for name in COMPARED)
    retention = report["retention"]
    rows = [
        (
            "macro-F1 (sd over languages)",
            *(f"{percent(entry['macro_f1'])} ({percent(entry['std_f1'])})" for entry in (teacher, student)),
            bounded(retention["macro"], retention.get("macro_low"), retention.get("macro_high"), unit=" %"),
        ),
        (
            "parameters",
            *(f"{entry['parameters']:,}" for entry in (teacher, student)),
            size_change(report["compression"]),
        ),
    ]
    if raw_text := student.get("raw_text"):
        rows.append(("macro-F1 in running text", "", percent(raw_text["macro_f1"]), ""))
    if any("calibration" in entry for entry in (teacher, student)):
        errors = (entry.get("calibration", {}).get("error") for entry in (teacher, student))
        rows.append(("calibration error of entity scores", *map(percent, errors), ""))
    for split in ("dev", "train"):
        if teacher.get(split) and student.get(split):
            cells = (percent(entry[split]["macro_f1"]) for entry in (teacher, student))
            rows.insert(1, (f"macro-F1 on {split}", *cells, ""))
    notes = (about_weak_student(report["models"]), about_means(report["models"]))
    return Table("In short", ("", *COMPARED, "student / teacher"), tuple(rows), " ".join(filter(None, notes)))


def languages_table(report: Mapping[str, Any]) -> Table:
    """Every language, the worst first; baselines have a column each."""
    baselines = [name for name in report["models"] if name not in COMPARED]
    models = {name: report["models"][name]["languages"] for name in (*COMPARED, *baselines)}
    teacher, student = (models[name] for name in COMPARED)
    retention, judged = report["retention"], verdict_of(report)["languages"]
    rows = []
    for code in languages_worst_first(report):
        scores = {name: languages.get(code) for name, languages in models.items()}
        bounds = retention.get("intervals", {}).get(code, {})
        rows.append(
            (
                named(code),
                judged[code]["verdict"].upper() if code in judged else "–",
                next(f"{of_model['support']:,}" for of_model in scores.values() if of_model),
                *map(interval_cell, scores.values()),
                bounded(retention["languages"].get(code), bounds.get("low"), bounds.get("high")),
                *(
                    str(of_model["words_lost"]) if of_model else "–"
                    for of_model in (teacher.get(code), student.get(code))
                ),
            )
        )
    head = ("language", "verdict", "entities", *models, "retention %", "no piece (teacher)", "no piece (student)")
    note = "The worst first. The last columns count words for which a model's vocabulary has no piece."
    return Table("Languages", head, tuple(rows), note)


def languages_worst_first(report: Mapping[str, Any]) -> list[str]:
    """The languages of the student, the worst first, then those that only the teacher knows."""
    judged = verdict_of(report)["languages"]
    teacher = report["models"]["teacher"]["languages"]
    return [*worst_first(report, judged), *(code for code in teacher if code not in judged)]


def types_table(report: Mapping[str, Any]) -> Table:
    """Mean F1 of each type over the languages that have it."""
    models = [report["models"][name]["languages"].values() for name in COMPARED]
    kinds = sorted({kind for languages in models for scores in languages for kind in scores["types"]})
    rows = []
    for kind in kinds:
        f1 = [
            [s["types"][kind]["f1"] or 0.0 for s in languages if s["types"].get(kind, {}).get("support")]
            for languages in models
        ]
        rows.append((kind, *(percent(sum(values) / len(values)) if values else "–" for values in f1)))
    return Table("Types", ("type", *COMPARED), tuple(rows), "Mean F1 over the languages that have the type.")


def languages_and_types_table(report: Mapping[str, Any]) -> Table:
    """Precision and recall of every language and type."""
    teacher, student = (report["models"][name]["languages"] for name in COMPARED)
    rows = []
    for code in languages_worst_first(report):
        for kind, scores in student.get(code, {}).get("types", {}).items():
            if scores["support"] and "precision" in scores:
                whole = teacher.get(code, {}).get("types", {}).get(kind)
                cells = (percent(scores[name]) for name in RATIOS)
                rows.append(
                    (f"{code} {kind}", f"{scores['support']:,}", *cells, percent(whole["f1"]) if whole else "–")
                )
    head = ("language and type", "entities", *(f"student's {name}" for name in RATIOS.values()), "teacher's F1")
    return Table(LANGUAGES_AND_TYPES, head, tuple(rows))
