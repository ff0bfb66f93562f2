"""Depthwise correlations of channels that lie together: the input is read where it is, vectors of channels at
a time.

A register tile is a few rows by a few columns of outputs, for one vector of channels. A vector of the input
is loaded once for all taps of the tile that it meets. Nothing is read beyond the borders: columns outside are
zero, and rows at a border go through a loop over the taps that are inside.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from treadle.devices.cpu.convolution_epilogue import finish_tile, store_tile
from treadle.devices.cpu.convolution_strip import clamp
from treadle.devices.cpu.correlation import (
    TASK_CYCLES,
    Axis,
    Correlation,
    Packing,
    divisions,
    occupied,
)
from treadle.devices.cpu.elements import ITEMSIZES, SCALARS, load_vector, multiply_add, summed_as_stored
from treadle.devices.cpu.ir import Index, Module, Value, vector
from treadle.devices.cpu.microkernel import zeros
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut

MOST_TAPS = 49
"""Of larger kernels not all taps are written out."""
MOST_HELD_TAPS = 9
"""Weights of so many taps are held in registers, if there are 32."""
BANDS = 12
"""Images are divided into so many bands of rows at least, if they have as many rows."""
NOWHERE = Axis(1, 1, 0, 0)
"""The axis that images of one row lack."""


class Place(NamedTuple):
    """A column of the input that a tile reads."""

    nbytes: Index
    """From the tile's first column and tap."""
    inside: Value | None
    """Whether there is such a column, where that is not known when the code is written."""
    met: tuple[tuple[int, int], ...]
    """The columns of the tile and the taps that read it."""


class Columns(NamedTuple):
    """Columns of a tile, and what they read."""

    size: int
    places: tuple[Place, ...]


def reads_channels_together(c: Correlation) -> bool:
    """Whether this is how a correlation is computed."""
    return (
        c.depthwise
        and len(c.axes) <= 3
        and c.input_channel_stride == c.output_channel_stride == 1
        and summed_as_stored(c.dtype)
        and c.taps <= MOST_TAPS
    )


@dataclass(frozen=True)
class Cut:
    """Tasks: ranges of rows by parts of the vectors of channels, for each image."""

    rows: EvenCut
    parts: EvenCut
    images: int

    @property
    def tasks(self) -> int:
        return self.images * self.rows.parts * self.parts.parts


