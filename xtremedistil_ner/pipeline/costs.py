"""What a stage costs beside its time: words, memory. Each of its processes measures, the main one notes the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

from xtremedistil_ner.processes.peak_memory import gpu_peak_bytes, peak_bytes, reset_peaks
from xtremedistil_ner.processes.world import current_processes, no_peers
from xtremedistil_ner.progress import Event, Reporter, never_silent
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.files import RunFolder, read_timings
from xtremedistil_ner.run_folder.stage_table import STAGE_TABLE, Stage
from xtremedistil_ner.run_folder.whole_files import write_json

StageFunction = Callable[[Recipe, RunFolder, str, Reporter], None]


def run_measured(
    function: StageFunction, stage: Stage, recipe: Recipe, run: RunFolder, fingerprint: str, tell: Reporter
) -> None:
    """Run a stage's function and note in timings.json what this call cost; every process of the stage calls it."""
    processes = current_processes() if STAGE_TABLE[stage].is_shared else no_peers()
    counted, can_reset, start = _WordCount(tell), reset_peaks(), time.monotonic()
    with never_silent(counted, stage) if processes.is_main else nullcontext(counted) as told:
        function(recipe, run, fingerprint, told)
    seconds = time.monotonic() - start
    numbers = processes.gather([counted.words, peak_bytes() if can_reset else 0, gpu_peak_bytes()])
    costs = {
        "words": int(numbers[:, 0].sum()),
        "memory_bytes": int(numbers[:, 1].max()),
        "gpu_memory_bytes": int(numbers[:, 2].max()),
    }
    if processes.is_main:
        known = {name: value for name, value in costs.items() if value}
        entry = {"seconds": round(seconds, 1), "processes": processes.count, **known}
        write_json(run.timings, {**read_timings(run), stage: entry})


class _WordCount:
    """A reporter that adds up the words of events and passes them on."""

    def __init__(self, tell: Reporter) -> None:
        self.tell, self.words = tell, 0

    def __call__(self, event: Event) -> None:
        self.words += event.words
        self.tell(event)
