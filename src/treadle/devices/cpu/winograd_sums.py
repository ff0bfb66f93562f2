"""How the gradient of a 3x3 convolution by its weights is divided where Winograd's algorithm sums it.

Everything is a function of shapes, layouts and the instruction set, so that every sum has one order. Writes
no code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from treadle.devices.cpu.convolution_chunks import MOST_PARTIAL_NBYTES
from treadle.devices.cpu.correlation import TASK_CYCLES, Correlation, Packing, divisions, occupied
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, register_tile, tile_cycles
from treadle.devices.cpu.winograd_patches import ITEMSIZE, Grid, Image, Planes, grid_of
from treadle.devices.cpu.winograd_transform import INPUT, OUTPUT_GRADIENT, PLACES, TAPS

PANEL = 64
"""Most channels of a panel: a block's stays in the first-level cache from one tile of filters to the next."""
BLOCK_TILES = 128
"""Most tiles of a block, unless a unit has more."""
RUN_TILES = 32
"""Most tiles that are summed from zero before they are added in memory. The 128 tiles of 256 channels of
14 x 14 at once have 4.1 times the error of direct sums, in runs of 32 2.6 times, of 16 2.2 times.
"""
CACHE_NBYTES = 5 << 18
"""Of a second-level cache: what a block needs beyond it comes from the third."""
PATCH_CYCLES = 600
"""What it costs to transform a patch of both operands, for a vector of channels of each."""
FINISH_CYCLES = 200
"""What it costs to turn a channel's sums back, for a vector of filters."""
PRODUCT_CYCLES = 20
"""What it costs to begin and to end a register tile."""
VISIT_CYCLES = 2
"""What it costs to add a vector to its sum in a second-level cache."""
FAR_NBYTES = 4
"""Of what lies in a third-level cache or in memory, written and read again, in a cycle."""
WRITE_NBYTES, FETCH_NBYTES = 6.0, 2.2
"""Of far patches, in a cycle: written as they are transformed, and fetched while products are summed."""
PRODUCT_LOSS = 1.3
"""Of a register tile, against the peak."""
MOST_PLANES_NBYTES = 32 << 20
"""The most that a task may transform at once."""


@dataclass(frozen=True)
class Target:
    """Where a gradient is stored: strides in elements, and how the channels are cut in blocks."""

    filters: int
    """That there is room for."""
    filter_stride: int
    channel_stride: int
    tap_strides: tuple[int, int]
    vector_stride: int
    """From one vector of filters to the next."""
    block: int
    """Channels of a block."""
    block_stride: int


