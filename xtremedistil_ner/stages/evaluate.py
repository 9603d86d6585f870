"""Stage `evaluate`: models + labelled corpus → `report.json` and its tables.

Words of whole sentences, constrained decoding as in service, strict IOB2 spans, micro-F1 per language, macro mean
over languages. Whatever gives word logits is scored by the same code.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xtremedistil_ner import __version__
from xtremedistil_ner.corpus.demo import demo_path
from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.errors import CorpusError, ModelError
from xtremedistil_ner.labels import LabelScheme, decode_tags
from xtremedistil_ner.models.student import MODEL_TYPE, load_student, student_scorer
from xtremedistil_ner.models.teacher import load_teacher, teacher_scorer
from xtremedistil_ner.pieces import PieceEncoder, Scorer, score_words
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.report.build import build_report, model_entry
from xtremedistil_ner.report.markdown import format_report
from xtremedistil_ner.rundir import MANIFEST, RunFolder, read_json, verify, write_json, write_text
from xtremedistil_ner.schema import CorpusSection, Recipe
from xtremedistil_ner.scoring import LanguageScores, score_language, span_counts
from xtremedistil_ner.soft_labels import open_store
from xtremedistil_ner.tagger import ONNX_FILE, Tagger
from xtremedistil_ner.training.processes import autocast_dtype, current_processes

STAGE = "evaluate"
_BATCH_PIECES = 8192
_BOOTSTRAP = 1000
_TEACHER_MAX_PIECES = 128


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """A model ready to be scored. Units: `parameters` counts every weight."""

    scorer: Scorer
    encoder: PieceEncoder
    scheme: LabelScheme
    parameters: int


def evaluate_run(recipe: Recipe, run: RunFolder, wanted: str, report: Reporter) -> None:
    """Make `run.report` and `run.report_markdown`: teacher and student on every split of the recipe."""
    corpus = open_corpus(recipe.corpus)
    split = "test" if "test" in recipe.evaluate.splits else recipe.evaluate.splits[-1]
    models: dict[str, dict[str, Any]] = {}
    for name, folder in (("teacher", run.teacher), ("student", run.student)):
        model = open_model(folder, precision=recipe.pseudolabel.precision, max_pieces=recipe.teacher.max_pieces)
        entries = {}
        for part in recipe.evaluate.splits:
            scores = evaluate_scorer(model, corpus, split=part, bootstrap=recipe.evaluate.bootstrap, seed=recipe.seed)
            entries[part] = model_entry(model.parameters, scores)
            report(Event(STAGE, f"{name} on {part}", metrics={"macro F1": entries[part]["macro_f1"]}))
        models[name] = {**entries[split], **{part: entries[part] for part in entries if part != split}}
    value = build_report(
        models,
        synthetic=corpus.path.resolve() == demo_path().resolve(),
        data=_data_counts(run, corpus),
        run={
            "name": recipe.name,
            "fingerprint": wanted,
            "strategy": recipe.train.strategy,
            "split": split,
            "seed": recipe.seed,
            "recipe": recipe.model_dump(mode="json"),
            "versions": _versions(),
            "stages": read_json(run.timings) if run.timings.exists() else {},
            "bytes": {part.name: _bytes_of(part) for part in (run.teacher, run.soft_labels, run.student)},
        },
    )
    write_text(run.report_markdown, format_report(value))
    write_json(run.report, value)


def evaluate_model(
    model: Path, *, corpus: Path, split: str, languages: tuple[str, ...], report: Reporter
) -> dict[str, Any]:
    """Score a teacher, student or export folder on one split of a labelled corpus; one entry of report.json's models.

    Raises: ModelError, CorpusError.
    """
    opened = open_model(model)
    section = CorpusSection(path=str(corpus), languages=languages, types=opened.scheme.types)
    scores = evaluate_scorer(opened, open_corpus(section), split=split, bootstrap=_BOOTSTRAP, seed=0)
    if not scores:
        raise CorpusError(f"{corpus}: no language has a {split} split. Give another --split.")
    report(Event(STAGE, f"{model} on {split} of {len(scores)} languages"))
    return model_entry(opened.parameters, scores)


def evaluate_scorer(
    model: ScoredModel, corpus: LabelledCorpus, *, split: str, bootstrap: int, seed: int
) -> dict[str, LanguageScores]:
    """Strict scores of every language of a corpus that has the split."""
    result = {}
    for language in corpus.languages:
        sentences = corpus.sentences(language, split)
        if not sentences:
            continue
        words = [sentence.words for sentence in sentences]
        logits, covered, offsets = score_words(
            model.scorer, model.encoder, words, n_tags=len(model.scheme.tags), batch_pieces=_BATCH_PIECES
        )
        predicted = [decode_tags(part, model.scheme) for part in np.split(logits, offsets[1:-1])]
        gold = [model.scheme.encode(sentence.tags or ()) for sentence in sentences]
        counts = span_counts(gold, predicted, model.scheme)
        lost = int(np.count_nonzero(~covered))
        result[language] = score_language(counts, model.scheme, bootstrap=bootstrap, seed=seed, words_lost=lost)
    return result


def open_model(folder: Path, *, precision: str = "auto", max_pieces: int = _TEACHER_MAX_PIECES) -> ScoredModel:
    """Open a teacher, student or export folder; an export is scored through its ONNX graph, as a service runs it.

    Raises: ModelError; ArtefactError naming a file that differs from the folder's manifest.
    """
    if (folder / MANIFEST).exists():
        verify(folder)
    config = _read_config(folder)
    device = current_processes().device
    if config.get("model_type") == MODEL_TYPE:
        student = load_student(folder)
        parameters = sum(weight.numel() for weight in student.network.parameters())
        if (folder / ONNX_FILE).exists():
            tagger = Tagger.from_pretrained(folder, threads=torch.get_num_threads())
            return ScoredModel(tagger.scorer, tagger.encoder, student.scheme, parameters)
        return ScoredModel(student_scorer(student.network, device=device), student.encoder, student.scheme, parameters)
    names = [str(name) for name in config.get("id2label", {}).values()]
    scheme = LabelScheme(tuple(dict.fromkeys(name[2:] for name in names if name.startswith("B-"))))
    teacher = load_teacher(folder, scheme, labels={}, max_pieces=max_pieces, device=device)
    dtype = autocast_dtype(precision, device)  # type: ignore[arg-type]
    parameters = sum(weight.numel() for weight in teacher.model.parameters())
    return ScoredModel(teacher_scorer(teacher, dtype), teacher.encoder, scheme, parameters)


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: missing or broken ({error}). Give a teacher, student or export folder.") from error
    return value if isinstance(value, dict) else {}


def _data_counts(run: RunFolder, corpus: LabelledCorpus) -> dict[str, Any]:
    store = open_store(run.soft_labels)
    repaired = {
        language: sum(count for (name, _), count in corpus.repaired_tags.items() if name == language)
        for language in corpus.languages
    }
    return {"transfer": {name: asdict(counts) for name, counts in store.counts.items()}, "repaired_tags": repaired}


def _versions() -> dict[str, str]:
    packages = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "onnxruntime")
    return {"xtremedistil_ner": __version__, "python": platform.python_version(), **{p: version(p) for p in packages}}


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
