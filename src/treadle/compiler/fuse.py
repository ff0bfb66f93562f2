"""The pass that makes a graph a program: nodes joined into loop kernels and library calls, in a valid order.

`grouping` decides what is computed together, `lower` writes it; this file prepares the graph, gives every
value in memory its buffer, and puts the calls in order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from typing import Any

from treadle import dtypes
from treadle.compiler.barriers import Barriers
from treadle.compiler.costs import CHECKED
from treadle.compiler.grouping import group_nodes
from treadle.compiler.groups import Group, Groups, reduced_axes
from treadle.compiler.lower import Writer
from treadle.compiler.program import BufferInfo, Fused
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type

IDENTITIES = frozenset(["positive", "stop_gradient", "barrier", "update", "stored"])
"""Ops that compute nothing."""


def takes_epilogue(node: Node) -> bool:
    """Whether a library op goes on computing with its result before it stores it, as far as is known here."""
    return node.op.name in ("matmul", "conv") and node.dtype.kind == "float"


def fuse(
    outputs: Sequence[Node],
    library: Callable[[Node], bool],
    epilogue: Callable[[Node], bool] = takes_epilogue,
    lasting: Collection[int] = (),
) -> Fused:
    """The graph of `outputs`, whose leaves are inputs and constants and whose sizes are numbers, as a
    program.

    `library(node)` says that the device has a kernel for the node's op, `epilogue(node)` that this kernel can
    have an epilogue; all other ops are written as loops. Ops on complex values have to be the library's. What
    depends on `lasting` leaves alone is computed apart from the rest.

    Raises NotImplementedError for an op that is neither.
    """
    order = ordered(outputs)
    same: dict[Node, Node] = {}
    inputs: dict[Node, tuple[Node, ...]] = {}
    results_of: dict[tuple[Node, int], Node] = {}
    for node in order:
        inputs[node] = tuple([same[child] for child in node.inputs])
        same[node] = inputs[node][0] if _is_identity(node) else node
        if node.op.name == "result":
            same[node] = results_of.setdefault((inputs[node][0], node.attribute("index")), node)
    results = _results([same[output] for output in outputs], outputs, inputs)
    needed = _needed(results, inputs)
    apart = {same[node] for node in order if node.op.name == "stored"}
    barriers = Barriers(order, same, inputs)
    order = [node for node in barriers.order if node in needed]
    groups = Groups(order, results, inputs, library, epilogue, lasting, barriers)
    groups.apart = apart
    group_nodes(groups)
    return _Program(groups, results, outputs).fused


def _is_identity(node: Node) -> bool:
    """Whether a node is its input."""
    name = node.op.name
    if name in IDENTITIES or (name == "conj" and node.dtype.kind != "complex"):
        return True
    if name in ("sum", "prod", "max", "min", "any", "all") and not reduced_axes(node):
        return True
    return name in ("astype", "reshape", "broadcast_to") and node.type is node.inputs[0].type


def _results(
    resolved: Sequence[Node], outputs: Sequence[Node], inputs: dict[Node, tuple[Node, ...]]
) -> list[Node]:
    """What is stored for each output: below a reshape the value itself, whose elements lie the same way."""
    results: list[Node] = []
    types = {node: node.type for node in resolved if node.op.name != "reshape"}
    for node, output in zip(resolved, outputs, strict=True):
        base = node
        while base.op.name == "reshape":
            base = inputs[base][0]
        if base.op.leaf or types.setdefault(base, output.type) is not output.type:
            base = node
        results.append(base)
    return results


def _needed(results: Sequence[Node], inputs: dict[Node, tuple[Node, ...]]) -> set[Node]:
    needed = set(results)
    stack = list(results)
    while stack:
        for child in inputs[stack.pop()]:
            if child not in needed:
                needed.add(child)
                stack.append(child)
    return needed


class _Program:
    """Buffers and calls, made from groups."""

    def __init__(self, groups: Groups, results: Sequence[Node], outputs: Sequence[Node]):
        self.fused = Fused()
        self.buffers: dict[Any, int] = {}
        self.status = -1
        self.codes: dict[Node, int] = {}
        by_leaf: dict[int, int] = {}
        numbers: dict[Node, int] = {}
        for number, node in enumerate(results):
            numbers.setdefault(node, number)
        for node in groups.order:
            if node.op.name == "input":
                leaf = node.attribute("index")
                if leaf not in by_leaf:
                    by_leaf[leaf] = self.add(BufferInfo(node.type, "input", leaf, node))
                self.buffers[node] = by_leaf[leaf]
            elif node in numbers:
                number = numbers[node]
                self.buffers[node] = self.add(BufferInfo(outputs[number].type, "output", number, node))
            elif node in groups.results:
                # What nobody needs is written all the same.
                for index, result in enumerate(groups.results_of(node)):
                    if not isinstance(result, Node):
                        self.buffers[result] = self.add(BufferInfo(node.type[index], "temporary", 0, node))
            elif node in groups.stored and (groups.asking[node] or node.op.name == "result"):
                self.buffers[node] = self.add(BufferInfo(node.type, "temporary", 0, node))
        self.fused.outputs = [self.buffers[node] for node in results]
        checked = [n for n in groups.order if n.op.name in CHECKED and not groups.is_library[n]]
        if checked:
            self.status = self.add(BufferInfo(Type((), dtypes.int32), "status", 0, checked[0]))
        for group in in_order(groups):
            writer = Writer(groups, group, self.buffers, self.report)
            self.fused.calls.append(writer.loop(self.status) if group.library is None else writer.library())

    def add(self, info: BufferInfo) -> int:
        self.fused.buffers.append(info)
        return len(self.fused.buffers) - 1

    def report(self, node: Node) -> int:
        """The number that says whose index was out of range."""
        if node not in self.codes:
            self.fused.faults.append(node)
            self.codes[node] = len(self.fused.faults)
        return self.codes[node]


def in_order(groups: Groups) -> list[Group]:
    """The groups, those that store before those that read, otherwise near to the graph's own order."""
    waiting = dict.fromkeys(groups.all, 0)
    for group in groups.all:
        for reader in group.after:
            waiting[reader] += 1

    def place(group: Group) -> tuple[int, int]:
        nodes = [target.node for target in group.targets] or [group.library]
        return max(groups.position[node] for node in nodes if node is not None), group.number

    ready = [(*place(group), group) for group, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    result: list[Group] = []
    while ready:
        group = heapq.heappop(ready)[-1]
        result.append(group)
        for reader in group.after:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (*place(reader), reader))
    assert len(result) == len(groups.all), "groups wait for each other"
    return result
