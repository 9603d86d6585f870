"""The stages of a run as one table: everything that differs from stage to stage, and nothing else.

Functions are named, not imported: they load torch or numpy, and a dry run or `--help` must not pay for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from xtremedistil_ner.run_folder.artefacts import export_fingerprint, published_fingerprint, report_fingerprint
from xtremedistil_ner.run_folder.files import RunFolder

Stage = Literal["finetune", "pseudolabel", "train", "evaluate", "export"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True)
class StageFacts:
    """What the pipeline knows of a stage."""

    function: str
    """`module:function` below `stages`; called with recipe, run folder, fingerprint and reporter."""
    artefact: Callable[[RunFolder], Path]
    format: int
    """Increased when the same inputs give another artefact than before, so that old ones count as stale."""
    fingerprint_of: Callable[[Path], str | None] = published_fingerprint
    """The fingerprint of an artefact; None if it is missing or not whole. Raises: as `published_fingerprint`."""
    is_shared: bool = False
    """Whether several processes share its work."""
    takes_hours: bool = False
    is_taken: bool = False
    """Whether `--from` links the artefact of another run where it fits."""

    def load_function(self) -> Callable[..., Any]:
        """The function that makes the artefact."""
        module, _, name = self.function.partition(":")
        function: Callable[..., Any] = getattr(import_module(f"xtremedistil_ner.stages.{module}"), name)
        return function


def _store_fingerprint(folder: Path) -> str | None:
    from xtremedistil_ner.run_folder.soft_labels import store_fingerprint

    return store_fingerprint(folder)


STAGE_TABLE: dict[Stage, StageFacts] = {
    "finetune": StageFacts(
        "finetune:finetune_teacher",
        lambda run: run.teacher,
        format=1,
        is_shared=True,
        takes_hours=True,
        is_taken=True,
    ),
    "pseudolabel": StageFacts(
        "pseudolabel:pseudolabel_transfer_set",
        lambda run: run.soft_labels,
        format=1,
        fingerprint_of=_store_fingerprint,
        is_shared=True,
        takes_hours=True,
        is_taken=True,
    ),
    "train": StageFacts("train:train_student", lambda run: run.student, format=2, is_shared=True, takes_hours=True),
    "evaluate": StageFacts(
        "evaluate:evaluate_run", lambda run: run.report, format=2, fingerprint_of=report_fingerprint
    ),
    "export": StageFacts("export:export_student", lambda run: run.export, format=2, fingerprint_of=export_fingerprint),
}


def artefact_of(run: RunFolder, stage: Stage) -> Path:
    """The path of a stage's artefact in a run."""
    return STAGE_TABLE[stage].artefact(run)


def current_fingerprint(run: RunFolder, stage: Stage) -> str | None:
    """The fingerprint of a stage's artefact in a run; None if it is missing or not whole."""
    return STAGE_TABLE[stage].fingerprint_of(artefact_of(run, stage))
