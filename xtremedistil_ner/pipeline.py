"""The stages in order, and which of them a run still needs.

Every artefact carries the fingerprint of what decided its content: recipe fields, corpus bytes, and the fingerprint
of the artefact before it (`staleness.py`). A stage runs when its artefact is missing or its fingerprint differs, and
is reused otherwise.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xtremedistil_ner.corpus.hub_reader import pin_revisions
from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.errors import CorpusError, UsageError
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe import format_recipe
from xtremedistil_ner.rundir import (
    RunFolder,
    published_fingerprint,
    read_json,
    remove,
    report_fingerprint,
    run_lock,
    write_json,
    write_text,
)
from xtremedistil_ner.schema import Recipe
from xtremedistil_ner.soft_labels import store_fingerprint
from xtremedistil_ner.staleness import STAGES, Stage, stage_fingerprints

if TYPE_CHECKING:
    from xtremedistil_ner.training.processes import Processes

_LONG_STAGES = STAGES[:3]


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one stage. Units: seconds of this call, 0 when nothing ran."""

    name: Stage
    state: Literal["reused", "taken", "done", "missing", "stale", "not asked"]
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """All stages in order, and the report when there is one."""

    steps: tuple[Step, ...]
    report: dict[str, Any] | None


def run_pipeline(
    recipe: Recipe,
    out: Path,
    *,
    only: str | None = None,
    until: str | None = None,
    take_from: Path | None = None,
    processes: int | None = None,
    dry_run: bool = False,
    report: Reporter,
) -> PipelineResult:
    """Run what is missing or stale of a run folder, in order.

    `take_from` is another run folder whose teacher and soft labels are linked in where their fingerprints fit, and
    whose scores of the same models on the same sentences are not computed again.

    Raises: XnerError of the stage that fails; what was done before stays and is reused.
    """
    asked = _asked_stages(only, until)
    run = RunFolder(out)
    recipe = pin_revisions(recipe)
    corpus = open_corpus(recipe.corpus)
    _require_splits(recipe, corpus)
    wanted = stage_fingerprints(recipe, corpus)
    if dry_run:
        steps = [_look_at(run, stage, wanted[stage], asked, take_from) for stage in STAGES]
        return PipelineResult(tuple(steps), None)

    from xtremedistil_ner.training.launch import started_from_outside  # torch is heavy; a dry run must not pay

    if started_from_outside():
        return _join(recipe, run, wanted, asked, report)
    with run_lock(out):
        steps = []
        write_text(run.recipe, format_recipe(recipe))
        for stage in STAGES:
            step = _look_at(run, stage, wanted[stage], asked, take_from)
            if step.state == "taken" and take_from is not None:
                _link_artefact(_artefact(RunFolder(take_from), stage), _artefact(run, stage))
                _take_time(run, RunFolder(take_from), stage)
            elif step.state in ("missing", "stale"):
                report(Event(stage, f"{step.state}: {step.reason}"))
                _require_inputs(run, stage, wanted)
                if stage in _LONG_STAGES and all(earlier.state != "done" for earlier in steps):
                    _read_every_split(recipe, corpus)
                step = _run_stage(recipe, run, stage, wanted[stage], processes, take_from, report)
            if step.state in ("reused", "taken"):
                report(Event(stage, step.reason))
            steps.append(step)
    return PipelineResult(tuple(steps), _current_report(run, wanted))


def _asked_stages(only: str | None, until: str | None) -> frozenset[str]:
    for name in (only, until):
        if name is not None and name not in STAGES:
            raise UsageError(f"{name}: no such stage. The stages are {', '.join(STAGES)}.")
    if only is not None:
        return frozenset({only})
    return frozenset(STAGES if until is None else STAGES[: STAGES.index(until) + 1])


def _artefact(run: RunFolder, stage: Stage) -> Path:
    places: dict[Stage, Path] = {
        "finetune": run.teacher,
        "pseudolabel": run.soft_labels,
        "train": run.student,
        "evaluate": run.report,
        "export": run.export,
    }
    return places[stage]


def _found(run: RunFolder, stage: Stage) -> str | None:
    place = _artefact(run, stage)
    if stage == "evaluate":
        return report_fingerprint(place)
    return store_fingerprint(place) if stage == "pseudolabel" else published_fingerprint(place)


def _look_at(run: RunFolder, stage: Stage, wanted: str, asked: Iterable[str], take_from: Path | None) -> Step:
    found = _found(run, stage)
    if found == wanted:
        return Step(stage, "reused", f"reuses {_artefact(run, stage)}")
    linkable = take_from is not None and stage in ("finetune", "pseudolabel")
    if linkable and take_from is not None and _found(RunFolder(take_from), stage) == wanted:
        return Step(stage, "taken", f"takes {_artefact(RunFolder(take_from), stage)}")
    if stage not in asked:
        return Step(stage, "not asked", "missing" if found is None else "stale")
    if found is None:
        return Step(stage, "missing", f"{_artefact(run, stage)} is not there or not whole")
    return Step(stage, "stale", "its recipe fields, data or an earlier stage changed")


