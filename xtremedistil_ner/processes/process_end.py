"""A command as a process: its signals, its three streams, its one message and its exit code.

Nothing heavy is imported here, so that signals are held before the commands are loaded.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, NoReturn, TextIO

from xtremedistil_ner.addresses import text_without_secrets
from xtremedistil_ner.errors import Interrupted, ResourceError, UsageError, XnerError, lack_of_extra, lack_of_resource
from xtremedistil_ner.processes.stop_signals import (
    ignore_signals,
    signals_held,
    told_to_stop,
)

_UNICODE = ("utf-8", "backslashreplace")
_MOST_SAID = 1800
"""Bytes of a message: twenty problems in files with long paths would fill more than a screen."""


def run_as_process(command: Callable[[], None]) -> NoReturn:
    """Run a command and end the process. An `XnerError`, a lack of memory or disk, or a missing extra is one message.

    If nobody reads the output any more, the process ends without a message.

    Raises: any other exception, which is a defect.
    """
    try:
        code = _run(command)
    except Exception as error:
        known = error if isinstance(error, XnerError) else lack_of_extra(error, _name()) or lack_of_resource(error)
        if known is None:
            raise
        if not isinstance(error, BrokenPipeError):
            _say(known)
        code = known.exit_code
    for stream in filter(None, (sys.stdout, sys.stderr)):
        _settle(stream)
    atexit.register(ignore_signals)
    sys.exit(code)


def _name() -> str:
    """The command as it was typed, such as `distil`."""
    return next((word for word in sys.argv[1:2] if word.isalnum()), "this")


def open_streams() -> None:
    """Make the three standard streams usable; the next file that is opened would get the number of a closed one.

    Raises: ResourceError when standard output is closed: no result would arrive.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    nowhere = sys.stderr is None  # whatever has its number by now, such as a file that an import reads, is not for it
    if sys.stdout is None:
        raise ResourceError("Standard output is closed. Give a file, or /dev/null.")
    if not isinstance(sys.stdout, _StandardOutput):
        sys.stdout = _StandardOutput(_bytes_of(1), *_UNICODE, line_buffering=bool(sys.stdout.line_buffering))
    if not isinstance(sys.stderr, _WithoutSecrets):
        errors = open(os.devnull, "wb") if nowhere else _bytes_of(2)  # noqa: PTH123 - as long as the process
        sys.stderr = _WithoutSecrets(errors, *_UNICODE, line_buffering=True)


def _bytes_of(number: int) -> BinaryIO:
    return open(number, "wb", closefd=False)


class _StandardOutput(io.TextIOWrapper):
    """Standard output whose errors name it, as when the disk behind it is full."""

    def write(self, text: str) -> int:
        with _named_standard_output():
            return super().write(text)

    def flush(self) -> None:
        with _named_standard_output():
            super().flush()


@contextmanager
def _named_standard_output() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = "standard output"
        raise


class _WithoutSecrets(io.TextIOWrapper):
    """Standard error without secrets: messages of typer and of libraries repeat the arguments that they got."""

    def write(self, text: str) -> int:
        super().write(text_without_secrets(text))
        return len(text)


def require_unicode(arguments: Sequence[str]) -> None:
    """Refuse a name that is not UTF-8: neither recipes nor reports could hold it.

    Raises: UsageError.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{os.fsencode(argument)!r}: not UTF-8. Rename the file or folder.") from error


def _run(command: Callable[[], None]) -> int:
    with signals_held(ends_process=True):
        code = 0
        try:
            command()
        except SystemExit as ending:  # how typer ends every command
            if isinstance(ending.__context__, BrokenPipeError):
                raise ending.__context__ from None
            code = int(ending.code or 0)
        except Exception as error:
            if (message := told_to_stop()) and not isinstance(error, Interrupted):
                raise Interrupted(message) from error  # whatever a library made of the signal
            raise
        if code == Interrupted.exit_code and (message := told_to_stop()):  # what typer makes of it
            raise Interrupted(message)
        sys.stdout.flush()
        return code


def _say(error: XnerError) -> None:
    with suppress(OSError):
        sys.stderr.write(f"xner: {_shorten(str(error))}\n")


def _shorten(message: str) -> str:
    """The first lines of a message that fit into `_MOST_SAID` bytes; at least one, shortened if it is longer."""
    lines = [line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}…" for line in message.split("\n")]
    size = 0
    for number, line in enumerate(lines):
        size += len(line.encode(errors="replace")) + 1
        if number and size > _MOST_SAID:
            return "\n".join((*lines[:number], f"… and {len(lines) - number} more lines."))
    return "\n".join(lines)


def _settle(stream: TextIO) -> None:
    """Flush a stream; one that cannot be flushed is replaced, or Python would complain when it ends."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
