"""Trigonometric functions for generated code, in single precision, for arguments of any size.

sin and cos reduce by multiples of pi, so that one odd polynomial and a sign serve both. Arguments to 2**15
are reduced with pi in three parts (fused multiply-add) or in double precision (without). Larger ones are
multiplied by a table of 1 / pi mod 2 scaled to each exponent, as Payne and Hanek proposed ("Radian reduction
for trigonometric functions", 1983), which a branch skips when no lane needs it.
"""

from __future__ import annotations

from treadle.devices.cpu.ir import Function, Value, lanes_of, scalar_of, vector
from treadle.devices.cpu.math_arithmetic import (
    absolute,
    add,
    at_least,
    at_most,
    bits,
    copysign,
    corrected,
    multiply,
    multiply_add,
    narrowed,
    negate_where_odd,
    polynomial,
    real,
    round_product,
    round_to_integer,
    subtract,
    where,
    widened,
    word_op,
)

PI = 3.141592653589793

SIN_TAIL = (
    -2.552669187139145e-08,
    2.7627841063804226e-06,
    -0.0001984309928957373,
    0.008333350531756878,
    -0.1666666716337204,
)
"""(sin r - r) / r**3 in r**2 for |r| <= pi / 2; 2**-31 of sin r."""

TAN_TAIL = (
    0.004387495573610067,
    7.036705210339278e-05,
    0.01084743719547987,
    0.021279461681842804,
    0.054059967398643494,
    0.1333266943693161,
    0.33333349227905273,
)
"""(tan r - r) / r**3 in r**2 for |r| <= pi / 4; 2**-29 of tan r."""

ASIN_TAIL = (
    0.042227525264024734,
    0.024145396426320076,
    0.04547688737511635,
    0.07495249062776566,
    0.16666753590106964,
)
"""(asin x - x) / x**3 in x**2 for |x| <= 1/2; 2**-27 of asin x."""

ATAN_TAIL = (
    -0.0017875456251204014,
    0.010887389071285725,
    -0.031127091497182846,
    0.05790664255619049,
    -0.08400479704141617,
    0.10951175540685654,
    -0.14264051616191864,
    0.1999853104352951,
    -0.33333298563957214,
)
"""(atan x - x) / x**3 in x**2 for |x| <= 1; 2**-28 of atan x."""

PI_PARTS = (3.1415927410125732, -8.742277657347586e-08, -3.4302490200117637e-15)
"""pi as three floats."""
PI_DOUBLE_PARTS = (3.1415926534682512, 1.2154201013012384e-10)
"""pi as 33 bits, so that its product with 20 bits is exact, and the rest as a double."""

ONE_OVER_PI = 0x517CC1B727220A94FE13ABE8FA9A6EE06DB14ACC9E21C820FF28B1D5EF5DE2B0
"""1 / pi in units of 2**-256."""
REDUCED_BY_PARTS = 2.0**15
"""The largest argument for which n pi is subtracted in parts."""


def reciprocal_table(per_pi: int) -> tuple[list[float], list[float]]:
    """For each biased exponent e of a float x, two doubles whose sum times x is ``x * per_pi / pi`` modulo 2.

    The first has so few bits that its product with x is exact.
    """
    high, low = [], []
    for biased in range(256):
        exponent = biased - 150
        if 2.0 ** (biased - 126) <= REDUCED_BY_PARTS or biased == 255:
            high.append(0.0)
            low.append(0.0)
            continue
        # In units of 2**-256: 2**exponent * per_pi / pi, modulo 2 and between -1 and 1.
        digits = ONE_OVER_PI * per_pi
        turns = (digits << exponent if exponent >= 0 else digits >> -exponent) % (2 << 256)
        turns -= (2 << 256) if turns > 1 << 256 else 0
        coarse = (turns + (1 << 226)) >> 227
        high.append(coarse * 2.0**-29 * 2.0**-exponent)
        low.append((turns - (coarse << 227)) / 2**256 * 2.0**-exponent)
    return high, low


def shortened(f: Function, word: Value) -> Value:
    """The low halves of 64-bit words."""
    return f.cast("trunc", word, vector("i32", lanes_of(word.type)))


def gather(f: Function, table: Value, index: Value) -> Value:
    """The doubles at the given indices of a constant table."""
    lanes = lanes_of(index.type)
    result = Value(vector("double", lanes), "poison")
    for lane in range(lanes):
        at = index if lanes == 1 else f.extract(index, lane)
        element = f.load("double", f.at(table, f.mul(f.cast("zext", at, "i64"), 8)), align=8)
        if lanes == 1:
            return element
        result = f.assign(
            result.type, f"insertelement {result.type} {result.name}, double {element.name}, i32 {lane}"
        )
    return result


