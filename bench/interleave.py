"""Timing calls in turns, so that what else the machine does falls on all of them alike; medians and ratios.

It knows nothing of what it times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ROUND_S = 0.02
"""About how long one call's turn in a round lasts."""
PAUSE_S = 0.002
"""Between turns: thread pools go on spinning for a while after their last work, at the cost of the next."""


@dataclass(frozen=True)
class Times:
    """Seconds of a call, one entry a round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return low, high

    @property
    def best(self) -> float:
        return min(self.seconds)


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    seconds: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
    least_rounds: int = 9,
) -> dict[str, Times]:
    """Time every call in rounds, each round starting with another one, for about `seconds` in all.

    Every call must have run before: what it does once is not meant to be timed.
    """
    counts = {name: _count(call) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least_rounds or time.perf_counter() < end:
        shift = rounds % len(names)
        for name in names[shift:] + names[:shift]:
            taken[name].append(_turn(calls[name], counts[name], clock))
        rounds += 1
    return {name: Times(tuple(times)) for name, times in taken.items()}


def ratio(times: Mapping[str, Times], peer: str, to: str) -> float:
    """The median, over rounds, of one call's time divided by another's in the same round."""
    pairs = zip(times[peer].seconds, times[to].seconds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def _count(call: Callable[[], object]) -> int:
    """How many times a call fits into a round."""
    lasted = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        lasted.append(time.perf_counter() - start)
    return max(1, int(ROUND_S / max(min(lasted), 1e-7)))


def _turn(call: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    """Seconds a call takes, after a pause and one that wakes threads and fills caches."""
    time.sleep(PAUSE_S)
    call()
    start = clock()
    for _ in range(count):
        call()
    return (clock() - start) / count
