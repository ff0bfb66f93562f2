"""What is drawn of a graph: boxes, who reads whom, groups. Knows nodes, not where anything stands.

Numbers are written into the boxes that take them, and broadcasts that elementwise operations imply are left
out, so that a picture shows what the user wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from treadle import state
from treadle.graph.graph import consumers, ordered
from treadle.graph.node import Node
from treadle.graph.text import attribute_text
from treadle.view.roles import LEAF_ROLES, ROLES, role_of

GRADIENTS = "gradients"
"""The group that holds what `gradients` made, with the scopes of the forward nodes inside it."""
UPDATES = "updates"
"""The group of what changes variables outside any scope."""
NUMBERS = ("constant", "scalar")
VERBS = {"update": "update", "read": "assign"}
"""What an op that changes a variable does to it: the read of a pending version stands for its assignment."""
CARRIERS = ("broadcast_to", "reshape", "astype")
"""Ops that leave a number the number it was."""
TYPE_ATTRIBUTES = ("shape", "dtype")
"""Attributes that the type says already."""


@dataclass
class Box:
    """One thing drawn. `inputs` are positions in `Picture.boxes`, `operands` what it is applied to."""

    name: str
    op: str
    role: str
    group: tuple[str, ...]
    type: str
    line: str
    inputs: list[int]
    operands: list[str]
    attributes: str = ""
    leaf: bool = False
    small: bool = False
    output: bool = False
    numbers: list[str | None] = field(default_factory=list)
    """For each operand, the number written into the box, or None where an edge comes in."""

    @property
    def label(self) -> str:
        """What stands in the box: a leaf's name, or the op with the numbers it takes."""
        if self.leaf:
            return self.name
        if any(self.numbers):
            return f"{self.op}({', '.join('·' if number is None else number for number in self.numbers)})"
        return self.op

    @property
    def text(self) -> str:
        """The box as a line of a program."""
        if self.leaf:
            return f"{self.name} = {self.op}"
        inside = ", ".join([*self.operands, *([self.attributes] if self.attributes else [])])
        return f"{self.name} = {self.op}({inside})"

    @property
    def title(self) -> str:
        """Everything there is to know, a line each."""
        lines = [self.text, self.type, ROLES[self.role].name + (", an output" if self.output else "")]
        if self.group:
            lines.append("in " + " / ".join(self.group))
        return "\n".join([*lines, *([self.line] if self.line else [])])


@dataclass
class Picture:
    """Boxes, each after those it reads."""

    boxes: list[Box]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Every pair (read, reader), once."""
        return list(dict.fromkeys((u, v) for v, box in enumerate(self.boxes) for u in box.inputs))

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Every group and the groups around it, outer ones first."""
        found = {box.group[:depth]: None for box in self.boxes for depth in range(1, len(box.group) + 1)}
        return sorted(found, key=len)

    @property
    def roles(self) -> list[str]:
        """The roles that occur, in the legend's order."""
        return [role for role in ROLES if any(box.role == role for box in self.boxes)]


def picture(outputs: Sequence[Node], updates: Sequence[tuple[Any, Node]] = ()) -> Picture:
    """The picture of a graph. `updates` are a door's (cell, next value) pairs, which have no node."""
    targets = list(dict.fromkeys([*outputs, *[value for _, value in updates]]))
    order = ordered(targets, stop=lambda node: node.op.name == "data")
    numbers = _numbers(order, set(outputs))
    skipped = _implied_broadcasts(order, set(targets), numbers)
    boxes: list[Box] = []
    place: dict[Node, int] = {}
    reads: dict[Any, int] = {}
    reads_named: dict[Any, str] = {}
    names: dict[str, int] = {}
    for node in order:
        if node in numbers:
            continue
        if node in skipped:
            place[node] = place[node.inputs[0]]
            continue
        group = node.scope if role_of(node) != "gradient" else (GRADIENTS, *node.scope)
        merged = (
            (state.cell_of(node), id(node.binding), group)
            if node.op is state.READ and not node.inputs
            else None
        )
        if merged in reads:
            place[node] = reads[merged]
            boxes[place[node]].output |= node in outputs
            continue
        box = _box(node, group, boxes, place, numbers, names)
        box.output = node in outputs
        place[node] = len(boxes)
        if merged is not None:
            # The same version, read in another group, is drawn there again under the same name.
            box.name = reads_named.setdefault(merged[:2], box.name)
            reads[merged] = place[node]
        boxes.append(box)
    updated = {node.binding for node in order if node.op is state.UPDATE}
    for cell, value in updates:
        if cell in updated:
            continue
        name = _unused(f"next {cell.name}", names)
        given = numbers.get(value)
        inputs, operands = (
            ([], [given]) if given is not None else ([place[value]], [boxes[place[value]].name])
        )
        group = value.scope if role_of(value) != "gradient" else ()
        box = Box(
            name, f"update {cell.name}", "update", group, repr(cell.type), _line(value), inputs, operands
        )  # type: ignore[arg-type]
        box.numbers = [given]
        boxes.append(box)
    _colour_steps(boxes)
    return Picture(boxes)


