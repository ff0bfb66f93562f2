"""Elementwise ops of floats that take more than one instruction: NumPy's answers for signed zeros,
infinities and NaN.

Takes and returns `float` or `double`, scalar or vector.
"""

from __future__ import annotations

from collections.abc import Callable

from treadle.devices.cpu.ir import Function, Value, scalar_of
from treadle.devices.cpu.math import FLOAT32, FLOAT64
from treadle.devices.cpu.registers import bits_of


def maximum(f: Function, left: Value, right: Value) -> Value:
    """The larger; NaN if either is NaN. The first two instructions are x86's MAXPS, which gives `right` if
    unordered.
    """
    larger = f.select(f.compare("fcmp ogt", left, right), left, right)
    return f.select(f.compare("fcmp uno", left, left), left, larger)


def minimum(f: Function, left: Value, right: Value) -> Value:
    """The smaller; NaN if either is NaN."""
    smaller = f.select(f.compare("fcmp olt", left, right), left, right)
    return f.select(f.compare("fcmp uno", left, left), left, smaller)


def sign(f: Function, x: Value) -> Value:
    """-1, 0 or 1; zero for either zero, NaN for NaN."""
    zero = f.constant(x.type, 0)
    negative = f.select(f.compare("fcmp olt", x, zero), f.constant(x.type, -1), zero)
    ordered = f.select(f.compare("fcmp ogt", x, zero), f.constant(x.type, 1), negative)
    return f.select(f.compare("fcmp uno", x, x), x, ordered)


def signbit(f: Function, x: Value) -> Value:
    bits = bits_of(f, x)
    return f.compare("icmp slt", bits, f.constant(bits.type, 0))


def logaddexp(f: Function, x: Value, y: Value) -> Value:
    """max + log1p(exp(-|x - y|)); equal arguments, infinities among them, give x + log 2."""
    table = FLOAT64 if scalar_of(x.type) == "double" else FLOAT32
    difference = f.op("fsub", x, y)
    tail = table["log1p"](f, table["exp"](f, f.fneg(f.intrinsic("fabs", difference))))
    # NaN, infinity minus infinity aside, must reach the sum: `difference` carries it into `tail`.
    larger = f.select(f.compare("fcmp ogt", x, y), x, y)
    same = f.op("fadd", x, f.constant(x.type, 0.6931471805599453))
    return f.select(f.compare("fcmp oeq", x, y), same, f.op("fadd", larger, tail))


def floor_divide(f: Function, x: Value, y: Value) -> Value:
    """The quotient that belongs to `remainder`, rounded down; x / y rounded down if y is zero or one is
    infinite.
    """
    zero, one = f.constant(x.type, 0), f.constant(x.type, 1)
    rest = f.op("frem", x, y)
    quotient = f.op("fdiv", f.op("fsub", x, rest), y)
    quotient = f.select(_signs_differ(f, rest, y), f.op("fsub", quotient, one), quotient)
    down = f.intrinsic("floor", quotient)
    short = f.compare("fcmp ogt", f.op("fsub", quotient, down), f.constant(x.type, 0.5))
    down = f.select(short, f.op("fadd", down, one), down)
    ratio = f.op("fdiv", x, y)
    down = f.select(f.compare("fcmp oeq", quotient, zero), f.intrinsic("copysign", zero, ratio), down)
    infinity = f.constant(x.type, float("inf"))
    special = f.compare("fcmp oeq", y, zero)
    for operand in (x, y):
        infinite = f.compare("fcmp oeq", f.intrinsic("fabs", operand), infinity)
        special = f.op("or", special, infinite)
    return f.select(special, f.intrinsic("floor", ratio), down)


def remainder(f: Function, x: Value, y: Value) -> Value:
    """What the division leaves, with the sign of the divisor."""
    rest = f.op("frem", x, y)
    moved = f.select(_signs_differ(f, rest, y), f.op("fadd", rest, y), rest)
    zero = f.intrinsic("copysign", f.constant(x.type, 0), y)
    return f.select(f.compare("fcmp oeq", rest, f.constant(x.type, 0)), zero, moved)


def _signs_differ(f: Function, rest: Value, divisor: Value) -> Value:
    """Where a remainder that is not zero has not its divisor's sign."""
    zero = f.constant(rest.type, 0)
    differ = f.op("xor", f.compare("fcmp olt", rest, zero), f.compare("fcmp olt", divisor, zero))
    return f.op("and", f.compare("fcmp une", rest, zero), differ)


def nextafter(
    f: Function,
    x: Value,
    y: Value,
    to_bits: Callable[[Function, Value], Value] = bits_of,
    from_bits: Callable[[Function, Value], Value] | None = None,
) -> Value:
    """The neighbour of x on the side of y, by counting in bit patterns: those of `to_bits`, where the type of
    the numbers is not that of the registers.
    """
    bits = to_bits(f, x)
    one = f.constant(bits.type, 1)
    top = f.constant(bits.type, -(1 << (int(scalar_of(bits.type)[1:]) - 1)))
    zero = f.constant(x.type, 0)
    outward = f.op("xor", f.compare("fcmp olt", x, y), f.compare("fcmp olt", x, zero))
    stepped = f.select(outward, f.op("add", bits, one), f.op("sub", bits, one))
    least = f.op("or", f.op("and", to_bits(f, y), top), one)
    stepped = f.select(f.compare("fcmp oeq", x, zero), least, stepped)
    moved = from_bits(f, stepped) if from_bits else f.cast("bitcast", stepped, x.type)
    result = f.select(f.compare("fcmp oeq", x, y), y, moved)
    return f.select(f.compare("fcmp uno", x, y), f.op("fadd", x, y), result)
