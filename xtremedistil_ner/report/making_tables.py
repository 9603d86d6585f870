"""The report's tables of how the run was made: what was read, and what the stages cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from xtremedistil_ner.corpus.labelled import format_mapping
from xtremedistil_ner.corpus.split import format_spans
from xtremedistil_ner.languages import WIKIANN_LANGUAGES, count_languages
from xtremedistil_ner.report.cells import Table, named
from xtremedistil_ner.report.paper import WIKIANN

DATA = "Data"
_STAGES_NOTE = (
    "Of the last call of each stage. MB: what it made. Words: those that it trained on, labelled or scored, each pass "
    "over a text counted. GB: the most that one of its processes held."
)
_ALWAYS_SHOWN = 5
"""Columns of the stages; the others are shown if a stage has them."""
_MADE_BY = {"teacher": "finetune", "soft_labels": "pseudolabel", "student": "train"}


def data_table(data: Mapping[str, Any]) -> Table:
    """Counts of each language's transfer text, and what files of the corpus lost; the notes are about all data."""
    keys = ("read", "duplicates", "held_out", "kept", "words", "lost_words")
    of_files = [data[key] for key in ("repaired_tags", "skipped_lines") if key in data]
    rows = []
    for code in {**data["transfer"], **data["repaired_tags"]}:
        counts = data["transfer"].get(code)
        cells = (f"{counts[key]:,}" if counts else "–" for key in keys)
        rows.append((named(code), *cells, *(f"{of_file[code]:,}" if code in of_file else "–" for of_file in of_files)))
    head = ("transfer set", "read", "duplicates", "in dev or test", "kept", "words", "words lost")
    repairs = ("tags repaired", "lines skipped")[: len(of_files)]
    return Table(DATA, (*head, *repairs), tuple(rows), " ".join(_about_data(data)))


def _about_data(data: Mapping[str, Any]) -> list[str]:
    notes = []
    if "corpus" in data:
        notes.append(f"Corpus: {', '.join(f'{key} {value}' for key, value in data['corpus'].items())}.")
    annotations = sum(map(Counter, data.get("annotations", {}).values()), Counter[str]())
    if annotations:
        notes.append(f"Annotations by character offsets: {format_spans(annotations)}.")
    if data.get("types"):
        becomes = {old: mapped["becomes"] for old, mapped in data["types"].items()}
        notes.append(format_mapping(becomes, {old: mapped["entities"] for old, mapped in data["types"].items()}))
    lacking, unscored = data.get("languages_lacking", ()), data.get("languages_not_scored", ())
    papers = [code for code in lacking if code in WIKIANN_LANGUAGES]
    others = [code for code in lacking if code not in WIKIANN_LANGUAGES]
    if papers and data.get("corpus", {}).get("hub") in WIKIANN:
        notes.append(f"Of the papers' 41 languages the corpus lacks {len(papers)}: {', '.join(papers)}.")
    if others:
        notes.append(f"Of the recipe's other languages it lacks {', '.join(others)}.")
    if unscored:
        notes.append(f"Used, and without sentences to score: {count_languages(len(unscored))}, {', '.join(unscored)}.")
    return notes


def stages_table(run: Mapping[str, Any]) -> Table:
    """Time, memory and precision of each stage, and the size of what it made."""
    stages, precision = run.get("stages", {}), run.get("precision", {})
    sizes = {_MADE_BY.get(name, name): count for name, count in run["bytes"].items()} if "bytes" in run else {}
    rows = []
    for name in dict.fromkeys((*stages, *precision)):
        cost = stages.get(name, {})
        seconds, words = cost.get("seconds"), cost.get("words")
        row = (
            f"{seconds:.0f}" if cost else "",
            str(cost["processes"]) if cost else "",
            precision.get(name, ""),
            f"{sizes[name] / 1e6:,.1f}" if name in sizes else "",
            f"{words / seconds:,.0f}" if seconds and words else "",
            *(f"{cost[key] / 1e9:.2f}" if cost.get(key) else "" for key in ("memory_bytes", "gpu_memory_bytes")),
        )
        rows.append((name, *row))
    head = ("stage", "seconds", "processes", "precision", "MB", "words/s", "GB in memory", "GB on the GPU")
    shown = [place for place in range(len(head)) if place < _ALWAYS_SHOWN or any(row[place] for row in rows)]
    cells = tuple(tuple(row[place] for place in shown) for row in rows)
    return Table("Time and size", tuple(head[place] for place in shown), cells, _STAGES_NOTE)
