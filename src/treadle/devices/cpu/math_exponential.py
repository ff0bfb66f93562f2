"""Exponentials for generated code, in single precision: exp and its relatives, the hyperbolic functions, erf.

All begin alike: x = n ln 2 + r with |r| <= (ln 2) / 2, a polynomial in r, then the factor 2**n. Coefficients
are minimax fits (Lawson's iteration), rounded to the format one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.devices.cpu.ir import Function, Value, lanes_of
from treadle.devices.cpu.math_arithmetic import (
    EXPONENT_BIAS,
    absolute,
    add,
    at_least,
    at_most,
    copysign,
    multiply,
    multiply_add,
    narrowed,
    polynomial,
    power_of_two,
    real,
    round_product,
    round_to_integer,
    subtract,
    where,
    widened,
    word_op,
)

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.693359375
"""Nine bits, so that its product with any exponent is exact."""
LN2_LOW = -2.1219444005469057e-04

EXPM1_TAIL = (
    0.0013821767643094063,
    0.008368857204914093,
    0.04166825860738754,
    0.1666651964187622,
    0.4999999403953552,
)
"""(e**r - 1 - r) / r**2 for |r| <= (ln 2) / 2; 2**-28 of e**r."""

EXP2M1 = (
    0.00015327172877732664,
    0.0013391023967415094,
    0.009618504904210567,
    0.05550359562039375,
    0.24022647738456726,
    0.6931471824645996,
)
"""(2**r - 1) / r for |r| <= 1/2; 2**-28 of 2**r."""

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

EXP2_DOUBLE_LONG = (
    7.074460145039898e-09,
    1.02093447951408e-07,
    1.3215449901044941e-06,
    1.5252653569520058e-05,
    0.0001540353037183833,
    0.0013333558237193543,
    0.00961812910773326,
    0.055504108664396895,
    0.24022650695909445,
    0.6931471805599511,
    1.0,
)
"""The same to 2**-51."""

SINH_TAIL = (0.00019973969028797, 0.00833317544311285, 0.1666666716337204)
"""(sinh x - x) / x**3 in x**2 for |x| <= (ln 2) / 2; 2**-34 of sinh x."""
TANH_TAIL = (0.01643787883222103, -0.05267200991511345, 0.1332072913646698, -0.3333294689655304)
"""(tanh x - x) / x**3 in x**2 for |x| <= 0.55; 2**-24.7 of tanh x."""

ERF_SMALL = (
    -0.0006047076894901693,
    0.005003414582461119,
    -0.026773031800985336,
    0.11281976103782654,
    -0.3761250674724579,
    0.12837915122509003,
)
"""erf(x) / x - 1 in x**2 for |x| <= 0.9; 2**-26 of erf(x) / x."""
ERF_LARGE = (
    0.000309599592583254,
    -0.004645474720746279,
    0.03304651379585266,
    -0.15189696848392487,
    -0.9171202182769775,
    -1.6281101703643799,
)
"""log2(1 - erf(x)) / x for 0.9 <= x <= 3.95; 2**-28 of erf(x)."""

SCALEF = {4: "128", 8: "256", 16: "512"}
"""The widths of AVX-512's VSCALEF, as LLVM names them."""


def reduce(f: Function, x: Value, bias: int) -> tuple[Value, Value, Value]:
    """r, n as a float and n + `bias` as a word, of x = n ln 2 + r."""
    n, word = round_product(f, x, LOG2_E, bias)
    r = multiply_add(f, n, -LN2_HIGH, x)
    return multiply_add(f, n, -LN2_LOW, r), n, word


def expm1_reduced(f: Function, r: Value) -> Value:
    """e**r - 1 for a reduced r."""
    return multiply_add(f, polynomial(f, r, EXPM1_TAIL), multiply(f, r, r), r)


def scaled(f: Function, x: Value, n: Value, biased: Value) -> Value:
    """``x * 2**n``, rounded once, for |n| <= 252: `n` is a float, `biased` a word with n + 254 in its low
    bits.
    """
    width = SCALEF.get(lanes_of(x.type))
    if f.module.scalef and width:
        rounding = [Value("i32", "4")] if width == "512" else []
        passed = Value("i16" if width == "512" else "i8", "-1")
        return f.call(
            x.type,
            f"llvm.x86.avx512.mask.scalef.ps.{width}",
            x,
            n,
            Value(x.type, "zeroinitializer"),
            passed,
            *rounding,
        )
    # 2**n itself may lie outside the format: two halves, of which the first product is exact.
    half = word_op(f, "lshr", biased, 1)
    return multiply(f, multiply(f, x, power_of_two(f, half)), power_of_two(f, f.op("sub", biased, half)))


def exp(f: Function, x: Value) -> Value:
    x = at_least(f, at_most(f, x, 89.0), -104.0)
    r, n, word = reduce(f, x, 254)
    return scaled(f, add(f, expm1_reduced(f, r), 1.0), n, word)


