"""The arithmetic of which mathematical functions are made: multiply-add, polynomials, bit patterns, lane
tests.

Every function takes the builder and values of type `float` or `double`, scalar or vector. Knows the two
formats, and whether the target has a fused multiply-add, but no mathematical function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from treadle.devices.cpu.ir import FLOAT_WIDTHS, Function, Value, lanes_of, scalar_of, vector

INFINITY = float("inf")
NAN = float("nan")

ROUNDER = {"float": 1.5 * 2.0**23, "double": 1.5 * 2.0**52}
"""Added to a small number, it leaves the nearest integer in the low bits: rounding and conversion at once."""

MANTISSA_BITS = {"float": 23, "double": 52}
EXPONENT_BIAS = {"float": 127, "double": 1023}


def real(f: Function, like: Value, number: float) -> Value:
    """A constant of the type of `like`."""
    return f.constant(like.type, number)


def word_type(value: Value) -> str:
    """The integer type whose lanes are as wide as those of `value`."""
    return vector(f"i{FLOAT_WIDTHS[scalar_of(value.type)]}", lanes_of(value.type))


def bits(f: Function, value: Value) -> Value:
    """The bit pattern of a floating value."""
    return f.cast("bitcast", value, word_type(value))


def from_bits(f: Function, word: Value) -> Value:
    """The floating value of a bit pattern."""
    scalar = {"i32": "float", "i64": "double"}[scalar_of(word.type)]
    return f.cast("bitcast", word, vector(scalar, lanes_of(word.type)))


def word_op(f: Function, opcode: str, word: Value, number: int) -> Value:
    """An integer instruction with a constant on the right."""
    return f.op(opcode, word, f.constant(word.type, number))


def widened(f: Function, x: Value) -> Value:
    """`float` as `double`."""
    return f.cast("fpext", x, vector("double", lanes_of(x.type)))


def narrowed(f: Function, x: Value) -> Value:
    """`double` as `float`."""
    return f.cast("fptrunc", x, vector("float", lanes_of(x.type)))


def add(f: Function, a: Value, b: Value | float) -> Value:
    return f.op("fadd", a, b if isinstance(b, Value) else real(f, a, b))


def subtract(f: Function, a: Value, b: Value | float) -> Value:
    return f.op("fsub", a, b if isinstance(b, Value) else real(f, a, b))


def multiply(f: Function, a: Value, b: Value | float) -> Value:
    return f.op("fmul", a, b if isinstance(b, Value) else real(f, a, b))


def multiply_add(f: Function, a: Value, b: Value | float, c: Value | float) -> Value:
    """a * b + c, with one rounding where the target has it and two where it has not."""
    b = b if isinstance(b, Value) else real(f, a, b)
    c = c if isinstance(c, Value) else real(f, a, c)
    return f.fma(a, b, c) if f.module.fma else f.op("fadd", f.op("fmul", a, b), c)


def residual(f: Function, a: Value, b: Value, c: Value) -> Value:
    """a - b * c, where b * c is near a, all but exact."""
    if f.module.fma:
        return f.fma(f.fneg(b), c, a)
    (b_high, b_low), (c_high, c_low) = _halves(f, b), _halves(f, c)
    product = multiply(f, b, c)
    lost = subtract(f, multiply(f, b_high, c_high), product)
    lost = add(f, lost, add(f, multiply(f, b_high, c_low), multiply(f, b_low, c_high)))
    lost = add(f, lost, multiply(f, b_low, c_low))
    return subtract(f, subtract(f, a, product), lost)


def product(f: Function, a: Value, b: Value) -> tuple[Value, Value]:
    """a * b, rounded, and what rounding lost."""
    rounded = multiply(f, a, b)
    return rounded, f.fneg(residual(f, rounded, a, b))


def total(f: Function, a: Value, b: Value) -> tuple[Value, Value]:
    """a + b, rounded, and what rounding lost (Knuth's TwoSum)."""
    s = add(f, a, b)
    v = subtract(f, s, a)
    return s, add(f, subtract(f, a, subtract(f, s, v)), subtract(f, b, v))


def total_of_larger(f: Function, a: Value, b: Value) -> tuple[Value, Value]:
    """The same where |a| >= |b| or a is 0 (Dekker's FastTwoSum)."""
    s = add(f, a, b)
    return s, add(f, subtract(f, a, s), b)


def _halves(f: Function, x: Value) -> tuple[Value, Value]:
    """x as the sum of two numbers whose products are exact."""
    high = from_bits(f, word_op(f, "and", bits(f, x), -(1 << 27)))
    return high, subtract(f, x, high)


def polynomial(f: Function, x: Value, coefficients: Sequence[float]) -> Value:
    """The polynomial in `x` whose coefficients are given from the highest power down, by Horner's rule."""
    result = real(f, x, coefficients[0])
    for coefficient in coefficients[1:]:
        result = multiply_add(f, result, x, coefficient)
    return result


def at_least(f: Function, x: Value, low: float) -> Value:
    """`x`, or `low` where `x` is below it; NaN stays NaN. One MAXPS on x86."""
    bound = real(f, x, low)
    return f.select(f.compare("fcmp ogt", bound, x), bound, x)


def at_most(f: Function, x: Value, high: float) -> Value:
    """`x`, or `high` where `x` is above it; NaN stays NaN. One MINPS on x86."""
    bound = real(f, x, high)
    return f.select(f.compare("fcmp olt", bound, x), bound, x)


def where(f: Function, predicate: str, a: Value, b: float, true: Value | float, false: Value) -> Value:
    """``true if a PREDICATE b else false``, lane by lane: ``where(f, "olt", x, 0.0, NAN, y)``."""
    true = true if isinstance(true, Value) else real(f, false, true)
    return f.select(f.compare(f"fcmp {predicate}", a, real(f, a, b)), true, false)


def absolute(f: Function, x: Value) -> Value:
    return f.intrinsic("fabs", x)


def copysign(f: Function, magnitude: Value, sign: Value) -> Value:
    return f.intrinsic("copysign", magnitude, sign)


def negate_where_odd(f: Function, x: Value, word: Value) -> Value:
    """`x`, negated where the lowest bit of `word` is set."""
    flip = word_op(f, "shl", word, FLOAT_WIDTHS[scalar_of(x.type)] - 1)
    return from_bits(f, f.op("xor", bits(f, x), flip))


def round_to_integer(f: Function, x: Value, bias: int = 0) -> tuple[Value, Value]:
    """The integer nearest to a small `x` as a float and, with `bias` added, in the low bits of a word."""
    return round_sum(f, add(f, x, ROUNDER[scalar_of(x.type)] + bias), bias)


def round_product(f: Function, x: Value, factor: float, bias: int = 0) -> tuple[Value, Value]:
    """`round_to_integer` of ``x * factor``."""
    return round_sum(f, multiply_add(f, x, factor, ROUNDER[scalar_of(x.type)] + bias), bias)


def round_sum(f: Function, shifted: Value, bias: int = 0) -> tuple[Value, Value]:
    """The integer in a number to which ``ROUNDER + bias`` has been added, as a float and as a word."""
    return subtract(f, shifted, ROUNDER[scalar_of(shifted.type)] + bias), bits(f, shifted)


def power_of_two(f: Function, biased: Value) -> Value:
    """2 ** n from a word whose low bits hold n plus the format's exponent bias (1 to 254 for `float`)."""
    mantissa = {"i32": 23, "i64": 52}[scalar_of(biased.type)]
    return from_bits(f, word_op(f, "shl", biased, mantissa))


def between(f: Function, x: Value, predicate: str, low: float) -> Value:
    """Whether `x` is beyond (``ogt``) or at least (``oge``) `low`, and finite."""
    above = f.compare(f"fcmp {predicate}", x, real(f, x, low))
    return f.op("and", above, f.compare("fcmp olt", x, real(f, x, INFINITY)))


def inverted(f: Function, mask: Value) -> Value:
    return f.op("xor", mask, f.constant(mask.type, 1))


def any_lane(f: Function, mask: Value) -> Value:
    """Whether any lane of a mask is set, as an i1."""
    lanes = lanes_of(mask.type)
    if lanes == 1:
        return mask
    whole = f.cast("bitcast", mask, f"i{lanes}")
    return f.compare("icmp ne", whole, f.constant(whole.type, 0))


def corrected(
    f: Function, wrong: Value, values: Sequence[Value], correct: Callable[[], Sequence[Value]]
) -> list[Value]:
    """`values`, with the lanes that `wrong` marks from `correct()`, computed only if there is such a lane."""
    before = f.block
    some, done = f.label("rare"), f.label("common")
    f.branch(some, any_lane(f, wrong), done)
    f.start(some)
    repaired = [f.select(wrong, right, value) for right, value in zip(correct(), values, strict=True)]
    after = f.block
    f.branch(done)
    f.start(done)
    return [f.phi(v.type, (v, before), (w, after)) for v, w in zip(values, repaired, strict=True)]
