"""The gradients of branches and loops, which are branches and loops again.

A loop is run forward once more, with stacks of what going back needs (compiling finds that both runs are
one), and then backward over these stacks. What is cheap to compute again is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from treadle import dtypes
from treadle.errors import GradientError
from treadle.graph.closed import Closed, close
from treadle.graph.graph import depending, ordered, rewrite
from treadle.graph.node import Node, Type, new, surrounded
from treadle.ops.control import COND, LOOP, Loop, apply_loop, cond
from treadle.ops.elementwise import add
from treadle.ops.record import CONSTANT, INPUT, filled, results

FLOATING = dtypes.KINDS["floating"]
Gradients = Callable[..., list[Node]]

AGAIN = frozenset(
    """
    add subtract multiply negative positive square abs floor ceil trunc round copysign sign maximum minimum
    relu where astype conj real imag bitwise_and bitwise_or bitwise_xor bitwise_invert
    stop_gradient start barrier iota
    """.split()  # noqa: SIM905
)
"""Ops that going back computes again rather than having kept what they gave; and all that move elements."""


def _parameter(type: Type) -> Node:
    return new(INPUT, (), (-1,), type)


def _is_floating(node: Node) -> bool:
    return node.dtype.kind in FLOATING


def _is_zero(node: Node) -> bool:
    """Whether a node is nothing but zeros."""
    while node.op.view and len(node.inputs) == 1:
        node = node.inputs[0]
    return node.op is CONSTANT and node.attributes[0] == 0


# -- branches


def cond_vjp(
    g: Sequence[Node | None],
    y: Node,
    predicate: Node,
    *operands: Node,
    gradients: Gradients,
    true: Closed,
    false: Closed,
) -> list[Node | None]:
    """The branch that was taken, backwards."""
    given = [i for i, part in enumerate(g) if part is not None and _is_floating(true.outputs[i])]
    by = [i for i, node in enumerate(operands) if _is_floating(node)]
    functions, zero = [], []
    for branch in (true, false):
        cotangents = [_parameter(branch.types[i]) for i in given]
        parameters = [branch.parameters[i] for i in by]
        with surrounded(flags=0, body=None):
            pulled = gradients([branch.outputs[i] for i in given], parameters, cotangents, unconnected="zero")
        functions.append(([*branch.parameters, *cotangents], pulled))
        zero.append([_is_zero(part) for part in pulled])
    (first, second), captured = close(INPUT, functions)
    found = cond(predicate, first, second, [*operands, *[g[i] for i in given], *captured])  # type: ignore[list-item]
    parts: list[Node | None] = [None] * (1 + len(operands))
    for i, part, *both in zip(by, found, *zero, strict=True):
        parts[1 + i] = None if all(both) else part
    return parts


COND.vjp = cond_vjp


# -- loops


def loop_vjp(
    g: Sequence[Node | None], y: Node, *inputs: Node, gradients: Gradients, **attributes: Any
) -> list[Node | None]:
    """Forward with stacks of what going back needs, and backward over them."""
    loop = Loop(**attributes)
    if loop.length is None:
        raise GradientError(
            "[gradients] how often a while_loop runs is not known, so neither is the room that its gradient "
            "needs: pass max_steps=",
            y.line,
        )
    return _Backward(loop, y, inputs, g, gradients).cotangents()


LOOP.vjp = loop_vjp


class _Backward:
    """The backward run of a loop. It carries the cotangents of the carries, and adds up those of captures."""

    def __init__(
        self,
        loop: Loop,
        y: Node,
        inputs: Sequence[Node],
        g: Sequence[Node | None],
        gradients: Gradients,
    ):
        self.loop, self.y, self.inputs, self.g = loop, y, inputs, g
        self.count, self.carried, self.stacked, self.captured = loop.split(inputs)
        body = loop.body
        carries, slices, captures = loop.of_body(body.parameters)
        self.carries = [i for i, node in enumerate(carries) if _is_floating(node)]
        given = zip(g[loop.carries : loop.carries + loop.stacks], body.outputs[loop.carries :], strict=True)
        self.stacks = [i for i, (part, node) in enumerate(given) if part is not None and _is_floating(node)]
        wanted = [carries[i] for i in self.carries]
        wanted += [node for node in (*slices, *captures) if _is_floating(node)]
        ys = [body.outputs[i] for i in self.carries]
        ys += [body.outputs[loop.carries + i] for i in self.stacks]
        self.us = [_parameter(node.type) for node in ys]
        with surrounded(flags=0, body=None):
            pulled = gradients(ys, wanted, self.us, unconnected="zero")
        self.pulled = dict(zip(wanted, pulled, strict=True))

    def cotangents(self) -> list[Node | None]:
        """A cotangent for each input, None where there is none."""
        loop, body = self.loop, self.loop.body
        carries, slices, captures = loop.of_body(body.parameters)
        back = [self.pulled[carries[i]] for i in self.carries]
        by_slice = {i: self.pulled[node] for i, node in enumerate(slices) if node in self.pulled}
        by_slice = {i: part for i, part in by_slice.items() if not _is_zero(part)}
        by_capture = {i: self.pulled[node] for i, node in enumerate(captures) if node in self.pulled}
        by_capture = {i: part for i, part in by_capture.items() if not _is_zero(part)}
        sums = {i: _parameter(part.type) for i, part in by_capture.items()}
        kept, outside = self.kept([*back, *by_slice.values(), *by_capture.values()])
        stands_for = {node: _parameter(node.type) for node in kept}
        slice_leaves = [_parameter(node.type) for node in slices]
        capture_leaves = [_parameter(node.type) for node in captures]
        stands_for.update(zip(slices, slice_leaves, strict=True))
        stands_for.update(zip(captures, capture_leaves, strict=True))
        outside_leaves = [_parameter(node.type) for node in outside]
        stands_for.update(zip(outside, outside_leaves, strict=True))
        with surrounded(flags=0, body=None, role="gradient"):
            outputs = [*back, *[add(sums[i], part) for i, part in by_capture.items()], *by_slice.values()]
            outputs = replaced(outputs, stands_for)
        cotangents, slice_cotangents = self.us[: len(back)], self.us[len(back) :]
        parameters = [
            *cotangents, *sums.values(), *slice_cotangents, *[stands_for[node] for node in kept],
            *slice_leaves, *capture_leaves, *outside_leaves,
        ]  # fmt: skip
        (closed,), more = close(INPUT, [(parameters, outputs)])
        stacks, count = self.forward(kept)
        starts = [self.g[i] for i in self.carries]
        given = [
            *[_zeros(carries[i].type) if g is None else g for i, g in zip(self.carries, starts, strict=True)],
            *[_zeros(part.type) for part in by_capture.values()],
            *[self.g[loop.carries + i] for i in self.stacks], *stacks, *self.stacked,
            *self.captured, *self.of_captures(outside), *more,
        ]  # fmt: skip
        counted = count is not None
        backward = Loop(
            closed, None, len(back) + len(sums), len(slice_cotangents) + len(kept) + len(slices),
            loop.length, not loop.reverse, counted,
        )  # fmt: skip
        found, made, _ = apply_loop(backward, [count, *given] if counted else given)  # type: ignore[list-item]
        parts: list[Node | None] = [None] * len(self.inputs)
        first = int(loop.counted)
        for i, part in zip(self.carries, found, strict=False):
            parts[first + i] = part
        first += loop.carries
        for i, part in zip(by_slice, made, strict=True):
            parts[first + i] = part
        first += loop.slices
        for i, part in zip(by_capture, found[len(back) :], strict=True):
            parts[first + i] = part
        return parts

    def kept(self, outputs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        """What the forward run keeps for the backward one, of what does not depend on cotangents: all that is
        not cheap to compute again. Apart from it, what is the same in every iteration.
        """
        carries, slices, captures = self.loop.of_body(self.loop.body.parameters)
        free = {*slices, *captures}
        order = ordered(outputs)
        late, varying = depending(order, self.us), depending(order, {*carries, *slices})
        kept: dict[Node, None] = {}
        outside: dict[Node, None] = {}
        seen: set[Node] = set()
        stack = list(outputs)
        while stack:
            node = stack.pop()
            if node in seen or node in free:
                continue
            seen.add(node)
            if node in late or (node not in carries and _again(node)):
                stack += node.inputs
            elif node in varying:
                kept[node] = None
            else:
                outside[node] = None
        place = {node: i for i, node in enumerate(order)}
        return sorted(kept, key=place.__getitem__), sorted(outside, key=place.__getitem__)

    def forward(self, kept: Sequence[Node]) -> tuple[list[Node], Node | None]:
        """The stacks of what is kept, from a forward run, and how many iterations it had."""
        loop = self.loop
        stacked = list(loop.body.outputs[loop.carries :])
        more = [node for node in dict.fromkeys(kept) if node not in stacked]
        if more:
            outputs = [*loop.body.outputs, *more]
            with surrounded(role="forward"):
                parameters = loop.body.parameters
                (body,), captured = close(INPUT, [(parameters, outputs)])
                loop = self.and_captures(body, captured)
                _, made, count = apply_loop(loop, [*self.inputs, *captured])
        else:
            found = list(results(self.y))
            made = found[loop.carries : loop.carries + loop.stacks]
            count = found[-1] if loop.condition is not None else None
        places = {node: i for i, node in reversed(list(enumerate([*stacked, *more])))}
        return [made[places[node]] for node in kept], self.count if count is None else count

    def and_captures(self, body: Closed, captured: Sequence[Node]) -> Loop:
        """The loop with another body, which takes more from outside; so does the condition then."""
        condition = self.loop.condition
        if condition is not None and captured:
            further = [_parameter(node.type) for node in captured]
            (condition,), _ = close(INPUT, [([*condition.parameters, *further], condition.outputs)])
        return replace(self.loop, body=body, condition=condition)

    def of_captures(self, nodes: Sequence[Node]) -> list[Node]:
        """Values that are the same in every iteration, computed outside of the loop."""
        _, _, captures = self.loop.of_body(self.loop.body.parameters)
        return replaced(nodes, dict(zip(captures, self.captured, strict=True)))


def replaced(outputs: Sequence[Node], by: dict[Node, Node]) -> list[Node]:
    """A graph with others in place of some of its nodes."""
    return rewrite(outputs, lambda node, inputs: by.get(node), stop=by.__contains__)


def _zeros(type: Type) -> Node:
    return filled(0, type.shape, type.dtype)


def _again(node: Node) -> bool:
    """Whether a value is computed again on the way back."""
    if node.op.leaf:
        return True
    if node.dtype is dtypes.bool:
        return False
    return node.op.view or node.op.name in AGAIN
