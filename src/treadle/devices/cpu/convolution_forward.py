"""Write correlations as kernels: a register tile of pixels by filters for every block of pixels.

Serves the forward convolution and its gradient by the input, which differ only in the `Correlation` they are
handed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from treadle.devices.cpu.convolution_depthwise import accumulate_lanes
from treadle.devices.cpu.convolution_epilogue import at_corner, fetch_tile, finish_tile, store_tile
from treadle.devices.cpu.convolution_strip import Strip, copy_strip, dot
from treadle.devices.cpu.correlation import Axis, Correlation, Packing, Tiling, choose_tiling, strip_pitch
from treadle.devices.cpu.depthwise import DepthwiseWriter, reads_channels_together
from treadle.devices.cpu.elements import ITEMSIZES, SCALARS, narrowed
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Index, Module, Value, vector
from treadle.devices.cpu.microkernel import Tile, accumulate, offsets, zeros
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import share

LINE_NBYTES = 64
STREAMED_NBYTES = 32 * 1024
"""Weights of a tile beyond this are fetched ahead of their use, `AHEAD_NBYTES` of them."""
AHEAD_NBYTES = 2048

LEAST_CLIPPED, LEAST_SPARED, LEAST_CHANNELS = 0.05, 0.15, 8
"""The share of an axis' taps that fall beside the input from which they are left out: by loops of their own
lengths, or, where a tile has the whole axis, by code of its own for each tap; and the least channels to sum.
"""
MOST_WRITTEN = 7
"""Taps that have code of their own."""


class Level(NamedTuple):
    """One loop of a sum: how often, and the bytes from one round to the next in the input and in the packed
    weights.
    """

    count: int
    a_step: int
    b_step: int
    clipped: int = 0
    """The axis whose taps it goes over, if those that fall beside the input are left out."""


def correlate(correlations: Sequence[Correlation], packing: Packing, isa: Isa, label: str) -> NativeKernel:
    """One kernel for correlations that share their operands: input, packed weights, output, then those of the
    epilogue.
    """
    module = module_for(isa)
    scratch_nbytes, parts = 0, []
    for correlation in correlations:
        name = f"part{len(parts)}"
        if packing.vectors == 1 and reads_channels_together(correlation):
            writer = DepthwiseWriter(module, name, correlation, packing, isa)
        else:
            writer = TaskWriter(
                module, name, correlation, packing, choose_tiling(correlation, packing, isa), isa
            )
        writer.write()
        parts.append((writer.f.name, writer.tasks))
        scratch_nbytes = max(scratch_nbytes, writer.scratch_nbytes)
    tasks = dispatch(module, parts)
    flops = sum(2 * c.pixels * c.taps * c.channels * c.filters * c.groups for c in correlations)
    return NativeKernel(module.text(), label, tasks, scratch_nbytes, flops, 0)


def dispatch(module: Module, parts: Sequence[tuple[str, int]]) -> int:
    """The entry point of a kernel of several functions, each with its number of tasks; how many tasks the
    kernel has. Each does its share of all of them: they differ in work, as residues of strides do, and read
    the same pixels.
    """
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, scratch = f.arguments
    tasks = max(count for _, count in parts)

    def task(index: Index) -> None:
        for name, count in parts:

            def call(i: Index, name: str = name) -> None:
                f.call("void", name, arguments, f.i64(i), scratch)

            if count == tasks:
                call(index)
            else:
                f.loop(*share(f, count, tasks, index), call)

    f.loop(first, last, task)
    f.ret()
    return tasks


class TaskWriter:
    """Writes ``void name(ptr arguments, i64 task, ptr scratch)``, which computes one block of one
    correlation.
    """

    def __init__(
        self, module: Module, name: str, correlation: Correlation, packing: Packing, tiling: Tiling, isa: Isa
    ):
        self.f = module.function(name, ["ptr", "i64", "ptr"], internal=True)
        self.correlation, self.packing, self.tiling, self.isa = correlation, packing, tiling, isa
        self.tasks = tiling.tasks * correlation.groups
        self.axes: tuple[Axis, ...] = correlation.axes
        self.scalar = SCALARS[correlation.dtype]
        self.itemsize, self.stored_nbytes = ITEMSIZES[self.scalar], ITEMSIZE[correlation.dtype]
        """Of a number as it is summed, and in the operands' memory."""
        self.lanes = packing.lanes
        outs = tiling.outputs_of_block(self.axes)
        extents = tuple(axis.extent(out) for axis, out in zip(self.axes, outs, strict=True))
        channels = packing.tile if correlation.depthwise else correlation.channels
        self.strip = Strip(extents, strip_pitch(channels, self.lanes, self.itemsize))
        self.accumulate = accumulate_lanes if correlation.depthwise else accumulate
        self.in_place = correlation.reads_in_place or not correlation.taps
        self.scratch_nbytes = 0 if self.in_place else self.strip.size * self.itemsize
        self.input_strides = (
            tuple(axis.input_stride for axis in self.axes) if self.in_place else self.strip.strides
        )
        """Elements from one input pixel to the next, as the tiles see the input."""
        self.clipped = self.clipped_axes()

    def clipped_axes(self) -> set[int]:
        """Axes along which taps that fall beside the input are left out."""
        axes, split, last = self.axes, self.tiling.split, len(self.axes) - 1
        if self.correlation.channels < LEAST_CHANNELS:
            return set()
        found = {
            axis
            for axis in range(1, split + 1)
            if axes[axis].beside(self.tiling.tiles.large if axis == split else 1) >= LEAST_CLIPPED
        }
        if last > split and axes[last].taps <= MOST_WRITTEN and axes[last].beside(1) >= LEAST_SPARED:
            found.add(last)
        return found

    def write(self) -> None:
        """Find the task's place, copy what it reads, and run its tiles."""
        f, axes, tiling, correlation = self.f, self.axes, self.tiling, self.correlation
        arguments, task, scratch = f.arguments
        source, weights, output, *self.extra = [
            f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(3 + len(correlation.extra))
        ]
        if self.packing.stays_cached:
            # Neighbours in the image are neighbours in time: the next kernel finds them in its caches.
            rest, part = f.divmod(task, tiling.filter_parts.parts)
            group, block = f.divmod(rest, tiling.blocks)
        else:
            rest, block = f.divmod(task, tiling.blocks)
            group, part = f.divmod(rest, tiling.filter_parts.parts)
        origin, first, last = tiling.locate(f, axes, block)
        weights = f.at(weights, f.mul(group, self.packing.group_size * self.itemsize))
        self.first_filter = f.mul(group, correlation.filters)
        self.output = f.at(output, correlation.output_base * self.stored_nbytes)
        if correlation.depthwise:  # A task has one tile of filters, which are the channels it reads.
            first_channel = f.mul(part, self.packing.tile)
            channels = self.packing.tile
            if correlation.filters % channels:
                channels = f.min(channels, f.sub(correlation.filters, first_channel))
        else:
            first_channel, channels = f.mul(group, correlation.channels), correlation.channels
        source = self.input_of_block(source, scratch, origin, first_channel, channels)

        def tile(b: Value, filters: int, begin: Index) -> None:
            self.block(source, b, filters, begin, origin, first, last)

        self.filter_tiles(part, weights, tile)
        f.ret()

    def input_of_block(
        self, source: Value, scratch: Value, origin: Sequence[Index], first_channel: Index, channels: Index
    ) -> Value:
        """Where the tiles read the block's input: in place, or a copy in scratch."""
        f, axes, c = self.f, self.axes, self.correlation
        starts = [f.add(f.mul(o, a.stride), a.offset) for o, a in zip(origin, axes, strict=True)]
        source = f.at(source, f.mul(first_channel, c.input_channel_stride * self.stored_nbytes))
        if self.in_place:
            return f.at(source, f.mul(dot(f, starts, self.input_strides), self.itemsize))
        sizes, strides = [axis.size for axis in axes], [axis.input_stride for axis in axes]
        copy_strip(
            f, self.isa, c.dtype, self.strip, scratch, source, starts, sizes, strides,
            channels, c.input_channel_stride,
        )  # fmt: skip
        return scratch

    def filter_tiles(self, part: Index, weights: Value, body: Callable[[Value, int, Index], None]) -> None:
        """Call ``body(packed weights, filters, first filter)`` for each tile of the task's filters."""
        f, packing = self.f, self.packing
        parts = self.tiling.filter_parts
        first, last = parts.start(f, part), parts.start(f, f.add(part, 1))
        full, tail = divmod(packing.filters, packing.tile)

        def tile(index: Index, filters: int) -> None:
            b = f.at(weights, f.mul(index, packing.tile_size * self.itemsize))
            body(b, filters, f.mul(index, packing.tile))

        f.loop(first, f.min(last, full), lambda index: tile(index, packing.tile))
        if tail and isinstance(last, int):
            tile(full, tail)
        elif tail:
            with f.when(f.compare("icmp sgt", f.i64(last), f.i64(full))):
                tile(full, tail)

    def block(
        self, a: Value, b: Value, filters: int, begin: Index, origin: list[Index], first: Index, last: Index
    ) -> None:
        """All pixels of the block for one tile of filters."""
        f, axes, tiling = self.f, self.axes, self.tiling

        def level(axis: int, relative: list[Index], absolute: list[Index]) -> None:
            if axis == tiling.split:
                if tiling.block == tiling.split:
                    begin_tile, end_tile, start = first, last, origin[axis]
                else:
                    begin_tile, end_tile, start = 0, tiling.tiles.parts, 0

                def part(size: int, index: Index) -> None:
                    out = tiling.tiles.start(f, index)
                    inner = [0] * (len(axes) - axis - 1)
                    self.tile(
                        a, b, size, filters, begin,
                        [*relative, f.sub(out, start), *inner], [*absolute, out, *inner],
                    )  # fmt: skip

                tiling.tiles.each(f, begin_tile, end_tile, part)
            elif axis < tiling.block:
                level(axis + 1, [*relative, 0], [*absolute, origin[axis]])
            elif axis == tiling.block:
                f.loop(first, last, lambda i: level(axis + 1, [*relative, f.sub(i, first)], [*absolute, i]))
            else:
                f.loop(0, axes[axis].out, lambda i: level(axis + 1, [*relative, i], [*absolute, i]))

        level(0, [], [])

    def tile(
        self,
        a: Value,
        b: Value,
        size: int,
        filters: int,
        begin: Index,
        relative: Sequence[Index],
        absolute: Sequence[Index],
    ) -> None:
        """One register tile: `size` outputs along the split axis, all of the axes after it, `filters`
        filters.
        """
        f, axes, itemsize = self.f, self.axes, self.itemsize
        covered = [range(size), *(range(axis.out) for axis in axes[self.tiling.split + 1 :])]
        pixels = [(0,) * self.tiling.split + tail for tail in itertools.product(*covered)]
        steps = [axis.stride * stride for axis, stride in zip(axes, self.input_strides, strict=True)]
        a = f.at(a, f.mul(dot(f, relative, steps), itemsize))
        rows = [itemsize * sum(i * s for i, s in zip(pixel, steps, strict=True)) for pixel in pixels]
        filter = f.add(self.first_filter, begin)
        batch, *spatial = absolute
        correlation, extra, moved = at_corner(f, self.correlation, self.extra, (batch, filter, *spatial))
        if moved:
            fetch_tile(f, correlation, extra, pixels, filters)
        taps = {
            axis: self.taps_inside(axis, absolute[axis], size)
            for axis in self.clipped
            if axis <= self.tiling.split
        }
        sums = self.sums(a, b, pixels, tuple(rows), filters, taps)
        if correlation.epilogue:
            corner, lane = ([0] * len(axes), 0) if moved else (absolute, filter)
            indices = [[f.add(i, j) for i, j in zip(corner, pixel, strict=True)] for pixel in pixels]
            sums = finish_tile(f, self.isa, correlation, extra, sums, indices, lane, filters)
        else:
            sums = [[narrowed(f, self.isa, self.correlation.dtype, v) for v in row] for row in sums]
        strides = [axis.output_stride for axis in axes]
        to = f.add(dot(f, absolute, strides), f.mul(filter, self.correlation.output_channel_stride))
        places = [sum(i * s for i, s in zip(pixel, strides, strict=True)) for pixel in pixels]
        into = f.at(self.output, f.mul(to, self.stored_nbytes))
        stride = (
            1
            if self.correlation.filters * self.correlation.groups == 1
            else self.correlation.output_channel_stride
        )
        store_tile(f, sums, into, places, stride, filters)

    def taps_inside(self, axis: int, first: Index, size: int) -> tuple[Index, Index]:
        """The first and last + 1 of an axis' taps that meet the input for a tile's outputs along it, `size`
        of them if it is the split axis.
        """
        f, a = self.f, self.axes[axis]
        place = f.add(f.mul(first, a.stride), a.offset)
        last = f.add(place, (size - 1) * a.stride if axis == self.tiling.split else 0)
        begin = f.divmod(f.max(0, f.sub(a.dilation - 1, last)), a.dilation)[0]
        end = f.divmod(f.max(0, f.sub(a.size + a.dilation - 1, place)), a.dilation)[0]
        return begin, f.min(a.taps, end)

    def sums(
        self,
        a: Value,
        b: Value,
        pixels: Sequence[Sequence[int]],
        rows: tuple[int, ...],
        filters: int,
        taps: Mapping[int, tuple[Index, Index]],
    ) -> list[list[Value]]:
        """The sums of a tile's pixels over taps and channels; along some axes only over some `taps`, from the
        first to before the last.
        """
        f, itemsize = self.f, self.itemsize
        vectors = -(-filters // self.lanes)
        width = vectors * self.lanes * itemsize
        levels, start = self.levels(width)
        acc = zeros(f, len(rows), vectors, vector(self.scalar, self.lanes))
        if not self.correlation.taps * self.correlation.channels:
            return acc
        line = LINE_NBYTES // itemsize
        ahead = 0
        if (
            self.in_place
            and self.correlation.taps == 1
            and levels[-1][0] % line == 0
            and not self.correlation.depthwise
        ):
            # Nothing has brought these pixels near: while a line of each is used, fetch the next tile's.
            count, a_step, b_step, _ = levels.pop()
            levels += [
                Level(count // line, line * a_step, line * b_step), Level(line, a_step, b_step)
            ]  # fmt: skip
            ahead = rows[-1] + (rows[1] if len(rows) > 1 else 0)
        *outer, (count, a_step, b_step, _) = levels
        streamed = math.prod(self.packing.kernel) * self.packing.channels * width > STREAMED_NBYTES
        # Pixels that overlap from step to step would be kept in registers that are not there.
        apart = all(after - before >= 4 * a_step for before, after in itertools.pairwise(rows))
        active = filters % self.lanes if self.correlation.depthwise and self.in_place else 0

        def innermost(a: Value, b: Value, flat: Sequence[Value], rows: tuple[int, ...]) -> list[Value]:
            acc = [list(flat[i : i + vectors]) for i in range(0, len(flat), vectors)]
            unroll = max(1, min(4, 24 // (len(rows) * vectors))) if apart else 1
            tile = Tile(
                self.scalar, self.lanes, rows, a_step, offsets(vectors, self.lanes * itemsize), b_step,
                active, unroll, b_prefetch=AHEAD_NBYTES if streamed else 0,
            )  # fmt: skip
            return [value for row in self.accumulate(f, self.isa, tile, acc, a, b, count) for value in row]

        def spared(a: Value, b: Value, flat: Sequence[Value], taps: Level) -> list[Value]:
            """Each tap for those pixels of which it meets the input."""
            flat, axis = list(flat), self.axes[taps.clipped]
            for tap in range(taps.count):
                met = [i for i, p in enumerate(pixels) if axis.meets(p[taps.clipped], p[taps.clipped], tap)]
                if not met:
                    continue
                places = [i * vectors + v for i in met for v in range(vectors)]
                at, by = f.at(a, tap * taps.a_step), f.at(b, tap * taps.b_step)
                found = innermost(at, by, [flat[i] for i in places], tuple([rows[i] for i in met]))
                for i, value in zip(places, found, strict=True):
                    flat[i] = value
            return flat

        def level(depth: int, a: Value, b: Value, flat: Sequence[Value]) -> list[Value]:
            if depth == len(outer):
                for row in rows if ahead else ():
                    f.prefetch(f.at(a, row + ahead))
                return innermost(a, b, flat, rows)
            trips, a_move, b_move, axis = outer[depth]
            if axis > self.tiling.split:
                return spared(a, b, flat, outer[depth])
            return f.loop(
                *taps.get(axis, (0, trips)),
                lambda i, *flat: level(depth + 1, f.at(a, f.mul(i, a_move)), f.at(b, f.mul(i, b_move)), flat),
                list(flat),
            )

        flat = level(0, a, f.at(b, start), [value for row in acc for value in row])
        return [flat[i : i + vectors] for i in range(0, len(flat), vectors)]

    def levels(self, width: int) -> tuple[list[Level], int]:
        """The loops of the sum, outermost first, and the first weight's offset in bytes. Loops that continue
        each other are one.
        """
        packing, itemsize = self.packing, self.itemsize
        block = packing.channel_block
        levels = [Level(block, itemsize, width)]
        tap_nbytes, start = block * width, 0
        for number in range(len(self.axes) - 1, 0, -1):
            axis, stride = self.axes[number], self.input_strides[number]
            start += axis.first_tap * tap_nbytes
            clipped = number if number in self.clipped else 0
            if axis.taps > 1:
                steps = axis.dilation * stride * itemsize, axis.tap_step * tap_nbytes
                levels.insert(0, Level(axis.taps, *steps, clipped))
            tap_nbytes *= packing.kernel[number - 1]
        if packing.channels > block:
            levels.insert(0, Level(packing.channels // block, block * itemsize, tap_nbytes))
        while len(levels) > 1:
            (outer, outer_a, outer_b, clipped), (count, a_step, b_step, _) = levels[-2:]
            if clipped or outer_a != count * a_step or outer_b != count * b_step:
                break
            levels[-2:] = [Level(outer * count, a_step, b_step)]
        return levels, start
