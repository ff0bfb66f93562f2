"""Rules of sums: fewer operations where what is summed has a factor in common. Exact up to rounding, for
values that stay finite.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from treadle import dtypes
from treadle.compiler.rules.table import is_op, rule
from treadle.graph.node import Node

if TYPE_CHECKING:
    from treadle.compiler.simplify import Simplifier


@rule("sum")
def sum_of_negative(make: Simplifier, node: Node) -> Node | None:
    """sum(-x) -> -sum(x)."""
    x = node.inputs[0]
    if not is_op(x, "negative"):
        return None
    return make("negative", make("sum", x.inputs[0], axes=node.attribute("axes")))


@rule("sum")
def sum_of_scaled(make: Simplifier, node: Node) -> Node | None:
    """sum(x * s) -> s * sum(x) where s, of several elements, does not change along the sum's axes. Not
    of 16-bit numbers, where the one may overflow and the other not.
    """
    x, axes = node.inputs[0], node.attribute("axes")
    if not is_op(x, "multiply") or node.dtype not in (dtypes.float32, dtypes.float64) or 0 in x.shape:
        return None
    for scale, rest in (x.inputs, x.inputs[::-1]):
        if not is_op(scale, "broadcast_to"):
            continue
        source = scale.inputs[0]
        sizes = (1,) * (scale.ndim - source.ndim) + source.shape
        if math.prod(sizes) > 1 and all(sizes[axis] == 1 for axis in axes):
            kept = tuple([size for axis, size in enumerate(sizes) if axis not in axes])
            total = make("sum", rest, axes=axes)
            factor = make("broadcast_to", make("reshape", source, shape=kept), shape=node.shape)
            return make("multiply", total, factor)
    return None
