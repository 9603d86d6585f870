"""The kinds of input, and a broken one of each: valid files with one to three changes, named by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from stress.broken_records import jsonl, parquet
from stress.broken_runs import manifest, recipe, report, settings
from stress.broken_text import CONLL_SEEDS, TSV_SEEDS, columns, text
from stress.cases import Case

_MAKERS: dict[str, Callable[[random.Random, Path], Case]] = {
    "tsv": columns((".tsv", ".tsv", ".tsv", ".bio", ".txt"), TSV_SEEDS),
    "conll": columns((".conll", ".conll", ".conll", ".iob2", ".conllu", ".iob"), CONLL_SEEDS),
    "jsonl": jsonl,
    "parquet": parquet,
    "text": text,
    "recipe": recipe,
    "set": settings,
    "manifest": manifest,
    "report": report,
}
KINDS = tuple(_MAKERS)


def make_case(kind: str, seed: int, index: int, template: Path) -> Case:
    """The input of a kind with this seed and number."""
    return _MAKERS[kind](random.Random(f"{seed}/{kind}/{index}"), template)