def choose_cut(c: Correlation, tiles: int) -> Cut:
    """The cut with the least work by a model: a task's outputs, and the rows at its ends that its neighbours
    read, too.
    """
    batch, *_, rows, columns = (c.axes[0], NOWHERE, *c.axes[1:])

    def cost(choice: tuple[int, int]) -> float:
        cut = Cut(
            EvenCut(rows.out, -(-rows.out // choice[0])), EvenCut(tiles, -(-tiles // choice[1])), batch.out
        )
        height, width = cut.rows.large, cut.parts.large * columns.out
        task = TASK_CYCLES + width * (height * (3 + c.taps / 2) + rows.extent(height) - height)
        return task * occupied(cut.tasks)

    # The convolution before is divided by rows where images are large, and by channels where they are small:
    # so what it wrote is in the cache of the thread that reads it.
    bands = [n for n in divisions(rows.out) if n * batch.out >= BANDS]
    if rows.out < BANDS:
        bands = [1]
    best = min(itertools.product(bands, divisions(tiles)), key=cost)
    return Cut(EvenCut(rows.out, -(-rows.out // best[0])), EvenCut(tiles, -(-tiles // best[1])), batch.out)


class DepthwiseWriter:
    """Writes ``void name(ptr arguments, i64 task, ptr scratch)``: one block of one correlation."""

    scratch_nbytes = 0

    def __init__(self, module: Module, name: str, correlation: Correlation, packing: Packing, isa: Isa):
        assert packing.vectors == 1
        self.f = module.function(name, ["ptr", "i64", "ptr"], internal=True)
        self.correlation, self.packing, self.isa = correlation, packing, isa
        self.scalar = SCALARS[correlation.dtype]
        self.itemsize, self.lanes = ITEMSIZES[self.scalar], packing.lanes
        self.type = vector(self.scalar, self.lanes)
        self.batch, *_, self.rows, self.columns = (correlation.axes[0], NOWHERE, *correlation.axes[1:])
        self.cut = choose_cut(correlation, packing.tiles)
        self.tasks = self.cut.tasks
        self.holds_taps = isa.registers >= 32 and correlation.taps <= MOST_HELD_TAPS
        """Whether the weights of a tile stay in registers beside two rows of sums."""
        self.height = 2 if self.holds_taps and self.rows.out > 1 else 1
        """Rows of a tile all of whose taps are inside."""
        across = 14 if isa.registers >= 32 and self.height == 1 else 8
        self.chunks = EvenCut(self.columns.out, across)

    def write(self) -> None:
        """Find the task's place, and walk its rows."""
        f, cut = self.f, self.cut
        arguments, task, _ = f.arguments
        source, weights, output, *self.extra = [
            f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(3 + len(self.correlation.extra))
        ]
        rest, part = f.divmod(task, cut.parts.parts)
        self.image, block = f.divmod(rest, cut.rows.parts)
        first, last = cut.rows.start(f, block), cut.rows.start(f, f.add(block, 1))
        self.tiles = cut.parts.start(f, part), cut.parts.start(f, f.add(part, 1))
        self.weights = weights
        self.source = f.at(source, f.mul(self.image, self.batch.input_stride * self.itemsize))
        self.output = f.at(output, self.correlation.output_base * self.itemsize)
        low, high = self.inside()
        done = f.min(last, f.max(first, low))
        count = f.divmod(f.max(0, f.sub(f.min(last, high), done)), self.height)[0]
        f.loop(0, count, lambda i: self.inner_rows(f.add(done, f.mul(i, self.height))))
        # What is left over at both ends, in one loop.
        end = f.add(done, f.mul(count, self.height))
        before = f.sub(done, first)

        def other(i: Value) -> None:
            early = f.compare("icmp slt", i, f.i64(before))
            self.border_row(f.select(early, f.i64(f.add(first, i)), f.i64(f.add(end, f.sub(i, before)))))

        f.loop(0, f.add(before, f.sub(last, end)), lambda i: other(f.i64(i)))
        f.ret()

    def inside(self) -> tuple[int, int]:
        """The first and last + 1 of the rows all of whose taps are inside the input."""
        axis = self.rows
        span = max(axis.taps - 1, 0) * axis.dilation
        low = max(0, -(axis.offset // axis.stride))
        high = (axis.size - 1 - span - axis.offset) // axis.stride + 1
        low = min(low, axis.out)
        return low, max(low, min(axis.out, high))

    def inner_rows(self, row: Index) -> None:
        """As many rows as a tile has, whose taps are all inside."""
        f, axis, height = self.f, self.rows, self.height
        source = f.at(self.source, f.mul(self.first_input(row), axis.input_stride * self.itemsize))

        def tile(source: Value, weights: Value, columns: Columns, active: int) -> list[Value]:
            acc = self.zeros(height * columns.size)
            taps: dict[tuple[int, int], Value] = {}
            rows: dict[int, list[tuple[int, int]]] = {}
            for r, k in itertools.product(range(height), range(axis.taps)):
                rows.setdefault(r * axis.stride + k * axis.dilation, []).append((r, k))
            for place, met in sorted(rows.items()):
                at = f.at(source, place * axis.input_stride * self.itemsize)

                def weight(k: int, column: int) -> Value:
                    if (k, column) not in taps:
                        taps[k, column] = self.weight(weights, k, column)
                    return taps[k, column]

                self.add_row(acc, at, columns, active, met, weight)
                if not self.holds_taps:
                    taps.clear()
            return acc

        self.walk(source, row, height, tile)

    def border_row(self, row: Index) -> None:
        """One row, some of whose taps are outside."""
        f, axis = self.f, self.rows
        begin = self.first_input(row)
        before = f.max(0, f.sub(axis.dilation - 1, begin))
        low = f.min(axis.taps, f.divmod(before, axis.dilation)[0])
        after = f.max(0, f.sub(axis.size + axis.dilation - 1, begin))
        high = f.min(axis.taps, f.divmod(after, axis.dilation)[0])
        step = axis.dilation * axis.input_stride * self.itemsize
        source = f.at(self.source, f.mul(begin, axis.input_stride * self.itemsize))

        def tile(source: Value, weights: Value, columns: Columns, active: int) -> list[Value]:
            def tap(k: Index, *acc: Value) -> list[Value]:
                sums = list(acc)
                at, by_row = f.at(source, f.mul(k, step)), f.at(weights, f.mul(k, self.tap_nbytes[0]))
                self.add_row(sums, at, columns, active, [(0, 0)], lambda _, c: self.weight(by_row, 0, c))
                return sums

            return f.loop(low, high, tap, self.zeros(columns.size))

        self.walk(source, row, 1, tile)

    def first_input(self, row: Index) -> Index:
        """The input row of a row's first tap."""
        return self.f.add(self.f.mul(row, self.rows.stride), self.rows.offset)

    def zeros(self, count: int) -> list[Value]:
        return [row[0] for row in zeros(self.f, count, 1, self.type)]

    @property
    def tap_nbytes(self) -> tuple[int, int]:
        """Bytes from one tap to the next in the packed weights, along rows and columns."""
        vector_nbytes = self.lanes * self.itemsize
        steps = [axis.tap_step for axis in (self.rows, self.columns)]
        return steps[0] * self.packing.kernel[-1] * vector_nbytes, steps[1] * vector_nbytes

    def weight(self, weights: Value, row: int, column: int) -> Value:
        """A tap's weights; `weights` points to the first tap's."""
        by_row, by_column = self.tap_nbytes
        return self.f.load(self.type, self.f.at(weights, row * by_row + column * by_column))

    def add_row(
        self,
        acc: list[Value],
        source: Value,
        columns: Columns,
        active: int,
        met: Sequence[tuple[int, int]],
        weight: Callable[[int, int], Value],
    ) -> None:
        """Add what one row of the input gives to the outputs of `columns`, for pairs `met` of a row of the
        tile and a tap. `source` points to the row's place of the tile's first column and tap.
        """
        f = self.f
        for place in columns.places:
            value = load_vector(f, f.at(source, place.nbytes), self.type, active)
            if place.inside is not None:
                value = f.select(place.inside, value, f.constant(self.type, 0.0))
            for p, k in place.met:
                for r, tap in met:
                    i = r * columns.size + p
                    acc[i] = multiply_add(f, self.isa, value, weight(tap, k), acc[i])

    def columns_at(self, first: Index, size: int, firsts: Sequence[int]) -> Columns:
        """`size` columns from `first` on, which is one of `firsts`."""
        f, axis = self.f, self.columns
        met: dict[int, list[tuple[int, int]]] = {}
        for p, k in itertools.product(range(size), range(axis.taps)):
            met.setdefault(p * axis.stride + k * axis.dilation, []).append((p, k))
        places = []
        for step, pairs in sorted(met.items()):
            there = [0 <= start * axis.stride + axis.offset + step < axis.size for start in firsts]
            inside, nbytes = None, step * axis.input_stride * self.itemsize
            if not any(there):
                continue
            if not all(there):
                # Something is read in any case, from where there is something.
                at = f.i64(f.add(f.mul(first, axis.stride), axis.offset + step))
                inside = f.compare("icmp ult", at, f.i64(axis.size))
                moved = f.sub(clamp(f, at, axis.size - 1), at)
                nbytes = f.add(nbytes, f.mul(moved, axis.input_stride * self.itemsize))
            places.append(Place(nbytes, inside, tuple(pairs)))
        return Columns(size, tuple(places))

    def walk(
        self,
        source: Value,
        row: Index,
        height: int,
        tile: Callable[[Value, Value, Columns, int], list[Value]],
    ) -> None:
        """The task's channels and all columns of some rows; `tile(source, weights, columns, active)` gives
        the sums of those columns, row by row. `active` lanes of channels are there (0: all).
        """
        f, c, axis, itemsize = self.f, self.correlation, self.columns, self.itemsize
        first, last = self.tiles
        full, tail = divmod(self.packing.filters, self.lanes)
        start = sum(a.first_tap * n for a, n in zip((self.rows, self.columns), self.first_steps, strict=True))

        def chunk(column: Index, columns: Columns, index: Index, filters: int) -> None:
            channel = f.mul(index, self.lanes)
            weights = f.at(self.weights, f.add(f.mul(index, self.packing.tile_size * itemsize), start))
            place = f.add(f.mul(column, axis.stride), axis.offset)
            at = f.at(source, f.add(f.mul(channel, itemsize), f.mul(place, axis.input_stride * itemsize)))
            if height > 1 or self.height == 1:
                self.fetch(at, height, columns.size)
            sums = [[v] for v in tile(at, weights, columns, filters % self.lanes)]
            pixels = [(r, p) for r in range(height) for p in range(columns.size)]
            if c.epilogue:
                indices = [self.index(f.add(row, r), f.add(column, p)) for r, p in pixels]
                sums = finish_tile(f, self.isa, c, self.extra, sums, indices, channel, filters)
            to = f.add(f.mul(row, self.rows.output_stride), f.mul(column, axis.output_stride))
            to = f.add(f.add(to, f.mul(self.image, self.batch.output_stride)), channel)
            places = [r * self.rows.output_stride + p * axis.output_stride for r, p in pixels]
            store_tile(f, sums, f.at(self.output, f.mul(to, itemsize)), places, 1, filters)

        def channels(column: Index, size: int, firsts: Sequence[int]) -> None:
            columns = self.columns_at(column, size, [column] if isinstance(column, int) else firsts)
            f.loop(first, f.min(last, full), lambda index: chunk(column, columns, index, self.lanes))
            if tail and isinstance(last, int):
                chunk(column, columns, full, tail)
            elif tail:
                with f.when(f.compare("icmp sgt", f.i64(last), f.i64(full))):
                    chunk(column, columns, full, tail)

        def chunks_of(size: int, begin: int, end: int) -> None:
            firsts = [int(self.chunks.start(f, part)) for part in range(begin, end)]  # type: ignore[arg-type]
            f.loop(begin, end, lambda part: channels(self.chunks.start(f, part), size, firsts))

        for kind in self.chunks.kinds():
            chunks_of(*kind)

    def fetch(self, source: Value, height: int, width: int) -> None:
        """Fetch what the rows after these read at the same columns."""
        first = max(self.rows.taps - 1, 0) * self.rows.dilation + (height - 1) * self.rows.stride + 1
        for r in range(first, first + height * self.rows.stride):
            for p in range(width * self.columns.stride):
                place = r * self.rows.input_stride + p * self.columns.input_stride
                self.f.prefetch(self.f.at(source, place * self.itemsize), locality=2)

    def index(self, row: Index, column: Index) -> list[Index]:
        """The indices of an output as the epilogue names them."""
        return [self.image, row, column] if len(self.correlation.axes) == 3 else [self.image, column]

    @property
    def first_steps(self) -> tuple[int, int]:
        """Bytes from one position of the packed kernel to the next, along rows and columns."""
        nbytes = self.lanes * self.itemsize
        return self.packing.kernel[-1] * nbytes, nbytes
