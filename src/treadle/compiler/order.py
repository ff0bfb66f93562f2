"""Puts the calls of a program in an order that keeps little memory alive. It knows what must come before
what, not why.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from treadle.compiler.program import Fused

LITTLE_NBYTES = 1024
"""What a call may take more than it frees to run as soon as it can: the few numbers that updates wait for."""


class Lifetimes:
    """Who reads and writes the temporary values of a program, by number of the call and of the buffer."""

    def __init__(self, fused: Fused):
        self.nbytes = [info.nbytes if info.source == "temporary" else 0 for info in fused.buffers]
        self.reads = [[b for b in set(call.reads) if self.nbytes[b]] for call in fused.calls]
        self.writes = [[b for b in set(call.writes) if self.nbytes[b]] for call in fused.calls]
        self.readers: dict[int, set[int]] = {}
        for i, buffers in enumerate(self.reads):
            for b in buffers:
                self.readers.setdefault(b, set()).add(i)

    def grown(self, call: int) -> int:
        """The bytes a call writes beyond those it reads: what it adds if it alone kept those alive."""
        return sum(self.nbytes[b] for b in self.writes[call]) - sum(self.nbytes[b] for b in self.reads[call])

    def peak(self, order: Sequence[int]) -> int:
        """The most bytes that are alive at once."""
        last = {b: i for i in order for b in (*self.reads[i], *self.writes[i])}
        alive: set[int] = set()
        most = now = 0
        for i in order:
            for b in self.writes[i]:
                if b not in alive:
                    alive.add(b)
                    now += self.nbytes[b]
            most = max(most, now)
            for b in (*self.reads[i], *self.writes[i]):
                if last[b] == i and b in alive:
                    alive.discard(b)
                    now -= self.nbytes[b]
        return most


def short_lived(
    lifetimes: Lifetimes, needs: Sequence[set[int]], phases: Sequence[Sequence[int]]
) -> list[int]:
    """The calls of each phase after those of the phases before. Whatever frees at least as much as it takes
    runs as soon as it can, such as the gradient of a weight, which ends the life of a cotangent; the rest
    keeps its order.
    """
    nbytes, reads, writes = lifetimes.nbytes, lifetimes.reads, lifetimes.writes
    readers = {b: set(calls) for b, calls in lifetimes.readers.items()}
    growth = [
        sum(nbytes[b] for b in writes[i]) - sum(nbytes[b] for b in reads[i] if len(readers[b]) == 1)
        for i in range(len(needs))
    ]
    waiting = [set(before) for before in needs]
    after: dict[int, list[int]] = {}
    for i, before in enumerate(needs):
        for n in before:
            after.setdefault(n, []).append(i)
    order: list[int] = []
    for phase in phases:
        place = {i: p for p, i in enumerate(phase)}
        ready = sorted(place[i] for i in phase if not waiting[i])
        shrinking = [p for p in ready if growth[phase[p]] <= LITTLE_NBYTES]
        while ready:
            p = shrinking[0] if shrinking else ready[0]
            for places in (ready, shrinking):
                if (at := bisect.bisect_left(places, p)) < len(places) and places[at] == p:
                    del places[at]
            i = phase[p]
            order.append(i)
            for b in reads[i]:
                readers[b].discard(i)
                if len(readers[b]) != 1:
                    continue
                (alone,) = readers[b]
                before, growth[alone] = growth[alone], growth[alone] - nbytes[b]
                if before > LITTLE_NBYTES >= growth[alone] and alone in place and not waiting[alone]:
                    bisect.insort(shrinking, place[alone])
            for follower in after.get(i, ()):
                waiting[follower].discard(i)
                if not waiting[follower] and follower in place:
                    bisect.insort(ready, place[follower])
                    if growth[follower] <= LITTLE_NBYTES:
                        bisect.insort(shrinking, place[follower])
    return order
