"""What happens to a tile's sums before they leave the registers: the epilogue, and the stores into any
layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from treadle.devices.cpu.correlation import Correlation
from treadle.devices.cpu.elements import ITEMSIZES, store_vector
from treadle.devices.cpu.epilogue import Corner, movable
from treadle.devices.cpu.expression import Site, render_body
from treadle.devices.cpu.ir import Function, Index, Value, lanes_of, scalar_of
from treadle.devices.cpu.packing import transpose
from treadle.devices.cpu.registers import ITEMSIZE, cast, to_storage, widen
from treadle.devices.cpu.target import Isa

LINE_NBYTES = 64
FETCHED_NBYTES = 1 << 20
"""Of an operand from which it is fetched while a tile's sums are made: it is in no near cache."""


def finish_tile(
    f: Function,
    isa: Isa,
    correlation: Correlation,
    extra: Sequence[Value],
    sums: Sequence[Sequence[Value]],
    pixels: Sequence[Sequence[Index]],
    first_filter: Index,
    filters: int,
) -> list[list[Value]]:
    """The epilogue of ``sums[pixel][vector]``, as it is stored. `pixels` are their indices (batch,
    spatial...), `extra` the operands' addresses.
    """
    body = correlation.epilogue
    lanes = lanes_of(sums[0][0].type)
    finished = []
    for row, (batch, *spatial) in zip(sums, pixels, strict=True):
        finished.append([])
        for v, value in enumerate(row):
            active = min(lanes, filters - v * lanes)
            index = (batch, f.add(first_filter, v * lanes), *spatial)
            mask = f.mask(lanes, active) if active < lanes else None
            site = Site(f, isa, correlation.extra, extra, index, lanes, 1, mask, value)
            result = cast(f, isa, render_body(site, body)[-1], body[-1].dtype, correlation.dtype)
            finished[-1].append(to_storage(f, isa, correlation.dtype, widen(f, result, lanes)))
    return finished


def at_corner(
    f: Function, correlation: Correlation, extra: Sequence[Value], corner: Sequence[Index]
) -> tuple[Correlation, Sequence[Value], bool]:
    """The correlation and its epilogue's operands counted from an output (batch, channel, spatial...), so
    that offsets from there are constants; and whether they can be.
    """
    if not movable(correlation.epilogue):
        return correlation, extra, False
    local = Corner(f, correlation.extra, extra, corner)
    body = local.body(correlation.epilogue)
    return replace(correlation, epilogue=body, extra=tuple(local.operands)), local.pointers, True


def fetch_tile(
    f: Function,
    correlation: Correlation,
    extra: Sequence[Value],
    pixels: Sequence[Sequence[int]],
    filters: int,
) -> None:
    """Fetch into the second-level cache what the epilogue of a tile will read of large operands, while the
    sums are made. `pixels`, and the operands, are counted from the tile's corner.
    """
    for instruction in correlation.epilogue:
        if instruction.op != "load":
            continue
        operand, affine = instruction.attribute.operand, instruction.attribute.index
        batch, channel, *spatial = affine.strides
        itemsize = ITEMSIZE[correlation.extra[operand].dtype]
        if channel != 1 or correlation.extra[operand].size * itemsize < FETCHED_NBYTES:
            continue
        for pixel in pixels:
            place = sum(i * stride for i, stride in zip(pixel, (batch, *spatial), strict=True)) * itemsize
            for line in range(0, filters * itemsize, LINE_NBYTES):
                f.prefetch(f.at(extra[operand], place + line), locality=2)


def store_tile(
    f: Function,
    sums: Sequence[Sequence[Value]],
    into: Value,
    places: Sequence[int],
    stride: int,
    filters: int,
) -> None:
    """Store ``sums[pixel][vector]``, numbers as they lie in memory: the vectors of `filters` filters,
    `stride` elements apart, at pixels `places` (elements).

    Filters that are not neighbours in memory are turned in registers if the pixels are.
    """
    type = sums[0][0].type
    lanes, itemsize = lanes_of(type), ITEMSIZES[scalar_of(type)]
    neighbours = all(place == places[0] + i for i, place in enumerate(places))
    for v in range(len(sums[0])):
        active = min(lanes, filters - v * lanes)
        first = v * lanes * stride
        if stride == 1:
            for row, place in zip(sums, places, strict=True):
                store_vector(f, row[v], f.at(into, (place + first) * itemsize), active % lanes)
        elif neighbours and len(places) >= lanes // 2 and lanes > 1:
            for begin in range(0, len(places), lanes):
                rows = [row[v] for row in sums[begin : begin + lanes]]
                rows += [f.constant(type, 0.0)] * (lanes - len(rows))
                pixels = min(lanes, len(places) - begin)
                for lane, turned in enumerate(transpose(f, rows)[:active]):
                    place = places[begin] + first + lane * stride
                    store_vector(f, turned, f.at(into, place * itemsize), pixels % lanes)
        else:
            for row, place in zip(sums, places, strict=True):
                for lane in range(active):
                    pointer = f.at(into, (place + first + lane * stride) * itemsize)
                    f.store(f.extract(row[v], lane) if lanes > 1 else row[v], pointer, itemsize)
