"""Control flow: branches and loops over closed graphs. Two records, `cond` and `loop`; users' `scan`,
`while_loop` and `map` are loops.

What a branch or a body does is in its graph; here is only how often it is applied, and to what. The rules of
their gradients are given in `control_gradients`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.graph.closed import Closed
from treadle.graph.dimension import Size
from treadle.graph.node import Node, Op, Type, Types, make
from treadle.ops.record import register, results
from treadle.ops.references import run_closed

COUNT = Type((), dtypes.int64)


# -- branches


def _infer_cond(predicate: Type, *operands: Type, true: Closed, false: Closed) -> Types:
    given = tuple([node.type for node in true.parameters])
    assert predicate is Type((), dtypes.bool) and given == operands, (predicate, given, operands)
    assert true.types == false.types and given == tuple([node.type for node in false.parameters])
    return Types(true.types)


def _cond_reference(predicate: Any, *operands: Any, true: Closed, false: Closed) -> tuple[Any, ...]:
    return tuple(run_closed(true if predicate else false, operands))


COND = register(
    Op("cond", _infer_cond, _cond_reference, attributes=("true", "false"), of_graphs=True,
       doc="The results of one of two graphs of the operands: of `true` where the predicate holds.")
)  # fmt: skip


def cond(predicate: Node, true: Closed, false: Closed, operands: Sequence[Node]) -> tuple[Node, ...]:
    """The results of one of two graphs."""
    return results(make(COND, (predicate, *operands), (true, false)))


# -- loops


@dataclass(frozen=True)
class Loop:
    """A loop apart from what it is applied to: the attributes of its op.

    `body` takes carries, slices and captures, and gives the next carries and a slice for each stack. It is
    applied while `condition` (a graph of carries and captures; None: always) holds, at most `length` times
    (None: without end), or, with `counted`, as often as the first input says. In iteration i it is given
    slice i of the inputs that are stacked, with `reverse` the last first, and its slices become slice i of
    the stacks that result; slices of iterations that do not happen are zeros.

    Inputs: count (with `counted`), carries, stacks, captures. Results: carries, stacks, and how many
    iterations there were (with `condition`).
    """

    body: Closed
    condition: Closed | None
    carries: int
    slices: int
    length: Size | None
    reverse: bool
    counted: bool

    @property
    def attributes(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in LOOP_ATTRIBUTES])

    @property
    def stacks(self) -> int:
        """How many stacks result."""
        return len(self.body.outputs) - self.carries

    def split(self, inputs: Sequence[Any]) -> tuple[Any, list[Any], list[Any], list[Any]]:
        """The inputs as count (None without one), carries, stacks and captures."""
        count = inputs[0] if self.counted else None
        rest = list(inputs[1:] if self.counted else inputs)
        first, last = self.carries, self.carries + self.slices
        return count, rest[:first], rest[first:last], rest[last:]

    def of_body(self, values: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The body's parameters as carries, slices and captures."""
        first, last = self.carries, self.carries + self.slices
        return list(values[:first]), list(values[first:last]), list(values[last:])


LOOP_ATTRIBUTES = ("body", "condition", "carries", "slices", "length", "reverse", "counted")


def loop_of(node: Node) -> Loop:
    """The loop of a node."""
    return Loop(*node.attributes)


def _infer_loop(*types: Type, **attributes: Any) -> Types:
    loop = Loop(**attributes)
    body, carries = loop.body, loop.carries
    count, carried, stacked, captured = loop.split(types)
    slices = [Type(type.shape[1:], type.dtype) for type in stacked]
    assert [node.type for node in body.parameters] == [*carried, *slices, *captured], (body, types)
    assert list(body.types[:carries]) == carried and count in (None, COUNT), (body.types, carried)
    assert all(type.shape[0] == loop.length for type in stacked), (stacked, loop.length)
    condition = loop.condition
    if condition is not None:
        assert [node.type for node in condition.parameters] == [*carried, *captured], condition
        assert condition.types == (Type((), dtypes.bool),), condition.types
    assert loop.length is not None or not (loop.stacks or loop.slices), "stacks need a length"
    made = [Type((loop.length, *type.shape), type.dtype) for type in body.types[carries:]]
    return Types([*carried, *made, *([] if condition is None else [COUNT])])


def _loop_reference(*arrays: Any, **attributes: Any) -> tuple[Any, ...]:
    loop = Loop(**attributes)
    return tuple(
        run_loop(
            loop, arrays, lambda values: run_closed(loop.body, values),
            lambda values: run_closed(loop.condition, values)[0],  # type: ignore[arg-type]
        )
    )  # fmt: skip


def run_loop(
    loop: Loop,
    arrays: Sequence[Any],
    body: Callable[[Sequence[Any]], Sequence[Any]],
    condition: Callable[[Sequence[Any]], Any],
) -> list[Any]:
    """The results of a loop, whose graphs are applied by the functions given."""
    count, carried, stacked, captured = loop.split(arrays)
    made = [
        np.zeros((loop.length, *type.shape), type.dtype.numpy)  # type: ignore[arg-type]
        for type in loop.body.types[loop.carries :]
    ]
    done = 0
    for i in iterations(loop, count):
        if loop.condition is not None and not condition([*carried, *captured]):
            break
        values = body([*carried, *[stack[i] for stack in stacked], *captured])
        carried = list(values[: loop.carries])
        for stack, value in zip(made, values[loop.carries :], strict=True):
            stack[i] = value
        done += 1
    return [*carried, *made, *([] if loop.condition is None else [np.int64(done)])]


def iterations(loop: Loop, count: Any) -> Iterator[int]:
    """The numbers of the slices in the order in which a loop takes them."""
    length = int(count) if loop.counted else loop.length
    if length is None:
        i = 0
        while True:
            yield i
            i += 1
    assert isinstance(length, int)
    yield from reversed(range(length)) if loop.reverse else range(length)


LOOP = register(
    Op("loop", _infer_loop, _loop_reference, attributes=LOOP_ATTRIBUTES, of_graphs=True,
       doc="A graph applied over and over, to what it gave before and to slices of its inputs; see `Loop`.")
)  # fmt: skip


def apply_loop(loop: Loop, inputs: Sequence[Node]) -> tuple[list[Node], list[Node], Node | None]:
    """The carries, the stacks and the number of iterations (None: as many as it says) of a loop."""
    found = list(results(make(LOOP, tuple(inputs), loop.attributes)))
    count = found.pop() if loop.condition is not None else None
    return found[: loop.carries], found[loop.carries :], count
