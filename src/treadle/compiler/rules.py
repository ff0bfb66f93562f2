"""The rules of simplification: a table from an op's name to named replacements.

A rule is given the maker of nodes and a node whose inputs are simple already, and returns what the node can
be replaced by, or None. Every rule keeps the value of every element, NaN, infinities and the sign of zero
included; those under "stabilisation" change last digits, towards the true value, and may be finite where
overflow was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import dtypes
from treadle.graph.node import Node, Type

if TYPE_CHECKING:
    from treadle.compiler.simplify import Simplifier

Replace = Callable[["Simplifier", Node], Node | None]


@dataclass(frozen=True)
class Rule:
    """One rewriting; its docstring says what becomes what."""

    name: str
    replace: Replace
    doc: str


RULES: dict[str, list[Rule]] = {}
"""By op name; "elementwise" stands for every elementwise op, after its own."""


def rule(*names: str) -> Callable[[Replace], Replace]:
    """Make a function a rule of the ops named."""

    def enter(function: Replace) -> Replace:
        entry = Rule(function.__name__, function, function.__doc__ or "")
        for name in names:
            RULES.setdefault(name, []).append(entry)
        return function

    return enter


# -- what rules ask of nodes

REPEATS = ("broadcast_to", "reshape")


def number(node: Node) -> Any:
    """The Python number that every element of a node is, or None."""
    while node.op.name in REPEATS:
        node = node.inputs[0]
    return node.attribute("value") if node.op.name == "constant" else None


def same(value: Any, wanted: float) -> bool:
    """Whether a number is another, and not its negative zero."""
    return value is not None and value == wanted and math.copysign(1, value) == math.copysign(1, wanted)


def is_number(node: Node, wanted: float) -> bool:
    """Whether every element is the number."""
    value = number(node)
    return not isinstance(value, complex) and same(value, wanted)


def is_op(node: Node, name: str) -> bool:
    return node.op.name == name


def is_float(node: Node) -> bool:
    return node.dtype.kind == "float"


def is_whole(node: Node) -> bool:
    return node.dtype.kind in ("int", "uint", "bool")


# -- arithmetic


@rule("positive", "stop_gradient")
def nothing_done(make: Simplifier, node: Node) -> Node | None:
    """+x -> x, stop_gradient(x) -> x: gradients have been taken."""
    return node.inputs[0]


@rule("conj")
def real_conjugate(make: Simplifier, node: Node) -> Node | None:
    """conj(x) -> x of real x."""
    return node.inputs[0] if node.dtype.kind != "complex" else None


@rule("add")
def add_zero(make: Simplifier, node: Node) -> Node | None:
    """x + 0 -> x of integers; of floats only x + -0.0, since -0.0 + 0.0 is 0.0."""
    for x, other in (node.inputs, node.inputs[::-1]):
        if (is_whole(node) and is_number(other, 0)) or (is_float(node) and is_number(other, -0.0)):
            return x
    return None


@rule("subtract")
def subtract_zero(make: Simplifier, node: Node) -> Node | None:
    """x - 0 -> x."""
    return node.inputs[0] if is_number(node.inputs[1], 0.0) else None


@rule("multiply")
def multiply_by_one(make: Simplifier, node: Node) -> Node | None:
    """x * 1 -> x, x * -1 -> -x."""
    for x, other in (node.inputs, node.inputs[::-1]):
        if is_number(other, 1):
            return x
        if is_number(other, -1) and node.dtype.kind in ("int", "float"):
            return make("negative", x)
    return None


@rule("divide")
def divide_by_power_of_two(make: Simplifier, node: Node) -> Node | None:
    """x / 1 -> x, x / -1 -> -x, x / 2 -> x * 0.5: exact where the reciprocal is."""
    x, other = node.inputs
    value = number(other)
    if not is_float(node) or not isinstance(value, (int, float)) or value == 0 or not math.isfinite(value):
        return None
    if value == 1:
        return x
    if value == -1:
        return make("negative", x)
    mantissa, exponent = math.frexp(value)
    if abs(mantissa) == 0.5 and abs(exponent) < 10:
        return make("multiply", x, make.constant(1 / value, other))
    return None


@rule("divide")
def one_over(make: Simplifier, node: Node) -> Node | None:
    """1 / x -> reciprocal(x)."""
    return make("reciprocal", node.inputs[1]) if is_float(node) and is_number(node.inputs[0], 1) else None


@rule("negative")
def negative_negative(make: Simplifier, node: Node) -> Node | None:
    """--x -> x."""
    return node.inputs[0].inputs[0] if is_op(node.inputs[0], "negative") else None


@rule("add")
def add_negative(make: Simplifier, node: Node) -> Node | None:
    """x + -y -> x - y."""
    for x, other in (node.inputs, node.inputs[::-1]):
        if is_op(other, "negative"):
            return make("subtract", x, other.inputs[0])
    return None


@rule("subtract")
def subtract_negative(make: Simplifier, node: Node) -> Node | None:
    """x - -y -> x + y."""
    x, other = node.inputs
    return make("add", x, other.inputs[0]) if is_op(other, "negative") else None


@rule("multiply", "divide")
def negative_twice(make: Simplifier, node: Node) -> Node | None:
    """-x * -y -> x * y, -x / -y -> x / y."""
    x, y = node.inputs
    if is_op(x, "negative") and is_op(y, "negative"):
        return make(node.op.name, x.inputs[0], y.inputs[0])
    return None


@rule("multiply")
def multiply_by_itself(make: Simplifier, node: Node) -> Node | None:
    """x * x -> square(x)."""
    x, y = node.inputs
    return make("square", x) if x is y and node.dtype.kind != "bool" else None


@rule("square", "abs")
def sign_ignored(make: Simplifier, node: Node) -> Node | None:
    """square(-x) -> square(x), square(abs(x)) -> square(x), and the same of abs; x of floats."""
    x = node.inputs[0]
    if is_float(node) and x.op.name in ("negative", "abs"):
        return make(node.op.name, x.inputs[0])
    return None


@rule("pow")
def small_power(make: Simplifier, node: Node) -> Node | None:
    """x ** 1 -> x, x ** 2 -> square(x), x ** -1 -> reciprocal(x) of floats. Not x ** 0.5: it differs from
    sqrt at -0.0.
    """
    x, exponent = node.inputs
    if is_number(exponent, 1):
        return x
    if is_number(exponent, 2):
        return make("square", x)
    if is_number(exponent, -1) and is_float(node):
        return make("reciprocal", x)
    return None


# -- choosing


@rule("where")
def same_choice(make: Simplifier, node: Node) -> Node | None:
    """where(c, x, x) -> x; where(True, x, y) -> x, where(False, x, y) -> y."""
    condition, x, y = node.inputs
    if x is y:
        return x
    value = number(condition)
    return None if value is None else x if value else y


@rule("where")
def where_not(make: Simplifier, node: Node) -> Node | None:
    """where(not c, x, y) -> where(c, y, x)."""
    condition, x, y = node.inputs
    return make("where", condition.inputs[0], y, x) if is_op(condition, "logical_not") else None


@rule("maximum", "minimum", "logical_and", "logical_or", "bitwise_and", "bitwise_or")
def with_itself(make: Simplifier, node: Node) -> Node | None:
    """maximum(x, x) -> x, and the same of minimum, and, or."""
    x, y = node.inputs
    return x if x is y else None


@rule("logical_not", "bitwise_invert")
def not_not(make: Simplifier, node: Node) -> Node | None:
    """not not x -> x."""
    return node.inputs[0].inputs[0] if node.inputs[0].op is node.op else None


@rule("logical_and", "logical_or")
def and_true(make: Simplifier, node: Node) -> Node | None:
    """x and True -> x, x and False -> False, x or False -> x, x or True -> True."""
    for x, other in (node.inputs, node.inputs[::-1]):
        value = number(other)
        if value is not None:
            return x if bool(value) == is_op(node, "logical_and") else other
    return None


# -- movement


@rule("reshape", "broadcast_to", "astype")
def no_change(make: Simplifier, node: Node) -> Node | None:
    """A reshape, broadcast or conversion to what it is -> x."""
    return node.inputs[0] if node.inputs[0].type is node.type else None


@rule("permute_dims")
def permute_nothing(make: Simplifier, node: Node) -> Node | None:
    """An order that moves only dimensions of size 1 -> reshape, or x."""
    axes = [axis for axis in node.attribute("axes") if node.inputs[0].shape[axis] != 1]
    return make("reshape", node.inputs[0], shape=node.shape) if axes == sorted(axes) else None


@rule("slice")
def slice_all(make: Simplifier, node: Node) -> Node | None:
    """A slice of everything -> x."""
    return node.inputs[0] if node.type is node.inputs[0].type and not any(node.attribute("start")) else None


@rule("flip")
def flip_nothing(make: Simplifier, node: Node) -> Node | None:
    """A flip of dimensions of size 1 -> x."""
    return node.inputs[0] if all(node.shape[axis] == 1 for axis in node.attribute("axes")) else None


@rule("pad")
def pad_nothing(make: Simplifier, node: Node) -> Node | None:
    """A padding of no elements -> x."""
    return node.inputs[0] if not any(map(any, node.attribute("widths"))) else None


@rule("concat")
def concat_one(make: Simplifier, node: Node) -> Node | None:
    """A concatenation of one array, the empty ones left out -> that array."""
    axis = node.attribute("axis")
    parts = [part for part in node.inputs if part.shape[axis] != 0]
    if len(parts) == 1:
        return parts[0]
    return make("concat", *parts, axis=axis) if parts and len(parts) < len(node.inputs) else None


@rule("reshape")
def reshape_reshape(make: Simplifier, node: Node) -> Node | None:
    """reshape(reshape(x)) -> reshape(x)."""
    x = node.inputs[0]
    return make("reshape", x.inputs[0], shape=node.shape) if is_op(x, "reshape") else None


@rule("broadcast_to")
def broadcast_broadcast(make: Simplifier, node: Node) -> Node | None:
    """broadcast_to(broadcast_to(x)) -> broadcast_to(x)."""
    x = node.inputs[0]
    return make("broadcast_to", x.inputs[0], shape=node.shape) if is_op(x, "broadcast_to") else None


@rule("broadcast_to")
def broadcast_leading(make: Simplifier, node: Node) -> Node | None:
    """broadcast_to(reshape(x)) -> broadcast_to(x) where the reshape adds leading dimensions of size 1."""
    x = node.inputs[0]
    if is_op(x, "reshape"):
        source = x.inputs[0]
        lead = x.ndim - source.ndim
        if lead > 0 and x.shape == (1,) * lead + source.shape:
            return make("broadcast_to", source, shape=node.shape)
    return None


@rule("reshape")
def reshape_number(make: Simplifier, node: Node) -> Node | None:
    """reshape(broadcast_to(x)) -> broadcast_to(x) where x has one element."""
    x = node.inputs[0]
    if is_op(x, "broadcast_to") and x.inputs[0].shape == ():
        return make("broadcast_to", x.inputs[0], shape=node.shape)
    return None


@rule("permute_dims")
def permute_permute(make: Simplifier, node: Node) -> Node | None:
    """permute_dims(permute_dims(x)) -> permute_dims(x)."""
    x = node.inputs[0]
    if not is_op(x, "permute_dims"):
        return None
    inner = x.attribute("axes")
    return make("permute_dims", x.inputs[0], axes=tuple([inner[axis] for axis in node.attribute("axes")]))


@rule("slice")
def slice_slice(make: Simplifier, node: Node) -> Node | None:
    """slice(slice(x)) -> slice(x)."""
    x = node.inputs[0]
    if not is_op(x, "slice") or 0 in node.shape:
        return None
    starts, stops, steps = [], [], []
    inner = zip(x.attribute("start"), x.attribute("step"), strict=True)
    outer = zip(node.attribute("start"), node.attribute("step"), strict=True)
    for (start, step), (more, by), size in zip(inner, outer, node.shape, strict=True):
        starts.append(start + step * more)
        steps.append(step * by)
        stops.append(starts[-1] + steps[-1] * (size - 1) + 1)
    return make("slice", x.inputs[0], start=tuple(starts), stop=tuple(stops), step=tuple(steps))


@rule("flip")
def flip_flip(make: Simplifier, node: Node) -> Node | None:
    """flip(flip(x)) -> x, or the flip of what is flipped once."""
    x = node.inputs[0]
    if not is_op(x, "flip"):
        return None
    axes = tuple(sorted(set(node.attribute("axes")) ^ set(x.attribute("axes"))))
    return make("flip", x.inputs[0], axes=axes) if axes else x.inputs[0]


@rule("permute_dims", "slice", "flip")
def move_number(make: Simplifier, node: Node) -> Node | None:
    """A number repeated, then moved -> the number repeated."""
    x = node.inputs[0]
    if is_op(x, "broadcast_to") and x.inputs[0].shape == ():
        return make("broadcast_to", x.inputs[0], shape=node.shape)
    return None


@rule("astype")
def cast_cast(make: Simplifier, node: Node) -> Node | None:
    """astype(astype(x, wide), dtype) -> astype(x, dtype) where the first conversion loses nothing."""
    x = node.inputs[0]
    if not is_op(x, "astype"):
        return None
    first, middle = x.inputs[0].dtype, x.dtype
    if first is node.dtype and _holds(middle, first):
        return x.inputs[0]
    if _holds(middle, first) and first.kind in ("float", "bool") and node.dtype.kind == "float":
        return make("astype", x.inputs[0], dtype=node.dtype)
    return None


def _holds(wide: dtypes.DType, narrow: dtypes.DType) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if narrow.kind == "complex" or wide.kind == "complex" or (wide.kind == "bool" and narrow.kind != "bool"):
        return False
    return bool(np.can_cast(_twin(narrow), _twin(wide), "safe")) and wide is not dtypes.bfloat16


def _twin(dtype: dtypes.DType) -> np.dtype:
    """A NumPy dtype whose values include bfloat16's, which NumPy's casting table does not know."""
    return np.dtype(np.float32) if dtype is dtypes.bfloat16 else dtype.numpy


# -- numbers


@rule("elementwise")
def constant_result(make: Simplifier, node: Node) -> Node | None:
    """An elementwise op of constants -> a constant, computed by the op's reference."""
    if node.dtype.kind == "complex":
        return None
    values = []
    for child in node.inputs:
        value = number(child)
        if value is None or child.dtype.kind == "complex":
            return None
        values.append(np.asarray(value, child.dtype.numpy))
    assert node.op.reference is not None
    with np.errstate(all="ignore"):
        result = np.asarray(node.op.reference(*values, **node.keywords())).astype(node.dtype.numpy)
    value = float(result) if node.dtype is dtypes.bfloat16 else result.item()
    return make.constant(value, node)


