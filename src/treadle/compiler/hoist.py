"""Takes work out of loops: products that an iteration makes of its slices alone come before the loop, those
that only stacks and sums need come after it, each as one for all iterations; and what is the same in every
iteration is computed once.

Nothing moves that draws random numbers, looks values up or is a loop or branch itself, nor out of a loop that
may end early. `td.map` is left alone: who takes it does not want the values of all slices in memory at once.
For the same reason a product moves only while what is stacked for it is no larger than what the loop reads
and gives, or `ROOM`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from treadle.batching import Batching
from treadle.compiler.costs import LIGHT, REDUCTIONS
from treadle.compiler.loops import Parts, change_loops, trim_loops
from treadle.compiler.rules.table import is_number
from treadle.compiler.simplify import simplify
from treadle.graph.graph import consumers, depending, ordered, rewrite
from treadle.graph.node import Node, make, new, surrounded
from treadle.ops.batch import in_front
from treadle.ops.contraction import MATMUL
from treadle.ops.control import loop_of
from treadle.ops.elementwise import add
from treadle.ops.movement import PERMUTE, matrix_transpose, moveaxis
from treadle.ops.record import INPUT, reshaped
from treadle.ops.reduction import SUM

ROOM = 1 << 24
"""Bytes that new stacks of one loop may take in any case."""
TURNED_ROWS = 16
"""Rows from which a product turns a transposed factor around before it multiplies, in every iteration."""


def hoist(outputs: list[Node]) -> list[Node]:
    """Take work out of loops whose bodies are simplified."""
    changed = change_loops(outputs, _hoisted)
    return outputs if changed == outputs else simplify(trim_loops(changed))


def _hoisted(node: Node, inputs: Sequence[Node], taken: set[int]) -> Mapping[int, Node] | None:
    loop = loop_of(node)
    if loop.condition is not None or loop.counted or not loop.carries:
        return None
    if not isinstance(loop.length, int) or loop.length < 2:
        return None
    parts = Parts(node, inputs)
    given = sum(map(_nbytes, (*parts.slices.values(), *parts.starts.values(), *parts.captures.values())))
    room = max(ROOM, given + loop.length * sum(map(_nbytes, parts.stacked)))
    with surrounded(flags=0, body=None):
        before = _Before(parts, room)
        before.move()
        after = _After(parts, before.room)
    return after.results() if before.chosen or after.chosen else None


def _movable(node: Node) -> bool:
    """Whether an op can be applied to all iterations at once, outside of the loop."""
    op = node.op
    if op.effect or op.of_graphs:
        return False
    if op.leaf:
        return op.reference is not None
    return op.elementwise or (op.batch is not None and (op.view or op is MATMUL or op.name in REDUCTIONS))


def _dear(node: Node) -> bool:
    """Whether an op is more than some instructions an element."""
    op = node.op
    return op is MATMUL or op.name in REDUCTIONS or (op.elementwise and op.name not in LIGHT)


def _nbytes(node: Node) -> int:
    return node.dtype.itemsize * math.prod(node.shape)  # type: ignore[arg-type]


class _Body:
    """What is to be known of the nodes of a loop's body; `room` is what new stacks may take."""

    def __init__(self, parts: Parts, room: int):
        self.parts, self.room = parts, room
        self.length: int = parts.loop.length  # type: ignore[assignment]
        self.order = parts.order()
        self.readers = consumers(self.order)
        self.outputs = set(parts.outputs())
        self.varying = depending(self.order, parts.slices)
        self.free: set[Node] = set()
        """What needs no carry, and can be computed outside."""
        for node in self.order:
            leaf = node in parts.slices or node in parts.captures
            if leaf or (_movable(node) and self.free.issuperset(node.inputs)):
                self.free.add(node)
        self.dear = depending(self.order, [node for node in self.order if _dear(node)])

    def same(self, node: Node) -> bool:
        """Whether a node is free, and the same in every iteration."""
        return node in self.free and node not in self.varying

    def is_product(self, node: Node) -> bool:
        """Whether a node is a product that is one product of a larger matrix for all iterations."""
        if node.op is not MATMUL:
            return False
        first, second = map(self.same, node.inputs)
        return second != first and (second or node.ndim == 2)

    def below(self, node: Node) -> Node:
        """The value that a node only shows in another way."""
        while node.op.view and len(node.inputs) == 1 and _nbytes(node.inputs[0]) <= _nbytes(node):
            node = node.inputs[0]
        return node

    def outside(self, nodes: Sequence[Node], stacks: Mapping[Node, Node]) -> dict[Node, Node]:
        """Nodes for all iterations; those that differ between them have a dimension for them in front."""
        batching = Batching(self.length)
        known = batching.known = {**self.parts.slices, **self.parts.captures, **stacks}
        order = [node for node in ordered(nodes, stop=known.__contains__) if node not in known]
        assert not any(node.op is INPUT for node in order), order
        for node in order:
            if self.is_product(node) and not batching.is_batched(node.inputs[0]):
                x, y = (known.get(child, child) for child in node.inputs)
                made = make(MATMUL, (_rows(matrix_transpose(y)), matrix_transpose(x)))
                known[node] = matrix_transpose(reshaped(made, (self.length, *node.shape[::-1])))
            else:
                batching.walk([node])
        return {node: known.get(node, node) for node in nodes}


