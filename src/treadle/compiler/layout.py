"""The pass that chooses in which order of dimensions values are computed and stored.

Convolutions and poolings run fastest with the channels last, whatever the order of their operands' and
results' dimensions. So they are replaced by records that give their results in that order, and the order is
carried on: what is computed from such a value element by element, by a reduction, a slice, a concatenation
and so on, is computed in it, too, with the dimensions that the op names renumbered. Whatever else reads a
value sees its dimensions permuted back, which costs nothing where a kernel takes strides.

A convolution that looks at each pixel alone is a product of matrices then, and becomes one.

What lies in memory in another order than the graph's, as variables do whose storage was chosen (`storage`),
has that order; and a gradient of weights that goes into one of these is given in it.

Nothing here knows memory: orders are of dimensions, and each value is stored row-major in its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from treadle.compiler.lasting import lasting_nodes
from treadle.compiler.simplify import Simplifier
from treadle.graph.graph import ordered
from treadle.graph.node import Node
from treadle.ops.channels_last import CHANNELS_LAST, channels_last, order_of
from treadle.ops.record import INPUT

POOLINGS = frozenset(name for name in CHANNELS_LAST if "pool" in name)
WEIGHTS = "conv_weight_gradient"


class Value(NamedTuple):
    """What stands for a node: ``permute_dims(node of the graph, order)``; no order: the node's own."""

    node: Node
    order: tuple[int, ...] | None = None


Rule = Callable[["Arranger", Node, list[Value]], Value | None]


def arrange(
    outputs: Sequence[Node], wanted: Callable[[Node], bool], lasting: Collection[int] = ()
) -> list[Node]:
    """The same values, convolutions and poolings with the channels last where `wanted` holds. Sizes are
    numbers. `lasting` are the leaves of which a device may keep what it makes of them.
    """
    order = ordered(outputs)
    if not any(node.op.name in CHANNELS_LAST and wanted(node) for node in order):
        return list(outputs)
    kept = lasting_nodes(order, {node: node.inputs for node in order}, lasting) if lasting else ()
    return Arranger(wanted, kept, asked(outputs, order)).graph(outputs, order)


def asked(outputs: Sequence[Node], order: Sequence[Node]) -> dict[Node, tuple[int, ...]]:
    """The order in which a value is stored in the end, it or what is made of it element by element."""
    found: dict[Node, tuple[int, ...]] = {}
    for output in outputs:
        if output.op.name == "permute_dims":
            found.setdefault(output.inputs[0], output.attribute("axes"))
    for node in reversed(order):
        if node in found and node.op.elementwise:
            for child in node.inputs:
                if child.shape == node.shape:
                    found.setdefault(child, found[node])
    return found


class Arranger:
    """Rebuilds a graph with orders of dimensions."""

    def __init__(
        self,
        wanted: Callable[[Node], bool],
        kept: Collection[Node],
        asked: Mapping[Node, tuple[int, ...]],
    ):
        self.wanted = wanted
        self.kept = kept
        self.asked = asked
        self.make = Simplifier()

    def graph(self, outputs: Sequence[Node], order: Sequence[Node]) -> list[Node]:
        values: dict[Node, Value] = {}
        results: dict[Node, Node] = {}

        def change(node: Node) -> None:
            values[node] = self.value(node, [values[child] for child in node.inputs])

        def finish(node: Node) -> None:
            results[node] = self.seen(values[node], None)

        self.make.walk(order, change)
        self.make.walk(outputs, finish)
        return [results[output] for output in outputs]

    def value(self, node: Node, inputs: list[Value]) -> Value:
        """What stands for a node, of what stands for its inputs."""
        name = node.op.name
        if name in PRODUCTS and self.wanted(node) and is_pointwise(node):
            found = PRODUCTS[name](self, node, inputs)
            if found is not None:
                return found
        if name in CHANNELS_LAST and self.wanted(node) and self.suits(node, inputs):
            seen = [self.seen(value, None) for value in inputs]
            twin = self.make.node(CHANNELS_LAST[name], tuple(seen), node.attributes)
            return Value(twin, order_of(name, node.ndim))
        if name == "permute_dims" and inputs[0].node.op is INPUT:
            return permuted(self, node, [Value(inputs[0].node, tuple(range(node.ndim)))])
        if any(value.order is not None for value in inputs):
            rule = elementwise if node.op.elementwise else RULES.get(name)
            found = None if rule is None else rule(self, node, inputs)
            if found is not None:
                trivial = found.order in (None, tuple(range(len(found.order or ()))))
                return Value(found.node) if trivial else found
        seen = [self.seen(value, None) for value in inputs]
        return Value(self.make.node(node.op, tuple(seen), node.attributes, node))

    def suits(self, node: Node, inputs: list[Value]) -> bool:
        """Whether a twin's order is of use: for a pooling, that of its operand; for weights, that of who
        reads them.
        """
        if node.op.name == WEIGHTS:
            return self.asked.get(node) == order_of(WEIGHTS, node.ndim)
        return node.op.name not in POOLINGS or is_last(inputs[0])

    def seen(self, value: Value, order: tuple[int, ...] | None) -> Node:
        """A value with its dimensions in an order; None: in the graph's own."""
        if value.order == order:
            return value.node
        own = tuple(range(value.node.ndim))
        held, axes = value.order or own, order or own
        axes = tuple([held.index(axis) for axis in axes])
        return value.node if axes == own else self.make("permute_dims", value.node, axes=axes)


