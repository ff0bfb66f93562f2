"""Elementwise ops: arithmetic, exponential, trigonometric, comparison, logical and bitwise.

Names and special cases are those of the Python Array API standard 2025.12. Nodes of these ops have inputs
of one shape: the functions broadcast and promote before they make one. A record is one call; its gradient
stands beside its meaning.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.dtypes import DType, as_dtype, component
from treadle.errors import ArgumentError, DTypeError
from treadle.graph.node import WEAK, Node, Op, Type, make, surroundings
from treadle.ops import special_values
from treadle.ops.record import (
    CAST,
    PUBLIC,
    Operand,
    all_weak,
    broadcast,
    broadcast_shapes,
    cast,
    constant,
    expect_convertible,
    expect_kind,
    expect_node,
    filled,
    public,
    register,
    together,
    weak,
)

Rule = Callable[..., Any]


def like(value: float, x: Node) -> Node:
    """A number in the shape and dtype of a node."""
    return filled(value, x.type.shape, x.type.dtype)


def _named(function: Callable[..., Node], name: str, doc: str, parameters: str) -> Callable[..., Node]:
    """Give a generated function its public name, docstring and signature."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(p, inspect.Parameter.POSITIONAL_ONLY, annotation="Operand")
            for p in parameters.split()
        ],
        return_annotation="Node",
    )
    PUBLIC[name] = function
    return function


def unary(
    name: str,
    doc: str,
    reference: Rule,
    vjp: Rule | None,
    accepts: str = "floating",
    result: DType | Callable[[DType], DType] | None = None,
    no_gradient: str = "",
) -> Callable[[Operand], Node]:
    """Record an op of one operand. `vjp(g, y, x)` gives the cotangent of x; `result` is its dtype if not
    the operand's, or makes it from that.

    Where only floating dtypes are accepted, an integer array is an error, an integer number is taken as
    float32.
    """

    def infer(x: Type) -> Type:
        if x.dtype.kind not in dtypes.KINDS[accepts]:
            hint = "; convert it with astype(td.float32)" if "floating" in accepts else ""
            raise DTypeError(f"[{name}] x is {x!r}; expected a {accepts} dtype{hint}")
        if result is None:
            return x
        return Type(x.shape, result if isinstance(result, DType) else result(x.dtype))

    op = register(
        Op(
            name,
            infer,
            reference,
            None if vjp is None else lambda g, y, x: (vjp(g, y, x),),
            elementwise=True,
            no_gradient=no_gradient,
            doc=doc,
        )
    )

    def function(x: Operand, /) -> Node:
        if type(x) is not Node or x.flags & WEAK or surroundings.mixed is not None:
            if name == "negative" and isinstance(x, Node) and x.flags & WEAK:
                return weak(make(op, (x,)))
            x = expect_node(name, "x", float(x) if accepts == "floating" and type(x) is int else x)
        return make(op, (x,))

    dtype = f"the dtype {result}" if isinstance(result, DType) else "the same dtype"
    if result is component:
        dtype = "the same dtype; of complex numbers, of the dtype of their parts"
    doc = f"""{doc}

    Args:
        x: array of any shape and {accepts} dtype, or a Python number.

    Returns:
        Array of the same shape and {dtype}.

    Raises:
        DTypeError: x is not of a {accepts} dtype.
    """
    return _named(function, name, doc, "x")


def binary(
    name: str,
    doc: str,
    reference: Rule,
    vjp: Rule | None,
    accepts: str = "numeric",
    result: DType | None = None,
    no_gradient: str = "",
) -> Callable[[Operand, Operand], Node]:
    """Record an op of two operands that broadcast together. `vjp(g, y, a, b)` gives both cotangents."""

    def infer(a: Type, b: Type) -> Type:
        if a.dtype.kind not in dtypes.KINDS[accepts]:
            raise DTypeError(f"[{name}] the operands promote to {a.dtype}; expected a {accepts} dtype")
        return a if result is None else Type(a.shape, result)

    op = register(Op(name, infer, reference, vjp, elementwise=True, no_gradient=no_gradient, doc=doc))

    def function(x1: Operand, x2: Operand, /) -> Node:
        if (
            type(x1) is Node
            and type(x2) is Node
            and x1.type is x2.type
            and not x1.flags & x2.flags & WEAK
            and surroundings.mixed is None
        ):
            return make(op, (x1, x2))
        if all_weak((x1, x2)):
            return weak(make(op, (cast(x1, dtypes.float64), cast(x2, dtypes.float64))))
        nodes, dtype = together(name, (x1, x2))
        if accepts == "floating" and dtype.kind in ("int", "uint") and type(x1) is not type(x2):
            nodes = [cast(node, dtypes.float32) for node in nodes]
        return make(op, tuple(nodes))

    doc = f"""{doc}

    Args:
        x1: array of {accepts} dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and {f"dtype {result}" if result else "the promoted dtype"}.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one{"" if accepts == "any" else f", or it is not {accepts}"}.
    """
    return _named(function, name, doc, "x1 x2")


