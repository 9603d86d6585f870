"""What a report says beside scores: the data, and how the models were made."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xtremedistil_ner import __version__
from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.errors import ArtefactError
from xtremedistil_ner.languages import WIKIANN_LANGUAGES
from xtremedistil_ner.processes.precision import Computed, name_scoring_precision, precision_on, taken_precision
from xtremedistil_ner.processes.world import current_processes
from xtremedistil_ner.recipe.reader import recipe_values
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.files import RunFolder, read_timings, student_folders
from xtremedistil_ner.run_folder.soft_labels import open_store
from xtremedistil_ner.run_folder.whole_files import read_json
from xtremedistil_ner.stages.evaluate_model import mapped_types

_MOST_LOOKS = 200


def data_counts(recipe: Recipe, run: RunFolder, corpus: LabelledCorpus, scored: Mapping[str, Any]) -> dict[str, Any]:
    """The corpus, the transfer set, and what was repaired, skipped or not scored; `scored` is the teacher's entry."""
    store = open_store(run.soft_labels)
    used = dict.fromkeys(("train", "dev", *recipe.evaluate.splits))
    repairs = {language: corpus.repairs(language, used) for language in corpus.languages}
    expected = (*WIKIANN_LANGUAGES, *(recipe.corpus.hub.languages if recipe.corpus.hub else ()))
    lacking = dict.fromkeys(code for code in expected if code not in corpus.languages and corpus.has_every_language)
    return {
        "corpus": dict(corpus.source),
        "transfer": {name: asdict(counts) for name, counts in store.counts.items()},
        "repaired_tags": {language: repaired for language, (repaired, _, _) in repairs.items()},
        "skipped_lines": {language: skipped for language, (_, skipped, _) in repairs.items()},
        "annotations": {language: dict(spans) for language, (_, _, spans) in repairs.items() if spans},
        "types": mapped_types(corpus, used),
        "languages_lacking": list(lacking),
        "languages_not_scored": sorted({*store.counts, *corpus.languages} - {*scored["languages"]}),
        "scored": split_hashes(corpus, recipe.evaluate.splits),
    }


def how_it_was_made(recipe: Recipe, run: RunFolder, fingerprint: str, split: str) -> dict[str, Any]:
    """The recipe, versions, precision, times, looks at dev and bytes of a run."""
    return {
        "name": recipe.name,
        "fingerprint": fingerprint,
        "strategy": recipe.train.strategy,
        "split": split,
        "seed": recipe.seed,
        "recipe": recipe_values(recipe),
        "versions": _versions(),
        "precision": _precision_of_stages(recipe, run),
        "stages": read_timings(run),
        "training": _training(run),
        "bytes": {part.name: _bytes_of(part) for part in (run.teacher, run.soft_labels, run.student)},
    }


def _training(run: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """The looks of teacher and student, a student of one language under `student <language>`; at most 200 of each."""
    folders = {"teacher": run.teacher}
    folders |= {f"student {code}".rstrip(): folder for code, folder in student_folders(run.student).items()}
    training = {}
    for name, folder in folders.items():
        with suppress(ArtefactError):  # a checkpoint that was not trained here has none
            looks = read_json(folder / "training.json").get("looks") or []
            training[name] = looks[:: -(-len(looks) // _MOST_LOOKS) or 1]
    return training


def scoring_precision(recipe: Recipe) -> Computed:
    """The precision in which this machine scores a run's teacher; another machine may have made its labels."""
    return precision_on(current_processes().device, recipe.pseudolabel.precision)


def _precision_of_stages(recipe: Recipe, run: RunFolder) -> dict[str, str]:
    """The precision of each stage, where it is known."""
    taken = {stage: taken_precision(run, stage) for stage in ("finetune", "pseudolabel", "train")}
    taken["evaluate"] = name_scoring_precision(scoring_precision(recipe))
    return {stage: precision for stage, precision in taken.items() if precision}


def split_hashes(corpus: LabelledCorpus, splits: Sequence[str]) -> dict[str, dict[str, str]]:
    """A short hash of each split that a language has."""
    return {
        split: {name: corpus.content_hash(name, split)[:16] for name in corpus.languages if corpus.has(name, split)}
        for split in splits
    }


def _versions() -> dict[str, str]:
    packages = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "onnxruntime")
    return {"xtremedistil_ner": __version__, "python": platform.python_version(), **{p: version(p) for p in packages}}


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
