"""Copy the part of an input that a block of outputs needs to scratch memory, with zeros where it leaves the
input.

The copy has the channels innermost whatever the layout of the source, and numbers as they are summed, so that
everything after it sees one layout. Knows windows of memory, not convolutions' directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from treadle.devices.cpu.elements import ITEMSIZES, SCALARS, load_numbers, summed_as_stored
from treadle.devices.cpu.ir import Function, Index, Value
from treadle.devices.cpu.packing import transpose
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa

MOST_INTERLEAVED = 4
"""Channels that are put between each other in registers."""


@dataclass(frozen=True)
class Strip:
    """A window of `extents` pixels, channels innermost, `pitch` elements from pixel to pixel (those unused
    are zero).
    """

    extents: tuple[int, ...]
    pitch: int

    @property
    def size(self) -> int:
        """Elements of the whole copy."""
        return math.prod(self.extents) * self.pitch

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index to the next along each axis."""
        return tuple(self.pitch * math.prod(self.extents[axis + 1 :]) for axis in range(len(self.extents)))


def nest(f: Function, counts: Sequence[Index], body: Callable[[list[Index]], None]) -> None:
    """Loops over all indices below `counts`, the last innermost."""

    def level(indices: list[Index]) -> None:
        if len(indices) == len(counts):
            body(indices)
        else:
            f.loop(0, counts[len(indices)], lambda i: level([*indices, i]))

    level([])


def dot(f: Function, indices: Sequence[Index], strides: Sequence[int]) -> Index:
    """The sum of index times stride."""
    total: Index = 0
    for index, stride in zip(indices, strides, strict=True):
        total = f.add(total, f.mul(index, stride))
    return total


def clamp(f: Function, value: Index, limit: int) -> Index:
    """`value` brought into 0 ... limit."""
    if isinstance(value, int):
        return min(max(value, 0), limit)
    return f.intrinsic("smax", f.intrinsic("smin", value, f.i64(limit)), f.i64(0))


def copy_strip(
    f: Function,
    isa: Isa,
    dtype: str,
    strip: Strip,
    target: Value,
    source: Value,
    origin: Sequence[Index],
    sizes: Sequence[int],
    strides: Sequence[int],
    channels: Index,
    channel_stride: int,
) -> None:
    """Fill `strip` at `target` from the input at `source`, whose pixel 0, ..., 0 and first channel it points
    to.

    `origin` is the input's pixel at the strip's first, per axis, and may lie outside it; `sizes` and
    `strides` (in elements) are the input's. `channels` of the strip's pitch are copied.
    """
    itemsize = ITEMSIZES[SCALARS[dtype]]
    extents, pitch = strip.extents, strip.pitch
    width, last_stride = extents[-1], strides[-1]
    start = origin[-1]
    low = clamp(f, f.sub(0, start), width)
    high = clamp(f, f.sub(sizes[-1], start), width)

    def row(indices: list[Index]) -> None:
        pixel = f.add(dot(f, indices, strides[:-1]), dot(f, origin, strides))
        begin = f.at(source, f.mul(pixel, ITEMSIZE[dtype]))
        into = f.at(target, f.mul(dot(f, indices, strip.strides[:-1]), itemsize))
        # A row outside the input ends where it starts: it is all zero.
        end = high
        for index, first, size in zip(indices, origin, sizes, strict=False):
            place = f.add(index, first)
            if isinstance(place, int):
                end = end if 0 <= place < size else low
            else:
                inside = f.compare("icmp ult", place, f.i64(size))
                end = f.select(inside, f.i64(end), f.i64(low))
        clear(f, into, f.mul(low, pitch * itemsize))
        copy_pixels(f, isa, dtype, into, begin, low, end, channels, pitch, channel_stride, last_stride)
        clear(f, f.at(into, f.mul(end, pitch * itemsize)), f.mul(f.sub(width, end), pitch * itemsize))

    nest(f, extents[:-1], row)


