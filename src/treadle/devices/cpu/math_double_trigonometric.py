"""Trigonometric functions for generated code, in double precision.

Arguments to 2**20 are reduced by multiples of pi / 2 in four parts, to a number in two parts; larger ones are
left to the C library, by a branch that is skipped when no lane needs it.
"""

from __future__ import annotations

from collections.abc import Callable

from treadle.devices.cpu.ir import Function, Value
from treadle.devices.cpu.math_arithmetic import (
    INFINITY,
    absolute,
    add,
    at_least,
    bits,
    copysign,
    corrected,
    multiply,
    multiply_add,
    negate_where_odd,
    polynomial,
    real,
    residual,
    round_product,
    subtract,
    total_of_larger,
    where,
    word_op,
)
from treadle.devices.cpu.math_double_logarithm import scales

TWO_OVER_PI = 0.6366197723675814
HALF_PI_PARTS = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
"""pi / 2: three times 33 bits, whose products with 20 bits are exact, and the rest."""
REDUCED_BY_PARTS = 2.0**20
HALF_PI = 1.5707963267948966, 6.123233995736766e-17
QUARTER_PI = 0.7853981633974483, 3.061616997868383e-17

SIN_TAIL = (
    1.591810123027412e-10,
    -2.5051131455427946e-08,
    2.755731610068303e-06,
    -0.0001984126983675497,
    0.008333333333330946,
    -0.16666666666666666,
)
"""(sin r - r) / r**3 in r**2 for |r| <= pi / 4; 2**-56 of sin r."""
COS_TAIL = (
    -1.1382614868556325e-11,
    2.0876146024689747e-09,
    -2.7557317270560326e-07,
    2.4801587298763433e-05,
    -0.0013888888888887395,
    0.041666666666666664,
)
"""(cos r - 1 + r**2 / 2) / r**4 in r**2 for |r| <= pi / 4; 2**-60."""
ATAN_TAIL = (
    -0.013915657148793118,
    0.03063316224194981,
    -0.0410432655905283,
    0.04719367881728647,
    -0.052580373028164366,
    0.058819248144534424,
    -0.06666641989928918,
    0.07692306734642303,
    -0.09090909066971314,
    0.11111111110754082,
    -0.14285714285711512,
    0.19999999999999993,
    -0.3333333333333333,
)
"""(atan x - x) / x**3 in x**2 for |x| <= tan(pi / 8); 2**-64."""

ASIN_TAIL = (
    0.03267690883314453,
    -0.021077314588683393,
    0.021763507363521516,
    0.0036830426009513625,
    0.010786527551700687,
    0.011397776559700118,
    0.013980961332205973,
    0.017351600107659945,
    0.022372215658906125,
    0.030381942683698517,
    0.04464285717511789,
    0.07499999999970268,
    0.16666666666666763,
)
"""(asin x - x) / x**3 in x**2 for |x| <= 1 / 2; 2**-59 of asin x."""
PI = 3.141592653589793, 1.2246467991473532e-16

Pair = tuple[Value, Value]


def difference(f: Function, a: Value, b: Value) -> Pair:
    """a - b, rounded, and what rounding lost (Knuth's TwoSum)."""
    d = subtract(f, a, b)
    v = subtract(f, d, a)
    return d, subtract(f, subtract(f, a, subtract(f, d, v)), add(f, b, v))


def reduced(f: Function, x: Value) -> tuple[Value, Value, Value]:
    """r in two parts, and n in the low bits of a word, of x = n pi / 2 + r."""
    n, word = round_product(f, x, TWO_OVER_PI)
    first, second, third, rest = HALF_PI_PARTS
    high, lost = difference(f, multiply_add(f, n, -first, x), multiply(f, n, second))
    high, more = difference(f, high, multiply(f, n, third))
    low = add(f, add(f, lost, more), multiply(f, n, -rest))
    r = add(f, high, low)
    return r, add(f, subtract(f, high, r), low), word


def sine(f: Function, r: Value, low: Value) -> Pair:
    """sin(r + low) in two parts."""
    square = multiply(f, r, r)
    cubic = multiply(f, multiply(f, polynomial(f, square, SIN_TAIL), square), r)
    tail = add(f, cubic, multiply(f, low, multiply_add(f, square, -0.5, real(f, r, 1.0))))
    high = add(f, r, tail)
    return high, add(f, subtract(f, r, high), tail)


