"""The stages in order, and which of them a run still needs.

Every artefact carries the fingerprint of all that decided its content: recipe fields, corpus bytes, and the fingerprint
of the artefact before it (`fingerprints.py`). A stage runs if its artefact is missing or has another fingerprint; else
the artefact is reused.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xtremedistil_ner.corpus.hub_reader import pin_revisions
from xtremedistil_ner.corpus.labelled import LabelledCorpus, format_mapping, open_corpus
from xtremedistil_ner.corpus.split import SPLITS
from xtremedistil_ner.distillation.strategies import needs_projection
from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.pipeline.fingerprints import stage_fingerprints
from xtremedistil_ner.pipeline.preflight import (
    read_every_split,
    require_inputs_elsewhere,
    require_read_settings,
    require_runtime,
    require_splits,
    require_student,
    require_transfer_text,
    require_types,
)
from xtremedistil_ner.processes.stop_signals import signals_held, stop_if_told
from xtremedistil_ner.progress import Event, Reporter, never_silent, silent
from xtremedistil_ner.recipe.reader import format_recipe
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.report.stored import read_report
from xtremedistil_ner.run_folder.artefacts import clear, remove, report_fingerprint
from xtremedistil_ner.run_folder.files import RunFolder, read_timings
from xtremedistil_ner.run_folder.lock import (
    clear_leftovers,
    remove_work,
    require_own_files,
    require_own_work,
    require_places,
    run_lock,
)
from xtremedistil_ner.run_folder.stage_table import STAGE_TABLE, STAGES, Stage, artefact_of, current_fingerprint
from xtremedistil_ner.run_folder.whole_files import write_json, write_text

if TYPE_CHECKING:
    from xtremedistil_ner.processes.world import Processes


class State(StrEnum):
    """What becomes of a stage's artefact in a call."""

    REUSED = "reused"
    TAKEN = "taken"
    """Linked from another run."""
    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one stage. Units: seconds of this call, 0 if nothing ran.

    `precision` is what the stage computes or computed in; empty if it is unknown or nothing is computed.
    """

    name: Stage
    state: State
    reason: str
    seconds: float = 0.0
    precision: str = ""

    @property
    def is_due(self) -> bool:
        """Whether the stage has to run."""
        return self.state in (State.MISSING, State.STALE)

    @property
    def has_hours_ahead(self) -> bool:
        """Whether the stage has to run and may take hours."""
        return self.is_due and STAGE_TABLE[self.name].takes_hours


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """All stages in order, and the report when there is one."""

    steps: tuple[Step, ...]
    report: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Job:
    """One call: the fingerprints of an up-to-date run, the stages that may run, a run to take from, processes."""

    recipe: Recipe
    run: RunFolder
    fingerprints: Mapping[Stage, str]
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
    rebuild: bool = False,
    processes: int | None = None,
    dry_run: bool = False,
    tell: Reporter,
) -> PipelineResult:
    """Run what is missing or stale of a run folder, in order.

    `take_from` is another run folder. Its teacher and soft labels are linked in, and its scores of the same models on
    the same sentences are not computed again. A teacher or soft labels that do not fit are made with `rebuild`, and
    are an error without it.

    Raises: UsageError for what does not fit; XnerError of the stage that fails; Interrupted after SIGINT or SIGTERM.
    Finished work stays and is reused.
    """
    asked = _asked_stages(only, until)
    recipe = pin_revisions(recipe)
    corpus = open_corpus(recipe.corpus)
    require_splits(recipe, corpus)
    other = None if take_from is None else RunFolder(take_from)
    with never_silent(tell, "corpus", "compares it with what was made before"):
        fingerprints = stage_fingerprints(recipe, corpus)
    job = _Job(recipe, RunFolder(out), fingerprints, asked, other, processes, tell)
    require_places(job.run)
    require_inputs_elsewhere(recipe, job.run)
    _require_taken(job, may_make=rebuild or dry_run)
    if dry_run:
        steps = [_look_at(job, stage) for stage in STAGES]
        _require_own_files(job, steps)
        if any(step.has_hours_ahead for step in steps):
            _check_at_once(job, corpus)
            require_types(recipe, corpus, tell)
        steps = [_with_precision(job, step) for step in steps]
        return PipelineResult(tuple(steps), None)

    from xtremedistil_ner.processes.world import current_processes, leave_group, no_peers
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
        if group.is_main and any(step.state is State.DONE for step in steps):
            _write_pages(job)
        leave_group()
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
    current, fingerprint, other = current_fingerprint(job.run, stage), job.fingerprints[stage], job.take_from
    if current == fingerprint:
        return Step(stage, State.REUSED, f"reuses {artefact_of(job.run, stage)}")
    if other is not None and STAGE_TABLE[stage].is_taken and current_fingerprint(other, stage) == fingerprint:
        return Step(stage, State.TAKEN, f"takes {artefact_of(other, stage)}")
    state = State.MISSING if current is None else State.STALE
    if stage not in job.asked:
        return Step(stage, State.NOT_ASKED, state)
    if state is State.MISSING:
        return Step(stage, state, f"{artefact_of(job.run, stage)} is not there or not whole")
    return Step(stage, state, "its recipe fields, data or an earlier stage changed")


def _require_taken(job: _Job, *, may_make: bool) -> None:
    """Say what of the other run cannot be taken and would take hours to make again.

    Raises: UsageError, unless it `may_make` it. Soft labels that the other run does not have are always made.
    """
    if job.take_from is None:
        return
    from xtremedistil_ner.pipeline.taking import explain_misfit

    for stage in (stage for stage in STAGES if STAGE_TABLE[stage].is_taken and _look_at(job, stage).is_due):
        reason = explain_misfit(job.recipe, job.take_from, stage)
        is_there = current_fingerprint(job.take_from, stage) is not None
        if not may_make and (is_there or stage == "finetune"):
            raise UsageError(f"{reason}\nTake the same settings, or add --rebuild to make it again.")
        job.tell(Event(stage, reason))
        if stage == "finetune":
            return  # soft labels of another teacher do not fit either


def _with_precision(job: _Job, step: Step) -> Step:
    """The step with what its stage computed in, or will compute in.

    Raises: ResourceError for a stage that has to run in bf16 on a device without it.
    """
    from xtremedistil_ner.processes.precision import planned_precision, taken_precision

    if step.is_due:
        decided_by = job.fingerprints["finetune" if step.name == "pseudolabel" else step.name]
        planned = planned_precision(job.recipe, job.run, step.name, decided_by)
        if step.name == "train" and planned == "bf16":
            from xtremedistil_ner.models.kinds import (
                KINDS,  # transformers is heavy, and float32 is float32 in all kinds
            )

            planned = KINDS[job.recipe.student.kind].name_precision(planned)
        return replace(step, precision=planned)
    run = job.take_from if step.state is State.TAKEN and job.take_from is not None else job.run
    return replace(step, precision=taken_precision(run, step.name))


def _require_own_files(job: _Job, steps: Sequence[Step]) -> None:
    for step in steps:
        require_own_work(job.run.work(step.name))
        if (step.is_due or step.state is State.TAKEN) and step.name != "evaluate":
            require_own_files(job.run, artefact_of(job.run, step.name))


def _check_early(job: _Job, corpus: LabelledCorpus) -> None:
    """Find out now, not after hours of training, what would end the run or never be noticed."""
    steps = [_look_at(job, stage) for stage in STAGES]
    _require_own_files(job, steps)
    if not any(step.has_hours_ahead for step in steps):
        return
    _check_at_once(job, corpus)
    for step in steps:
        _with_precision(job, step)
    with never_silent(job.tell, "corpus", "reads it") as tell:
        read_every_split(job.recipe, corpus, tell)
    require_types(job.recipe, corpus, job.tell)
    if corpus.types:
        job.tell(Event("corpus", format_mapping(corpus.types, corpus.mapped_entities(SPLITS))))
    finetune, pseudolabel, train, *_ = steps
    if pseudolabel.is_due:
        require_runtime(job.recipe)
    if train.is_due and finetune.state is not State.NOT_ASKED:
        run = {State.REUSED: job.run, State.TAKEN: job.take_from}.get(finetune.state)
        require_student(job.recipe, run.teacher if run else None)


def _check_at_once(job: _Job, corpus: LabelledCorpus) -> None:
    """What takes no time to find out."""
    require_read_settings(job.recipe)
    require_transfer_text(job.recipe, corpus, job.tell)


def _bring_up_to_date(job: _Job, stage: Stage, group: Processes) -> Step:
    """Reuse, link or make one artefact; every process of an outside launcher calls it."""
    stop_if_told()
    step = _look_at(job, stage)
    group.barrier()  # nobody changes what another process still looks at
    tell = job.tell if group.is_main else silent
    if step.is_due:
        tell(Event(stage, f"{step.state}: {step.reason}"))
        _require_inputs(job, stage)
        step = _run_stage(job, stage, group)
    elif step.state is State.TAKEN and job.take_from is not None and group.is_main:
        _link_artefact(artefact_of(job.take_from, stage), artefact_of(job.run, stage))
        _take_time(job.run, job.take_from, stage)
    if step.state in (State.REUSED, State.TAKEN):
        tell(Event(stage, step.reason))
        if group.is_main:
            remove_work(job.run.work(stage))  # left by a process that was killed after it had published
    group.barrier()
    return step


def _run_stage(job: _Job, stage: Stage, group: Processes) -> Step:
    from xtremedistil_ner.pipeline.costs import run_measured
    from xtremedistil_ner.training.launch import default_processes, launch

    function, is_shared, count = _stage_function(job, stage), STAGE_TABLE[stage].is_shared, 1
    on_cpu = stage == "pseudolabel" and job.recipe.pseudolabel.runtime == "onnx-int8"
    if is_shared and group.count == 1:
        most_gpus = _gpus_that_pay(job.recipe) if stage == "train" else None
        default = default_processes(independent=stage == "pseudolabel", on_cpu=on_cpu, most_gpus=most_gpus)
        count = job.processes or default
    start = time.monotonic()
    if is_shared or group.is_main:
        launch(
            run_measured,
            (function, stage, job.recipe, job.run, job.fingerprints[stage], job.tell),
            count=count,
            run_folder=job.run.path,
            on_cpu=on_cpu,
            deterministic=job.recipe.deterministic,
        )
    seconds = time.monotonic() - start
    if group.is_main:
        timings = read_timings(job.run)
        timings[stage]["seconds"] = round(seconds, 1)  # with the time that processes take to start
        write_json(job.run.timings, timings)
        job.tell(Event(stage, f"done in {seconds:.0f} s"))
    return Step(stage, State.DONE, f"made {artefact_of(job.run, stage)}", seconds)


def _gpus_that_pay(recipe: Recipe) -> int | None:
    """On how many GPUs a student is trained if the user does not say; None: on all. Assumed, not measured.

    A small student's pass takes the same time for 128 rows as for fewer; with the teacher's states, for 32.
    """
    section = recipe.train
    if section.scale_batch:
        return None
    return max(1, section.batch_sentences // (32 if needs_projection(section.strategy) else 128))


def _stage_function(job: _Job, stage: Stage) -> Callable[[Recipe, RunFolder, str, Reporter], None]:
    function = STAGE_TABLE[stage].load_function()
    return partial(function, take_from=job.take_from) if stage == "evaluate" else function


def _require_inputs(job: _Job, stage: Stage) -> None:
    """Refuse inputs that the recipe no longer describes: what a stage makes of them would seem up to date."""
    for earlier in STAGES[: STAGES.index(stage)]:
        current = current_fingerprint(job.run, earlier)
        if current != job.fingerprints[earlier]:
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


def _take_time(run: RunFolder, other: RunFolder, stage: Stage) -> None:
    """A linked artefact took the time that it took in the run that made it."""
    if (time_of := read_timings(other).get(stage)) is not None:
        write_json(run.timings, {**read_timings(run), stage: time_of})


def _write_pages(job: _Job) -> None:
    """Bring the report's pages up to date: some stages ended after the report was made."""
    if (report := _current_report(job)) is None:
        return
    from xtremedistil_ner.report.pages import write_pages
    from xtremedistil_ner.report.speed import read_speed

    is_current = current_fingerprint(job.run, "export") == job.fingerprints["export"]
    write_pages(job.run, report, read_speed(job.run) if is_current else ())


def _current_report(job: _Job) -> dict[str, Any] | None:
    return read_report(job.run.path) if report_fingerprint(job.run.report) == job.fingerprints["evaluate"] else None
