"""Transform a convolution's 3x3 weights from any layout to the factors that Winograd's products read.

It is a step of its own, so that threads share the work and all blocks of tiles share the factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from treadle.devices.cpu.convolution_packing import gather
from treadle.devices.cpu.elements import load_vector
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.packing import transpose
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.winograd_transform import (
    FILTER,
    PATCH,
    PLACES,
    TAPS,
    transform,
)

ITEMSIZE = 4
LINE_NBYTES = 64
"""Planes are this much further apart than they are long: multiples of 4 KB would meet in one set of a cache.
"""
CHANNELS = 64
"""Channels of a task."""


@dataclass(frozen=True)
class Weights:
    """Where the weights lie, in elements: ``base + filter, channel, (row, column) * stride``."""

    base: int
    filter: int
    channel: int
    taps: tuple[int, ...]
    """Of rows and columns of taps."""


@dataclass(frozen=True)
class Factors:
    """Transformed weights: [place][filter tile][channel][filter of the tile], zeros in unused lanes."""

    channels: int
    filters: int
    lanes: int
    vectors: int

    @property
    def tile(self) -> int:
        """Filters of a full tile."""
        return self.lanes * self.vectors

    @property
    def tiles(self) -> int:
        return -(-self.filters // self.tile)

    @property
    def width(self) -> int:
        """Filters, with those of unused lanes."""
        return -(-self.filters // self.lanes) * self.lanes

    def vectors_of(self, filters: int) -> int:
        """Vectors of a tile that has so many filters."""
        return -(-filters // self.lanes)

    @property
    def tile_nbytes(self) -> int:
        """From one tile to the next."""
        return self.channels * self.tile * ITEMSIZE

    @property
    def plane_nbytes(self) -> int:
        """From one place to the next."""
        return self.channels * self.width * ITEMSIZE + LINE_NBYTES

    @property
    def nbytes(self) -> int:
        return PLACES * self.plane_nbytes

    def each_tile(self, f: Function, first: Index, last: Index, body: Callable[[Index, int], None]) -> None:
        """Write ``body(tile, filters)`` for tiles first <= tile < last: the last of all may have fewer
        filters.
        """
        full, tail = divmod(self.filters, self.tile)
        f.loop(first, f.min(last, full), lambda tile: body(tile, self.tile))
        if tail:
            f.loop(f.max(first, full), last, lambda tile: body(tile, tail))


def transform_filters(factors: Factors, weights: Weights, isa: Isa) -> NativeKernel:
    """Operands: weights, factors. A task for each tile of filters and `CHANNELS` channels."""
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, scratch = f.arguments
    source, target = f.load("ptr", arguments, 8), f.load("ptr", f.at(arguments, 8), 8)
    parts = -(-factors.channels // CHANNELS)
    writer = FilterWriter(f, isa, factors, weights, scratch)

    def task(index: Index) -> None:
        tile, part = f.divmod(index, parts)
        begin = f.mul(part, CHANNELS)
        end = f.min(f.add(begin, CHANNELS), factors.channels)

        def body(tile: Index, filters: int) -> None:
            moved = f.add(f.mul(tile, factors.tile * weights.filter), weights.base)
            writer.tile(
                f.at(source, f.mul(moved, ITEMSIZE)), f.at(target, f.mul(tile, factors.tile_nbytes)),
                filters, begin, end,
            )  # fmt: skip

        factors.each_tile(f, tile, f.add(tile, 1), body)

    f.loop(first, last, task)
    f.ret()
    size = factors.filters * factors.channels
    return NativeKernel(
        module.text(),
        f"winograd filters {factors.filters}x{factors.channels}",
        factors.tiles * parts,
        writer.scratch_nbytes,
        nbytes=TAPS * TAPS * size * ITEMSIZE + factors.nbytes,
    )


class FilterWriter:
    """Writes the transform of one tile of filters for a range of channels."""

    def __init__(self, f: Function, isa: Isa, factors: Factors, weights: Weights, scratch: Value):
        self.f, self.isa, self.factors, self.weights = f, isa, factors, weights
        self.lanes = factors.lanes
        self.run = ""
        """What is neighbours in memory where filters are not: squares of registers turn it. "channels", or
        "taps", those of one channel after those of another.
        """
        if weights.filter != 1:
            flat = weights.channel == TAPS * TAPS and weights.taps == (TAPS, 1)
            self.run = "channels" if weights.channel == 1 else "taps" if flat else ""
        self.scratch_nbytes = TAPS * TAPS * self.lanes * isa.vector_nbytes if self.run else 0
        self.squares = scratch

    def tile(self, begin: Value, into: Value, filters: int, first: Index, last: Index) -> None:
        """Channels first ... last - 1 of a tile whose first filter's first channel lies at `begin`."""
        f, factors, weights, lanes = self.f, self.factors, self.weights, self.lanes
        vectors, type = factors.vectors_of(filters), vector("float", lanes)

        def finish(c: Index, v: Index, load: Callable[[int, int], Value]) -> None:
            to = f.at(into, f.mul(f.add(f.mul(c, vectors), v), lanes * ITEMSIZE))

            columns = [
                transform(f, self.isa, FILTER, [load(r, column) for r in range(TAPS)])
                for column in range(TAPS)
            ]
            for r, row in enumerate(zip(*columns, strict=True)):
                for column, value in enumerate(transform(f, self.isa, FILTER, row)):
                    f.store(value, f.at(to, (r * PATCH + column) * factors.plane_nbytes))

        def from_memory(c: Index, v: Index, active: int) -> None:
            moved = f.add(f.mul(c, weights.channel), f.mul(v, lanes * weights.filter))
            corner = f.at(begin, f.mul(moved, ITEMSIZE))

            def load(row: int, column: int) -> Value:
                place = f.at(corner, f.mul(self.place(row, column), ITEMSIZE))
                if weights.filter == 1:
                    return load_vector(f, place, type, active)
                return gather(f, self.isa, "float32", place, weights.filter, lanes, active)

            finish(c, v, load)

        def channel(c: Index) -> None:
            f.loop(0, filters // lanes, lambda v: from_memory(c, v, 0))
            if filters % lanes:
                from_memory(c, filters // lanes, filters % lanes)

        def turned(c: Index) -> None:
            f.loop(0, vectors, lambda v: self.turned(begin, c, v, lambda lane, load: finish(lane, v, load)))

        middle = first
        if self.run and filters % lanes == 0:
            middle = f.add(first, f.mul(f.divmod(f.sub(last, first), lanes)[0], lanes))
            f.loop(first, middle, turned, step=lanes)
        if not isinstance(last, int) or not isinstance(middle, int) or middle < last:
            f.loop(middle, last, channel)

    def place(self, row: Index, column: Index) -> Index:
        """Elements from the first tap to another."""
        rows, columns = self.weights.taps
        return self.f.add(self.f.mul(row, rows), self.f.mul(column, columns))

    def turned(
        self, begin: Value, c: Index, v: Index, body: Callable[[Index, Callable[[int, int], Value]], None]
    ) -> None:
        """``body(channel, load)`` for the `lanes` channels from c on, their filters turned to be
        neighbours.
        """
        f, weights, lanes = self.f, self.weights, self.lanes
        type, width = vector("float", lanes), lanes * ITEMSIZE
        moved = f.add(f.mul(c, weights.channel), f.mul(v, lanes * weights.filter))
        corner = f.at(begin, f.mul(moved, ITEMSIZE))

        def square(run: Index, start: Index) -> None:
            place = f.at(corner, f.mul(start, ITEMSIZE))
            lines = [f.at(place, lane * weights.filter * ITEMSIZE) for lane in range(lanes)]
            to = f.at(self.squares, f.mul(run, lanes * width))
            for lane, row in enumerate(transpose(f, [f.load(type, line) for line in lines])):
                f.store(row, f.at(to, lane * width))

        def run(index: Index) -> None:
            start = f.mul(index, lanes) if self.run == "taps" else self.place(*f.divmod(index, TAPS))
            square(index, start)

        def one(lane: Index) -> None:
            stride, between = (TAPS * TAPS, 1) if self.run == "taps" else (1, lanes)
            begin = f.at(self.squares, f.mul(lane, stride * width))

            def load(row: int, column: int) -> Value:
                return f.load(type, f.at(begin, (row * TAPS + column) * between * width))

            body(f.add(c, lane), load)

        f.loop(0, TAPS * TAPS, run)
        f.loop(0, lanes, one)
