"""What is timed: students by their exports, teachers by folder or by the shape of a published one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.student import count_parameters
from xtremedistil_ner.models.student_config import read_config, read_scheme
from xtremedistil_ner.models.teacher import Teacher, load_teacher
from xtremedistil_ner.pieces.encoder import load_encoder
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES, GraphPrecision, verify_export

SHAPES: dict[str, dict[str, Any]] = {
    "mbert": {"vocab_size": 119_547},
    "minilm-12": {"vocab_size": 250_037, "hidden_size": 384, "intermediate_size": 1536},
}
"""Differences of published encoders from BERT's base size: mBERT, and multilingual MiniLM with 12 layers."""
_MAX_PIECES = 512


@dataclass(frozen=True, slots=True)
class BenchStudent:
    """An export, its labels and its size."""

    name: str
    folder: Path
    manifest: dict[str, Any]
    scheme: LabelScheme
    parameters: int

    @property
    def graphs(self) -> dict[GraphPrecision, Path]:
        """The ONNX graphs that it has."""
        return {name: self.folder / file for name, file in GRAPH_FILES.items() if file in self.manifest["files"]}

    def describe(self) -> dict[str, Any]:
        """Its sizes, as JSON has them."""
        files = self.manifest["files"]
        sizes = {name: files[file]["bytes"] for name, file in GRAPH_FILES.items() if file in files}
        scores = self.manifest["scores"] or {}
        return {
            "parameters": self.parameters,
            "bytes": sizes,
            "macro_f1": scores.get("macro_f1"),
        }


@dataclass(frozen=True, slots=True)
class BenchTeacher:
    """A token classifier in float32, in evaluation mode."""

    name: str
    teacher: Teacher
    is_random: bool

    def describe(self) -> dict[str, Any]:
        """Its sizes, as JSON has them."""
        parameters = count_parameters(self.teacher.model)
        return {"parameters": parameters, "bytes": {"float32": 4 * parameters}, "random_weights": self.is_random}


def open_student(folder: Path, name: str) -> BenchStudent:
    """Open an export.

    Raises: ModelError when the folder is no export, or not a whole one.
    """
    manifest = verify_export(folder)
    path = folder / "config.json"
    scheme = read_scheme(read_config(path), path)
    return BenchStudent(name, folder, manifest, scheme, int(manifest["parameters"]))


def open_teacher(source: str, student: BenchStudent) -> BenchTeacher:
    """A teacher from its folder, or one of a named shape with random weights, on which speed does not depend.

    With random weights it has the student's tokenizer.
    Raises: UsageError for a name that is neither; ModelError for a folder without a token classifier of the student's
    tags.
    """
    if source not in SHAPES:
        if not Path(source).is_dir():
            raise UsageError(f"{source}: neither a folder nor one of the shapes {', '.join(SHAPES)}.")
        teacher = load_teacher(source, student.scheme, labels={}, max_pieces=_MAX_PIECES)
        return BenchTeacher(Path(source).name, teacher, is_random=False)
    config = BertConfig(**SHAPES[source])
    config.num_labels = len(student.scheme.tags)
    torch.manual_seed(0)
    encoder = load_encoder(student.folder, max_pieces=_MAX_PIECES)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=encoder.tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=_MAX_PIECES
    )
    columns = tuple((index,) for index in range(len(student.scheme.tags)))
    model = BertForTokenClassification(config).eval()
    return BenchTeacher(source, Teacher(model, tokenizer, encoder, student.scheme, columns), is_random=True)
