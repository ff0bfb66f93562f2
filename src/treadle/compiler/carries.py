"""What a loop stacks of its carries as they are when an iteration begins, which a gradient asks for: none of
it needs a copy in every iteration.

Where the carries are stacked as they come out as well, it is those with the start put in front. Else whoever
reads a carry in the body stores it along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treadle.compiler.loops import Parts, change_loops
from treadle.graph.node import Node, make
from treadle.ops.control import loop_of
from treadle.ops.elementwise import COPIED
from treadle.ops.movement import CONCAT, take_slice
from treadle.ops.record import reshaped


def store_carries(outputs: list[Node]) -> list[Node]:
    """Let nothing in a loop only copy a carry to a stack."""
    return change_loops(outputs, _stored)


def _stored(node: Node, inputs: Sequence[Node], taken: set[int]) -> Mapping[int, Node] | None:
    loop = loop_of(node)
    if loop.condition is not None or loop.counted or not isinstance(loop.length, int) or loop.length < 2:
        return None
    parts = Parts(node, inputs)
    carried = [x for x in dict.fromkeys(parts.stacked) if x in parts.following and x.dtype.kind != "complex"]
    if not carried:
        return None
    given = list(parts.stacked)
    shifted = {x for x in carried if parts.following[x] in given and parts.following[x] not in carried}
    parts.stacked = [make(COPIED, (x,)) if x in carried else x for x in given if x not in shifted]
    last, made, _ = parts.together()
    stacks = iter(made)
    stack_of = {x: next(stacks) for x in given if x not in shifted}
    for x in shifted:
        stack_of[x] = _shifted(stack_of[parts.following[x]], parts.starts[x], loop.reverse)
    return dict(enumerate([*last.values(), *[stack_of[x] for x in given]]))


def _shifted(stack: Node, start: Node, reverse: bool) -> Node:
    """What a carry was before each iteration, given what it was after each."""
    length, *shape = stack.shape
    begin = int(reverse)
    zeros, ones = (0,) * len(shape), (1,) * (1 + len(shape))
    others = take_slice(stack, (begin, *zeros), (length - 1 + begin, *shape), ones)  # type: ignore[operator]
    first = reshaped(start, (1, *shape))
    return make(CONCAT, (others, first) if reverse else (first, others), (0,))
