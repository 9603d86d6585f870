"""Processes that `multiprocessing` starts: they end with their parent, and their ends are told in words.

A parent that is killed runs no code that would end them. So a thread in each of them waits for the parent's end. Linux
could also send a signal then, but it does so when the thread that started the process ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, in whatever way."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def how_it_ended(exit_code: int) -> str:
    """The end of a process for a message, such as `was ended by signal 15`."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    perhaps = ", perhaps because memory ran out" if -exit_code == signal.SIGKILL else ""
    return f"was ended by signal {-exit_code}{perhaps}"


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