STEP = "it is piecewise constant: wrap it in td.stop_gradient if that is meant"
WHOLE = "its result is not a floating-point value"
BITS = "bitwise operations act on integers"

# -- arithmetic

add = binary("add", "x1 + x2.", np.add, lambda g, y, a, b: (g, g), accepts="any")
subtract = binary("subtract", "x1 - x2.", np.subtract, lambda g, y, a, b: (g, negative(g)))
multiply = binary(
    "multiply",
    "x1 * x2.",
    np.multiply,
    lambda g, y, a, b: (multiply(g, conj(b)), multiply(g, conj(a))),
    accepts="any",
)
divide = binary(
    "divide",
    "x1 / x2, of floating dtypes.",
    np.divide,
    lambda g, y, a, b: ((q := divide(g, conj(b))), negative(multiply(q, conj(y)))),
    accepts="floating",
)
floor_divide = binary(
    "floor_divide",
    "x1 / x2 rounded down.",
    special_values.floor_divide,
    None,
    accepts="real",
    no_gradient=STEP,
)
remainder = binary(
    "remainder",
    "x1 - floor(x1 / x2) * x2: the remainder with the sign of x2.",
    np.remainder,
    lambda g, y, a, b: (g, negative(multiply(g, floor(divide(a, b))))),
    accepts="real",
)
negative = unary("negative", "-x.", np.negative, lambda g, y, x: negative(g), accepts="numeric")
positive = unary("positive", "+x: x itself.", np.positive, lambda g, y, x: g, accepts="numeric")
square = unary(
    "square",
    "x * x.",
    np.square,
    lambda g, y, x: multiply(g, multiply(conj(x), like(2, x))),
    accepts="numeric",
)
reciprocal = unary(
    "reciprocal", "1 / x.", np.reciprocal, lambda g, y, x: negative(multiply(g, square(conj(y))))
)
sqrt = unary(
    "sqrt",
    "Square root; NaN below zero.",
    np.sqrt,
    lambda g, y, x: divide(multiply(g, like(0.5, x)), conj(y)),
)


def _sign_vjp(g: Node, y: Node, x: Node) -> Node:
    """Of complex numbers the part of g across the direction of x, over |x|; of real ones nothing."""
    if x.dtype.kind != "complex":
        return like(0, x)
    modulus = abs(x)
    zero = equal(modulus, like(0, modulus))
    along = multiply(y, real(multiply(conj(y), g)))
    across = divide(subtract(g, along), where(zero, like(1, modulus), modulus))
    return where(zero, like(0, x), across)


sign = unary(
    "sign",
    "-1, 0 or 1, of complex numbers x / abs(x); NaN of NaN.",
    special_values.sign,
    _sign_vjp,
    accepts="numeric",
)
maximum = binary(
    "maximum",
    "The larger of x1 and x2; NaN where either is.",
    np.maximum,
    lambda g, y, a, b: _shared(g, equal(a, y), equal(b, y)),
    accepts="real",
)
minimum = binary(
    "minimum",
    "The smaller of x1 and x2; NaN where either is.",
    np.minimum,
    lambda g, y, a, b: _shared(g, equal(a, y), equal(b, y)),
    accepts="real",
)
hypot = binary(
    "hypot",
    "sqrt(x1**2 + x2**2) without overflow on the way.",
    np.hypot,
    lambda g, y, a, b: (multiply(g, divide(a, y)), multiply(g, divide(b, y))),
    accepts="real floating",
)
copysign = binary(
    "copysign",
    "|x1| with the sign of x2.",
    np.copysign,
    lambda g, y, a, b: (where(equal(signbit(a), signbit(b)), g, negative(g)), like(0, b)),
    accepts="real floating",
)
nextafter = binary(
    "nextafter",
    "The next number of the dtype after x1 towards x2.",
    np.nextafter,
    None,
    accepts="real floating",
    no_gradient=STEP,
)


