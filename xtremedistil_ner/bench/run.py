"""One benchmark: what it runs on, what a stage measures, and the record of both."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch

from xtremedistil_ner.bench.label import bench_labelling
from xtremedistil_ner.bench.models import BenchStudent, open_student, open_teacher
from xtremedistil_ner.bench.peers import PEERS
from xtremedistil_ner.bench.settings import BenchSettings
from xtremedistil_ner.bench.tag import bench_tagging
from xtremedistil_ner.bench.train import bench_training
from xtremedistil_ner.bench.workload import load_workload
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.processes.cores import processor_name
from xtremedistil_ner.processes.world import cpu_threads
from xtremedistil_ner.progress import Reporter
from xtremedistil_ner.report.speed import RECORD_SCHEMA
from xtremedistil_ner.run_folder.whole_files import write_json

_VERSIONS = ("torch", "onnxruntime", "spacy", "transformers")


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
    students = [open_student(path, name) for path, name in zip(exports, _names(exports), strict=True)]
    with cpu_threads(settings.threads):
        measured = _measure(students, settings, tell)
    record = {
        "schema": RECORD_SCHEMA,
        "stage": settings.stage,
        "exports": {student.name: student.manifest.get("fingerprint") for student in students},
        "machine": describe_machine(settings),
        **measured,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{settings.stage}.json"
    write_json(path, record)
    return record, path


def _measure(students: Sequence[BenchStudent], settings: BenchSettings, tell: Reporter) -> dict[str, Any]:
    teacher = open_teacher(settings.teacher, students[0]) if settings.teacher else None
    workload = load_workload(settings.corpus, split=settings.split)
    if settings.stage == "tag":
        return bench_tagging(students, teacher, workload, settings, tell)
    if settings.stage == "train":
        return bench_training(students, workload, settings, tell)
    if teacher is None:
        raise UsageError("--stage label times a teacher. Give --teacher.")
    return bench_labelling(teacher, workload, settings, tell)


def describe_machine(settings: BenchSettings) -> dict[str, Any]:
    """Processor or GPU, threads and versions of libraries, as JSON has them."""
    packages = packages_distributions()  # onnxruntime comes from onnxruntime-gpu, too
    return {
        "processor": processor_name() if settings.device == "cpu" else torch.cuda.get_device_name(),
        "threads": settings.threads,
        "device": settings.device,
        "versions": {name: version(packages[name][0]) for name in _VERSIONS if name in packages},
    }


def _names(exports: Sequence[Path]) -> list[str]:
    """The folders' names, or those of their runs where several have the same name."""
    names = [path.resolve().name for path in exports]
    return names if len(set(names)) == len(names) else [path.resolve().parent.name for path in exports]