def _rows(stack: Node) -> Node:
    """A stack of matrices, one below the other."""
    count, rows, columns = stack.shape
    return reshaped(stack, (count * rows, columns))


# -- before the loop


class _Before(_Body):
    """What comes before a loop: the nodes `chosen`, which need no carry."""

    def __init__(self, parts: Parts, room: int):
        super().__init__(parts, room)
        self.chosen: dict[Node, None] = {}
        for node in self.order:
            if node in self.free and node in self.dear:
                self._choose(node)
        for node in self.order:
            if node.op is MATMUL and node not in self.chosen:
                self._turn(node.inputs[1], node.shape[-2])

    def _choose(self, node: Node) -> None:
        """Let a node that is the same in every iteration be the last that is, or a product a stack."""
        if self.same(node):
            value = self.below(node)
            if value in self.dear and (node in self.outputs or not all(map(self.same, self.readers[node]))):
                self.chosen[value] = None
        elif self.is_product(node):
            last = self._last(node)
            cost = 0 if last in self.outputs or last in self.chosen else self.length * _nbytes(last)
            if cost <= self.room:
                self.room -= cost
                self.chosen[last] = None

    def _turn(self, factor: Node, rows: int) -> None:
        """Let a factor that lies transposed be copied once."""
        if factor.op is PERMUTE and factor.inputs[0] in self.parts.captures and rows >= TURNED_ROWS:
            self.chosen[factor] = None

    def _last(self, node: Node) -> Node:
        """How far a free value is only worked on, one element for one, or shown in another way."""
        while node not in self.outputs:
            readers = set(self.readers[node])
            (reader,) = readers if len(readers) == 1 else (node,)
            if reader is node or reader not in self.free or not (reader.op.elementwise or reader.op.view):
                break
            node = reader
        return self.below(node)

    def move(self) -> None:
        """Take what is chosen out of the body: it is a slice or a capture instead."""
        parts = self.parts
        leaves: dict[Node, Node] = {}
        for node, value in self.outside(list(self.chosen), {}).items():
            leaves[node] = new(INPUT, (), (-1,), node.type)
            (parts.slices if node in self.varying else parts.captures)[leaves[node]] = value
        outputs = rewrite(parts.outputs(), lambda node, _: leaves.get(node), stop=leaves.__contains__)
        parts.following = dict(zip(parts.following, outputs, strict=False))
        parts.stacked = outputs[len(parts.following) :]


# -- after the loop


