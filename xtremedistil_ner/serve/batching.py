"""Texts of many requests, tagged together.

If a worker is free, a text does not wait. If all are busy, texts wait, and the next free worker takes the oldest text
and others of similar length: so short texts do not wait for long ones, and no text waits forever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from xtremedistil_ner.tagging.tagger import Entity

TagTexts = Callable[[Sequence[str]], Sequence[Sequence[Entity]]]
_MOST_CHARACTERS = 16_000  # of a batch: 0.09 s on one core with a (50, 200) student in float32
_LEAST_CHARACTERS = 2_000  # smaller shares are not split among free workers; not tuned
_SHORT = 200  # characters; texts up to this length count as equally long


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    text: str
    result: asyncio.Future[Sequence[Entity]]

    @property
    def length(self) -> int:
        return max(len(self.text), _SHORT)


class MicroBatcher:
    """Tags texts on a few threads, each calling `tag` with some texts at a time."""

    def __init__(self, tag: TagTexts, *, workers: int, on_batch: Callable[[int], None] = lambda size: None) -> None:
        self._tag = tag
        self._on_batch = on_batch
        self._free = workers
        self._waiting: list[_Waiting] = []
        self._is_due = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="xner-tag")

    @property
    def waiting_characters(self) -> int:
        """Characters of the texts that no worker has taken yet."""
        return sum(len(item.text) for item in self._waiting)

    async def tag(self, texts: Sequence[str]) -> list[Sequence[Entity]]:
        """Entities of each text, in order. If the caller is cancelled, texts that no worker has yet are dropped."""
        loop = asyncio.get_running_loop()
        items = [_Waiting(text, loop.create_future()) for text in texts]
        self._waiting += items
        self._dispatch_soon()
        try:
            return list(await asyncio.gather(*(item.result for item in items)))
        finally:
            for item in items:
                item.result.cancel()

    def close(self) -> None:
        """End the workers when they have finished their texts."""
        self._pool.shutdown()

    def _dispatch_soon(self) -> None:
        """Dispatch after the current callbacks, so that requests that arrive together are tagged together."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_due = False
        self._waiting = [item for item in self._waiting if not item.result.done()]
        while self._free and self._waiting:
            batch = self._take(self.waiting_characters // self._free)
            self._free -= 1
            self._on_batch(len(batch))
            task = asyncio.get_running_loop().run_in_executor(self._pool, self._tag, [item.text for item in batch])
            task.add_done_callback(partial(self._finish, batch))

    def _take(self, share: int) -> list[_Waiting]:
        """The oldest text and others of similar length, up to a worker's share of all waiting characters."""
        most = min(max(share, _LEAST_CHARACTERS), _MOST_CHARACTERS)
        oldest = self._waiting[0].length
        batch: list[_Waiting] = []
        others: list[_Waiting] = []
        characters = 0
        for item in self._waiting:
            is_alike = oldest <= 2 * item.length and item.length <= 2 * oldest
            if is_alike and (not batch or characters + len(item.text) <= most):
                batch.append(item)
                characters += len(item.text)
            else:
                others.append(item)
        self._waiting = others
        return batch

    def _finish(self, batch: Sequence[_Waiting], done: asyncio.Future[Sequence[Sequence[Entity]]]) -> None:
        self._free += 1
        error = done.exception()
        for index, item in enumerate(batch):
            if item.result.done():
                continue
            if error is not None:
                item.result.set_exception(error)
            else:
                item.result.set_result(done.result()[index])
        self._dispatch()
