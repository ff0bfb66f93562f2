"""Logarithms and powers for generated code, in single precision (powers by way of double).

A logarithm takes x = m 2**e with m between sqrt(1/2) and sqrt(2), and adds e log 2 to a polynomial in f = m
- 1. What is not an ordinary positive number is left to a branch that is skipped when no lane needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from treadle.devices.cpu.ir import Function, Value
from treadle.devices.cpu.math_arithmetic import (
    EXPONENT_BIAS,
    INFINITY,
    MANTISSA_BITS,
    NAN,
    absolute,
    add,
    at_least,
    at_most,
    between,
    bits,
    copysign,
    corrected,
    from_bits,
    inverted,
    multiply,
    multiply_add,
    narrowed,
    polynomial,
    power_of_two,
    real,
    subtract,
    where,
    widened,
    word_op,
)
from treadle.devices.cpu.math_exponential import EXP2_DOUBLE_LONG, LN2_HIGH, LN2_LOW, exp2_double

LN2 = 0.6931471805599453
SMALLEST_NORMAL = 2.0**-126
SQRT_HALF = {"float": 0x3F3504F3, "double": 0x3FE6A09E667F3BCD}
"""The bits of sqrt(1/2)."""


class Base(NamedTuple):
    """What a logarithm's base decides."""

    slope: float
    """A power of two near the logarithm's slope at 1: what is multiplied by it is exact."""
    tail: tuple[float, ...]
    """log(1 + f) / f - slope for 1 + f between sqrt(1/2) and sqrt(2), to 2**-27 of the logarithm."""
    log2_high: float
    """log 2 to so few bits that its product with any exponent is exact."""
    log2_low: float


BASE_E = Base(
    1.0,
    (
        -0.07609259337186813,
        0.12901417911052704,
        -0.13246344029903412,
        0.1418227255344391,
        -0.16608718037605286,
        0.20001961290836334,
        -0.2500160038471222,
        0.33333325386047363,
        -0.49999988079071045,
        -0.0,
    ),
    LN2_HIGH,
    LN2_LOW,
)
BASE_2 = Base(
    1.0,
    (
        -0.11610256135463715,
        0.1868245154619217,
        -0.18837088346481323,
        0.20417846739292145,
        -0.23994018137454987,
        0.2886165678501129,
        -0.3606829345226288,
        0.48089656233787537,
        -0.7213475108146667,
        0.4426950514316559,
    ),
    1.0,
    0.0,
)
BASE_10 = Base(
    0.5,
    (
        -0.03387778624892235,
        0.055751603096723557,
        -0.056962959468364716,
        0.061587922275066376,
        -0.07221117615699768,
        0.08687235414981842,
        -0.10857662558555603,
        0.14476454257965088,
        -0.21714724600315094,
        -0.06570551544427872,
    ),
    0.301025390625,
    4.605039066518657e-06,
)

LOG2_DOUBLE = (
    -0.08634196278078665,
    0.15485480126454357,
    -0.15698280823716934,
    0.1590021115892109,
    -0.17904694955737832,
    0.20609620683143245,
    -0.24050417213234532,
    0.28854064522580947,
    -0.36067280061687146,
    0.4808983207091784,
    -0.7213475252127143,
    1.4426950409389862,
)
"""log2(1 + f) / f on the same interval; 2**-33 of the logarithm."""


LOG1P_QUOTIENT = (
    0.17780861131538145,
    0.09880743171399763,
    0.1359131446521577,
    0.15363675325014066,
    0.1818285985802357,
    0.22222190859296342,
    0.28571429111697916,
    0.399999999952872,
    0.6666666666668257,
    2.0,
)
"""log((1 + s) / (1 - s)) / s in s**2 for |s| <= 1/3; 2**-53."""


def log_reduced(f: Function, base: Base, fraction: Value, exponent: Value) -> Value:
    """The logarithm of (1 + fraction) * 2**exponent."""
    tail = polynomial(f, fraction, base.tail)
    low = multiply(f, exponent, base.log2_low) if base.log2_low else None
    tail = multiply_add(f, tail, fraction, low) if low else multiply(f, tail, fraction)
    result = multiply_add(f, fraction, base.slope, tail) if base.slope != 1 else add(f, tail, fraction)
    return multiply_add(f, exponent, base.log2_high, result)


def log_edges(f: Function, x: Value, result: Value, zero: float = 0.0) -> Value:
    """`result`, with what a logarithm gives at `zero`, below it, at infinity and for NaN."""
    edge = where(f, "oeq", x, zero, -INFINITY, where(f, "olt", x, zero, NAN, x))
    return f.select(between(f, x, "ogt", zero), result, edge)