@rule("elementwise")
def compute_then_repeat(make: Simplifier, node: Node) -> Node | None:
    """f(broadcast_to(x), broadcast_to(y)) -> broadcast_to(f(x, y)) where x and y are of one shape, or
    numbers.
    """
    shape = None
    for child in node.inputs:
        if number(child) is None:
            if not is_op(child, "broadcast_to") or shape not in (None, child.inputs[0].shape):
                return None
            shape = child.inputs[0].shape
    if shape is None:
        return None
    inputs = []
    for child in node.inputs:
        value = number(child)
        inputs.append(
            child.inputs[0] if value is None else make.constant(value, _Like(Type(shape, child.dtype)))
        )
    keywords = node.keywords()
    return make("broadcast_to", make(node.op.name, *inputs, **keywords), shape=node.shape)


class _Like:
    """The type of a node that need not exist."""

    def __init__(self, type: Type):
        self.dtype, self.shape = type.dtype, type.shape


@rule("sum")
def sum_of_number(make: Simplifier, node: Node) -> Node | None:
    """sum(n repeated) -> n times the count."""
    value = number(node.inputs[0])
    if value is None or isinstance(value, complex):
        return None
    count = math.prod(node.inputs[0].shape[axis] for axis in node.attribute("axes"))
    if is_float(node):
        with np.errstate(all="ignore"):
            total = float(node.dtype.numpy.type(float(value) * count if count else 0.0))
        return make.constant(total, node) if math.isfinite(total) else None
    width = 8 * node.dtype.itemsize
    total = int(value) * count & (1 << width) - 1
    signed = node.dtype.kind == "int" and total >> width - 1
    return make.constant(total - (1 << width) if signed else total, node)


