"""What a saved function is besides its graph: how it is called, and the gradient rules that users gave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from treadle import state
from treadle.array import Variable
from treadle.autodiff import DUMMY
from treadle.errors import ArgumentError, TreadleError
from treadle.graph.dimension import Size, solve, substitute
from treadle.graph.graph import late, rebuild, rewrite
from treadle.graph.node import STATIC, WEAK, Node, new, surrounded
from treadle.state import READ, Cell
from treadle.structure import SLOT


@dataclass
class Signature:
    """A static graph and how it is called.

    `parameters` are the names of the positional arguments. `arguments` (positional, by keyword) and `result`
    have `SLOT` where an array stands; the arrays are, in order, the placeholders `inputs` and the values
    `outputs`. `updates` are what variables are given at the end, in the order in which they are stored.
    """

    parameters: tuple[str, ...]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    inputs: list[Node]
    result: Any
    outputs: list[Node]
    updates: dict[Cell, Node]

    def values(self) -> list[Node]:
        """All that a call computes."""
        return [*self.outputs, *self.updates.values()]

    def __str__(self) -> str:
        """``(x: float32[batch, 3], training: True) -> float32[batch]``."""
        types = iter(["float" if node.flags & WEAK else repr(node.type) for node in self.inputs])
        positional, keywords = self.arguments
        names = [*self.parameters, *[""] * len(positional)]
        parts = [
            f"{name}: " * bool(name) + _shown(a, types) for name, a in zip(names, positional, strict=False)
        ]
        parts += [f"{name}: {_shown(value, types)}" for name, value in keywords.items()]
        result = _shown(self.result, iter([repr(node.type) for node in self.outputs]))
        changed = ", ".join(cell.name for cell in self.updates)
        return f"({', '.join(parts)}) -> {result}" + (f", updating {changed}" if changed else "")


def _shown(tree: Any, types: Any) -> str:
    if tree is SLOT:
        return next(types)
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {_shown(item, types)}" for key, item in tree.items()) + "}"
    if isinstance(tree, tuple):
        return "(" + ", ".join(_shown(item, types) for item in tree) + "," * (len(tree) == 1) + ")"
    if isinstance(tree, list):
        return "[" + ", ".join(_shown(item, types) for item in tree) + "]"
    return tree.name if isinstance(tree, Variable) else repr(tree)


class Rule:
    """A user's gradient rule as a graph: the cotangents `parts` (None where there is none) as functions of
    `given`, which stand for the cotangent of the value, the value, and the inputs.
    """

    def __init__(self, given: Sequence[Node], parts: Sequence[Node | None]):
        self.given = tuple(given)
        self.parts = tuple(parts)

    def __call__(self, *values: Node) -> list[Node | None]:
        put = dict(zip(self.given, values, strict=True))
        sizes: dict[str, Size] = {}
        for leaf, value in put.items():
            solve(leaf.shape, value.shape, sizes)

        def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
            if node in put or not sizes:
                return put.get(node)
            attributes: Any = substitute(node.attributes, sizes)
            return None if attributes == node.attributes else rebuild(node, inputs, attributes)

        found = iter(rewrite(self.wanted(), change))
        return [None if part is None else next(found) for part in self.parts]

    def wanted(self) -> list[Node]:
        """What the rule computes."""
        return [part for part in self.parts if part is not None]


def rule_of(node: Node) -> Rule:
    """The rule of a `custom_vjp` node as a graph.

    Raises:
        ArgumentError: the rule cannot be run without values.
    """
    if isinstance(node.binding, Rule):
        return node.binding
    given = [new(DUMMY, (), (), other.type, STATIC) for other in (node, *node.inputs)]
    try:
        with surrounded(role="gradient", scope=node.scope):
            parts = node.binding(*given)
    except TreadleError as error:
        raise ArgumentError(
            f"[save] the gradient rule of the custom_vjp made at {node.line} cannot be written as a graph: "
            f"{error.message}"
        ) from error
    wanted = [part for part in parts if part is not None]
    found = iter(late(rewrite(wanted, _without_own_reads)))
    return Rule(given, [None if part is None else next(found) for part in parts])


def _without_own_reads(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    """A read of what the same function assigned is what it assigned; an update is the value it stores."""
    return inputs[0] if inputs and node.op in (READ, state.UPDATE) else None
