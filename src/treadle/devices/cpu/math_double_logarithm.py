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
    at_least,
    at_most,
    bits,
    copysign,
    from_bits,
    multiply,
    multiply_add,
    polynomial,
    product,
    real,
    residual,
    subtract,
    total,
    total_of_larger,
    where,
    word_op,
)
from treadle.devices.cpu.math_double_exponential import LN2_HIGH, LN2_LOW, exp_of_pair

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

SMALL_TANGENT = 0.17157287525380990
"""3 - 2 sqrt(2): s of sqrt(2)."""

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
    result = log1p_of_pair(f, x, real(f, x, 0.0))
    return where(f, "olt", absolute(f, x), 2.0**-54, x, special(f, add(f, x, 1.0), result))


def log1p_of_pair(f: Function, x: Value, low: Value) -> Value:
    """log(1 + x + low), where low is at most a unit of x in its last place and x > -1 an ordinary number."""
    whole = add(f, x, 1.0)
    # What rounding 1 + x lost, in units of 1 + x.
    lost = f.select(
        f.compare("fcmp oge", x, real(f, x, 1.0)),
        subtract(f, real(f, x, 1.0), subtract(f, whole, x)),
        subtract(f, x, subtract(f, whole, 1.0)),
    )
    m, k = split(f, whole)
    near = f.compare("fcmp oeq", k, real(f, k, 0.0))
    lost = f.select(near, real(f, x, 0.0), lost)
    carry = f.op("fdiv", add(f, lost, low), whole)
    return from_fraction(f, f.select(near, x, subtract(f, m, 1.0)), k, carry)


def log_of_pair(f: Function, x: Value, low: Value) -> Value:
    """log(x + low) of a normal positive x."""
    m, k = split(f, x)
    return from_fraction(f, subtract(f, m, 1.0), k, f.op("fdiv", low, x))


def from_fraction(f: Function, fraction: Value, k: Value, carry: Value) -> Value:
    """k log 2 + log(1 + fraction) + carry, of which the last is small."""
    half_square, t = tail(f, fraction)
    low = subtract(f, half_square, add(f, t, multiply_add(f, k, LN2_LOW, carry)))
    return subtract(f, multiply(f, k, LN2_HIGH), subtract(f, low, fraction))


LARGE = 2.0**28
"""From here on the inverse hyperbolic functions are log(2 x), to less than half a unit."""


def _large(f: Function, magnitude: Value, result: Value) -> Value:
    """`result`, or the logarithm of twice a large magnitude; infinity and NaN of themselves."""
    m, k = split(f, magnitude)
    large = from_fraction(f, subtract(f, m, 1.0), add(f, k, 1.0), real(f, k, 0.0))
    result = f.select(f.compare("fcmp ogt", magnitude, real(f, magnitude, LARGE)), large, result)
    return f.select(f.compare("fcmp ult", magnitude, real(f, magnitude, INFINITY)), result, magnitude)


def asinh(f: Function, x: Value) -> Value:
    """log1p(u) of u = x + x**2 / (1 + sqrt(x**2 + 1))."""
    magnitude = absolute(f, x)
    y = at_most(f, magnitude, LARGE)
    square = multiply(f, y, y)
    rest = f.op("fdiv", square, add(f, f.intrinsic("sqrt", add(f, square, 1.0)), 1.0))
    result = _large(f, magnitude, log1p_of_pair(f, *total_of_larger(f, y, rest)))
    return copysign(f, where(f, "olt", magnitude, 2.0**-28, magnitude, result), x)


def acosh(f: Function, x: Value) -> Value:
    """log1p(t + sqrt(t (t + 2))) of t = x - 1."""
    y = at_least(f, at_most(f, x, LARGE), 1.0)
    t = subtract(f, y, 1.0)
    t_low = subtract(f, subtract(f, y, t), 1.0)
    square, lost = product(f, t, t)
    double = add(f, t, t)
    radicand, more = total(f, double, square)
    lost = add(f, lost, more)
    root = f.intrinsic("sqrt", radicand)
    rest = add(f, residual(f, radicand, root, root), lost)
    # Of 1 the radicand is 0.
    root_low = f.op("fdiv", multiply(f, rest, 0.5), at_least(f, root, SMALLEST_NORMAL))
    u, low = total(f, root, t)
    low = add(f, add(f, low, root_low), add(f, t_low, t_low))
    result = _large(f, x, log1p_of_pair(f, u, low))
    return where(f, "olt", x, 1.0, NAN, result)


def atanh(f: Function, x: Value) -> Value:
    """Half the logarithm of (1 + x) / (1 - x)."""
    magnitude, one = absolute(f, x), real(f, x, 1.0)
    square = multiply(f, x, x)
    half_tail = multiply(f, multiply(f, polynomial(f, square, LOG_TAIL), square), 0.5)
    small = multiply_add(f, half_tail, magnitude, magnitude)
    above, above_low = total(f, one, magnitude)
    below, below_low = total(f, one, f.fneg(magnitude))
    q = f.op("fdiv", above, below)
    rest = subtract(f, add(f, residual(f, above, q, below), above_low), multiply(f, q, below_low))
    large = multiply(f, log_of_pair(f, q, f.op("fdiv", rest, below)), 0.5)
    large = where(f, "oeq", magnitude, 1.0, INFINITY, where(f, "ogt", magnitude, 1.0, NAN, large))
    result = where(f, "olt", magnitude, SMALL_TANGENT, small, large)
    return copysign(f, _known(f, x, result), x)


def hypot(f: Function, x: Value, y: Value) -> Value:
    a, b = absolute(f, x), absolute(f, y)
    # Both times a power of two that takes the larger near 1; a NaN is no larger and no smaller.
    larger = f.select(f.compare("fcmp ogt", a, b), a, b)
    down, up = scales(f, larger)
    a, b = multiply(f, a, down), multiply(f, b, down)
    result = multiply(f, f.intrinsic("sqrt", multiply_add(f, a, a, multiply(f, b, b))), up)
    for side in (x, y):
        result = where(f, "oeq", absolute(f, side), INFINITY, INFINITY, result)
    return result


def scales(f: Function, x: Value) -> tuple[Value, Value]:
    """A power of two that takes a positive x to between 1 and 4 (one below the normal numbers to below 1),
    and its inverse.
    """
    exponent = word_op(f, "and", bits(f, x), 0x7FF << 52)
    low, high = (f.constant(exponent.type, e << 52) for e in (1, 2045))
    exponent = f.select(f.compare("icmp ult", exponent, low), low, exponent)
    exponent = f.select(f.compare("icmp ugt", exponent, high), high, exponent)
    inverse = f.op("sub", f.constant(exponent.type, 2046 << 52), exponent)
    return from_bits(f, inverse), from_bits(f, exponent)


def logaddexp(f: Function, x: Value, y: Value) -> Value:
    """max + log1p(exp(-gap)), of which the last bits of the larger number are right where the two cancel."""
    larger = f.select(f.compare("fcmp ogt", x, y), x, y)
    # Equal infinities have no difference.
    zero = real(f, x, 0.0)
    gap = f.select(f.compare("fcmp oeq", x, y), zero, absolute(f, subtract(f, x, y)))
    result = add(f, larger, log1p_of_pair(f, exp_of_pair(f, f.fneg(gap), zero), zero))
    return f.select(f.compare("fcmp uno", x, y), real(f, x, NAN), result)
