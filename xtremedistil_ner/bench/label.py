"""Stage `label`: a teacher's labels as the pipeline makes them, against batches in the order of the text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from xtremedistil_ner.bench.models import BenchTeacher
from xtremedistil_ner.bench.rounds import Contender, run_rounds, spread
from xtremedistil_ner.bench.settings import BenchSettings
from xtremedistil_ner.bench.workload import Workload
from xtremedistil_ner.export.onnx_bert import GRAPH_FAMILIES
from xtremedistil_ner.export.teacher_graph import int8_predictor
from xtremedistil_ner.models.packed_layers import pack_layers
from xtremedistil_ner.models.teacher import Teacher, move, teacher_predictor
from xtremedistil_ner.pieces.predictor import GPU_BATCH_PIECES, Predictor, compute_word_logits, plan_batches
from xtremedistil_ner.processes.precision import has_native_bf16
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.stages.pseudolabel import CPU_BATCH_PIECES

STAGE = "bench"
BASELINE = "batches of 32 in the order of the text, float32"
_BATCH = 32
_SENTENCES = {"cpu": 256, "cuda": 8192}  # in a round; a shard has 8,192
_BUDGET_S = 420.0
_Label = Callable[[Sequence[Sequence[str]]], object]


def bench_labelling(
    teacher: BenchTeacher,
    workload: Workload,
    settings: BenchSettings,
    tell: Reporter,
) -> dict[str, Any]:
    """Everything that stage `label` measures, as JSON has it."""
    size = _SENTENCES[settings.device]
    pieces = CPU_BATCH_PIECES if settings.device == "cpu" else GPU_BATCH_PIECES
    runs = dict(_labellers(teacher.teacher, pieces, settings.device, tell))

    def contender(name: str) -> Contender:
        return Contender(name, lambda number: runs[name](workload.part(number, size)), size)

    tell(Event(STAGE, "labels"))
    contenders = [contender(name) for name in runs]
    timings = run_rounds(contenders, rounds=settings.rounds, clock=settings.clock, budget_s=_BUDGET_S)
    encoded = teacher.teacher.encoder.encode(workload.part(0, 8192))
    return {
        "models": {teacher.name: teacher.describe()},
        "workload": workload.describe(teacher.teacher.encoder),
        "baseline": BASELINE,
        "sentences_a_round": size,
        "sentences_per_s": {name: timings.per_s(name) for name in runs},
        "faster_than_baseline": {name: timings.ratio(name, BASELINE) for name in runs if name != BASELINE},
        "useful_pieces": {
            name: _useful(encoded.piece_lengths(), in_order=name == BASELINE, batch_pieces=pieces) for name in runs
        },
        "other_load_cores": spread(timings.other_load),
    }


def _labellers(teacher: Teacher, batch_pieces: int, device: str, tell: Reporter) -> Iterator[tuple[str, _Label]]:
    """Name and function of each way to label."""

    def by_length(predictor: Predictor) -> _Label:
        n_tags = len(teacher.scheme.tags)
        return partial(compute_word_logits, predictor, teacher.encoder, n_tags=n_tags, batch_pieces=batch_pieces)

    move(teacher.model, torch.device(device))
    plain = teacher_predictor(teacher, torch.float32)
    yield BASELINE, lambda sentences: _label_in_order(teacher, plain, sentences)
    for dtype in (torch.float32, torch.bfloat16) if has_native_bf16(torch.device(device)) else (torch.float32,):
        precision = str(dtype).removeprefix("torch.")
        packed = replace(teacher, model=copy.deepcopy(teacher.model))
        pack_layers(packed.model, dtype)
        yield f"by length, {precision}", by_length(teacher_predictor(packed, dtype))
    if device == "cpu" and teacher.model.config.model_type in GRAPH_FAMILIES:
        tell(Event(STAGE, "makes the teacher's int8 graph"))
        yield "by length, ONNX Runtime int8", by_length(int8_predictor(teacher))


def _label_in_order(teacher: Teacher, predictor: Predictor, sentences: Sequence[Sequence[str]]) -> None:
    """Label as a data loader with dynamic padding does: each batch is as long as its longest sentence."""
    encoded = teacher.encoder.encode(sentences)
    for start in range(0, encoded.n_rows, _BATCH):
        predictor(teacher.encoder.collate(encoded, np.arange(start, min(start + _BATCH, encoded.n_rows))))


def _useful(lengths: np.ndarray[Any, np.dtype[np.int64]], *, in_order: bool, batch_pieces: int) -> float:
    """The share of pieces in batches that are no padding. Shapes: lengths (rows,)."""
    if in_order:
        batches = [np.arange(start, min(start + _BATCH, len(lengths))) for start in range(0, len(lengths), _BATCH)]
    else:
        batches = plan_batches(lengths, batch_pieces=batch_pieces)
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return float(lengths.sum() / padded)