@rule("max", "min", "any", "all")
def extreme_of_number(make: Simplifier, node: Node) -> Node | None:
    """max(n repeated) -> n, and the same of min, any, all."""
    value = number(node.inputs[0])
    axes = node.attribute("axes")
    if value is None or 0 in [node.inputs[0].shape[axis] for axis in axes]:
        return None
    return make.constant(value, node)


# -- stabilisation


@rule("log")
def log_exp(make: Simplifier, node: Node) -> Node | None:
    """log(exp(x)) -> x."""
    x = node.inputs[0]
    return x.inputs[0] if is_float(node) and is_op(x, "exp") else None


@rule("log")
def log_one_plus(make: Simplifier, node: Node) -> Node | None:
    """log(1 + x) -> log1p(x)."""
    plus = _one_plus(node.inputs[0])
    return make("log1p", plus) if plus is not None and is_float(node) else None


@rule("log1p")
def softplus(make: Simplifier, node: Node) -> Node | None:
    """log1p(exp(x)) -> logaddexp(x, 0)."""
    x = node.inputs[0]
    return make("logaddexp", x.inputs[0], make.constant(0.0, x)) if is_op(x, "exp") else None


@rule("subtract")
def exp_minus_one(make: Simplifier, node: Node) -> Node | None:
    """exp(x) - 1 -> expm1(x)."""
    x, other = node.inputs
    return make("expm1", x.inputs[0]) if is_float(node) and is_op(x, "exp") and is_number(other, 1) else None


