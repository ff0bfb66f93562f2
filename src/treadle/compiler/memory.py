"""Where temporary values live: one arena, offsets by lifetime, known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True)
class Span:
    """A value that needs `nbytes` from step `first` to step `last`, both included."""

    nbytes: int
    first: int
    last: int


def place(spans: Sequence[Span]) -> tuple[list[int], int]:
    """The offset of every span and the size of the arena: no two that are alive together overlap.

    Largest first, each at the lowest offset that is free for all of its life (the greedy-by-size strategy
    of Pisarchyk and Lee 2020, arXiv:2001.03288).
    """
    offsets = [0] * len(spans)
    placed: list[tuple[int, int, Span]] = []
    total = 0
    for i in sorted(range(len(spans)), key=lambda i: (-spans[i].nbytes, spans[i].first, i)):
        span = spans[i]
        size = -(-max(span.nbytes, 1) // ALIGNMENT) * ALIGNMENT
        offset = 0
        for start, end, other in placed:
            if other.first > span.last or other.last < span.first:
                continue
            if start >= offset + size:
                break
            offset = max(offset, end)
        offsets[i] = offset
        placed.append((offset, offset + size, span))
        placed.sort(key=lambda item: item[0])
        total = max(total, offset + size)
    return offsets, total
