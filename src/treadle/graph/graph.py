"""Walks over graphs: order, reachability, rewriting, sizes put in for symbols. Knows nothing of what ops
mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from treadle.graph.dimension import substitute
from treadle.graph.node import DETACHED, Node, make, new, surrounded


def ordered(outputs: Iterable[Node], stop: Callable[[Node], bool] | None = None) -> list[Node]:
    """Every node that `outputs` need, inputs before consumers; below a node where `stop` holds nothing is
    visited.

    The order is that of a depth-first walk, so it depends on the structure alone.
    """
    order: list[Node] = []
    done: set[Node] = set()
    for output in outputs:
        if output in done:
            continue
        stack = [(output, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                order.append(node)
                continue
            if node in done:
                continue
            done.add(node)
            if stop is not None and stop(node):
                order.append(node)
                continue
            if not node.inputs:
                order.append(node)
                continue
            stack.append((node, True))
            for child in reversed(node.inputs):
                if child not in done:
                    stack.append((child, False))
    return order


def consumers(order: Sequence[Node]) -> dict[Node, list[Node]]:
    """For every node of the order, those that take it as an input, once for each time."""
    found: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for child in node.inputs:
            found[child].append(node)
    return found


def depending(order: Sequence[Node], on: Iterable[Node]) -> set[Node]:
    """The nodes of the order that need any of `on`, those included."""
    found = set(on)
    for node in order:
        if node not in found and not found.isdisjoint(node.inputs):
            found.add(node)
    return found


def rebuild(node: Node, inputs: tuple[Node, ...], attributes: tuple[object, ...] | None = None) -> Node:
    """The same op on other inputs, inferred again, keeping the line, scope, device and binding of the
    original.
    """
    tracking = not node.flags & DETACHED
    with surrounded(line=node.line, scope=node.scope, device=node.device, role=node.role, tracking=tracking):
        attributes = node.attributes if attributes is None else attributes
        if node.op.leaf:
            copy = new(node.op, (), attributes, node.type, node.flags)
        else:
            copy = make(node.op, inputs, attributes)
    copy.binding = node.binding
    copy.line = node.line
    return copy


def rewrite(
    outputs: Sequence[Node],
    change: Callable[[Node, tuple[Node, ...]], Node | None],
    stop: Callable[[Node], bool] | None = None,
) -> list[Node]:
    """Rebuild a graph from its leaves up. `change(node, new_inputs)` returns the replacement, or None to keep
    the node as it is (rebuilt only where its inputs changed). Below a node where `stop` holds nothing is
    visited.
    """
    replaced: dict[Node, Node] = {}
    for node in ordered(outputs, stop):
        stopped = stop is not None and stop(node)
        inputs = node.inputs if stopped else tuple([replaced[child] for child in node.inputs])
        result = change(node, inputs)
        if result is None:
            result = node if inputs == node.inputs else rebuild(node, inputs)
        replaced[node] = result
    return [replaced[output] for output in outputs]


def late(nodes: Sequence[Node]) -> list[Node]:
    """A graph as a static one takes it: its reads hold no memory, and see what is there when it runs."""
    return rewrite(
        nodes,
        lambda node, inputs: None if node.op.late is None else node.op.late(node),
        stop=lambda node: node.op.late is not None,
    )


def with_sizes(outputs: Sequence[Node], sizes: Mapping[str, int], leaves: Mapping[Node, Node]) -> list[Node]:
    """A copy of the graph with numbers put in for symbolic sizes, and `leaves` in place of the nodes they
    replace.
    """

    def change(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node in leaves:
            return leaves[node]
        attributes = substitute(node.attributes, sizes) if sizes else node.attributes
        copy = rebuild(node, inputs, attributes)  # type: ignore[arg-type]
        # What a rule or an update is bound to means nothing to a program, and would be kept alive by it.
        copy.binding = None
        return copy

    return rewrite(outputs, change, stop=leaves.__contains__)
