"""Running a stage on several processes: one per GPU by itself, `count` on CPU, or those an outside launcher started.

Own processes come from torch's elastic launcher, called in-process with spawned workers over the loopback (gloo on
CPU, NCCL on GPUs). A worker's `XnerError` crosses back through a file, so that the user reads one message; every
other failure keeps the launcher's traceback.

Workers end with the process that started them, even when that one is killed: the kernel kills them then. Torch asks
for SIGINT at that moment, which training takes as a wish to save first, and a worker that waits for a peer never
notices; nothing is lost by the harder way, because a kill at any moment leaves a usable checkpoint.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from xtremedistil_ner import errors
from xtremedistil_ner.errors import Interrupted, ResourceError, UsageError, XnerError
from xtremedistil_ner.machine import available_cores
from xtremedistil_ner.rundir import hold_as_worker

_STOPPED = "Stopped; what was done is saved. The same command goes on from there."
_PR_SET_PDEATHSIG = 1  # Linux, <sys/prctl.h>


def started_from_outside() -> bool:
    """Whether torchrun, accelerate or a cluster has already started the processes."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def default_processes(*, independent: bool) -> int:
    """Processes of a stage when the user names no number.

    One per GPU. On CPU one, which uses all cores; for `independent` work, whose processes never wait for each other,
    one per core, at most 8, because each holds a model (from single bf16 passes on two cores: 1.5x one process).
    """
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return min(available_cores(), 8) if independent else 1


def launch(function: Callable[..., None], arguments: tuple[Any, ...], *, count: int, run_folder: Path) -> None:
    """Call `function(*arguments)` in `count` processes that form one group, and wait for all of them.

    The function and its arguments must be picklable. With one process it is called here.

    Raises: what the function raises, if that is an XnerError; Interrupted when a signal ended it; ResourceError when
    memory ran out.
    """
    if torch.cuda.is_available() and count > torch.cuda.device_count():
        raise UsageError(f"--processes {count}: this machine has {torch.cuda.device_count()} GPUs.")
    if count == 1 or started_from_outside():
        with _stops_on_signal(), _names_lack_of_memory():
            function(*arguments)
        return
    with (
        _stops_on_signal(),
        _says_it_once(),
        tempfile.TemporaryDirectory(prefix="xner-launch-") as folder,
        _threads_per_process(count),
    ):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            max_restarts=0,
            monitor_interval=0.1,
            start_method="spawn",
        )
        try:
            elastic_launch(config, _work)(function, arguments, Path(folder), run_folder, os.getpid())
        except SignalException as error:
            raise Interrupted(_STOPPED) from error
        except ChildFailedError as error:
            raise _worker_error(Path(folder)) or error from error


def _work(
    function: Callable[..., None], arguments: tuple[Any, ...], errors_to: Path, run_folder: Path, launcher: int
) -> None:
    _end_with(launcher)
    release = hold_as_worker(run_folder)
    if not torch.cuda.is_available():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        with _names_lack_of_memory():
            function(*arguments)
    except XnerError as error:
        record = {"kind": type(error).__name__, "message": str(error)}
        (errors_to / f"{os.environ['RANK']}.json").write_text(json.dumps(record), encoding="utf-8")
        raise
    finally:
        release()


def _end_with(launcher: int) -> None:
    """Have the kernel kill this process when the launcher ends; end now if it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:
        raise SystemExit(1)


def _worker_error(folder: Path) -> XnerError | None:
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        kind = getattr(errors, record["kind"])
        error: XnerError = kind(record["message"])
        return error
    return None


@contextmanager
def _names_lack_of_memory() -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(f"Out of memory: {error}. Lower the batch sizes of the recipe.") from error


@contextmanager
def _says_it_once() -> Iterator[None]:
    """Keep the launcher from logging what it raises as well, traceback and all."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _stops_on_signal() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into Interrupted, and give both back as they were: the elastic launcher keeps them."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(_STOPPED)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _threads_per_process(count: int) -> Iterator[None]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(max(1, available_cores() // count))
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
