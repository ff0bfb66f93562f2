"""The gradient of a convolution by its weights: sums over pixels of input channels by output channels.

The pixels are cut into blocks and the blocks into chunks, both by shape alone. A task sums one chunk into its
own copy of the gradient, block by block; a second step adds the chunks in order and stores the result in the
layout of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from treadle.devices.cpu.convolution_chunks import Sums
from treadle.devices.cpu.convolution_depthwise import accumulate_lanes
from treadle.devices.cpu.convolution_epilogue import store_tile
from treadle.devices.cpu.convolution_strip import Strip, clear, copy_strip, dot, nest
from treadle.devices.cpu.correlation import Packing
from treadle.devices.cpu.elements import ITEMSIZES, SCALARS, narrowed, plus
from treadle.devices.cpu.ir import Index, Module, Value, vector
from treadle.devices.cpu.microkernel import Tile, accumulate, offsets, zeros
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut


def sum_chunks(sums: Sums, isa: Isa, label: str) -> NativeKernel:
    """Operands: input, output gradient, the chunks' copies. A task sums one chunk for one part of filters and
    channels.
    """
    module = Module(isa.attributes)
    writer = ChunkWriter(module, sums, isa)
    tasks = writer.write()
    c = sums.correlation
    flops = 2 * c.pixels * c.taps * c.channels * c.filters * c.groups
    return NativeKernel(module.text(), label, tasks, writer.scratch_nbytes, flops)


class ChunkWriter:
    """Writes the kernel of `sum_chunks`."""

    def __init__(self, module: Module, sums: Sums, isa: Isa):
        self.f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
        self.sums, self.isa = sums, isa
        self.correlation, self.packing, self.tiling = sums.correlation, sums.packing, sums.tiling
        self.axes = self.correlation.axes
        self.scalar = SCALARS[self.correlation.dtype]
        self.itemsize, self.stored_nbytes = ITEMSIZES[self.scalar], ITEMSIZE[self.correlation.dtype]
        """Of a number as it is summed, and in the operands' memory."""
        self.lanes = self.packing.lanes
        c = self.correlation
        self.outs = self.tiling.outputs_of_block(self.axes)
        self.strip = sums.strip
        strip_nbytes = 0 if sums.in_place else -(-self.strip.size * self.itemsize // 64) * 64
        self.gradient_in_place = c.output_in_place
        padded = self.packing.tile if c.depthwise else -(-c.filters // self.lanes) * self.lanes
        self.accumulate_pixels = accumulate_lanes if c.depthwise else accumulate
        self.gradient_strip = Strip(self.outs, padded)
        self.gradient_at = strip_nbytes
        gradient_nbytes = 0 if self.gradient_in_place else self.gradient_strip.size * self.itemsize
        self.scratch_nbytes = strip_nbytes + gradient_nbytes
        self.output_strides = (
            tuple(axis.output_stride for axis in self.axes)
            if self.gradient_in_place
            else self.gradient_strip.strides
        )

    def write(self) -> int:
        """The whole kernel; returns its number of tasks."""
        f, c, packing, tiling = self.f, self.correlation, self.packing, self.tiling
        arguments, first, last, self.scratch = f.arguments
        self.input, self.gradient, self.partial = (f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(3))
        chunks, parts = self.sums.chunks, tiling.filter_parts
        channel_blocks = packing.channels // packing.channel_block
        self.channel_blocks = channel_blocks

        def task(index: Index) -> None:
            rest, chunk = f.divmod(index, chunks.parts)
            rest, part = f.divmod(rest, parts.parts)
            group, channel_block = f.divmod(rest, channel_blocks)
            tiles = parts.start(f, part), parts.start(f, f.add(part, 1))
            sums = f.add(f.mul(chunk, self.sums.chunk_size), f.mul(group, packing.group_size))
            partial = f.at(self.partial, f.mul(sums, self.itemsize))

            def zero(target: Value, b: Value, filters: int) -> None:
                clear(f, target, self.tile_nbytes(filters))

            self.filter_tiles(tiles, partial, channel_block, self.gradient, zero)
            begin, end = chunks.start(f, chunk), chunks.start(f, f.add(chunk, 1))
            f.loop(begin, end, lambda block: self.block(block, group, channel_block, tiles, partial))

        f.loop(first, last, task)
        f.ret()
        return c.groups * channel_blocks * parts.parts * chunks.parts

    def tile_nbytes(self, filters: int) -> int:
        """The sums of one tile of filters and one block of channels."""
        width = -(-filters // self.lanes) * self.lanes
        return math.prod(self.packing.kernel) * self.packing.channel_block * width * self.itemsize

    def filter_tiles(
        self, tiles: tuple[Index, Index], partial: Value, channel_block: Index, gradient: Value, body
    ) -> None:
        """Call ``body(sums, gradient, filters)`` for each tile of filters of a task, the pointers moved to
        the tile.
        """
        f, packing = self.f, self.packing
        first, last = tiles
        full, tail = divmod(packing.filters, packing.tile)

        def tile(index: Index, filters: int) -> None:
            moved = f.add(
                f.mul(index, packing.tile_size * self.itemsize),
                f.mul(channel_block, self.tile_nbytes(filters)),
            )
            body(f.at(partial, moved), f.at(gradient, f.mul(index, packing.tile * self.itemsize)), filters)

        f.loop(first, f.min(last, full), lambda index: tile(index, packing.tile))
        if tail and isinstance(last, int):
            tile(full, tail)
        elif tail:
            with f.when(f.compare("icmp sgt", f.i64(last), f.i64(full))):
                tile(full, tail)

    def block(
        self, block: Index, group: Index, channel_block: Index, tiles: tuple[Index, Index], partial: Value
    ) -> None:
        """Add the sums over one block of pixels."""
        f, c, axes, stored_nbytes = self.f, self.correlation, self.axes, self.stored_nbytes
        origin, first, last = self.tiling.locate(f, axes, block)
        starts = [f.add(f.mul(o, a.stride), a.offset) for o, a in zip(origin, axes, strict=True)]
        channels: Index = self.packing.channel_block
        channel = f.add(f.mul(group, c.channels), f.mul(channel_block, channels))
        filter, filters = f.mul(group, c.filters), c.filters
        if c.depthwise:  # A task has one tile of filters, which are the channels it reads.
            channel = filter = f.mul(tiles[0], self.packing.tile)
            channels = self.packing.tile
            if c.filters % channels:
                channels = f.min(channels, f.sub(c.filters, channel))
            filters = channels
        a = f.at(self.input, f.mul(channel, c.input_channel_stride * stored_nbytes))
        strides = [axis.input_stride for axis in axes]
        if self.sums.in_place:
            a = f.at(a, f.mul(dot(f, starts, strides), stored_nbytes))
        else:
            copy_strip(
                f, self.isa, c.dtype, self.strip, self.scratch, a, starts, [axis.size for axis in axes],
                strides, channels, c.input_channel_stride,
            )  # fmt: skip
            a = self.scratch
        b = f.at(self.gradient, f.mul(filter, c.output_channel_stride * stored_nbytes))
        strides = [axis.output_stride for axis in axes]
        if self.gradient_in_place:
            b = f.at(b, f.mul(dot(f, origin, strides), stored_nbytes))
        else:
            target = f.at(self.scratch, self.gradient_at)
            copy_strip(
                f, self.isa, c.dtype, self.gradient_strip, target, b, origin, [axis.out for axis in axes],
                strides, filters, c.output_channel_stride,
            )  # fmt: skip
            b = target
        if c.depthwise:  # `filter_tiles` will move b by the tile, which has been done.
            b = f.at(b, f.mul(filter, -self.itemsize))
        counts: list[Index] = list(self.outs)
        counts[self.tiling.block] = f.sub(last, first)

        def tile(sums: Value, b: Value, filters: int) -> None:
            self.taps(sums, a, b, filters, counts)

        self.filter_tiles(tiles, partial, channel_block, b, tile)

    def taps(self, sums: Value, a: Value, b: Value, filters: int, counts: Sequence[Index]) -> None:
        """Add a block's sums for every tap, in tiles of rows."""
        f, itemsize = self.f, self.itemsize
        offsets_of_rows = self.sums.row_offsets
        vectors = -(-filters // self.lanes)
        width = vectors * self.lanes * itemsize
        rows = EvenCut(len(offsets_of_rows), self.sums.rows_fit)
        outer = self.sums.outer_taps
        moves = [
            axis.dilation * stride for axis, stride in zip(self.axes, self.sums.input_strides, strict=True)
        ]
        steps = [len(offsets_of_rows) * math.prod(outer[i + 1 :]) for i in range(len(outer))]

        def tap(indices: list[Index]) -> None:
            moved = f.at(a, f.mul(dot(f, indices, moves), itemsize))
            into = f.at(sums, f.mul(dot(f, indices, steps), width))

            def tile(size: int, part: Index) -> None:
                row = rows.start(f, part)
                first = offsets_of_rows[row] if isinstance(row, int) else row
                places = offsets_of_rows[row : row + size] if isinstance(row, int) else offsets_of_rows[:size]
                begin = places[0]
                tile_rows = tuple((place - begin) * itemsize for place in places)
                self.accumulate(
                    f.at(into, f.mul(row, width)),
                    f.at(moved, f.mul(first, itemsize)),
                    b,
                    tile_rows,
                    filters,
                    counts,
                )

            rows.each(f, 0, rows.parts, tile)

        nest(f, outer, tap)

    def accumulate(
        self, into: Value, a: Value, b: Value, rows: tuple[int, ...], filters: int, counts: Sequence[Index]
    ) -> None:
        """One register tile summed over the block's pixels from zero, then added to the sums at `into`."""
        f, itemsize, lanes = self.f, self.itemsize, self.lanes
        vectors = -(-filters // lanes)
        levels = [
            (count, axis.stride * stride * itemsize, step * itemsize)
            for count, axis, stride, step in zip(
                counts, self.axes, self.sums.input_strides, self.output_strides, strict=True
            )
        ]
        merged: list[tuple[Index, int, int]] = []
        for count, a_step, b_step in reversed(levels):
            inner = merged[-1] if merged else None
            if count == 1:
                continue
            if (
                inner
                and isinstance(inner[0], int)
                and a_step == inner[0] * inner[1]
                and b_step == inner[0] * inner[2]
            ):
                merged[-1] = (f.mul(count, inner[0]), inner[1], inner[2])
            else:
                merged.append((count, a_step, b_step))
        if not merged:
            merged.append((1, 0, 0))
        (count, a_step, b_step), *outer = merged
        active = filters % lanes if self.gradient_in_place or self.correlation.depthwise else 0
        unroll = max(1, min(4, 24 // (len(rows) * vectors)))
        # What is read in place was last seen long ago: while a block is summed, fetch the next one.
        block, ahead = self.tiling.block, self.tiling.ranges.large * itemsize
        a_ahead = (
            ahead * self.axes[block].stride * self.sums.input_strides[block] if self.sums.in_place else 0
        )
        b_ahead = ahead * self.output_strides[block] if self.gradient_in_place else 0
        tile = Tile(
            self.scalar, lanes, rows, a_step, offsets(vectors, lanes * itemsize), b_step, active, unroll,
            a_ahead, b_ahead,
        )  # fmt: skip
        acc = zeros(f, len(rows), vectors, tile.type)

        def level(depth: int, a: Value, b: Value, flat: Sequence[Value]) -> list[Value]:
            if depth == 0:
                acc = [list(flat[i : i + vectors]) for i in range(0, len(flat), vectors)]
                return [
                    value
                    for row in self.accumulate_pixels(f, self.isa, tile, acc, a, b, count)
                    for value in row
                ]
            trips, a_move, b_move = outer[depth - 1]
            return f.loop(
                0,
                trips,
                lambda i, *flat: level(depth - 1, f.at(a, f.mul(i, a_move)), f.at(b, f.mul(i, b_move)), flat),
                list(flat),
            )

        flat = level(len(outer), a, b, [value for row in acc for value in row])
        for i, value in enumerate(flat):
            place = f.at(into, i * lanes * itemsize)
            f.store(plus(f, f.load(tile.type, place), value), place)


def add_chunks(
    packing: Packing, chunks: int, dtype: str, isa: Isa, strides: Sequence[int], label: str
) -> NativeKernel:
    """Operands: the chunks' copies, the gradient. `strides`, in elements: filter, channel, spatial taps."""
    module = Module(isa.attributes)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, _ = f.arguments
    source, target = f.load("ptr", arguments, 8), f.load("ptr", f.at(arguments, 8), 8)
    lanes, itemsize, block = packing.lanes, packing.itemsize, packing.channel_block
    stored_nbytes = ITEMSIZE[dtype]
    type = vector(SCALARS[dtype], lanes)
    filter_stride, channel_stride, *tap_strides = strides
    filter_stride = 1 if packing.filters * packing.groups == 1 else filter_stride
    blocks, taps = packing.channels // block, math.prod(packing.kernel)
    copy_nbytes = packing.groups * packing.group_size * itemsize
    together = EvenCut(block, lanes if channel_stride == 1 and filter_stride != 1 else 1)

    def run(begin: Value, into: Value, width: int, filters: int) -> None:
        """One tap's channels for one vector of filters; `width` elements from row to row."""

        def part(size: int, index: Index) -> None:
            channel = together.start(f, index)
            pointers = [f.at(begin, f.mul(f.add(channel, i), width * itemsize)) for i in range(size)]
            zero = f.constant(type, 0.0)

            def add(chunk: Index, *values: Value) -> list[Value]:
                moved = [f.at(p, f.mul(chunk, copy_nbytes)) for p in pointers]
                return [plus(f, v, f.load(type, p)) for v, p in zip(values, moved, strict=True)]

            total = f.loop(0, chunks, add, [zero] * size)
            place = f.at(into, f.mul(channel, channel_stride * stored_nbytes))
            store_tile(
                f,
                [[narrowed(f, isa, dtype, v)] for v in total],
                place,
                [i * channel_stride for i in range(size)],
                filter_stride,
                filters,
            )

        together.each(f, 0, together.parts, part)

    def task(index: Index) -> None:
        rest, tap = f.divmod(index, taps)
        rest, channel_block = f.divmod(rest, blocks)
        group, tile = f.divmod(rest, packing.tiles)
        places, remaining = [], tap
        for size in reversed(packing.kernel):
            remaining, place = f.divmod(remaining, size)
            places.insert(0, place)

        def of_tile(filters: int) -> None:
            width = -(-filters // lanes) * lanes
            begin = f.add(f.mul(group, packing.group_size), f.mul(tile, packing.tile_size))
            begin = f.add(begin, f.mul(f.add(f.mul(channel_block, taps), tap), block * width))
            filter = f.add(f.mul(group, packing.filters), f.mul(tile, packing.tile))
            into = f.add(f.mul(filter, filter_stride), f.mul(channel_block, block * channel_stride))
            into = f.add(into, dot(f, places, tap_strides))

            def vector_of_filters(v: Index, active: int) -> None:
                move = f.mul(v, lanes)
                run(
                    f.at(source, f.mul(f.add(begin, move), itemsize)),
                    f.at(target, f.mul(f.add(into, f.mul(move, filter_stride)), stored_nbytes)), width,
                    active,
                )  # fmt: skip

            f.loop(0, filters // lanes, lambda v: vector_of_filters(v, lanes))
            if filters % lanes:
                vector_of_filters(filters // lanes, filters % lanes)

        full, tail = divmod(packing.filters, packing.tile)
        if full and tail:
            whole = f.compare("icmp slt", f.i64(tile), f.i64(full))
            with f.when(whole):
                of_tile(packing.tile)
            with f.when(f.op("xor", whole, Value("i1", "true"))):
                of_tile(tail)
        else:
            of_tile(packing.tile if full else tail)

    f.loop(first, last, task)
    f.ret()
    tasks = packing.groups * packing.tiles * blocks * taps
    return NativeKernel(module.text(), f"add {label}", tasks, nbytes=(chunks + 1) * packing.nbytes)
