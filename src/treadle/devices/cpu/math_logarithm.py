"""Logarithms and powers for generated code, in single precision (the power by way of double).

A logarithm takes x = m 2**e with m between sqrt(1/2) and sqrt(2), and adds e log 2 to a polynomial in f = m
- 1.
"""

from __future__ import annotations

from treadle.devices.cpu.ir import Function, Value, lanes_of, vector
from treadle.devices.cpu.math_arithmetic import (
    EXPONENT_BIAS,
    INFINITY,
    MANTISSA_BITS,
    NAN,
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
    power_of_two,
    real,
    round_to_integer,
    subtract,
    where,
    word_op,
)
from treadle.devices.cpu.math_exponential import LN2_HIGH, LN2_LOW

SQRT_HALF = {"float": 0x3F3504F3, "double": 0x3FE6A09E667F3BCD}
"""The bits of sqrt(1/2)."""

LOG1P_TAIL = (
    -0.07609259337186813,
    0.12901417911052704,
    -0.13246344029903412,
    0.1418227255344391,
    -0.16608718037605286,
    0.20001961290836334,
    -0.2500160038471222,
    0.33333325386047363,
    -0.49999988079071045,
)
"""(log(1 + f) - f) / f**2 for 1 + f between sqrt(1/2) and sqrt(2); 2**-27.8 of the logarithm."""

LOG2_DOUBLE = (
    -0.06973804692241843,
    0.13251104361051005,
    -0.13462929372696367,
    0.13027581747113642,
    -0.14249867286104526,
    0.16021665384551914,
    -0.18043674696744053,
    0.20610712330518846,
    -0.2404464337248932,
    0.28853879573388047,
    -0.3606737931348323,
    0.4808983488026872,
    -0.7213475203275643,
    1.4426950408865749,
)
"""log2(1 + f) / f on the same interval; 2**-38.5 of the logarithm."""

EXP2_DOUBLE = (
    0.0001534557677599716,
    0.0013400195505590957,
    0.009618491855346693,
    0.05550328123714824,
    0.2402264684472338,
    0.6931472060372604,
    1.0000000005630745,
)
"""2**r for |r| <= 1/2; 2**-29."""


def log_reduced(f: Function, fraction: Value, exponent: Value) -> Value:
    """log((1 + fraction) * 2**exponent)."""
    tail = multiply(f, polynomial(f, fraction, LOG1P_TAIL), multiply(f, fraction, fraction))
    low = add(f, multiply_add(f, exponent, LN2_LOW, tail), fraction)
    return multiply_add(f, exponent, LN2_HIGH, low)


def log_edges(f: Function, x: Value, result: Value, zero: float = 0.0) -> Value:
    """`result`, with what a logarithm gives at `zero`, below it, at infinity and for NaN."""
    edge = where(f, "oeq", x, zero, -INFINITY, where(f, "olt", x, zero, NAN, x))
    inside = f.op(
        "and", f.compare("fcmp ogt", x, real(f, x, zero)), f.compare("fcmp olt", x, real(f, x, INFINITY))
    )
    return f.select(inside, result, edge)


def split(f: Function, x: Value) -> tuple[Value, Value]:
    """m - 1 and e as a float, of a positive normal x = m * 2**e."""
    word = bits(f, x)
    return split_word(f, word, word_op(f, "ashr", word_op(f, "sub", word, SQRT_HALF["float"]), 23))


def split_word(f: Function, word: Value, e: Value) -> tuple[Value, Value]:
    m = from_bits(f, f.op("sub", word, word_op(f, "shl", e, 23)))
    return subtract(f, m, 1.0), f.cast("sitofp", e, m.type)


def split_any(f: Function, x: Value) -> tuple[Value, Value]:
    """`split` for numbers below the normal ones too."""
    tiny = f.compare("fcmp olt", x, real(f, x, 2.0**-126))
    fraction, exponent = split(f, f.select(tiny, multiply(f, x, 2.0**24), x))
    return fraction, f.select(tiny, subtract(f, exponent, 24.0), exponent)


def log(f: Function, x: Value) -> Value:
    return log_edges(f, x, log_reduced(f, *split_any(f, x)))


