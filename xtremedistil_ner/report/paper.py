"""The papers' values, shown beside a WikiANN run and always marked as the papers'.

`paper_values.toml` has every column of their tables per language, by size and by strategy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

WIKIANN = ("unimelb-nlp/wikiann", "wikiann")
NOTE = "papers' values (their protocol, not comparable with strict scores)"
_SHOWN = ("mbert_joint", "xtremedistil")


@lru_cache(maxsize=1)
def paper_values() -> Mapping[str, Any]:
    """All tables, in the papers' units: per cent, thousands of sentences, millions of parameters."""
    with Path(__file__).with_name("paper_values.toml").open("rb") as stream:
        return tomllib.load(stream)


def language_values() -> dict[str, dict[str, float]]:
    """The papers' row of each of the 41 languages, by column."""
    table = dict(paper_values()["languages"])
    columns = table.pop("columns")
    return {language: dict(zip(columns, row, strict=True)) for language, row in table.items()}


def papers_beside(source: Mapping[str, Any], languages: Iterable[str]) -> dict[str, Any] | None:
    """What the papers report of a run's languages, as shares; None where the corpus is not WikiANN of the Hub.

    `mean` is the papers' own, over 41 languages; `mean_of_these` that of the rounded values of the run's languages.
    """
    if source.get("hub") not in WIKIANN:
        return None
    rows = language_values()
    shown = {code: {name: rows[code][name] / 100 for name in _SHOWN} for code in languages if code in rows}
    return {
        "note": NOTE,
        "languages": shown,
        "mean": {name: paper_values()["mean"][name] / 100 for name in _SHOWN},
        "mean_of_these": {
            name: sum(row[name] for row in shown.values()) / len(shown) if shown else 0.0 for name in _SHOWN
        },
    }
