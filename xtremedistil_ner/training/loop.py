"""The one training loop: masked-language-model training, fine-tuning and every step of a student run through it.

A job is a list of phases. A phase trains some parameters on some sources, evaluates on dev at fixed updates, ends
early when dev stops improving, and passes its best weights on. Losses are sums over words; an update divides each
source's sum by one number for the whole update, over all processes and micro-batches, so neither changes the gradient.

State is saved by time, but what is computed depends on (seed, update, process, micro-batch) alone: a job that was
killed at any moment ends with the same bytes. If memory runs out in an update, all processes begin the update again,
at first unchanged, then with smaller passes. They keep to the smaller passes, whose size is part of the state; the
state is saved before the first update with them counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xtremedistil_ner.errors import CheckpointError, Interrupted, ModelError, ResourceError, is_lack_of_memory
from xtremedistil_ner.models.kinds import PassCost
from xtremedistil_ner.processes.precision import autocast
from xtremedistil_ner.processes.stop_signals import deferred, signals_held
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.training.checkpoints import CheckpointFolder, TrainingState
from xtremedistil_ner.training.gradient_sum import GradientSum
from xtremedistil_ner.training.phases import LoopSettings, Phase, Rows, Source, learning_rate
from xtremedistil_ner.training.sampling import mix_seed

MAX_GRADIENT_NORM = 1.0
_UPDATES_BETWEEN_STOP_CHECKS = 8


def train_phases(
    model: nn.Module,
    phases: Sequence[Phase],
    *,
    settings: LoopSettings,
    processes: Processes,
    checkpoints: CheckpointFolder,
    tell: Reporter,
) -> list[dict[str, Any]]:
    """Train `model` in place through all phases, from the newest checkpoint on; the history of looks at dev.

    Raises: Interrupted after SIGTERM or SIGINT, with the state saved; ModelError when the loss or the score is not
    finite; CheckpointError, in all processes, when they do not see the same checkpoint.
    """
    saved = checkpoints.load_newest()
    processes.barrier()  # the main process may not replace what another one still reads
    state, tensors = saved or (TrainingState(), {})
    _require_same_state(state, checkpoints, processes)
    if saved:
        _load(model, tensors, "model/")
        tell(Event(settings.stage, f"goes on at update {state.total}"))
    for tensor in model.state_dict().values():  # one bit of difference between machines would last
        processes.share_tensor(tensor)
    with signals_held(), deferred("after this update, with the state saved") as was_told:
        job = _Job(model, settings, processes, checkpoints, tell, was_told)
        while state.phase < len(phases):
            _RunningPhase(job, phases[state.phase], state).run(tensors)
            tensors = {}
    return state.looks


def _require_same_state(state: TrainingState, checkpoints: CheckpointFolder, processes: Processes) -> None:
    """Refuse to go on where a file system shows another newest checkpoint to another machine.

    The processes would compute other updates than each other, or wait for each other for hours.
    Raises: CheckpointError in every process, with the same message.
    """
    if processes.count == 1:
        return
    states = processes.gather([state.phase, state.update, state.total])
    for rank, (phase, update, total) in enumerate(states.tolist()):
        if (states[rank] != states[0]).any():
            raise CheckpointError(
                f"{checkpoints.path}: process {rank} is at update {total} (phase {phase}, update {update} of it), the "
                f"main process at update {int(states[0, 2])}. All machines need to see one run folder: share it, or "
                "wait until its file system shows the same files everywhere, and run the same command again."
            )


@dataclass(frozen=True, slots=True)
class _Job:
    """What all phases of a call share. `was_told` says whether this process received a signal to stop."""

    model: nn.Module
    settings: LoopSettings
    processes: Processes
    checkpoints: CheckpointFolder
    tell: Reporter
    was_told: Callable[[], bool]

    def must_stop(self) -> bool:
        """Whether some process was told to stop; every process asks at the same update."""
        if self.processes.count == 1:
            return self.was_told()
        return bool(self.processes.sum_array(np.array([self.was_told()], dtype=np.int64))[0])

    def is_time_to_ask(self, update: int) -> bool:
        """Whether to ask for signals: several processes ask together, which costs a message, every few updates."""
        return self.processes.count == 1 or update % _UPDATES_BETWEEN_STOP_CHECKS == 0

    def stop(self, update: int) -> NoReturn:
        """End the job, whose state is saved."""
        self.processes.barrier()
        raise Interrupted(
            f"{self.settings.stage} stopped at update {update}; the state is saved. "
            "The same command goes on from there."
        )


class _RunningPhase:
    """One phase while it runs: its optimiser, and the best weights so far."""

    def __init__(self, job: _Job, phase: Phase, state: TrainingState) -> None:
        self.job, self.phase, self.state = job, phase, state
        for name, parameter in job.model.named_parameters():
            parameter.requires_grad_(name in phase.trained)
            parameter.grad = None
        self.parameters = {name: value for name, value in job.model.named_parameters() if name in phase.trained}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=phase.learning_rate, weight_decay=phase.weight_decay, fused=True
        )
        self.gradients = GradientSum(job.model, list(self.parameters.values()), job.processes)
        self.best: dict[str, Tensor] = {}
        self.loss = torch.zeros((), device=job.processes.device)

    def run(self, tensors: Mapping[str, Tensor]) -> None:
        """Run what is left of the phase; `tensors` come from a checkpoint inside it, or are none."""
        job, state, phase = self.job, self.state, self.phase
        if state.update or state.best_score is not None:
            self._restore(tensors)
        else:
            self._look()
        last_save = time.monotonic()
        while state.update < phase.updates and state.stale < phase.patience:
            self._update()
            if state.update % phase.evaluate_every == 0 or state.update == phase.updates:
                self._look()
            if time.monotonic() - last_save >= job.settings.checkpoint_every_s:
                self._save()
                last_save = time.monotonic()
            if job.is_time_to_ask(state.total) and job.must_stop():
                self._save()
                job.stop(state.total)
        if self.best:
            _load(job.model, self.best, "")
        state.phase, state.update, state.best_score, state.stale = state.phase + 1, 0, None, 0
        self.best = {}
        self._save()
        if job.must_stop():  # while the last checkpoint was written, too
            job.stop(state.total)

    def _update(self) -> None:
        job, state, phase = self.job, self.state, self.phase
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(phase, state.update)
        job.model.train()
        self.loss += self._sum_gradients()
        nn.utils.clip_grad_norm_(self.parameters.values(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        words = sum(int(source.words[source.plan.rows(state.total)].sum()) for source in phase.sources)
        state.update += 1
        state.total += 1
        state.updates_since_look += 1
        done = Event(
            job.settings.stage, phase.name, done=state.update, total=phase.updates, unit="updates", words=words
        )
        job.tell(done)

    def _sum_gradients(self) -> Tensor:
        """Compute an update's gradient. The result is the loss of all processes.

        If memory runs out in some process, all of them free what they can and begin the update again: once unchanged,
        because another program may have taken the memory for a moment, then with smaller and smaller passes.
        """
        before, is_second_try = self.state.pass_pieces, False
        while True:
            own, error = self._own_gradients()
            loss = self.gradients.add_up(own)
            if loss is not None:
                break
            self.optimizer.zero_grad()
            if self.job.processes.device.type == "cuda":
                torch.cuda.empty_cache()
            if is_second_try:
                self._shrink_passes(error)
            else:
                self._tell_lack_of_memory("it begins again")
            is_second_try = True
        if self.state.pass_pieces != before:
            self._save()  # a job that is killed after this update has to go on with the same passes
        return loss

    def _own_gradients(self) -> tuple[Tensor | None, Exception | None]:
        """Compute this process's share of the gradient; its loss, or the error if memory ran out."""
        job, state = self.job, self.state
        pieces = job.settings.micro_batch_pieces if state.pass_pieces is None else state.pass_pieces
        settings = replace(job.settings, micro_batch_pieces=pieces)
        self.optimizer.zero_grad()
        try:
            own = step_gradients(self.phase.sources, update=state.total, settings=settings, processes=job.processes)
        except Exception as error:
            if not is_lack_of_memory(error):
                raise
            return None, error.with_traceback(None)  # its frames hold what the pass had allocated
        return own, None

    def _shrink_passes(self, error: Exception | None) -> None:
        """Halve the largest pass of this update, from now on; `error` is this process's own, if it has one.

        Raises: the error, or ResourceError in a process without one, when half a pass does not hold the longest row.
        """
        job, state = self.job, self.state
        largest, longest = largest_pass(self.phase.sources, update=state.total, count=job.processes.count)
        before = job.settings.micro_batch_pieces if state.pass_pieces is None else state.pass_pieces
        pieces = min(before, largest) // 2
        if pieces < longest:
            raise error or ResourceError("Out of memory in another process. Lower the batch sizes of the recipe.")
        state.pass_pieces = pieces
        self._tell_lack_of_memory(f"passes of at most {pieces:,} pieces from here on")

    def _tell_lack_of_memory(self, what_follows: str) -> None:
        message = f"memory ran out in update {self.state.total + 1}: {what_follows}"
        self.job.tell(Event(self.job.settings.stage, message))

    def _look(self) -> None:
        """Check the loss since the last look, score the model on dev, keep the weights if they are the phase's best.

        The history gets both, as far as they are there.
        """
        job, state = self.job, self.state
        loss = float(self.loss) / max(state.updates_since_look, 1)
        self._require_finite("loss", loss)
        numbers = {"loss": loss} if state.updates_since_look else {}
        self.loss, state.updates_since_look = torch.zeros_like(self.loss), 0
        if self.phase.evaluate:
            numbers |= self._score(self.phase.evaluate)
        if numbers:
            state.looks.append({"phase": self.phase.name, "update": state.update, "total": state.total, **numbers})
        job.tell(Event(job.settings.stage, f"{self.phase.name}, update {state.update}", metrics=numbers))

    def _score(self, evaluate: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        model, state = self.job.model, self.state
        model.eval()
        with torch.inference_mode():
            numbers = dict(evaluate())
        self._require_finite("score", numbers["score"])
        if state.best_score is None or numbers["score"] > state.best_score:
            state.best_score, state.stale = numbers["score"], 0
            self.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        else:
            state.stale += 1
        return numbers

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise ModelError(
                f"The {what} of {self.job.settings.stage}, {self.phase.name}, is {value} at update "
                f"{self.state.update}. Lower the learning rate, or set precision: float32."
            )

    def _save(self) -> None:
        if not self.job.processes.is_main:
            return
        tensors = {f"model/{name}": value for name, value in self.job.model.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors["loss"] = self.loss
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer/{name}/{key}": value for key, value in moments.items()}
        self.job.checkpoints.save(self.state, tensors)

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        device = self.job.processes.device
        self.best = {name: value.to(device) for name, value in _under(tensors, "best/").items()}
        self.loss = tensors["loss"].to(device)
        for name, parameter in self.parameters.items():
            moments = _under(tensors, f"optimizer/{name}/")
            self.optimizer.state[parameter] = {key: value.to(device) for key, value in moments.items()}


def step_gradients(sources: Sequence[Source], *, update: int, settings: LoopSettings, processes: Processes) -> Tensor:
    """Add this process's share of an update's gradient. The result is its share of the loss per word, ()."""
    total = torch.zeros((), device=processes.device)
    for number, source in enumerate(sources):
        rows = source.plan.rows(update)
        divisor = source.divisor(rows)
        if not divisor:
            continue
        mine = rows[processes.rank :: processes.count]
        parts = micro_batches(mine, source.plan.lengths[mine], settings.micro_batch_pieces, cost=source.cost)
        for micro, part in enumerate(parts):
            _seed(mix_seed(settings.seed, update, processes.rank, number, micro), processes.device)
            with autocast(settings.dtype, processes.device):
                loss = source.loss(part) * (source.weight / divisor)
            loss.backward()
            total += loss.detach()
    return total


def largest_pass(sources: Sequence[Source], *, update: int, count: int) -> tuple[int, int]:
    """Padded pieces of the largest pass that an update of `count` processes may have without a budget; its longest row.

    The same in every process.
    """
    largest = longest = 0
    for source in sources:
        lengths = source.plan.lengths[source.plan.rows(update)]
        width = int(lengths.max())
        pieces = -(-len(lengths) // count) * width
        largest = max(largest, pieces if source.cost is None else min(pieces, source.cost.most_pieces))
        longest = max(longest, width)
    return largest, longest


def micro_batches(rows: Rows, lengths: NDArray[Any], budget: int, *, cost: PassCost | None = None) -> Iterator[Rows]:
    """Sort rows by length and cut them into parts of at most `budget` padded pieces.

    Parts are as large as the budget allows, or, with a `cost`, the cheapest altogether.

    Shapes: rows, lengths (batch,).
    """
    order = np.argsort(lengths, kind="stable")
    rows, lengths = rows[order], lengths[order]
    if cost is not None:
        yield from (rows[start:stop] for start, stop in _cheapest_parts(lengths, budget, cost))
        return
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop == len(rows) or (stop + 1 - start) * int(lengths[stop]) > budget:
            yield rows[start:stop]
            start = stop


def _cheapest_parts(lengths: NDArray[Any], budget: int, cost: PassCost) -> list[tuple[int, int]]:
    """Borders of the parts into which sorted lengths are cut at least cost. Shapes: lengths (batch,).

    A border is only worth having where the length changes. Up to each such border, the cheapest cut is the cheapest
    cut up to an earlier border and one group from there on, which is shared out evenly over as few passes as it fits
    into. The earlier borders are then followed back from the end.

    Example: lengths 3 3 3 5 5 8 have the borders 0 (start), 3, 5 and 6 (end). With a budget of 24 pieces, a pass as
    wide as 3, 5 or 8 pieces holds 8, 4 or 3 rows. If a pass costs as much as 8 pieces, one for each length costs
    9 + 10 + 8 pieces and 3 passes, 51 together. The result is [(0, 3), (3, 6)]: 9 + 24 pieces and 2 passes, 49.
    """
    longest, counts = np.unique(lengths, return_counts=True)  # 3 5 8, of which there are 3 2 1
    ends = np.concatenate([[0], np.cumsum(counts)])  # 0 3 5 6
    rows_per_pass = np.maximum(min(cost.most_pieces, budget) // longest, 1)  # 8 4 3
    least = np.zeros(len(ends))  # the cost of all rows before each border
    opened_at = np.zeros(len(ends), dtype=np.int64)  # the border at which the last group before each border begins
    for stop in range(1, len(ends)):
        width, most = longest[stop - 1], rows_per_pass[stop - 1]
        n_rows = ends[stop] - ends[:stop]
        passes = -(-n_rows // most)
        totals = least[:stop] + n_rows * width + passes * (cost.per_pass + cost.per_column * width)
        opened_at[stop] = np.argmin(totals)
        least[stop] = totals[opened_at[stop]]
    parts: list[tuple[int, int]] = []
    stop = len(ends) - 1
    while stop:
        start = int(opened_at[stop])
        n_rows = int(ends[stop] - ends[start])
        passes = -(-n_rows // int(rows_per_pass[stop - 1]))
        borders = [int(ends[start]) + n_rows * part // passes for part in range(passes + 1)]
        parts = [*pairwise(borders), *parts]
        stop = start
    return parts


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators that a pass draws from; `torch.manual_seed` also formats a stack trace each time (1 ms)."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load(model: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    model.load_state_dict(_under(tensors, prefix))
