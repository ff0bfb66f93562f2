"""Running sums and products along a dimension: each line in order, lines in parallel, vectors across
neighbouring lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Function, Index, Value
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.registers import (
    ITEMSIZE,
    KIND,
    NARROW,
    STORAGE,
    Unsupported,
    from_storage,
    register_type,
    round_narrow,
    storage_type,
    to_storage,
)
from treadle.devices.cpu.target import Isa

LINES_A_TASK = 64


@dataclass(frozen=True)
class Cumulative:
    """``out[o, t, i] = combine of x[o, s, i] over s <= t`` (s >= t if `reverse`), contiguous [outer,
    length, inner].

    16-bit floats are combined in float32, and each result is rounded once.
    """

    dtype: str
    combine: str
    outer: int
    length: int
    inner: int
    reverse: bool = False


def cumulative(spec: Cumulative, isa: Isa) -> NativeKernel:
    """The kernel, with operands: x, out."""
    if spec.dtype not in STORAGE or spec.dtype == "bool":
        raise Unsupported(f"running {spec.combine} of {spec.dtype}")
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, _ = f.arguments
    x, out = (f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(2))
    size = ITEMSIZE[spec.dtype]
    lanes = isa.lanes(4 if spec.dtype in NARROW else size)
    blocks = -(-spec.inner // lanes)
    # A unit of work is one block of neighbouring lines of one outer index.
    units = spec.outer * blocks
    tasks = max(1, -(-units // max(1, LINES_A_TASK // lanes)))
    begin = f.op("udiv", f.op("mul", first, f.i64(units)), f.i64(tasks))
    end = f.op("udiv", f.op("mul", last, f.i64(units)), f.i64(tasks))

    def unit(u: Index) -> None:
        o, block = f.divmod(u, blocks)
        start = f.add(f.mul(o, spec.length * spec.inner), f.mul(block, lanes))
        whole, rest = spec.inner // lanes, spec.inner % lanes
        if not rest or not whole:
            _walk(f, isa, spec, x, out, start, lanes if whole else rest)
            return
        full = f.compare("icmp slt", f.i64(block), f.i64(whole))
        with f.when(full):
            _walk(f, isa, spec, x, out, start, lanes)
        with f.when(f.op("xor", full, Value("i1", "true"))):
            _walk(f, isa, spec, x, out, start, rest)

    f.loop(begin, end, unit)
    f.ret()
    elements = math.prod((spec.outer, spec.length, spec.inner))
    label = f"cumulative_{spec.combine}[{spec.outer}, {spec.length}, {spec.inner}]"
    return NativeKernel(module.text(), label, tasks, flops=elements, nbytes=2 * elements * size)


def _walk(f: Function, isa: Isa, spec: Cumulative, x: Value, out: Value, start: Index, lanes: int) -> None:
    """The running result of `lanes` neighbouring lines."""
    size = ITEMSIZE[spec.dtype]
    stored, type = storage_type(spec.dtype, lanes), register_type(spec.dtype, lanes)
    floating = KIND[spec.dtype] == "float"
    opcode = ("f" if floating else "") + ("add" if spec.combine == "sum" else "mul")

    def step(t: Index, so_far: Value) -> list[Value]:
        t = f.sub(f.i64(spec.length - 1), t) if spec.reverse else t
        place = f.mul(f.add(start, f.mul(t, spec.inner)), size)
        value = from_storage(f, isa, spec.dtype, f.load(stored, f.at(x, place), size))
        total = f.op(opcode, so_far, value)
        rounded = round_narrow(f, isa, spec.dtype, total) if spec.dtype in NARROW else total
        f.store(to_storage(f, isa, spec.dtype, rounded), f.at(out, place), size)
        return [total]

    # -0.0 is the zero that changes no number, itself included.
    neutral = (-0.0 if floating else 0) if spec.combine == "sum" else 1
    f.loop(0, spec.length, step, [f.constant(type, neutral)])
