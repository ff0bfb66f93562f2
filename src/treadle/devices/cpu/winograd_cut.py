"""How Winograd's products are cut into tasks and blocks, and what they cost: a model of caches and of several
threads.

Everything here is a function of shapes and of the instruction set, so that the order of every sum is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from treadle.devices.cpu.correlation import Correlation, divisions
from treadle.devices.cpu.microkernel import rows_that_fit
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, tile_cycles
from treadle.devices.cpu.winograd_filters import Factors
from treadle.devices.cpu.winograd_tiles import ITEMSIZE, grid_of
from treadle.devices.cpu.winograd_transform import PLACES

READ_CYCLES, WRITE_CYCLES, FILTER_CYCLES = 210.0, 150.0, 210.0
"""Of transforms: a vector of channels of a patch, of filters of a tile, of a channel's filters."""
CACHE_NBYTES = 1 << 20
"""What a block reads again and again should take; a second-level cache has twice as much."""
STREAM_NBYTES = 6.0
"""Bytes a cycle of what comes from farther away."""
TASK_CYCLES = 2000.0
THREADS = (1, 2, 4, 8)
"""What tasks are balanced for: to cut finer costs more transforms."""
CHUNK = 64
"""Filters whose products are in scratch together."""
CHANNEL_BLOCK = 128
MOST_TILES = 256


@dataclass(frozen=True)
class Cut:
    """How the work is divided."""

    tiles: EvenCut
    """Tiles of pixels in blocks."""
    parts: EvenCut
    """Tiles of filters in tasks."""
    chunk: int
    """Tiles of filters whose products are in scratch together."""
    channel_block: int = 0
    """0: weights are transformed by a step before, and each task transforms its input. Else patches of the
    input are transformed by a step before, and each task transforms its weights, so many channels at once.
    """

    @property
    def tasks(self) -> int:
        return self.tiles.parts * self.parts.parts


def channel_blocks(channels: int) -> int:
    """The largest divisor that is no more than `CHANNEL_BLOCK`; 0 where there is no good one."""
    if channels <= CHANNEL_BLOCK:
        return channels
    best = max(n for n in range(1, CHANNEL_BLOCK + 1) if channels % n == 0)
    return best if best >= CHANNEL_BLOCK // 4 else 0


def streamed(nbytes: float, reads: float = 1.0) -> float:
    """Cycles that reading takes again and again what may not stay in the cache."""
    return reads * nbytes / STREAM_NBYTES if nbytes > CACHE_NBYTES else 0.0


def candidates(correlation: Correlation, factors: Factors) -> Iterator[Cut]:
    total = grid_of(correlation).size
    chunk = max(1, CHUNK // factors.tile)
    blocks = channel_blocks(factors.channels)
    for count in divisions(total):
        tiles = EvenCut(total, -(-total // count))
        if tiles.large > MOST_TILES:
            continue
        for parts in divisions(factors.tiles):
            filters = EvenCut(factors.tiles, -(-factors.tiles // parts))
            yield Cut(tiles, filters, chunk)
            if blocks:
                yield Cut(tiles, filters, chunk, blocks)


def cycles(cut: Cut, correlation: Correlation, factors: Factors, isa: Isa) -> float:
    """A mean over numbers of threads of the time that all of them take together."""
    block, lanes = cut.tiles.large, factors.lanes
    vectors_in = -(-factors.channels // lanes)
    vectors_out = min(cut.parts.large * factors.vectors, -(-factors.filters // lanes))
    rows = EvenCut(block, rows_that_fit(isa, factors.vectors))
    steps = sum((last - first) * tile_cycles(size, factors.vectors) for size, first, last in rows.kinds())
    work = (
        PLACES * factors.channels * cut.parts.large * steps + block * vectors_out * WRITE_CYCLES + TASK_CYCLES
    )
    read_nbytes = block * PLACES * vectors_in * lanes * ITEMSIZE
    made_nbytes = block * PLACES * min(cut.chunk * factors.tile, factors.width) * ITEMSIZE
    chunks = -(-cut.parts.large // cut.chunk)
    weights = PLACES * factors.channels * vectors_out * lanes * ITEMSIZE
    filters = factors.channels * factors.width / lanes
    total = grid_of(correlation).size
    if cut.channel_block:
        work += factors.channels * vectors_out * FILTER_CYCLES + chunks * read_nbytes / STREAM_NBYTES
        work += streamed(made_nbytes, factors.channels / cut.channel_block)
        before = total * vectors_in * READ_CYCLES + streamed(read_nbytes * total / block)
    else:
        work += block * vectors_in * READ_CYCLES + streamed(read_nbytes + made_nbytes, chunks)
        work += streamed(weights)
        before = filters * FILTER_CYCLES + streamed(weights * factors.width / lanes / vectors_out)
    busy = sum(-(-cut.tasks // threads) * threads for threads in THREADS) / len(THREADS)
    return work * busy + before


def choose_cut(correlation: Correlation, factors: Factors, isa: Isa) -> Cut:
    """The candidate that costs least."""
    return min(candidates(correlation, factors), key=lambda cut: cycles(cut, correlation, factors, isa))


def direct_cycles(correlation: Correlation, isa: Isa) -> float:
    """What the sums cost as they are written."""
    lanes = isa.lanes(ITEMSIZE)
    products = correlation.pixels * correlation.taps * correlation.channels
    return products * math.ceil(correlation.filters / lanes) / 2 * 1.1