def exponent_word(f: Function, x: Value) -> Value:
    """e of a positive normal x = m * 2**e with m between sqrt(1/2) and sqrt(2)."""
    return word_op(f, "ashr", word_op(f, "sub", bits(f, x), SQRT_HALF["float"]), 23)


def split(f: Function, x: Value) -> tuple[Value, Value]:
    """m - 1 and e, as floats."""
    e = exponent_word(f, x)
    m = from_bits(f, f.op("sub", bits(f, x), word_op(f, "shl", e, 23)))
    return subtract(f, m, 1.0), f.cast("sitofp", e, m.type)


def logarithm(f: Function, base: Base, x: Value) -> Value:
    def unusual() -> list[Value]:
        # Numbers below the normal ones, zero, negative numbers, infinities, NaN.
        tiny = f.compare("fcmp olt", x, real(f, x, SMALLEST_NORMAL))
        fraction, exponent = split(f, f.select(tiny, multiply(f, x, 2.0**24), x))
        exponent = f.select(tiny, subtract(f, exponent, 24.0), exponent)
        return [log_edges(f, x, log_reduced(f, base, fraction, exponent))]

    result = log_reduced(f, base, *split(f, x))
    return corrected(f, inverted(f, between(f, x, "oge", SMALLEST_NORMAL)), [result], unusual)[0]


def log(f: Function, x: Value) -> Value:
    return logarithm(f, BASE_E, x)


def log2(f: Function, x: Value) -> Value:
    return logarithm(f, BASE_2, x)


def log10(f: Function, x: Value) -> Value:
    return logarithm(f, BASE_10, x)


def log1p(f: Function, x: Value) -> Value:
    e = exponent_word(f, add(f, x, 1.0))
    # 1 + x has lost digits of x: the fraction is (1 + x) * 2**-e - 1 in an order that has not. Four times
    # the scale and a quarter of x, because 2**-128 is no normal number.
    scale = power_of_two(f, f.op("sub", f.constant(e.type, 129), e))
    fraction = multiply_add(f, multiply(f, x, 0.25), scale, multiply_add(f, scale, 0.25, -1.0))
    result = log_reduced(f, BASE_E, fraction, f.cast("sitofp", e, x.type))
    result = where(f, "olt", absolute(f, x), 2.0**-25, x, result)
    outside = inverted(f, between(f, x, "ogt", -1.0))
    return corrected(f, outside, [result], lambda: [log_edges(f, x, result, -1.0)])[0]


def log2_double(f: Function, x: Value) -> Value:
    """log2 of a positive normal finite `double` to 2**-33; any number for another argument."""
    word = bits(f, x)
    bias = EXPONENT_BIAS["double"] << MANTISSA_BITS["double"]
    # The exponent is left biased, and so positive: AVX2 and SSE have no arithmetic shift, and no conversion,
    # of 64 bits.
    biased = word_op(f, "lshr", word_op(f, "add", word, bias - SQRT_HALF["double"]), MANTISSA_BITS["double"])
    m = f.op("sub", word, word_op(f, "shl", biased, MANTISSA_BITS["double"]))
    fraction = subtract(f, from_bits(f, word_op(f, "add", m, bias)), 1.0)
    ulp_is_one = word_op(f, "or", biased, bits_of_two_to_52())
    exponent = subtract(f, from_bits(f, ulp_is_one), 2.0**52 + EXPONENT_BIAS["double"])
    return multiply_add(f, polynomial(f, fraction, LOG2_DOUBLE), fraction, exponent)


def bits_of_two_to_52() -> int:
    return EXPONENT_BIAS["double"] + 52 << MANTISSA_BITS["double"]


def power(f: Function, logarithm: Value, y: Value) -> Value:
    """2 ** (logarithm * y) of doubles, rounded to `float`."""
    t = multiply(f, logarithm, y)
    return narrowed(f, exp2_double(f, at_least(f, at_most(f, t, 200.0), -200.0)))


def pow(f: Function, x: Value, y: Value) -> Value:
    infinity = real(f, x, INFINITY)
    finite = f.compare("fcmp olt", absolute(f, y), infinity)
    ordinary = f.op("and", between(f, x, "ogt", 0.0), finite)
    result = power(f, log2_double(f, widened(f, x)), widened(f, y))

    def of_magnitude(magnitude: Value, at_limit: Value, limit: Value) -> Value:
        log = f.select(at_limit, widened(f, limit), log2_double(f, widened(f, magnitude)))
        return power(f, log, widened(f, y))

    return corrected(f, inverted(f, ordinary), [result], lambda: [pow_edges(f, x, y, of_magnitude)])[0]