def _run_stage(
    recipe: Recipe,
    run: RunFolder,
    stage: Stage,
    wanted: str,
    processes: int | None,
    take_from: Path | None,
    report: Reporter,
) -> Step:
    from xtremedistil_ner.training.launch import default_processes, launch

    function, parallel = _stage_function(stage, take_from)
    count = (processes or default_processes(independent=stage == "pseudolabel")) if parallel else 1
    start = time.monotonic()
    launch(function, (recipe, run, wanted, report), count=count, run_folder=run.path)
    seconds = time.monotonic() - start
    _note_time(run, stage, seconds, count)
    report(Event(stage, f"done in {seconds:.0f} s"))
    return Step(stage, "done", f"made {_artefact(run, stage)}", seconds)


def _join(
    recipe: Recipe, run: RunFolder, wanted: dict[Stage, str], asked: frozenset[str], report: Reporter
) -> PipelineResult:
    """Run as one of several processes that an outside launcher started: all take part where work is shared."""
    from xtremedistil_ner.training.processes import current_processes

    processes = current_processes()
    with run_lock(run.path) if processes.is_main else nullcontext():
        return _run_jointly(recipe, run, wanted, asked, processes, report)


def _run_jointly(
    recipe: Recipe,
    run: RunFolder,
    wanted: dict[Stage, str],
    asked: frozenset[str],
    processes: Processes,
    report: Reporter,
) -> PipelineResult:
    todo = [stage for stage in STAGES if stage in asked and _found(run, stage) != wanted[stage]]
    processes.barrier()
    if processes.is_main:
        write_text(run.recipe, format_recipe(recipe))
    for stage in todo:
        function, parallel = _stage_function(stage)
        start = time.monotonic()
        if parallel or processes.is_main:
            function(recipe, run, wanted[stage], report)
        if processes.is_main:
            _note_time(run, stage, time.monotonic() - start, processes.count if parallel else 1)
        processes.barrier()
    steps = [Step(stage, "done" if stage in todo else "reused", str(_artefact(run, stage))) for stage in STAGES]
    return PipelineResult(tuple(steps), _current_report(run, wanted))


def _stage_function(
    stage: Stage, take_from: Path | None = None
) -> tuple[Callable[[Recipe, RunFolder, str, Reporter], None], bool]:
    """A stage's function, and whether several processes share its work. Imported when needed: torch is heavy."""
    if stage == "finetune":
        from xtremedistil_ner.stages.finetune import finetune_teacher

        return finetune_teacher, True
    if stage == "pseudolabel":
        from xtremedistil_ner.stages.pseudolabel import pseudolabel_transfer_set

        return pseudolabel_transfer_set, True
    if stage == "train":
        from xtremedistil_ner.stages.train import train_student

        return train_student, True
    if stage == "evaluate":
        from xtremedistil_ner.stages.evaluate import evaluate_run

        return partial(evaluate_run, take_from=take_from), False
    from xtremedistil_ner.stages.export import export_student

    return export_student, False


def _require_inputs(run: RunFolder, stage: Stage, wanted: Mapping[Stage, str]) -> None:
    """A stage alone never works on inputs that the recipe no longer describes: its artefact would pass for current."""
    for earlier in STAGES[: STAGES.index(stage)]:
        found = _found(run, earlier)
        if found != wanted[earlier]:
            state = "not there or not whole" if found is None else "stale"
            raise UsageError(
                f"{stage} needs {_artefact(run, earlier)}, which is {state}. "
                "Run `xner distil` without --only: it runs what is missing or stale."
            )


def _require_splits(recipe: Recipe, corpus: LabelledCorpus) -> None:
    """Find out now, not after hours of training, that a split is missing in every language."""
    for split in dict.fromkeys(("train", "dev", *recipe.evaluate.splits)):
        if not any(corpus.has(language, split) for language in corpus.languages):
            raise CorpusError(
                f"{corpus.name}: no language has a {split} split. `train` teaches, `dev` selects, and evaluate.splits "
                "are scored; add the file, or change evaluate.splits."
            )


def _read_every_split(recipe: Recipe, corpus: LabelledCorpus) -> None:
    """Find out now, not after hours of training, that a file to be scored is broken or has an unknown tag."""
    for split in dict.fromkeys(("train", "dev", *recipe.evaluate.splits)):
        for language in corpus.languages:
            corpus.sentences(language, split)


def _link_artefact(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.writing")
    if temporary.exists():
        shutil.rmtree(temporary)
    try:
        shutil.copytree(source, temporary, copy_function=os.link)
    except (OSError, shutil.Error):  # another file system
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(source, temporary)
    remove(target)
    temporary.rename(target)


def _note_time(run: RunFolder, stage: Stage, seconds: float, count: int) -> None:
    write_json(run.timings, {**_timings(run), stage: {"seconds": round(seconds, 1), "processes": count}})


def _take_time(run: RunFolder, other: RunFolder, stage: Stage) -> None:
    """What a linked artefact cost is what it cost the run that made it."""
    if stage in _timings(other):
        write_json(run.timings, {**_timings(run), stage: _timings(other)[stage]})


def _timings(run: RunFolder) -> dict[str, Any]:
    return read_json(run.timings) if run.timings.exists() else {}


def _current_report(run: RunFolder, wanted: Mapping[Stage, str]) -> dict[str, Any] | None:
    return read_json(run.report) if report_fingerprint(run.report) == wanted["evaluate"] else None
