"""Scores of models without the rest of a report, for a terminal and the model card."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from xtremedistil_ner.report.caveats import SYNTHETIC, about_means, about_missing_entities
from xtremedistil_ner.report.cells import (
    RATIOS,
    Table,
    between,
    interval_cell,
    is_scored,
    named,
    percent,
    size_change,
)


def models_table(report: Mapping[str, Any], names: Collection[str]) -> Table:
    """F1 of some models by language, the student's with its interval, and retention; then means and sizes.

    A report of one language's student lacks some models and sizes: their cells are dashes, their rows are left out.
    """
    models = {name: entry for name, entry in report["models"].items() if name in names}
    retention = report.get("retention") or {}
    rows = [
        (
            named(code),
            *(
                interval_cell(entry["languages"].get(code))
                if name == "student"
                else _f1_cell(entry["languages"].get(code))
                for name, entry in models.items()
            ),
            percent(retention.get("languages", {}).get(code)),
        )
        for code in dict.fromkeys(code for entry in models.values() for code in entry["languages"])
    ]
    rows.append(("macro", *(percent(entry["macro_f1"]) for entry in models.values()), percent(retention.get("macro"))))
    if all("parameters" in entry for entry in models.values()):
        rows.append(("parameters", *(f"{entry['parameters']:,}" for entry in models.values()), ""))
    compression = report.get("compression")
    size = f"The student has {size_change(compression)} parameters." if compression is not None else ""
    note = " ".join(filter(None, (size, about_means(models))))
    return Table("", ("language", *models, "retention"), tuple(rows), note)


def model_tables(entry: Mapping[str, Any]) -> list[Table]:
    """Scores of one entry of `models`: the strict ones and, if it has them, those by the papers' protocol."""
    rows = [
        (
            code,
            *_ratio_cells(scores),
            between(scores["f1_low"], scores["f1_high"]) if is_scored(scores) else "–",
            str(scores["support"]),
            str(scores["words_lost"]),
        )
        for code, scores in entry["languages"].items()
    ]
    rows.append(("macro", "", "", percent(entry["macro_f1"]), "", "", ""))
    head = ("language", *RATIOS.values(), "95 % interval", "entities", "words lost")
    notes = (about_missing_entities([entry]), SYNTHETIC if entry.get("synthetic") else "")
    tables = [Table("", head, tuple(rows), " ".join(filter(None, notes)))]
    if paper := entry.get("paper_protocol"):
        rows = [(code, *_ratio_cells(scores), str(scores["support"])) for code, scores in paper["languages"].items()]
        rows.append(("macro", "", "", percent(paper["macro_f1"]), ""))
        tables.append(Table("", ("papers' protocol", *RATIOS.values(), "entities"), tuple(rows)))
    return tables


def _ratio_cells(scores: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(percent(scores[name]) if is_scored(scores) else "–" for name in RATIOS)


def _f1_cell(scores: Mapping[str, Any] | None) -> str:
    return percent(scores["f1"]) if scores and is_scored(scores) else "–"
