"""Loops taken apart and put together again, and what is left out of them: a second loop that does the same,
results that nobody takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from treadle.graph.closed import Closed, close
from treadle.graph.graph import ordered, rewrite
from treadle.graph.node import Node, make, surrounded
from treadle.ops.control import LOOP, Loop, apply_loop, loop_of
from treadle.ops.record import INPUT, RESULT


def share_loops(outputs: list[Node]) -> list[Node]:
    """Let results of a loop be taken from another one of the same inputs that gives them and more: the loop
    that keeps its carries for a gradient takes the place of the one that was there before.
    """
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


# -- one loop in place of another

Change = Callable[[Node, Sequence[Node], set[int]], Mapping[int, Node] | None]
"""What a loop becomes: of the node, its new inputs and which results are taken, those results; None to keep
it.
"""


def change_loops(outputs: list[Node], change: Change) -> list[Node]:
    """Put other nodes in place of the results of loops."""
    taken: dict[Node, set[int]] = {}
    for node in ordered(outputs):
        if node.op is RESULT and node.inputs[0].op is LOOP:
            taken.setdefault(node.inputs[0], set()).add(node.attribute("index"))
    if not taken:
        return outputs
    made: dict[Node, Mapping[int, Node]] = {}

    def replaced(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node in taken:
            place = {"line": node.line, "scope": node.scope, "role": node.role, "device": node.device}
            with surrounded(**place):
                found = change(node, inputs, taken[node])
            if found is not None:
                made[node] = found
        elif node.op is RESULT and node.inputs[0] in made:
            return made[node.inputs[0]][node.attribute("index")]
        return None

    return rewrite(outputs, replaced)


class Parts:
    """A loop taken apart: what stands for its inputs in the body, with the inputs, and what the body makes of
    it. Whatever changes it, `together` makes a loop of it again.
    """

    def __init__(self, node: Node, inputs: Sequence[Node]):
        self.loop = loop_of(node)
        self.count, starts, stacks, captured = self.loop.split(inputs)
        carries, slices, captures = self.loop.of_body(self.loop.body.parameters)
        outputs = self.loop.body.outputs
        self.starts = dict(zip(carries, starts, strict=True))
        self.slices = dict(zip(slices, stacks, strict=True))
        self.captures = dict(zip(captures, captured, strict=True))
        self.following = dict(zip(carries, outputs, strict=False))
        self.stacked = list(outputs[self.loop.carries :])
        self.tested: list[Node] = []
        """What the condition takes: a leaf for each carry and each capture."""
        self.tests: list[Node] = []
        condition = self.loop.condition
        if condition is not None:
            self.tested, self.tests = list(condition.parameters), list(condition.outputs)

    def outputs(self) -> list[Node]:
        """What the body makes: the next carries, and what is stacked."""
        return [*self.following.values(), *self.stacked]

    def order(self) -> list[Node]:
        """The body's nodes, inputs before consumers."""
        return ordered(self.outputs())

    def tested_of(self) -> dict[Node, Node]:
        """By carry or capture, what stands for it in the condition."""
        return dict(zip([*self.starts, *self.captures], self.tested, strict=False))

    def together(self) -> tuple[dict[Node, Node], list[Node], Node | None]:
        """The last carries, the stacks and the number of iterations (None: as many as it says), of a loop to
        which nothing is given that it does not need.
        """
        seen = self.tested_of()
        order = {*self.order(), *ordered(self.tests)}
        slices = {leaf: x for leaf, x in self.slices.items() if leaf in order}
        captures = {
            leaf: x for leaf, x in self.captures.items() if leaf in order or seen.get(leaf, leaf) in order
        }
        functions = [([*self.following, *slices, *captures], self.outputs())]
        if self.tests:
            functions.append(([seen[leaf] for leaf in (*self.following, *captures)], self.tests))
        graphs = []
        for function in functions:
            (graph,), more = close(INPUT, [function])
            assert not more, more
            graphs.append(graph)
        loop = replace(
            self.loop, body=graphs[0], condition=graphs[1] if self.tests else None,
            carries=len(self.following), slices=len(slices),
        )  # fmt: skip
        given = [*[self.starts[leaf] for leaf in self.following], *slices.values(), *captures.values()]
        last, made, count = apply_loop(loop, given if self.count is None else [self.count, *given])
        return dict(zip(self.following, last, strict=True)), made, count


# -- what nobody takes


def trim_loops(outputs: list[Node]) -> list[Node]:
    """Leave out results that nobody takes, with the carries and inputs that are there only for them."""
    return change_loops(outputs, _trimmed)


def _trimmed(node: Node, inputs: Sequence[Node], taken: set[int]) -> Mapping[int, Node] | None:
    parts = Parts(node, inputs)
    carries = list(parts.following)
    stacked = [i for i in range(len(parts.stacked)) if len(carries) + i in taken]
    seen, tests = parts.tested_of(), set(ordered(parts.tests))
    live = {leaf for i, leaf in enumerate(carries) if i in taken or seen.get(leaf) in tests}
    while True:
        needed = [parts.following[leaf] for leaf in carries if leaf in live]
        order = set(ordered([*needed, *[parts.stacked[i] for i in stacked]]))
        if live.issuperset(leaf for leaf in carries if leaf in order):
            break
        live.update(leaf for leaf in carries if leaf in order)
    unused = [leaf for leaf in (*parts.slices, *parts.captures) if leaf not in order]
    unused = [leaf for leaf in unused if seen.get(leaf) not in tests]
    if len(live) == len(carries) and len(stacked) == len(parts.stacked) and not unused:
        return None
    parts.following = {leaf: parts.following[leaf] for leaf in carries if leaf in live}
    parts.stacked = [parts.stacked[i] for i in stacked]
    last, made, count = parts.together()
    found = {i: last[leaf] for i, leaf in enumerate(carries) if leaf in live}
    found.update((len(carries) + i, y) for i, y in zip(stacked, made, strict=True))
    if count is not None:
        found[len(node.types) - 1] = count
    return found
