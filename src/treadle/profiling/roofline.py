"""What the pictures of a profile show: kernels by their work a byte and their speed, under the machine's
limits. Draws nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from treadle.profiling.profile import Profile, Row, total

COLOURS = {
    "convolution": ("#1f6feb", "#58a6ff"),
    "product": ("#8250df", "#bc8cff"),
    "pooling": ("#1a7f37", "#3fb950"),
    "reduction": ("#d2570a", "#f0883e"),
    "elementwise": ("#bf3989", "#f778ba"),
    "other": ("#6e7781", "#8b949e"),
}
"""Of each family of kernels, on light and on dark ground."""
BEGINNINGS = {"conv": "convolution", "matmul": "product", "max_pool": "pooling", "average_pool": "pooling"}
"""Families by how kinds begin; those not here are their own, or other."""


LEAST_SHARE = 1e-3
"""Of the step's time: what takes less would only move the axes."""


class Point(NamedTuple):
    """A kernel, at all its places together."""

    family: str
    intensity: float
    """Floating-point operations a byte."""
    gflops: float
    share: float
    """Of the step's time."""
    said: str


def family(row: Row) -> str:
    """What a kernel is coloured by."""
    for beginning, name in BEGINNINGS.items():
        if row.kind.startswith(beginning):
            return name
    return row.kind if row.kind in COLOURS else "other"


def points(profile: Profile) -> list[Point]:
    """The kernels that compute and move something, those that take longest first; without the shortest."""
    found = []
    for rows in profile.grouped(lambda row: (row.label, row.tasks, row.each_nbytes)).values():
        ms, flops, nbytes = (total(rows, name) for name in ("ms", "flops", "nbytes"))
        if ms > LEAST_SHARE * profile.totals.step_ms and flops and nbytes:
            gflops = flops / ms / 1e6
            attained = sum(row.ms * row.attained for row in rows) / ms
            places = f"{len(rows)} times, e.g. {rows[0].line}" if len(rows) > 1 else rows[0].line
            said = (
                f"{rows[0].label}\n{ms:.3f} ms, {ms / profile.totals.step_ms:.1%} of the step; {gflops:.1f} "
                f"GFLOP/s, {nbytes / ms / 1e6:.1f} GB/s: {attained:.0%} of what the machine allows\n{places}"
            )
            found.append(Point(family(rows[0]), flops / nbytes, gflops, ms / profile.totals.step_ms, said))
    return found


def axes(profile: Profile, shown: list[Point]) -> tuple[float, float, float, float]:
    """The ends of both axes, powers of two: of intensity, and of 10^9 operations a second."""
    of = profile.totals
    ridges = [of.limit_gflops / rate for rate in of.roofs.values()]
    across = [0.25, *[2 * ridge for ridge in ridges], *[1.5 * point.intensity for point in shown]]
    across += [point.intensity / 1.5 for point in shown]
    up = [of.limit_gflops * 1.4, of.limit_gflops / 64, *[point.gflops / 2 for point in shown]]
    return (*_ends(across), *_ends(up))


def _ends(values: list[float]) -> tuple[float, float]:
    return 2.0 ** math.floor(math.log2(min(values))), 2.0 ** math.ceil(math.log2(max(values)))
