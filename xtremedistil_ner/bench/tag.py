"""Stage `tag`: students against a teacher, batch by batch and on raw text, and against what else a user would pick."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xtremedistil_ner.bench.memory import tagging_memory
from xtremedistil_ner.bench.models import BenchStudent, BenchTeacher
from xtremedistil_ner.bench.peers import TagTexts, spacy_pipeline, transformers_pipeline
from xtremedistil_ner.bench.rounds import Clock, Contender, percentiles_ms, run_rounds, spread
from xtremedistil_ner.bench.runtimes import (
    RunBatch,
    has_nncf,
    has_openvino,
    in_tagger_batches,
    onnx_runner,
    openvino_runner,
    quantise_for_openvino,
    torch_runner,
)
from xtremedistil_ner.bench.workload import Workload, batch_of
from xtremedistil_ner.export.onnx_bert import GRAPH_FAMILIES, build_bert_graph
from xtremedistil_ner.export.onnx_graph import write_graph
from xtremedistil_ner.export.onnx_int8 import quantise_graph
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.student import WEIGHTS_FILE, load_student
from xtremedistil_ner.pieces.encoder import load_encoder
from xtremedistil_ner.processes.precision import has_native_bf16
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.tagging.tagger import Tagger

STAGE = "bench"
_TEXTS = 3000  # of a round of raw text
_SLOW_TEXTS = 16  # the same for what takes 50 ms a text
_MEMORY_TEXTS = 4000
_CELL_S = 60.0
_CALLS = 1000


@dataclass(frozen=True, slots=True)
class TagSettings:
    """What is timed. `against` are peers; `batches` and `lengths` the cells of the grid, lengths in pieces."""

    clock: Clock
    threads: int
    rounds: int
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    against: tuple[str, ...]
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True, slots=True)
class _Runner:
    """A model in a runtime. `precision` is that of its matrix products."""

    model: str
    runtime: str
    precision: str
    run: RunBatch

    @property
    def name(self) -> str:
        return f"{self.model} {self.runtime} {self.precision}"


def bench_tagging(
    students: Sequence[BenchStudent],
    teacher: BenchTeacher | None,
    workload: Workload,
    settings: TagSettings,
    tell: Reporter,
) -> dict[str, Any]:
    """Everything that stage `tag` measures, as JSON has it."""
    sizes = {student.name: student.describe() for student in students}
    sizes |= {teacher.name: teacher.describe()} if teacher is not None else {}
    encoder = load_encoder(students[0].folder, max_pieces=512)
    pieces = np.asarray(encoder.encode(workload.part(0, min(len(workload.sentences), 5000))).pieces)
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="xner-bench-") as folder:
            runners = [runner for student in students for runner in _student_runners(student, settings)]
            if teacher is not None:
                tell(Event(STAGE, f"makes the graphs of {teacher.name}"))
                runners += _teacher_runners(teacher, settings, Path(folder))
            grid = []
            for batch, length in product(settings.batches, settings.lengths):
                tell(Event(STAGE, f"batch {batch} x {length} pieces"))
                grid.append(_cell(runners, teacher, pieces, batch, length, settings))
        tell(Event(STAGE, "raw text"))
        taggers = _taggers(students, settings)
        raw = _raw_text(taggers, students[0].scheme, teacher, workload, settings)
    finally:
        torch.set_num_threads(before)
    tell(Event(STAGE, "single texts, memory"))
    return {
        "models": sizes,
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


def _student_runners(student: BenchStudent, settings: TagSettings) -> Iterator[_Runner]:
    is_on_cpu = settings.device == "cpu"
    for precision, path in student.graphs.items():
        if is_on_cpu or precision == "float32":
            run = onnx_runner(path, threads=settings.threads, device=settings.device)
            yield _Runner(student.name, "ONNX Runtime", precision, in_tagger_batches(run) if is_on_cpu else run)
    if is_on_cpu and has_openvino() and "float32" in student.graphs:
        run = openvino_runner(student.graphs["float32"], threads=settings.threads)
        yield _Runner(student.name, "OpenVINO", "float32", run)
    if (student.folder / WEIGHTS_FILE).is_file():
        run = torch_runner(load_student(student.folder).network, device=settings.device)
        yield _Runner(student.name, "torch", "float32", run)


def _teacher_runners(teacher: BenchTeacher, settings: TagSettings, folder: Path) -> Iterator[_Runner]:
    """The teacher in every runtime; a family without a graph here in torch alone."""
    device, threads = settings.device, settings.threads
    yield _Runner(teacher.name, "torch", "float32", torch_runner(teacher.model, device=device))
    has_bf16 = has_native_bf16(torch.device(device))
    if has_bf16:
        half = torch_runner(copy.deepcopy(teacher.model), dtype=torch.bfloat16, device=device)
        yield _Runner(teacher.name, "torch", "bfloat16", half)
    if device != "cpu" or teacher.model.config.model_type not in GRAPH_FAMILIES:
        return
    float32, int8 = folder / "float32.onnx", folder / "int8.onnx"
    graph = build_bert_graph(teacher.model, metadata={})
    write_graph(float32, graph)
    write_graph(int8, quantise_graph(graph))
    del graph
    yield _Runner(teacher.name, "ONNX Runtime", "float32", onnx_runner(float32, threads=threads))
    yield _Runner(teacher.name, "ONNX Runtime", "int8", onnx_runner(int8, threads=threads))
    if has_openvino():
        for precision in ("float32", "bfloat16") if has_bf16 else ("float32",):
            run = openvino_runner(float32, threads=threads, precision=precision)
            yield _Runner(teacher.name, "OpenVINO", precision, run)
    if has_openvino() and has_nncf():
        static = quantise_for_openvino(
            float32, folder / "openvino.xml", vocabulary_size=teacher.model.config.vocab_size
        )
        yield _Runner(teacher.name, "OpenVINO", "int8", openvino_runner(static, threads=threads))


def _cell(
    runners: Sequence[_Runner],
    teacher: BenchTeacher | None,
    pieces: NDArray[np.integer[Any]],
    batch: int,
    length: int,
    settings: TagSettings,
) -> dict[str, Any]:
    """Speeds of all models at one size of batch, and how many times faster students are than the teacher."""

    def contender(runner: _Runner) -> Contender:
        return Contender(
            runner.name, lambda number: runner.run(batch_of(pieces, number, batch=batch, length=length)), batch
        )

    timings = run_rounds(list(map(contender, runners)), rounds=settings.rounds, clock=settings.clock, budget_s=_CELL_S)
    of_teacher = [runner.name for runner in runners if teacher is not None and runner.model == teacher.name]
    fastest = min(of_teacher, key=lambda name: float(np.median(timings.seconds[name])), default=None)
    return {
        "batch": batch,
        "length": length,
        "sentences_per_s": {runner.name: timings.per_s(runner.name) for runner in runners},
        "fastest_teacher": fastest,
        "faster_than_teacher": {
            runner.name: {name: timings.ratio(runner.name, name) for name in of_teacher}
            for runner in runners
            if runner.name not in of_teacher
        },
        "other_load_cores": spread(timings.other_load),
    }


def _taggers(students: Sequence[BenchStudent], settings: TagSettings) -> dict[str, TagTexts]:
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
    settings: TagSettings,
) -> dict[str, Any]:
    """Raw text to entities with offsets. Each round has text that was not read before, as long as there is any."""
    fast, slow = dict(ours), {}
    if "spacy" in settings.against:
        fast["spaCy CNN"] = spacy_pipeline(scheme)
    if "hf-pipeline" in settings.against and teacher is not None:
        slow[f"transformers pipeline of {teacher.name}"] = transformers_pipeline(teacher)

    def contender(name: str, tag: TagTexts, size: int) -> Contender:
        return Contender(name, lambda number: tag(workload.texts(number + 1, size)), size)

    contenders = [contender(name, tag, _TEXTS) for name, tag in fast.items()]
    for one in contenders:
        one.run(-1)  # the caches of a process that has run for a while
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
    found = {}
    for name, tag in taggers.items():
        tag(texts[: _CALLS // 10])
        found[name] = percentiles_ms(tag, [[text] for text in texts])
    return found
