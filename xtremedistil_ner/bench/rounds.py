"""Interleaved rounds: every contender runs in every round, so that a ratio compares neighbours in time.

From one minute to the next, the speed of a shared machine differs by a tenth or by half. A result is therefore the
median and the quartiles of the rounds' ratios, and not a ratio of two medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

_LEAST_S = 0.1  # of a contender in a round: the clock of a process may tick in 0.01 s
_LEAST_ROUNDS = 3
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to be timed. Units: `run(round)` does the work of `amount` sentences.

    With `times_itself`, `run` returns the seconds that count.
    """

    name: str
    run: Callable[[int], Any]
    amount: int
    times_itself: bool = False


@dataclass(slots=True)
class Timings:
    """Seconds a sentence of each contender in each round, and the cores that others kept busy meanwhile.

    Units: seconds of process CPU time with one thread, else of wall time.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    other_load: list[float] = field(default_factory=list)

    def per_s(self, name: str) -> dict[str, float]:
        """Sentences per second of a contender: median and quartiles over the rounds."""
        return spread(1 / np.array(self.seconds[name]))

    def ratio(self, fast: str, slow: str) -> dict[str, float]:
        """How many times faster `fast` is than `slow`: median and quartiles of the ratios of the rounds."""
        return spread(np.array(self.seconds[slow]) / np.array(self.seconds[fast]))


def spread(values: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, float]:
    """Median and quartiles of some values, as JSON has them."""
    low, median, high = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return {"median": float(median), "q1": float(low), "q3": float(high)}


def run_rounds(
    contenders: Sequence[Contender], *, rounds: int, clock: Clock = time.process_time, budget_s: float = 600.0
) -> Timings:
    """Time all contenders in each of some rounds, each time in another order.

    Before the first round each contender runs once to warm up and once to show how fast it is: a fast one runs several
    times in a round. After `budget_s` no more rounds begin, except for the first three.
    """
    repeats = {contender.name: _repeats(contender, clock) for contender in contenders}
    timings = Timings({contender.name: [] for contender in contenders})
    start = time.monotonic()
    for number in range(rounds):
        if number >= _LEAST_ROUNDS and time.monotonic() - start > budget_s:
            break
        psutil.cpu_percent()  # from here on
        ours, begin = time.process_time(), time.monotonic()
        for turn in range(len(contenders)):
            contender = contenders[(turn + number) % len(contenders)]
            count = repeats[contender.name]
            timings.seconds[contender.name].append(_time(contender, number, count, clock) / contender.amount)
        busy = psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1)
        timings.other_load.append(max(0.0, busy - (time.process_time() - ours) / (time.monotonic() - begin)))
    return timings


def percentiles_ms(run: Callable[[Any], object], inputs: Sequence[Any]) -> dict[str, float]:
    """Milliseconds of wall time of a call for each input: p50 and p99."""
    taken = np.empty(len(inputs))
    for number, value in enumerate(inputs):
        begin = time.perf_counter()
        run(value)
        taken[number] = time.perf_counter() - begin
    p50, p99 = np.percentile(taken * 1000, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "calls": len(inputs)}


def _time(contender: Contender, number: int, count: int, clock: Clock) -> float:
    """Seconds of one of `count` runs."""
    if contender.times_itself:
        return float(contender.run(number))
    begin = clock()
    for _ in range(count):
        contender.run(number)
    return (clock() - begin) / count


def _repeats(contender: Contender, clock: Clock) -> int:
    contender.run(0)
    if contender.times_itself:
        return 1
    begin = clock()
    contender.run(0)
    return max(1, round(_LEAST_S / max(clock() - begin, 1e-4)))
