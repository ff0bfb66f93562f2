"""Trigonometric functions for generated code, in single precision, for arguments of any size.

sin and cos reduce by multiples of pi, so that one odd polynomial and a sign serve both. Arguments to 2**15
are reduced with pi in three parts (fused multiply-add) or in double precision (without). Larger ones are
multiplied by a table of 1 / pi mod 2 scaled to each exponent, as Payne and Hanek proposed ("Radian reduction
for trigonometric functions", 1983), which a branch skips when no lane needs it.
"""

from __future__ import annotations

from treadle.devices.cpu.ir import Function, Value, lanes_of, vector
from treadle.devices.cpu.math_arithmetic import (
    absolute,
    add,
    at_least,
    at_most,
    bits,
    corrected,
    multiply,
    multiply_add,
    negate_where_odd,
    polynomial,
    real,
    round_product,
    round_to_integer,
    subtract,
    where,
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
        if not 2.0 ** (biased - 126) >= REDUCED_BY_PARTS or biased == 255:
            high.append(0.0)
            low.append(0.0)
            continue
        # In units of 2**-256: 2**exponent * per_pi / pi, modulo 2 and between -1 and 1.
        turns = (ONE_OVER_PI * per_pi << exponent if exponent >= 0 else ONE_OVER_PI * per_pi >> -exponent) % (
            2 << 256
        )
        turns -= (2 << 256) if turns > 1 << 256 else 0
        coarse = (turns + (1 << 226)) >> 227
        high.append(coarse * 2.0**-29 * 2.0**-exponent)
        low.append((turns - (coarse << 227)) / 2**256 * 2.0**-exponent)
    return high, low


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
    """`reduce` for arguments of `REDUCED_BY_PARTS` and more; NaN for infinities and NaN."""
    high, low = (f.module.table("double", column) for column in reciprocal_table(per_pi))
    index = word_op(f, "lshr", bits(f, absolute(f, x)), 23)
    wide = f.cast("fpext", x, vector("double", lanes_of(x.type)))
    turns = subtract(f, f.op("fmul", wide, gather(f, high, index)), shift)
    n, word = round_to_integer(f, turns)
    rest = add(f, subtract(f, turns, n), f.op("fmul", wide, gather(f, low, index)))
    r = f.cast("fptrunc", multiply(f, rest, PI / per_pi), x.type)
    return r, f.cast("trunc", word, vector("i32", lanes_of(x.type)))


def reduce_double(f: Function, x: Value, per_pi: int, shift: float) -> tuple[Value, Value]:
    """`reduce` in double precision, for targets without fused multiply-add."""
    wide = f.cast("fpext", x, vector("double", lanes_of(x.type)))
    n, word = round_to_integer(f, subtract(f, multiply(f, wide, per_pi / PI), shift))
    n = add(f, n, shift)
    for part in PI_DOUBLE_PARTS:
        wide = multiply_add(f, n, -part / per_pi, wide)
    return f.cast("fptrunc", wide, x.type), f.cast("trunc", word, vector("i32", lanes_of(x.type)))


def reduce_single(f: Function, x: Value, per_pi: int, shift: float) -> tuple[Value, Value]:
    """`reduce` with fused multiply-add: what each step loses is below the last bit of its result."""
    if shift:
        n, word = round_to_integer(f, multiply_add(f, x, per_pi / PI, -shift))
        n = add(f, n, shift)
    else:
        n, word = round_product(f, x, per_pi / PI)
    for part in PI_PARTS:
        x = multiply_add(f, n, -part / per_pi, x)
    return x, word


def reduce(f: Function, x: Value, per_pi: int = 1, shift: float = 0.0) -> tuple[Value, Value]:
    """r and, in the low bit of a word, the parity of n, of ``x = (n + shift) * pi / per_pi + r`` with the
    smallest r.
    """
    by_parts = reduce_single if f.module.fma else reduce_double
    r, word = by_parts(f, x, per_pi, shift)
    # Not "greater": NaN is left to the first way.
    huge = f.compare("fcmp ogt", absolute(f, x), real(f, x, REDUCED_BY_PARTS))
    return corrected(f, huge, (r, word), lambda: reduce_huge(f, x, per_pi, shift))


def sin_reduced(f: Function, r: Value) -> Value:
    """sin r for |r| <= pi / 2."""
    z = multiply(f, r, r)
    result = multiply_add(f, polynomial(f, z, SIN_TAIL), multiply(f, r, z), r)
    # One rounding up from 1 would be two units in the last place of what is below 1.
    return at_least(f, at_most(f, result, 1.0), -1.0)


def sin(f: Function, x: Value) -> Value:
    r, parity = reduce(f, x)
    result = negate_where_odd(f, sin_reduced(f, r), parity)
    # The reduction makes +0 of -0, and loses nothing else.
    return where(f, "oeq", x, 0.0, x, result)


def cos(f: Function, x: Value) -> Value:
    # cos x = -sin(x - pi / 2): the reduced argument is small where the cosine is.
    r, parity = reduce(f, x, shift=0.5)
    return negate_where_odd(f, sin_reduced(f, r), word_op(f, "xor", parity, 1))
