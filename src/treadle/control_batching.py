"""What `vmap` makes of branches and loops: branches and loops again, over graphs for all examples.

A branch whose predicate differs between the examples computes both sides and chooses. A loop that ends at
another time for each example goes on until all have ended, and those that have keep their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from treadle import dtypes
from treadle.batching import Batching
from treadle.graph.closed import Closed
from treadle.graph.dimension import Size
from treadle.graph.node import Node, Type, make, new, surrounded
from treadle.ops.batch import Flags, in_front
from treadle.ops.control import COND, LOOP, Loop, apply_loop, loop_of
from treadle.ops.creation import known
from treadle.ops.elementwise import add, cast, less, subtract, where
from treadle.ops.movement import moveaxis
from treadle.ops.record import INPUT, broadcast, constant, filled, reshaped, results
from treadle.ops.reduction import any, max


def _applied(closed: Closed, inputs: Sequence[Node], size: Size) -> list[Node]:
    """The outputs of a graph for all examples, of inputs that may have their dimension; as they come."""
    batching = Batching(size)
    batching.known.update(zip(closed.parameters, inputs, strict=True))
    batching.walk(closed.order)
    return [batching.known[node] for node in closed.outputs]


def _leaves(types: Sequence[Type], batched: Flags, size: Size, start: int = 0) -> list[Node]:
    """Parameters of a graph for all examples."""
    return [
        new(INPUT, (), (start + i,), Type((size, *type.shape), type.dtype) if b else type)
        for i, (type, b) in enumerate(zip(types, batched, strict=True))
    ]


def _types(closed: Closed) -> list[Type]:
    return [node.type for node in closed.parameters]


def _flags(made: Sequence[Node], closed: Closed) -> list[bool]:
    """Which outputs have the dimension of the examples."""
    return [node.ndim > example.ndim for node, example in zip(made, closed.outputs, strict=True)]


def _all_in_front(made: Sequence[Node], closed: Closed, size: Size, wanted: Flags) -> list[Node]:
    """Outputs with the dimension in front where it is wanted."""
    flags = _flags(made, closed)
    return [in_front(node, size, b) if w else node for node, b, w in zip(made, flags, wanted, strict=True)]


def _chosen(condition: Node, a: Node, b: Node) -> Node:
    """a for the examples where the condition holds, b for the others."""
    spread = reshaped(condition, (*condition.shape, *(1,) * (a.ndim - 1)))
    return where(broadcast(spread, a.shape), a, b)


# -- branches


def _cond_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Any:
    predicate, *operands = inputs
    graphs: tuple[Closed, Closed] = y.attributes
    if batched[0]:
        every = [True] * len(graphs[0].outputs)
        sides = [_all_in_front(_applied(g, operands, size), g, size, every) for g in graphs]
        return [_chosen(predicate, a, b) for a, b in zip(*sides, strict=True)]
    with surrounded(flags=0, body=None):
        leaves = [_leaves(_types(g), batched[1:], size) for g in graphs]
        made = [_applied(g, given, size) for g, given in zip(graphs, leaves, strict=True)]
        first, second = (_flags(nodes, g) for nodes, g in zip(made, graphs, strict=True))
        wanted = [a or b for a, b in zip(first, second, strict=True)]
        closed = [
            Closed(given, _all_in_front(nodes, g, size, wanted))
            for g, given, nodes in zip(graphs, leaves, made, strict=True)
        ]
    return results(make(COND, tuple(inputs), tuple(closed)))


# -- loops


def _loop_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Any:
    loop = loop_of(y)
    count, carried, stacked, captured = loop.split(inputs)
    counts, carries, slices, captures = loop.split(batched)
    given = carries
    ends_apart = bool(counts)
    while True:
        flags = _body_flags(loop, [*carries, *slices, *captures], size)
        if loop.condition is not None and not ends_apart:
            ends_apart = _ends_apart(loop.condition, [*carries, *captures], size)
        grown = [a or b or ends_apart for a, b in zip(carries, flags, strict=False)]
        if grown == carries:
            break
        carries = grown
    carried = [
        in_front(x, size, already) if wanted else x
        for x, wanted, already in zip(carried, carries, given, strict=True)
    ]
    stacked = [moveaxis(x, 0, 1) if b else x for x, b in zip(stacked, slices, strict=True)]
    mapped = _Mapped(loop, size, [*carries, *slices, *captures])
    if not ends_apart:
        made = mapped.together([count] if loop.counted else [], carried, stacked, captured)
    elif loop.counted:
        made = mapped.counted(count, carried, stacked, captured)
    else:
        made = mapped.until_all_end(carried, stacked, captured)
    first, last = loop.carries, loop.carries + loop.stacks
    return [
        moveaxis(node, 1, 0) if first <= i < last and node.ndim > len(type.shape) else node
        for i, (node, type) in enumerate(zip(made, y.types, strict=True))
    ]


def _body_flags(loop: Loop, flags: Flags, size: Size) -> list[bool]:
    """Which outputs of a loop's body differ between examples."""
    with surrounded(flags=0, body=None):
        made = _applied(loop.body, _leaves(_types(loop.body), flags, size), size)
    return _flags(made, loop.body)


