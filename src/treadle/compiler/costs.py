"""What it costs to compute a value anew instead of storing it, estimated before anything is grouped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from treadle.compiler.indexmap import MOVEMENT
from treadle.graph.node import Node, Types

LIGHT = frozenset(
    """
    add subtract multiply negative positive square abs floor ceil trunc round copysign sign maximum minimum
    relu where astype equal not_equal less less_equal greater greater_equal isnan isinf isfinite signbit
    logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_invert
    bitwise_left_shift bitwise_right_shift copied
    """.split()  # noqa: SIM905
)
"""Ops of one or two instructions."""
WEIGHTS = {
    "constant": 0,
    "iota": 1,
    "divide": 4,
    "sqrt": 4,
    "reciprocal": 4,
    "random_bits": 60,
    "random_at": 60,
    "gather": 6,
    "class_number": 2,
}
HEAVY = 12
"""What the other ops count."""
MOST_REPEATED, MOST_LOADS = 4, 2
"""A value is computed again by each who reads it up to so many instructions and loads."""
LIGHTEST_KEPT = 6
"""From here on a value is not computed again for every repetition of a broadcast."""
OFTEN, LIGHTEST_KEPT_OFTEN = 64, 3
"""Of what is repeated so often much less is kept: storing it is nothing."""
REPEATED = 4
"""From so many repetitions on, what is computed below a broadcast is nothing beside them."""
REDUCTIONS = frozenset(["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"])
CHECKED = frozenset(["gather", "class_number"])
"""Ops whose loops may report a fault."""
INLINE = frozenset(["iota", "random_bits", "random_at", "constant"]) | CHECKED

NO_EPILOGUE = frozenset(["random_bits", "random_at", "pad"]) | CHECKED
"""Ops that are not computed in the epilogue of a library op."""


@dataclass
class Costs:
    """Instructions and loads by node, from what is certain to be in memory; and the ops whose epilogues nodes
    can be.
    """

    instructions: dict[Node, int]
    loads: dict[Node, int]
    fed: dict[Node, Node]
    """The library op in whose epilogue a value can be computed."""
    reduction: dict[Node, Node]
    """The reduction a value is made of element by element, of those that are."""

    def cheap(self, node: Node) -> bool:
        """Whether several groups may each compute the node. Movement is never a reason to store: its input
        may be.
        """
        if node.op.name in MOVEMENT or _widens(node):
            return True
        if node in self.fed:
            return False
        return self.instructions[node] <= MOST_REPEATED and self.loads[node] <= MOST_LOADS

    def light(self, node: Node, repetitions: int = 1) -> bool:
        """Whether repeating the node so often is no loss."""
        most = LIGHTEST_KEPT if repetitions < OFTEN else LIGHTEST_KEPT_OFTEN
        return node.op.name in MOVEMENT or self.instructions[node] < most

    def feeds(self, node: Node) -> bool:
        """Whether the node can be computed in the epilogue of a library op."""
        return node in self.fed


def _widens(node: Node) -> bool:
    """A conversion to a wider dtype: what is converted is smaller to store."""
    return node.op.name == "astype" and node.inputs[0].dtype.itemsize < node.dtype.itemsize


def estimate(
    order: Sequence[Node],
    inputs: Mapping[Node, tuple[Node, ...]],
    stored: set[Node],
    is_library: Mapping[Node, bool],
    takes_epilogue: Callable[[Node], bool],
) -> Costs:
    """The costs of every node."""
    readers: dict[Node, int] = {}
    for node in order:
        for child in inputs[node]:
            readers[child] = readers.get(child, 0) + 1
    costs = Costs({}, {}, {}, {})
    seen: dict[Node, tuple[int, int]] = {}
    kept: set[Node] = set()
    for node in order:
        name, below = node.op.name, inputs[node]
        inline = node.op.elementwise or name in MOVEMENT or name in INLINE
        own = 0 if name in MOVEMENT else 1 if name in LIGHT else WEIGHTS.get(name, HEAVY)
        instructions = own + sum([seen[child][0] for child in below]) if inline else 0
        loads = sum([seen[child][1] for child in set(below)]) if inline else 0
        costs.instructions[node], costs.loads[node] = instructions, loads
        if (node.op.elementwise or name == "reshape") and not is_library[node]:
            for child in below:
                direct = is_library[child] and takes_epilogue(child)
                alone = readers[child] == 1 and child.dtype is node.dtype
                if alone and (direct or (child in costs.fed and child not in kept)):
                    costs.fed[node] = child if direct else costs.fed[child]
        if name in REDUCTIONS:
            costs.reduction[node] = node
        elif (node.op.elementwise or name == "reshape") and not is_library[node]:
            for child in below:
                if child in costs.reduction and math.prod(child.shape) == math.prod(node.shape):
                    costs.reduction[node] = costs.reduction[child]
        seen[node] = instructions, loads
        # Several readers of something costly: it will be stored, and each of them will load it.
        several = readers.get(node, 0) > 1 and instructions > MOST_REPEATED
        if name == "broadcast_to" and REPEATED * math.prod(below[0].shape) <= math.prod(node.shape):
            # What its many readers repeat is a load: the value is stored, or computed outside the loop.
            seen[node] = 0, int(below[0].shape != ())
        if (node in stored or not inline or several) and name != "constant":
            kept.add(node)
            seen[node] = 0, int(type(node.type) is Types or node.shape != ())
    return costs