def _shared(g: Node, left: Node, right: Node) -> tuple[Node, Node]:
    """The cotangent to whichever operand was chosen, half each where they are equal."""
    zero, part = like(0, g), where(logical_and(left, right), multiply(g, like(0.5, g)), g)
    return where(left, part, zero), where(right, part, zero)


def _abs_vjp(g: Node, y: Node, x: Node) -> Node:
    return multiply(g, sign(x))


abs = unary("abs", "The absolute value.", np.abs, _abs_vjp, accepts="numeric", result=component)


def _power_vjp(g: Node, y: Node, a: Node, b: Node) -> tuple[Node, Node]:
    zero, one = like(0, a), like(1, a)
    base = multiply(g, conj(multiply(b, where(equal(b, zero), zero, pow(a, subtract(b, one))))))
    # d/db is y log a; where a is 0 the limit is 0 for b > 0, and log must not be asked.
    slope = where(equal(a, zero), zero, multiply(y, log(where(equal(a, zero), one, a))))
    exponent = multiply(g, conj(slope))
    return base, exponent


pow = binary("pow", "x1 to the power x2.", special_values.power, _power_vjp)

# -- exponential and logarithmic

exp = unary("exp", "e to the power x.", np.exp, lambda g, y, x: multiply(g, conj(y)))
expm1 = unary(
    "expm1",
    "exp(x) - 1, accurate near zero.",
    special_values.expm1,
    lambda g, y, x: multiply(g, conj(add(y, like(1, y)))),
)
log = unary("log", "Natural logarithm.", np.log, lambda g, y, x: divide(g, conj(x)))
log1p = unary(
    "log1p",
    "log(1 + x), accurate near zero.",
    special_values.log1p,
    lambda g, y, x: divide(g, conj(add(x, like(1, x)))),
)
log2 = unary(
    "log2",
    "Logarithm to base 2.",
    special_values.log2,
    lambda g, y, x: divide(g, multiply(conj(x), like(math.log(2), x))),
)
log10 = unary(
    "log10",
    "Logarithm to base 10.",
    special_values.log10,
    lambda g, y, x: divide(g, multiply(conj(x), like(math.log(10), x))),
)
logaddexp = binary(
    "logaddexp",
    "log(exp(x1) + exp(x2)) without overflow.",
    np.logaddexp,
    lambda g, y, a, b: (multiply(g, exp(subtract(a, y))), multiply(g, exp(subtract(b, y)))),
    accepts="real floating",
)

# -- trigonometric and hyperbolic

sin = unary("sin", "Sine of x in radians.", np.sin, lambda g, y, x: multiply(g, conj(cos(x))))
cos = unary("cos", "Cosine of x in radians.", np.cos, lambda g, y, x: negative(multiply(g, conj(sin(x)))))
tan = unary(
    "tan",
    "Tangent of x in radians.",
    special_values.tan,
    lambda g, y, x: multiply(g, conj(add(square(y), like(1, y)))),
)
asin = unary(
    "asin",
    "Inverse sine, in radians.",
    np.arcsin,
    lambda g, y, x: divide(g, conj(sqrt(_one_minus_square(x)))),
)
acos = unary(
    "acos",
    "Inverse cosine, in radians.",
    np.arccos,
    lambda g, y, x: negative(divide(g, conj(sqrt(_one_minus_square(x))))),
)
atan = unary(
    "atan",
    "Inverse tangent, in radians.",
    np.arctan,
    lambda g, y, x: divide(g, conj(add(square(x), like(1, x)))),
)
sinh = unary("sinh", "Hyperbolic sine.", np.sinh, lambda g, y, x: multiply(g, conj(cosh(x))))
cosh = unary("cosh", "Hyperbolic cosine.", np.cosh, lambda g, y, x: multiply(g, conj(sinh(x))))
tanh = unary(
    "tanh",
    "Hyperbolic tangent.",
    special_values.tanh,
    lambda g, y, x: multiply(g, conj(_one_minus_square(y))),
)
asinh = unary(
    "asinh",
    "Inverse hyperbolic sine.",
    np.arcsinh,
    lambda g, y, x: divide(g, conj(sqrt(add(square(x), like(1, x))))),
)
acosh = unary(
    "acosh",
    "Inverse hyperbolic cosine; NaN below one.",
    np.arccosh,
    lambda g, y, x: divide(g, conj(multiply(sqrt(subtract(x, like(1, x))), sqrt(add(x, like(1, x)))))),
)
atanh = unary(
    "atanh",
    "Inverse hyperbolic tangent.",
    np.arctanh,
    lambda g, y, x: divide(g, conj(_one_minus_square(x))),
)


