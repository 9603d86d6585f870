"""SIGINT and SIGTERM, handled in one place from a command's first moment to its last, so that none is lost in between.

A signal raises a KeyboardInterrupt, which libraries do not catch. Inside `deferred()` it is only noted, and one line on
standard error says what the process waits for. A second signal ends a command at once.

One call of torch may take minutes, and Python runs no handler meanwhile. A thread therefore reads the signals from the
wakeup descriptor: it writes the line and ends the process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from types import FrameType

from xtremedistil_ner.errors import Interrupted

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
STOPPED = "Stopped; what was done is saved. The same command goes on from there."
_NOTHING_SAVED = "Stopped. The same command begins from the start."
_SHOW_CURSOR = "\x1b[?25h"  # progress bars hide it


@dataclass(slots=True)
class _Held:
    """The signals received so far. `stops` says when a process that must not end now will end.

    `message` is what it writes when it ends.
    """

    ends_process: bool
    is_worker: bool
    message: str = STOPPED
    received: int = 0
    stops: str = ""


_held: _Held | None = None


@contextmanager
def signals_held(*, ends_process: bool = False) -> Iterator[None]:
    """Handle both signals until the block ends; inside another such block, and in other threads, nothing changes.

    A command without another such block inside has saved nothing, and says so when it is stopped. With `ends_process`,
    for commands, the second signal ends the process with 130, whatever it is doing. One of several processes, which has
    a `RANK`, writes nothing and ignores a second signal: a terminal and a launcher both send one.

    Raises: Interrupted when a signal ended the block.
    """
    global _held
    message = _NOTHING_SAVED if ends_process else STOPPED
    try:
        if _held is not None or threading.current_thread() is not threading.main_thread():
            if _held is not None:
                _held.message = message
            yield
            return
        _held = _Held(ends_process, is_worker="RANK" in os.environ, message=message)
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        listener = threading.Thread(target=_listen, args=(reading, _held), daemon=True)
        before_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        before = {number: signal.signal(number, _take) for number in _NUMBERS}
        try:
            listener.start()
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before_fd)
            message, _held = _held.message, None
            os.close(writing)  # which ends the listener
    except KeyboardInterrupt as error:
        raise Interrupted(message) from error


@contextmanager
def deferred(when: str) -> Iterator[Callable[[], bool]]:
    """Only note signals inside the block, and write after the first one when the process will stop: `when`.

    Yields a function that says whether one came. Raises: KeyboardInterrupt at the end of the block after a signal.
    """
    held = _held or _Held(ends_process=False, is_worker=False)
    held.message = STOPPED
    before, held.stops = held.stops, when
    try:
        yield lambda: bool(held.received)
    finally:
        held.stops = before
    stop_if_told()


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes started inside never see a terminal's Ctrl-C, not even while they import: their parent ends them."""
    resource_tracker.ensure_running()  # it would unblock the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def told_to_stop() -> str:
    """The message for a signal that was received; empty if there was none."""
    return _held.message if _held is not None and _held.received else ""


def stop_if_told() -> None:
    """Raise the KeyboardInterrupt of a signal once more: the first may have been lost in a callback."""
    if _held is not None and _held.received and not _held.stops:
        raise KeyboardInterrupt


def ignore_signals() -> None:
    """Ignore both signals, at the end of a process whose exit code is decided."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def _take(number: int, frame: FrameType | None) -> None:
    if _held is None:
        return
    _held.received += 1
    if not _held.stops or (_held.received > 1 and not _held.is_worker):
        raise KeyboardInterrupt


def _listen(reading: int, held: _Held) -> None:
    """Read signals while the main thread is in one long call, except those that others handle, as a server does."""
    count = 0
    with os.fdopen(reading, "rb", buffering=0) as stream:
        while number := stream.read(1):
            if held.is_worker or number[0] not in _NUMBERS or signal.getsignal(number[0]) is not _take:
                continue
            count += 1
            if count == 1 and held.stops:
                _write(f"xner: stopping {held.stops}. A second signal ends it at once.\n")
            elif count > 1 and held.ends_process:
                _write(f"xner: {held.message}\n")
                os._exit(Interrupted.exit_code)


def _write(line: str) -> None:
    """Write to standard error without Python's buffers, which the main thread may hold; on a terminal on a new line."""
    with suppress(OSError):
        os.write(2, (f"\n{_SHOW_CURSOR}{line}" if os.isatty(2) else line).encode())
