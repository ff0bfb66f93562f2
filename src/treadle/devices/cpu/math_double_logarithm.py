"""Logarithms for generated code, in double precision.

x = m 2**k with m between sqrt(1/2) and sqrt(2), f = m - 1 and s = f / (2 + f): log m = 2 atanh s, written
as f minus what is much smaller.
"""

from __future__ import annotations

from treadle.devices.cpu.ir import Function, Value
from treadle.devices.cpu.math_arithmetic import (
    INFINITY,
    NAN,
    ROUNDER,
    absolute,
    add,
    bits,
    from_bits,
    multiply,
    multiply_add,
    polynomial,
    real,
    subtract,
    where,
    word_op,
)
from treadle.devices.cpu.math_double_exponential import LN2_HIGH, LN2_LOW

SMALLEST_NORMAL = 2.0**-1022
SQRT_HALF = 0x3FE6A09E667F3BCD
"""The bits of sqrt(1/2)."""
LOG_TAIL = (
    0.14616721179861816,
    0.15331699633543858,
    0.18182889786191042,
    0.2222221112572281,
    0.28571428626031065,
    0.3999999999989938,
    0.666666666666667,
)
"""(2 atanh s - 2 s) / s**3 in s**2, for 1 + f between sqrt(1/2) and sqrt(2); 2**-57 of the logarithm."""

LOG2_E = 1.4426946640014648, 3.768874985636099e-07
LOG10_E = 0.4342944622039795, 1.9699272335463627e-08
"""21 bits, and the rest."""
LOG10_2 = 0.30102999566395283, 2.8363394551044964e-14
"""42 bits, and the rest."""
HIGH_BITS = -(1 << 32)
"""Leaves a double 21 bits."""


def split(f: Function, x: Value) -> tuple[Value, Value]:
    """m and k of a normal positive x."""
    word = bits(f, x)
    exponent = word_op(f, "ashr", word_op(f, "sub", word, SQRT_HALF), 52)
    m = from_bits(f, f.op("sub", word, word_op(f, "shl", exponent, 52)))
    rounder = ROUNDER["double"]
    k = from_bits(f, f.op("add", exponent, bits(f, real(f, x, rounder))))
    return m, subtract(f, k, rounder)


def split_any(f: Function, x: Value) -> tuple[Value, Value]:
    """m and k of a positive x, which may be subnormal."""
    tiny = f.compare("fcmp olt", x, real(f, x, SMALLEST_NORMAL))
    m, k = split(f, f.select(tiny, multiply(f, x, 2.0**54), x))
    return m, f.select(tiny, subtract(f, k, 54.0), k)


def tail(f: Function, fraction: Value) -> tuple[Value, Value]:
    """f**2 / 2, and the number t with log(1 + f) = f - (f**2 / 2 - t)."""
    s = f.op("fdiv", fraction, add(f, fraction, 2.0))
    z = multiply(f, s, s)
    half_square = multiply(f, multiply(f, fraction, fraction), 0.5)
    rest = multiply(f, polynomial(f, z, LOG_TAIL), z)
    return half_square, multiply(f, s, add(f, half_square, rest))


def special(f: Function, x: Value, result: Value) -> Value:
    """`result` for ordinary numbers; -infinity of zeros, NaN of negative numbers, infinity and NaN of
    themselves.
    """
    result = where(f, "oeq", x, 0.0, -INFINITY, result)
    result = where(f, "olt", x, 0.0, NAN, result)
    return f.select(f.compare("fcmp ult", x, real(f, x, INFINITY)), _known(f, x, result), x)


def _known(f: Function, x: Value, result: Value) -> Value:
    return f.select(f.compare("fcmp uno", x, x), x, result)


def log(f: Function, x: Value) -> Value:
    m, k = split_any(f, x)
    fraction = subtract(f, m, 1.0)
    half_square, t = tail(f, fraction)
    low = subtract(f, subtract(f, half_square, multiply_add(f, k, LN2_LOW, t)), fraction)
    return special(f, x, subtract(f, multiply(f, k, LN2_HIGH), low))


def in_base(f: Function, x: Value, factor: tuple[float, float], of_two: tuple[float, float]) -> Value:
    """log x times `factor`, where `of_two` is the logarithm of 2; both in two parts."""
    m, k = split_any(f, x)
    fraction = subtract(f, m, 1.0)
    half_square, t = tail(f, fraction)
    high = from_bits(f, word_op(f, "and", bits(f, subtract(f, fraction, half_square)), HIGH_BITS))
    low = add(f, subtract(f, subtract(f, fraction, high), half_square), t)
    whole, part = multiply(f, k, of_two[0]), multiply(f, high, factor[0])
    rest = multiply_add(f, add(f, low, high), factor[1], multiply(f, low, factor[0]))
    rest = multiply_add(f, k, of_two[1], rest)
    total = add(f, whole, part)
    rest = add(f, rest, add(f, subtract(f, whole, total), part))
    return special(f, x, add(f, rest, total))


def log2(f: Function, x: Value) -> Value:
    return in_base(f, x, LOG2_E, (1.0, 0.0))


def log10(f: Function, x: Value) -> Value:
    return in_base(f, x, LOG10_E, LOG10_2)


def log1p(f: Function, x: Value) -> Value:
    total = add(f, x, 1.0)
    m, k = split(f, total)
    # What rounding 1 + x lost, in units of 1 + x.
    lost = f.select(
        f.compare("fcmp oge", x, real(f, x, 1.0)),
        subtract(f, real(f, x, 1.0), subtract(f, total, x)),
        subtract(f, x, subtract(f, total, 1.0)),
    )
    near = f.compare("fcmp oeq", k, real(f, k, 0.0))
    zero = real(f, x, 0.0)
    carry = f.select(near, zero, f.op("fdiv", lost, total))
    fraction = f.select(near, x, subtract(f, m, 1.0))
    half_square, t = tail(f, fraction)
    low = subtract(f, half_square, add(f, t, multiply_add(f, k, LN2_LOW, carry)))
    result = subtract(f, multiply(f, k, LN2_HIGH), subtract(f, low, fraction))
    result = special(f, total, result)
    return where(f, "olt", absolute(f, x), 2.0**-54, x, result)