def _atan2_vjp(g: Node, y: Node, a: Node, b: Node) -> tuple[Node, Node]:
    scaled = divide(g, add(square(a), square(b)))
    return multiply(scaled, b), negative(multiply(scaled, a))


atan2 = binary(
    "atan2", "The angle of the point (x2, x1), in radians.", np.arctan2, _atan2_vjp, accepts="real floating"
)


def _one_minus_square(x: Node) -> Node:
    """1 - x*x as (1 - x)(1 + x), which keeps its digits near one."""
    one = like(1, x)
    return multiply(subtract(one, x), add(one, x))


# -- special functions


def _erf_reference(x: Any) -> Any:
    wide = np.asarray(x, dtype=np.float64)
    return np.array([math.erf(v) for v in wide.ravel()], dtype=np.float64).reshape(wide.shape).astype(x.dtype)


def _sigmoid_reference(x: Any) -> Any:
    with np.errstate(over="ignore"):
        e = np.exp(-np.abs(x))
        return (np.where(x >= 0, 1, e) / (1 + e)).astype(x.dtype)


erf = unary(
    "erf",
    "The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.",
    _erf_reference,
    lambda g, y, x: multiply(g, multiply(exp(negative(square(x))), like(2 / math.sqrt(math.pi), x))),
    "real floating",
)
sigmoid = unary(
    "sigmoid",
    "The logistic function 1 / (1 + exp(-x)).",
    _sigmoid_reference,
    lambda g, y, x: multiply(g, multiply(y, subtract(like(1, y), y))),
    "real floating",
)

# -- rounding

floor = unary("floor", "Rounded down to an integer.", np.floor, lambda g, y, x: like(0, x), accepts="real")
ceil = unary("ceil", "Rounded up to an integer.", np.ceil, lambda g, y, x: like(0, x), accepts="real")
trunc = unary("trunc", "Rounded towards zero.", np.trunc, lambda g, y, x: like(0, x), accepts="real")
round = unary(
    "round",
    "Rounded to the nearest integer, halves to even; of complex numbers each part.",
    np.round,
    lambda g, y, x: like(0, x),
    accepts="numeric",
)

# -- comparison and tests

equal = binary("equal", "x1 == x2.", np.equal, None, "any", dtypes.bool, no_gradient=WHOLE)
not_equal = binary("not_equal", "x1 != x2.", np.not_equal, None, "any", dtypes.bool, no_gradient=WHOLE)
less = binary("less", "x1 < x2.", np.less, None, "real", dtypes.bool, no_gradient=WHOLE)
less_equal = binary("less_equal", "x1 <= x2.", np.less_equal, None, "real", dtypes.bool, no_gradient=WHOLE)
greater = binary("greater", "x1 > x2.", np.greater, None, "real", dtypes.bool, no_gradient=WHOLE)
greater_equal = binary(
    "greater_equal", "x1 >= x2.", np.greater_equal, None, "real", dtypes.bool, no_gradient=WHOLE
)
isnan = unary("isnan", "Whether x is NaN.", np.isnan, None, "numeric", dtypes.bool, no_gradient=WHOLE)
isinf = unary("isinf", "Whether x is infinite.", np.isinf, None, "numeric", dtypes.bool, no_gradient=WHOLE)
isfinite = unary(
    "isfinite",
    "Whether x is neither NaN nor infinite.",
    np.isfinite,
    None,
    "numeric",
    dtypes.bool,
    no_gradient=WHOLE,
)
signbit = unary(
    "signbit",
    "Whether the sign bit is set, of -0.0 and negative NaN too.",
    np.signbit,
    None,
    "real floating",
    dtypes.bool,
    no_gradient=WHOLE,
)

