"""Rules that keep digits and avoid overflow. Last digits change, towards the true value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from treadle.compiler.rules.table import REPEATS, is_float, is_number, is_op, rule
from treadle.graph.node import Node

if TYPE_CHECKING:
    from treadle.compiler.simplify import Simplifier


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
    return make("logaddexp", x.inputs[0], make.constant(0.0, x.type)) if is_op(x, "exp") else None


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
    return make("negative", make("logaddexp", below, make.constant(0.0, below.type)))


@rule("log")
def log_of_exp_over(make: Simplifier, node: Node) -> Node | None:
    """log(exp(x) / y) -> x - log(y): what log(softmax(x)) is made of where it is written as a quotient."""
    x = node.inputs[0]
    if not is_float(node) or not is_op(x, "divide") or not is_op(x.inputs[0], "exp"):
        return None
    return make("subtract", x.inputs[0].inputs[0], make("log", x.inputs[1]))


@rule("log")
def log_of_exp_times_reciprocal(make: Simplifier, node: Node) -> Node | None:
    """log(exp(x) * reciprocal(y)) -> x - log(y), y repeated or not: log(softmax(x)), too."""
    times = node.inputs[0]
    if not is_float(node) or not is_op(times, "multiply"):
        return None
    for e, factor in (times.inputs, times.inputs[::-1]):
        repeats = []
        while factor.op.name in REPEATS:
            repeats.append(factor)
            factor = factor.inputs[0]
        if is_op(e, "exp") and is_op(factor, "reciprocal"):
            y = make("log", factor.inputs[0])
            for repeat in reversed(repeats):
                y = make(repeat.op.name, y, shape=repeat.shape)
            return make("subtract", e.inputs[0], y)
    return None


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
    finite = make("less", magnitude, make.constant(math.inf, magnitude.type))
    top = make("where", finite, top, make.constant(0.0, top.type))
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
