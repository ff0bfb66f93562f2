"""What every direction of a convolution is made of: a sum over taps, its register tiles and its blocks of
work.

A `Correlation` reads ``input[out * stride + tap * dilation + offset]`` along each axis. A convolution is one;
its gradient by the input is one for each residue of the strides. Here they are only described and divided; no
code is written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from treadle.compiler.kernel import Instruction, Operand
from treadle.devices.cpu.elements import ITEMSIZES, SCALARS, summed_as_stored
from treadle.devices.cpu.ir import Function, Index
from treadle.devices.cpu.microkernel import rows_that_fit
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, tile_cycles
from treadle.devices.cpu.tuning import pick

STRIP_NBYTES = 192 * 1024
"""The most a block's copied input may take: it stays in a second-level cache beside the weights."""
ALIASING_NBYTES = 1024
"""Pixels a multiple of this apart fall into few sets of the first-level cache: copies keep them further
apart.
"""
CACHED_NBYTES = 512 * 1024
"""The most that packed weights may take to be read again by every block of pixels."""
CROWDING_NBYTES = 2048
"""Pixels a multiple of this apart, as a register tile has them, fall into two sets of the first-level cache:
reading them in place costs more than a copy (15 to 20 % of a convolution 1 x 1).
"""
CHANNEL_BLOCK = 128
"""Longer sums over channels are cut, so that the pixels of a tile stay in the first-level cache from tap to
tap.
"""
THREADS = (1, 2, 3, 4, 6, 8, 12, 16)
"""The numbers of threads that work is balanced for, whatever the machine has: its division is a function of
shape alone.
"""
TASK_CYCLES = 2000.0
"""What starting a task costs, in the units of `Tiling.cycles`."""


@dataclass(frozen=True)
class Axis:
    """One axis of pixels (the batch is one, with a single tap). Strides are in elements."""

    out: int
    size: int
    input_stride: int
    output_stride: int
    taps: int = 1
    stride: int = 1
    dilation: int = 1
    offset: int = 0
    kernel: int = 1
    """Taps along this axis in the packed weights; this correlation uses ``first_tap + tap * tap_step`` of
    them.
    """
    first_tap: int = 0
    tap_step: int = 1

    def extent(self, outs: int) -> int:
        """How many input elements `outs` neighbouring outputs span."""
        return (outs - 1) * self.stride + max(self.taps - 1, 0) * self.dilation + 1

    def meets(self, first: int, last: int, tap: int) -> bool:
        """Whether a tap of some output of a range meets the input."""
        begin, end = (out * self.stride + self.offset + tap * self.dilation for out in (first, last))
        return end >= 0 and begin < self.size

    def beside(self, together: int) -> float:
        """The share of taps that fall beside the input for all of `together` neighbouring outputs."""
        runs = [(first, min(first + together, self.out) - 1) for first in range(0, self.out, together)]
        missed = sum(not self.meets(*run, tap) for run in runs for tap in range(self.taps))
        return missed / max(1, len(runs) * self.taps)

    @property
    def has_halo(self) -> bool:
        """Whether some tap of some output falls outside the input."""
        return self.offset < 0 or self.offset + self.extent(self.out) > self.size


@dataclass(frozen=True)
class Correlation:
    """output[pixel, k] = sum over taps and channels of input[pixel moved by tap, channel] * weight[tap,
    channel, k].
    """

    groups: int
    channels: int
    """Summed over, in each group."""
    filters: int
    """Output channels of each group."""
    axes: tuple[Axis, ...]
    """The batch, then the spatial axes."""
    input_channel_stride: int
    output_channel_stride: int
    dtype: str
    depthwise: bool = False
    """Filter k sees input channel k alone. There is one group then, and one channel to sum over: the lanes
    are the channels.
    """
    output_base: int = 0
    """Elements from the start of the output to its first pixel."""
    epilogue: tuple[Instruction, ...] = ()
    extra: tuple[Operand, ...] = ()

    @property
    def pixels(self) -> int:
        return math.prod(axis.out for axis in self.axes)

    @property
    def taps(self) -> int:
        return math.prod(axis.taps for axis in self.axes)

    @property
    def reads_in_place(self) -> bool:
        """Whether tiles can read the input where it is: channels together, no halo, nothing to widen, and
        pixels that stay in the first-level cache beside each other.
        """
        one = self.channels * self.groups == 1 and not self.depthwise
        if not (self.input_channel_stride == 1 or one) or not summed_as_stored(self.dtype):
            return False
        last = self.axes[-1]
        step = last.stride * last.input_stride * ITEMSIZES[SCALARS[self.dtype]]
        crowded = self.channels > 1 and step % CROWDING_NBYTES == 0
        return not crowded and not any(axis.has_halo for axis in self.axes)

    @property
    def output_in_place(self) -> bool:
        """Whether tiles can read the output's gradient where it is."""
        one = self.filters * self.groups == 1
        return (self.output_channel_stride == 1 or one) and summed_as_stored(self.dtype)


