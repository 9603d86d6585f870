"""A stage on several processes: by default one per GPU, `count` on CPU, or those that an outside launcher started.

The processes are spawned and meet in a store of this process over the loopback (gloo on CPU, NCCL on GPUs). An error
in one ends all of them and comes back through a pipe, so that the user reads one message. Torch's elastic launcher can
restart processes and span machines, which is not needed here. It also takes over the signals of this process, and
gives workers 30 seconds to save, which one update may exceed.

A signal goes to this process alone, which passes it on as SIGTERM. Workers end with this process, even if it is killed.
A kill at any moment leaves a usable checkpoint. Workers are no daemons: one that labels starts processes that read.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import patch_environment
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from xtremedistil_ner.errors import Interrupted, ResourceError, UsageError, XnerError, lack_of_resource
from xtremedistil_ner.processes.children import end_with_parent, how_it_ended
from xtremedistil_ner.processes.cores import available_cores
from xtremedistil_ner.processes.determinism import deterministic_algorithms
from xtremedistil_ner.processes.process_end import open_streams
from xtremedistil_ner.processes.stop_signals import STOPPED, deferred, signals_held, without_interrupts
from xtremedistil_ner.processes.world import leave_group
from xtremedistil_ner.run_folder.lock import hold_as_worker

_LOOPBACK = "127.0.0.1"
_POLL_S = 0.1
_LAST_WORDS_S = 1.0
"""A process that loses a peer fails a moment later as well; the peer's error is the one to report."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What each worker does, and how."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]
    run_folder: Path
    on_cpu: bool
    deterministic: bool


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process of the group and the pipe through which its error comes."""

    process: SpawnProcess
    errors: connection.Connection


def started_from_outside() -> bool:
    """Whether torchrun, accelerate or a cluster has already started the processes."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def default_processes(*, independent: bool, on_cpu: bool = False, most_gpus: int | None = None) -> int:
    """The number of a stage's processes if the user gives none.

    One per GPU, at most `most_gpus`. On CPU, or for work that is done there, one, which uses all cores. For
    `independent` work, whose processes never wait for each other, one per core, but at most 8, because each holds a
    model (two on two cores made bf16 passes 1.5 times as fast).
    """
    if torch.cuda.is_available() and not on_cpu:
        n_gpus = torch.cuda.device_count()
        return n_gpus if most_gpus is None else min(n_gpus, most_gpus)
    return min(available_cores(), 8) if independent else 1


def launch(
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    *,
    count: int,
    run_folder: Path,
    on_cpu: bool = False,
    deterministic: bool = False,
) -> None:
    """Call `function(*arguments)` in `count` processes that form one group, and wait for all of them.

    The function and its arguments must be picklable. With one process it is called here. Several processes that work
    `on_cpu` see no GPU. With `deterministic`, GPUs compute by algorithms that repeat their bytes.

    Raises: what the function raises, if that is an XnerError; Interrupted when a signal ended it; ResourceError when
    memory or disk ran out, or a process was killed.
    """
    if torch.cuda.is_available() and not on_cpu and count > torch.cuda.device_count():
        raise UsageError(f"--processes {count}: this machine has {torch.cuda.device_count()} GPUs.")
    with signals_held():
        if count == 1 or started_from_outside():
            with _names_lack_of_resources(), deterministic_algorithms(deterministic):
                function(*arguments)
        else:
            call = _Call(function, arguments, run_folder, on_cpu, deterministic)
            _launch_workers(call, count)


def _launch_workers(call: _Call, count: int) -> None:
    store = TCPStore(_LOOPBACK, 0, is_master=True, wait_for_workers=False)
    workers: list[_Worker] = []
    threads = max(1, available_cores() // count)
    with (
        deferred("when the processes have saved their state") as stopped,
        patch_environment(omp_num_threads=threads),
    ):
        try:
            for rank in range(count):
                workers.append(_start(rank, count, store.port, call))
            _wait_for(workers, stopped)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join()
                worker.errors.close()
        if stopped():
            raise Interrupted(STOPPED)


def _start(rank: int, count: int, port: int, call: _Call) -> _Worker:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    group = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": _LOOPBACK,
        "MASTER_PORT": port,
        "TORCHELASTIC_USE_AGENT_STORE": True,  # the store that is there, instead of one of the first process
    }
    environment = {name: str(value) for name, value in group.items()}
    if call.on_cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    process = context.Process(target=_work, args=(call, environment, sender))
    with without_interrupts():
        process.start()
    sender.close()
    return _Worker(process, receiver)


def _wait_for(workers: Sequence[_Worker], stopped: Callable[[], bool]) -> None:
    """Wait until all have ended well; pass a signal on, once.

    Raises: the error of a worker, or ResourceError when one was killed.
    """
    told = False
    while alive := [worker.process for worker in workers if worker.process.exitcode is None]:
        if stopped() and not told:
            told = True
            for process in alive:
                process.terminate()
        connection.wait([process.sentinel for process in alive], timeout=_POLL_S)
        if any(worker.process.exitcode for worker in workers):
            break
    failed = [rank for rank, worker in enumerate(workers) if worker.process.exitcode != 0]
    if not failed:
        return
    connection.wait([workers[rank].process.sentinel for rank in failed], timeout=_LAST_WORDS_S)
    raise _reason(workers, stopped())


def _reason(workers: Sequence[_Worker], stopped: bool) -> Exception:
    """Why a group ended: an error that the user can correct, else a signal, else the first defect."""
    errors = [error for worker in workers if (error := _received(worker)) is not None]
    for error in errors:
        if isinstance(error, XnerError):
            return error
    if stopped:
        return Interrupted(STOPPED)
    for rank, worker in enumerate(workers):
        if (code := worker.process.exitcode) is not None and code < 0:
            return ResourceError(
                f"Process {rank} of {len(workers)} {how_it_ended(code)}. The same command goes on from the last saved "
                "state; fewer --processes and smaller batches take less memory."
            )
    return errors[0] if errors else RuntimeError("A process ended without a word.")


def _received(worker: _Worker) -> Exception | None:
    try:
        error: Exception | None = worker.errors.recv() if worker.errors.poll() else None
    except EOFError:
        return None
    return error


def _work(call: _Call, environment: dict[str, str], errors: connection.Connection) -> None:
    end_with_parent()
    open_streams()
    os.environ.update(environment)
    release = hold_as_worker(call.run_folder)
    if not torch.cuda.is_available():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        with signals_held(), _names_lack_of_resources(), deterministic_algorithms(call.deterministic):
            call.function(*call.arguments)
            leave_group()  # not after an error: a peer may be gone
    except XnerError as error:
        errors.send(type(error)(str(error)))
        raise SystemExit(1) from error
    except Exception as error:
        errors.send(RuntimeError(f"Process {environment['RANK']}:\n{traceback.format_exc()}"))
        raise SystemExit(1) from error
    finally:
        release()


@contextmanager
def _names_lack_of_resources() -> Iterator[None]:
    try:
        yield
    except XnerError:
        raise
    except Exception as error:
        raise lack_of_resource(error) or error from error
