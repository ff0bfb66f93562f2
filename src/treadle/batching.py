"""From a graph for one example to a graph for all of them, nodes to nodes: what `vmap` is made of.

The rule of an op is its record's `batch`; this file walks the graph, loops over the examples where an op has
no rule, and knows what only gradients and random numbers need to know. Every node it makes has the line,
scope and role of the node that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from treadle import dtypes
from treadle.autodiff import CUSTOM, with_rule
from treadle.errors import ShapeError
from treadle.graph.dimension import Size
from treadle.graph.graph import ordered
from treadle.graph.node import (
    DETACHED,
    MAPPED,
    STATIC,
    TRACKED,
    Node,
    Op,
    Type,
    Types,
    make,
    new,
    surroundings,
)
from treadle.ops.batch import everywhere, first, in_front
from treadle.ops.movement import stack, unstack
from treadle.ops.random import RANDOM_BITS
from treadle.ops.record import RESULT, filled, register, results
from treadle.ops.reduction import sum

EXAMPLE = register(
    Op(
        "example",
        infer=lambda: Type((), dtypes.float32),
        reference=None,
        leaf=True,
        doc="One example of a batch, while the function is called that is mapped over it.",
    )
)
REMARK = register(
    Op(
        "remark",
        lambda x, text: x,
        lambda x, text: x,
        lambda g, y, x, text: (g,),
        ("text",),
        identity=True,
        view=True,
        batch=first,
        doc="x itself, with something to say to who reads the graph.",
    )
)


class Batching:
    """One mapping over `size` examples. Leaves made by `example` stand for one example each; `nodes` gives
    what was made from them for all examples, with their dimension in front.
    """

    def __init__(self, size: Size):
        self.size = size
        self.known: dict[Node, Any] = {}
        """For all examples: of a node for one, the node; of one with several results, a tuple of them."""
        self.drawn: set[Node] = set()
        """Leaves that are random keys, of which every example has its own."""

    def example(self, x: Node, name: str = "") -> Node:
        """A leaf that stands for one example of x, whose dimension 0 is that of the examples."""
        leaf = self._leaf(x, Type(x.shape[1:], x.dtype))
        leaf.binding = name
        return leaf

    def key(self, key: Node) -> Node:
        """A leaf that stands for the random key of one example, all of them drawn from one."""
        leaf = self._leaf(key, key.type)
        self.drawn.add(leaf)
        return leaf

    def _leaf(self, x: Node, type: Type) -> Node:
        leaf = new(EXAMPLE, (), (), type, x.flags & (TRACKED | STATIC) | MAPPED)
        self.known[leaf] = x
        return leaf

    def nodes(self, outputs: Sequence[Node]) -> list[Node]:
        """The outputs for all examples; one that depends on no example is returned as it is."""
        order = ordered(outputs, stop=lambda node: node in self.known or not node.flags & MAPPED)
        self.walk([node for node in order if node.flags & MAPPED])
        return [self.known.get(output, output) for output in outputs]

    def walk(self, order: Iterable[Node]) -> None:
        """Make nodes known, inputs before consumers."""
        around = surroundings
        before = around.line, around.scope, around.role, around.device, around.tracking
        try:
            for node in order:
                if node in self.known:
                    continue
                around.line, around.scope, around.role = node.line, node.scope, node.role
                around.device, around.tracking = node.device, not node.flags & DETACHED
                self.known[node] = self._for_all(node)
        finally:
            around.line, around.scope, around.role, around.device, around.tracking = before

    def is_batched(self, node: Node) -> bool:
        """Whether a node for one example has become one with a dimension more, or is each example's own."""
        found = self.known.get(node, node)
        return node in self.drawn or found.ndim > node.ndim

    def _for_all(self, node: Node) -> Any:
        """A node, or the results of one that has several, for all examples."""
        if node.op is RESULT:
            source, index = node.inputs[0], node.attribute("index")
            found = self.known.get(source, source)
            return node if found is source else found[index]
        inputs = [self.known.get(child, child) for child in node.inputs]
        if all(x is child for x, child in zip(inputs, node.inputs, strict=True)):
            return node
        batched = [self.is_batched(child) for child in node.inputs]
        if node.op is not RANDOM_BITS:
            pairs = zip(inputs, node.inputs, strict=True)
            inputs = [_keys(x, self.size) if child in self.drawn else x for x, child in pairs]
        if node.op.effect:
            # What is stored is the same for all examples (`state.check_assignable`), or it is an error.
            made = make(node.op, tuple(inputs), node.attributes)
            made.binding = node.binding
            return made
        if node.op is CUSTOM:
            return self._with_rule(node, inputs, batched)
        if not any(batched):
            made = make(node.op, tuple(inputs), node.attributes)
            return results(made) if type(made.type) is Types else made
        rule = node.op.batch or (everywhere if node.op.elementwise else _looped)
        made = rule(node, self.size, inputs, batched)
        return self._checked(node, _looped(node, self.size, inputs, batched) if made is None else made)

    def _checked(self, node: Node, made: Any) -> Any:
        """What a rule made, its types being right: those of one example, with or without the dimension."""
        parts = made if isinstance(made, (tuple, list)) else (made,)
        for part, type in zip(parts, node.types, strict=True):
            if part.type not in (type, Type((self.size, *type.shape), type.dtype)):
                raise AssertionError(
                    f"the batching rule of {node.op.name} gives {part.type!r} for {self.size} examples of "
                    f"{type!r}"
                )
        return made

    def _with_rule(self, node: Node, inputs: list[Node], batched: list[bool]) -> Node:
        """A user's gradient rule for all examples: it is called for one, and mapped in its turn."""
        rule, size = node.binding, self.size
        value = in_front(inputs[0], size, batched[0]) if any(batched) else inputs[0]
        batched[0] = any(batched)
        # Only types and leaves: what the rule is kept by must not keep the values of the graph.
        types = [node.type, *[child.type for child in node.inputs]]
        outside = {leaf: x for leaf, x in self.known.items() if leaf.op is EXAMPLE}
        drawn = set(self.drawn)

        def pull(g: Node, *operands: Node) -> list[Node | None]:
            mapped = Batching(size)
            mapped.known, mapped.drawn = dict(outside), drawn
            given = [
                mapped._leaf(x, type) if b else x
                for x, type, b in zip((g, *operands), types, [batched[0], *batched], strict=True)
            ]
            parts: list[Node | None] = list(rule(*given))
            made = iter(mapped.nodes([part for part in parts if part is not None]))
            return [
                None if part is None else _cotangent(next(made), part, x.type, size)
                for part, x in zip(parts, operands[1:], strict=True)
            ]

        return with_rule(value, inputs[1:], pull)