# -- logical and bitwise

logical_and = binary(
    "logical_and", "x1 and x2.", np.logical_and, None, "boolean", dtypes.bool, no_gradient=WHOLE
)
logical_or = binary("logical_or", "x1 or x2.", np.logical_or, None, "boolean", dtypes.bool, no_gradient=WHOLE)
logical_xor = binary(
    "logical_xor", "x1 != x2, of booleans.", np.logical_xor, None, "boolean", dtypes.bool, no_gradient=WHOLE
)
logical_not = unary("logical_not", "not x.", np.logical_not, None, "boolean", dtypes.bool, no_gradient=WHOLE)
bitwise_and = binary(
    "bitwise_and", "Bits set in both.", np.bitwise_and, None, "integer or boolean", no_gradient=BITS
)
bitwise_or = binary(
    "bitwise_or", "Bits set in either.", np.bitwise_or, None, "integer or boolean", no_gradient=BITS
)
bitwise_xor = binary(
    "bitwise_xor",
    "Bits set in one but not both.",
    np.bitwise_xor,
    None,
    "integer or boolean",
    no_gradient=BITS,
)
bitwise_invert = unary(
    "bitwise_invert", "Every bit flipped.", np.invert, None, "integer or boolean", no_gradient=BITS
)
bitwise_left_shift = binary(
    "bitwise_left_shift",
    "x1 shifted left by x2 bits; 0 from the width of the dtype on.",
    np.left_shift,
    None,
    "integer",
    no_gradient=BITS,
)
bitwise_right_shift = binary(
    "bitwise_right_shift",
    "x1 shifted right by x2 bits, keeping the sign.",
    np.right_shift,
    None,
    "integer",
    no_gradient=BITS,
)


@public
def conj(x: Operand, /) -> Node:
    """The complex conjugate; of a real array, the array itself.

    Args:
        x: array of any shape and numeric dtype.

    Returns:
        Array of the same shape and dtype.
    """
    if type(x) is not Node:
        x = expect_node("conj", "x", x)
    return make(CONJ, (x,)) if x.type.dtype.kind == "complex" else x


