"""What attention is as sizes and strides, and how it is cut into blocks of queries and keys.

Scores are held by keys, with queries side by side: maxima and sums of a query's weights are then made lane by
lane, keys and values are read one number at a time from wherever they lie, and only queries are turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from treadle.devices.cpu.elements import ITEMSIZES, SCALARS
from treadle.devices.cpu.ir import Function, Index
from treadle.devices.cpu.microkernel import rows_that_fit
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut

VECTORS = 2
"""Vectors of queries of a block: register tiles of 14 by 2 are near the peak, and with few queries of a block
little is computed that a causal mask leaves out.
"""
BLOCK_KEYS = 128
"""About so many keys' scores are held at a time: they stay in the first cache, or nearly."""
MOST_TASKS = 64


@dataclass(frozen=True)
class Attention:
    """``result[b, t] = sum over s of weights[b, t, s] value[b, s]``, ``weights = softmax over s of scale *
    query[b, t] . key[b, s] + mask[b, t, s]``; ``normalizer[b, t]`` is the logarithm of the sum of the
    exponentials.

    Strides count elements, and are over (batch..., places, size or features); the mask's over (batch...,
    targets, sources), those of rows over (batch..., targets). No size is 0.
    """

    batch: tuple[int, ...]
    targets: int
    sources: int
    size: int
    features: int
    query: tuple[int, ...]
    key: tuple[int, ...]
    value: tuple[int, ...]
    mask: tuple[int, ...] | None
    result: tuple[int, ...]
    """Of the result, or of its gradient."""
    worth: tuple[int, ...]
    """Of what rows are worth: read by the gradient alone."""
    normalizer: tuple[int, ...]
    query_gradient: tuple[int, ...]
    key_gradient: tuple[int, ...]
    value_gradient: tuple[int, ...]
    scale: float
    causal: bool
    dtype: str = "float32"

    @property
    def label(self) -> str:
        sizes = f"{prod(self.batch)}x{self.targets}x{self.sources}x{self.size}"
        return sizes + (f"+{self.features}" if self.features != self.size else "")

    @property
    def pairs(self) -> int:
        """Queries and keys that meet, by the tiles of a causal mask about half of all."""
        count = prod(self.batch) * self.targets * self.sources
        return count * 5 // 8 if self.causal else count


class Cuts:
    """Blocks of queries, tiles of keys, and blocks of such tiles."""

    def __init__(self, a: Attention, isa: Isa):
        self.scalar = SCALARS[a.dtype]
        self.itemsize = ITEMSIZES[self.scalar]
        self.lanes = isa.lanes(self.itemsize)
        self.width = VECTORS * self.lanes
        """Queries of a block."""
        self.queries = -(-a.targets // self.width)
        """Blocks of queries."""
        most = rows_that_fit(isa, VECTORS)
        self.tiles = even(a.sources, most)
        self.blocks = EvenCut(self.tiles.parts, max(1, BLOCK_KEYS // self.tiles.large))
        """Of tiles."""
        self.block_keys = self.blocks.large * self.tiles.large
        """Most keys of a block."""
        self.least_keys = self.blocks.smallest * self.tiles.smallest
        self.size_tiles = even(a.size, most)
        self.feature_tiles = even(a.features, most)
        self.row_nbytes = self.width * self.itemsize
        """Of a row of scratch memory: one number for every query of a block."""


def even(size: int, most: int) -> EvenCut:
    """Tiles of at most so many rows; all of one height if they need not be much lower for it: of another one
    would have to be compiled, too.
    """
    heights = [rows for rows in range(most, most // 2, -1) if size % rows == 0]
    return EvenCut(size, heights[0] if heights else most)


def part_of(f: Function, cut: EvenCut, thing: Index) -> Index:
    """The part of a cut that a thing belongs to; of the one after the last, the number of parts."""
    edge = cut.larger * cut.large
    part = f.divmod(f.min(thing, edge), cut.large)[0]
    if cut.larger == cut.parts:
        return part
    return f.add(part, f.divmod(f.max(f.sub(thing, edge), 0), cut.large - 1)[0])
