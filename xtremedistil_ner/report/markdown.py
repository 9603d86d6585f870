"""`report.md`: the report as tables to read in a terminal or on a code host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xtremedistil_ner.languages import language_name


def format_report(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    models, run = report["models"], report["run"]
    teacher, student = models["teacher"], models["student"]
    lines = [f"# {run['name']}: teacher and student", ""]
    if report["synthetic"]:
        lines += ["**Synthetic data: these numbers say that the pipeline works, and nothing about real text.**", ""]
    lines += [
        f"Strict entity F1 in per cent on `{run['split']}`, whole sentences, with 95 % bootstrap intervals. "
        f"Strategy {run['strategy']}.",
        "",
        *_table(
            ("", "teacher", "student", "student / teacher"),
            [
                (
                    "macro-F1 (sd over languages)",
                    f"{_percent(teacher['macro_f1'])} ({_percent(teacher['std_f1'])})",
                    f"{_percent(student['macro_f1'])} ({_percent(student['std_f1'])})",
                    f"{_percent(report['retention']['macro'])} % kept",
                ),
                (
                    "macro-F1 on dev",
                    _percent(teacher["dev"]["macro_f1"]) if "dev" in teacher else "–",
                    _percent(student["dev"]["macro_f1"]) if "dev" in student else "–",
                    "",
                ),
                (
                    "parameters",
                    f"{teacher['parameters']:,}",
                    f"{student['parameters']:,}",
                    f"{report['compression']:.1f}x fewer",
                ),
            ],
        ),
        "",
        "## Languages",
        "",
        *_languages(report),
        "",
        "## Types",
        "",
        *_types(models),
        "",
        "## Data",
        "",
        *_data(report["data"]),
        "",
        "## Time",
        "",
        *_table(
            ("stage", "seconds", "processes"),
            [(name, f"{entry['seconds']:.0f}", str(entry["processes"])) for name, entry in run["stages"].items()],
        ),
        "",
    ]
    return "\n".join(lines)


def _languages(report: Mapping[str, Any]) -> list[str]:
    teacher, student = report["models"]["teacher"]["languages"], report["models"]["student"]["languages"]
    rows = [
        (
            f"{language} {language_name(language)}",
            f"{scores['support']:,}",
            _with_interval(teacher[language]),
            _with_interval(scores),
            _percent(report["retention"]["languages"][language]),
            str(scores["words_lost"]),
        )
        for language, scores in student.items()
    ]
    return _table(("language", "entities", "teacher", "student", "kept %", "words without a piece"), rows)


def _types(models: Mapping[str, Any]) -> list[str]:
    """Mean F1 of each type over the languages that have it."""
    kinds = sorted({kind for scores in models["student"]["languages"].values() for kind in scores["types"]})
    rows = []
    for kind in kinds:
        means = []
        for name in ("teacher", "student"):
            found = [scores["types"][kind] for scores in models[name]["languages"].values()]
            supported = [entry["f1"] for entry in found if entry["support"]]
            means.append(_percent(sum(supported) / len(supported)) if supported else "–")
        rows.append((kind, *means))
    return _table(("type", "teacher", "student"), rows)


def _data(data: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            language,
            *(f"{counts[key]:,}" for key in ("read", "duplicates", "held_out", "kept", "words", "lost_words")),
            str(data["repaired_tags"].get(language, 0)),
        )
        for language, counts in data["transfer"].items()
    ]
    head = ("transfer set", "read", "duplicates", "in dev or test", "kept", "words", "words lost", "tags repaired")
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    border = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, border, *rows)]


def _with_interval(scores: Mapping[str, Any]) -> str:
    return f"{_percent(scores['f1'])} ({_percent(scores['f1_low'])}–{_percent(scores['f1_high'])})"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
