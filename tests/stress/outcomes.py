"""One command in this process, as the command line calls it, and what is wrong with how it ended.

Right is: an exit code of the error tree, no other exception, a message under 2 kB, and nothing changed outside of the
folder that the command works in.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import typer.main

from xtremedistil_ner import __main__ as command_line

EXIT_CODES = frozenset({0, 2, 3, 4, 5})
MESSAGE_BYTES = 2_000
PEAK_BYTES = 10**9
_WALL_S = 300.0
_LARGE_S = 900
_ADDRESS_BYTES = 4 * 2**30
"""Beyond it memory is refused, so that one input does not take the machine with it."""
_MEASURE = f"""\
import json, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_AS, ({_ADDRESS_BYTES}, {_ADDRESS_BYTES}))
resource.setrlimit(resource.RLIMIT_CPU, ({_LARGE_S}, {_LARGE_S}))
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime]))
"""
"""A small process between: Linux counts what the one that forks has to the peak of its child."""
_PROGRESS = re.compile(r"^20\d\d-.*\n?", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last)"
_FRAME = re.compile(r'File ".*?/xtremedistil_ner/(\S+?)", line (\d+), in (\S+)')
_build_commands = cache(typer.main.get_command)  # half the time of a small input, were it built for each


class TooSlow(BaseException):
    """The time of one input is over."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. Units: `seconds` of the processor.

    `peak_bytes` is the most memory that the process has had, which is this one's whole life for `run_command`.
    `faults` are pairs: what the fault is, the same for all inputs that show it, and how it showed here.
    """

    code: int | None
    message: str
    seconds: float
    faults: tuple[tuple[str, str], ...]
    peak_bytes: int

    @property
    def message_bytes(self) -> int:
        """Its length in UTF-8."""
        return len(self.message.encode("utf-8", "replace"))

    @property
    def has_traceback(self) -> bool:
        """Whether something escaped that is none of our errors."""
        return self.message.startswith(_TRACEBACK)

    def with_fault(self, what: str, how: str) -> Outcome:
        """The same with one fault more."""
        return replace(self, faults=(*self.faults, (what, how)))


def run_command(arguments: Sequence[str], folder: Path, *, limit_s: float) -> Outcome:
    """Run `xner` with some arguments in a folder."""
    code: int | None = None
    start = time.process_time()
    with _streams() as (_, errors), chdir(folder), _restored(), warnings.catch_warnings():
        warnings.simplefilter("error")
        sys.argv = ["xner", *arguments]
        try:
            with _time_limit(limit_s):
                command_line.main()
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        except KeyboardInterrupt:
            raise
        except BaseException:
            sys.stderr.flush()
            os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        sys.stderr.flush()
        message = _message(_written(errors))
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(code, message, seconds, tuple(_faults(code, message, arguments[0])), peak)


def run_apart(arguments: Sequence[str], folder: Path) -> Outcome:
    """Run `xner` in a process of its own, whose peak of memory (resident, imports included) is known.

    A process that `xner` starts counts where it has more than `xner` itself; they are not added up.
    """
    command = [sys.executable, "-c", _MEASURE, sys.executable, "-m", "xtremedistil_ner", *arguments]
    ending = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    code, peak, seconds = json.loads(ending.stdout)
    message = _message(ending.stderr.decode("utf-8", "replace"))
    faults = list(_faults(code, message, arguments[0]))
    if peak >= PEAK_BYTES:
        faults.append((f"memory of {arguments[0]}", f"{peak / 1e6:.0f} MB"))
    return Outcome(code, message, seconds, tuple(faults), peak)


def _message(text: str) -> str:
    """What is written on standard error without progress."""
    for beginning in (_TRACEBACK, "xner: "):
        if beginning in text:
            return text[text.find(beginning) :]
    return _PROGRESS.sub("", text)


def _faults(code: int | None, message: str, command: str) -> Iterator[tuple[str, str]]:
    """`message` has the traceback of what escaped; there is no exit code then, or it is 1."""
    if message.startswith(_TRACEBACK):
        last = re.search(r"^\S.*", message.rpartition("\n  File ")[2].partition("\n")[2], re.MULTILINE)
        error = last[0][:300] if last else "?"
        frames = [f"{file}:{line} in {name}" for file, line, name in _FRAME.findall(message)]
        is_slow = TooSlow.__name__ in error
        place = command if is_slow or not frames else frames[-1]
        yield f"{error.partition(':')[0]} at {place}", "\n  ".join([error, *frames[-4:]])
    elif code not in EXIT_CODES:
        yield f"exit {code} of {command}", message[-500:]
    elif code and not message.strip():
        yield f"no message of {command}, exit {code}", "nothing on standard error"
    elif (length := len(message.encode("utf-8", "replace"))) >= MESSAGE_BYTES:
        yield f"long message of {command}, exit {code}", f"{length} bytes: {message[:300]}"


@contextmanager
def _streams() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Files in the place of descriptors 1 and 2, on which `main` opens standard output and error anew."""
    before = sys.stdout, sys.stderr, sys.argv
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
            yield output, errors
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            sys.stdout, sys.stderr, sys.argv = before
            for number, saved in zip((1, 2), kept, strict=True):
                os.dup2(saved, number)
                os.close(saved)


def _written(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


@contextmanager
def _restored() -> Iterator[None]:
    """Signals as they were, since `main` sets its own; the commands are built once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
    get_command = typer.main.get_command
    typer.main.get_command = _build_commands
    try:
        yield
    finally:
        typer.main.get_command = get_command
        for number, action in before.items():
            signal.signal(number, action)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `TooSlow` after so much time of the processor, and after five minutes of the clock whatever it does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"not done after {seconds:g} s of the processor or {_WALL_S:g} s")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, _WALL_S))
    before = {number: signal.signal(number, stop) for number, _, _ in timers}
    try:
        for _, timer, limit in timers:
            signal.setitimer(timer, limit)
        yield
    finally:
        for _, timer, _ in timers:
            signal.setitimer(timer, 0)
        for number, action in before.items():
            signal.signal(number, action)