@dataclass(frozen=True)
class Packing:
    """Weights as the tiles read them: [group][filter tile][channel block][taps ...][channel][lane], zeros in
    unused lanes.
    """

    groups: int
    channels: int
    filters: int
    kernel: tuple[int, ...]
    lanes: int
    vectors: int
    itemsize: int

    @property
    def channel_block(self) -> int:
        """The largest divisor of the channels that is no more than `CHANNEL_BLOCK`, or all where there is no
        good one.
        """
        if self.channels <= CHANNEL_BLOCK:
            return self.channels
        best = max(n for n in range(1, CHANNEL_BLOCK + 1) if self.channels % n == 0)
        return best if best >= CHANNEL_BLOCK // 4 else self.channels

    @property
    def tile(self) -> int:
        """Filters of a full tile."""
        return self.lanes * self.vectors

    @property
    def tiles(self) -> int:
        return -(-self.filters // self.tile)

    def vectors_of(self, tile: int) -> int:
        """Vectors of a tile: the last may have fewer."""
        return min(self.vectors, -(-(self.filters - tile * self.tile) // self.lanes))

    @property
    def tile_size(self) -> int:
        """Elements of a full tile."""
        return math.prod(self.kernel) * self.channels * self.tile

    @property
    def group_size(self) -> int:
        """Elements of a group."""
        vectors = -(-self.filters // self.lanes)
        return math.prod(self.kernel) * self.channels * self.lanes * vectors

    @property
    def nbytes(self) -> int:
        return self.groups * self.group_size * self.itemsize

    @property
    def stays_cached(self) -> bool:
        """Whether all weights stay in a thread's second-level cache from task to task."""
        return self.nbytes <= CACHED_NBYTES


@dataclass(frozen=True)
class Tiling:
    """How the pixels of a correlation are cut.

    A register tile covers the axes after `split` and a part of axis `split`. A block, the pixels of one task,
    covers the axes after `block` and a range of axis `block`, which is `split` (counted in tiles) or lies
    before it (counted in outputs).
    """

    split: int
    tiles: EvenCut
    """Axis `split` in register tiles."""
    block: int
    ranges: EvenCut
    """Axis `block` in blocks."""
    blocks: int
    filter_parts: EvenCut
    """Tiles of filters in tasks."""

    @property
    def tasks(self) -> int:
        """Tasks of one group."""
        return self.blocks * self.filter_parts.parts

    def outputs_of_block(self, axes: tuple[Axis, ...]) -> tuple[int, ...]:
        """The most outputs a block has along each axis."""
        outs = []
        for i, axis in enumerate(axes):
            if i < self.block:
                outs.append(1)
            elif i > self.block:
                outs.append(axis.out)
            elif i < self.split:
                outs.append(self.ranges.large)
            else:
                outs.append(min(axis.out, self.ranges.large * self.tiles.large))
        return tuple(outs)

    def locate(self, f: Function, axes: tuple[Axis, ...], block: Index) -> tuple[list[Index], Index, Index]:
        """A block's first output along each axis, and its range of axis `block`."""
        outer, place = f.divmod(block, self.ranges.parts)
        origin: list[Index] = [0] * len(axes)
        for i in reversed(range(self.block)):
            outer, origin[i] = f.divmod(outer, axes[i].out)
        first, last = self.ranges.start(f, place), self.ranges.start(f, f.add(place, 1))
        origin[self.block] = self.tiles.start(f, first) if self.block == self.split else first
        return origin, first, last


def aliases(nbytes: int) -> bool:
    """Whether pixels this far apart fall into few sets of the first-level cache."""
    return nbytes % ALIASING_NBYTES == 0


def strip_pitch(channels: int, lanes: int, itemsize: int) -> int:
    """Elements from pixel to pixel of a copy with this many channels."""
    return channels + (lanes if aliases(channels * itemsize) else 0)


def split_axis(axes: tuple[Axis, ...], rows: int) -> tuple[int, int]:
    """The axis a tile of `rows` pixels has a part of, and the pixels of the axes after it, all of which it
    has.
    """
    inner, split = 1, len(axes) - 1
    while split > 0 and inner * axes[split].out <= rows:
        inner *= axes[split].out
        split -= 1
    return split, inner


def divisions(length: int) -> list[int]:
    """Numbers of even parts worth trying: all that differ in the largest part, thinned out where there are
    many.
    """
    counts: list[int] = []
    for count in sorted({-(-length // size) for size in range(1, length + 1)}):
        if not counts or count == length or count >= 1.1 * counts[-1]:
            counts.append(count)
    return counts


def occupied(tasks: int) -> float:
    """Tasks' worth of time that threads are busy or wait for others, as a mean over numbers of threads."""
    return sum(-(-tasks // threads) * threads for threads in THREADS) / len(THREADS)


def choose_vectors(axes: tuple[Axis, ...], filters: int, isa: Isa, lanes: int) -> int:
    """Vectors of filters a tile should have: the number with the least work for these pixels and filters."""
    wanted = -(-filters // lanes)

    def cycles(vectors: int) -> float:
        rows = rows_that_fit(isa, vectors)
        split, inner = split_axis(axes, rows)
        full, rest = divmod(wanted, vectors)
        total = 0.0
        for part, first, last in EvenCut(axes[split].out, max(1, rows // inner)).kinds():
            total += (last - first) * full * tile_cycles(part * inner, vectors)
            total += (last - first) * tile_cycles(part * inner, rest) if rest else 0.0
        return total * math.prod(axis.out for axis in axes[:split])

    return min(range(1, min(wanted, 4) + 1), key=lambda vectors: (cycles(vectors), vectors != 2))


def choose_tiling(correlation: Correlation, packing: Packing, isa: Isa) -> Tiling:
    """Cut the work so that a model of `THREADS` threads, their caches and their copies of the input is
    quickest.
    """
    axes, itemsize = correlation.axes, packing.itemsize
    rows = rows_that_fit(isa, packing.vectors)
    split, inner = split_axis(axes, rows)
    tiles = EvenCut(axes[split].out, max(1, rows // inner))
    depth = correlation.taps * correlation.channels
    kinds = [
        (last - first) * tile_cycles(part * inner, packing.vectors) for part, first, last in tiles.kinds()
    ]
    tile_work = depth * sum(kinds) / tiles.parts
    strip_channels = packing.tile if correlation.depthwise else correlation.channels
    filter_counts = [packing.tiles] if correlation.depthwise else divisions(packing.tiles)
    found: list[tuple[float, Tiling]] = []
    for block in range(split, -1, -1):
        length = tiles.parts if block == split else axes[block].out
        outside = math.prod(axis.out for axis in axes[:block])
        inside = (
            1 if block == split else tiles.parts * math.prod(axis.out for axis in axes[block + 1 : split])
        )
        for count in divisions(length):
            ranges = EvenCut(length, -(-length // count))
            blocks = outside * ranges.parts
            candidate = Tiling(split, tiles, block, ranges, blocks, EvenCut(packing.tiles, packing.tiles))
            outs = candidate.outputs_of_block(axes)
            strip = strip_channels * math.prod(a.extent(n) for a, n in zip(axes, outs, strict=True))
            # What is read in place comes from the thread that wrote it, as often as not.
            moved = strip * itemsize / (16 if correlation.reads_in_place else 8)
            if strip * itemsize > STRIP_NBYTES and not (block == split and ranges.large == 1):
                continue
            for filter_count in filter_counts:
                filter_parts = EvenCut(packing.tiles, -(-packing.tiles // filter_count))
                tasks = blocks * filter_parts.parts * correlation.groups
                work = ranges.large * inside * filter_parts.large * tile_work
                weights = filter_parts.large * packing.tile_size * itemsize
                cycles = work + TASK_CYCLES + moved + weights / (64 if packing.stays_cached else 16)
                total = cycles * occupied(tasks)
                found.append((total, Tiling(split, tiles, block, ranges, blocks, filter_parts)))
    found.sort(key=lambda pair: pair[0])
    problem = "tiling", replace(correlation, epilogue=(), extra=()), packing
    return pick(problem, [tiling for _, tiling in found], isa)
