"""The pass that computes cheap values again in a backward pass, rather than keeping them from the forward
one.

What a few instructions make of one value and some small ones, as normalisation and ReLU do of what a
convolution gives, need not lie in memory until the backward pass if the value it is made of does so anyway:
batch-norm's gradient reads that. So whoever reads late is given a copy of the chain of ops that made it,
behind a barrier, by which fusion knows what not to compute early. A ReLU's mask becomes one of what the ReLU
was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from treadle.autodiff import BARRIER
from treadle.compiler.costs import LIGHT, OFTEN
from treadle.graph.graph import ordered, rebuild
from treadle.graph.node import Node, make, surrounded
from treadle.ops.channels_last import CHANNELS_FIRST

LEAST = 1 << 18
"""Values of fewer elements are kept: they are found in the caches, and do not matter to the peak."""
MOST_OPS = 8
"""Of a chain."""
GIVEN_COPIES = frozenset(["conv_weight_gradient", "matmul"])
"""Library ops that read copies, which the kernel before them stores beside what it gives; others read what
was kept, since a copy would cost a pass of its own.
"""


class Chain(NamedTuple):
    """What a value is made of by light ops, one after another."""

    root: Node
    ops: int
    early: int
    """The bits of the values in it that library ops read."""


def recompute(outputs: Sequence[Node], library: Callable[[Node], bool]) -> list[Node]:
    """The same values; `library` says which ops have kernels of their own. Sizes are numbers."""
    order = ordered(outputs)
    late = _Readers(order, outputs, library).late()
    return _Copies(late).graph(outputs, order) if late else list(outputs)


class Use(NamedTuple):
    """A value of a chain that is read late: not before `after`."""

    value: Node
    root: Node
    after: Node


class _Readers:
    """Who reads chains, and when. Every value of a chain that a library op reads has a bit; what depends on
    that op has it, too, and comes after it.
    """

    def __init__(self, order: Sequence[Node], outputs: Sequence[Node], library: Callable[[Node], bool]):
        self.order, self.library = order, {node for node in order if library(node)}
        self.chains: dict[Node, Chain] = {}
        self.bits: dict[Node, int] = {}
        self.of_root: dict[Node, int] = {}
        """The bits of all chains from a root."""
        read = {_unmoved(child) for node in order if node in self.library for child in node.inputs}
        for node in order:
            child = _chained(node)
            if child is not None and self.chain(child).ops < MOST_OPS:
                root, ops, early = self.chain(child)
                if node in read and node not in outputs:
                    self.bits[node] = 1 << len(self.bits)
                    self.of_root[root] = self.of_root.get(root, 0) | self.bits[node]
                self.chains[node] = Chain(root, ops + 1, early | self.bits.get(node, 0))
        self.after: dict[Node, int] = {}
        for node in order if self.bits else ():
            bits = 0
            for child in node.inputs:
                bits |= self.after[child]
                if node in self.library:
                    bits |= self.bits.get(_unmoved(child), 0)
            self.after[node] = bits

    def chain(self, node: Node) -> Chain:
        return self.chains.get(node) or Chain(node, 0, 0)

    def late(self) -> dict[Node, dict[int, Use]]:
        """By node, which of its inputs are to be copies."""
        found: list[tuple[Node, int, Use]] = []
        kept = 0
        for node in self.order if self.bits else ():
            for place, child in enumerate(node.inputs):
                value = _unmoved(child)
                root, _, early = self.chain(value)
                bits = self.of_root.get(root, 0)
                others = [other for other in node.inputs if self.after[other] & bits]
                if not others or self.after[value] & bits:
                    continue
                if not early:
                    kept |= bits  # The root lies in memory until then.
                elif node not in self.library or _name(node) in GIVEN_COPIES:
                    found.append((node, place, Use(value, root, others[0])))
        late: dict[Node, dict[int, Use]] = {}
        for node, place, use in found:
            if self.chains[use.value].early & ~kept == 0:
                late.setdefault(node, {})[place] = use
        return late


class _Copies:
    """Puts copies in place of what is read late."""

    def __init__(self, late: dict[Node, dict[int, Use]]):
        self.late = late
        self.replaced: dict[Node, Node] = {}
        self.copies: dict[Node, Node] = {}

    def graph(self, outputs: Sequence[Node], order: Sequence[Node]) -> list[Node]:
        for node in order:
            inputs = [self.replaced[child] for child in node.inputs]
            for place, use in self.late.get(node, {}).items():
                inputs[place] = self.viewed(node.inputs[place], use)
            same = all(new is old for new, old in zip(inputs, node.inputs, strict=True))
            self.replaced[node] = node if same else rebuild(node, tuple(inputs))
        return [self.replaced[output] for output in outputs]

    def viewed(self, child: Node, use: Use) -> Node:
        """The same view of the copy."""
        if child is use.value:
            return self.copy(child, use)
        return rebuild(child, (self.viewed(child.inputs[0], use),))

    def copy(self, value: Node, use: Use) -> Node:
        """A value of a chain once more."""
        found = self.copies.get(value)
        if found is None:
            if value is use.root:
                with surrounded(line=value.line, scope=value.scope, device=value.device, role=value.role):
                    found = make(BARRIER, (self.replaced[value], self.replaced[use.after]))
            else:
                found = rebuild(value, tuple([self.part(child, use) for child in _parts(value)]))
            self.copies[value] = found
        return found

    def part(self, child: Node, use: Use) -> Node:
        return self.replaced[child] if _small(child) else self.copy(child, use)


def _name(node: Node) -> str:
    """Of its op, in whatever order dimensions are."""
    return CHANNELS_FIRST.get(node.op.name, node.op.name)


def _parts(value: Node) -> tuple[Node, ...]:
    """What a copy is made of: of a ReLU's mask, what the ReLU was given."""
    first, *others = value.inputs
    if value.op.name == "greater" and first.op.name == "relu" and _zero(others[0]):
        first = first.inputs[0]
    return (first, *others)


def _chained(node: Node) -> Node | None:
    """The one value as large as it that a light op makes a large one of."""
    if node.op.name not in LIGHT or math.prod(node.shape) < LEAST:  # type: ignore[arg-type]
        return None
    whole = {child for child in node.inputs if not _small(child)}
    return whole.pop() if len(whole) == 1 and next(iter(whole)).shape == node.shape else None


def _small(node: Node) -> bool:
    """Whether a value repeats one that is much smaller."""
    node = _unmoved(node)
    if node.op.name != "broadcast_to":
        return node.op.name == "constant"
    few, many = (math.prod(n.shape) for n in (node.inputs[0], node))  # type: ignore[misc]
    return OFTEN * few <= many


def _zero(node: Node) -> bool:
    """Whether every element is 0."""
    node = node.inputs[0] if node.op.name == "broadcast_to" else node
    return node.op.name == "constant" and node.attribute("value") == 0


def _unmoved(node: Node) -> Node:
    """What a view of all of a value is of."""
    while node.op.name in ("reshape", "permute_dims"):
        node = node.inputs[0]
    return node
