"""How the gradient of a convolution by its weights is divided: blocks of pixels, chunks of blocks, rows of
sums.

Everything is a function of shapes, layouts and the instruction set, so that every sum has one order. Writes
no code.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

from treadle.devices.cpu.convolution_strip import Strip
from treadle.devices.cpu.correlation import (
    STRIP_NBYTES,
    TASK_CYCLES,
    Correlation,
    Packing,
    Tiling,
    aliases,
    divisions,
    occupied,
    strip_pitch,
)
from treadle.devices.cpu.elements import ITEMSIZES, SCALARS
from treadle.devices.cpu.microkernel import rows_that_fit
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, register_tile, tile_cycles

BLOCK_PIXELS = 256
"""Pixels of a block: enough to pay for visiting the sums in memory, few enough that both operands stay in the
caches.
"""
VISIT_CYCLES = 40
"""What it costs a register tile to be added to its sums in memory, block after block."""
MOST_PARTIAL_NBYTES = 64 << 20
"""The most that the chunks' copies of the gradient may take."""


@dataclass(frozen=True)
class Sums:
    """How the sums of one correlation lie in memory and are cut.

    A chunk's copy is [group][filter tile][channel block][outer taps ...][row][lane]. A row is a channel of a
    tap along the last axis, or, where such rows are not evenly spaced and too many for one tile, a channel
    alone.
    """

    correlation: Correlation
    packing: Packing
    tiling: Tiling
    chunks: EvenCut
    """Blocks of pixels in chunks."""
    in_place: bool
    """Whether the input is read where it is."""
    rows_fit: int

    @property
    def strip(self) -> Strip:
        axes = self.correlation.axes
        outs = self.tiling.outputs_of_block(axes)
        channels = self.packing.tile if self.correlation.depthwise else self.packing.channel_block
        pitch = strip_pitch(channels, self.packing.lanes, self.packing.itemsize)
        return Strip(tuple(a.extent(n) for a, n in zip(axes, outs, strict=True)), pitch)

    @property
    def input_strides(self) -> tuple[int, ...]:
        """Elements from one input pixel to the next, as the tiles see the input."""
        return tuple(a.input_stride for a in self.correlation.axes) if self.in_place else self.strip.strides

    @property
    def last_taps(self) -> int:
        """Taps along the last axis that are rows of one tile or of one run of evenly spaced rows."""
        axis, block = self.correlation.axes[-1], self.packing.channel_block
        even = axis.dilation * self.input_strides[-1] == block
        return axis.taps if even or axis.taps * block <= self.rows_fit else 1

    @property
    def row_offsets(self) -> tuple[int, ...]:
        """Elements from the first row to each, in the input."""
        step, block = self.correlation.axes[-1].dilation * self.input_strides[-1], self.packing.channel_block
        return tuple(tap * step + channel for tap in range(self.last_taps) for channel in range(block))

    @property
    def outer_taps(self) -> tuple[int, ...]:
        """The taps that are looped over, per axis of pixels."""
        axes = self.correlation.axes
        return (*(axis.taps for axis in axes[:-1]), axes[-1].taps // self.last_taps)

    @property
    def chunk_size(self) -> int:
        """Elements of a chunk's copy."""
        return self.packing.groups * self.packing.group_size


def choose_sums(c: Correlation, isa: Isa) -> Sums:
    """Cut the work by shape: blocks of pixels, then chunks and parts of the filters so that any number of
    threads is busy.
    """
    itemsize = ITEMSIZES[SCALARS[c.dtype]]
    lanes = isa.lanes(itemsize)
    kernel = tuple(axis.taps for axis in c.axes[1:])
    channels = Packing(c.groups, c.channels, c.filters, kernel, lanes, 1, itemsize).channel_block
    vectors = min(4, register_tile(channels * kernel[-1], c.filters, itemsize, isa)[1])
    packing = Packing(c.groups, c.channels, c.filters, kernel, lanes, vectors, itemsize)
    in_place = c.reads_in_place and not aliases(c.axes[-1].input_stride * itemsize)
    sums = Sums(c, packing, block_tiling(c, packing), EvenCut(0, 1), in_place, rows_that_fit(isa, vectors))
    return divide(sums) if c.pixels else sums


def block_tiling(c: Correlation, packing: Packing) -> Tiling:
    """The largest blocks of pixels that have no more than `BLOCK_PIXELS` and whose copies fit; single pixels
    if none do.
    """
    axes, split = c.axes, len(c.axes) - 1
    tiles, filters = EvenCut(axes[split].out, 1), EvenCut(packing.tiles, packing.tiles)
    tiling = Tiling(split, tiles, 0, EvenCut(0, 1), 0, filters)
    copied = packing.tile if c.depthwise else packing.channel_block
    gradient = 0 if c.output_in_place else packing.tile if c.depthwise else c.filters
    for block in range(len(axes) if c.pixels else 0):
        for count in divisions(axes[block].out):
            ranges = EvenCut(axes[block].out, -(-axes[block].out // count))
            blocks = math.prod(axis.out for axis in axes[:block]) * ranges.parts
            tiling = Tiling(split, tiles, block, ranges, blocks, filters)
            outs = tiling.outputs_of_block(axes)
            pixels = math.prod(outs)
            size = math.prod(axis.extent(out) for axis, out in zip(axes, outs, strict=True)) * copied
            if pixels <= BLOCK_PIXELS and (size + pixels * gradient) * packing.itemsize <= STRIP_NBYTES:
                return tiling
    return tiling


def divide(sums: Sums) -> Sums:
    """Choose the parts of the filters and the chunks of blocks: the quickest by a model of the work, copies
    and sums.
    """
    c, packing, tiling = sums.correlation, sums.packing, sums.tiling
    if c.depthwise:
        filter_parts = [packing.tiles]  # A task's filters are the channels that it copies.
    elif c.output_in_place:
        filter_parts = divisions(packing.tiles)
    else:
        filter_parts = [1]  # Each part would copy the whole gradient.
    most = max(1, MOST_PARTIAL_NBYTES // packing.nbytes)
    chunks = [count for count in divisions(tiling.blocks) if count <= most]
    block = block_cycles(sums)
    cut = [
        replace(
            sums,
            tiling=replace(tiling, filter_parts=EvenCut(packing.tiles, -(-packing.tiles // parts))),
            chunks=EvenCut(tiling.blocks, -(-tiling.blocks // count)),
        )
        for parts, count in itertools.product(filter_parts, chunks)
    ]
    return min(cut, key=lambda sums: cycles(sums, block))


def cycles(sums: Sums, block: tuple[float, float]) -> float:
    """Of all tasks, and of waiting, as a mean over numbers of threads. `block`: see `block_cycles`."""
    packing, chunks, parts = sums.packing, sums.chunks, sums.tiling.filter_parts
    copied, summed = block
    task = TASK_CYCLES + chunks.large * (copied + parts.large * summed)
    tasks = packing.groups * packing.channels // packing.channel_block * parts.parts * chunks.parts
    return task * occupied(tasks) + chunks.parts * packing.nbytes / 4


def block_cycles(sums: Sums) -> tuple[float, float]:
    """Of copying a block of pixels, and of summing it for one tile of filters and one block of channels."""
    copied = 0 if sums.in_place else sums.strip.size * sums.packing.itemsize / 8
    return copied, sum_cycles(sums)


def sum_cycles(sums: Sums) -> float:
    """Cycles for one block of pixels, one tile of filters and one block of channels."""
    vectors, rows = sums.packing.vectors, EvenCut(len(sums.row_offsets), sums.rows_fit)
    pixels = sums.correlation.pixels / sums.tiling.blocks
    step = sum((last - first) * tile_cycles(size, vectors) for size, first, last in rows.kinds())
    return math.prod(sums.outer_taps) * (step * pixels + rows.parts * VISIT_CYCLES)
