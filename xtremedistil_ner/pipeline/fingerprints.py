"""A fingerprint of all that decides a stage's artefact: recipe fields, corpus bytes and the stages before it.

Bytes count and paths do not: a corpus, checkpoint or vocabulary that moved invalidates nothing. The table in
`docs/formats.md` says what a change invalidates; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.corpus.transfer import transfer_hash, transfer_languages
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.export.web_page import runtime_files
from xtremedistil_ner.pieces.vocabulary import TRAINED
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.stage_table import STAGE_TABLE, Stage
from xtremedistil_ner.run_folder.whole_files import make_fingerprint, sha256_file

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
_HUB_ID = re.compile(r"(?!.*\.txt$)[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def stage_fingerprints(recipe: Recipe, corpus: LabelledCorpus) -> dict[Stage, str]:
    """The fingerprint that each stage's artefact has when it is up to date."""
    plain = {name: _changed(section) for name, section in recipe if isinstance(section, BaseModel)}
    plain["train"].pop("checkpoint_every_s", None)
    seed = _seed(recipe)
    gold = [corpus.scheme.tags, _hashes(corpus, ("train", "dev"))]
    languages = transfer_languages(corpus, recipe.transfer)
    transfer = {language: transfer_hash(corpus, recipe.transfer, language) for language in languages}
    student = {**plain["student"], "vocabulary": _vocabulary_fingerprint(recipe.student.vocabulary)}
    if recipe.student.transformer.checkpoint is not None:
        student["transformer"]["checkpoint"] = _checkpoint_fingerprint(recipe.student.transformer.checkpoint)
    result: dict[Stage, str] = {}
    result["finetune"] = _teacher_fingerprint(recipe, corpus, gold, transfer)
    result["pseudolabel"] = _fingerprint("pseudolabel", result["finetune"], transfer, plain["pseudolabel"])
    result["train"] = _fingerprint("train", seed, result["pseudolabel"], gold, student, plain["train"])
    scored = _hashes(corpus, recipe.evaluate.splits)
    result["evaluate"] = _fingerprint("evaluate", result["train"], scored, plain["evaluate"], recipe.name)
    if recipe.export.onnxruntime_web is not None:
        plain["export"]["onnxruntime_web"] = _runtime_fingerprint(recipe.export.onnxruntime_web)
    result["export"] = _fingerprint("export", result["evaluate"], plain["export"])
    return result


def _fingerprint(stage: Stage, *parts: object) -> str:
    return make_fingerprint(stage, STAGE_TABLE[stage].format, *parts)


def _teacher_fingerprint(recipe: Recipe, corpus: LabelledCorpus, gold: object, transfer: object) -> str:
    """A checkpoint that is not fine-tuned depends on no corpus; one that is depends on the text it reads."""
    section, finetune = _changed(recipe.teacher), _changed(recipe.finetune)
    shape = recipe.teacher.shape
    if shape is not None:
        section["shape"]["vocabulary"] = _file_fingerprint(shape.vocabulary)
    if recipe.teacher.vocabulary is not None:
        section["vocabulary"]["vocabulary"] = _file_fingerprint(recipe.teacher.vocabulary.vocabulary)
    if recipe.teacher.checkpoint is not None:
        section["checkpoint"] = _checkpoint_fingerprint(recipe.teacher.checkpoint)
    if recipe.teacher.voters:
        section["voters"] = [
            {**_changed(voter), "checkpoint": _checkpoint_fingerprint(voter.checkpoint)}
            for voter in recipe.teacher.voters
        ]
    if recipe.finetune.epochs == 0:
        return _fingerprint("finetune", corpus.scheme.tags, section)
    has_own_pieces = shape is not None or recipe.teacher.vocabulary is not None
    reads_transfer = recipe.finetune.masked_language_model.updates or has_own_pieces
    finetune.pop("dev_sentences", None)
    reads = [gold, transfer if reads_transfer else None, recipe.finetune.dev_sentences]
    return _fingerprint("finetune", _seed(recipe), reads, section, finetune)


def _seed(recipe: Recipe) -> object:
    """What decides the bytes of a training beside its data and settings."""
    return [recipe.seed, "deterministic"] if recipe.deterministic else recipe.seed


def _changed(section: BaseModel) -> dict[str, Any]:
    """The fields that are not at their defaults: a field that a later version adds makes nothing stale."""
    return section.model_dump(mode="json", exclude_defaults=True)


def _hashes(corpus: LabelledCorpus, splits: Iterable[str]) -> dict[str, list[str]]:
    return {language: [corpus.content_hash(language, split) for split in splits] for language in corpus.languages}


def _checkpoint_fingerprint(checkpoint: str) -> str:
    """A hash of a checkpoint's folder; a Hub id counts as it is, and its revision is another field."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return checkpoint
    names = ("config.json", *_TOKENIZER_FILES, "*.model", "*.safetensors")
    return make_fingerprint(sorted(sha256_file(path) for name in names for path in folder.glob(name)))


def _vocabulary_fingerprint(name: str | None) -> str | None:
    """A hash of a file or of a checkpoint's tokenizer; a Hub id counts as it is.

    A vocabulary that is `trained` depends on text that other fingerprints cover already.
    """
    if name is None or name == TRAINED:
        return name
    folder = Path(name)
    if folder.is_dir():
        return make_fingerprint([sha256_file(folder / file) for file in _TOKENIZER_FILES if (folder / file).is_file()])
    return name if _HUB_ID.fullmatch(name) and not folder.is_file() else _file_fingerprint(name)


def _runtime_fingerprint(package: str) -> str:
    return make_fingerprint([sha256_file(path) for path in runtime_files(Path(package))])


def _file_fingerprint(name: str | None) -> str | None:
    if name is None:
        return None
    if not Path(name).is_file():
        raise UsageError(
            f"{name}: no such file. Check student.vocabulary, teacher.shape.vocabulary and teacher.vocabulary."
        )
    return sha256_file(Path(name))