@rule("reciprocal")
def logistic(make: Simplifier, node: Node) -> Node | None:
    """1 / (1 + exp(-x)) -> sigmoid(x)."""
    x = _one_plus(node.inputs[0])
    if x is None or not is_float(node) or not is_op(x, "exp") or not is_op(x.inputs[0], "negative"):
        return None
    return make("sigmoid", x.inputs[0].inputs[0])


@rule("log")
def log_sigmoid(make: Simplifier, node: Node) -> Node | None:
    """log(sigmoid(x)) -> -logaddexp(-x, 0)."""
    x = node.inputs[0]
    if not is_op(x, "sigmoid"):
        return None
    below = make("negative", x.inputs[0])
    return make("negative", make("logaddexp", below, make.constant(0.0, below)))


@rule("log")
def log_of_exp_over(make: Simplifier, node: Node) -> Node | None:
    """log(exp(x) / y) -> x - log(y): what log(softmax(x)) is made of."""
    x = node.inputs[0]
    if not is_float(node) or not is_op(x, "divide") or not is_op(x.inputs[0], "exp"):
        return None
    return make("subtract", x.inputs[0].inputs[0], make("log", x.inputs[1]))


@rule("log")
def log_sum_exp(make: Simplifier, node: Node) -> Node | None:
    """log(sum(exp(x))) -> m + log(sum(exp(x - m))) with m the largest x, unless x is such a difference
    already.
    """
    total = node.inputs[0]
    while is_op(total, "reshape"):
        total = total.inputs[0]
    if not is_float(node) or not is_op(total, "sum") or not is_op(total.inputs[0], "exp"):
        return None
    x, axes = total.inputs[0].inputs[0], total.attribute("axes")
    if _is_shifted(x) or 0 in [x.shape[axis] for axis in axes]:
        return None
    top = make("max", x, axes=axes)
    magnitude = make("abs", top)
    finite = make("less", magnitude, make.constant(math.inf, magnitude))
    top = make("where", finite, top, make.constant(0.0, top))
    kept = tuple([1 if axis in axes else size for axis, size in enumerate(x.shape)])
    spread = make("broadcast_to", make("reshape", top, shape=kept), shape=x.shape)
    rest = make("log", make("sum", make("exp", make("subtract", x, spread)), axes=axes))
    return make("reshape", make("add", top, rest), shape=node.shape)


def _one_plus(node: Node) -> Node | None:
    """x of 1 + x."""
    if is_op(node, "add"):
        for x, other in (node.inputs, node.inputs[::-1]):
            if is_number(other, 1):
                return x
    return None


def _is_shifted(node: Node) -> bool:
    """Whether a maximum has been subtracted already."""
    if not is_op(node, "subtract"):
        return False
    top = node.inputs[1]
    while top.op.name in (*REPEATS, "where", "stop_gradient"):
        top = top.inputs[1 if is_op(top, "where") else 0]
    return is_op(top, "max")
