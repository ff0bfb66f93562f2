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


# -- attention, over [batch..., heads, places, size] inside; the scores of all pairs are values


def _heads_first(make: Simplifier, x: Node) -> Node:
    """[..., places, heads, size] as [..., heads, places, size], and the reverse."""
    count = len(x.shape)
    return make("permute_dims", x, axes=(*range(count - 3), count - 2, count - 3, count - 1))


def _turned(make: Simplifier, x: Node) -> Node:
    """The matrices in the last two dimensions, transposed."""
    count = len(x.shape)
    return make("permute_dims", x, axes=(*range(count - 2), count - 1, count - 2))


def _by_row(make: Simplifier, x: Node, pairs: Node) -> Node:
    """[..., targets] for every source."""
    return make("broadcast_to", make("reshape", x, shape=(*x.shape, 1)), shape=pairs.shape)


def _without_infinity(make: Simplifier, x: Node) -> Node:
    """0 for the logarithm of no weight at all: of a row in which everything is masked."""
    nothing = make("equal", x, make.constant(-math.inf, x.type))
    return make("where", nothing, make.constant(0.0, x.type), x)


def _scores(make: Simplifier, node: Node, q: Node, k: Node, mask: tuple[Node, ...]) -> Node:
    """[batch..., heads, targets, sources]; q and k with their heads first."""
    scores = make("matmul", q, _turned(make, k))
    scores = make("multiply", scores, make.constant(node.attribute("scale"), scores.type))
    for added in mask:
        scores = make("add", scores, added)
    if node.attribute("causal"):
        targets, sources = scores.shape[-2:]
        to = make("reshape", make("iota", size=targets, dtype=dtypes.int64), shape=(targets, 1))
        to, source = (
            make("broadcast_to", x, shape=scores.shape)
            for x in (to, make("iota", size=sources, dtype=dtypes.int64))
        )
        past = make("less_equal", source, to)
        scores = make("where", past, scores, make.constant(-math.inf, scores.type))
    return scores


def _attention(make: Simplifier, node: Node, inputs: tuple[Node, ...]) -> tuple[Node, Node]:
    q, k, v = (_heads_first(make, x) for x in inputs[:3])
    scores = _scores(make, node, q, k, inputs[3:])
    last = (len(scores.shape) - 1,)
    top = _without_infinity(make, make("max", scores, axes=last))
    weights = make("exp", make("subtract", scores, _by_row(make, top, scores)))
    total = make("sum", weights, axes=last)
    normalizer = make("add", top, make("log", total))
    nothing = make("equal", total, make.constant(0.0, total.type))
    total = make("where", nothing, make.constant(1.0, total.type), total)
    value = make("matmul", make("divide", weights, _by_row(make, total, scores)), v)
    return _heads_first(make, value), normalizer


def _attention_gradient(make: Simplifier, node: Node, inputs: tuple[Node, ...]) -> tuple[Node, Node, Node]:
    g, worth, normalizer, *operands = inputs
    g, q, k, v = (_heads_first(make, x) for x in (g, *operands[:3]))
    scores = _scores(make, node, q, k, tuple(operands[3:]))
    normalizer = _by_row(make, _without_infinity(make, normalizer), scores)
    weights = make("exp", make("subtract", scores, normalizer))
    above = make("subtract", make("matmul", g, _turned(make, v)), _by_row(make, worth, scores))
    by_scores = make("multiply", weights, above)
    by_scores = make("multiply", by_scores, make.constant(node.attribute("scale"), by_scores.type))
    by_q = make("matmul", by_scores, k)
    by_k = make("matmul", _turned(make, by_scores), q)
    by_v = make("matmul", _turned(make, weights), g)
    return _heads_first(make, by_q), _heads_first(make, by_k), _heads_first(make, by_v)


COMPOSED: dict[str, Callable[[Simplifier, Node, tuple[Node, ...]], tuple[Node, ...]]] = {
    "moments": _moments, "attention": _attention, "attention_gradient": _attention_gradient,
}  # fmt: skip
"""What gives the results of a node of each op."""