def _box(
    node: Node,
    group: tuple[str, ...],
    boxes: list[Box],
    place: dict[Node, int],
    numbers: dict[Node, str],
    names: dict[str, int],
) -> Box:
    leaf = not node.inputs and node.op.name in LEAF_ROLES
    cell = state.cell_of(node) or node.binding
    inputs = [place[child] for child in node.inputs if child not in numbers]
    operands = [numbers[child] if child in numbers else boxes[place[child]].name for child in node.inputs]
    op = node.op.name
    if node.op in (state.UPDATE, state.READ):
        op = "variable" if leaf else f"{VERBS[op]} {cell.name}"
    pairs = zip(node.op.attributes, node.attributes, strict=True) if node.attributes else ()
    attributes = ", ".join(
        f"{key}={attribute_text(value)}" for key, value in pairs if key not in TYPE_ATTRIBUTES
    )
    name = _unused(_leaf_name(node), names) if leaf else f"%{len(boxes)}"
    return Box(
        name, op, role_of(node), group, repr(node.type), _line(node), inputs, operands, attributes, leaf,
        small=node.op.view and not node.op.leaf, numbers=[numbers.get(child) for child in node.inputs],
    )  # fmt: skip


def _leaf_name(node: Node) -> str:
    """What a leaf is called in the picture: its own name if it has one."""
    cell = state.cell_of(node)
    if cell is not None:
        return cell.name
    if node.op.name == "placeholder":
        return node.attributes[0]
    if node.op.name == "input":
        return node.binding if isinstance(node.binding, str) else f"input{node.attributes[0]}"
    if node.op.name in NUMBERS:
        return _number_text(node)
    return node.op.name


def _unused(name: str, names: dict[str, int]) -> str:
    """The name, with a number after it from the second time on."""
    count = names[name] = names.get(name, 0) + 1
    return name if count == 1 else f"{name}#{count}"


def _number_text(node: Node) -> str:
    value = node.attributes[0] if node.op.name == "constant" else node.binding
    return f"{value:g}" if isinstance(value, float) else str(value)


def _numbers(order: Sequence[Node], outputs: set[Node]) -> dict[Node, str]:
    """The nodes that are but a number, whatever its shape, with the number as text."""
    found: dict[Node, str] = {}
    for node in order:
        if node in outputs:
            continue
        if node.op.name in NUMBERS:
            found[node] = _number_text(node)
        elif node.op.name in CARRIERS and node.inputs and node.inputs[0] in found:
            found[node] = found[node.inputs[0]]
    return found


def _implied_broadcasts(order: Sequence[Node], targets: set[Node], numbers: dict[Node, str]) -> set[Node]:
    """The nodes that only widen a value for elementwise operations, as NumPy does unasked."""
    readers = consumers(order)
    found: set[Node] = set()
    for node in reversed(order):
        if node in targets or node in numbers or not node.inputs or not _widens(node):
            continue
        if all(reader.op.elementwise or reader in found for reader in readers[node]):
            found.add(node)
    return found


def _widens(node: Node) -> bool:
    if node.op.name == "broadcast_to":
        return True
    if node.op.name != "reshape":
        return False
    before, after = ([size for size in shape if size != 1] for shape in (node.inputs[0].shape, node.shape))
    return before == after


def _colour_steps(boxes: list[Box]) -> None:
    """What stands between gradients and updates (a learning rate, momentum) is part of the update."""
    after_gradient = [False] * len(boxes)
    for i, box in enumerate(boxes):
        after_gradient[i] = box.role == "gradient" or any(after_gradient[child] for child in box.inputs)
    readers: list[list[Box]] = [[] for _ in boxes]
    for box in boxes:
        for child in box.inputs:
            readers[child].append(box)
    for i in reversed(range(len(boxes))):
        box = boxes[i]
        only_updates = readers[i] and all(reader.role == "update" for reader in readers[i])
        if box.role == "forward" and after_gradient[i] and only_updates and not box.output:
            box.role = "update"
        if not box.group and (box.role == "update" or (only_updates and box.role == "variable")):
            box.group = (UPDATES,)


def _line(node: Node) -> str:
    return "" if node.line is None else str(node.line)