def cosine(f: Function, r: Value, low: Value) -> Pair:
    """cos(r + low) in two parts."""
    square = multiply(f, r, r)
    half = multiply(f, square, 0.5)
    one = real(f, r, 1.0)
    near = subtract(f, one, half)
    tail = multiply(f, multiply(f, polynomial(f, square, COS_TAIL), square), square)
    tail = subtract(f, tail, multiply(f, r, low))
    tail = add(f, subtract(f, subtract(f, one, near), half), tail)
    high = add(f, near, tail)
    return high, add(f, subtract(f, near, high), tail)


def _large(f: Function, x: Value, result: Value, library: Callable[[Value], Value]) -> Value:
    """`result`, or what the C library says where x is too large to be reduced here."""
    large = f.compare("fcmp ogt", absolute(f, x), real(f, x, REDUCED_BY_PARTS))
    return corrected(f, large, [result], lambda: [library(x)])[0]


def _circular(f: Function, x: Value, quarter: int) -> Value:
    r, low, word = reduced(f, x)
    if quarter:
        word = word_op(f, "add", word, quarter)
    odd = word_op(f, "and", word, 1)
    swapped = f.compare("icmp ne", odd, f.constant(odd.type, 0))
    value = f.select(swapped, cosine(f, r, low)[0], sine(f, r, low)[0])
    return negate_where_odd(f, value, word_op(f, "lshr", word, 1))


def sin(f: Function, x: Value, library: Callable[[Value], Value]) -> Value:
    result = _circular(f, x, 0)
    return _large(f, x, where(f, "olt", absolute(f, x), 2.0**-30, x, result), library)


def cos(f: Function, x: Value, library: Callable[[Value], Value]) -> Value:
    return _large(f, x, _circular(f, x, 1), library)


def tan(f: Function, x: Value, library: Callable[[Value], Value]) -> Value:
    r, low, word = reduced(f, x)
    odd = word_op(f, "and", word, 1)
    swapped = f.compare("icmp ne", odd, f.constant(odd.type, 0))
    s, c = sine(f, r, low), cosine(f, r, low)
    above, above_low = (f.select(swapped, cos, sin) for sin, cos in zip(s, c, strict=True))
    below, below_low = (f.select(swapped, sin, cos) for sin, cos in zip(s, c, strict=True))
    q = f.op("fdiv", above, below)
    rest = subtract(f, add(f, residual(f, above, q, below), above_low), multiply(f, q, below_low))
    result = negate_where_odd(f, add(f, q, f.op("fdiv", rest, below)), word)
    return _large(f, x, where(f, "olt", absolute(f, x), 2.0**-30, x, result), library)


def atan(f: Function, x: Value) -> Value:
    """Of a number in [tan(pi / 8), tan(3 pi / 8)] by way of (x - 1) / (x + 1), of a larger one of -1 / x."""
    magnitude, one = absolute(f, x), real(f, x, 1.0)
    middle = f.compare("fcmp ogt", magnitude, real(f, x, 0.41421356237309503))
    large = f.compare("fcmp ogt", magnitude, real(f, x, 2.414213562373095))
    above = f.select(large, real(f, x, -1.0), f.select(middle, subtract(f, magnitude, 1.0), magnitude))
    below = f.select(large, magnitude, f.select(middle, add(f, magnitude, 1.0), one))
    y = f.op("fdiv", above, below)
    zero = real(f, x, 0.0)
    base, low = (
        f.select(large, real(f, x, half), f.select(middle, real(f, x, quarter), zero))
        for half, quarter in zip(HALF_PI, QUARTER_PI, strict=True)
    )
    square = multiply(f, y, y)
    tail = multiply_add(f, multiply(f, polynomial(f, square, ATAN_TAIL), square), y, low)
    return copysign(f, add(f, base, add(f, y, tail)), x)


def arc_sine(f: Function, x: Value) -> tuple[Value, Value, Value]:
    """Whether |x| > 1 / 2; t, which is then sqrt((1 - |x|) / 2), else |x|; asin(t) - t, with what the root
    lost. NaN for |x| > 1.
    """
    magnitude = absolute(f, x)
    far = f.compare("fcmp ogt", magnitude, real(f, x, 0.5))
    half = multiply(f, subtract(f, real(f, x, 1.0), magnitude), 0.5)
    root = f.intrinsic("sqrt", half)
    # Of 1 the root is 0.
    lost = f.op("fdiv", multiply(f, residual(f, half, root, root), 0.5), at_least(f, root, 2.0**-60))
    z = f.select(far, half, multiply(f, x, x))
    t = f.select(far, root, magnitude)
    tail = multiply(f, multiply(f, polynomial(f, z, ASIN_TAIL), z), t)
    return far, t, add(f, tail, f.select(far, lost, real(f, x, 0.0)))


