"""Loops that do the same become one: the loop that keeps its carries for a gradient takes the place of the
one that was there before.
"""

from __future__ import annotations

from treadle.graph.closed import Closed
from treadle.graph.graph import ordered, rewrite
from treadle.graph.node import Node, make
from treadle.ops.control import LOOP, Loop
from treadle.ops.record import RESULT


def share_loops(outputs: list[Node]) -> list[Node]:
    """Let results of a loop be taken from another one of the same inputs that gives them and more."""
    loops = [node for node in ordered(outputs) if node.op is LOOP]
    wider = {node: other for node in loops for other in loops if _gives_more(other, node)}
    if not wider:
        return outputs
    widest = {node: max((o for n, o in wider.items() if n is node), key=_count) for node in wider}

    def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op is not RESULT or node.inputs[0] not in widest:
            return None
        source, loop = widest[node.inputs[0]], Loop(*node.inputs[0].attributes)
        (index,) = node.attributes
        if index >= len(loop.body.outputs):  # the number of iterations, which is the last result
            index = len(source.types) - 1
        return make(RESULT, (source,), (index,))

    return rewrite(outputs, change)


def _count(node: Node) -> int:
    return len(node.types)


def _gives_more(wide: Node, narrow: Node) -> bool:
    """Whether a loop gives all results of another, in the same places, and more."""
    if _count(wide) <= _count(narrow) or wide.inputs != narrow.inputs:
        return False
    a, b = Loop(*wide.attributes), Loop(*narrow.attributes)
    if a.attributes[1:] != b.attributes[1:]:
        return False
    return Closed(a.body.parameters, a.body.outputs[: len(b.body.outputs)]) == b.body