def _keys(key: Node, size: Size) -> Node:
    """A key for each example, as [size, 2], for what does not draw from the one at once."""
    return stack([make(RANDOM_BITS, (key,), ((size,), word)) for word in (0, 1)], axis=1)


def _cotangent(made: Node, part: Node, wanted: Type, size: Size) -> Node:
    """The cotangents of all examples as that of an input: summed, if it is the same for all."""
    batched = made.ndim > part.ndim
    if wanted.shape == part.shape:
        return sum(made, axis=0, dtype=made.dtype) if batched else made
    return in_front(made, size, batched)


def _looped(y: Node, size: Size, inputs: Sequence[Node], batched: Sequence[bool]) -> Any:
    """One example after the other, for an op without a rule."""
    if not isinstance(size, int):
        raise ShapeError(
            f"[vmap] {y.op.name} has no batching rule, so it is applied to one example after the other; of "
            f"these there are {size}, a number that is not known before the graph runs",
            y.line,
        )
    text = f"vmap: looped over {y.op.name}"
    around = surroundings.scope
    surroundings.scope = (*around, text)
    try:
        columns = [unstack(x) if b else [x] * size for x, b in zip(inputs, batched, strict=True)]
        made = [make(y.op, tuple([column[i] for column in columns]), y.attributes) for i in range(size)]
        several = zip(*map(results, made), strict=True) if made else [()] * len(y.types)
        found = [
            make(REMARK, (stack(parts),), (text,)) if parts else filled(0, (0, *type.shape), type.dtype)
            for parts, type in zip(several, y.types, strict=True)
        ]
    finally:
        surroundings.scope = around
    return tuple(found) if type(y.type) is Types else found[0]


def mapped(size: Size, given: Sequence[Node], function: Callable[..., Sequence[Node]]) -> list[Node]:
    """The results of a function of nodes for all examples of `given`, their dimension in front."""
    batching = Batching(size)
    outputs = function(*[batching.example(x) for x in given])
    made = batching.nodes(outputs)
    return [in_front(node, size, node.ndim > output.ndim) for node, output in zip(made, outputs, strict=True)]
