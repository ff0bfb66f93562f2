"""The pass that rewrites a graph into a smaller one of the same meaning: rules, constants, equal values
merged.

The graph is rebuilt from its leaves up, each node at once in its simplest form: the rules of its op (`rules`)
are tried in order, and what two nodes have in common is made once. Dead code needs no rule: nothing leads to
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.compiler.rules import RULES
from treadle.errors import Line
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Op, Type, bits, make, new, surroundings
from treadle.ops.record import CONSTANT, INPUT, OPS

_LINE = Line(compile("", "<simplify>", "exec"), 0)


def simplify(outputs: Sequence[Node]) -> list[Node]:
    """The same values, in fewer and steadier operations. Sizes are numbers."""
    return Simplifier().graph(outputs)


class Simplifier:
    """Makes nodes in their simplest form, each once. Rules are given it, to make their replacements with."""

    def __init__(self):
        self.made: dict[tuple[Any, ...], Node] = {}

    def graph(self, outputs: Sequence[Node]) -> list[Node]:
        """Rebuild a graph."""
        replaced: dict[Node, Node] = {}

        def change(node: Node) -> None:
            inputs = tuple([replaced[child] for child in node.inputs])
            replaced[node] = self.node(node.op, inputs, node.attributes, node)

        self.walk(ordered(outputs), change)
        return [replaced[output] for output in outputs]

    def walk(self, order: Sequence[Node], change: Callable[[Node], None]) -> None:
        """Change nodes one by one; what is made for one of them has its line, scope, role and device."""
        before = surroundings.line, surroundings.scope, surroundings.role, surroundings.device
        try:
            for node in order:
                # Without a line, making nodes would search for the user's.
                surroundings.line = node.line or _LINE
                surroundings.scope, surroundings.role = node.scope, node.role
                surroundings.device = node.device
                change(node)
        finally:
            surroundings.line, surroundings.scope, surroundings.role, surroundings.device = before

    def node(
        self, op: Op, inputs: tuple[Node, ...], attributes: tuple[Any, ...], original: Node | None = None
    ) -> Node:
        """The simplest node for an op applied to simple inputs; `original`, if it is that already."""
        if op.effect:
            return (
                original
                if original is not None and original.inputs == inputs
                else make(op, inputs, attributes)
            )
        if op.leaf:
            assert original is not None
            if op is not CONSTANT and op is not INPUT:
                return original
            key = (op, bits(attributes), original.type)
            return self.made.setdefault(key, original)
        key = (op, bits(attributes) if attributes else (), *inputs)
        found = self.made.get(key)
        if found is None:
            same = original is not None and original.inputs == inputs
            node = original if same and original is not None else make(op, inputs, attributes)
            found = self.rewritten(node)
            self.made[key] = found
        return found

    def rewritten(self, node: Node) -> Node:
        """What the rules make of a node."""
        for rule in (*RULES.get(node.op.name, ()), *(RULES["elementwise"] if node.op.elementwise else ())):
            found = rule.replace(self, node)
            if found is not None:
                assert found.type is node.type, f"{rule.name} makes {found!r} of {node!r}"
                return found
        return node

    # -- what rules make their replacements with

    def __call__(self, name: str, *inputs: Node, **attributes: Any) -> Node:
        """An op by name on simple nodes."""
        op = OPS[name]
        return self.node(op, inputs, tuple([attributes[a] for a in op.attributes]))

    def constant(self, value: Any, type: Type) -> Node:
        """A number, repeated in a type's shape."""
        dtype = type.dtype
        leaf = new(CONSTANT, (), (value, dtype), Type((), dtype))
        node = self.node(CONSTANT, (), leaf.attributes, leaf)
        return self("broadcast_to", node, shape=type.shape) if type.shape else node
