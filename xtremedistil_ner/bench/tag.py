"""Stage `tag`: students against a teacher, by batch and on raw text, and against what a user would pick instead."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xtremedistil_ner.bench.memory import tagging_memory
from xtremedistil_ner.bench.models import BenchStudent, BenchTeacher
from xtremedistil_ner.bench.peers import TagTexts, spacy_pipeline, transformers_pipeline
from xtremedistil_ner.bench.rounds import Contender, percentiles_ms, run_rounds, spread
from xtremedistil_ner.bench.settings import BenchSettings
from xtremedistil_ner.bench.workload import Workload, batch_of
from xtremedistil_ner.export.onnx_bert import GRAPH_FAMILIES, build_bert_graph
from xtremedistil_ner.export.onnx_graph import write_graph
from xtremedistil_ner.export.onnx_int8 import quantise_graph
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.student import WEIGHTS_FILE, load_student
from xtremedistil_ner.pieces.encoder import load_encoder
from xtremedistil_ner.processes.precision import has_native_bf16
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.tagging.tagger import BATCH_PIECES, Tagger, open_session

STAGE = "bench"
_TEXTS = 3000  # in a round of raw text
_SLOW_TEXTS = 16  # the same for a peer that takes 50 ms a text
_MEMORY_TEXTS = 4000
_CELL_S = 60.0
_CALLS = 1000
RunBatch = Callable[[NDArray[np.int64]], object]
"""Logits of a batch without padding. Shapes: input_ids (batch, pieces) int64."""


def bench_tagging(
    students: Sequence[BenchStudent],
    teacher: BenchTeacher | None,
    workload: Workload,
    settings: BenchSettings,
    tell: Reporter,
) -> dict[str, Any]:
    """Everything that stage `tag` measures, as JSON has it."""
    encoder = load_encoder(students[0].folder, max_pieces=512)
    pieces = np.asarray(encoder.encode(workload.part(0, min(len(workload.sentences), 5000))).pieces)
    of_students = {name: run for student in students for name, run in _student_runners(student, settings)}
    of_teacher: dict[str, RunBatch] = {}
    models = {student.name: student.describe() for student in students}
    grid = []
    with tempfile.TemporaryDirectory(prefix="xner-bench-") as folder:
        if teacher is not None:
            tell(Event(STAGE, f"makes the graphs of {teacher.name}"))
            of_teacher = dict(_teacher_runners(teacher, settings, Path(folder)))
            models[teacher.name] = teacher.describe()
        for batch, length in product(settings.batches, settings.lengths):
            tell(Event(STAGE, f"batch {batch} x {length} pieces"))
            grid.append(_cell(of_students, of_teacher, pieces, batch, length, settings))
    tell(Event(STAGE, "raw text"))
    taggers = _taggers(students, settings)
    raw = _raw_text(taggers, students[0].scheme, teacher, workload, settings)
    tell(Event(STAGE, "single texts, memory"))
    return {
        "models": models,
        "workload": workload.describe(encoder),
        "grid": grid,
        "raw_text": raw,
        "single_texts": _single_texts(taggers, workload),
        "memory_bytes": {
            f"{student.name} {precision}": tagging_memory(student.folder, precision, workload.texts(0, _MEMORY_TEXTS))
            for student in students
            for precision in student.graphs
        },
    }


def _student_runners(student: BenchStudent, settings: BenchSettings) -> Iterator[tuple[str, RunBatch]]:
    is_on_cpu = settings.device == "cpu"
    for precision, path in student.graphs.items():
        if is_on_cpu or precision == "float32":
            run = _onnx_runner(path, threads=settings.threads, device=settings.device)
            yield f"{student.name} ONNX Runtime {precision}", _in_tagger_batches(run) if is_on_cpu else run
    if (student.folder / WEIGHTS_FILE).is_file():
        network = load_student(student.folder).network
        yield f"{student.name} torch float32", _torch_runner(network, device=settings.device)


def _teacher_runners(teacher: BenchTeacher, settings: BenchSettings, folder: Path) -> Iterator[tuple[str, RunBatch]]:
    """The teacher in every runtime; in torch alone if there is no graph of its family, or on a GPU."""
    device, threads, model = settings.device, settings.threads, teacher.teacher.model
    yield f"{teacher.name} torch float32", _torch_runner(model, device=device)
    if has_native_bf16(torch.device(device)):
        half = _torch_runner(copy.deepcopy(model), dtype=torch.bfloat16, device=device)
        yield f"{teacher.name} torch bfloat16", half
    if device != "cpu" or model.config.model_type not in GRAPH_FAMILIES:
        return
    float32, int8 = folder / "float32.onnx", folder / "int8.onnx"
    graph = build_bert_graph(model, metadata={})
    write_graph(float32, graph)
    write_graph(int8, quantise_graph(graph))
    del graph
    yield f"{teacher.name} ONNX Runtime float32", _onnx_runner(float32, threads=threads)
    yield f"{teacher.name} ONNX Runtime int8", _onnx_runner(int8, threads=threads)


def _torch_runner(model: nn.Module, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> RunBatch:
    """A network of `transformers` or a student, in one precision throughout."""
    model = model.to(device, dtype).eval()

    @torch.inference_mode()
    def run(input_ids: NDArray[np.int64]) -> object:
        ids = torch.from_numpy(input_ids).to(device)
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return getattr(output, "logits", output).float().cpu()

    return run


def _onnx_runner(graph: Path, *, threads: int, device: Literal["cpu", "cuda"] = "cpu") -> RunBatch:
    """A graph in ONNX Runtime."""
    session = open_session(graph, threads=threads, device=device)

    def run(input_ids: NDArray[np.int64]) -> object:
        return session.run(["logits"], {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)})[0]

    return run


def _in_tagger_batches(run: RunBatch) -> RunBatch:
    """A runner as a tagger uses it: a batch with more pieces than a tagger's is cut into parts."""

    def run_parts(input_ids: NDArray[np.int64]) -> object:
        rows = max(1, BATCH_PIECES // input_ids.shape[1])
        return [run(input_ids[start : start + rows]) for start in range(0, len(input_ids), rows)]

    return run_parts


def _cell(
    of_students: Mapping[str, RunBatch],
    of_teacher: Mapping[str, RunBatch],
    pieces: NDArray[np.integer[Any]],
    batch: int,
    length: int,
    settings: BenchSettings,
) -> dict[str, Any]:
    """Speeds of all models at one size of batch, and how many times faster students are than the teacher."""

    def contender(name: str, run: RunBatch) -> Contender:
        return Contender(name, lambda number: run(batch_of(pieces, number, batch=batch, length=length)), batch)

    contenders = [contender(name, run) for name, run in {**of_students, **of_teacher}.items()]
    timings = run_rounds(contenders, rounds=settings.rounds, clock=settings.clock, budget_s=_CELL_S)
    return {
        "batch": batch,
        "length": length,
        "sentences_per_s": {one.name: timings.per_s(one.name) for one in contenders},
        "fastest_teacher": min(of_teacher, key=lambda name: np.median(timings.seconds[name]).item(), default=None),
        "faster_than_teacher": {
            student: {name: timings.ratio(student, name) for name in of_teacher} for student in of_students
        },
        "other_load_cores": spread(timings.other_load),
    }


def _taggers(students: Sequence[BenchStudent], settings: BenchSettings) -> dict[str, TagTexts]:
    return {
        f"{student.name} {precision}": Tagger.from_pretrained(
            student.folder, precision=precision, threads=settings.threads, device=settings.device
        ).tag
        for student in students
        for precision in student.graphs
        if settings.device == "cpu" or precision == "float32"
    }


def _raw_text(
    ours: Mapping[str, TagTexts],
    scheme: LabelScheme,
    teacher: BenchTeacher | None,
    workload: Workload,
    settings: BenchSettings,
) -> dict[str, Any]:
    """Raw text to entities with offsets. Each round has new text until the corpus is used up."""
    fast, slow = dict(ours), {}
    if "spacy" in settings.against:
        fast["spaCy CNN"] = spacy_pipeline(scheme)
    if "hf-pipeline" in settings.against and teacher is not None:
        slow[f"transformers pipeline of {teacher.name}"] = transformers_pipeline(teacher)

    def contender(name: str, tag: TagTexts, size: int) -> Contender:
        return Contender(name, lambda number: tag(workload.texts(number + 1, size)), size)

    contenders = [contender(name, tag, _TEXTS) for name, tag in fast.items()]
    for one in contenders:
        one.run(-1)  # fills the caches, as in a process that has run for a while
    contenders += [contender(name, tag, _SLOW_TEXTS) for name, tag in slow.items()]
    timings = run_rounds(contenders, rounds=settings.rounds, clock=settings.clock)
    peers = [one.name for one in contenders if one.name not in ours]
    return {
        "sentences_per_s": {one.name: timings.per_s(one.name) for one in contenders},
        "faster_than": {name: {peer: timings.ratio(name, peer) for peer in peers} for name in ours},
        "other_load_cores": spread(timings.other_load),
    }


def _single_texts(taggers: Mapping[str, TagTexts], workload: Workload) -> dict[str, dict[str, float]]:
    """Latency of one text at a time, in wall time."""
    texts = workload.texts(0, _CALLS)
    latencies = {}
    for name, tag in taggers.items():
        tag(texts[: _CALLS // 10])
        latencies[name] = percentiles_ms(tag, [[text] for text in texts])
    return latencies
