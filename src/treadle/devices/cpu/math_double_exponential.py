"""Exponentials for generated code, in double precision: exp and its relatives, and the hyperbolic functions.

x = n ln 2 + r with |r| <= (ln 2) / 2, a polynomial in r, then the factor 2**n. Coefficients are minimax fits.
"""

from __future__ import annotations

from treadle.devices.cpu.ir import Function, Value, lanes_of
from treadle.devices.cpu.math_arithmetic import (
    ROUNDER,
    absolute,
    add,
    at_least,
    at_most,
    bits,
    copysign,
    multiply,
    multiply_add,
    polynomial,
    power_of_two,
    real,
    residual,
    round_product,
    round_to_integer,
    subtract,
    where,
    word_op,
)

LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
LN2_HIGH = 0.6931471805598903
"""42 bits, so that its product with any exponent is exact."""
LN2_LOW = 5.497923018708371e-14

EXPM1_TAIL = (
    2.0914694560351592e-09,
    2.510522763655176e-08,
    2.755727362486648e-07,
    2.7557255374658744e-06,
    2.4801587325562125e-05,
    0.00019841269874840768,
    0.0013888888888883744,
    0.008333333333326129,
    0.04166666666666667,
    0.1666666666666667,
    0.5,
)
"""(e**r - 1 - r) / r**2 for |r| <= (ln 2) / 2; 2**-62 of e**r."""
COSH_TAIL = (
    1.1490863167732828e-11,
    2.087672374021117e-09,
    2.7557319251228633e-07,
    2.4801587301575843e-05,
    0.0013888888888888892,
    0.041666666666666664,
    0.5,
)
"""(cosh r - 1) / r**2 in r**2 for |r| <= (ln 2) / 2; 2**-78."""
SINH_TAIL = (
    1.6086633477899041e-10,
    2.5052071079368163e-08,
    2.7557319247232678e-06,
    0.00019841269841263293,
    0.008333333333333333,
    0.16666666666666666,
)
"""(sinh r - r) / r**3 in r**2 for |r| <= (ln 2) / 2; 2**-69."""
TANH_TAIL = (
    -2.910322883401469e-06,
    1.316642215852823e-05,
    -3.793165148079466e-05,
    9.647636736943323e-05,
    -0.00023903091817063964,
    0.0005900122238604031,
    -0.0014558327639006777,
    0.0035921279201211087,
    -0.008863235524525068,
    0.021869488536007134,
    -0.05396825396825185,
    0.13333333333333333,
    -0.3333333333333333,
)
"""(tanh x - x) / x**3 in x**2 for |x| <= 9 / 16; 2**-66."""
TANH_SMALL = 0.5625
ERF_SMALL = (
    5.945258529267927e-11,
    -1.1365665102795735e-09,
    1.4657879922971363e-08,
    -1.6350025286915106e-07,
    1.646097282905786e-06,
    -1.4925593508115084e-05,
    0.00012055331036977258,
    -0.0008548326978745379,
    0.0052239776247809495,
    -0.026866170645072907,
    0.11283791670954857,
    -0.3761263890318375,
    0.1283791670955126,
)
"""erf(x) / x - 1 in x**2 for |x| <= 1; 2**-62 of erf(x) / x."""
ERF_LARGE = (
    -2.0095408622204375e-13,
    9.945308427547226e-12,
    -2.319175017026362e-10,
    3.3877035185866785e-09,
    -3.4737275182690144e-08,
    2.6524309574969945e-07,
    -1.5579482058514293e-06,
    7.141432160779738e-06,
    -2.5432328670182545e-05,
    6.77457718851752e-05,
    -0.00011702191977077463,
    3.2528054700079655e-05,
    0.0005381045065206631,
    -0.0016595741752726003,
    0.00018925870685472854,
    0.019136530010976215,
    -0.1027748998261546,
    -0.6366193648413583,
    -1.1283792010482645,
)
"""log(1 - erf(x)) / x for 1 <= x <= 5.95; 2**-61 of erf(x)."""
NEGLIGIBLE = 2.0**-30
"""Below this, an odd function whose series goes on with x**3 is x."""

