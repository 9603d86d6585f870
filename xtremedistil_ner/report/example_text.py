"""The report's example sentences as pieces of text, marked where the corpus or a model has an entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xtremedistil_ner.corpus.joined_text import join_words
from xtremedistil_ner.report.cells import named

_SAID_BY = {"gold": "corpus", "teacher": "teacher", "student": "student"}
_OUTCOMES = {
    "teacher alone": "Right for the teacher alone",
    "student alone": "Right for the student alone",
    "neither": "Right for neither",
}


@dataclass(frozen=True, slots=True)
class MarkedLine:
    """A sentence as some of corpus, teacher and student tag it: pieces of text with their type, "" for none."""

    said_by: str
    pieces: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ExampleCell:
    """The examples of a language and type, under what they show."""

    title: str
    counts: str
    groups: tuple[tuple[str, tuple[tuple[MarkedLine, ...], ...]], ...]


def example_cells(report: Mapping[str, Any]) -> list[ExampleCell]:
    """The worst cells of a report with their sentences."""
    cells = []
    for cell in report.get("examples", ()):
        groups = []
        for outcome, title in _OUTCOMES.items():
            examples = [_lines(example) for example in cell["examples"] if example["outcome"] == outcome]
            if examples:
                groups.append((title, tuple(examples)))
        counts = ", ".join(f"{name} {count:,}" for name, count in cell["outcomes"].items())
        cells.append(ExampleCell(f"{named(cell['language'])}, {cell['type']}", counts, tuple(groups)))
    return cells


def _lines(example: Mapping[str, Any]) -> tuple[MarkedLine, ...]:
    """One line for all who tag the sentence alike."""
    lines: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, shown in _SAID_BY.items():
        lines.setdefault(_pieces(example["words"], example[name]), []).append(shown)
    return tuple(MarkedLine(", ".join(names), pieces) for pieces, names in lines.items())


def _pieces(words: Sequence[str], spans: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    text, places = join_words(words)
    pieces, done = [], 0
    for span in spans:
        covered = places[span["start"] : span["stop"]]
        if covered:
            start, stop = covered[0][0], covered[-1][1]
            pieces += [(text[done:start], ""), (text[start:stop], span["type"])]
            done = stop
    pieces.append((text[done:], ""))
    return tuple((part, kind) for part, kind in pieces if part)
