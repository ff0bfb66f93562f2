"""Lays a matrix that every iteration of a loop multiplies by in panels of columns, once, before the loop.

A product of few rows reads its second factor as it lies: a column of register tiles then touches as many
lines of the cache as there are rows, all a row apart, which throw each other out. In a panel they are
neighbours. To pack them in every iteration would cost as much as the product. A graph says it all: it becomes
a stack of products, one a panel, and fusion sees through the movement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treadle.compiler.loops import Parts, change_loops
from treadle.graph.graph import rewrite
from treadle.graph.node import Node, make, new
from treadle.ops.contraction import MATMUL
from treadle.ops.control import loop_of
from treadle.ops.movement import permute_dims
from treadle.ops.record import INPUT, broadcast, reshaped

PANEL_NBYTES = 128
"""Of a row of a panel: two vectors of the widest registers."""
ROW_NBYTES = 1024
"""Of a row of the matrix from which its rows are in the way of each other."""
ROWS = 16, 256
"""Of the product: fewer are dot products, or bound by memory; with more packing costs little."""
LEAST_TIMES = 4


def lay_panels(outputs: list[Node]) -> list[Node]:
    """Lay what loops multiply by in panels."""
    return change_loops(outputs, _laid)


def _laid(node: Node, inputs: Sequence[Node], taken: set[int]) -> Mapping[int, Node] | None:
    loop = loop_of(node)
    if loop.condition is not None or not isinstance(loop.length, int) or loop.length < LEAST_TIMES:
        return None
    parts = Parts(node, inputs)
    factors = {x.inputs[1] for x in parts.order() if _suits(x) and x.inputs[1] in parts.captures}
    if not factors:
        return None
    panels: dict[Node, Node] = {}
    for factor in factors:
        k, n = factor.shape
        width = PANEL_NBYTES // factor.dtype.itemsize
        count = n // width  # type: ignore[operator]
        value = permute_dims(reshaped(parts.captures[factor], (k, count, width)), (1, 0, 2))
        panels[factor] = new(INPUT, (), (-1,), value.type)
        parts.captures[panels[factor]] = value

    def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        panel = panels.get(inputs[1]) if _suits(node) else None
        if panel is None:
            return None
        stack = make(MATMUL, (broadcast(inputs[0], (panel.shape[0], *inputs[0].shape)), panel))
        return reshaped(permute_dims(stack, (1, 0, 2)), node.shape)

    changed = rewrite(parts.outputs(), change)
    parts.following = dict(zip(parts.following, changed, strict=False))
    parts.stacked = changed[len(parts.following) :]
    last, made, count = parts.together()
    found = dict(enumerate([*last.values(), *made]))
    if count is not None:
        found[len(node.types) - 1] = count
    return found


def _suits(node: Node) -> bool:
    """Whether a node is a product that gains by panels, whatever its second factor is."""
    if node.op is not MATMUL or node.ndim != 2 or node.dtype.kind != "float":
        return False
    (rows, columns), itemsize = node.shape, node.dtype.itemsize
    if not isinstance(rows, int) or not isinstance(columns, int):
        return False
    nbytes = columns * itemsize
    return itemsize >= 4 and ROWS[0] <= rows < ROWS[1] and nbytes >= ROW_NBYTES and not nbytes % PANEL_NBYTES