SCALEF = {2: "128", 4: "256", 8: "512"}
"""The widths of AVX-512's VSCALEF, as LLVM names them."""


def reduce(f: Function, x: Value, bias: int) -> tuple[Value, Value, Value]:
    """r, n as a float and n + `bias` as a word, of x = n ln 2 + r."""
    n, word = round_product(f, x, LOG2_E, bias)
    return multiply_add(f, n, -LN2_LOW, multiply_add(f, n, -LN2_HIGH, x)), n, word


def reduce_closely(f: Function, x: Value, bias: int) -> tuple[Value, Value, Value, Value]:
    """The same, and what rounding r lost."""
    n, word = round_product(f, x, LOG2_E, bias)
    high = multiply_add(f, n, -LN2_HIGH, x)
    r = multiply_add(f, n, -LN2_LOW, high)
    return r, multiply_add(f, n, -LN2_LOW, subtract(f, high, r)), n, word


def expm1_reduced(f: Function, r: Value) -> Value:
    """e**r - 1 for a reduced r."""
    return multiply_add(f, polynomial(f, r, EXPM1_TAIL), multiply(f, r, r), r)


def scaled(f: Function, x: Value, n: Value, biased: Value) -> Value:
    """``x * 2**n``, rounded once, for |n| <= 2000: `n` is a float, `biased` a word with n + 2046 in its low
    bits.
    """
    width = SCALEF.get(lanes_of(x.type))
    if f.module.scalef and width:
        rounding = [Value("i32", "4")] if width == "512" else []
        zero, every = Value(x.type, "zeroinitializer"), Value("i8", "-1")
        return f.call(x.type, f"llvm.x86.avx512.mask.scalef.pd.{width}", x, n, zero, every, *rounding)
    # 2**n itself may lie outside the format: two halves, of which the first product is exact.
    half = word_op(f, "lshr", biased, 1)
    return multiply(f, multiply(f, x, power_of_two(f, half)), power_of_two(f, f.op("sub", biased, half)))


def exp(f: Function, x: Value) -> Value:
    r, n, word = reduce(f, at_least(f, at_most(f, x, 710.0), -746.0), 2046)
    return scaled(f, add(f, expm1_reduced(f, r), 1.0), n, word)


def exp2(f: Function, x: Value) -> Value:
    x = at_least(f, at_most(f, x, 1025.0), -1076.0)
    n, word = round_to_integer(f, x, 2046)
    r = multiply(f, subtract(f, x, n), LN2)
    return scaled(f, add(f, expm1_reduced(f, r), 1.0), n, word)


def expm1(f: Function, x: Value) -> Value:
    r, lost, _, word = reduce_closely(f, at_least(f, at_most(f, x, 710.0), -40.0), 1022)
    # Half of it, doubled at the end: 2**1024 is no double, but e**x may still be one.
    half = power_of_two(f, word)
    tail = multiply_add(f, polynomial(f, r, EXPM1_TAIL), multiply(f, r, r), lost)
    result = multiply_add(f, add(f, r, tail), half, subtract(f, half, 0.5))
    return where(f, "olt", absolute(f, x), 2.0**-54, x, add(f, result, result))


def sigmoid(f: Function, x: Value) -> Value:
    """e**x / (1 + e**x) where x < 0, else 1 / (1 + e**-x)."""
    # e**-|x| to little more than half a unit: there are two roundings to come.
    r, lost, n, word = reduce_closely(f, at_least(f, f.fneg(absolute(f, x)), -746.0), 2046)
    near = add(f, r, 1.0)
    lost = add(f, lost, subtract(f, r, subtract(f, near, 1.0)))
    tail = multiply_add(f, polynomial(f, r, EXPM1_TAIL), multiply(f, r, r), lost)
    e = scaled(f, add(f, near, tail), n, word)
    one = real(f, x, 1.0)
    below = add(f, e, 1.0)
    lost = subtract(f, e, subtract(f, below, 1.0))
    reciprocal = f.op("fdiv", one, below)
    above = where(f, "olt", x, 0.0, e, one)
    q = multiply(f, above, reciprocal)
    rest = subtract(f, residual(f, above, q, below), multiply(f, q, lost))
    return multiply_add(f, rest, reciprocal, q)