class _After(_Body):
    """What can come after a loop. `late` are the nodes that no carry needs, but for carries that only add up,
    the `sums`.
    """

    def __init__(self, parts: Parts, room: int):
        super().__init__(parts, room)
        self.sums = {leaf: part for leaf in parts.following if (part := self._added(leaf)) is not None}
        self.adding = {parts.following[leaf] for leaf in self.sums}
        self.within = set(ordered(set(parts.following.values()) - self.adding))
        self.late: set[Node] = set()
        for node in reversed(self.order):
            needed = node in self.within or node in self.adding or not node.inputs
            if not needed and _movable(node) and self._is_only_read_late(node):
                self.late.add(node)
        self.chosen: set[Node] = set()
        self.kept: dict[Node, None] = {}
        """What has to be stacked for the nodes that are chosen."""
        for node in self.order:
            if node in self.late and (self.is_product(node) or self._is_outer(node)):
                self._choose(node)
        for node in self.sums.values():
            if node in self.late and self._is_sum_of_kept(node):
                self._choose(node)

    def _added(self, leaf: Node) -> Node | None:
        """What an iteration adds to a carry, if that is all that becomes of it."""
        following = self.parts.following[leaf]
        alone = self.readers.get(leaf) == [following] and not self.readers[following]
        if following.op.name != "add" or not alone or leaf in self.outputs:
            return None
        if self.parts.outputs().count(following) > 1:
            return None
        x, y = following.inputs
        return y if x is leaf else x

    def _is_only_read_late(self, node: Node) -> bool:
        return all(reader in self.late or reader in self.adding for reader in self.readers[node])

    def _is_outer(self, node: Node) -> bool:
        """Whether a node is a product of two values of an iteration that is only added up."""
        return node.op is MATMUL and node in self.sums.values() and not any(map(self.same, node.inputs))

    def _is_sum_of_kept(self, node: Node) -> bool:
        """Whether a node is a sum that is only added up, of a value that is stacked anyway."""
        value = self.below(node.inputs[0]) if node.op is SUM else None
        return value in self.kept or value in self.parts.stacked

    def _choose(self, node: Node) -> None:
        """Let a node come after the loop with all that needs it, if there is room."""
        chosen, waiting = set(self.chosen), [node]
        while waiting:
            last = waiting.pop()
            if last not in chosen:
                chosen.add(last)
                waiting += [reader for reader in self.readers[last] if reader not in self.adding]
        kept: dict[Node, None] = {}
        for last in self.order:
            if last in chosen:
                kept.update(dict.fromkeys(map(self.below, last.inputs)))
        kept = {x: None for x in kept if x not in chosen and not self._at_hand(x)}
        stacks = [x for x in kept if x not in self.parts.stacked]
        stacks += [x for x in chosen if self.is_product(x) and x not in self.outputs]
        if self.length * sum(map(_nbytes, stacks)) <= self.room:
            self.chosen, self.kept = chosen, kept

    def _at_hand(self, node: Node) -> bool:
        """Whether a node can be had without the loop, at no cost."""
        return node in self.free and node not in self.dear

    def results(self) -> dict[int, Node]:
        """The loop's results, of the loop that is left and of what comes before and after it."""
        parts, carries = self.parts, list(self.parts.following)
        given = list(parts.stacked)
        sums = {leaf: part for leaf, part in self.sums.items() if part in self.chosen}
        parts.following = {leaf: x for leaf, x in parts.following.items() if leaf not in sums}
        stays = [x for x in given if x not in self.chosen and not self._at_hand(x)]
        parts.stacked = list(dict.fromkeys([*stays, *self.kept]))
        last: dict[Node, Node] = {}
        stacks: dict[Node, Node] = {}
        if parts.following or parts.stacked:
            last, made, _ = parts.together()
            stacks = dict(zip(parts.stacked, made, strict=True))
        for leaf, part in sums.items():
            total, start = self._total(part, stacks), parts.starts[leaf]
            last[leaf] = total if is_number(start, 0) else add(start, total)
        found = {i: last[leaf] for i, leaf in enumerate(carries)}
        values = self.outside(given, stacks)
        for i, y in enumerate(given, len(carries)):
            found[i] = in_front(values[y], self.length, values[y].ndim > y.ndim)
        return found

    def _total(self, node: Node, stacks: Mapping[Node, Node]) -> Node:
        """The sum of a node over all iterations."""
        if node.op is MATMUL and self._is_outer(node):
            x, y = node.inputs
            if x.op is PERMUTE and x.ndim == 2:
                values = self.outside([x.inputs[0], y], stacks)
                return make(MATMUL, (matrix_transpose(_rows(values[x.inputs[0]])), _rows(values[y])))
            values = self.outside([x, y], stacks)
            inner = self.length * x.shape[-1]  # type: ignore[operator]
            first = reshaped(moveaxis(values[x], 0, -2), (*x.shape[:-1], inner))
            second = reshaped(moveaxis(values[y], 0, -3), (*y.shape[:-2], inner, y.shape[-1]))
            return make(MATMUL, (first, second))
        if node.op is SUM:
            (x,), axes = node.inputs, node.attribute("axes")
            value = self.outside([x], stacks)[x]
            if axes == (0,) and x.ndim == 2:
                return make(SUM, (_rows(value),), (axes,))
            return make(SUM, (value,), ((0, *[axis + 1 for axis in axes]),))
        return make(SUM, (self.outside([node], stacks)[node],), ((0,),))
