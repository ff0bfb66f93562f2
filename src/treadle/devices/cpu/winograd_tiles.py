"""What Winograd's algorithm does with tiles of pixels: patches of the input to factors, products to tiles of
the output.

Vectors are of channels, so channels have to be neighbours in the input; the output may have any layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from treadle.devices.cpu.convolution_epilogue import finish_tile, store_tile
from treadle.devices.cpu.correlation import Correlation
from treadle.devices.cpu.elements import load_vector
from treadle.devices.cpu.epilogue import Corner, movable
from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.winograd_transform import (
    INPUT,
    OUTPUT,
    PATCH,
    PLACES,
    TILE,
    transform,
    transform_in_memory,
)

ITEMSIZE = 4
POINTER_NBYTES = 8
POINTERS_NBYTES = -(-PLACES * POINTER_NBYTES // 64) * 64


@dataclass(frozen=True)
class Planes:
    """Factors or products of tiles in memory: [place][tile][channel], by blocks of channels."""

    tile_nbytes: int
    """From one tile to the next: a block's channels, in whole vectors."""
    place_nbytes: int
    """From one place to the next: never a round number, or all would fall into few sets of the caches."""

    @property
    def nbytes(self) -> int:
        """Of a block of channels."""
        return PLACES * self.place_nbytes


@dataclass(frozen=True)
class Grid:
    """The tiles of an output: all images one after the other, row by row."""

    batch: int
    rows: int
    columns: int

    @property
    def size(self) -> int:
        return self.batch * self.rows * self.columns

    def locate(self, f: Function, tile: Index) -> tuple[Index, Index, Index]:
        """Image, and the tile's first output pixel in it."""
        rest, column = f.divmod(tile, self.columns)
        image, row = f.divmod(rest, self.rows)
        return image, f.mul(row, TILE), f.mul(column, TILE)


