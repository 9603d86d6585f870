"""What is told while nothing happens. `REPEAT_S` is shortened, so that only the order of events is tested."""

from __future__ import annotations

import pytest
from support.waiting import wait_until

from xtremedistil_ner import progress
from xtremedistil_ner.progress import Event, counted, never_silent


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(progress, "REPEAT_S", 0.01)


def test_parts_are_counted_before_each_and_at_the_end():
    events = []
    parts = counted([[1, 2], [], [3]], events.append, "train", "encodes", total=3)
    assert list(parts) == [[1, 2], [], [3]]
    assert events == [Event("train", "encodes", done, 3, "sentences") for done in (0, 2, 2, 3)]


def test_an_unfinished_count_is_told_again_without_its_words():
    events = []
    event, look = Event("train", "labels", done=3, total=5, unit="updates", words=7), Event("train", "a look")
    with never_silent(events.append, "train") as tell:
        tell(event)
        tell(look)
        place = len(events)
        wait_until(lambda: len(events) > place)
    assert events.count(event) == events.count(look) == 1
    again = Event("train", "labels", done=3, total=5, unit="updates")
    assert all(later == again for later in events[events.index(look) + 1 :])


def test_a_message_is_told_again_as_seconds_and_so_is_what_begins():
    events = []
    with never_silent(events.append, "export") as tell:
        wait_until(lambda: events)
        tell(Event("export", "encodes", done=5, total=5, unit="sentences"))
        tell(Event("export", "writes the graphs"))
        place = len(events)
        wait_until(lambda: len(events) > place)
    assert (events[0].message, events[0].unit) == ("loads", "s")
    assert (events[place].message, events[place].unit) == ("writes the graphs", "s")
    assert all(event.is_count for event in events[place:])


def test_what_a_thread_cannot_write_ends_it_and_the_stage_finds_out_itself():
    calls = []

    def broken(event):
        calls.append(event)
        raise BrokenPipeError

    with never_silent(broken, "export") as tell:
        wait_until(lambda: calls)
        with pytest.raises(BrokenPipeError):
            tell(Event("export", "wrote"))
