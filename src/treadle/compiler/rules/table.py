"""The table of rules, and what rules ask of nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle.graph.node import Node

if TYPE_CHECKING:
    from treadle.compiler.simplify import Simplifier

Replace = Callable[["Simplifier", Node], Node | None]


@dataclass(frozen=True)
class Rule:
    """One rewriting; its docstring says what becomes what."""

    name: str
    replace: Replace
    doc: str


RULES: dict[str, list[Rule]] = {}
"""By op name; "elementwise" stands for every elementwise op, after its own."""


def rule(*names: str) -> Callable[[Replace], Replace]:
    """Make a function a rule of the ops named."""

    def enter(function: Replace) -> Replace:
        entry = Rule(function.__name__, function, function.__doc__ or "")
        for name in names:
            RULES.setdefault(name, []).append(entry)
        return function

    return enter


REPEATS = ("broadcast_to", "reshape")


def number(node: Node) -> Any:
    """The Python number that every element of a node is, or None."""
    while node.op.name in REPEATS:
        node = node.inputs[0]
    return node.attribute("value") if node.op.name == "constant" else None


def same(value: Any, wanted: float) -> bool:
    """Whether a number is another, and not its negative zero."""
    return value is not None and value == wanted and math.copysign(1, value) == math.copysign(1, wanted)


def is_number(node: Node, wanted: float) -> bool:
    """Whether every element is the number."""
    value = number(node)
    return not isinstance(value, complex) and same(value, wanted)


def is_op(node: Node, name: str) -> bool:
    return node.op.name == name


def is_float(node: Node) -> bool:
    return node.dtype.kind == "float"


def is_whole(node: Node) -> bool:
    return node.dtype.kind in ("int", "uint", "bool")