def is_last(value: Value) -> bool:
    return value.order == channels_last(value.node.ndim)


# -- convolutions that are products

LEAST_CHANNELS, LEAST_SUMS = 48, 8192
"""On either side, and of both together, from which the gradient of a weight is a product: products pack what
they read, which smaller ones do not pay for.
"""


def is_pointwise(node: Node) -> bool:
    """Whether a convolution, or a gradient of one, looks at each pixel alone and leaves none out."""
    window = node.attribute("size") if node.op.name == "conv_weight_gradient" else node.inputs[1].shape[2:]
    steps = (*node.attribute("stride"), *window)
    padding = [n for pair in node.attribute("padding") for n in pair]
    return set(steps) == {1} and not any(padding) and node.attribute("groups") == 1


def pixels(make: Arranger, value: Value) -> Node:
    """A value with the channels last as a matrix, a row a pixel."""
    node = value.node
    return make.make("reshape", node, shape=(math.prod(node.shape[:-1]), node.shape[-1]))


def pointwise(make: Arranger, node: Node, inputs: list[Value]) -> Value | None:
    """The convolution, or its gradient by the input: pixels times weights."""
    if not is_last(inputs[0]) or node.inputs[1] in make.kept:
        return None  # A convolution's weights are packed once, and kept.
    weight = make.seen(inputs[1], None)
    matrix = make.make("reshape", weight, shape=weight.shape[:2])
    if node.op.name == "conv":
        matrix = make.make("permute_dims", matrix, axes=(1, 0))
    product = make.make("matmul", pixels(make, inputs[0]), matrix)
    shape = (*inputs[0].node.shape[:-1], node.shape[1])
    return Value(make.make("reshape", product, shape=shape), channels_last(node.ndim))


def pointwise_weights(make: Arranger, node: Node, inputs: list[Value]) -> Value | None:
    """The gradient by the weights: a sum over pixels."""
    filters, channels, *_ = node.shape
    if min(filters, channels) < LEAST_CHANNELS or filters * channels < LEAST_SUMS:
        return None
    if not all(map(is_last, inputs)):
        return None
    x, g = (pixels(make, value) for value in inputs)
    product = make.make("matmul", make.make("permute_dims", g, axes=(1, 0)), x)
    return Value(make.make("reshape", product, shape=node.shape))


PRODUCTS: dict[str, Rule] = {
    "conv": pointwise, "conv_input_gradient": pointwise, "conv_weight_gradient": pointwise_weights,
}  # fmt: skip

# -- rules: how an op is applied to values in other orders


def elementwise(make: Arranger, node: Node, inputs: list[Value]) -> Value:
    order = next(value.order for value in inputs if value.order is not None)
    operands = tuple([make.seen(value, order) for value in inputs])
    return Value(make.make.node(node.op, operands, node.attributes), order)


def permuted(make: Arranger, node: Node, inputs: list[Value]) -> Value:
    """Only the order changes."""
    (value, order), axes = inputs[0], node.attribute("axes")
    assert order is not None
    return Value(value, tuple([axes.index(axis) for axis in order]))


