"""The gradient of a 3x3 convolution by its weights after Winograd: 36 products summed over tiles, then turned
back.

    gradient = FILTER_GRADIENT (sum over tiles of (INPUT x INPUT^T) * (OUTPUT_GRADIENT dy OUTPUT_GRADIENT^T))
               FILTER_GRADIENT^T

Runs of tiles are summed from zero and then added in memory, which halves the error. There are two orders.
Where there are many tiles, a task transforms block after block and keeps all its sums. Where there are many
channels and filters, a task transforms all tiles for a part of them and makes that part of the sums: what
several tasks read is transformed several times, which costs less than to bring it from memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.devices.cpu.convolution_epilogue import store_tile
from treadle.devices.cpu.convolution_strip import clear
from treadle.devices.cpu.convolution_weights import add_chunks
from treadle.devices.cpu.elements import plus
from treadle.devices.cpu.ir import Function, Index, Module, Value, vector
from treadle.devices.cpu.microkernel import LINE_NBYTES, Tile, accumulate, offsets, zeros
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut
from treadle.devices.cpu.winograd_patches import ITEMSIZE, PatchWriter, Planes, each_part
from treadle.devices.cpu.winograd_sums import Target, WinogradSums
from treadle.devices.cpu.winograd_transform import FILTER_GRADIENT, PATCH, PLACES, TAPS, transform

UNROLL = 4
"""Tiles between two fetches of what the next place reads."""
NEAR_NBYTES = 1 << 20
"""Of factors that are near without being fetched."""


class SumWriter:
    """Writes the products and the way back. Sums lie as [place][tile of filters][channel][filter]."""

    def __init__(
        self, f: Function, isa: Isa, sums: WinogradSums, planes: tuple[Planes, Planes], filter_tiles: int
    ):
        """The sums are of the channels of the first of the planes and of so many tiles of filters."""
        self.f, self.isa, self.sums = f, isa, sums
        self.lanes = sums.lanes
        self.type = vector("float", self.lanes)
        self.factors, self.gradients = planes
        self.width_nbytes = sums.vectors * self.lanes * ITEMSIZE
        """Of a tile of filters."""
        self.tile_nbytes = self.factors.channels * self.width_nbytes
        self.plane_nbytes = -(-filter_tiles * self.tile_nbytes // 64) * 64 + 64
        self.nbytes = PLACES * self.plane_nbytes
        self.tiles_of_filters = filter_tiles
        self.far = sum(plane.nbytes for plane in planes) > NEAR_NBYTES

    def clear(self, sums: Value) -> None:
        clear(self.f, sums, self.nbytes)

    def multiply(
        self,
        factors: Value,
        gradients: Value,
        sums: Value,
        count: Index,
        panels: tuple[Index, Index],
        filter_tiles: tuple[Index, Index],
        add: bool,
    ) -> None:
        """All products of `count` tiles for ranges of panels and of tiles of filters, with the first of which
        operands and sums begin.
        """
        f, s = self.f, self.sums

        def place(p: Index) -> None:
            a = f.at(factors, f.mul(p, self.factors.plane_nbytes))
            b = f.at(gradients, f.mul(p, self.gradients.plane_nbytes))
            into = f.at(sums, f.mul(p, self.plane_nbytes))

            def panel(index: Index, channels: int) -> None:
                index = f.sub(index, panels[0])
                begin = f.at(a, f.mul(index, self.factors.panel_nbytes))
                first = f.mul(index, s.panel * self.width_nbytes)
                rows = EvenCut(channels, s.rows)
                a_share = self.share(s.panel * ITEMSIZE, self.tiles_of_filters * rows.parts)
                b_share = self.share(self.width_nbytes, rows.parts)

                def filters(tile: Index, vectors: int) -> None:
                    tile = f.sub(tile, filter_tiles[0])
                    there = f.at(b, f.mul(tile, self.gradients.panel_nbytes))
                    to = f.add(first, f.mul(tile, self.tile_nbytes))

                    def rows_of(size: int, part: Index) -> None:
                        row = rows.start(f, part)
                        number = f.add(f.mul(tile, rows.parts), part)
                        ahead = [
                            (f.at(begin, f.add(self.factors.plane_nbytes, f.mul(number, a_share))), a_share),
                            (f.at(there, f.add(self.gradients.plane_nbytes, f.mul(part, b_share))), b_share),
                        ]
                        self.product(
                            f.at(begin, f.mul(row, ITEMSIZE)), there,
                            f.at(into, f.add(to, f.mul(row, self.width_nbytes))), size, vectors, count, add,
                            ahead if self.far else (),
                        )  # fmt: skip

                    rows.each(f, 0, rows.parts, rows_of)

                each_part(f, filter_tiles, s.filter_vectors, s.vectors, filters)

            each_part(f, panels, s.channels, s.panel, panel)

        f.loop(0, PLACES, place)

    def share(self, tile_nbytes: int, products: int) -> int:
        """Bytes that each of so many products fetches of a block at the next place."""
        return -(-self.sums.block_tiles * tile_nbytes // (products * LINE_NBYTES)) * LINE_NBYTES

    def product(
        self,
        a: Value,
        b: Value,
        into: Value,
        rows: int,
        vectors: int,
        count: Index,
        add: bool,
        ahead: Sequence[tuple[Value, int]],
    ) -> None:
        """One register tile: runs of tiles are summed from zero."""
        f, nbytes = self.f, self.lanes * ITEMSIZE
        places = [row * self.width_nbytes + v * nbytes for row in range(rows) for v in range(vectors)]
        if add:
            for place in places[:: max(1, 64 // nbytes)]:
                f.prefetch(f.at(into, place), write=True)
        unroll = UNROLL if ahead else max(1, min(UNROLL, 24 // (rows * vectors)))
        tile = Tile(
            "float", self.lanes, offsets(rows, ITEMSIZE), self.sums.panel * ITEMSIZE,
            offsets(vectors, nbytes), self.width_nbytes, unroll=unroll,
        )  # fmt: skip

        def run(first: Index) -> None:
            begin = f.at(a, f.mul(first, tile.a_step)), f.at(b, f.mul(first, tile.b_step))
            length = f.min(self.sums.run, f.sub(count, first)) if add else count
            fetched = []
            for pointer, share in ahead:
                lines = -(-share * UNROLL // (self.sums.block_tiles * LINE_NBYTES))
                fetched.append((f.at(pointer, f.mul(first, lines * LINE_NBYTES // UNROLL)), lines))
            acc = zeros(f, rows, vectors, self.type)
            acc = accumulate(f, self.isa, tile, acc, *begin, length, fetched)
            for place, value in zip(places, (value for row in acc for value in row), strict=True):
                pointer = f.at(into, place)
                f.store(plus(f, f.load(self.type, pointer), value) if add else value, pointer)

        if add:
            f.loop(0, count, run, step=self.sums.run)
        else:
            run(0)

    # -- the way back

    @property
    def turned_nbytes(self) -> int:
        """Scratch memory of `finish`."""
        return TAPS * TAPS * self.lanes * self.lanes * ITEMSIZE

    def finish(
        self,
        sums: Value,
        scratch: Value,
        into: Value,
        target: Target,
        vectors: tuple[Index, Index],
        blocks: tuple[Index, Index],
    ) -> None:
        """Turn back the sums of ranges of vectors of filters and of the target's blocks of channels, and
        store them.

        `into` is where channel 0 of filter 0 goes, `sums` begin with the first of each range.
        """
        f, s, lanes = self.f, self.sums, self.lanes

        def vector_of_filters(v: Index, active: int) -> None:
            tile, inner = f.divmod(f.sub(v, vectors[0]), s.vectors)
            moved = f.add(f.mul(tile, self.tile_nbytes), f.mul(inner, lanes * ITEMSIZE))
            start = f.at(sums, moved)
            to = f.at(into, f.mul(v, target.vector_stride * ITEMSIZE))

            def block(index: Index, channels: int) -> None:
                there = f.at(to, f.mul(index, target.block_stride * ITEMSIZE))
                row = f.mul(f.sub(index, blocks[0]), target.block * self.width_nbytes)

                def group(part: Index, count: int) -> None:
                    channel = f.mul(part, lanes)
                    source = f.at(start, f.add(row, f.mul(channel, self.width_nbytes)))
                    place = f.at(there, f.mul(channel, target.channel_stride * ITEMSIZE))
                    self.group(source, scratch, place, target, count, active)

                each_part(f, (0, -(-channels // lanes)), channels, lanes, group)

            each_part(f, blocks, s.channels, target.block, block)

        each_part(f, vectors, target.filters, lanes, vector_of_filters)

    def group(
        self, source: Value, scratch: Value, into: Value, target: Target, count: int, active: int
    ) -> None:
        """At most a vector of channels of one vector of filters."""
        f, lanes = self.f, self.lanes
        nbytes, taps = lanes * ITEMSIZE, TAPS * TAPS
        down, across = target.tap_strides
        if target.filter_stride == 1 and active == lanes:
            places = tuple(d * down + a * across for d in range(TAPS) for a in range(TAPS))
            self.turn(source, into, count, target.channel_stride, places)
        elif (down, across, target.channel_stride) == (TAPS, 1, taps):
            # A filter's channels and taps are neighbours in memory: so they are in the scratch memory.
            self.turn(source, scratch, count, taps * lanes, tuple(range(0, taps * lanes, lanes)))
            rows = EvenCut(count * taps, lanes)

            def run(size: int, part: Index) -> None:
                row = rows.start(f, part)
                begin, there = f.at(scratch, f.mul(row, nbytes)), f.at(into, f.mul(row, ITEMSIZE))
                self.store(begin, there, size, 1, target, active)

            rows.each(f, 0, rows.parts, run)
        else:
            step = count * lanes
            self.turn(source, scratch, count, lanes, tuple(range(0, taps * step, step)))

            def tap(index: Index) -> None:
                d, a = f.divmod(index, TAPS)
                there = f.at(into, f.add(f.mul(d, down * ITEMSIZE), f.mul(a, across * ITEMSIZE)))
                begin = f.at(scratch, f.mul(index, step * ITEMSIZE))
                self.store(begin, there, count, target.channel_stride, target, active)

            f.loop(0, taps, tap)

    def store(self, rows: Value, into: Value, count: int, stride: int, target: Target, active: int) -> None:
        """Vectors of filters that lie one after the other go to places `stride` elements apart."""
        f = self.f
        values = [[f.load(self.type, f.at(rows, i * self.lanes * ITEMSIZE))] for i in range(count)]
        store_tile(f, values, into, [i * stride for i in range(count)], target.filter_stride, active)

    def turn(self, source: Value, into: Value, count: int, stride: int, taps: tuple[int, ...]) -> None:
        """Turn `count` channels back, to `stride` elements apart and taps where they are told."""
        name = f"turn_{stride}_{'_'.join(map(str, taps))}"
        if not any(written.name == name for written in self.f.module.functions):
            self.turn_function(name, stride, taps)
        self.f.call("void", name, source, into, self.f.i64(count))

    def turn_function(self, name: str, stride: int, taps: tuple[int, ...]) -> None:
        """``name(source, into, count)``."""
        f = self.f.module.function(name, ["ptr", "ptr", "i64"], internal=True)
        source, into, count = f.arguments

        def channel(i: Index) -> None:
            begin = f.at(source, f.mul(i, self.width_nbytes))
            columns = []
            for x in range(PATCH):
                places = [f.at(begin, (y * PATCH + x) * self.plane_nbytes) for y in range(PATCH)]
                sums = [f.load(self.type, place) for place in places]
                columns.append(transform(f, self.isa, FILTER_GRADIENT, sums))
            to = f.at(into, f.mul(i, stride * ITEMSIZE))
            for y, row in enumerate(zip(*columns, strict=True)):
                for x, value in enumerate(transform(f, self.isa, FILTER_GRADIENT, row)):
                    f.store(value, f.at(to, taps[y * TAPS + x] * ITEMSIZE))

        f.loop(0, count, channel)
        f.ret()


def winograd_gradient(sums: WinogradSums, isa: Isa, strides: Sequence[int], label: str) -> Lowered:
    """Operands: input ``("in", 0)``, output gradient ``("in", 1)``; the gradient ``("out", 0)``,
    whose strides in elements are: filter, channel, row and column of taps.
    """
    lanes = sums.lanes
    filter_stride, channel_stride, *taps = strides
    taps = taps[0], taps[1]
    if sums.parts is not None:
        target = Target(
            sums.filters, filter_stride, channel_stride, taps, lanes * filter_stride, sums.panel,
            sums.panel * channel_stride,
        )  # fmt: skip
        kernel = sum_parts(sums, target, isa, label)
        return Lowered((Step(kernel, (("in", 0), ("in", 1), ("out", 0))),))
    chunks = sums.chunks.parts
    if chunks == 1:
        target = Target(
            sums.filters, filter_stride, channel_stride, taps, lanes * filter_stride, sums.channels, 0
        )  # fmt: skip
        kernel = sum_blocks(sums, target, isa, label)
        return Lowered((Step(kernel, (("in", 0), ("in", 1), ("out", 0))),))
    packing = sums.packing
    block = packing.channel_block * lanes
    target = Target(
        sums.filter_vectors * lanes, 1, lanes, (TAPS * block, block), packing.tile_size,
        packing.channel_block, TAPS * TAPS * block,
    )  # fmt: skip
    steps = (
        Step(sum_blocks(sums, target, isa, label), (("in", 0), ("in", 1), ("temp", 0))),
        Step(add_chunks(packing, chunks, "float32", isa, strides, label), (("temp", 0), ("out", 0))),
    )
    return Lowered(steps, (chunks * packing.nbytes,))


def sum_blocks(sums: WinogradSums, target: Target, isa: Isa, label: str) -> NativeKernel:
    """Operands: input, output gradient, the gradient or, by chunks, copies of it. A task sums a chunk."""
    module = Module(isa.attributes)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, scratch = f.arguments
    input, gradient, into = (f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(3))
    grid, panels, filter_tiles = sums.grid, (0, sums.panels), (0, sums.filter_tiles)
    both = sums.planes(sums.block_tiles, sums.channels, sums.filters)
    writer = SumWriter(f, isa, sums, both, sums.filter_tiles)
    images = [
        PatchWriter(f, isa, grid, image, planes)
        for image, planes in zip((sums.input, sums.gradient), both, strict=True)
    ]
    window_nbytes = max(writer.turned_nbytes, *(image.scratch_nbytes for image in images))
    sizes = [writer.nbytes, *(planes.nbytes for planes in both), window_nbytes]
    totals, factors, gradients, window = (f.at(scratch, sum(sizes[:i])) for i in range(len(sizes)))

    def task(chunk: Index) -> None:
        writer.clear(totals)

        def block(index: Index) -> None:
            begin, end = sums.blocks.start(f, index), sums.blocks.start(f, f.add(index, 1))

            def unit(i: Index) -> None:
                tile = f.mul(f.sub(i, begin), grid.width)
                images[0].unit(i, input, factors, tile, panels, window)
                images[1].unit(i, gradient, gradients, tile, filter_tiles, window)

            f.loop(begin, end, unit)
            count = f.mul(f.sub(end, begin), grid.width)
            writer.multiply(factors, gradients, totals, count, panels, filter_tiles, add=True)

        f.loop(sums.chunks.start(f, chunk), sums.chunks.start(f, f.add(chunk, 1)), block)
        copy = f.at(into, f.mul(chunk, sums.packing.nbytes))
        vectors, blocks = (0, -(-target.filters // sums.lanes)), (0, -(-sums.channels // target.block))
        writer.finish(totals, window, copy, target, vectors, blocks)

    f.loop(first, last, task)
    f.ret()
    return NativeKernel(module.text(), label, sums.chunks.parts, sum(sizes), sums.flops)


def sum_parts(sums: WinogradSums, target: Target, isa: Isa, label: str) -> NativeKernel:
    """Operands: input, output gradient, the gradient. A task transforms all tiles for some tiles of filters,
    and then for some panels of channels, one after the other.
    """
    assert sums.parts is not None
    module = Module(isa.attributes)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, scratch = f.arguments
    input, gradient, into = (f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(3))
    grid, add = sums.grid, sums.blocks.parts > 1 or sums.run < sums.block_tiles
    of_channels, of_filters = sums.parts
    filters = of_filters.large * sums.vectors * sums.lanes
    both = sums.planes(grid.tiles, sums.panel, filters)
    writer = SumWriter(f, isa, sums, both, of_filters.large)
    image = PatchWriter(f, isa, grid, sums.input, both[0])
    gradient_image = PatchWriter(f, isa, grid, sums.gradient, both[1])
    window_nbytes = max(writer.turned_nbytes, image.scratch_nbytes, gradient_image.scratch_nbytes)
    sizes = [writer.nbytes, *(planes.nbytes for planes in both), window_nbytes]
    totals, factors, gradients, window = (f.at(scratch, sum(sizes[:i])) for i in range(len(sizes)))

    def task(index: Index) -> None:
        i, j = f.divmod(index, of_filters.parts)
        tiles = of_filters.start(f, j), of_filters.start(f, f.add(j, 1))
        vectors = f.mul(tiles[0], sums.vectors), f.min(f.mul(tiles[1], sums.vectors), sums.filter_vectors)

        def transform_gradient(unit: Index) -> None:
            gradient_image.unit(unit, gradient, gradients, f.mul(unit, grid.width), tiles, window)

        f.loop(0, grid.units, transform_gradient)

        def panel(index: Index) -> None:
            one = index, f.add(index, 1)

            def transform_input(unit: Index) -> None:
                image.unit(unit, input, factors, f.mul(unit, grid.width), one, window)

            f.loop(0, grid.units, transform_input)
            if add:
                writer.clear(totals)

            def block(index: Index) -> None:
                begin, end = (f.mul(sums.blocks.start(f, k), grid.width) for k in (index, f.add(index, 1)))
                a = f.at(factors, f.mul(begin, sums.panel * ITEMSIZE))
                b = f.at(gradients, f.mul(begin, writer.width_nbytes))
                writer.multiply(a, b, totals, f.sub(end, begin), one, tiles, add)

            f.loop(0, sums.blocks.parts, block)
            writer.finish(totals, window, into, target, vectors, one)

        f.loop(of_channels.start(f, i), of_channels.start(f, f.add(i, 1)), panel)

    f.loop(first, last, task)
    f.ret()
    return NativeKernel(module.text(), label, of_channels.parts * of_filters.parts, sum(sizes), sums.flops)
