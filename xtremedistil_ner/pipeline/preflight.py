"""Checks in a run's first minute of what would otherwise end it after hours, or never be noticed.

Splits and transfer text that are missing or broken; settings that nothing would read; a runtime or a student that does
not fit its teacher.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.corpus.transfer import require_readable, transfer_languages
from xtremedistil_ner.distillation.strategies import STRATEGIES
from xtremedistil_ner.errors import CorpusError, RecipeError, UsageError
from xtremedistil_ner.labels import OUTSIDE
from xtremedistil_ner.pieces.vocabulary import TRAINED
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.model_sections import OWN_KINDS
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.files import RunFolder


def require_splits(recipe: Recipe, corpus: LabelledCorpus) -> None:
    """Refuse a corpus that lacks a split.

    Raises: CorpusError for a split that the run needs and no language has.
    """
    for split in _needed_splits(recipe):
        if not any(corpus.has(language, split) for language in corpus.languages):
            raise CorpusError(
                f"{corpus.name}: no language has a {split} split. `train` teaches, `dev` selects, and evaluate.splits "
                "are scored; add the file, or change evaluate.splits."
            )


def read_every_split(recipe: Recipe, corpus: LabelledCorpus, tell: Reporter) -> None:
    """Read every split that the run needs.

    Raises: CorpusError for a file that is broken or has an unknown tag, and for dev splits without an entity.
    """
    for split in _needed_splits(recipe):
        has_entity = False
        for number, language in enumerate(corpus.languages):
            tell(Event("corpus", f"reads {split}", done=number, total=len(corpus.languages), unit="languages"))
            tags = (tag for sentence in corpus.sentences(language, split) for tag in sentence.tags or ())
            has_entity = has_entity or any(tag != OUTSIDE for tag in tags)
        if split == "dev" and not has_entity:
            raise CorpusError(
                f"{corpus.name}: no language has an entity in its dev split, and dev F1 selects. Label some, or change "
                "corpus.types where it leaves them out."
            )


def require_types(recipe: Recipe, corpus: LabelledCorpus, tell: Reporter) -> None:
    """Name the types of the recipe that do not occur in the corpus.

    Raises: CorpusError if that is so for all types of a mapping.
    """
    found = corpus.types_found() if recipe.corpus.types else frozenset()
    lacking = [name for name in recipe.corpus.types if name not in found]
    if not lacking:
        return
    there = ", ".join(sorted(found)) or "none"
    message = f"corpus.types: no entity has the type {' or '.join(lacking)}. The corpus has {there}."
    if corpus.types and len(lacking) == len(corpus.types):
        raise CorpusError(f"{message} Write its types, without B- and I-.")
    tell(Event("corpus", message))


def require_transfer_text(recipe: Recipe, corpus: LabelledCorpus, tell: Reporter) -> None:
    """Look at the first sentence of each file of transfer text, and name languages that came with the text alone.

    Raises: CorpusError for a file that cannot be read, and text of none of the languages.
    """
    languages = transfer_languages(corpus, recipe.transfer)
    require_readable(corpus, recipe.transfer, languages)
    lacking = [language for language in languages if language not in corpus.languages]
    if lacking and not recipe.transfer.languages:
        named = ", ".join(lacking)
        tell(Event("transfer", f"also takes text of {named}, which the corpus lacks; transfer.languages chooses"))


def require_inputs_elsewhere(recipe: Recipe, run: RunFolder) -> None:
    """Refuse to read what the run would write over.

    Raises: UsageError.
    """
    written = [path.resolve() for path in (*run.artefacts, run.work("any").parent)]
    for name, text in _texts("", recipe.model_dump(mode="json")):
        if Path(text).exists() and not {(path := Path(text).resolve()), *path.parents}.isdisjoint(written):
            raise UsageError(f"{name}: {text} lies where this run writes. Copy it, or give another --out.")


def require_student(recipe: Recipe, teacher_folder: Path | None) -> None:
    """Raises: as `pipeline.fitting.require_fitting_student`."""
    from xtremedistil_ner.pipeline.fitting import require_fitting_student  # transformers is heavy

    require_fitting_student(recipe, teacher_folder)


def require_runtime(recipe: Recipe) -> None:
    """Refuse a runtime that cannot run the teachers.

    Raises: RecipeError for a runtime without a graph of a teacher's family; ModelError for a missing checkpoint.
    """
    if recipe.pseudolabel.runtime == "torch":
        return
    from xtremedistil_ner.export.onnx_bert import GRAPH_FAMILIES  # torch is heavy
    from xtremedistil_ner.models.pretrained import load_config

    voters = [(voter.checkpoint, voter.revision) for voter in recipe.teacher.voters]
    for checkpoint, revision in [(recipe.teacher.checkpoint or "", recipe.teacher.revision), *voters]:
        family = load_config(checkpoint, revision=revision).model_type
        if family not in GRAPH_FAMILIES:
            raise RecipeError(
                f"pseudolabel.runtime: {recipe.pseudolabel.runtime} takes teachers of {', '.join(GRAPH_FAMILIES)}, and "
                f"{checkpoint} is a {family}. Take torch."
            )


def require_read_settings(recipe: Recipe) -> None:
    """Refuse settings that differ from their defaults and that this run would not read: they seem to have an effect.

    Raises: RecipeError naming every one of them, and what would read it.
    """
    problems = [
        f"{path}: {_value_at(recipe, path)!r} would have no effect. It takes {reader}; else leave it out."
        for is_read, reader, paths in _readers(recipe)
        for path in paths
        if not is_read and _is_set(recipe, path)
    ]
    if problems:
        raise RecipeError("\n".join(problems))


def _needed_splits(recipe: Recipe) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("train", "dev", *recipe.evaluate.splits)))


def _readers(recipe: Recipe) -> Iterator[tuple[bool, str, tuple[str, ...]]]:
    """Settings that only some runs read: whether this one does, what it would take, and their paths."""
    yield from _teacher_readers(recipe)
    yield from _student_readers(recipe)
    yield from _loss_readers(recipe)


def _teacher_readers(recipe: Recipe) -> Iterator[tuple[bool, str, tuple[str, ...]]]:
    teacher, transfer, is_trained = recipe.teacher, recipe.transfer, recipe.finetune.epochs > 0
    yield teacher.checkpoint is not None, "a teacher.checkpoint", ("teacher.revision",)
    yield not is_trained, "finetune.epochs: 0 (a new classifier has the corpus's tags)", ("teacher.labels",)
    yield bool(teacher.voters), "teacher.voters", ("teacher.weight",)
    yield is_trained, "finetune.epochs above 0", ("finetune.masked_language_model.updates",)
    yield transfer.path is not None, "a transfer.path", ("transfer.text",)
    has_text = transfer.path is not None or transfer.hub is not None
    yield has_text, "text beside the training text: a transfer.path or transfer.hub", ("transfer.sentences",)


def _student_readers(recipe: Recipe) -> Iterator[tuple[bool, str, tuple[str, ...]]]:
    section, start = recipe.student, recipe.student.transformer
    part = "student.transformer."
    sizes = ("student.embedding_width", "student.hidden_width", "student.head")
    yield section.is_own, f"student.kind: {' or '.join(OWN_KINDS)}", sizes
    for kind, sizes_of_kind in section:
        if isinstance(sizes_of_kind, BaseModel):  # a section named after the kind that reads it
            names = tuple(f"student.{kind}.{name}" for name in type(sizes_of_kind).model_fields)
            yield section.kind == kind, f"student.kind: {kind}", names
    if not section.is_own:
        is_new = start.start == "scratch"
        yield is_new, "start: scratch", (f"{part}hidden_width", f"{part}heads", "student.embeddings")
        counts = is_new or (start.start == "teacher" and not start.teacher_layers)
        yield counts, "start: scratch, or start: teacher without teacher_layers", (f"{part}layers",)
        yield start.checkpoint is not None, "start: checkpoint", (f"{part}revision",)
    yield section.vocabulary == TRAINED, f"student.vocabulary: {TRAINED}", ("student.vocabulary_size",)
    yield section.prune_vocabulary, "prune_vocabulary: true", ("student.min_piece_count",)


def _loss_readers(recipe: Recipe) -> Iterator[tuple[bool, str, tuple[str, ...]]]:
    section, steps = recipe.train, [step.losses for step in STRATEGIES[recipe.train.strategy]]
    losses = {loss for step in steps for loss in step}
    yield "logits" in losses, "a strategy with the loss on logits", ("train.logit_loss",)
    is_soft = "logits" in losses and section.logit_loss != "mse"
    yield is_soft, "the loss on logits, and logit_loss: soft_cross_entropy or posterior", ("train.temperature",)
    states = ("train.representation_loss", "train.teacher_layer")
    yield "representation" in losses, "a strategy with the representation loss", states
    joint = {loss for step in steps if len(step) > 1 for loss in step}
    for loss in type(section.loss_weights).model_fields:
        yield loss in joint, "a strategy that adds this loss to another", (f"train.loss_weights.{loss}",)


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any setting
    """Every text of a setting with its path; whichever names a file is an input."""
    if isinstance(value, str):
        yield name, value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _texts(f"{name}.{key}".lstrip("."), inner)


def _is_set(recipe: Recipe, path: str) -> bool:
    *sections, name = path.split(".")
    section = _value_at(recipe, ".".join(sections))
    return bool(getattr(section, name) != type(section).model_fields[name].default)


def _value_at(recipe: Recipe, path: str) -> Any:  # noqa: ANN401 - any setting
    value: BaseModel = recipe
    for name in path.split("."):
        value = getattr(value, name)
    return value
