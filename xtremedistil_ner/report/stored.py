"""Reports on disk, and the counts of each sentence behind them: what was scored once is not scored again.

An entry of `models` carries an `identity`, the fingerprint of all that decides it: the bytes of the model, the
sentences and how they were scored. `scores/<model>.npz` carries the same, so that counts never pass for those of
another model. They take 1.3 bytes a sentence (measured on 50,000 drawn at random).
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xtremedistil_ner.bootstrap import Counts
from xtremedistil_ner.errors import ArtefactError
from xtremedistil_ner.rundir import RunFolder, require_seal

SplitCounts = Mapping[str, Mapping[str, Counts]]
"""Counts (sentences, 3) by split and language."""

_IDENTITY = "identity"


def read_report(path: Path) -> dict[str, Any]:
    """The report of a run folder, or of a `report.json` by itself.

    Raises: ArtefactError when it is missing, broken, changed or of another schema.
    """
    file = RunFolder(path).report if path.is_dir() else path
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{file}: missing or broken ({error}). Give the folder of a finished run, or its report.json."
        ) from error
    if not _is_report(report):
        raise ArtefactError(f"{file}: not a report of schema 1. Give the folder of a finished run, or its report.json.")
    require_seal(report, file)
    return dict(report)


def _is_report(value: Any) -> bool:  # noqa: ANN401 - whatever a JSON file holds
    try:
        needed = {"models": {"teacher", "student"}, "retention": {"macro", "languages"}, "run": {"name"}}
        return value["schema"] == 1 and all(names <= {*value[key]} for key, names in needed.items())
    except (LookupError, TypeError):
        return False


def find_entry(runs: Iterable[RunFolder], name: str, identity: str) -> dict[str, Any] | None:
    """The entry of `models` that a report of one of the runs has under this name and identity."""
    for run in runs:
        try:
            entry = read_report(run.report)["models"][name]
            if entry[_IDENTITY] == identity:
                return dict(entry)
        except (ArtefactError, LookupError, TypeError):
            continue  # no report, or one of an earlier version
    return None


def find_counts(runs: Iterable[RunFolder], name: str, identity: str) -> SplitCounts | None:
    """The counts per sentence that one of the runs has of a model."""
    found = (load_counts(run.scores(name), identity) for run in runs)
    return next((counts for counts in found if counts is not None), None)


def save_counts(path: Path, identity: str, counts: SplitCounts) -> None:
    """Write the counts of a model whole: beside their place, synced, renamed."""
    arrays = {
        f"{split}/{language}": found.astype(np.int32)
        for split, languages in counts.items()
        for language, found in languages.items()
    }
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{_IDENTITY: np.array(identity), **arrays})
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def load_counts(path: Path, identity: str) -> SplitCounts | None:
    """What `save_counts` wrote under this identity; None if it is missing, broken or another model's."""
    counts: dict[str, dict[str, Counts]] = {}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if str(arrays[_IDENTITY]) != identity:
                return None
            for key in arrays.files:
                split, _, language = key.partition("/")
                if language:
                    counts.setdefault(split, {})[language] = arrays[key].astype(np.int64)
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
        return None
    return counts
