"""What stands behind barriers: values that are computed again, for readers that come late, and not where they
were computed before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from treadle.compiler.indexmap import MOVEMENT
from treadle.graph.node import Node


class Barriers:
    """Those of a graph, whose nodes `order` holds, inputs first. `same` are the nodes that stand for them
    when those that compute nothing, such as barriers, are left out, and `inputs` their inputs.
    """

    def __init__(
        self, order: Sequence[Node], same: Mapping[Node, Node], inputs: Mapping[Node, tuple[Node, ...]]
    ):
        self.order = order
        """What stands behind a barrier comes as soon as it can, so that when groups are made, from the
        outputs back, all that it could be computed with is known.
        """
        self.waits: dict[Node, int] = {}
        """By node behind barriers, the bits of what is to be computed before."""
        self.reached: dict[Node, int] = {}
        """By node, the bits of what it depends on, of that."""
        before = dict.fromkeys(same[node.inputs[1]] for node in order if node.op.name == "barrier")
        if before:
            self._find(order, same, {node: 1 << number for number, node in enumerate(before)})
            self.order = _early(order, self.waits, inputs)

    def _find(self, order: Sequence[Node], same: Mapping[Node, Node], bits: Mapping[Node, int]) -> None:
        waits: dict[Node, int] = {}
        for node in order:
            barrier = node.op.name == "barrier"
            below = node.inputs[:1] if barrier else node.inputs
            through = barrier or node.op.elementwise or node.op.name in MOVEMENT
            waits[node] = _union(waits[child] for child in below) if through else 0
            if barrier:
                waits[node] |= bits[same[node.inputs[1]]]
            self.reached[node] = bits.get(node, 0) | _union(self.reached[child] for child in below)
            if waits[node] and same[node] is node:
                self.waits[node] = waits[node]

    def passed(self, node: Node, read: Iterable[Node]) -> bool:
        """Whether a value may be computed by who reads some others."""
        bits = self.waits.get(node, 0)
        return not bits or _union(self.reached[child] for child in read) & bits == bits


def _union(bits: Iterable[int]) -> int:
    found = 0
    for some in bits:
        found |= some
    return found


def _early(
    order: Sequence[Node], waits: Mapping[Node, int], inputs: Mapping[Node, tuple[Node, ...]]
) -> list[Node]:
    """The order with the nodes that wait right behind their inputs."""
    missing = {node: len(set(inputs[node])) for node in order if node in waits}
    readers: dict[Node, list[Node]] = {}
    for node in missing:
        for child in dict.fromkeys(inputs[node]):
            readers.setdefault(child, []).append(node)
    result: list[Node] = []
    for first in order:
        stack = [] if first in missing else [first]
        while stack:
            node = stack.pop()
            result.append(node)
            for reader in readers.get(node, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    stack.append(reader)
    return result
