"""The stages in order, and which of them a run still needs.

Every artefact carries the fingerprint of what decided its content: recipe fields, corpus bytes, and the fingerprint
of the artefact before it (`fingerprints.py`). A stage runs when its artefact is missing or its fingerprint differs,
and is reused otherwise.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xtremedistil_ner.corpus.hub_reader import pin_revisions
from xtremedistil_ner.corpus.labelled import LabelledCorpus, format_mapping, open_corpus
from xtremedistil_ner.corpus.split import SPLITS
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.pipeline.fingerprints import stage_fingerprints
from xtremedistil_ner.pipeline.preflight import (
    read_every_split,
    require_inputs_elsewhere,
    require_read_settings,
    require_runtime,
    require_splits,
    require_student,
)
from xtremedistil_ner.processes.stop_signals import signals_held, stop_if_told
from xtremedistil_ner.progress import Event, Reporter, silent
from xtremedistil_ner.recipe.reader import format_recipe
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.report.stored import read_report
from xtremedistil_ner.run_folder.files import (
    RunFolder,
    clear,
    read_timings,
    remove,
    report_fingerprint,
    write_json,
    write_text,
)
from xtremedistil_ner.run_folder.lock import (
    clear_leftovers,
    remove_work,
    require_own_files,
    require_own_work,
    require_places,
    run_lock,
)
from xtremedistil_ner.run_folder.stage_table import STAGE_TABLE, STAGES, Stage, artefact_of, current_fingerprint

if TYPE_CHECKING:
    from xtremedistil_ner.processes.world import Processes

_DUE = ("missing", "stale")


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one stage. Units: seconds of this call, 0 when nothing ran.

    `precision` is what it computes or computed in, empty where that is not known or nothing is computed.
    """

    name: Stage
    state: Literal["reused", "taken", "done", "missing", "stale", "not asked"]
    reason: str
    seconds: float = 0.0
    precision: str = ""


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """All stages in order, and the report when there is one."""

    steps: tuple[Step, ...]
    report: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Job:
    """One call: `wanted` fingerprints, stages that are `asked`, a run to take from, how many processes to start."""

    recipe: Recipe
    run: RunFolder
    wanted: Mapping[Stage, str]
    asked: frozenset[str]
    take_from: RunFolder | None
    processes: int | None
    tell: Reporter


def run_pipeline(
    recipe: Recipe,
    out: Path,
    *,
    only: str | None = None,
    until: str | None = None,
    take_from: Path | None = None,
    processes: int | None = None,
    dry_run: bool = False,
    tell: Reporter,
) -> PipelineResult:
    """Run what is missing or stale of a run folder, in order.

    `take_from` is another run folder whose teacher and soft labels are linked in where their fingerprints fit, and
    whose scores of the same models on the same sentences are not computed again.

    Raises: XnerError of the stage that fails, Interrupted after SIGINT or SIGTERM; what was done before stays and is
    reused.
    """
    asked = _asked_stages(only, until)
    recipe = pin_revisions(recipe)
    corpus = open_corpus(recipe.corpus)
    require_splits(recipe, corpus)
    wanted = stage_fingerprints(recipe, corpus)
    other = None if take_from is None else RunFolder(take_from)
    job = _Job(recipe, RunFolder(out), wanted, asked, other, processes, tell)
    require_places(job.run)
    require_inputs_elsewhere(recipe, job.run)
    if dry_run:
        steps = [_look_at(job, stage) for stage in STAGES]
        _require_own_files(job, steps)
        if _has_hours_ahead(steps):
            require_read_settings(recipe)
        steps = [_with_precision(job, step) for step in steps]
        return PipelineResult(tuple(steps), None)

    from xtremedistil_ner.processes.world import current_processes, no_peers
    from xtremedistil_ner.training.launch import started_from_outside  # torch is heavy; a dry run must not pay

    group = current_processes() if started_from_outside() else no_peers()
    with signals_held(), run_lock(out) if group.is_main else nullcontext():
        if group.is_main:
            clear_leftovers(job.run)
        group.barrier()
        _check_early(job, corpus)
        if group.is_main:
            write_text(job.run.recipe, format_recipe(recipe))
        steps = [_bring_up_to_date(job, stage, group) for stage in STAGES]
    return PipelineResult(tuple(_with_precision(job, step) for step in steps), _current_report(job))


def _asked_stages(only: str | None, until: str | None) -> frozenset[str]:
    if only is not None and until is not None:
        raise UsageError(f"--only {only} --until {until}: give one of the two.")
    for name in (only, until):
        if name is not None and name not in STAGES:
            raise UsageError(f"{name}: no such stage. The stages are {', '.join(STAGES)}.")
    if only is not None:
        return frozenset({only})
    return frozenset(STAGES if until is None else STAGES[: STAGES.index(until) + 1])


def _look_at(job: _Job, stage: Stage) -> Step:
    current, other = current_fingerprint(job.run, stage), job.take_from
    if current == job.wanted[stage]:
        return Step(stage, "reused", f"reuses {artefact_of(job.run, stage)}")
    if other is not None and STAGE_TABLE[stage].is_taken and current_fingerprint(other, stage) == job.wanted[stage]:
        return Step(stage, "taken", f"takes {artefact_of(other, stage)}")
    if stage not in job.asked:
        return Step(stage, "not asked", "missing" if current is None else "stale")
    if current is None:
        return Step(stage, "missing", f"{artefact_of(job.run, stage)} is not there or not whole")
    return Step(stage, "stale", "its recipe fields, data, form or an earlier stage changed")


