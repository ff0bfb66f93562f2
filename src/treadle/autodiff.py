"""Reverse-mode gradients, graph to graph: the result is nodes like any others, so gradients have gradients.

The rule of an op is its record's `vjp`; this file only walks, adds up, and says why there is no gradient.
Forward mode is the vjp of a vjp. Everything here takes and returns nodes; `array` gives users the same names
over arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle import dtypes
from treadle.errors import GradientError, ShapeError
from treadle.graph.graph import consumers, depending, late, ordered, rebuild, rewrite
from treadle.graph.node import DETACHED, STATIC, Node, Op, Type, make, new, surroundings
from treadle.ops.batch import first
from treadle.ops.elementwise import STOP_GRADIENT, add, cast, multiply
from treadle.ops.record import RESULT, broadcast, filled, register
from treadle.ops.reduction import sum

FLOATING = dtypes.KINDS["floating"]


def _describe(node: Node) -> str:
    return f"{node.op.name} {node.type!r}" + (f", made at {node.line}" if node.line else "")


def _floating(node: Node) -> bool:
    """Whether a cotangent can go through a node."""
    return any(type.dtype.kind in FLOATING for type in node.types)


def ends_here(node: Node) -> bool:
    """Whether no gradient goes further down than this node."""
    return node.op.leaf or bool(node.flags & DETACHED)


def gradients(
    ys: Sequence[Node],
    xs: Sequence[Node],
    grad_ys: Sequence[Node | None] | None = None,
    unconnected: str = "error",
    why_not: Callable[[Node], str] = lambda x: "",
) -> list[Node]:
    """The gradient of ``sum(sum(y * grad_y) for y in ys)`` by each x, as nodes.

    `grad_ys` are ones where not given. An x on which no y depends is an error, or zeros with
    ``unconnected="zero"``; `why_not` may add to the message what the caller knows about it.
    """
    for label, nodes in (("ys", ys), ("xs", xs)):
        for i, node in enumerate(nodes):
            if node.dtype.kind not in FLOATING:
                raise GradientError(
                    f"[gradients] {label}[{i}] is {_describe(node)}: gradients are of floating-point "
                    f"values; convert with astype"
                )
    order = ordered(ys, stop=ends_here)
    wanted = set(xs)
    on_path = depending(order, wanted)
    cotangents: dict[Node, Node] = {}
    for i, y in enumerate(ys):
        given = None if grad_ys is None else grad_ys[i]
        if given is None:
            given = filled(1, y.shape, y.dtype)
        elif given.shape != y.shape:
            raise ShapeError(
                f"[gradients] grad_ys[{i}] has shape {given.shape}, ys[{i}] has shape {y.shape}: they must "
                f"be equal"
            )
        given = cast(given, y.dtype)
        cotangents[y] = add(cotangents[y], given) if y in cotangents else given
    before = (surroundings.line, surroundings.scope, surroundings.role, surroundings.mixed)
    # Cotangents have the types of what they are of, whatever precision is asked for around.
    surroundings.role, surroundings.mixed = "gradient", None
    try:
        _propagate(order, on_path, wanted, cotangents)
    finally:
        surroundings.line, surroundings.scope, surroundings.role, surroundings.mixed = before
    result = []
    for i, x in enumerate(xs):
        found = cotangents.get(x)
        if found is None:
            if unconnected != "zero" and not _stopped_on_purpose(order, x):
                raise GradientError(
                    f"[gradients] {_no_path(order, x, i)}{why_not(x)}; "
                    'pass unconnected="zero" if zeros are meant'
                )
            found = filled(0, x.shape, x.dtype)
        result.append(found)
    return result


def _propagate(
    order: list[Node], on_path: set[Node], wanted: set[Node], cotangents: dict[Node, Node]
) -> None:
    """Carry the cotangents from the ys back to the xs, each node once, after all its consumers. Those of a
    node's several results are collected in `several`.
    """
    several: dict[Node, list[Node | None]] = {}
    for node in reversed(order):
        if node not in on_path or ends_here(node):
            continue
        g: Any = several.pop(node, None) or cotangents.get(node)
        if g is None:
            continue
        if node in cotangents and node not in wanted:
            del cotangents[node]
        if not any(child in on_path for child in node.inputs):
            continue
        if node.op is RESULT:
            (source,), (index,) = node.inputs, node.attributes
            parts = several.setdefault(source, [None] * len(source.types))
            earlier = parts[index]
            parts[index] = g if earlier is None else add(earlier, g)
            continue
        vjp = node.op.vjp
        if vjp is None:
            reason = node.op.no_gradient or "no rule is defined for it"
            raise GradientError(f"[gradients] {_describe(node)} has no gradient: {reason}", node.line)
        surroundings.line, surroundings.scope = node.line, node.scope
        given = tuple(g) if type(g) is list else g
        attributes = node.keywords()
        if node.op.of_graphs:
            attributes["gradients"] = gradients
        for child, part in zip(node.inputs, vjp(given, node, *node.inputs, **attributes), strict=True):
            if part is None or child not in on_path:
                continue
            if part.type is not child.type:
                raise AssertionError(
                    f"the vjp of {node.op.name} gives {part.type!r} for an input of {child.type!r}"
                )
            earlier = cotangents.get(child)
            cotangents[child] = part if earlier is None else add(earlier, part)


def _stopped_on_purpose(order: list[Node], x: Node) -> bool:
    """Whether every way from x to the ys goes through a `stop_gradient`."""
    if x not in order:
        return False
    reached = {x}
    for node in order:
        if node.op is not STOP_GRADIENT and not reached.isdisjoint(node.inputs):
            reached.add(node)
    ends = [node for node, users in consumers(order).items() if not users]
    return reached.isdisjoint(ends)


def _no_path(order: list[Node], x: Node, i: int) -> str:
    """Why no cotangent reached x."""
    if x not in order:
        detached = next((node for node in order if node.flags & DETACHED), None)
        hint = "" if detached is None else f"; {_describe(detached)}, was computed under no_grad"
        return f"ys do not depend on xs[{i}], {_describe(x)}{hint}"
    blocked = depending(order, [x])
    for node in order:
        if node in blocked and node is not x and not _floating(node) and not node.op.leaf:
            reason = node.op.no_gradient or "its result is not a floating-point value"
            return f"ys depend on xs[{i}] only through {_describe(node)}, which has no gradient: {reason}"
    return f"no gradient reaches xs[{i}], {_describe(x)}"


START = register(
    Op(
        "start",
        lambda x: x,
        lambda x: x,
        lambda g, y, x: (g,),
        identity=True,
        view=True,
        batch=first,
        doc="x itself, as a node of its own to differentiate by.",
    )
)


def start(x: Node) -> Node:
    """A new node with x's value: gradients by it are those of what is made from it alone."""
    return make(START, (x,))


