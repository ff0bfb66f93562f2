"""Copy a convolution's weights from any layout to the order in which the register tiles read them.

It is a step of its own, so that threads share the work and the tiles of every block of pixels share the copy.
What is copied is widened to what it is summed as.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from treadle.devices.cpu.convolution_strip import dot
from treadle.devices.cpu.correlation import Packing
from treadle.devices.cpu.elements import load_numbers, widened
from treadle.devices.cpu.ir import Function, Index, Module, Value, mangle, vector
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.packing import transpose
from treadle.devices.cpu.registers import ITEMSIZE, storage_type
from treadle.devices.cpu.target import Isa


def pack_weights(
    packing: Packing,
    isa: Isa,
    dtype: str,
    group_stride: int,
    filter_stride: int,
    channel_stride: int,
    tap_strides: Sequence[int],
    base: int = 0,
) -> NativeKernel:
    """Copy weights of any layout (strides in elements) to the order of `packing`: a task for each tap of each
    tile.
    """
    module = Module(isa.attributes)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, _ = f.arguments
    source, target = f.load("ptr", arguments, 8), f.load("ptr", f.at(arguments, 8), 8)
    itemsize, lanes, block = packing.itemsize, packing.lanes, packing.channel_block
    stored_nbytes, taps = ITEMSIZE[dtype], math.prod(packing.kernel)

    def pack_tap(begin: Value, place: Value, tap: Index, filters: int) -> None:
        vectors = -(-filters // lanes)

        def channel(b: Index, c: Index) -> None:
            channel = f.add(f.mul(b, block), c)
            row = f.at(begin, f.mul(channel, channel_stride * stored_nbytes))
            step = f.add(f.mul(f.add(f.mul(b, taps), tap), block), c)
            into = f.at(place, f.mul(step, vectors * lanes * itemsize))
            for v in range(vectors):
                active = min(lanes, filters - v * lanes) % lanes
                pointer = f.at(row, v * lanes * filter_stride * stored_nbytes)
                value = (
                    load_numbers(f, isa, dtype, pointer, lanes, active)
                    if filter_stride == 1
                    else gather(f, isa, dtype, pointer, filter_stride, lanes, active)
                )
                f.store(value, f.at(into, v * lanes * itemsize))

        def square(b: Index, c: Index, v: Index) -> None:
            channel = f.add(f.mul(b, block), c)
            moved = f.add(channel, f.mul(v, lanes * filter_stride))
            corner = f.at(begin, f.mul(moved, stored_nbytes))
            places = [f.at(corner, lane * filter_stride * stored_nbytes) for lane in range(lanes)]
            rows = [load_numbers(f, isa, dtype, place, lanes) for place in places]
            step = f.add(f.mul(f.add(f.mul(b, taps), tap), block), c)
            into = f.at(place, f.mul(f.add(f.mul(step, vectors), v), lanes * itemsize))
            for lane, turned in enumerate(transpose(f, rows)):
                f.store(turned, f.at(into, lane * vectors * lanes * itemsize))

        blocks = packing.channels // block if block else 0
        turns = channel_stride == 1 != filter_stride and block % lanes == 0 == filters % lanes

        def channels(b: Index) -> None:
            if turns:
                f.loop(0, block, lambda c: f.loop(0, vectors, lambda v: square(b, c, v)) and None, step=lanes)
            else:
                f.loop(0, block, lambda c: channel(b, c))

        f.loop(0, blocks, channels)

    def task(index: Index) -> None:
        rest, tap = f.divmod(index, taps)
        group, tile = f.divmod(rest, packing.tiles)
        places, remaining = [], tap
        for size in reversed(packing.kernel):
            remaining, place = f.divmod(remaining, size)
            places.insert(0, place)
        moved = f.add(f.mul(group, group_stride), f.mul(tile, packing.tile * filter_stride))
        moved = f.add(f.add(moved, dot(f, places, tap_strides)), base)
        begin = f.at(source, f.mul(moved, stored_nbytes))
        place = f.add(f.mul(group, packing.group_size), f.mul(tile, packing.tile_size))
        into = f.at(target, f.mul(place, itemsize))
        full, tail = divmod(packing.filters, packing.tile)
        if full and tail:
            whole = f.compare("icmp slt", f.i64(tile), f.i64(full))
            with f.when(whole):
                pack_tap(begin, into, tap, packing.tile)
            with f.when(f.op("xor", whole, Value("i1", "true"))):
                pack_tap(begin, into, tap, tail)
        else:
            pack_tap(begin, into, tap, packing.tile if full else tail)

    f.loop(first, last, task)
    f.ret()
    label = f"pack {packing.groups}x{packing.filters}x{packing.channels}x{taps}"
    size = packing.groups * packing.filters * packing.channels * taps
    return NativeKernel(
        module.text(),
        label,
        packing.groups * packing.tiles * taps,
        nbytes=size * stored_nbytes + packing.nbytes,
    )


def gather(
    f: Function, isa: Isa, dtype: str, pointer: Value, stride: int, lanes: int, active: int = 0
) -> Value:
    """Load lanes that lie `stride` elements apart; from `active` on (0: none) they are zero and untouched."""
    if lanes == 1:
        return load_numbers(f, isa, dtype, pointer, 1)
    nbytes, type = ITEMSIZE[dtype], storage_type(dtype, lanes)
    steps = f.constants(vector("i64", lanes), [lane * stride * nbytes for lane in range(lanes)])
    pointers = f.assign(
        vector("ptr", lanes), f"getelementptr i8, ptr {pointer.name}, {steps.type} {steps.name}"
    )
    name = f"llvm.masked.gather.{mangle(type)}.v{lanes}p0"
    mask, zero = f.mask(lanes, active or lanes), Value(type, "zeroinitializer")
    return widened(f, isa, dtype, f.call(type, name, pointers, Value("i32", str(nbytes)), mask, zero))
