"""Folds in registers: what an accumulator starts from, how it takes a value, how accumulators and lanes are
merged.

An accumulator is a list of values: the folded one, and for argmax and argmin also the position (int64, -1
while empty). Positions grow in the order in which points are walked, so that among equal extremes the least
position is the first. Knows nothing of loops.
"""

from __future__ import annotations

from treadle.compiler.kernel import Fold
from treadle.devices.cpu import floats
from treadle.devices.cpu.ir import Function, Value, lanes_of
from treadle.devices.cpu.registers import (
    ITEMSIZE,
    KIND,
    NARROW,
    Unsupported,
    register_type,
    round_narrow,
    widen,
)
from treadle.devices.cpu.target import Isa

Accumulator = list[Value]

OPCODES = {
    "bool": {
        "logical_and": "and",
        "logical_or": "or",
        "add": "or",
        "multiply": "and",
        "maximum": "or",
        "minimum": "and",
    },
    "float": {"add": "fadd", "multiply": "fmul"},
    "signed": {"add": "add", "multiply": "mul"},
    "unsigned": {"add": "add", "multiply": "mul"},
}
"""Folds that are one instruction."""


def identity(combine: str, dtype: str) -> float | int | bool:
    """The number that changes nothing when it is combined."""
    kind = KIND[dtype]
    if combine in ("maximum", "minimum", "argmax", "argmin"):
        lowest = combine in ("maximum", "argmax")
        if kind == "bool":
            return not lowest
        if kind == "float":
            return float("-inf") if lowest else float("inf")
        bits = 8 * ITEMSIZE[dtype]
        if kind == "unsigned":
            return 0 if lowest else -1
        return -(1 << (bits - 1)) if lowest else (1 << (bits - 1)) - 1
    if combine == "add":
        return -0.0 if kind == "float" else 0
    return {"multiply": 1, "logical_and": True, "logical_or": False}[combine]


def start(f: Function, fold: Fold, dtype: str, lanes: int) -> Accumulator:
    """An accumulator of values of a dtype that has taken nothing yet."""
    first = f.constant(register_type(dtype, lanes), identity(fold.combine, dtype))
    if fold.position is None:
        return [first]
    return [first, f.constant(register_type("int64", lanes), -1)]


def take(
    f: Function, fold: Fold, dtype: str, accumulator: Accumulator, taken: Accumulator, mask: Value | None
) -> Accumulator:
    """The accumulator after one more point in each lane whose mask is set. `taken` is the value, and its
    position.
    """
    lanes = lanes_of(accumulator[0].type)
    taken = [widen(f, value, lanes) for value in taken]
    if fold.position is None:
        after = combine(f, fold.combine, dtype, accumulator[0], taken[0])
        return [after if mask is None else f.select(mask, after, accumulator[0])]
    better = _beats(f, fold.combine, dtype, taken[0], accumulator[0])
    empty = f.compare("icmp slt", accumulator[1], f.constant(accumulator[1].type, 0))
    better = f.op("or", better, empty)
    better = better if mask is None else f.op("and", better, mask)
    return [f.select(better, new, old) for new, old in zip(taken, accumulator, strict=True)]


def merge(f: Function, fold: Fold, dtype: str, left: Accumulator, right: Accumulator) -> Accumulator:
    """Both accumulators in one."""
    if fold.position is None:
        return [combine(f, fold.combine, dtype, left[0], right[0])]
    # Positions are compared as unsigned, so that an empty accumulator's -1 is the last of all.
    earlier = f.compare("icmp ult", right[1], left[1])
    equal = f.op("xor", _beats(f, fold.combine, dtype, left[0], right[0]), f.constant(earlier.type, 1))
    better = f.op("or", _beats(f, fold.combine, dtype, right[0], left[0]), f.op("and", equal, earlier))
    better = f.op("or", better, f.compare("icmp slt", left[1], f.constant(left[1].type, 0)))
    filled = f.compare("icmp sge", right[1], f.constant(right[1].type, 0))
    better = f.op("and", better, filled)
    return [f.select(better, new, old) for new, old in zip(right, left, strict=True)]


def fold_lanes(f: Function, fold: Fold, dtype: str, accumulator: Accumulator) -> Accumulator:
    """All lanes in one, as a binary tree."""
    lanes = lanes_of(accumulator[0].type)
    while lanes > 1:
        half = lanes // 2
        if half == 1:
            low, high = ([f.extract(value, lane) for value in accumulator] for lane in (0, 1))
        else:
            low = [f.shuffle(value, value, range(half)) for value in accumulator]
            high = [f.shuffle(value, value, range(half, lanes)) for value in accumulator]
        accumulator, lanes = merge(f, fold, dtype, low, high), half
    return accumulator


def finish(f: Function, isa: Isa, fold: Fold, accumulator: Accumulator) -> Value:
    """What the fold gives."""
    if fold.position is not None:
        return accumulator[1]
    return round_narrow(f, isa, fold.dtype, accumulator[0]) if fold.dtype in NARROW else accumulator[0]


def combine(f: Function, combine: str, dtype: str, left: Value, right: Value) -> Value:
    """Two values in one."""
    kind = KIND[dtype]
    opcode = OPCODES[kind].get(combine)
    if opcode is not None:
        return f.op(opcode, left, right)
    if combine not in ("maximum", "minimum"):
        raise Unsupported(f"{combine} fold of {dtype}")
    if kind == "float":
        return (floats.maximum if combine == "maximum" else floats.minimum)(f, left, right)
    return f.intrinsic(
        ("s" if kind == "signed" else "u") + ("max" if combine == "maximum" else "min"), left, right
    )


def _beats(f: Function, combine: str, dtype: str, new: Value, old: Value) -> Value:
    """Whether a value is more extreme than another; NaN is the most extreme."""
    kind = KIND[dtype]
    order = "gt" if combine == "argmax" else "lt"
    if kind != "float":
        return f.compare(f"icmp {'s' if kind == 'signed' else 'u'}{order}", new, old)
    # Unordered or beyond, unless the old one is a NaN itself.
    return f.op("and", f.compare(f"fcmp u{order}", new, old), f.compare("fcmp ord", old, old))
