"""Powers for generated code, in double precision: y log x to 2**-64 of it, in two parts, and its exponential.

log x = k log 2 + 2 atanh s with s = (m - 1) / (m + 1) in two parts. The error of a double in the series' term
of s**5 is 2**-64 of the whole; the terms before are carried in two parts.
"""

from __future__ import annotations

from treadle.devices.cpu.ir import Function, Value
from treadle.devices.cpu.math_arithmetic import (
    INFINITY,
    absolute,
    add,
    at_least,
    at_most,
    between,
    corrected,
    inverted,
    multiply,
    multiply_add,
    polynomial,
    product,
    real,
    residual,
    subtract,
    total,
    total_of_larger,
)
from treadle.devices.cpu.math_double_exponential import LN2_HIGH, LN2_LOW, exp_of_pair
from treadle.devices.cpu.math_double_logarithm import SMALLEST_NORMAL, split, split_any
from treadle.devices.cpu.math_logarithm import pow_edges

TWO_THIRDS = 0.6666666666666666, 3.700743415417188e-17
ATANH_TAIL = (
    0.11988989208193813,
    0.11674821866193745,
    0.13336317222387142,
    0.15384556877213074,
    0.1818181887020069,
    0.22222222217537665,
    0.28571428571445107,
    0.3999999999999998,
)
"""(2 atanh s - 2 s - 2 s**3 / 3) / s**5 in s**2, for s of numbers between sqrt(1/2) and sqrt(2); 2**-73 of
the logarithm."""
MOST = 2.0**65
"""A larger exponent takes every base but 1 to 0 or infinity, as this one does."""

Pair = tuple[Value, Value]


def logarithm(f: Function, m: Value, k: Value) -> Pair:
    """log(m 2**k) in two parts."""
    fraction = subtract(f, m, 1.0)
    below, below_low = total(f, real(f, m, 2.0), fraction)
    s = f.op("fdiv", fraction, below)
    rest = subtract(f, residual(f, fraction, s, below), multiply(f, s, below_low))
    s_low = f.op("fdiv", rest, below)
    square, square_low = product(f, s, s)
    square_low = multiply_add(f, add(f, s, s), s_low, square_low)
    high, low = TWO_THIRDS
    third, third_low = product(f, square, real(f, s, high))
    third_low = add(f, third_low, multiply_add(f, square, low, multiply(f, square_low, high)))
    cubic, cubic_low = product(f, third, s)
    cubic_low = add(f, cubic_low, multiply_add(f, third, s_low, multiply(f, third_low, s)))
    tail = multiply(f, multiply(f, multiply(f, square, square), s), polynomial(f, square, ATANH_TAIL))
    part, lost = total_of_larger(f, add(f, s, s), cubic)
    small = add(f, add(f, lost, add(f, s_low, s_low)), add(f, cubic_low, tail))
    whole, lost = total(f, multiply(f, k, LN2_HIGH), part)
    return total_of_larger(f, whole, add(f, lost, multiply_add(f, k, LN2_LOW, small)))


def power(f: Function, log: Pair, y: Value) -> Value:
    """e**(log * y)."""
    y = at_least(f, at_most(f, y, MOST), -MOST)
    high, low = product(f, log[0], y)
    return exp_of_pair(f, high, multiply_add(f, log[1], y, low))


def pow(f: Function, x: Value, y: Value) -> Value:
    finite = f.compare("fcmp olt", absolute(f, y), real(f, y, INFINITY))
    ordinary = f.op("and", between(f, x, "oge", SMALLEST_NORMAL), finite)
    result = power(f, logarithm(f, *split(f, x)), y)

    def of_magnitude(magnitude: Value, at_limit: Value, limit: Value) -> Value:
        high, low = logarithm(f, *split_any(f, magnitude))
        return power(f, (f.select(at_limit, limit, high), f.select(at_limit, real(f, x, 0.0), low)), y)

    return corrected(f, inverted(f, ordinary), [result], lambda: [pow_edges(f, x, y, of_magnitude)])[0]
