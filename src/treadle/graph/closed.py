"""A graph that refers to nothing outside: what loops and branches apply, as an attribute of their nodes.

Its leaves are numbered parameters and constants; whatever else a function took from around it has become a
parameter (`close`). Equal graphs are equal values, whatever lines made them, so that they can be part of a
program's key. Knows nothing of what ops mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from treadle.graph.dimension import substitute
from treadle.graph.graph import ordered, rebuild
from treadle.graph.node import DETACHED, Node, Op, Type, bits, new, surrounded


class Closed:
    """`outputs` as a function of `parameters`, which are leaves numbered from 0."""

    __slots__ = ("__weakref__", "_hash", "key", "order", "outputs", "parameters")

    def __init__(self, parameters: Sequence[Node], outputs: Sequence[Node]):
        self.parameters = tuple(parameters)
        self.outputs = tuple(outputs)
        known = set(self.parameters)
        self.order = [*self.parameters, *[node for node in ordered(outputs) if node not in known]]
        """Every node, parameters first, inputs before consumers."""
        place = {node: i for i, node in enumerate(self.order)}
        key: list[Any] = [node.type for node in self.parameters]
        for node in self.order[len(known) :]:
            assert not node.op.leaf or node.op.reference is not None, f"{node!r} is open"
            attributes = bits(node.attributes) if node.attributes else ()
            key.append((node.op, attributes, node.flags & DETACHED, *[place[child] for child in node.inputs]))
        self.key = (tuple(key), tuple([place[node] for node in self.outputs]))
        self._hash = hash(self.key)

    @property
    def types(self) -> tuple[Type, ...]:
        """The types of the outputs."""
        return tuple([node.type for node in self.outputs])

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Closed) and self._hash == other._hash and self.key == other.key
        )

    def __repr__(self) -> str:
        return f"<graph of {len(self.order)} nodes>"

    def applied(self, inputs: Sequence[Node]) -> list[Node]:
        """The outputs, as nodes like any others, for these inputs."""
        found = dict(zip(self.parameters, inputs, strict=True))
        for node in self.order[len(self.parameters) :]:
            children = tuple([found[child] for child in node.inputs])
            found[node] = node if children == node.inputs else rebuild(node, children)
        return [found[node] for node in self.outputs]

    def with_sizes(self, sizes: Mapping[str, int]) -> Closed:
        """The same with numbers put in for symbolic sizes."""
        found: dict[Node, Node] = {}
        with surrounded(flags=0, body=None):
            for node in self.order:
                attributes: Any = substitute(node.attributes, sizes)
                if node in self.parameters:
                    type = Type(substitute(node.type.shape, sizes), node.type.dtype)  # type: ignore[arg-type]
                    found[node] = new(node.op, (), attributes, type)
                    found[node].line = node.line
                else:
                    found[node] = rebuild(node, tuple([found[child] for child in node.inputs]), attributes)
        return Closed([found[node] for node in self.parameters], [found[node] for node in self.outputs])

    def changed(self, change: Callable[[list[Node]], Sequence[Node]]) -> Closed:
        """The graph whose outputs are `change(outputs)`, made of the same parameters."""
        outputs = change(list(self.outputs))
        return self if tuple(outputs) == self.outputs else Closed(self.parameters, outputs)


def graphs_of(node: Node) -> list[Closed]:
    """The graphs among a node's attributes."""
    return [value for value in node.attributes if type(value) is Closed] if node.op.of_graphs else []


def nested(order: Iterable[Node]) -> list[Closed]:
    """Every closed graph that nodes refer to, at any depth, once, inner ones first."""
    found: dict[Closed, None] = {}

    def visit(closed: Closed) -> None:
        if closed not in found:
            for node in closed.order:
                for inner in graphs_of(node):
                    visit(inner)
            found[closed] = None

    for node in order:
        for closed in graphs_of(node):
            visit(closed)
    return list(found)


def with_graphs(node: Node, change: Callable[[Closed], Closed]) -> tuple[Any, ...]:
    """A node's attributes with its graphs changed."""
    return tuple([change(value) if type(value) is Closed else value for value in node.attributes])


def close(
    parameter: Op,
    functions: Sequence[tuple[Sequence[Node], Sequence[Node]]],
    inside: Callable[[Node], bool] = lambda node: True,
) -> tuple[list[Closed], list[Node]]:
    """Functions, given as (parameters, outputs), as closed graphs; and what they take from outside, which all
    of them get as further parameters, in that order.

    A leaf without a value of its own is outside, as is every node that is not `inside`. `parameter` is the op
    of the leaves that stand for parameters.
    """
    captured: dict[Node, None] = {}
    orders = []
    for parameters, outputs in functions:
        own = set(parameters)

        def outside(node: Node, own: set[Node] = own) -> bool:
            if node in own:
                return False
            return (node.op.leaf and node.op.reference is None) or not (inside(node) or _is_number(node))

        def stop(node: Node, own: set[Node] = own) -> bool:
            return node in own or outside(node)

        order = ordered(outputs, stop)
        captured.update(dict.fromkeys(node for node in order if outside(node)))
        orders.append(order)
    closed = []
    with surrounded(flags=0, body=None):
        for (parameters, outputs), order in zip(functions, orders, strict=True):
            found: dict[Node, Node] = {}
            leaves = []
            for i, node in enumerate((*parameters, *captured)):
                leaf = new(parameter, (), (i,), node.type)
                leaf.line = node.line
                leaves.append(leaf)
                found[node] = leaf
            for node in order:
                if node not in found:
                    found[node] = rebuild(node, tuple([found[child] for child in node.inputs]))
                    found[node].flags &= DETACHED
            closed.append(Closed(leaves, [found[node] for node in outputs]))
    return closed, list(captured)


def _is_number(node: Node) -> bool:
    """Whether a node is but a number that the compiler knows, in whatever shape."""
    while node.op.view and len(node.inputs) == 1:
        node = node.inputs[0]
    return node.op.leaf and node.op.reference is not None