# -- functions of cotangents: gradients by a leaf that stands for one

DUMMY = register(
    Op(
        "dummy",
        infer=lambda: Type((), dtypes.float32),
        reference=None,
        leaf=True,
        doc="A cotangent that is differentiated by and never computed.",
    )
)


def pullback(ys: Sequence[Node], xs: Sequence[Node]) -> Callable[[Sequence[Node]], list[Node]]:
    """The function from cotangents of ys to those of xs. The graph is made here: histories of ys are not
    needed later.
    """
    us = [new(DUMMY, (), (), y.type) for y in ys]
    pulled = gradients(ys, xs, us, unconnected="zero")

    def pull(cotangents: Sequence[Node]) -> list[Node]:
        given = {}
        for i, (u, g) in enumerate(zip(us, cotangents, strict=True)):
            if g.shape != u.shape:
                raise ShapeError(
                    f"[vjp] cotangents[{i}] has shape {g.shape}, the value has shape {u.shape}: they must "
                    f"be equal"
                )
            given[u] = cast(g, u.dtype)
        return rewrite(pulled, lambda node, inputs: given.get(node), stop=lambda node: node.op.leaf)

    return pull


def jvp(ys: Sequence[Node], xs: Sequence[Node], tangents: Sequence[Node]) -> list[Node]:
    """The derivative of each y in the direction `tangents` of the xs: the gradient, by u, of the vjp with
    cotangent u.
    """
    us = [new(DUMMY, (), (), y.type) for y in ys]
    pulled = gradients(ys, xs, us, unconnected="zero")
    for i, (x, t) in enumerate(zip(xs, tangents, strict=True)):
        if t.shape != x.shape:
            raise ShapeError(
                f"[jvp] tangents[{i}] has shape {t.shape}, its input has shape {x.shape}: they must be equal"
            )
    return gradients(
        pulled, us, [cast(t, x.dtype) for t, x in zip(tangents, xs, strict=True)], unconnected="zero"
    )


