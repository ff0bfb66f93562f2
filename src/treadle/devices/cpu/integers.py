"""Elementwise ops of integers that take more than one instruction: NumPy's answers, and never a trap or an
undefined value.

Takes and returns integers of one width, scalar or vector.
"""

from __future__ import annotations

import re

from treadle.devices.cpu.ir import Function, Value, scalar_of

KNOWN = re.compile(r"(?:splat \(i\d+ )?(\d+)\)?")
"""A constant of 0 or more, as it is written."""


def sign(f: Function, x: Value) -> Value:
    low = f.intrinsic("smax", x, f.constant(x.type, -1))
    return f.intrinsic("smin", low, f.constant(x.type, 1))


def unsigned_floor_divide(f: Function, x: Value, y: Value) -> Value:
    """0 where the divisor is 0."""
    zero = f.constant(x.type, 0)
    none = f.compare("icmp eq", y, zero)
    return f.select(none, zero, f.op("udiv", x, f.select(none, f.constant(x.type, 1), y)))


def unsigned_remainder(f: Function, x: Value, y: Value) -> Value:
    """0 where the divisor is 0."""
    return f.op("urem", x, f.select(f.compare("icmp eq", y, f.constant(x.type, 0)), f.constant(x.type, 1), y))


def signed_floor_divide(f: Function, x: Value, y: Value) -> Value:
    """Rounded down; 0 where the divisor is 0; the least integer by -1 wraps to itself."""
    quotient, short = _signed_division(f, x, y)[:2]
    rounded = f.select(short, f.op("sub", quotient, f.constant(x.type, 1)), quotient)
    zero = f.constant(x.type, 0)
    rounded = f.select(f.compare("icmp eq", y, f.constant(x.type, -1)), f.op("sub", zero, x), rounded)
    return f.select(f.compare("icmp eq", y, zero), zero, rounded)


def signed_remainder(f: Function, x: Value, y: Value) -> Value:
    """With the sign of the divisor; 0 where that is 0."""
    _, short, rest = _signed_division(f, x, y)
    return f.select(short, f.op("add", rest, y), rest)


def _signed_division(f: Function, x: Value, y: Value) -> tuple[Value, Value, Value]:
    """Quotient toward zero, whether rounding down lowers it, and the rest; by 1 where the divisor is 0 or
    -1, which could trap.
    """
    zero, one = f.constant(x.type, 0), f.constant(x.type, 1)
    trap = f.compare("icmp ult", f.op("add", y, one), f.constant(x.type, 2))
    safe = f.select(trap, one, y)
    quotient = f.op("sdiv", x, safe)
    rest = f.op("sub", x, f.op("mul", quotient, safe))
    opposite = f.compare("icmp slt", f.op("xor", rest, safe), zero)
    return quotient, f.op("and", f.compare("icmp ne", rest, zero), opposite), rest


def left_shift(f: Function, x: Value, count: Value) -> Value:
    """0 where the count is not less than the width, or negative."""
    return _shift(f, "shl", x, count, f.constant(x.type, 0))


def unsigned_right_shift(f: Function, x: Value, count: Value) -> Value:
    """0 where the count is not less than the width."""
    return _shift(f, "lshr", x, count, f.constant(x.type, 0))


def signed_right_shift(f: Function, x: Value, count: Value) -> Value:
    """The sign in every bit where the count is not less than the width, or negative."""
    last = f.constant(x.type, int(scalar_of(x.type)[1:]) - 1)
    return f.op("ashr", x, f.intrinsic("umin", count, last))


def _shift(f: Function, opcode: str, x: Value, count: Value, beyond: Value) -> Value:
    width = int(scalar_of(x.type)[1:])
    inside = f.compare("icmp ult", count, f.constant(x.type, width))
    return f.select(inside, f.op(opcode, x, f.select(inside, count, f.constant(x.type, 0))), beyond)


def power(f: Function, base: Value, exponent: Value) -> Value:
    """By squaring, wrapping. A constant exponent is unrolled; else every bit of the exponent takes a turn."""
    one = f.constant(base.type, 1)
    known = KNOWN.fullmatch(exponent.name)
    if known:
        remaining, result = int(known[1]), None
        while remaining:
            if remaining & 1:
                result = base if result is None else f.op("mul", result, base)
            remaining >>= 1
            if remaining:
                base = f.op("mul", base, base)
        return one if result is None else result

    def turn(_: Value, result: Value, square: Value, left: Value) -> list[Value]:
        odd = f.compare("icmp ne", f.op("and", left, one), f.constant(base.type, 0))
        result = f.select(odd, f.op("mul", result, square), result)
        return [result, f.op("mul", square, square), f.op("lshr", left, one)]

    return f.loop(0, int(scalar_of(base.type)[1:]), turn, [one, base, exponent])[0]


def signed_power(f: Function, base: Value, exponent: Value) -> Value:
    """`power`, truncated toward zero where the exponent is negative: 0 but for the bases 1 and -1, for which
    an exponent's bits count as the exponent does.
    """
    result = power(f, base, exponent)
    if KNOWN.fullmatch(exponent.name):
        return result
    unit = f.op(
        "or",
        f.compare("icmp eq", base, f.constant(base.type, 1)),
        f.compare("icmp eq", base, f.constant(base.type, -1)),
    )
    known = f.op("or", unit, f.compare("icmp sge", exponent, f.constant(base.type, 0)))
    return f.select(known, result, f.constant(base.type, 0))