def hyperbolic(f: Function, x: Value) -> tuple[Value, Value]:
    """sinh and cosh of |x|.

    e**x = 2**n (cosh r + sinh r), and e**-x is 2**-n (cosh r - sinh r); the sums of powers of two are exact.
    """
    r, lost, n, word = reduce_closely(f, at_most(f, absolute(f, x), 710.5), 1021)
    up = power_of_two(f, word)
    # Far from 0 the other power does not count.
    down = power_of_two(f, bits(f, subtract(f, real(f, n, ROUNDER["double"] + 1021), at_most(f, n, 100.0))))
    square = multiply(f, r, r)
    even = multiply(f, polynomial(f, square, COSH_TAIL), square)
    odd = multiply_add(f, multiply(f, polynomial(f, square, SINH_TAIL), square), r, lost)
    total, difference = add(f, up, down), subtract(f, up, down)
    rest = multiply_add(f, difference, even, multiply(f, total, odd))
    sinh = add(f, multiply_add(f, total, r, difference), rest)
    cosh = add(f, total, multiply_add(f, total, even, multiply(f, difference, add(f, r, odd))))
    return add(f, sinh, sinh), add(f, cosh, cosh)


def sinh(f: Function, x: Value) -> Value:
    magnitude, _ = hyperbolic(f, x)
    return where(f, "olt", absolute(f, x), NEGLIGIBLE, x, copysign(f, magnitude, x))


def cosh(f: Function, x: Value) -> Value:
    return hyperbolic(f, x)[1]


def tanh(f: Function, x: Value) -> Value:
    magnitude = absolute(f, x)
    square = multiply(f, x, x)
    small = multiply_add(f, multiply(f, polynomial(f, square, TANH_TAIL), square), x, x)
    limited = at_most(f, magnitude, 22.0)
    r, _, word = reduce(f, add(f, limited, limited), 1023)
    e = multiply_add(f, expm1_reduced(f, r), power_of_two(f, word), power_of_two(f, word))
    large = subtract(f, real(f, x, 1.0), f.op("fdiv", real(f, x, 2.0), add(f, e, 1.0)))
    return copysign(f, where(f, "olt", magnitude, TANH_SMALL, small, large), x)


def exp_of_pair(f: Function, high: Value, low: Value) -> Value:
    """e**(high + low), where low is at most a unit of high in its last place."""
    x = at_least(f, at_most(f, high, 710.0), -746.0)
    inside = f.compare("fcmp oeq", x, high)
    r, lost, n, word = reduce_closely(f, x, 2046)
    lost = add(f, lost, f.select(inside, low, real(f, low, 0.0)))
    near = add(f, r, 1.0)
    rest = subtract(f, r, subtract(f, near, 1.0))
    tail = multiply_add(f, polynomial(f, r, EXPM1_TAIL), multiply(f, r, r), rest)
    # low may be 2**-43: times e**r, not 1.
    tail = multiply_add(f, lost, add(f, near, tail), tail)
    return scaled(f, add(f, near, tail), n, word)


def erf(f: Function, x: Value) -> Value:
    magnitude = absolute(f, x)
    small = multiply_add(f, polynomial(f, multiply(f, x, x), ERF_SMALL), x, x)
    limited = at_most(f, magnitude, 5.95)
    complement = exp(f, multiply(f, polynomial(f, limited, ERF_LARGE), limited))
    large = copysign(f, subtract(f, real(f, x, 1.0), complement), x)
    return where(f, "olt", magnitude, 1.0, small, large)
