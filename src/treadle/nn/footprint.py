"""What memory a graph's values take, without compiling it: kept for the gradient, and alive at once.

Estimated is what any sensible schedule does: what only moves elements takes nothing, what computes element
by element takes the place of an operand that nobody reads any more, and going back computes again what is
cheap. `td.memory` says what a compiled program takes, to the byte.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

from treadle.graph.graph import ordered
from treadle.graph.node import Node
from treadle.ops.control_gradients import AGAIN

CHEAP = AGAIN - {"relu"}
"""What going back computes again."""


def nbytes(node: Node) -> int:
    """The bytes of a node's results, whose sizes are known."""
    return sum(math.prod(type.shape) * type.dtype.itemsize for type in node.types)


def _moves(node: Node) -> bool:
    """Whether a node is its first input's value, seen another way."""
    return (node.op.view and node.op.name != "pad") or node.op.identity or node.op.name == "result"


def depending_on(order: Sequence[Node], sources: Collection[Node]) -> set[Node]:
    """Those of an order that are, or are made from, one of the sources."""
    found = set(sources)
    for node in order:
        if any(child in found for child in node.inputs):
            found.add(node)
    return found


def kept_values(gradients: Sequence[Node], seeds: Collection[Node], inputs: Collection[Node]) -> set[Node]:
    """The values of the forward pass that a gradient reads.

    Args:
        gradients: what going back gives.
        seeds: the cotangents that going back starts from.
        inputs: what the forward pass starts from, which does not count.
    """
    order = ordered(gradients)
    back = depending_on(order, seeds)
    random = [node for node in order if node.op.name in ("random_bits", "random_at")]
    forward = depending_on(order, [*inputs, *random]) - set(inputs) - back
    found: set[Node] = set()
    again: list[Node] = []
    for node in order:
        if node in back:
            for child in node.inputs:
                if child in forward:
                    if node.op.elementwise:
                        again.append(child)
                    else:
                        found.update(_behind(child, forward))
    sources = _sources(again, forward, found)
    relus = {node for node in sources if node.op.name == "relu"}
    found |= sources - relus
    for node in order:
        # A relu's result says its sign; so does what it was made from, where that is kept anyway.
        if node in relus and _sources(node.inputs, forward, found):
            found.add(node)
    return found


def _sources(nodes: Iterable[Node], forward: set[Node], found: set[Node]) -> set[Node]:
    """What has to be kept, beside what is found already, so that nodes can be computed again."""
    sources: set[Node] = set()
    seen: set[Node] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node in seen or node not in forward or node in found:
            continue
        seen.add(node)
        derived = node.role == "gradient" and node.op.elementwise
        if (_moves(node) and node.op.name != "result") or node.op.name in CHEAP or derived:
            left += node.inputs
        elif not node.op.leaf:
            sources.add(node)
    return sources


def _behind(node: Node, forward: set[Node]) -> Iterator[Node]:
    """What a node is a view of, if that is of the forward pass and no leaf."""
    while _moves(node) and node.op.name != "result" and node.inputs:
        node = node.inputs[0]
    if node in forward and not node.op.leaf:
        yield node


def alive(outputs: Sequence[Node], inputs: Collection[Node]) -> Iterator[tuple[Node, int]]:
    """Every node that takes memory, in an order that can be run, with the bytes that are alive while it is
    computed. What does not depend on the inputs does not count, nor do they themselves.
    """
    order = ordered(outputs)
    made = depending_on(order, inputs) - set(inputs)
    holder: dict[Node, Node] = {}  # whose memory a value is in
    last: dict[Node, int] = {}
    for i, node in enumerate(order):
        holder[node] = holder[node.inputs[0]] if _moves(node) and node.inputs else node
        for child in node.inputs:
            last[holder[child]] = i
    for node in outputs:
        last[holder[node]] = len(order)
    dying: dict[int, list[Node]] = {}
    for node, i in last.items():
        dying.setdefault(i, []).append(node)
    sizes: dict[Node, int] = {}
    total = 0
    for i, node in enumerate(order):
        free = [child for child in dying.get(i, []) if child in sizes]
        if node in made and holder[node] is node:
            size = nbytes(node)
            taken = next((child for child in free if sizes[child] == size), None)
            if node.op.elementwise and taken is not None:
                total -= sizes[taken]
                free.remove(taken)
                del sizes[taken]
            sizes[node] = size
            total += size
            yield node, total
        for child in free:
            total -= sizes.pop(child)