def grid_of(correlation: Correlation) -> Grid:
    batch, *spatial = correlation.axes
    rows, columns = (-(-axis.out // TILE) for axis in spatial)
    return Grid(batch.out, rows, columns)


def patch_work_nbytes(channels: int, isa: Isa) -> int:
    """The memory that `read_patch` works in: zeros for all channels, pointers to pixels."""
    width = isa.vector_nbytes
    return -(-channels * ITEMSIZE // width) * width + POINTERS_NBYTES


def read_patch(
    f: Function, isa: Isa, correlation: Correlation, source: Value, tile: Index, work: Value, into: Value,
    planes: Planes,
) -> None:  # fmt: skip
    """The factors of all channels of one tile, stored at `into`. `work` is memory of `patch_work_nbytes` that
    begins with zeros for all channels, which stand for pixels outside the input.
    """
    batch, down, across = correlation.axes
    image, row, column = grid_of(correlation).locate(f, tile)
    row, column = f.add(row, down.offset), f.add(column, across.offset)
    moved = f.add(f.mul(image, batch.input_stride), f.mul(row, down.input_stride))
    corner = f.at(source, f.mul(f.add(moved, f.mul(column, across.input_stride)), ITEMSIZE))
    lanes = isa.lanes(ITEMSIZE)
    type, width = vector("float", lanes), lanes * ITEMSIZE
    block = planes.tile_nbytes // ITEMSIZE
    whole, active = divmod(correlation.channels, lanes)
    pointers = f.at(work, (whole + bool(active)) * width)

    rows = [f.compare("icmp ult", f.i64(f.add(row, r)), f.i64(down.size)) for r in range(PATCH)]
    columns = [f.compare("icmp ult", f.i64(f.add(column, c)), f.i64(across.size)) for c in range(PATCH)]
    for c in range(PATCH):
        for r in range(PATCH):
            pixel = f.at(corner, (r * down.input_stride + c * across.input_stride) * ITEMSIZE)
            chosen = f.select(f.op("and", rows[r], columns[c]), pixel, work)
            f.store(chosen, f.at(pointers, (c * PATCH + r) * POINTER_NBYTES), POINTER_NBYTES)

    def channels(v: Index, to: Value, active: int = 0) -> None:
        moved = f.mul(v, width)
        columns = []
        for c in range(PATCH):
            places = [f.at(pointers, (c * PATCH + r) * POINTER_NBYTES) for r in range(PATCH)]
            pixels = [f.at(f.load("ptr", place, POINTER_NBYTES), moved) for place in places]
            columns.append(transform(f, isa, INPUT, [load_vector(f, p, type, active) for p in pixels]))
        for r, row in enumerate(zip(*columns, strict=True)):
            for c, value in enumerate(transform(f, isa, INPUT, row)):
                f.store(value, f.at(to, (r * PATCH + c) * planes.place_nbytes))

    def block_of(index: Index) -> None:
        """Whole vectors of one block of channels."""
        first = f.mul(index, block // lanes)
        to = f.at(into, f.mul(index, planes.nbytes))
        count = min(whole, block // lanes)
        f.loop(0, count, lambda v: channels(f.add(first, v), f.at(to, f.mul(v, width))))

    f.loop(0, max(1, correlation.channels // block), block_of)
    if active:
        channels(whole, f.at(into, whole * width), active)


def write_tile(
    f: Function, isa: Isa, correlation: Correlation, products: Value, planes: Planes, output: Value,
    extra: Sequence[Value], tile: Index, first: Index, last: Index, work: Value,
) -> None:  # fmt: skip
    """The outputs of one tile for filters first <= filter < last (`first` a multiple of the vector), from its
    products, those of filter `first` first. With the correlation's epilogue, whose operands are `extra`.
    """
    _, down, across = correlation.axes
    image, row, column = grid_of(correlation).locate(f, tile)
    lanes = isa.lanes(ITEMSIZE)
    strides = [axis.output_stride for axis in correlation.axes]
    type = vector("float", lanes)
    moved: Index = correlation.output_base
    for index, stride in zip((image, row, column), strides, strict=True):
        moved = f.add(moved, f.mul(index, stride))
    corner = f.at(output, f.mul(moved, ITEMSIZE))
    valid = f.min(TILE, f.sub(down.out, row)) if down.out % TILE else TILE

    def one(filter: Index, columns: int, filters: int) -> None:
        """`filters` filters of one vector."""
        begin = f.at(products, f.mul(f.sub(filter, first), ITEMSIZE))
        into = f.at(corner, f.mul(filter, correlation.output_channel_stride * ITEMSIZE))

        def load(r: int, c: Index) -> Value:
            place = f.add(f.mul(c, planes.place_nbytes), r * PATCH * planes.place_nbytes)
            return f.load(type, f.at(begin, place))

        def store(r: Index, values: list[Value]) -> None:
            sums = [[value] for value in values[:columns]]
            if correlation.epilogue:
                sums = epilogue(sums, (image, filter, f.add(row, r), column), filters)
            places = [c * strides[2] for c in range(columns)]
            line = f.at(into, f.mul(r, strides[1] * ITEMSIZE))
            store_tile(f, sums, line, places, correlation.output_channel_stride, filters)

        transform_in_memory(f, isa, OUTPUT, type, work, load, store, valid)

    def epilogue(sums: list[list[Value]], begin: tuple[Index, ...], filters: int) -> list[list[Value]]:
        """Of the pixels of one row from `begin` on."""
        placed, operands = correlation, extra
        if movable(placed.epilogue):
            local = Corner(f, placed.extra, extra, begin)
            placed = replace(placed, epilogue=local.body(placed.epilogue), extra=tuple(local.operands))
            operands, begin = local.pointers, (0, 0, 0, 0)
        image, filter, row, column = begin
        pixels = [(image, row, f.add(column, c)) for c in range(len(sums))]
        return finish_tile(f, isa, placed, operands, sums, pixels, filter, filters)

    def filters(columns: int) -> None:
        tail = correlation.filters % lanes
        whole = correlation.filters - tail
        f.loop(first, f.min(last, whole), lambda filter: one(filter, columns, lanes), step=lanes)
        if tail:
            f.loop(f.max(first, whole), last, lambda filter: one(filter, columns, tail), step=lanes)

    full, part = divmod(across.out, TILE)
    if full and part:
        inside = f.compare("icmp ult", f.i64(column), f.i64(full * TILE))
        with f.when(inside):
            filters(TILE)
        with f.when(f.op("xor", inside, Value("i1", "true"))):
            filters(part)
    else:
        filters(TILE if full else part)