def _ends_apart(condition: Closed, flags: Flags, size: Size) -> bool:
    """Whether a loop's condition differs between examples."""
    with surrounded(flags=0, body=None):
        made = _applied(condition, _leaves(_types(condition), flags, size), size)
    return _flags(made, condition)[0]


class _Mapped:
    """A loop over all examples: its graphs, given which carries, slices and captures differ between them."""

    def __init__(self, loop: Loop, size: Size, flags: Flags):
        self.loop, self.size, self.flags = loop, size, flags
        self.leaves = _leaves(_types(loop.body), flags, size)
        with surrounded(flags=0, body=None):
            made = _applied(loop.body, self.leaves, size)
        wanted = _flags(made, loop.body)
        wanted[: loop.carries] = flags[: loop.carries]
        with surrounded(flags=0, body=None):
            self.made = _all_in_front(made, loop.body, size, wanted)

    def _condition(self, leaves: Sequence[Node]) -> Node:
        """Whether the loop goes on, for carries and captures."""
        assert self.loop.condition is not None
        return _applied(self.loop.condition, leaves, self.size)[0]

    def _condition_leaves(self) -> list[Node]:
        carries, _, captures = self.loop.of_body(self.flags)
        assert self.loop.condition is not None
        return _leaves(_types(self.loop.condition), [*carries, *captures], self.size)

    def together(self, count: Sequence[Node], carried: Any, stacked: Any, captured: Any) -> list[Node]:
        """All examples end at once."""
        loop = self.loop
        with surrounded(flags=0, body=None):
            body = Closed(self.leaves, self.made)
            condition = None
            if loop.condition is not None:
                leaves = self._condition_leaves()
                condition = Closed(leaves, [self._condition(leaves)])
        changed = replace(loop, body=body, condition=condition)
        last, made, steps = apply_loop(changed, [*count, *carried, *stacked, *captured])
        return [*last, *made, *([] if steps is None else [steps])]

    def _masked(self, active: Node, carries: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        """The next carries and slices: those of examples that have ended stay, and are zeros."""
        count = self.loop.carries
        after = [_chosen(active, new, old) for new, old in zip(self.made[:count], carries, strict=True)]
        every = _all_in_front(
            self.made[count:],
            Closed(self.loop.body.parameters, self.loop.body.outputs[count:]),
            self.size,
            [True] * self.loop.stacks,
        )
        return after, [_chosen(active, x, filled(0, x.shape, x.dtype)) for x in every]

    def until_all_end(self, carried: Any, stacked: Any, captured: Any) -> list[Node]:
        """Examples end when their condition no longer holds. How often each was applied is one more carry."""
        loop, size = self.loop, self.size
        carries, slices, captures = loop.of_body(self.leaves)
        with surrounded(flags=0, body=None):
            steps = new(INPUT, (), (-1,), Type((size,), dtypes.int64))
            active = self._condition([*carries, *captures])
            after, ys = self._masked(active, carries)
            more = add(steps, cast(active, dtypes.int64))
            body = _closed([*carries, steps, *slices, *captures], [*after, more, *ys])
            leaves = self._condition_leaves()
            holds = any(self._condition(leaves))
            ignored = new(INPUT, (), (-1,), steps.type)
            condition = _closed([*leaves[: len(carries)], ignored, *leaves[len(carries) :]], [holds])
        none = filled(0, (size,), dtypes.int64)
        changed = replace(loop, body=body, condition=condition, carries=loop.carries + 1)
        last, made, _ = apply_loop(changed, [*carried, none, *stacked, *captured])
        return [*last[:-1], *made, last[-1]]

    def counted(self, count: Node, carried: Any, stacked: Any, captured: Any) -> list[Node]:
        """Every example has its own number of iterations. Which one it is, is one more carry."""
        loop, size = self.loop, self.size
        assert loop.condition is None
        carries, slices, captures = loop.of_body(self.leaves)
        scalar = Type((), dtypes.int64)
        with surrounded(flags=0, body=None):
            place, counts = new(INPUT, (), (-1,), scalar), new(INPUT, (), (-1,), count.type)
            active = less(broadcast(place, (size,)), counts)
            after, ys = self._masked(active, carries)
            one = constant(1, dtypes.int64)
            following = subtract(place, one) if loop.reverse else add(place, one)
            body = _closed([*carries, place, *slices, *captures, counts], [*after, following, *ys])
        most = max(count)
        begin = subtract(most, known(1, most)) if loop.reverse else constant(0, dtypes.int64)
        changed = replace(loop, body=body, carries=loop.carries + 1)
        last, made, _ = apply_loop(changed, [most, *carried, begin, *stacked, *captured, count])
        return [*last[:-1], *made]


def _closed(parameters: Sequence[Node], outputs: Sequence[Node]) -> Closed:
    """A closed graph, its parameters numbered anew."""
    numbered = [new(INPUT, (), (i,), node.type) for i, node in enumerate(parameters)]
    graph = Closed(parameters, outputs)
    return Closed(numbered, graph.applied(numbered))


COND.batch, LOOP.batch = _cond_batch, _loop_batch