def reduce_huge(f: Function, x: Value, per_pi: int, shift: float) -> tuple[Value, Value]:
    """`reduce_double` for arguments beyond `REDUCED_BY_PARTS`; NaN for infinities."""
    high, low = (f.module.table("double", column) for column in reciprocal_table(per_pi))
    index = word_op(f, "lshr", bits(f, absolute(f, x)), 23)
    wide = widened(f, x)
    turns = subtract(f, f.op("fmul", wide, gather(f, high, index)), shift)
    n, word = round_to_integer(f, turns)
    rest = add(f, subtract(f, turns, n), f.op("fmul", wide, gather(f, low, index)))
    return multiply(f, rest, PI / per_pi), shortened(f, word)


def reduce_by_double_parts(f: Function, x: Value, per_pi: int, shift: float) -> tuple[Value, Value]:
    """`reduce_double` for arguments to `REDUCED_BY_PARTS`."""
    r = widened(f, x)
    n, word = round_to_integer(f, subtract(f, multiply(f, r, per_pi / PI), shift))
    n = add(f, n, shift)
    for part in PI_DOUBLE_PARTS:
        r = multiply_add(f, n, -part / per_pi, r)
    return r, shortened(f, word)


def reduce_by_parts(f: Function, x: Value, per_pi: int, shift: float) -> tuple[Value, Value]:
    """`reduce` with fused multiply-add: what each step loses is below the last bit of its result."""
    if shift:
        n, word = round_to_integer(f, multiply_add(f, x, per_pi / PI, -shift))
        n = add(f, n, shift)
    else:
        n, word = round_product(f, x, per_pi / PI)
    for part in PI_PARTS:
        x = multiply_add(f, n, -part / per_pi, x)
    return x, word


def is_huge(f: Function, x: Value) -> Value:
    """Which lanes are beyond `REDUCED_BY_PARTS`. NaN is not."""
    return f.compare("fcmp ogt", absolute(f, x), real(f, x, REDUCED_BY_PARTS))


def reduce_double(f: Function, x: Value, per_pi: int, shift: float) -> tuple[Value, Value]:
    """`reduce` with r as a `double`."""
    reduced = reduce_by_double_parts(f, x, per_pi, shift)
    r, word = corrected(f, is_huge(f, x), reduced, lambda: reduce_huge(f, x, per_pi, shift))
    return r, word


def reduce(f: Function, x: Value, per_pi: int, shift: float) -> tuple[Value, Value]:
    """The smallest r, and a word with the parity of n, of ``x = (n + shift) * pi / per_pi + r``.

    r is a `double` on targets without fused multiply-add.
    """
    if not f.module.fma:
        return reduce_double(f, x, per_pi, shift)

    def huge() -> tuple[Value, Value]:
        r, word = reduce_huge(f, x, per_pi, shift)
        return narrowed(f, r), word

    r, word = corrected(f, is_huge(f, x), reduce_by_parts(f, x, per_pi, shift), huge)
    return r, word


def sin_reduced(f: Function, r: Value) -> Value:
    """sin r as a `float`, for a `float` or `double` |r| <= pi / 2."""
    z = multiply(f, r, r)
    if scalar_of(r.type) == "double":
        tail = widened(f, polynomial(f, narrowed(f, z), SIN_TAIL[:-1]))
        tail = multiply_add(f, tail, z, SIN_TAIL[-1])
        return narrowed(f, multiply_add(f, multiply(f, r, z), tail, r))
    # r / 2 + r (1 / 2 + z tail): the roundings of r + r z tail add up to two units in the last place near pi
    # / 2, where also a rounding up from 1 would be two units of what is below 1.
    slope = polynomial(f, z, (*SIN_TAIL, 0.5))
    return at_least(f, at_most(f, multiply_add(f, slope, r, multiply(f, r, 0.5)), 1.0), -1.0)


def sin(f: Function, x: Value) -> Value:
    r, parity = reduce(f, x, per_pi=1, shift=0.0)
    result = negate_where_odd(f, sin_reduced(f, r), parity)
    # Also the sign of zero, which the reduction loses, and the last bit of the smallest numbers.
    return where(f, "olt", absolute(f, x), 2.0**-12, x, result)


def cos(f: Function, x: Value) -> Value:
    # cos x = -sin(x - pi / 2): the reduced argument is small where the cosine is.
    r, parity = reduce(f, x, per_pi=1, shift=0.5)
    return negate_where_odd(f, sin_reduced(f, r), word_op(f, "xor", parity, 1))