def clear(f: Function, target: Value, nbytes: Index) -> None:
    """Zero memory."""
    if not (isinstance(nbytes, int) and nbytes <= 0):
        zero, flag = Value("i8", "0"), Value("i1", "false")
        f.call("void", "llvm.memset.p0.i64", target, zero, f.i64(nbytes), flag)


def copy(f: Function, isa: Isa, dtype: str, target: Value, source: Value, count: Index) -> None:
    """Copy neighbouring numbers; the memory does not overlap."""
    if isinstance(count, int) and count <= 0:
        return
    stored_nbytes, nbytes = ITEMSIZE[dtype], ITEMSIZES[SCALARS[dtype]]
    if summed_as_stored(dtype):
        size = f.i64(f.mul(count, nbytes))
        f.call("void", "llvm.memcpy.p0.p0.i64", target, source, size, Value("i1", "false"))
        return

    def widen(first: Index, lanes: int) -> None:
        value = load_numbers(f, isa, dtype, f.at(source, f.mul(first, stored_nbytes)), lanes)
        f.store(value, f.at(target, f.mul(first, nbytes)))

    lanes = isa.lanes(nbytes)
    whole = f.mul(f.divmod(count, lanes)[0], lanes)
    f.loop(0, whole, lambda first: widen(first, lanes), step=lanes)
    f.loop(whole, count, lambda first: widen(first, 1))


def copy_pixels(
    f: Function,
    isa: Isa,
    dtype: str,
    target: Value,
    source: Value,
    low: Index,
    high: Index,
    channels: Index,
    pitch: int,
    channel_stride: int,
    pixel_stride: int,
) -> None:
    """Copy pixels low ... high - 1 of one row, in the quickest way its layout allows."""
    itemsize, stored_nbytes = ITEMSIZES[SCALARS[dtype]], ITEMSIZE[dtype]
    one_channel = isinstance(channels, int) and channels == 1

    def from_pixel(pixel: Index) -> Value:
        return f.at(source, f.mul(pixel, pixel_stride * stored_nbytes))

    def to_pixel(pixel: Index) -> Value:
        return f.at(target, f.mul(pixel, pitch * itemsize))

    if (one_channel or channel_stride == 1) and pixel_stride == pitch == channels:
        copy(f, isa, dtype, to_pixel(low), from_pixel(low), f.mul(f.sub(high, low), pitch))
    elif channel_stride == 1:

        def pixel(i: Index) -> None:
            copy(f, isa, dtype, to_pixel(i), from_pixel(i), channels)
            unused = f.mul(f.sub(pitch, channels), itemsize)
            clear(f, f.at(to_pixel(i), f.mul(channels, itemsize)), unused)

        f.loop(low, high, pixel)
    elif pixel_stride == 1 and isinstance(channels, int) and channels >= isa.lanes(itemsize):
        transpose_pixels(f, isa, dtype, target, source, low, high, channels, channel_stride, pitch)
        if pitch > channels:
            unused = (pitch - channels) * itemsize
            f.loop(low, high, lambda i: clear(f, f.at(to_pixel(i), channels * itemsize), unused))
    elif pixel_stride == 1 and isinstance(channels, int) and pitch == channels <= MOST_INTERLEAVED:
        interleave_pixels(f, isa, dtype, target, source, low, high, channels, channel_stride)
    else:

        def pixel(i: Index) -> None:
            def channel(c: Index) -> None:
                place = f.at(from_pixel(i), f.mul(c, channel_stride * stored_nbytes))
                value = load_numbers(f, isa, dtype, place, 1)
                f.store(value, f.at(to_pixel(i), f.mul(c, itemsize)), itemsize)

            f.loop(0, channels, channel)
            unused = f.mul(f.sub(pitch, channels), itemsize)
            clear(f, f.at(to_pixel(i), f.mul(channels, itemsize)), unused)

        f.loop(low, high, pixel)


