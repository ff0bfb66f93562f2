"""The pass that writes out, in simpler ops, the records of several steps that a device has no kernel for.

It comes when layouts are chosen, which is when a device can tell. One row an op.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from treadle import dtypes
from treadle.compiler.simplify import Simplifier
from treadle.dtypes import DType
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type


def decompose(outputs: Sequence[Node], kept: Callable[[Node], bool]) -> list[Node]:
    """The same values, by simpler ops but where `kept` holds."""
    order = ordered(outputs)
    if all(node.op.name not in COMPOSED or kept(node) for node in order):
        return list(outputs)
    make = Simplifier()
    replaced: dict[Node, Node] = {}
    composed: dict[Node, tuple[Node, ...]] = {}

    def change(node: Node) -> None:
        inputs = tuple([replaced[child] for child in node.inputs])
        if node.op.name in COMPOSED and not kept(node):
            composed[node] = COMPOSED[node.op.name](make, node, inputs)
            replaced[node] = node  # Nobody reads it but its results.
        elif node.op.name == "result" and node.inputs[0] in composed:
            replaced[node] = composed[node.inputs[0]][node.attribute("index")]
        else:
            replaced[node] = make.node(node.op, inputs, node.attributes, node)

    make.walk(order, change)
    return [replaced[output] for output in outputs]


def _moments(make: Simplifier, node: Node, inputs: tuple[Node, ...]) -> tuple[Node, Node]:
    (x,), axes = inputs, node.attribute("axes")
    given: DType = x.dtype
    if given in (dtypes.float16, dtypes.bfloat16):
        x = make("astype", x, dtype=dtypes.float32)
    reduced = Type(node.types[0].shape, x.dtype)
    count = make.constant(float(math.prod(x.shape[axis] for axis in axes)), reduced)
    shape = tuple([1 if axis in axes else size for axis, size in enumerate(x.shape)])
    mean = make("divide", make("sum", x, axes=axes), count)
    spread = make("broadcast_to", make("reshape", mean, shape=shape), shape=x.shape)
    apart = make("square", make("subtract", x, spread))
    variance = make("divide", make("sum", apart, axes=axes), count)
    if x.dtype is given:
        return mean, variance
    return make("astype", mean, dtype=given), make("astype", variance, dtype=given)


COMPOSED: dict[str, Callable[[Simplifier, Node, tuple[Node, ...]], tuple[Node, ...]]] = {"moments": _moments}
"""What gives the results of a node of each op."""