def tan(f: Function, x: Value) -> Value:
    # The last steps are in double: the tangent grows faster than its argument's error allows.
    wide, parity = reduce_double(f, x, per_pi=2, shift=0.0)
    r = narrowed(f, wide)
    z = multiply(f, r, r)
    tail = multiply(f, polynomial(f, z, TAN_TAIL), multiply(f, z, r))
    tangent = add(f, wide, widened(f, tail))
    odd = f.compare("icmp ne", word_op(f, "and", parity, 1), f.constant(parity.type, 0))
    cotangent = f.op("fdiv", real(f, wide, -1.0), tangent)
    return where(f, "oeq", x, 0.0, x, narrowed(f, f.select(odd, cotangent, tangent)))


def asin_reduced(f: Function, x: Value) -> tuple[Value, Value, Value]:
    """Whether |x| > 1/2; t, which is then sqrt((1 - |x|) / 2), else |x|; asin t - t. NaN for |x| > 1."""
    magnitude = absolute(f, x)
    far = f.compare("fcmp ogt", magnitude, real(f, x, 0.5))
    half = multiply_add(f, magnitude, -0.5, 0.5)
    z = f.select(far, half, multiply(f, x, x))
    t = f.select(far, f.intrinsic("sqrt", half), magnitude)
    return far, t, multiply(f, multiply(f, polynomial(f, z, ASIN_TAIL), z), t)


def asin(f: Function, x: Value) -> Value:
    far, t, tail = asin_reduced(f, x)
    # pi / 2 - 2 (t + tail); what rounds off pi / 2 - 2 t is added to the small terms.
    half_pi = real(f, x, PI_PARTS[0] / 2)
    large = multiply_add(f, t, -2.0, half_pi)
    lost = multiply_add(f, t, -2.0, subtract(f, half_pi, large))
    small = add(f, lost, multiply_add(f, tail, -2.0, PI_PARTS[1] / 2))
    return copysign(f, f.select(far, add(f, large, small), add(f, t, tail)), x)


def acos(f: Function, x: Value) -> Value:
    far, t, tail = asin_reduced(f, x)
    arc = add(f, t, tail)
    # Twice the arc near 1, pi less twice the arc near -1, pi / 2 - asin x between.
    twice = add(f, arc, arc)
    positive = f.compare("fcmp ogt", x, real(f, x, 0.0))
    near_minus_one = subtract(f, real(f, x, PI_PARTS[0]), subtract(f, twice, PI_PARTS[1]))
    near_zero = from_half_pi(f, f.fneg(copysign(f, arc, x)))
    return f.select(far, f.select(positive, twice, near_minus_one), near_zero)


def from_half_pi(f: Function, x: Value) -> Value:
    """pi / 2 + x."""
    return add(f, add(f, x, PI_PARTS[1] / 2), PI_PARTS[0] / 2)


def atan_reduced(f: Function, q: Value) -> Value:
    """atan q for 0 <= q <= 1."""
    z = multiply(f, q, q)
    return multiply_add(f, multiply(f, polynomial(f, z, ATAN_TAIL), z), q, q)


def atan(f: Function, x: Value) -> Value:
    magnitude = absolute(f, x)
    far = f.compare("fcmp ogt", magnitude, real(f, x, 1.0))
    arc = atan_reduced(f, f.select(far, f.op("fdiv", real(f, x, 1.0), magnitude), magnitude))
    return copysign(f, f.select(far, from_half_pi(f, f.fneg(arc)), arc), x)


def atan2(f: Function, y: Value, x: Value) -> Value:
    width, height = absolute(f, x), absolute(f, y)
    steep = f.compare("fcmp ogt", height, width)
    larger, smaller = f.select(steep, height, width), f.select(steep, width, height)
    # 0 / 0 stands for 0 and infinity / infinity for 1.
    same = f.compare("fcmp oeq", height, width)
    both_zero = f.op("and", same, f.compare("fcmp oeq", width, real(f, x, 0.0)))
    quotient = f.select(same, real(f, x, 1.0), f.op("fdiv", smaller, larger))
    arc = atan_reduced(f, f.select(both_zero, real(f, x, 0.0), quotient))
    # In the first octant the arc itself, then pi / 2 - arc, pi / 2 + arc, pi - arc.
    left = f.compare("icmp slt", bits(f, x), f.constant(bits(f, x).type, 0))
    zero = real(f, x, 0.0)
    high, low = (
        f.select(steep, real(f, x, part / 2), f.select(left, real(f, x, part), zero)) for part in PI_PARTS[:2]
    )
    arc = f.select(f.op("xor", steep, left), f.fneg(arc), arc)
    return copysign(f, add(f, add(f, arc, low), high), y)
