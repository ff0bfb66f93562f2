"""Rules of numbers known to the compiler, and of values that are repeated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from treadle import dtypes
from treadle.compiler.rules.table import is_float, is_op, number, rule
from treadle.graph.node import Node, Type

if TYPE_CHECKING:
    from treadle.compiler.simplify import Simplifier


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
    return make.constant(value, node.type)


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
        inputs.append(child.inputs[0] if value is None else make.constant(value, Type(shape, child.dtype)))
    keywords = node.keywords()
    return make("broadcast_to", make(node.op.name, *inputs, **keywords), shape=node.shape)


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
        return make.constant(total, node.type) if math.isfinite(total) else None
    width = 8 * node.dtype.itemsize
    total = int(value) * count & (1 << width) - 1
    signed = node.dtype.kind == "int" and total >> width - 1
    return make.constant(total - (1 << width) if signed else total, node.type)


@rule("max", "min", "any", "all")
def extreme_of_number(make: Simplifier, node: Node) -> Node | None:
    """max(n repeated) -> n, and the same of min, any, all."""
    value = number(node.inputs[0])
    axes = node.attribute("axes")
    if value is None or 0 in [node.inputs[0].shape[axis] for axis in axes]:
        return None
    return make.constant(value, node.type)
