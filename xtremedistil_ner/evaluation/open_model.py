"""A model folder ready to be scored: teacher, voting teachers, student or export, all words in and logits out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from xtremedistil_ner.errors import ModelError, UsageError
from xtremedistil_ner.labels import LabelScheme, Transitions
from xtremedistil_ner.models.pretrained import load_config, longest_window
from xtremedistil_ner.models.student import count_parameters, load_student, student_predictor
from xtremedistil_ner.models.student_config import is_student
from xtremedistil_ner.models.teacher_labels import types_of_labels
from xtremedistil_ner.models.voting import Vote, encode_for, load_votes, predictors_of, vote_on_rows
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.predictor import (
    GPU_BATCH_PIECES,
    Predictor,
    WordLogits,
    compute_word_logits,
    counting_words,
    unheard,
)
from xtremedistil_ner.processes.precision import dtype_of, precision_on, settle_float32
from xtremedistil_ner.processes.world import current_processes
from xtremedistil_ner.recipe.model_sections import TeacherSection
from xtremedistil_ner.recipe.schema import Precision
from xtremedistil_ner.run_folder.artefacts import verify
from xtremedistil_ner.run_folder.files import MANIFEST, RunFolder, student_folders
from xtremedistil_ner.run_folder.whole_files import read_json
from xtremedistil_ner.tagging.export_reader import GraphPrecision, is_export, verify_export
from xtremedistil_ner.tagging.tagger import Tagger

Words = Sequence[Sequence[str]]

_CPU_BATCH_PIECES = 8192
_GIVE = "Give a teacher, student or export folder."


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """A model ready to be scored. Units: `parameters` counts every weight, of all models that vote.

    `word_logits(sentences, cut_at)` reads the first `cut_at` pieces of each sentence, and with None all of it.
    `transitions` (tags + 1, tags) is what decoding adds, if the model has a CRF.
    """

    word_logits: Callable[[Words, int | None], WordLogits]
    scheme: LabelScheme
    parameters: int
    transitions: Transitions | None = None


def open_models(
    folder: Path,
    *,
    precision: Precision = "auto",
    max_pieces: int | None = None,
    graph: GraphPrecision | None = None,
    say: Callable[[str], None] = unheard,
    heard: Callable[[int], None] | None = None,
) -> dict[str, ScoredModel]:
    """The models of a folder by language, if it has one for each; else the one of all languages under `""`.

    `heard` is told the words of each batch, by every model that votes; all else is as in `open_model`.

    Raises: as `open_model`; ModelError for a run folder, which has several models.
    """
    if RunFolder(folder).recipe.is_file():
        raise ModelError(f"{folder}: a run folder. Give a model in it: its teacher, student or export folder.")
    return {
        name: open_model(path, precision=precision, max_pieces=max_pieces, graph=graph, say=say, heard=heard)
        for name, path in student_folders(folder).items()
    }


def open_model(
    folder: Path,
    *,
    precision: Precision = "auto",
    max_pieces: int | None = None,
    graph: GraphPrecision | None = None,
    say: Callable[[str], None] = unheard,
    heard: Callable[[int], None] | None = None,
) -> ScoredModel:
    """Open a teacher, student or export folder; an export is scored through its ONNX graph, as a service runs it.

    `precision` and `max_pieces` are a teacher's: without `max_pieces` its windows are the recipe's default ones, or as
    long as its positions allow. `graph` is the precision of an export's. `say` is told when memory ran out.

    Raises: ModelError; ArtefactError naming a file that differs from the folder's manifest; UsageError for a `graph`
    of what is no export.
    """
    if is_export(folder):
        parameters = int(verify_export(folder)["parameters"])
        tagger = Tagger.from_pretrained(folder, precision=graph, threads=torch.get_num_threads())
        parts = (_heard(tagger.predictor, heard), tagger.encoder, tagger.scheme, tagger.transitions)
        return _one_model(*parts, parameters=parameters, batch_pieces=_CPU_BATCH_PIECES)
    if graph is not None:
        raise UsageError(f"{folder}: {graph} is a graph of an export, and this is none. Give a run's export folder.")
    if (folder / MANIFEST).exists():
        verify(folder)
    config = read_json(folder / "config.json", remedy=_GIVE, complaint=ModelError)
    device = current_processes().device
    batch_pieces = GPU_BATCH_PIECES if device.type == "cuda" else _CPU_BATCH_PIECES
    settle_float32("float32")
    if is_student(config):
        student = load_student(folder)
        predictor = _heard(student_predictor(student.network, device=device, say=say), heard)
        parts = (predictor, student.encoder, student.scheme, student.transitions)
        return _one_model(*parts, parameters=student.parameters, batch_pieces=batch_pieces)
    labels = config.get("id2label")
    scheme = LabelScheme(types_of_labels(map(str, labels.values())) if isinstance(labels, dict) else ())
    if not scheme.types:
        raise ModelError(f"{folder / 'config.json'}: id2label has no tags such as B-LOC. Give a fine-tuned teacher.")
    if max_pieces is None:
        limit = longest_window(load_config(folder, revision=None))
        max_pieces = min(limit, TeacherSection.model_fields["max_pieces"].default)
    votes = load_votes(folder, scheme, max_pieces=max_pieces, device=device)
    own = predictors_of(votes, dtype_of(precision_on(device, precision)), say=say)
    predictors = [_heard(predictor, heard) for predictor in own]
    return _voting_models(votes, predictors, batch_pieces=batch_pieces)


def _heard(predictor: Predictor, heard: Callable[[int], None] | None) -> Predictor:
    return predictor if heard is None else counting_words(predictor, heard)


def _one_model(
    predictor: Predictor,
    encoder: PieceEncoder,
    scheme: LabelScheme,
    transitions: Transitions | None,
    *,
    parameters: int,
    batch_pieces: int,
) -> ScoredModel:
    def word_logits(sentences: Words, cut_at: int | None) -> WordLogits:
        used = encoder if cut_at is None else encoder.cut_at(cut_at)
        return compute_word_logits(predictor, used, sentences, n_tags=len(scheme.tags), batch_pieces=batch_pieces)

    return ScoredModel(word_logits, scheme, parameters, transitions)


def _voting_models(votes: Sequence[Vote], predictors: Sequence[Predictor], *, batch_pieces: int) -> ScoredModel:
    def word_logits(sentences: Words, cut_at: int | None) -> WordLogits:
        used = votes if cut_at is None else [_cut(vote, cut_at) for vote in votes]
        rows = encode_for(used, sentences)
        return vote_on_rows(used, rows, predictors=predictors, batch_pieces=batch_pieces)

    parameters = sum(count_parameters(vote.teacher.model) for vote in votes)
    return ScoredModel(word_logits, votes[0].teacher.scheme, parameters)


def _cut(vote: Vote, pieces: int) -> Vote:
    return replace(vote, teacher=replace(vote.teacher, encoder=vote.teacher.encoder.cut_at(pieces)))