def _with_precision(job: _Job, step: Step) -> Step:
    """A step and what its stage computed in, or will.

    Raises: ResourceError for a stage that is due in bf16 on a device without it.
    """
    from xtremedistil_ner.models.kinds import KINDS  # torch is heavy
    from xtremedistil_ner.processes.precision import planned_precision, taken_precision

    if step.state in _DUE:
        decided_by = job.wanted["finetune" if step.name == "pseudolabel" else step.name]
        planned = planned_precision(job.recipe, job.run, step.name, decided_by)
        if step.name == "train":
            planned = KINDS[job.recipe.student.kind].name_precision(planned)
        return replace(step, precision=planned)
    run = job.take_from if step.state == "taken" and job.take_from is not None else job.run
    return replace(step, precision=taken_precision(run, step.name))


def _has_hours_ahead(steps: Sequence[Step]) -> bool:
    return any(STAGE_TABLE[step.name].takes_hours and step.state in _DUE for step in steps)


def _require_own_files(job: _Job, steps: Sequence[Step]) -> None:
    for step in steps:
        require_own_work(job.run.work(step.name))
        if step.state in (*_DUE, "taken") and step.name != "evaluate":
            require_own_files(job.run, artefact_of(job.run, step.name))


def _check_early(job: _Job, corpus: LabelledCorpus) -> None:
    """Find out now, not after hours of training, what would end the run or never be noticed."""
    steps = {stage: _look_at(job, stage) for stage in STAGES}
    _require_own_files(job, list(steps.values()))
    if not _has_hours_ahead(list(steps.values())):
        return
    require_read_settings(job.recipe)
    for step in steps.values():
        _with_precision(job, step)
    read_every_split(job.recipe, corpus)
    if corpus.types:
        job.tell(Event("corpus", format_mapping(corpus.types, corpus.mapped_entities(SPLITS))))
    if steps["pseudolabel"].state in _DUE:
        require_runtime(job.recipe)
    teacher = steps["finetune"].state
    if steps["train"].state in _DUE and teacher != "not asked":
        run = {"reused": job.run, "taken": job.take_from}.get(teacher)
        require_student(job.recipe, run.teacher if run else None)


def _bring_up_to_date(job: _Job, stage: Stage, group: Processes) -> Step:
    """Reuse, link or make one artefact; every process of an outside launcher calls it."""
    stop_if_told()
    step = _look_at(job, stage)
    group.barrier()  # nobody changes what another process still looks at
    tell = job.tell if group.is_main else silent
    if step.state in _DUE:
        tell(Event(stage, f"{step.state}: {step.reason}"))
        _require_inputs(job, stage)
        step = _run_stage(job, stage, group)
    elif step.state == "taken" and job.take_from is not None and group.is_main:
        _link_artefact(artefact_of(job.take_from, stage), artefact_of(job.run, stage))
        _take_time(job.run, job.take_from, stage)
    if step.state in ("reused", "taken"):
        tell(Event(stage, step.reason))
        if group.is_main:
            remove_work(job.run.work(stage))  # of a process that was killed when it had published
    group.barrier()
    return step


def _run_stage(job: _Job, stage: Stage, group: Processes) -> Step:
    from xtremedistil_ner.training.launch import default_processes, launch

    function, is_shared, count = _stage_function(job, stage), STAGE_TABLE[stage].is_shared, 1
    if is_shared and group.count == 1:
        count = job.processes or default_processes(independent=stage == "pseudolabel")
    start = time.monotonic()
    if is_shared or group.is_main:
        arguments = (job.recipe, job.run, job.wanted[stage], job.tell)
        launch(function, arguments, count=count, run_folder=job.run.path)
    seconds = time.monotonic() - start
    if group.is_main:
        _note_time(job.run, stage, seconds, group.count if is_shared and group.count > 1 else count)
        job.tell(Event(stage, f"done in {seconds:.0f} s"))
    return Step(stage, "done", f"made {artefact_of(job.run, stage)}", seconds)


def _stage_function(job: _Job, stage: Stage) -> Callable[[Recipe, RunFolder, str, Reporter], None]:
    function = STAGE_TABLE[stage].load_function()
    return partial(function, take_from=job.take_from) if stage == "evaluate" else function


def _require_inputs(job: _Job, stage: Stage) -> None:
    """A stage alone never works on inputs that the recipe no longer describes: its artefact would pass for current."""
    for earlier in STAGES[: STAGES.index(stage)]:
        current = current_fingerprint(job.run, earlier)
        if current != job.wanted[earlier]:
            state = "not there or not whole" if current is None else "stale"
            raise UsageError(
                f"{stage} needs {artefact_of(job.run, earlier)}, which is {state}. "
                "Run `xner distil` without --only: it runs what is missing or stale."
            )


def _link_artefact(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.writing")
    clear(temporary)
    try:
        shutil.copytree(source, temporary, copy_function=os.link)
    except (OSError, shutil.Error):  # another file system
        clear(temporary)
        shutil.copytree(source, temporary)
    remove(target)
    temporary.rename(target)


def _note_time(run: RunFolder, stage: Stage, seconds: float, count: int) -> None:
    write_json(run.timings, {**read_timings(run), stage: {"seconds": round(seconds, 1), "processes": count}})


def _take_time(run: RunFolder, other: RunFolder, stage: Stage) -> None:
    """What a linked artefact cost is what it cost the run that made it."""
    if (time_of := read_timings(other).get(stage)) is not None:
        write_json(run.timings, {**read_timings(run), stage: time_of})


def _current_report(job: _Job) -> dict[str, Any] | None:
    return read_report(job.run.path) if report_fingerprint(job.run.report) == job.wanted["evaluate"] else None
