"""Transposes tiles of loads whose neighbours in memory lie along another axis than the vectors do.

A tile is copied to scratch memory with its axes exchanged, in blocks of 16 bytes by one register that are
transposed with shuffles within 128 bits; the loop over vectors then reads it as if it had been contiguous.
Knows nothing of what is computed with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.compiler.kernel import Access, LoopKernel
from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.registers import ITEMSIZE, storage_type
from treadle.devices.cpu.target import Isa

LINE_NBYTES = 64
MOST_TILES = 4
"""Tiled loads of one kernel; together they should stay in the first cache."""


@dataclass(frozen=True)
class Tile:
    """The place of one load's tile in scratch memory: ``[down + margin, across + margin]`` elements.

    Blocks that would run over the end of an axis are moved back instead: what they copy before the tile's
    first row or column goes to the margins.
    """

    access: Access
    dtype: str
    offset: int
    down: int
    """Elements along the axis in which the operand is contiguous: a cache line."""
    across: int
    block_down: int
    block_across: int

    @property
    def row(self) -> int:
        """Elements from one row of the tile to the next."""
        return self.block_across + self.across

    @property
    def nbytes(self) -> int:
        return (self.block_down + self.down) * self.row * ITEMSIZE[self.dtype]


@dataclass(frozen=True)
class Tiling:
    """The tiles of a kernel, whose loads are contiguous along axis `down`, the one before the vector axis."""

    down: int
    tiles: dict[tuple[int, int], Tile]
    """By stage and instruction."""

    @property
    def height(self) -> int:
        return min(tile.down for tile in self.tiles.values())

    @property
    def width(self) -> int:
        return next(iter(self.tiles.values())).across

    @property
    def nbytes(self) -> int:
        return max(tile.offset + tile.nbytes for tile in self.tiles.values())


def contiguous_axis(kernel: LoopKernel, vector_axis: int) -> int | None:
    """The row axis along which most loads are contiguous that are not so along the vector axis; None if
    there are none.
    """
    counts: dict[int, int] = {}
    for _, _, access in _apart(kernel, vector_axis):
        for axis in range(kernel.rows):
            if axis != vector_axis and access.index.strides[axis] == 1 and kernel.sizes[axis] > 1:
                counts[axis] = counts.get(axis, 0) + 1
    return max(counts, key=lambda axis: counts[axis]) if counts else None


def tiling(kernel: LoopKernel, vector_axis: int, width: int, isa: Isa) -> Tiling | None:
    """The tiles of an elementwise kernel whose vectors lie along its last axis; None where there is nothing
    to transpose.
    """
    down = vector_axis - 1
    tiles: dict[tuple[int, int], Tile] = {}
    offset = 0
    for stage, position, access in _apart(kernel, vector_axis):
        dtype = kernel.operands[access.operand].dtype
        itemsize = ITEMSIZE[dtype]
        block_down, block_across = 16 // itemsize, isa.vector_nbytes // itemsize
        fits = kernel.sizes[down] >= block_down and kernel.sizes[vector_axis] >= block_across
        if access.index.strides[down] == 1 and fits and len(tiles) < MOST_TILES:
            across = max(LINE_NBYTES // itemsize, width, block_across)
            tile = Tile(access, dtype, offset, LINE_NBYTES // itemsize, across, block_down, block_across)
            tiles[stage, position] = tile
            offset += -(-tile.nbytes // 64) * 64
    if not tiles:
        return None
    across = max(tile.across for tile in tiles.values())
    height = min(tile.down for tile in tiles.values())
    placed, offset = {}, 0
    for key, old in tiles.items():
        tile = Tile(old.access, old.dtype, offset, height, across, old.block_down, old.block_across)
        placed[key] = tile
        offset += -(-tile.nbytes // 64) * 64
    return Tiling(down, placed)


def _apart(kernel: LoopKernel, vector_axis: int) -> list[tuple[int, int, Access]]:
    """The loads, by stage and position, whose lanes would be neither neighbours nor the same."""
    return [
        (number, position, instruction.attribute)
        for number, stage in enumerate(kernel.stages)
        for position, instruction in enumerate(stage.body)
        if instruction.op == "load"
        and not instruction.attribute.guards
        and instruction.attribute.index.strides[vector_axis] not in (-1, 0, 1)
    ]


def fill(
    f: Function,
    tile: Tile,
    scratch: Value,
    source: Value,
    stride: int,
    corner: tuple[Index, Index],
    ends: tuple[Index, Index],
    sizes: tuple[int, int],
) -> None:
    """Copy the tile whose first element stands at `corner` (down, across) and that ends before `ends`.

    `source` is the address of the element at (0, 0), `stride` how many elements lie between neighbours
    across.
    """
    itemsize = ITEMSIZE[tile.dtype]
    first, left = corner

    def block(down: Index, across: Index) -> None:
        down = f.min(down, sizes[0] - tile.block_down)
        across = f.min(across, sizes[1] - tile.block_across)
        start = f.at(source, f.mul(f.add(down, f.mul(across, stride)), itemsize))
        rows = transposed(f, storage_type(tile.dtype), start, stride * itemsize, tile.block_across)
        row = f.add(f.sub(down, first), tile.block_down)
        column = f.add(f.sub(across, left), tile.block_across)
        place = f.at(scratch, f.mul(f.add(f.mul(row, tile.row), column), itemsize))
        for k, value in enumerate(rows):
            f.store(value, f.at(f.at(place, tile.offset), k * tile.row * itemsize))

    def line(across: Index) -> None:
        f.loop(first, ends[0], lambda down: block(down, across), step=tile.block_down)

    f.loop(left, ends[1], line, step=tile.block_across)


def transposed(f: Function, type: str, start: Value, stride: int, count: int) -> list[Value]:
    """16 bytes at each of `count` addresses `stride` bytes apart, exchanged: vectors of `count` elements.

    Address ``n * g + i`` of the n in a group lies in 128-bit part g of register i, so that no shuffle
    crosses 128 bits.
    """
    itemsize = int(type[1:]) // 8 if type[0] == "i" else {"float": 4, "double": 8}[type]
    group = 16 // itemsize
    parts = [f.load(vector(type, group), f.at(start, n * stride)) for n in range(count)]
    registers = [_concatenated(f, parts[i::group]) for i in range(group)]
    low, high = ([_interleaved(lane, group, half, count) for lane in range(count)] for half in (0, 1))
    turns = group.bit_length() - 1
    for _ in range(turns):
        # Each turn interleaves the first half of the registers with the second.
        pairs = zip(registers[: group // 2], registers[group // 2 :], strict=True)
        registers = [f.shuffle(a, b, lanes) for a, b in pairs for lanes in (low, high)]
    return registers


def _interleaved(lane: int, group: int, half: int, count: int) -> int:
    """Where a lane comes from when the low or high halves of two vectors' 128-bit parts are interleaved."""
    part, within = divmod(lane, group)
    return part * group + half * group // 2 + within // 2 + (count if within % 2 else 0)


def _concatenated(f: Function, parts: Sequence[Value]) -> Value:
    """Vectors of one type, one after another in a longer one."""
    values = list(parts)
    while len(values) > 1:
        lanes = range(2 * _lanes(values[0]))
        values = [f.shuffle(a, b, lanes) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def _lanes(value: Value) -> int:
    return int(value.type[1 : value.type.index(" x ")])
