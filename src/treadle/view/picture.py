"""What is drawn of a graph: boxes, who reads whom, groups. Knows nodes, not where anything stands.

Numbers are written into the boxes that take them, and broadcasts that elementwise operations imply are left
out, so that a picture shows what the user wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from treadle import state
from treadle.graph.closed import Closed, graphs_of
from treadle.graph.graph import consumers, ordered
from treadle.graph.node import Node, Op
from treadle.graph.text import attribute_text
from treadle.ops.control import COND, LOOP, loop_of
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
    drawing = _Drawing(set(outputs))
    drawing.draw(order, targets, lambda node: node.scope if _forward(node) else (GRADIENTS, *node.scope))
    boxes = drawing.boxes
    updated = {node.binding for node in order if node.op is state.UPDATE}
    for cell, value in updates:
        if cell in updated:
            continue
        name = _unused(f"next {cell.name}", drawing.names)
        group = value.scope if _forward(value) else ()
        type = repr(cell.type)
        boxes.append(drawing.box(value, name, f"update {cell.name}", group, [value], type, role="update"))
    _colour_steps(boxes)
    return Picture(boxes)


def _forward(node: Node) -> bool:
    return role_of(node) != "gradient"


class _Drawing:
    """Boxes as they are drawn, those of a loop's or branch's graphs before its own."""

    def __init__(self, outputs: set[Node]):
        self.outputs = outputs
        self.boxes: list[Box] = []
        self.place: dict[Node, int] = {}
        self.numbers: dict[Node, str] = {}
        self.names: dict[str, int] = {}
        self.reads: dict[Any, int] = {}
        self.reads_named: dict[Any, str] = {}

    def draw(
        self, order: Sequence[Node], targets: Sequence[Node], group_of: Callable[[Node], tuple[str, ...]]
    ) -> None:
        """Draw nodes that are not drawn yet, inputs before consumers, in their groups."""
        self.numbers |= _numbers(order, self.outputs, self.numbers)
        skipped = _implied_broadcasts(order, set(targets), self.numbers)
        for node in order:
            if node in self.numbers or node in self.place:
                continue
            if node in skipped:
                self.place[node] = self.place[node.inputs[0]]
                continue
            group = group_of(node)
            merged = None
            if node.op is state.READ and not node.inputs:
                merged = (state.cell_of(node), id(node.binding), group)
            if merged in self.reads:
                self.place[node] = self.reads[merged]
                self.boxes[self.place[node]].output |= node in self.outputs
                continue
            box = self._box(node, group)
            box.output = node in self.outputs
            self.place[node] = len(self.boxes)
            if merged is not None:
                # The same version, read in another group, is drawn there again under the same name.
                box.name = self.reads_named.setdefault(merged[:2], box.name)
                self.reads[merged] = self.place[node]
            self.boxes.append(box)

    def box(
        self, node: Node, name: str, op: str, group: tuple[str, ...], operands: Sequence[Node], type: str,
        role: str = "", **more: Any,
    ) -> Box:  # fmt: skip
        """A box of what is applied to operands that are drawn, or numbers."""
        numbers = [self.numbers.get(child) for child in operands]
        inputs = [self.place[child] for child in operands if child not in self.numbers]
        said = [self.numbers.get(child) or self.boxes[self.place[child]].name for child in operands]
        role = role or role_of(node)
        return Box(name, op, role, group, type, _line(node), inputs, said, numbers=numbers, **more)

    def _box(self, node: Node, group: tuple[str, ...]) -> Box:
        leaf = not node.inputs and node.op.name in LEAF_ROLES
        cell = state.cell_of(node) or node.binding
        op, operands = node.op.name, node.inputs
        if node.op in (state.UPDATE, state.READ):
            op = "variable" if leaf else f"{VERBS[op]} {cell.name}"
        if node.op in INSIDES:
            group = (*group, _unused(op, self.names))
            operands = INSIDES[node.op](self, node, group)
        pairs = zip(node.op.attributes, node.attributes, strict=True) if node.attributes else ()
        attributes = ", ".join(
            f"{key}={attribute_text(value)}"
            for key, value in pairs
            if key not in TYPE_ATTRIBUTES and (node.op not in INSIDES or key in OF_LOOPS)
        )
        name = _unused(_leaf_name(node), self.names) if leaf else f"%{len(self.boxes)}"
        small = node.op.view and not node.op.leaf
        return self.box(
            node, name, op, group, operands, repr(node.type), attributes=attributes, leaf=leaf, small=small
        )

    # -- graphs inside nodes

    def _graph(
        self, node: Node, closed: Closed, given: Sequence[Node], kinds: Sequence[str], group: tuple[str, ...]
    ) -> tuple[Node, ...]:
        """Draw what a node applies to what it is given; its outputs. A value that changes from one iteration
        to the next has a box of its own, of its kind; others come from where they are outside.
        """
        for inner in closed.order:  # of another node with the same graph
            self.place.pop(inner, None)
            self.numbers.pop(inner, None)
        for parameter, operand, kind in zip(closed.parameters, given, kinds, strict=True):
            if kind:
                name = f"%{len(self.boxes)}"
                box = self.box(node, name, kind, group, [operand], repr(parameter.type), small=True)
                self.place[parameter] = len(self.boxes)
                self.boxes.append(box)
            elif operand in self.numbers:
                self.numbers[parameter] = self.numbers[operand]
            else:
                self.place[parameter] = self.place[operand]
        before = len(node.scope)

        def group_of(inner: Node) -> tuple[str, ...]:
            own = inner.scope[before:] if inner.scope[:before] == node.scope else inner.scope
            return (*group, *own)

        self.draw(closed.order, closed.outputs, group_of)
        return closed.outputs

    def branches(self, node: Node, group: tuple[str, ...]) -> list[Node]:
        """Draw both branches of a `cond`; what its box reads."""
        given = node.inputs[1:]
        read = [node.inputs[0]]
        for name, closed in zip(("true", "false"), graphs_of(node), strict=True):
            read += self._graph(node, closed, given, [""] * len(given), (*group, name))
        return read

    def loop(self, node: Node, group: tuple[str, ...]) -> list[Node]:
        """Draw what a loop does in an iteration; what its box reads."""
        loop = loop_of(node)
        count, carries, stacks, captures = loop.split(node.inputs)
        read = [] if count is None else [count]
        changing, fixed = ["carry"] * len(carries), [""] * len(captures)
        if loop.condition is not None:
            within = (*group, "condition")
            read += self._graph(node, loop.condition, [*carries, *captures], [*changing, *fixed], within)
            group = (*group, "body")
        kinds = [*changing, *["slice"] * len(stacks), *fixed]
        read += self._graph(node, loop.body, [*carries, *stacks, *captures], kinds, group)
        return read


INSIDES: dict[Op, Callable[[_Drawing, Node, tuple[str, ...]], list[Node]]] = {
    COND: _Drawing.branches,
    LOOP: _Drawing.loop,
}
"""How what is inside a node is drawn."""
OF_LOOPS = ("length", "reverse")
"""Attributes of loops that are not seen in what is drawn of them."""


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


def _numbers(order: Sequence[Node], outputs: set[Node], known: Mapping[Node, str]) -> dict[Node, str]:
    """The nodes that are but a number, whatever its shape, with the number as text; those known included."""
    found = dict(known)
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