def interleave_pixels(
    f: Function,
    isa: Isa,
    dtype: str,
    target: Value,
    source: Value,
    low: Index,
    high: Index,
    channels: int,
    channel_stride: int,
) -> None:
    """Copy a row of few channels, each of which has its pixels together, to pixels that follow each other:
    a vector of every channel at a time.
    """
    itemsize, stored_nbytes = ITEMSIZES[SCALARS[dtype]], ITEMSIZE[dtype]
    lanes = isa.lanes(itemsize)

    def numbers(pixel: Index, count: int) -> list[Value]:
        places = [f.mul(f.add(pixel, c * channel_stride), stored_nbytes) for c in range(channels)]
        return [load_numbers(f, isa, dtype, f.at(source, place), count) for place in places]

    def vectors(pixel: Index) -> None:
        rows = numbers(pixel, lanes)
        for v in range(channels):
            wanted = [divmod(v * lanes + lane, channels) for lane in range(lanes)]
            mixed = rows[0]
            for c, row in enumerate(rows[1:], 1):
                # Lanes that are still to come may hold anything.
                kept = [pixel if c == 1 else lane for lane, (pixel, _) in enumerate(wanted)]
                picks = [lanes + p if own == c else kept[lane] for lane, (p, own) in enumerate(wanted)]
                mixed = f.shuffle(mixed, row, picks)
            f.store(mixed, f.at(target, f.add(f.mul(pixel, channels * itemsize), v * lanes * itemsize)))

    def single(pixel: Index) -> None:
        for c, value in enumerate(numbers(pixel, 1)):
            place = f.add(f.mul(pixel, channels * itemsize), c * itemsize)
            f.store(value, f.at(target, place), itemsize)

    count = f.sub(high, low)
    whole, _ = f.divmod(count if isinstance(count, int) else f.intrinsic("smax", count, f.i64(0)), lanes)
    if lanes > 1:
        f.loop(0, whole, lambda i: vectors(f.add(low, f.mul(i, lanes))))
    f.loop(f.add(low, f.mul(whole, lanes)) if lanes > 1 else low, high, single)


def transpose_pixels(
    f: Function,
    isa: Isa,
    dtype: str,
    target: Value,
    source: Value,
    low: Index,
    high: Index,
    channels: int,
    channel_stride: int,
    pitch: int,
) -> None:
    """Copy a row whose pixels are neighbours in memory, one plane a channel, through square transposes in
    registers.

    The last square of channels, and of pixels, overlaps the one before it where the count is no multiple of
    the vector.
    """
    itemsize, stored_nbytes = ITEMSIZES[SCALARS[dtype]], ITEMSIZE[dtype]
    lanes = isa.lanes(itemsize)

    def square(pixel: Index, channel: Index) -> None:
        first = f.add(pixel, f.mul(channel, channel_stride))
        begin = f.at(source, f.mul(first, stored_nbytes))
        into = f.at(target, f.add(f.mul(pixel, pitch * itemsize), f.mul(channel, itemsize)))
        places = [f.at(begin, lane * channel_stride * stored_nbytes) for lane in range(lanes)]
        rows = [load_numbers(f, isa, dtype, place, lanes) for place in places]
        for lane, value in enumerate(transpose(f, rows)):
            f.store(value, f.at(into, lane * pitch * itemsize))

    def columns(body: Callable[[Index], None]) -> None:
        f.loop(0, channels // lanes, lambda i: body(f.mul(i, lanes)))
        if channels % lanes:
            body(channels - lanes)

    count = f.sub(high, low)
    whole, _ = f.divmod(count if isinstance(count, int) else f.intrinsic("smax", count, f.i64(0)), lanes)
    f.loop(0, whole, lambda i: columns(lambda channel: square(f.add(low, f.mul(i, lanes)), channel)))

    def single(pixel: Index) -> None:
        def channel(c: Index) -> None:
            place = f.mul(f.add(pixel, f.mul(c, channel_stride)), stored_nbytes)
            value = load_numbers(f, isa, dtype, f.at(source, place), 1)
            f.store(value, f.at(target, f.add(f.mul(pixel, pitch * itemsize), f.mul(c, itemsize))), itemsize)

        f.loop(0, channels, channel)

    f.loop(f.add(low, f.mul(whole, lanes)), high, single)
