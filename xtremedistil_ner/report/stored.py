"""Reports on disk, and the counts of each sentence behind them: what was scored once is not scored again.

An entry of `models` carries an `identity`, the fingerprint of all that decides it: the bytes of the model, the
sentences and how they were scored. `scores/<model>.npz` carries the same, so that counts never pass for those of
another model. They take 1.3 bytes a sentence (measured on 50,000 drawn at random). Beside them are the model's tags of
every word, from which slices and examples come without scoring it again.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xtremedistil_ner.errors import ArtefactError
from xtremedistil_ner.evaluation.bootstrap import Counts
from xtremedistil_ner.labels import TagIds
from xtremedistil_ner.report.form import ComparedReport, ReportForm
from xtremedistil_ner.run_folder.artefacts import require_seal
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.forms import require_form
from xtremedistil_ner.run_folder.whole_files import read_json, whole_file

SplitCounts = Mapping[str, Mapping[str, Counts]]
"""Counts (sentences, 3) by split and language."""

SplitTags = Mapping[str, Mapping[str, TagIds]]
"""Tag ids (all words,) by split and language."""

_IDENTITY = "identity"
_TAGS = "tags"
_GIVE = "Give the folder of a finished run, or its report.json."
_AGAIN = "If it is damaged, remove it: `xner distil` on the run makes it again."


def read_report(path: Path, form: type[ComparedReport] = ReportForm) -> dict[str, Any]:
    """The report of a run folder, or of a `report.json` by itself, with the keys that `form` demands.

    Raises: ArtefactError when it is missing, broken, changed or of another schema.
    """
    file = RunFolder(path).report if path.is_dir() else path
    report = read_json(file, remedy=f"{_GIVE} {_AGAIN}")
    models = report.get("models")
    if report.get("schema") != 1 or not (isinstance(models, dict) and {"teacher", "student"} <= {*models}):
        raise ArtefactError(f"{file}: not a report of schema 1. {_GIVE}")
    require_form(file, report, form, remedy=_AGAIN)
    if form is ReportForm or "seal" in report:  # what reads less takes reports of earlier versions
        require_seal(report, file)
    return report


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
    stored = (load_counts(run.scores(name), identity) for run in runs)
    return next((counts for counts in stored if counts is not None), None)


def find_tags(runs: Iterable[RunFolder], name: str, identity: str) -> SplitTags | None:
    """The tags that one of the runs has of a model."""
    stored = (load_tags(run.scores(name), identity) for run in runs)
    return next((tags for tags in stored if tags), None)


def save_counts(path: Path, identity: str, counts: SplitCounts, tags: SplitTags | None = None) -> None:
    """Write the counts of a model, and its tags, as one whole file."""
    arrays = {
        f"{split}/{language}": of_sentences.astype(np.int32)
        for split, languages in counts.items()
        for language, of_sentences in languages.items()
    }
    arrays |= {
        f"{split}/{language}/{_TAGS}": ids.astype(np.int32)
        for split, languages in (tags or {}).items()
        for language, ids in languages.items()
    }
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as stream:
        np.savez_compressed(stream, allow_pickle=False, **{_IDENTITY: np.array(identity), **arrays})


def load_counts(path: Path, identity: str) -> SplitCounts | None:
    """The counts that `save_counts` wrote under this identity; None if it is missing, broken or another model's."""
    return _load(path, identity, tags=False)


def load_tags(path: Path, identity: str) -> SplitTags | None:
    """The tags that `save_counts` wrote, as `load_counts` reads counts."""
    found = _load(path, identity, tags=True)
    if found is None:
        return None
    return {split: {code: ids.astype(np.int16) for code, ids in tags.items()} for split, tags in found.items()}


def _load(path: Path, identity: str, *, tags: bool) -> dict[str, dict[str, Counts]] | None:
    found: dict[str, dict[str, Counts]] = {}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if str(arrays[_IDENTITY]) != identity:
                return None
            for key in arrays.files:
                split, _, rest = key.partition("/")
                language, _, what = rest.partition("/")
                if language and (what == _TAGS) == tags:
                    found.setdefault(split, {})[language] = arrays[key].astype(np.int64)
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
    return found
