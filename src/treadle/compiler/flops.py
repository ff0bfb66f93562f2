"""How many floating-point operations nodes are, by a table: a row an op, or a rule for a whole class of ops.

Counted is what the arithmetic is, not what a device makes of it: a multiplication and an addition are two,
an elementwise function of floats is one for each element whatever it is, and moving, comparing, converting
and drawing random numbers is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from treadle import dtypes
from treadle.graph.closed import Closed
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Types
from treadle.ops.control import loop_of

FLOATING = dtypes.KINDS["floating"]
FREE = frozenset(
    """
    astype where real imag conj copysign nextafter stop_gradient
    """.split()  # noqa: SIM905
)
"""Elementwise ops that compute no numbers; neither do those whose results are no floats."""


def _elements(node: Node) -> int:
    return math.prod(node.shape)


def _by_input(node: Node) -> int:
    """One for every element of the first input."""
    return math.prod(node.inputs[0].shape)


def _matmul(node: Node) -> int:
    return 2 * _elements(node) * node.inputs[0].shape[-1]


def _conv(node: Node) -> int:
    return 2 * _elements(node) * math.prod(node.inputs[1].shape[1:])


def _conv_input_gradient(node: Node) -> int:
    return 2 * _by_input(node) * math.prod(node.inputs[1].shape[1:])


def _conv_weight_gradient(node: Node) -> int:
    return 2 * math.prod(node.inputs[1].shape) * math.prod(node.shape[1:])


def _pool(node: Node) -> int:
    return _elements(node) * math.prod(node.attribute("window"))


def _fft(node: Node) -> int:
    """The classical count of the algorithm of Cooley and Tukey (1965)."""
    shape = max((node.shape, node.inputs[0].shape), key=math.prod)
    return round(5 * math.prod(shape) * math.log2(max(2, shape[-1])))


def _attention(first: int, products: int) -> Callable[[Node], int]:
    """Products of all pairs of places, half of them by the size of queries, half by that of values; and
    softmax.
    """

    def count(node: Node) -> int:
        q, k, v = node.inputs[first : first + 3]
        pairs = math.prod(q.shape[:-1]) * k.shape[-3]
        return pairs * (products * (q.shape[-1] + v.shape[-1]) + 5)

    return count


def _cubic(factor: float) -> Callable[[Node], int]:
    """A multiple of m * n * min(m, n), of the matrices of the first input."""

    def count(node: Node) -> int:
        *batch, rows, columns = node.inputs[0].shape
        return round(factor * math.prod(batch) * rows * columns * min(rows, columns))

    return count


def _solve(node: Node) -> int:
    *batch, size, _ = node.inputs[0].shape
    right = math.prod(node.inputs[1].shape)
    return round(2 / 3 * math.prod(batch) * size**3) + 2 * size * right


COUNTS: dict[str, Callable[[Node], int]] = {
    "matmul": _matmul,
    "attention": _attention(0, 2),
    "attention_gradient": _attention(3, 5),
    "conv": _conv,
    "conv_input_gradient": _conv_input_gradient,
    "conv_weight_gradient": _conv_weight_gradient,
    "max_pool": _pool,
    "average_pool": _pool,
    "max_pool_gradient": _by_input,
    "max_pool_select": _elements,
    "average_pool_gradient": _elements,
    "sum": _by_input,
    "moments": lambda node: 4 * _by_input(node),
    "prod": _by_input,
    "max": _by_input,
    "min": _by_input,
    "cumulative_sum": _elements,
    "cumulative_prod": _elements,
    "scatter_add": lambda node: math.prod(node.inputs[-1].shape),
    "fft": _fft,
    "rfft": _fft,
    "irfft": _fft,
    "solve": _solve,
    "inv": _cubic(2),
    "cholesky": _cubic(1 / 3),
    "det": _cubic(2 / 3),
    "slogdet": _cubic(2 / 3),
    "qr": _cubic(4 / 3),
}
"""By op; of matrices the leading term."""
NONE = frozenset(
    """
    any all argmax argmin concat iota gather scatter_set argsort sort random_bits random_at result
    read update keep key constant scalar data input placeholder dummy example
    """.split()  # noqa: SIM905
)
"""Ops that compute no numbers."""


def flops(node: Node) -> int | None:
    """The floating-point operations of a node whose sizes are known; None if they are not known."""
    if node.op.of_graphs:
        found = flops_by_node(node)
        return None if None in found.values() else sum(count or 0 for count in found.values())
    name = node.op.name
    if type(node.type) is not Types and node.dtype.kind not in FLOATING:
        return 0
    if name in COUNTS:
        return COUNTS[name](node)
    if name in NONE or name in FREE or node.op.view or node.op.identity:
        return 0
    return _elements(node) if node.op.elementwise else None


def flops_by_node(node: Node, times: int = 1) -> dict[Node, int | None]:
    """The floating-point operations of a node, and of a loop or branch those of the nodes inside: a loop's
    for as often as it may run, a branch's of the longer way.
    """
    if not node.op.of_graphs:
        count = flops(node)
        return {node: None if count is None else times * count}
    if node.op.name == "loop":
        loop = loop_of(node)
        if loop.length is None:
            return {node: None}
        graphs = [loop.body] + ([] if loop.condition is None else [loop.condition])
        return _inside(graphs, times * loop.length)
    ways = [_inside([graph], times) for graph in node.attributes if type(graph) is Closed]
    return max(ways, key=lambda way: sum(count or 0 for count in way.values()), default={node: None})


def _inside(graphs: Iterable[Closed], times: Any) -> dict[Node, int | None]:
    found: dict[Node, int | None] = {}
    for graph in graphs:
        for node in ordered(graph.outputs):
            for inner, count in flops_by_node(node, times).items():
                before = found.get(inner, 0)
                found[inner] = None if count is None or before is None else before + count
    return found