@dataclass(frozen=True)
class WinogradSums:
    """How the gradient of one convolution is summed.

    Without `parts` a task transforms and sums a chunk of blocks for all channels and filters, with them all
    blocks for some of the channels and filters.
    """

    grid: Grid
    input: Image
    gradient: Image
    """Of the output."""
    lanes: int
    panel: int
    """Channels of a panel."""
    rows: int
    """Most rows of a register tile: channels."""
    vectors: int
    """Vectors of a register tile: filters."""
    blocks: EvenCut
    """Units in blocks that are summed from zero."""
    chunks: EvenCut
    """Blocks in chunks; more than one are summed apart."""
    parts: tuple[EvenCut, EvenCut] | None = None
    """Panels of channels and tiles of filters in tasks."""

    @property
    def channels(self) -> int:
        return self.input.channels

    @property
    def filters(self) -> int:
        return self.gradient.channels

    @property
    def flops(self) -> int:
        """Of the direct sums."""
        height, width = self.gradient.sizes
        return 2 * TAPS * TAPS * self.grid.batch * height * width * self.channels * self.filters

    @property
    def panels(self) -> int:
        return -(-self.channels // self.panel)

    @property
    def filter_vectors(self) -> int:
        return -(-self.filters // self.lanes)

    @property
    def filter_tiles(self) -> int:
        return -(-self.filter_vectors // self.vectors)

    @property
    def block_tiles(self) -> int:
        """Tiles of the largest block."""
        return self.blocks.large * self.grid.width

    @property
    def run(self) -> int:
        """Tiles that are summed from zero."""
        return EvenCut(self.block_tiles, RUN_TILES).large

    def planes(self, tiles: int, channels: int, filters: int) -> tuple[Planes, Planes]:
        """So many tiles of the transformed input and output gradient."""
        return Planes(tiles, channels, self.panel), Planes(tiles, filters, self.vectors * self.lanes)

    @property
    def packing(self) -> Packing:
        """The chunks' copies of the gradient, as `add_chunks` reads them."""
        return Packing(1, self.channels, self.filters, (TAPS, TAPS), self.lanes, 1, ITEMSIZE)


def suits(c: Correlation) -> bool:
    """Whether Winograd's algorithm can sum a correlation's weight gradient."""
    plain = c.groups == 1 and not c.depthwise and c.dtype == "float32" and len(c.axes) == 3
    return plain and c.pixels > 0 and all(
        (axis.taps, axis.stride, axis.dilation) == (TAPS, 1, 1) for axis in c.axes[1:]
    )  # fmt: skip


def choose_winograd_sums(c: Correlation, isa: Isa) -> tuple[float, WinogradSums]:
    """The quickest division by a model of the work, and its cycles.

    They are those of all tasks and of waiting, as a mean over numbers of threads.
    """
    base = undivided(c, isa)
    return min([*in_chunks(base), *in_parts(base)], key=lambda choice: choice[0])


def undivided(c: Correlation, isa: Isa) -> WinogradSums:
    """All but the blocks, with as many tiles as there may be."""
    batch, height, width = c.axes
    lanes = isa.lanes(ITEMSIZE)
    grid = grid_of(batch.out, height.out, width.out)
    image = Image(
        INPUT, c.channels, (height.size, width.size),
        (batch.input_stride, c.input_channel_stride, height.input_stride, width.input_stride),
        (height.offset, width.offset),
    )  # fmt: skip
    gradient = Image(
        OUTPUT_GRADIENT, c.filters, (height.out, width.out),
        (batch.output_stride, c.output_channel_stride, height.output_stride, width.output_stride), (0, 0),
    )  # fmt: skip
    panel = EvenCut(-(-c.channels // lanes), max(1, PANEL // lanes)).large * lanes
    rows, vectors = register_tile(min(panel, c.channels), c.filters, ITEMSIZE, isa)
    blocks = EvenCut(grid.units, min(grid.units, max(1, BLOCK_TILES // grid.width)))
    return WinogradSums(
        grid, image, gradient, lanes, panel, rows, vectors, blocks, EvenCut(blocks.parts, blocks.parts)
    )


def in_chunks(base: WinogradSums) -> Iterator[tuple[float, WinogradSums]]:
    """Divisions in which a task has a chunk of blocks, and their cycles."""
    finish = TASK_CYCLES + base.channels * base.filter_vectors * FINISH_CYCLES
    sums_nbytes = PLACES * base.channels * base.filter_vectors * base.lanes * ITEMSIZE
    for units in sorted({max(1, base.blocks.most // part) for part in (1, 2, 4)}):
        s = replace(base, blocks=EvenCut(base.grid.units, units))
        planes = s.planes(s.block_tiles, s.channels, s.filters)
        nbytes = sums_nbytes + sum(plane.nbytes for plane in planes)
        far = max(0, nbytes - CACHE_NBYTES) / FAR_NBYTES
        products = product_cycles(s, s.panels, s.filter_tiles)
        block = s.blocks.large * unit_cycles(s) + products + far
        for count in divisions(s.blocks.parts):
            chunks = EvenCut(s.blocks.parts, -(-s.blocks.parts // count))
            copies = chunks.parts * s.packing.nbytes if chunks.parts > 1 else 0
            if copies <= MOST_PARTIAL_NBYTES:
                task = finish + chunks.large * block
                yield task * busy(chunks.parts) + copies / 2, replace(s, chunks=chunks)


def in_parts(s: WinogradSums) -> Iterator[tuple[float, WinogradSums]]:
    """Divisions in which a task has a part of the channels and filters, and their cycles."""
    for panels, tiles in itertools.product((1, 2, 4, 8), (1, 2, 4)):
        parts = EvenCut(s.panels, panels), EvenCut(s.filter_tiles, tiles)
        vectors = min(s.filter_vectors, parts[1].large * s.vectors)
        planes = s.planes(s.grid.tiles, s.panel, vectors * s.lanes)
        nbytes = sum(plane.nbytes for plane in planes)
        if nbytes > MOST_PLANES_NBYTES:
            continue
        sums_nbytes = PLACES * s.panel * vectors * s.lanes * ITEMSIZE
        far = nbytes > CACHE_NBYTES
        patch = s.grid.tiles * (PATCH_CYCLES / 2 + far * PLACES * s.lanes * ITEMSIZE / WRITE_NBYTES)
        products = PRODUCT_LOSS * s.blocks.parts * product_cycles(s, 1, parts[1].large)
        fetched = far * nbytes / FETCH_NBYTES
        # What is fetched hides behind the sums, but not quite where both take as long.
        panel = patch * s.panel / s.lanes + (products**3 + fetched**3) ** (1 / 3)
        panel += s.panel * vectors * FINISH_CYCLES
        panel += (nbytes + sums_nbytes > CACHE_NBYTES) * sums_nbytes / WRITE_NBYTES
        task = TASK_CYCLES + patch * vectors + parts[0].large * panel
        yield task * busy(parts[0].parts * parts[1].parts), replace(s, parts=parts)


def unit_cycles(s: WinogradSums) -> float:
    """Of transforming a unit of both operands."""
    return s.grid.width * (-(-s.channels // s.lanes) + s.filter_vectors) * PATCH_CYCLES / 2


def product_cycles(s: WinogradSums, panels: int, filter_tiles: int) -> float:
    """Of the products of a block for so many panels of channels and tiles of filters."""
    channels, vectors = min(s.channels, s.panel * panels), min(s.filter_vectors, s.vectors * filter_tiles)
    rows = EvenCut(min(s.channels, s.panel), s.rows)
    tiles = sum(
        (last - first) * (s.block_tiles * tile_cycles(size, s.vectors) + PRODUCT_CYCLES)
        for size, first, last in rows.kinds()
    )
    visits = -(-s.block_tiles // s.run) * VISIT_CYCLES
    # Of a whole panel and a whole tile of filters; the last of either may be smaller.
    return PLACES * channels * vectors * (tiles / (rows.size * s.vectors) + visits)


def busy(tasks: int) -> float:
    """Like `occupied`, but half of the machines have two threads: most weight gradients are large, and seven
    tasks would keep two threads for eight.
    """
    return (occupied(tasks) + -(-tasks // 2) * 2) / 2