def pow_edges(f: Function, x: Value, y: Value, of_magnitude: Callable[[Value, Value, Value], Value]) -> Value:
    """`pow` of any arguments, as IEEE 754-2019, 9.2.1, lists them.

    `of_magnitude` gives the power y of a positive number; the mask says where that is 0 or infinite, and its
    logarithm the value that comes third.
    """

    def is_equal(a: Value, number: float) -> Value:
        return f.compare("fcmp oeq", a, real(f, a, number))

    magnitude = absolute(f, x)
    zero_or_infinite = f.op("or", is_equal(magnitude, 0.0), is_equal(magnitude, INFINITY))
    result = of_magnitude(magnitude, zero_or_infinite, multiply(f, subtract(f, magnitude, 1.0), INFINITY))
    result = f.select(f.compare("fcmp uno", x, y), real(f, x, NAN), result)
    # Powers of a negative base: odd ones keep the sign, those that are no integers are no numbers.
    floor, half = f.intrinsic("floor", y), multiply(f, y, 0.5)
    odd = f.op(
        "and", f.compare("fcmp oeq", floor, y), f.compare("fcmp one", f.intrinsic("floor", half), half)
    )
    result = f.select(odd, copysign(f, result, x), result)
    negative = f.op("and", f.compare("fcmp olt", x, real(f, x, 0.0)), inverted(f, is_equal(x, -INFINITY)))
    result = f.select(f.op("and", negative, f.compare("fcmp one", floor, y)), real(f, x, NAN), result)
    # 1 to any power, even NaN; any number, even NaN, to the power 0; -1 to an infinite power.
    minus_one = f.op("and", is_equal(x, -1.0), is_equal(absolute(f, y), INFINITY))
    one = f.op("or", f.op("or", is_equal(x, 1.0), is_equal(y, 0.0)), minus_one)
    return f.select(one, real(f, x, 1.0), result)


def hypot(f: Function, x: Value, y: Value) -> Value:
    a, b = widened(f, x), widened(f, y)
    result = narrowed(f, f.intrinsic("sqrt", multiply_add(f, a, a, f.op("fmul", b, b))))
    # An infinity wins even over NaN.
    for side in (x, y):
        result = where(f, "oeq", absolute(f, side), INFINITY, INFINITY, result)
    return result


def logaddexp(f: Function, x: Value, y: Value) -> Value:
    """max + log1p(exp(-gap)) in double to its last bits, because the two terms may all but cancel."""
    larger = f.select(f.compare("fcmp ogt", x, y), x, y)
    a, b = widened(f, x), widened(f, y)
    # Equal infinities have no difference.
    gap = f.select(f.compare("fcmp oeq", a, b), real(f, a, 0.0), absolute(f, subtract(f, a, b)))
    e = exp2_double(f, at_least(f, multiply(f, gap, -1 / LN2), -1000.0), EXP2_DOUBLE_LONG)
    s = f.op("fdiv", e, add(f, e, 2.0))
    tail = multiply(f, polynomial(f, multiply(f, s, s), LOG1P_QUOTIENT), s)
    result = narrowed(f, add(f, widened(f, larger), tail))
    return f.select(f.compare("fcmp uno", x, y), real(f, x, NAN), result)


def signed_log(f: Function, x: Value, argument: Value, factor: float, below: float, end: float) -> Value:
    """``factor * log(argument)`` with the sign of `x`; `x` itself below the magnitude `below` and from `end`
    on.
    """
    magnitude = absolute(f, x)
    result = copysign(f, narrowed(f, multiply(f, log2_double(f, argument), factor * LN2)), x)
    inside = f.op(
        "and",
        f.compare("fcmp oge", magnitude, real(f, x, below)),
        f.compare("fcmp olt", magnitude, real(f, x, end)),
    )
    return f.select(inside, result, x)


def asinh(f: Function, x: Value) -> Value:
    wide = widened(f, absolute(f, x))
    argument = add(f, wide, f.intrinsic("sqrt", multiply_add(f, wide, wide, 1.0)))
    return signed_log(f, x, argument, 1.0, below=2.0**-12, end=INFINITY)


def atanh(f: Function, x: Value) -> Value:
    wide = widened(f, absolute(f, x))
    argument = f.op("fdiv", add(f, wide, 1.0), subtract(f, real(f, wide, 1.0), wide))
    result = signed_log(f, x, argument, 0.5, below=2.0**-13, end=1.0)
    result = where(f, "ogt", absolute(f, x), 1.0, NAN, result)
    return where(f, "oeq", absolute(f, x), 1.0, copysign(f, real(f, x, INFINITY), x), result)


def acosh(f: Function, x: Value) -> Value:
    wide = widened(f, x)
    argument = add(f, wide, f.intrinsic("sqrt", multiply_add(f, wide, wide, -1.0)))
    result = narrowed(f, multiply(f, log2_double(f, argument), LN2))
    result = f.select(between(f, x, "oge", 1.0), result, x)
    return where(f, "olt", x, 1.0, NAN, result)