@public
def real(x: Operand, /) -> Node:
    """The real part; of a real array, the array itself.

    Args:
        x: array of any shape and numeric dtype.

    Returns:
        Array of the same shape and the dtype of the parts: float32 of complex64, float64 of complex128.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    x = expect_node("real", "x", x)
    expect_kind("real", "x", x, "numeric")
    return make(REAL, (x,)) if x.type.dtype.kind == "complex" else x


@public
def imag(x: Operand, /) -> Node:
    """The imaginary part.

    Args:
        x: array of any shape and complex dtype.

    Returns:
        Array of the same shape and the dtype of the parts: float32 of complex64, float64 of complex128.

    Raises:
        DTypeError: x is not of a complex dtype.
    """
    return make(IMAG, (expect_node("imag", "x", x),))


def _part(name: str, doc: str, reference: Rule, vjp: Rule) -> Op:
    """Record an op that takes a part of complex numbers."""

    def infer(x: Type) -> Type:
        if x.dtype.kind != "complex":
            raise DTypeError(f"[{name}] x is {x!r}; expected a complex dtype")
        return Type(x.shape, component(x.dtype))

    return register(Op(name, infer, reference, vjp, elementwise=True, doc=doc))


REAL = _part("real", "The real part.", lambda x: x.real, lambda g, y, x: (cast(g, x.dtype),))
IMAG = _part(
    "imag", "The imaginary part.", lambda x: x.imag, lambda g, y, x: (multiply(cast(g, x.dtype), 1j),)
)
CONJ = register(
    Op(
        "conj",
        lambda x: x,
        lambda x: np.conj(x) if x.dtype.kind == "c" else x,
        lambda g, y, x: (conj(g),),
        elementwise=True,
        doc="The complex conjugate.",
    )
)

# -- choosing and converting


def _infer_where(condition: Type, a: Type, b: Type) -> Type:
    if condition.dtype is not dtypes.bool:
        raise DTypeError(
            f"[where] condition is {condition!r}; expected bool: compare first, as in where(x > 0, ...)"
        )
    return a


def _where_vjp(g: Node, y: Node, condition: Node, a: Node, b: Node) -> tuple[Node | None, ...]:
    zero = like(0, g)
    return None, make(WHERE, (condition, g, zero)), make(WHERE, (condition, zero, g))


WHERE = register(Op("where", _infer_where, np.where, _where_vjp, elementwise=True))


@public
def where(condition: Operand, x1: Operand, x2: Operand, /) -> Node:
    """x1 where the condition holds, x2 elsewhere.

    Args:
        condition: array of dtype bool.
        x1: array or Python number.
        x2: likewise; the three broadcast together, x1 and x2 promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the condition is not bool.
    """
    condition = expect_node("where", "condition", condition)
    (a, b), _ = together("where", (x1, x2), ["x1", "x2"])
    shape = broadcast_shapes("where", [condition.shape, a.shape], ["condition", "the values"])
    return make(WHERE, (broadcast(condition, shape), broadcast(a, shape), broadcast(b, shape)))


def _cast_reference(x: Any, dtype: DType) -> Any:
    with np.errstate(invalid="ignore", over="ignore"):
        # Of a complex value the real part: gradients by real operands of complex results ask for it.
        return (x.real if x.dtype.kind == "c" and dtype.kind == "float" else x).astype(dtype.numpy)


def _cast_vjp(g: Node, y: Node, x: Node, dtype: DType) -> tuple[Node | None]:
    if x.dtype.kind not in dtypes.KINDS["floating"] or dtype.kind not in dtypes.KINDS["floating"]:
        return (None,)
    return (cast(real(g) if x.dtype.kind == "float" else g, x.dtype),)


CAST.reference, CAST.vjp = _cast_reference, _cast_vjp


def astype(x: Operand, dtype: DType) -> Node:
    """The array converted; floating values going to integers are truncated towards zero.

    Raises:
        DTypeError: dtype names no dtype, or x is complex and dtype is real.
    """
    x, target = expect_node("astype", "x", x), as_dtype(dtype)
    expect_convertible("astype", "x", x.type, x.dtype.kind, target)
    return cast(x, target)


@public
def clip(x: Operand, /, min: Operand | None = None, max: Operand | None = None) -> Node:
    """Values limited to the interval from min to max.

    Args:
        x: array of real dtype.
        min: lower bound, array or number; None for none.
        max: upper bound, likewise.

    Returns:
        Array of the broadcast shape and x's dtype.

    Raises:
        DTypeError: x is not of a real dtype.
    """
    x = expect_node("clip", "x", x)
    expect_kind("clip", "x", x, "real")
    if isinstance(min, (int, float)) and isinstance(max, (int, float)) and min > max:
        raise ArgumentError(f"[clip] min={min} is larger than max={max}")
    dtype = x.dtype
    for bound, limit in ((min, maximum), (max, minimum)):
        if bound is not None:
            x = limit(x, cast(bound, dtype) if isinstance(bound, Node) else bound)
    return cast(x, dtype)


# -- activations: compositions, or records where the composition would lose digits


@public
def relu(x: Operand, /) -> Node:
    """max(x, 0), with gradient 0 at 0.

    Args:
        x: array of real dtype, any shape.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real dtype.
    """
    return make(RELU, (expect_node("relu", "x", x),))


def _infer_relu(x: Type) -> Type:
    if x.dtype.kind not in dtypes.KINDS["real"]:
        raise DTypeError(f"[relu] x is {x!r}; expected a real dtype")
    return x


RELU = register(
    Op(
        "relu",
        _infer_relu,
        lambda x: np.maximum(x, 0),
        lambda g, y, x: (where(greater(y, like(0, y)), g, like(0, g)),),
        elementwise=True,
        doc="max(x, 0).",
    )
)


def _known(value: float, x: Node) -> Node:
    """A number that the compiler knows, in the shape and dtype of a node."""
    return broadcast(constant(value, x.dtype), x.shape)


def _normal(x: Node, approximate: bool) -> tuple[Node, Node]:
    """The normal distribution function at x, or what stands for it, and its derivative."""
    one, half, square_x = like(1, x), like(0.5, x), square(x)
    if not approximate:
        density = multiply(exp(multiply(square_x, _known(-0.5, x))), _known((2 * math.pi) ** -0.5, x))
        return multiply(add(erf(multiply(x, _known(0.5**0.5, x))), one), half), density
    # (1 + tanh u) / 2 is sigmoid(2 u), which is quicker, and keeps its digits where tanh u is near -1.
    factor = _known((8 / math.pi) ** 0.5, x)
    s = sigmoid(multiply(add(x, multiply(multiply(square_x, x), _known(0.044715, x))), factor))
    steep = multiply(add(multiply(square_x, _known(3 * 0.044715, x)), one), factor)
    return s, multiply(multiply(s, subtract(one, s)), steep)


def _infer_gelu(x: Type, approximate: bool) -> Type:
    if x.dtype.kind != "float":
        raise DTypeError(f"[gelu] x is {x!r}; expected a real floating dtype")
    return x


def _gelu_reference(x: Any, approximate: bool) -> Any:
    if approximate:
        return (x * _sigmoid_reference((x + 0.044715 * x**3) * (8 / math.pi) ** 0.5)).astype(x.dtype)
    phi = (_erf_reference(x * x.dtype.type(0.5**0.5)) + x.dtype.type(1)) * x.dtype.type(0.5)
    return (x * phi).astype(x.dtype)


def _gelu_vjp(g: Node, y: Node, x: Node, approximate: bool) -> tuple[Node]:
    """The slope is a function of x alone: it is computed beside y and kept, in place of x and what both are
    made of.
    """
    phi, density = _normal(x, approximate)
    return (multiply(g, make(STORED, (add(phi, multiply(x, density)),))),)


STORED = register(
    Op("stored", lambda x: x, lambda x: x, lambda g, y, x: (g,), elementwise=True,
       doc="x, computed once and stored, whatever it would take to compute it again.")
)  # fmt: skip
COPIED = register(
    Op("copied", lambda x: x, lambda x: x, lambda g, y, x: (g,), elementwise=True,
       doc="x in memory of its own, written by whoever reads x.")
)  # fmt: skip
GELU = register(
    Op(
        "gelu",
        _infer_gelu,
        _gelu_reference,
        _gelu_vjp,
        ("approximate",),
        elementwise=True,
        doc="x times the normal distribution function of x.",
        made_of=lambda x, approximate: multiply(x, _normal(x, approximate)[0]),
    )
)


@public
def gelu(x: Operand, /, *, approximate: bool = False) -> Node:
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Args:
        x: array of real floating dtype, any shape.
        approximate: use the paper's tanh formula instead of erf.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    x = expect_node("gelu", "x", x)
    expect_kind("gelu", "x", x, "real floating")
    return make(GELU, (x,), (bool(approximate),))


@public
def silu(x: Operand, /) -> Node:
    """x * sigmoid(x) (Elfwing et al. 2017, arXiv:1702.03118).

    Args:
        x: array of real floating dtype, any shape.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    x = expect_node("silu", "x", x)
    return multiply(x, sigmoid(x))


@public
def softplus(x: Operand, /) -> Node:
    """log(1 + exp(x)) without overflow.

    Args:
        x: array of real floating dtype, any shape.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    return logaddexp(x, 0.0)


def _infer_stop(x: Type) -> Type:
    return x


STOP_GRADIENT = register(
    Op(
        "stop_gradient",
        _infer_stop,
        lambda x: x,
        lambda g, y, x: (None,),
        elementwise=True,
        identity=True,
        doc="x, with no gradient through it.",
    )
)


@public
def stop_gradient(x: Operand, /) -> Node:
    """x itself, through which no gradient flows.

    Args:
        x: array of any shape and dtype.

    Returns:
        Array of the same shape, dtype and values.
    """
    return make(STOP_GRADIENT, (expect_node("stop_gradient", "x", x),))
