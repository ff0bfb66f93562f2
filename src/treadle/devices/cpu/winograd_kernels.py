"""Writes Winograd's kernels: patches of the input to factors, and factors by weights to outputs.

Every product is made of calls of the one microkernel. Knows how the work was cut, not why.
"""

from __future__ import annotations

from collections.abc import Callable

from treadle.devices.cpu.convolution_strip import clear
from treadle.devices.cpu.correlation import Correlation
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Index, Value
from treadle.devices.cpu.microkernel import LINE_NBYTES, Tile, accumulate, offsets, rows_that_fit, zeros
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut
from treadle.devices.cpu.winograd_cut import Cut
from treadle.devices.cpu.winograd_filters import Factors, FilterWriter, Weights
from treadle.devices.cpu.winograd_tiles import (
    ITEMSIZE,
    Planes,
    grid_of,
    patch_work_nbytes,
    read_patch,
    write_tile,
)
from treadle.devices.cpu.winograd_transform import OUTPUT, PLACES, work_nbytes

UNROLL = 4
"""Steps of channels between two fetches of what the next place reads."""
NEAR_NBYTES = 1 << 19
"""Of factors that are near without being fetched."""
PATCHES = 8
"""Tiles of a task that transforms the input alone."""


def planes_of(tiles: int, channels: int, isa: Isa) -> Planes:
    """A place's products read one run of memory."""
    lanes = isa.lanes(ITEMSIZE)
    pitch = -(-channels // lanes) * lanes * ITEMSIZE
    return Planes(pitch, -(-tiles * pitch // LINE_NBYTES) * LINE_NBYTES + LINE_NBYTES)


def patches_nbytes(cut: Cut, channels: int, isa: Isa) -> int:
    """Of all tiles' factors. Every block multiplies as many tiles as the largest: the last one's may lie
    behind the end.
    """
    planes = planes_of(cut.tiles.size, cut.channel_block or channels, isa)
    blocks = channels // cut.channel_block if cut.channel_block else 1
    return blocks * planes.nbytes + (planes.tile_nbytes if cut.tiles.larger < cut.tiles.parts else 0)


def transform_patches(correlation: Correlation, channel_block: int, isa: Isa) -> NativeKernel:
    """Operands: input, factors of all tiles."""
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, scratch = f.arguments
    source, target = f.load("ptr", arguments, 8), f.load("ptr", f.at(arguments, 8), 8)
    cut = EvenCut(grid_of(correlation).size, PATCHES)
    planes = planes_of(cut.size, channel_block or correlation.channels, isa)
    clear(f, scratch, correlation.channels * ITEMSIZE)

    def patch(tile: Index) -> None:
        into = f.at(target, f.mul(tile, planes.tile_nbytes))
        read_patch(f, isa, correlation, source, tile, scratch, into, planes)

    f.loop(cut.start(f, first), cut.start(f, last), patch)
    f.ret()
    label = f"winograd patches {cut.size}x{correlation.channels}"
    return NativeKernel(module.text(), label, cut.parts, patch_work_nbytes(correlation.channels, isa))


class ProductWriter:
    """Writes the kernel whose tasks are blocks of tiles, for a part of the filters each.

    Operands: input and weights, either of them transformed before as the cut says; output; those of the
    epilogue.
    """

    def __init__(self, correlation: Correlation, factors: Factors, weights: Weights, cut: Cut, isa: Isa):
        self.correlation, self.cut, self.isa = correlation, cut, isa
        self.lanes, self.block = factors.lanes, cut.tiles.large
        self.chunk = min(cut.chunk, cut.parts.large)
        self.filter_tiles, self.weights = factors, weights
        self.factors = factors
        if cut.channel_block:
            filters = min(self.chunk * factors.tile, factors.filters)
            self.factors = Factors(cut.channel_block, filters, factors.lanes, factors.vectors)
        tiles = cut.tiles.size if cut.patches_first else self.block
        self.read = planes_of(tiles, self.factors.channels, isa)
        """Factors of the block's input, of all tiles if they were made before."""
        self.made = planes_of(self.block, min(self.chunk * factors.tile, factors.width), isa)
        """Products of the block with a chunk of the filters."""
        self.rows = EvenCut(self.block, rows_that_fit(isa, factors.vectors))

    def kernel(self, label: str) -> NativeKernel:
        module, c, cut = module_for(self.isa), self.correlation, self.cut
        self.f = f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
        arguments, first, last, scratch = f.arguments
        self.source, self.weights_at, self.output, *self.extra = [
            f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(3 + len(c.extra))
        ]
        sizes: list[int] = []

        def part(nbytes: int) -> Value:
            """Of the scratch memory."""
            sizes.append(-(-nbytes // LINE_NBYTES) * LINE_NBYTES)
            return f.at(scratch, sum(sizes[:-1]))

        self.factors_at = self.weights_at
        if cut.channel_block:
            self.filters = FilterWriter(f, self.isa, self.factors, self.weights, scratch)
            part(self.filters.scratch_nbytes)
            self.factors_at = part(self.factors.nbytes)
        self.write_work = part(work_nbytes(OUTPUT, self.isa.vector_nbytes))
        self.made_at = part(self.made.nbytes)
        if not cut.patches_first:
            self.work = part(patch_work_nbytes(c.channels, self.isa))
            self.read_at = part(self.read.nbytes)
            clear(f, self.work, c.channels * ITEMSIZE)
        f.loop(first, last, self.task)
        f.ret()
        flops = 2 * c.pixels * c.taps * c.channels * c.filters
        return NativeKernel(module.text(), label, cut.tasks, sum(sizes), flops)

    def task(self, index: Index) -> None:
        f, cut, c = self.f, self.cut, self.correlation
        part, block = f.divmod(index, cut.tiles.parts)
        first, last = cut.tiles.start(f, block), cut.tiles.start(f, f.add(block, 1))
        if cut.patches_first:
            self.read_at = f.at(self.source, f.mul(first, self.read.tile_nbytes))
        else:

            def patch(tile: Index) -> None:
                into = f.at(self.read_at, f.mul(f.sub(tile, first), self.read.tile_nbytes))
                read_patch(f, self.isa, c, self.source, tile, self.work, into, self.read)

            f.loop(first, last, patch)

        def chunk(begin: Index) -> None:
            """Tiles of filters from `begin` on."""
            end = f.min(f.add(begin, self.chunk), stop)
            if cut.channel_block:
                self.transform_and_multiply(begin, end)
            else:
                moved = f.mul(begin, self.factors.tile_nbytes)
                self.multiply(self.read_at, f.at(self.factors_at, moved), begin, end, False)
            tile = self.filter_tiles.tile
            filters = f.mul(begin, tile), f.min(f.mul(end, tile), c.filters)

            def write(tile: Index) -> None:
                products = f.at(self.made_at, f.mul(f.sub(tile, first), self.made.tile_nbytes))
                write_tile(
                    f, self.isa, c, products, self.made, self.output, self.extra, tile, *filters,
                    self.write_work,
                )  # fmt: skip

            f.loop(first, last, write)

        start, stop = cut.parts.start(f, part), cut.parts.start(f, f.add(part, 1))
        f.loop(start, stop, chunk, step=self.chunk)

    def transform_and_multiply(self, begin: Index, end: Index) -> None:
        """Sum over blocks of channels, whose weights are transformed to scratch."""
        f, size, weights = self.f, self.cut.channel_block, self.weights
        blocks = self.correlation.channels // size
        if blocks > 1:
            clear(f, self.made_at, self.made.nbytes)

        def block(index: Index) -> None:
            moved = f.add(f.mul(index, size * weights.channel), weights.base)

            def filters(tile: Index, filters: int) -> None:
                place = f.add(moved, f.mul(tile, self.filter_tiles.tile * weights.filter))
                into = f.at(self.factors_at, f.mul(f.sub(tile, begin), self.factors.tile_nbytes))
                self.filters.tile(f.at(self.weights_at, f.mul(place, ITEMSIZE)), into, filters, 0, size)

            self.filter_tiles.each_tile(f, begin, end, filters)
            read = f.at(self.read_at, f.mul(index, self.read.nbytes))
            self.multiply(read, self.factors_at, begin, end, blocks > 1)

        f.loop(0, blocks, block)

    def multiply(self, read: Value, weights: Value, begin: Index, end: Index, goes_on: bool) -> None:
        """The products at all places of the block's factors from `read` on with tiles begin <= tile < end of
        the filters, whose transformed weights lie from `weights` on. `goes_on`: they are added to those that
        are there.
        """
        f, factors = self.f, self.factors

        def place(index: Index) -> None:
            a = f.at(read, f.mul(index, self.read.place_nbytes))
            b = f.at(weights, f.mul(index, factors.plane_nbytes))
            to = f.at(self.made_at, f.mul(index, self.made.place_nbytes))
            fetched = self.next_place(a, b)

            def filters(tile: Index, filters: int) -> None:
                local = f.sub(tile, begin)
                there = f.at(b, f.mul(local, factors.tile_nbytes))
                into = f.at(to, f.mul(local, factors.tile * ITEMSIZE))

                def rows(size: int, part: Index) -> None:
                    row = self.rows.start(f, part)
                    number = f.add(f.mul(local, self.rows.parts), part)
                    ahead = [(fetch(number), lines) for fetch, lines in fetched]
                    self.product(
                        f.at(a, f.mul(row, self.read.tile_nbytes)), there,
                        f.at(into, f.mul(row, self.made.tile_nbytes)), size, factors.vectors_of(filters),
                        goes_on, ahead,
                    )  # fmt: skip

                self.rows.each(f, 0, self.rows.parts, rows)

            self.filter_tiles.each_tile(f, begin, end, filters)

        f.loop(0, PLACES, place)

    def next_place(self, a: Value, b: Value) -> list[tuple[Callable[[Index], Value], int]]:
        """What each of a place's products should fetch of the next place's operands, which come from far
        away: where to begin, from the product's number among them, and how many lines a round.
        """
        f, rounds = self.f, -(-self.factors.channels // UNROLL)
        far = []
        if self.read.nbytes > NEAR_NBYTES:
            far.append((a, self.read.place_nbytes, self.block * self.read.tile_nbytes))
        if not self.cut.channel_block and self.factors.nbytes > NEAR_NBYTES:
            far.append((b, self.factors.plane_nbytes, self.chunk * self.factors.tile_nbytes))
        found = []
        for begin, step, nbytes in far:
            lines = -(-nbytes // (self.rows.parts * self.chunk * LINE_NBYTES))
            start, share = f.at(begin, step), lines * LINE_NBYTES
            found.append(
                (lambda i, start=start, share=share: f.at(start, f.mul(i, share)), -(-lines // rounds))
            )
        return found

    def product(
        self, a: Value, b: Value, into: Value, rows: int, vectors: int, goes_on: bool,
        ahead: list[tuple[Value, int]],
    ) -> None:  # fmt: skip
        """One register tile."""
        f, width = self.f, self.lanes * ITEMSIZE
        tile = Tile(
            "float", self.lanes, offsets(rows, self.read.tile_nbytes), ITEMSIZE, offsets(vectors, width),
            vectors * width, unroll=UNROLL,
        )  # fmt: skip
        places = [
            [f.at(into, r * self.made.tile_nbytes + v * width) for v in range(vectors)] for r in range(rows)
        ]
        acc = zeros(f, rows, vectors, tile.type)
        if goes_on:
            acc = [[f.load(tile.type, place) for place in line] for line in places]
        acc = accumulate(f, self.isa, tile, acc, a, b, self.factors.channels, ahead)
        for line, values in zip(places, acc, strict=True):
            for place, value in zip(line, values, strict=True):
                f.store(value, place)