def log1p(f: Function, x: Value) -> Value:
    u = add(f, x, 1.0)
    e = word_op(f, "ashr", word_op(f, "sub", bits(f, u), SQRT_HALF["float"]), 23)
    # 1 + x has lost digits of x: the fraction is (1 + x) * 2**-e - 1 in an order that has not. Four times
    # the scale and a quarter of x, because 2**-128 is no normal number.
    scale = power_of_two(f, f.op("sub", f.constant(e.type, 129), e))
    fraction = multiply_add(f, multiply(f, x, 0.25), scale, multiply_add(f, scale, 0.25, -1.0))
    result = log_edges(f, x, log_reduced(f, fraction, f.cast("sitofp", e, x.type)), -1.0)
    return where(f, "olt", absolute(f, x), 2.0**-25, x, result)


def widened(f: Function, x: Value) -> Value:
    return f.cast("fpext", x, vector("double", lanes_of(x.type)))


def log2_double(f: Function, x: Value) -> Value:
    """log2 of a positive normal `double` to 2**-37; 0 gives -1023 and infinity 1024."""
    word = bits(f, x)
    bias = EXPONENT_BIAS["double"] << MANTISSA_BITS["double"]
    # The exponent is left biased, and so positive: AVX2 and SSE have no arithmetic shift, and no conversion,
    # of 64 bits.
    biased = word_op(f, "lshr", word_op(f, "add", word, bias - SQRT_HALF["double"]), MANTISSA_BITS["double"])
    m = from_bits(
        f, word_op(f, "add", f.op("sub", word, word_op(f, "shl", biased, MANTISSA_BITS["double"])), bias)
    )
    integer = word_op(f, "or", biased, 0x4330000000000000)
    exponent = subtract(f, from_bits(f, integer), 2.0**52 + EXPONENT_BIAS["double"])
    fraction = subtract(f, m, 1.0)
    return multiply_add(f, polynomial(f, fraction, LOG2_DOUBLE), fraction, exponent)


def exp2_double(f: Function, t: Value) -> Value:
    """2**t of a `double` between -1000 and 1000, to 2**-29."""
    n, word = round_to_integer(f, t, EXPONENT_BIAS["double"])
    return multiply(f, polynomial(f, subtract(f, t, n), EXP2_DOUBLE), power_of_two(f, word))


def pow(f: Function, x: Value, y: Value) -> Value:
    magnitude = absolute(f, x)
    exponent = log2_double(f, widened(f, magnitude))
    zero_or_infinite = f.op("fmul", real(f, x, INFINITY), subtract(f, magnitude, 1.0))
    edge = f.op(
        "or",
        f.compare("fcmp oeq", magnitude, real(f, x, 0.0)),
        f.compare("fcmp oeq", magnitude, real(f, x, INFINITY)),
    )
    exponent = f.select(edge, widened(f, zero_or_infinite), exponent)
    t = multiply(f, exponent, widened(f, y))
    result = f.cast("fptrunc", exp2_double(f, at_least(f, at_most(f, t, 200.0), -200.0)), x.type)
    result = f.select(f.compare("fcmp uno", x, y), real(f, x, NAN), result)
    # A negative base: the sign of an odd power, and no result for a power that is no integer.
    floor = f.intrinsic("floor", y)
    half = multiply(f, y, 0.5)
    odd = f.op(
        "and", f.compare("fcmp oeq", floor, y), f.compare("fcmp one", f.intrinsic("floor", half), half)
    )
    result = f.select(odd, copysign(f, result, x), result)
    fractional = f.compare("fcmp one", floor, y)
    finite_negative = f.op(
        "and", f.compare("fcmp olt", x, real(f, x, 0.0)), f.compare("fcmp ogt", x, real(f, x, -INFINITY))
    )
    result = f.select(f.op("and", finite_negative, fractional), real(f, x, NAN), result)
    # 1 to any power, any number to the power 0, -1 to an infinite power: 1.
    infinite = f.compare("fcmp oeq", absolute(f, y), real(f, x, INFINITY))
    minus_one = f.op("and", f.compare("fcmp oeq", x, real(f, x, -1.0)), infinite)
    one = f.op("or", f.compare("fcmp oeq", x, real(f, x, 1.0)), f.compare("fcmp oeq", y, real(f, x, 0.0)))
    return f.select(f.op("or", one, minus_one), real(f, x, 1.0), result)