def asin(f: Function, x: Value) -> Value:
    """pi / 2 - 2 asin(sqrt((1 - |x|) / 2)) far from 0."""
    far, t, tail = arc_sine(f, x)
    high, lost = total_of_larger(f, real(f, x, HALF_PI[0]), multiply(f, t, -2.0))
    large = add(f, high, add(f, lost, multiply_add(f, tail, -2.0, HALF_PI[1])))
    return copysign(f, f.select(far, large, add(f, t, tail)), x)


def acos(f: Function, x: Value) -> Value:
    """Twice the arc near 1, pi less twice the arc near -1, pi / 2 - asin x between."""
    far, t, tail = arc_sine(f, x)
    positive = f.compare("fcmp ogt", x, real(f, x, 0.0))
    factor = f.select(far, real(f, x, 2.0), real(f, x, 1.0))
    arc, small = multiply(f, t, factor), multiply(f, tail, factor)
    # What pi is lessened by near -1, and pi / 2 between.
    plus = f.op("or", far, positive)
    less, small_less = (f.select(plus, v, f.fneg(v)) for v in (arc, small))
    high, low = (
        f.select(far, real(f, x, whole), real(f, x, half)) for whole, half in zip(PI, HALF_PI, strict=True)
    )
    high, lost = total_of_larger(f, high, f.fneg(less))
    below = add(f, high, add(f, lost, subtract(f, low, small_less)))
    return f.select(f.op("and", far, positive), add(f, arc, small), below)


def atan2(f: Function, y: Value, x: Value) -> Value:
    """The arc of a quotient in two parts, from the nearest multiple of pi / 4."""
    width, height = absolute(f, x), absolute(f, y)
    zero, one = real(f, x, 0.0), real(f, x, 1.0)
    steep, same = f.compare("fcmp ogt", height, width), f.compare("fcmp oeq", height, width)
    larger, smaller = f.select(steep, height, width), f.select(steep, width, height)
    down, _ = scales(f, larger)
    # 0 / 0 stands for 0, infinity / infinity for 1, and a number / infinity for 0.
    both_zero = f.op("and", same, f.compare("fcmp oeq", width, zero))
    infinite = f.compare("fcmp oeq", larger, real(f, x, INFINITY))
    smaller = f.select(same, one, f.select(infinite, f.op("fmul", smaller, zero), multiply(f, smaller, down)))
    smaller = f.select(both_zero, zero, smaller)
    larger = f.select(f.op("or", same, infinite), one, multiply(f, larger, down))
    middle = f.compare("fcmp ogt", smaller, multiply(f, larger, 0.41421356237309503))
    away, away_low = difference(f, smaller, larger)
    toward, toward_low = total_of_larger(f, larger, smaller)
    above, above_low = f.select(middle, away, smaller), f.select(middle, away_low, zero)
    below, below_low = f.select(middle, toward, larger), f.select(middle, toward_low, zero)
    q = f.op("fdiv", above, below)
    rest = subtract(f, add(f, residual(f, above, q, below), above_low), multiply(f, q, below_low))
    square = multiply(f, q, q)
    small = multiply(f, multiply(f, polynomial(f, square, ATAN_TAIL), square), q)
    small = add(f, small, f.op("fdiv", rest, below))
    # In the first octant the arc itself, then pi / 2 - arc, pi / 2 + arc, pi - arc.
    left = f.compare("icmp slt", bits(f, x), f.constant(bits(f, x).type, 0))
    turned = f.op("xor", steep, left)
    base, base_low = (f.select(middle, real(f, x, part), zero) for part in QUARTER_PI)
    base, base_low, q, small = (f.select(turned, f.fneg(v), v) for v in (base, base_low, q, small))
    origin, origin_low = (
        f.select(steep, real(f, x, half), f.select(left, real(f, x, pi), zero))
        for half, pi in zip(HALF_PI, PI, strict=True)
    )
    origin, lost = total_of_larger(f, origin, base)
    small = add(f, add(f, small, lost), add(f, origin_low, base_low))
    high, lost = total_of_larger(f, origin, q)
    return copysign(f, add(f, high, add(f, lost, small)), y)
