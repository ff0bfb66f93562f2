"""Rules of arithmetic and of choosing: exact for every value, NaN, infinities and signs of zero included."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from treadle.compiler.rules.table import is_float, is_number, is_op, is_whole, number, rule
from treadle.graph.node import Node

if TYPE_CHECKING:
    from treadle.compiler.simplify import Simplifier


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
        return make("multiply", x, make.constant(1 / value, other.type))
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
    if is_float(x) and x.op.name in ("negative", "abs") and is_float(x.inputs[0]):
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


@rule("matmul")
def outer_product(make: Simplifier, node: Node) -> Node | None:
    """matmul(columns, rows) -> column * row + 0: nothing is summed, so that it fuses with what is made of it.
    The zero, which sums start from, keeps its sign.
    """
    x, y = node.inputs
    if x.shape[-1] != 1 or 0 in node.shape or node.dtype.kind == "complex":
        return None
    product = make("multiply", *[make("broadcast_to", part, shape=node.shape) for part in (x, y)])
    return make("add", product, make.constant(0.0, node.type)) if is_float(node) else product