def hvp(y: Node, xs: Sequence[Node], vectors: Sequence[Node]) -> list[Node]:
    """The Hessian of y by the xs, times vectors: the gradient of <gradient, vector>."""
    first = gradients([y], xs, unconnected="zero")
    inner = [
        sum(multiply(g, cast(broadcast(v, g.shape), g.dtype))) for g, v in zip(first, vectors, strict=True)
    ]
    return gradients(inner, xs, unconnected="zero")


# -- recomputation

BARRIER = register(
    Op(
        "barrier",
        lambda x, after: x,
        lambda x, after: x,
        lambda g, y, x, after: (g, None),
        view=True,
        batch=first,
        doc="x, not to be had before `after` has been computed.",
    )
)


def _replay(g: Node, y: Node, value: Node, *inputs: Node, count: int) -> list[Node | None]:
    """Compute the region again, once the cotangent is there, and go back through the copy."""
    copies: dict[Node, Node] = {node: make(BARRIER, (node, g)) for node in inputs}
    region = ordered([value], stop=lambda node: node in copies)
    for node in region:
        if node in copies:
            continue
        children = tuple(copies.get(child, child) for child in node.inputs)
        copies[node] = node if children == node.inputs else rebuild(node, children)
    pulled = gradients([copies[value]], [copies[node] for node in inputs], [g], unconnected="zero")
    return [None, *pulled]


CHECKPOINT = register(
    Op(
        "checkpoint",
        lambda y, *inputs, count: y,
        lambda y, *inputs, count: y,
        _replay,
        ("count",),
        identity=True,
        view=True,
        batch=first,
        doc="y, computed again from the inputs when its gradient is.",
    )
)


def checkpoint(outputs: Sequence[Node], inputs: Sequence[Node]) -> list[Node]:
    """Mark what lies between inputs and outputs to be recomputed in the backward pass instead of kept."""
    if any(y.flags & STATIC for y in outputs) and not surroundings.flags and surroundings.body is None:
        # Parts made before a placeholder came in must read as the rest does: one read node a variable.
        outputs, inputs = late(outputs), late(inputs)
    frontier = _frontier(outputs, inputs)
    return [make(CHECKPOINT, (y, *frontier), (len(frontier),)) for y in outputs]


def _frontier(outputs: Sequence[Node], inputs: Sequence[Node]) -> list[Node]:
    """The floating values that a region takes from outside: its inputs, and the variables it reads."""
    known = set(inputs)
    region = ordered(outputs, stop=lambda node: node in known)
    return [node for node in region if (node in known or _reads(node)) and _floating(node)]


def _reads(node: Node) -> bool:
    return node.op.name == "read"


# -- rules by users


def _custom_vjp(g: Node, y: Node, value: Node, *inputs: Node, count: int) -> list[Node | None]:
    return [None, *y.binding(g, value, *inputs)]


CUSTOM = register(
    Op(
        "custom_vjp",
        lambda y, *inputs, count: y,
        lambda y, *inputs, count: y,
        _custom_vjp,
        ("count",),
        identity=True,
        view=True,
        doc="y, with a gradient rule given by the user.",
    )
)


def with_rule(value: Node, inputs: Sequence[Node], rule: Callable[..., Sequence[Any]]) -> Node:
    """The value as a function of inputs whose cotangents are `rule(g, value, *inputs)`."""
    node = make(CUSTOM, (value, *inputs), (len(inputs),))
    node.binding = rule
    return node
