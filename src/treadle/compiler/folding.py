"""Takes what scales and shifts a convolution's channels into the convolution, where all of it lasts: a
batch-norm that uses running statistics becomes other weights, computed once, and one number to add.

The values differ in their last digits, as those of any other order of multiplications. Knows lasting leaves
as numbers that it is handed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from treadle.compiler.lasting import lasting_nodes
from treadle.compiler.simplify import Simplifier
from treadle.graph.graph import consumers, ordered, rebuild
from treadle.graph.node import Node, surrounded

SCALES, SHIFTS = ("multiply", "divide"), ("add", "subtract")


@dataclass
class Chain:
    """A convolution and what follows it up to `top`, which is ``scale * convolution + shift`` in another
    order of dimensions.
    """

    convolution: Node
    top: Node
    steps: list[tuple[str, Node]] = field(default_factory=list)
    """Ops and their other operands, one number for each channel, in order."""
    orders: list[Node] = field(default_factory=list)
    """The `permute_dims` on the way."""


def fold_scales(outputs: Sequence[Node], lasting: Collection[int]) -> list[Node]:
    """The graph with scales by channel moved into weights that last, as those do."""
    order = ordered(outputs)
    if not lasting or not any(node.op.name == "conv" for node in order):
        return list(outputs)
    found = lasting_nodes(order, {node: node.inputs for node in order}, lasting)
    readers, last = consumers(order), set(outputs)
    chains: dict[Node, Chain] = {}
    for node in order:
        if node.op.name == "conv" and node not in found and node.inputs[1] in found:
            chain = _chain(node, readers, last, found)
            if any(name in SCALES for name, _ in chain.steps):
                chains[chain.top] = chain
    replaced: dict[Node, Node] = {}
    for node in order:
        inputs = tuple([replaced[child] for child in node.inputs])
        if node in chains:
            replaced[node] = _folded(chains[node], replaced[chains[node].convolution.inputs[0]])
        else:
            replaced[node] = node if inputs == node.inputs else rebuild(node, inputs)
    return [replaced[output] for output in outputs]


def _chain(
    convolution: Node, readers: dict[Node, list[Node]], outputs: set[Node], lasting: Collection[Node]
) -> Chain:
    """As far up as every value has one reader that scales or shifts channels by what lasts."""
    chain, axis, node = Chain(convolution, convolution), 1, convolution
    orders: list[Node] = []
    while len(readers[node]) == 1 and node not in outputs:
        reader = readers[node][0]
        if reader.type is not node.type and reader.op.name != "permute_dims":
            break
        if reader.op.name == "permute_dims":
            axis = reader.attribute("axes").index(axis)
            orders.append(reader)
        elif reader.op.name in SCALES + SHIFTS:
            first, second = reader.inputs
            other = second if first is node else first
            turned = second is node and reader.op.name in ("divide", "subtract")
            values = None if turned or other not in lasting else _by_channel(other, axis)
            if values is None:
                break
            chain.steps.append((reader.op.name, values))
            chain.top, chain.orders = reader, list(orders)
        else:
            break
        node = reader
    return chain


def _by_channel(node: Node, axis: int) -> Node | None:
    """The node from which a value is repeated, if it differs along one axis at most."""
    shape = node.shape
    while node.op.name == "broadcast_to":
        node = node.inputs[0]
    lead = len(shape) - node.ndim
    others = [size for i, size in enumerate(node.shape) if i + lead != axis]
    return node if all(size == 1 for size in others) else None


def _folded(chain: Chain, x: Node) -> Node:
    """What stands for a chain: the convolution with other weights, put in order, and one addition."""
    make, convolution, top = Simplifier(), chain.convolution, chain.top
    weight, channels = convolution.inputs[1], convolution.shape[1]

    def values(node: Node) -> Node:
        count = 1
        for size in node.shape:
            count *= size  # type: ignore[assignment]
        shape = (channels,) if count == channels else ()
        node = make("reshape", node, shape=shape)
        return make("broadcast_to", node, shape=(channels,))

    with surrounded(line=top.line, scope=top.scope, device=top.device, role=top.role, tracking=False):
        scale: Node | None = None
        shift: Node | None = None
        for name, other in chain.steps:
            operand = values(other)
            if name in SHIFTS:
                negated = operand if name == "add" else make("negative", operand)
                shift = negated if shift is None else make(name, shift, operand)
            else:
                one = make.constant(1.0, operand.type)
                scale = make(name, one if scale is None else scale, operand)
                shift = None if shift is None else make(name, shift, operand)
        assert scale is not None
        by_filter = make("reshape", scale, shape=(channels, *(1,) * (weight.ndim - 1)))
        weight = make("multiply", weight, make("broadcast_to", by_filter, shape=weight.shape))
        y = rebuild(convolution, (x, weight))
        axis = 1
        for node in chain.orders:
            y = make("permute_dims", y, axes=node.attribute("axes"))
            axis = node.attribute("axes").index(axis)
        if shift is None:
            return y
        spread = make("reshape", shift, shape=tuple(channels if i == axis else 1 for i in range(y.ndim)))
        return make("add", y, make("broadcast_to", spread, shape=y.shape))
