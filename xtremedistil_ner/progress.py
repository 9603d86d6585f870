"""What a stage tells while it works: values handed to a callback. Only the command line turns them into text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a stage has to say: a message, or how much of its work is done.

    Units: `done` and `total` count what `unit` names; a total of 0 means that the event is a message alone. `words` are
    those that were trained on, labelled or scored since the event before.
    """

    stage: str
    message: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    words: int = 0


Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """Drop the event."""
