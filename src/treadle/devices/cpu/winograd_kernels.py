"""Writes Winograd's kernels: patches of the input to factors, and factors by weights to outputs.

Every product is made of calls of the one microkernel. Knows how the work was cut, not why.
"""

from __future__ import annotations

from treadle.devices.cpu.convolution_strip import clear
from treadle.devices.cpu.correlation import Correlation, strip_pitch
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Index, Value, vector
from treadle.devices.cpu.microkernel import Tile, accumulate, offsets, rows_that_fit, zeros
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

LINE_NBYTES = 64
STREAMED_NBYTES = 32 * 1024
"""Weights of a tile beyond this are fetched ahead of their use, `AHEAD_NBYTES` of them."""
AHEAD_NBYTES = 2048
PATCHES = 8
"""Tiles of a task that transforms the input alone."""


def planes_of(width: int, isa: Isa) -> Planes:
    """[tile][place][channel] for that many channels. All places of a tile lie together, so that a transform
    touches few pages.
    """
    lanes = isa.lanes(ITEMSIZE)
    pitch = strip_pitch(-(-width // lanes) * lanes, lanes, ITEMSIZE) * ITEMSIZE
    return Planes(PLACES * pitch + LINE_NBYTES, pitch)


def transform_patches(correlation: Correlation, isa: Isa) -> NativeKernel:
    """Operands: input, factors of all tiles."""
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, scratch = f.arguments
    source, target = f.load("ptr", arguments, 8), f.load("ptr", f.at(arguments, 8), 8)
    planes = planes_of(correlation.channels, isa)
    cut = EvenCut(grid_of(correlation).size, PATCHES)
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

    Operands: input and transformed weights, or transformed input and weights, as the cut says; output; those
    of the epilogue.
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
        self.read = planes_of(factors.channels, isa)
        """Factors of the block's input."""
        self.made = planes_of(min(self.chunk * factors.tile, factors.width), isa)
        """Products of the block with a chunk of the filters."""
        self.rows = EvenCut(self.block, rows_that_fit(isa, factors.vectors))

    def kernel(self, label: str) -> NativeKernel:
        module, c, cut = module_for(self.isa), self.correlation, self.cut
        self.f = f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
        arguments, first, last, scratch = f.arguments
        self.source, self.weights_at, self.output, *self.extra = [
            f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(3 + len(c.extra))
        ]
        sizes = [work_nbytes(OUTPUT, self.isa.vector_nbytes), self.block * self.made.tile_nbytes]
        if cut.channel_block:
            turned = f.at(scratch, sum(sizes))
            self.filters = FilterWriter(f, self.isa, self.factors, self.weights, turned)
            sizes += [self.filters.scratch_nbytes, self.factors.nbytes]
            self.factors_at = f.at(scratch, sum(sizes[:-1]))
        else:
            self.work = f.at(scratch, sum(sizes))
            sizes += [patch_work_nbytes(c.channels, self.isa), self.block * self.read.tile_nbytes]
            self.read_at = f.at(scratch, sum(sizes[:-1]))
            self.factors_at = self.weights_at
            clear(f, self.work, c.channels * ITEMSIZE)
        self.write_work, self.made_at = scratch, f.at(scratch, sizes[0])
        f.loop(first, last, self.task)
        f.ret()
        flops = 2 * c.pixels * c.taps * c.channels * c.filters
        return NativeKernel(module.text(), label, cut.tasks, sum(sizes), flops)

    def task(self, index: Index) -> None:
        f, cut, c = self.f, self.cut, self.correlation
        part, block = f.divmod(index, cut.tiles.parts)
        first, last = cut.tiles.start(f, block), cut.tiles.start(f, f.add(block, 1))
        if cut.channel_block:
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
                f.loop(0, PLACES, lambda place: self.multiply(place, self.read_at, begin, begin, end))
            tile = self.filter_tiles.tile
            filters = f.mul(begin, tile), f.min(f.mul(end, tile), c.filters)

            def write(tile: Index) -> None:
                products = f.at(self.made_at, f.mul(f.sub(tile, first), self.made.tile_nbytes))
                write_tile(
                    f,
                    self.isa,
                    c,
                    products,
                    self.made,
                    self.output,
                    self.extra,
                    tile,
                    *filters,
                    self.write_work,
                )

            f.loop(first, last, write)

        start, stop = cut.parts.start(f, part), cut.parts.start(f, f.add(part, 1))
        f.loop(start, stop, chunk, step=self.chunk)

    def transform_and_multiply(self, begin: Index, end: Index) -> None:
        """Sum over blocks of channels, whose weights are transformed to scratch."""
        f, size, weights = self.f, self.cut.channel_block, self.weights
        blocks = self.correlation.channels // size
        if blocks > 1:
            clear(f, self.made_at, self.block * self.made.tile_nbytes)

        def block(index: Index) -> None:
            channel = f.mul(index, size)
            moved = f.add(f.mul(channel, weights.channel), weights.base)

            def filters(tile: Index, filters: int) -> None:
                place = f.add(moved, f.mul(tile, self.filter_tiles.tile * weights.filter))
                into = f.at(self.factors_at, f.mul(f.sub(tile, begin), self.factors.tile_nbytes))
                self.filters.tile(f.at(self.weights_at, f.mul(place, ITEMSIZE)), into, filters, 0, size)

            self.filter_tiles.each_tile(f, begin, end, filters)
            read = f.at(self.read_at, f.mul(channel, ITEMSIZE))
            f.loop(0, PLACES, lambda place: self.multiply(place, read, 0, begin, end, blocks > 1))

        f.loop(0, blocks, block)

    def multiply(
        self, place: Index, read: Value, panel: Index, begin: Index, end: Index, goes_on: bool = False
    ) -> None:
        """The products at one place of the block with tiles begin <= tile < end of the filters, whose weights
        are those from tile `panel` on at `factors_at`. `goes_on`: they are added to those that are there.
        """
        f, factors, made = self.f, self.factors, self.made
        a = f.at(read, f.mul(place, self.read.place_nbytes))
        b = f.at(self.factors_at, f.mul(place, factors.plane_nbytes))
        to = f.at(self.made_at, f.mul(place, made.place_nbytes))
        width, type = self.lanes * ITEMSIZE, vector("float", self.lanes)

        def filters(tile: Index, filters: int) -> None:
            vectors = factors.vectors_of(filters)
            local = f.sub(tile, begin)
            weights = f.at(b, f.mul(f.add(local, panel), factors.tile_nbytes))
            target = f.at(to, f.mul(local, factors.tile * ITEMSIZE))
            ahead = AHEAD_NBYTES if factors.channels * vectors * width > STREAMED_NBYTES else 0

            def rows(size: int, part: Index) -> None:
                row = self.rows.start(f, part)
                tile = Tile(
                    "float", self.lanes, offsets(size, self.read.tile_nbytes), ITEMSIZE,
                    offsets(vectors, width), vectors * width, unroll=1, b_prefetch=ahead,
                )  # fmt: skip
                into = f.at(target, f.mul(row, made.tile_nbytes))
                places = [
                    [f.at(into, r * made.tile_nbytes + v * width) for v in range(vectors)]
                    for r in range(size)
                ]
                acc = zeros(f, size, vectors, type)
                if goes_on:
                    acc = [[f.load(type, place) for place in line] for line in places]
                start = f.at(a, f.mul(row, self.read.tile_nbytes))
                if self.cut.channel_block:
                    with f.when(f.compare("icmp eq", f.i64(local), Value("i64", "0"))):
                        self.fetch_next_place(start, size)
                acc = accumulate(f, self.isa, tile, acc, start, weights, factors.channels)
                for line, values in zip(places, acc, strict=True):
                    for place, value in zip(line, values, strict=True):
                        f.store(value, place)

            self.rows.each(f, 0, self.rows.parts, rows)

        self.filter_tiles.each_tile(f, begin, end, filters)

    def fetch_next_place(self, start: Value, rows: int) -> None:
        """Bring near what the same tiles have at the next place: the runs are too short to be foreseen."""
        f = self.f

        def line(offset: Index) -> None:
            begin = f.at(start, f.add(offset, self.read.place_nbytes))
            for r in range(rows):
                f.prefetch(f.at(begin, r * self.read.tile_nbytes))

        f.loop(0, self.factors.channels * ITEMSIZE, line, step=LINE_NBYTES)
