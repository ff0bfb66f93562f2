"""How Winograd's products are cut into tasks and blocks, and what they cost: a model of caches and of several
threads.

Everything here is a function of shapes and of the instruction set. How the work is cut changes no bit of the
result: every sum runs over all channels in their order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from treadle.devices.cpu.correlation import Correlation
from treadle.devices.cpu.microkernel import rows_that_fit
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, tile_cycles
from treadle.devices.cpu.winograd_filters import Factors
from treadle.devices.cpu.winograd_tiles import ITEMSIZE
from treadle.devices.cpu.winograd_transform import PLACES

READ_CYCLES, WRITE_CYCLES, FILTER_CYCLES = 330.0, 450.0, 230.0
"""Of transforms: a vector of channels of a patch, of filters of a tile, of a channel's filters."""
PRODUCT_LOSS = 1.3
"""Of a register tile whose operands are near, against the peak."""
END_CYCLES, GO_ON_CYCLES = 20.0, 140.0
"""To begin and to end a register tile, and to add it to what is there."""
CACHE_NBYTES = 5 << 18
"""What a task reads again and again should take; a second-level cache has more."""
STREAM_NBYTES = 6.0
"""Bytes a cycle of what transforms write to farther away."""
FETCH_NBYTES = 2.2
"""Bytes a cycle that products can fetch while they run."""
TASK_CYCLES = 2000.0
THREADS = (1, 2, 4, 8)
"""What tasks are balanced for: to cut finer costs more transforms."""
BLOCKS = (1, 2, 3, 4, 6, 8, 10, 14, 18)
"""Register tiles of the blocks of tiles that are tried."""
PARTS, CHUNKS = (1, 2, 4, 8, 16), (1, 2, 4, 8)
CHANNEL_BLOCKS = 128, 64
LEAST_BLOCK = 32
MOST_NBYTES = 64 << 20
"""The most that all tiles' patches may take together."""


@dataclass(frozen=True)
class Cut:
    """How the work is divided."""

    tiles: EvenCut
    """Tiles of pixels in blocks."""
    parts: EvenCut
    """Tiles of filters in tasks."""
    chunk: int
    """Tiles of filters whose products are in scratch together."""
    patches_first: bool = False
    """Patches of the input are transformed by a step before, not by each task."""
    channel_block: int = 0
    """0: weights are transformed by a step before. Else each task transforms its own, so many channels at
    once, and the patches were before.
    """

    @property
    def tasks(self) -> int:
        return self.tiles.parts * self.parts.parts


def channel_blocks(channels: int, lanes: int) -> list[int]:
    """For each of `CHANNEL_BLOCKS` the largest divisor that is no more, if it is whole vectors or all, and
    not too small.
    """
    found = []
    for most in CHANNEL_BLOCKS:
        sizes = (channels,) if channels <= most else range(LEAST_BLOCK // lanes * lanes, most + 1, lanes)
        found += [size for size in sizes if channels % size == 0][-1:]
    return list(dict.fromkeys(found))


def candidates(tiles: int, factors: Factors, isa: Isa) -> Iterator[Cut]:
    rows = rows_that_fit(isa, factors.vectors)
    blocks = dict.fromkeys(EvenCut(tiles, min(tiles, rows * count)) for count in BLOCKS)
    patches_nbytes = PLACES * tiles * factors.channels * ITEMSIZE
    first = (0, *channel_blocks(factors.channels, factors.lanes)) if patches_nbytes <= MOST_NBYTES else ()
    for block in blocks:
        for count in PARTS:
            parts = EvenCut(factors.tiles, -(-factors.tiles // count))
            if parts.parts != count:
                continue
            for chunk in CHUNKS:
                if chunk < 2 * parts.large:
                    yield Cut(block, parts, chunk)
                    yield from (Cut(block, parts, chunk, True, size) for size in first)


def streamed(nbytes: float) -> float:
    """Cycles that writing takes what does not stay in the cache."""
    return nbytes / STREAM_NBYTES if nbytes > CACHE_NBYTES else 0.0


def cycles(cut: Cut, tiles: int, factors: Factors, isa: Isa) -> float:
    """A mean over numbers of threads of the time that all of them take together."""
    block, lanes, channels = cut.tiles.large, factors.lanes, factors.channels
    vectors_in = -(-channels // lanes)
    vectors_out = min(cut.parts.large * factors.vectors, -(-factors.filters // lanes))
    chunk = min(cut.chunk, cut.parts.large)
    chunks = -(-cut.parts.large // chunk)
    vector_nbytes = PLACES * lanes * ITEMSIZE
    read_nbytes, weights_nbytes = block * vectors_in * vector_nbytes, channels * vectors_out * vector_nbytes
    made_nbytes = block * min(chunk * factors.vectors, vectors_out) * vector_nbytes
    rows = EvenCut(block, rows_that_fit(isa, factors.vectors))
    steps = sum((last - first) * tile_cycles(size, factors.vectors) for size, first, last in rows.kinds())
    ends = rows.parts * END_CYCLES
    fetched, work = 0.0, TASK_CYCLES + block * vectors_out * WRITE_CYCLES
    if cut.channel_block:
        work += channels * vectors_out * FILTER_CYCLES
        ends += rows.parts * (GO_ON_CYCLES + END_CYCLES) * (channels // cut.channel_block - 1)
        near = made_nbytes + weights_nbytes / cut.parts.large * chunk * cut.channel_block / channels
        fetched += chunks * read_nbytes
        before = 0.0
    else:
        near = read_nbytes + made_nbytes + weights_nbytes
        fetched += weights_nbytes if near > CACHE_NBYTES else 0.0
        near = made_nbytes + (0 if cut.patches_first else read_nbytes)
        before = TASK_CYCLES + factors.channels * factors.width / lanes * FILTER_CYCLES
        before += streamed(factors.nbytes)
    if near > CACHE_NBYTES:
        fetched += 2 * near * chunks * (channels / cut.channel_block if cut.channel_block else 1)
    if cut.patches_first:
        fetched += 0.0 if cut.channel_block else chunks * read_nbytes
        before += TASK_CYCLES + tiles * vectors_in * READ_CYCLES
        before += streamed(tiles * vectors_in * vector_nbytes)
    else:
        work += block * vectors_in * READ_CYCLES
    computed = PLACES * cut.parts.large * (channels * steps * PRODUCT_LOSS + ends)
    # What is fetched hides behind the sums, but not quite where both take as long.
    work += (computed**3 + (fetched / FETCH_NBYTES) ** 3) ** (1 / 3)
    busy = sum(-(-cut.tasks // threads) * threads for threads in THREADS) / len(THREADS)
    return work * busy + before


@functools.lru_cache(maxsize=1024)
def choose_cut(tiles: int, factors: Factors, isa: Isa) -> tuple[float, Cut]:
    """The candidate that costs least, and its cycles."""
    choices = ((cycles(cut, tiles, factors, isa), cut) for cut in candidates(tiles, factors, isa))
    return min(choices, key=lambda choice: choice[0])


def direct_cycles(correlation: Correlation, isa: Isa) -> float:
    """What the sums cost as they are written."""
    lanes = isa.lanes(ITEMSIZE)
    products = correlation.pixels * correlation.taps * correlation.channels
    return products * -(-correlation.filters // lanes) / 2 * PRODUCT_LOSS
