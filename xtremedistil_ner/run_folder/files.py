"""The run folder: the name of every file and folder that a run may write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtremedistil_ner.errors import ArtefactError
from xtremedistil_ner.run_folder.whole_files import read_json

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """All names inside one run folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe with every default spelled out."""
        return self.path / "recipe.yaml"

    @property
    def teacher(self) -> Path:
        """The fine-tuned teacher, in transformers' layout."""
        return self.path / "teacher"

    @property
    def soft_labels(self) -> Path:
        """The soft-label store."""
        return self.path / "soft_labels"

    @property
    def student(self) -> Path:
        """The student checkpoint."""
        return self.path / "student"

    @property
    def report(self) -> Path:
        """The evaluation as JSON."""
        return self.path / "report.json"

    @property
    def report_markdown(self) -> Path:
        """The evaluation as a table to read."""
        return self.path / "report.md"

    @property
    def report_html(self) -> Path:
        """The evaluation as a page to read in a browser."""
        return self.path / "report.html"

    def scores(self, model: str) -> Path:
        """Entity counts of every scored sentence, by one model."""
        return self.path / "scores" / f"{model}.npz"

    @property
    def artefacts(self) -> tuple[Path, ...]:
        """The folders that are published whole."""
        return (self.teacher, self.soft_labels, self.student, self.export)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files beside them."""
        return (self.recipe, self.report, self.report_markdown, self.report_html, self.timings)

    @property
    def int8_cost(self) -> Path:
        """What int8 costs the labels of a teacher, beside the shards."""
        return self.soft_labels / "int8.json"

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The files beside the shards."""
        return (self.soft_labels / MANIFEST, self.begun("pseudolabel"), self.int8_cost)

    @property
    def bench(self) -> Path:
        """Measurements of the export by `xner bench`, a JSON file per stage."""
        return self.path / "bench"

    @property
    def export(self) -> Path:
        """The folder that a tagging service loads."""
        return self.path / "export"

    @property
    def timings(self) -> Path:
        """Seconds of each stage, as last run."""
        return self.path / "timings.json"

    def work(self, stage: str) -> Path:
        """A stage's resumable state: training checkpoints, encoded text. Removed when the stage is done."""
        return self.path / "work" / stage

    def begun(self, stage: str) -> Path:
        """The precision in which a stage was begun. That of pseudolabel is beside its shards, because they are kept."""
        return (self.soft_labels if stage == "pseudolabel" else self.work(stage)) / "precision.json"

    def begun_with(self, stage: str) -> Path:
        """The number of processes that a stage was begun with."""
        return self.work(stage) / "processes.json"


def student_folders(path: Path) -> dict[str, Path]:
    """The students in a folder of students or of their exports, by language; a joint student has the key `""`."""
    if (path / "config.json").exists() or not path.is_dir():
        return {"": path}
    students = {folder.name: folder for folder in sorted(path.iterdir()) if (folder / "config.json").exists()}
    return students or {"": path}


def read_timings(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Seconds, processes and other costs of each stage's last run; empty if the file is missing or broken."""
    try:
        value = read_json(run.timings)
    except ArtefactError:
        return {}
    return {stage: entry for stage, entry in value.items() if _is_timing(entry)}


def _is_timing(entry: Any) -> bool:  # noqa: ANN401 - any JSON value
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("seconds"), int | float)
        and isinstance(entry.get("processes"), int)
        and all(isinstance(entry.get(name, 0), int) for name in ("words", "memory_bytes", "gpu_memory_bytes"))
    )