def exp2(f: Function, x: Value) -> Value:
    x = at_least(f, at_most(f, x, 129.0), -151.0)
    n, word = round_to_integer(f, x, 254)
    r = subtract(f, x, n)
    return scaled(f, multiply_add(f, polynomial(f, r, EXP2M1), r, 1.0), n, word)


def expm1(f: Function, x: Value) -> Value:
    limited = at_least(f, at_most(f, x, 89.0), -18.0)
    r, _, word = reduce(f, limited, 126)
    # Half of it, doubled at the end: 2**128 is no float, but e**x may still be one.
    half = power_of_two(f, word)
    result = multiply_add(f, expm1_reduced(f, r), half, subtract(f, half, 0.5))
    return where(f, "olt", absolute(f, x), 2.0**-25, x, add(f, result, result))


def sigmoid(f: Function, x: Value) -> Value:
    # 1 / (1 + e**-x), above and below times 2**-24: the power of two is then a number for every x whose
    # quotient is not zero, and a quotient below the normal numbers is rounded once, by the division.
    x = f.fneg(at_least(f, at_most(f, x, 40.0), -104.0))
    r, _, word = reduce(f, x, 127 - 24)
    power, one = power_of_two(f, word), real(f, x, 2.0**-24)
    # The larger of the two summands comes last, so that only its addition rounds in the last place.
    below = f.compare("fcmp olt", power, one)
    smaller, larger = f.select(below, power, one), f.select(below, one, power)
    denominator = add(f, multiply_add(f, expm1_reduced(f, r), power, smaller), larger)
    return f.op("fdiv", one, denominator)


def tanh(f: Function, x: Value) -> Value:
    magnitude = absolute(f, x)
    z = multiply(f, x, x)
    small = multiply_add(f, multiply(f, polynomial(f, z, TANH_TAIL), z), magnitude, magnitude)
    # 1 - 2 / (e**2|x| + 1): from 1/2 on, where what is subtracted is no larger than the result.
    r, _, word = reduce(f, at_most(f, add(f, magnitude, magnitude), 19.0), 127)
    power = power_of_two(f, word)
    denominator = multiply_add(f, expm1_reduced(f, r), power, add(f, power, 1.0))
    one = real(f, x, 1.0)
    large = f.op("fsub", one, f.op("fdiv", real(f, x, 2.0), denominator))
    return copysign(f, where(f, "olt", magnitude, 0.55, small, large), x)


def exp2_double(f: Function, t: Value, coefficients: Sequence[float] = EXP2_DOUBLE) -> Value:
    """2**t of a `double` between -1000 and 1000, to 2**-29 (or with `EXP2_DOUBLE_LONG` 2**-51)."""
    n, word = round_to_integer(f, t, EXPONENT_BIAS["double"])
    return multiply(f, polynomial(f, subtract(f, t, n), coefficients), power_of_two(f, word))


def exponential_pair(f: Function, x: Value) -> tuple[Value, Value]:
    """Halves of e**|x| and e**-|x| as doubles, to 2**-28 each, for |x| to 90."""
    t = multiply(f, at_most(f, widened(f, absolute(f, x)), 90.0), LOG2_E)
    n, word = round_to_integer(f, t, EXPONENT_BIAS["double"] - 1)
    r = subtract(f, t, n)
    z = multiply(f, r, r)
    # 2**r and 2**-r share the even powers and differ in the sign of the odd ones.
    even = polynomial(f, z, EXP2_DOUBLE[::2])
    odd = multiply(f, polynomial(f, z, EXP2_DOUBLE[1::2]), r)
    opposite = f.op("sub", f.constant(word.type, 2 * (EXPONENT_BIAS["double"] - 1)), word)
    grown = f.op("fmul", add(f, even, odd), power_of_two(f, word))
    return grown, f.op("fmul", subtract(f, even, odd), power_of_two(f, opposite))


def sinh(f: Function, x: Value) -> Value:
    magnitude = absolute(f, x)
    z = multiply(f, x, x)
    small = multiply_add(f, multiply(f, polynomial(f, z, SINH_TAIL), z), magnitude, magnitude)
    grown, shrunk = exponential_pair(f, x)
    large = narrowed(f, f.op("fsub", grown, shrunk))
    return copysign(f, where(f, "olt", magnitude, 0.34, small, large), x)


def cosh(f: Function, x: Value) -> Value:
    return narrowed(f, f.op("fadd", *exponential_pair(f, x)))


def erf(f: Function, x: Value) -> Value:
    magnitude = absolute(f, x)
    small = multiply_add(f, polynomial(f, multiply(f, x, x), ERF_SMALL), x, x)
    t = at_most(f, magnitude, 3.95)
    t = multiply(f, polynomial(f, t, ERF_LARGE), t)
    n, word = round_to_integer(f, t, 127)
    r = subtract(f, t, n)
    power = power_of_two(f, word)
    complement = multiply_add(f, multiply(f, polynomial(f, r, EXP2M1), r), power, power)
    large = copysign(f, f.op("fsub", f.constant(x.type, 1.0), complement), x)
    return where(f, "olt", magnitude, 0.9, small, large)
