"""What a stage tells while it works: values handed to a callback. Only the command line turns them into text."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

REPEAT_S = 2.0
"""After this time without an event, the last one is told again."""
_Part = TypeVar("_Part", bound=Sequence[object])


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a stage has to say: a message, or how much of its work is done.

    Units: `done` and `total` count what `unit` names; a total of 0 is unknown, and without a unit as well the event is
    a message alone. `words` are those that were trained on, labelled or scored since the event before.
    """

    stage: str
    message: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    words: int = 0

    @property
    def is_count(self) -> bool:
        """Whether it says how much is done; there may be many such events in a second."""
        return bool(self.total or self.unit)


Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """Drop the event."""


def counted(
    parts: Iterable[_Part], tell: Reporter, stage: str, message: str, *, total: int = 0, unit: str = "sentences"
) -> Iterator[_Part]:
    """The same parts; before each and at the end, it is told how many `unit` those before it had."""
    done = 0
    for part in parts:
        tell(Event(stage, message, done=done, total=total, unit=unit))
        yield part
        done += len(part)
    tell(Event(stage, message, done=done, total=total, unit=unit))


@contextmanager
def never_silent(tell: Reporter, stage: str, message: str = "loads") -> Iterator[Reporter]:
    """A reporter that tells the last event again while nothing new comes, from a thread: one call may take minutes.

    A count that is not complete is told again as it was; without one, it is a count of the seconds since a message.
    """
    repeater = _Repeater(tell, Event(stage, message))
    thread = threading.Thread(target=repeater.repeat, daemon=True)
    thread.start()
    try:
        yield repeater
    finally:
        repeater.ended.set()
        thread.join()


class _Repeater:
    """Tells events, one at a time, and repeats the last one."""

    def __init__(self, tell: Reporter, first: Event) -> None:
        self.tell, self.last, self.told_at = tell, first, time.monotonic()
        self.count: Event | None = None
        self.lock, self.ended = threading.Lock(), threading.Event()

    def __call__(self, event: Event) -> None:
        with self.lock:
            self.last, self.told_at = event, time.monotonic()
            if event.is_count:
                self.count = event if event.done < event.total else None
            self.tell(event)

    def repeat(self) -> None:
        while not self.ended.wait(REPEAT_S):
            with self.lock:
                silent_s = time.monotonic() - self.told_at
                if silent_s < REPEAT_S or self.ended.is_set():
                    continue
                seconds = Event(self.last.stage, self.last.message, done=round(silent_s), unit="s")
                try:
                    self.tell(seconds if self.count is None else replace(self.count, words=0))
                except OSError:  # nobody reads any more, as the next event of the stage will find out
                    return
