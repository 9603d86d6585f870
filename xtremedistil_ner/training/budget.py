"""How much a training sees, and in which steps: sentences of an update, updates, learning rate, by processes.

With `scale_batch`, `batch_sentences` counts for each process. On P processes an update then has P times as many
sentences, there are P times fewer updates, so that as many sentences are seen, and the learning rate is multiplied by
sqrt(P). A fixed batch of 32 would leave 4 sentences for each of 8 GPUs, with as many bytes exchanged as for 256.

The number of processes that counts is the one that a stage was begun with. It is noted beside the stage's unfinished
state, for each recipe that was begun there: a stage that goes on with another number has the same updates.

Source: Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms" (arXiv 2205.10287), the
square-root rule. Its other half, Adam's betas closer to 0, is left out: with P = 8, beta1 would fall from 0.9 to 0.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.run_folder.whole_files import read_json, require_kind, write_json

LEAST_UPDATES = 200
"""An assumption: with fewer, a schedule has no room for its warm-up, and the rule's continuous picture fails."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A training's sentences per update over all processes, its updates, and its highest learning rate."""

    batch_sentences: int
    updates: int
    learning_rate: float
    factor: int = 1
    """How many times larger the updates are than on one process."""

    def for_processes(self, count: int, *, rows: int) -> Budget:
        """The same number of sentences in updates that are `count` times as large.

        Less, if few updates are left, or if there are not as many `rows`: a batch ends with an epoch.
        """
        factor = min(count, max(1, self.updates // LEAST_UPDATES), max(1, rows // self.batch_sentences))
        return Budget(
            batch_sentences=self.batch_sentences * factor,
            updates=math.ceil(self.updates / factor),
            learning_rate=self.learning_rate * math.sqrt(factor),
            factor=factor,
        )


def note_processes(path: Path, fingerprint: str, processes: Processes) -> int:
    """The number of processes that the stage of a `fingerprint` was begun with, the same in every process.

    `path` is the note beside the unfinished state, to which the main process adds the fingerprint if it is missing.
    """
    begun_with = processes.count
    if processes.is_main:
        notes = read_json(path) if path.is_file() else {}
        begun_with = notes.setdefault(fingerprint, begun_with)
        require_kind(path, fingerprint, begun_with, int)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, notes)
    return int(processes.gather([begun_with])[0, 0])
