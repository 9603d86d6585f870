"""One benchmark: the machine first, then a stage, then the record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from xtremedistil_ner.bench.label import bench_labelling
from xtremedistil_ner.bench.machine import describe_machine
from xtremedistil_ner.bench.models import open_student, open_teacher
from xtremedistil_ner.bench.peers import PEERS
from xtremedistil_ner.bench.rounds import Clock
from xtremedistil_ner.bench.tag import TagSettings, bench_tagging
from xtremedistil_ner.bench.train import bench_training
from xtremedistil_ner.bench.workload import load_workload
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.progress import Reporter
from xtremedistil_ner.report.speed import RECORD_SCHEMA
from xtremedistil_ner.run_folder.files import write_json


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """What is measured, and how. Units: `lengths` in pieces."""

    stage: Literal["tag", "label", "train"]
    teacher: str | None
    against: tuple[str, ...]
    corpus: str
    split: str
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    threads: int
    rounds: int
    device: Literal["cpu", "cuda"]

    @property
    def clock(self) -> Clock:
        """Process CPU time where that is what a user waits for, else wall time."""
        return time.process_time if self.threads == 1 and self.device == "cpu" else time.perf_counter


def run_bench(
    exports: Sequence[Path], settings: BenchSettings, folder: Path, tell: Reporter
) -> tuple[dict[str, Any], Path]:
    """Measure one stage and write `<stage>.json`; the record, and its path.

    Raises: UsageError for a peer or a device that is not there; ModelError; CorpusError.
    """
    if unknown := [name for name in settings.against if name not in PEERS]:
        raise UsageError(f"--against {unknown[0]}: no such peer. Known: {', '.join(PEERS)}.")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU.")
    names = _names(exports)
    students = [open_student(path, name) for path, name in zip(exports, names, strict=True)]
    teacher = open_teacher(settings.teacher, students[0]) if settings.teacher else None
    workload = load_workload(settings.corpus, split=settings.split)
    machine = describe_machine(threads=settings.threads, device=settings.device)
    if settings.stage == "tag":
        tagging = TagSettings(
            settings.clock,
            settings.threads,
            settings.rounds,
            settings.batches,
            settings.lengths,
            settings.against,
            settings.device,
        )
        measured = bench_tagging(students, teacher, workload, tagging, tell)
    elif settings.stage == "train":
        torch.set_num_threads(settings.threads)
        measured = bench_training(students, workload, settings.batches, settings.clock, settings.rounds, tell)
    elif teacher is None:
        raise UsageError("--stage label times a teacher. Give --teacher.")
    else:
        torch.set_num_threads(settings.threads)
        device = settings.device
        measured = bench_labelling(teacher, workload, settings.clock, settings.rounds, device, tell)
    fingerprints = {student.name: student.manifest.get("fingerprint") for student in students}
    record = {
        "schema": RECORD_SCHEMA,
        "stage": settings.stage,
        "exports": fingerprints,
        "machine": machine,
        **measured,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{settings.stage}.json"
    write_json(path, record)
    return record, path


def _names(exports: Sequence[Path]) -> list[str]:
    """The folders' own names, or those of their runs where several are called the same."""
    names = [path.resolve().name for path in exports]
    return names if len(set(names)) == len(names) else [path.resolve().parent.name for path in exports]