def reduced(make: Arranger, node: Node, inputs: list[Value]) -> Value:
    (value, order) = inputs[0]
    assert order is not None
    if "axes" in node.op.attributes:
        gone = node.attribute("axes")
        attributes = (tuple(sorted(order.index(axis) for axis in gone)),)
    else:
        gone = (node.attribute("axis"),)
        attributes = (order.index(gone[0]),)
    kept = [axis for axis in range(value.ndim) if axis not in gone]
    result = tuple([kept.index(axis) for axis in order if axis not in gone])
    return Value(make.make.node(node.op, (value,), attributes), result)


def several(make: Arranger, node: Node, inputs: list[Value]) -> Value | None:
    """A reduction of several results, of whose dimensions those that are left stay in order."""
    found = reduced(make, node, inputs)
    return Value(found.node) if found.order == tuple(range(len(found.order or ()))) else None


def by_dimension(make: Arranger, node: Node, inputs: list[Value]) -> Value:
    """Every attribute has an item for each dimension; further inputs are numbers."""
    (value, order), *numbers = inputs
    assert order is not None
    attributes = tuple([tuple([items[axis] for axis in order]) for items in node.attributes])
    operands = (value, *[make.seen(number, None) for number in numbers])
    return Value(make.make.node(node.op, operands, attributes), order)


def flipped(make: Arranger, node: Node, inputs: list[Value]) -> Value:
    value, order = inputs[0]
    assert order is not None
    axes = tuple(sorted(order.index(axis) for axis in node.attribute("axes")))
    return Value(make.make.node(node.op, (value,), (axes,)), order)


def joined(make: Arranger, node: Node, inputs: list[Value]) -> Value:
    order = next(value.order for value in inputs if value.order is not None)
    operands = tuple([make.seen(value, order) for value in inputs])
    return Value(make.make.node(node.op, operands, (order.index(node.attribute("axis")),)), order)


def repeated(make: Arranger, node: Node, inputs: list[Value]) -> Value | None:
    """A broadcast of as many dimensions."""
    value, order = inputs[0]
    if value.ndim != node.ndim or order is None:
        return None
    return Value(make.make("broadcast_to", value, shape=tuple([node.shape[axis] for axis in order])), order)


def reshaped(make: Arranger, node: Node, inputs: list[Value]) -> Value | None:
    """A reshape that divides dimensions, or joins neighbours that stay neighbours in the order."""
    value, order = inputs[0]
    parts = divided(node.inputs[0].shape, node.shape)
    if parts is None or order is None:
        return None
    place = {axis: i for i, axis in enumerate(order)}
    known = []
    for olds, news in parts:
        places = [place[axis] for axis in olds]
        if places and places != list(range(places[0], places[0] + len(places))):
            return None
        known.append((places[0] if places else -1, news))
    # New dimensions of size 1 that come from none go where the one before them goes.
    result: list[int] = []
    at, sorting = -1, []
    for number, (first, news) in enumerate(known):
        at = first if first >= 0 else at
        sorting.append((at, number, news))
    for _, _, news in sorted(sorting):
        result += news
    shape = tuple([node.shape[axis] for axis in result])
    return Value(make.make("reshape", value, shape=shape), tuple(result))


def divided(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[list[int], list[int]]] | None:
    """Which runs of dimensions of one shape become which of another: the shortest of equal products. None
    where there are no elements.
    """
    if math.prod(old) == 0:
        return None
    parts: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        olds, news = [], []
        if i < len(old) and (old[i] != 1 or j >= len(new)):
            olds, i = [i], i + 1
        if j < len(new) and (new[j] != 1 or not olds):
            news, j = [j], j + 1
        a, b = math.prod(old[k] for k in olds), math.prod(new[k] for k in news)
        while a != b:
            if a < b:
                olds, a, i = [*olds, i], a * old[i], i + 1
            else:
                news, b, j = [*news, j], b * new[j], j + 1
        parts.append((olds, news))
    return parts


RULES: dict[str, Rule] = {
    "permute_dims": permuted,
    "slice": by_dimension,
    "pad": by_dimension,
    "flip": flipped,
    "concat": joined,
    "broadcast_to": repeated,
    "reshape": reshaped,
    "moments": several,
    **dict.fromkeys(("sum", "prod", "max", "min", "any", "all", "argmax", "argmin"), reduced),
}
"""By name; elementwise ops have one in common. Other ops see their operands in the graph's order."""
