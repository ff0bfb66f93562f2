"""Groups of nodes that become one call each, and what they ask for: the data that grouping works on.

A group asks for values at places; the axes of its loops are split where an index map needs that. Edges
between groups go from who stores a value to who reads it, and never close a circle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from treadle.compiler import costs
from treadle.compiler.barriers import Barriers
from treadle.compiler.indexmap import (
    MOVEMENT,
    Map,
    Place,
    Sources,
    Split,
    covers,
    dimensions,
    identity,
    linear,
    refined,
    refined_place,
    weighted,
)
from treadle.compiler.lasting import lasting_nodes, stored_once
from treadle.graph.node import Node, Types

MOST_NODES = 160
"""Nodes written into one kernel: the time to compile grows faster than that."""
MOST_STORES = 12


@dataclass(eq=False)
class Target:
    """Something a group stores: `node` at `place` goes to element `address` of the buffer of `owner`."""

    node: Node
    place: Place
    owner: Node
    address: Map


@dataclass(eq=False)
class Folded:
    """A reduction inside a group: its result is asked for at `place` of a row, and folds its input at
    `source`.
    """

    place: Place
    source: Place


@dataclass(eq=False)
class Group:
    """Nodes computed by one call. `sizes` are those of the loop axes, which `rows` and `inner` put in order.

    A group with `library` is a call of that node's op on `views`; its targets, if any, are the epilogue's,
    and its loop axes are then the op's dimensions.
    """

    number: int
    sizes: list[int]
    rows: list[int]
    inner: list[int] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    folds: dict[Node, Folded] = field(default_factory=dict)
    local: set[Node] = field(default_factory=set)
    """What is computed inside, whether stored or not."""
    asked: set[Node] = field(default_factory=set)
    whole: set[Node] = field(default_factory=set)
    """What has to be in memory before it runs: the tables its gathers read."""
    library: Node | None = None
    views: list[tuple[Node, Map]] = field(default_factory=list)
    """What a library op reads: something in memory, and the map from the dimensions of the op's operand."""
    after: set[Group] = field(default_factory=set)
    """The groups that read what this one stores."""
    reach: int = 0
    """The same, whatever lies between: a bit for each group."""
    lasting: bool = False
    """Whether all it computes depends on lasting leaves alone."""
    entered: bool = False
    """Whether it reads what another group stores."""

    @property
    def axes(self) -> list[int]:
        return self.rows + self.inner

    @property
    def points(self) -> int:
        return math.prod(self.sizes)

    def __repr__(self) -> str:
        return f"<group {self.number}>"


class Groups:
    """The groups of a graph, and who asks for what. `order` holds every node that is needed, inputs first."""

    def __init__(
        self,
        order: Sequence[Node],
        outputs: Iterable[Node],
        inputs: dict[Node, tuple[Node, ...]],
        library: Callable[[Node], bool],
        takes_epilogue: Callable[[Node], bool],
        lasting: Collection[int],
        barriers: Barriers,
    ):
        self.order = order
        self.inputs = inputs
        self.is_library = {node: node.op.name not in ("input", "result") and library(node) for node in order}
        self.takes_epilogue = takes_epilogue
        self.barriers = barriers
        self.outputs = set(outputs)
        self.apart: set[Node] = set()
        """What is stored by whoever computes it, not by who reads it."""
        self.stored: set[Node] = set(self.outputs)
        """What has a buffer, as far as known: outputs, leaves, results of library ops, and what groups
        exchange.
        """
        self.results: dict[Node, dict[int, Node]] = {}
        """Of a node that has several results, those that are needed."""
        for node in order:
            if node.op.name == "result":
                self.results.setdefault(inputs[node][0], {})[node.attribute("index")] = node
            if node.op.name in ("input", "concat", "result") or self.is_library[node]:
                self.stored.add(node)
        self.size = {node: max(math.prod(type.shape) for type in node.types) for node in order}
        self.position = {node: i for i, node in enumerate(order)}
        self.costs = costs.estimate(order, inputs, self.stored, self.is_library, takes_epilogue)
        self.lasting = lasting_nodes(order, inputs, lasting) if lasting else {}
        if self.lasting:
            self.stored |= stored_once(order, inputs, self.size, self.lasting, self.costs)
            self.costs = costs.estimate(order, inputs, self.stored, self.is_library, takes_epilogue)
        self.all: list[Group] = []
        self.tables: dict[Node, tuple[Node, Map]] = {}
        """What gathers read: something in memory, and the map from the dimensions of the operand."""
        self.asking: dict[Node, dict[Group, set[Place]]] = {node: {} for node in order}

    def new_group(self, sizes: Sequence[int], rows: Sequence[int], inner: Sequence[int] = ()) -> Group:
        group = Group(len(self.all), list(sizes), list(rows), list(inner))
        self.all.append(group)
        return group

    def results_of(self, node: Node) -> list[Any]:
        """What stands for each result of a library op among the buffers: the node, or its results; for one
        that nobody needs, its number.
        """
        if type(node.type) is not Types:
            return [node]
        needed = self.results[node]
        return [needed.get(index, (node, index)) for index in range(len(node.type))]

    def readers(self, node: Node) -> list[Group]:
        """The groups that ask for a node, or for any of its results."""
        return list(
            dict.fromkeys(g for n in (node, *self.results.get(node, {}).values()) for g in self.asking[n])
        )

    def ask(self, group: Group, node: Node, place: Place) -> None:
        """Let a group ask for a value at a place."""
        self.asking[node].setdefault(group, set()).add(place)
        group.asked.add(node)

    def take(self, group: Group, node: Node, sources: Iterable[tuple[Node, Place]]) -> None:
        """Make a node part of a group, which then asks for its inputs."""
        group.local.add(node)
        if node in self.tables:
            group.whole.add(self.tables[node][0])
        for child, place in sources:
            self.ask(group, child, place)

    def sources(self, node: Node, group: Group) -> list[tuple[Node, Place]] | None:
        """What a group asks for when it computes a node at all places it asks for that; axes are split where
        needed. None where the node cannot be computed there.
        """
        if len(group.local) > MOST_NODES or (group.library is not None and node.op.name in costs.NO_EPILOGUE):
            return None
        while True:
            found: list[tuple[Node, Place]] = []
            for place in sorted(self.asking[node][group]):
                result = self.sources_at(node, place, group.sizes)
                if isinstance(result, Split):
                    if group.library is not None:
                        return None
                    self.split(group, result)
                    break
                if result is None:
                    return None
                found += result
            else:
                return found

    def sources_at(
        self, node: Node, place: Place, sizes: Sequence[int]
    ) -> list[tuple[Node, Place]] | Split | None:
        """The inputs of a node and their places, for the node at a place."""
        inputs = self.inputs[node]
        name = node.op.name
        if name in MOVEMENT:
            if name == "pad" and self.size[inputs[0]] == 0:
                return [(inputs[1], Place((), place.guards))]
            found: Sources = MOVEMENT[name](node, place, sizes)
            if found is None or isinstance(found, Split):
                return found
            return list(zip(inputs, found, strict=True))
        if node.op.elementwise:
            return [(child, place) for child in inputs]
        if name == "iota" or name == "constant":
            return []
        if name == "random_bits":
            return [(inputs[0], Place(((word, ()),), place.guards)) for word in (0, 1)]
        if name == "random_at":
            return [*[(inputs[0], Place(((word, ()),), place.guards)) for word in (0, 1)], (inputs[1], place)]
        if name == "gather":
            return self.gathered(node, place, sizes)
        return None

    def gathered(
        self, node: Node, place: Place, sizes: Sequence[int]
    ) -> list[tuple[Node, Place]] | Split | None:
        """What a gather reads from, which has to be in memory, at the row-major number of the first element
        that its indices may choose; and the indices.
        """
        maps = dimensions(place, node.shape, sizes)
        if maps is None or isinstance(maps, Split):
            return maps
        x, *indices = self.inputs[node]
        if node not in self.tables:
            self.tables[node] = self.view(x)
            self.stored.add(self.tables[node][0])
        table, (offset, terms) = self.tables[node]
        strides = dict(terms)
        own = maps[indices[0].ndim :]
        other = [axis for axis in range(x.ndim) if axis not in node.attribute("axes")]
        first = weighted((index, strides.get(axis, 0)) for index, axis in zip(own, other, strict=True))
        at = Place(maps[: indices[0].ndim], place.guards)
        first = Place(((first[0] + offset, first[1]),), place.guards, True)
        return [(table, first), *[(index, at) for index in indices]]

    def split(self, group: Group, split: Split) -> None:
        """Divide a loop axis of a group in two, everywhere."""
        new = len(group.sizes)
        group.sizes[split.axis] //= split.inner
        group.sizes.append(split.inner)
        for axes in (group.rows, group.inner):
            if split.axis in axes:
                axes.insert(axes.index(split.axis) + 1, new)
        for node in group.asked:
            asking = self.asking[node]
            asking[group] = {refined_place(place, split, new) for place in asking[group]}
        for target in group.targets:
            target.place = refined_place(target.place, split, new)
            target.address = refined(target.address, split, new)
        for folded in group.folds.values():
            folded.place = refined_place(folded.place, split, new)
            folded.source = refined_place(folded.source, split, new)

    def view(self, node: Node) -> tuple[Node, Map]:
        """A value as a strided view of something in memory: that, and the map from the value's dimensions."""
        sizes, place, base = node.shape, identity(node.shape), node
        while (
            base not in self.stored and base.op.name in MOVEMENT and base.op.name != "pad" and self.size[node]
        ):
            found = MOVEMENT[base.op.name](base, place, sizes)
            if found is None or isinstance(found, Split):
                break
            place, base = found[0], self.inputs[base][0]
        return base, linear(place, base.shape)

    def precede(self, group: Group, readers: Iterable[Group]) -> None:
        """Note that `readers` read what `group` stores."""
        for reader in readers:
            if reader is group or reader in group.after:
                continue
            group.after.add(reader)
            reader.entered = True
            more = (reader.reach | 1 << reader.number) & ~group.reach
            if more:
                group.reach |= more
                if group.entered:
                    for other in self.all:
                        if other.reach >> group.number & 1:
                            other.reach |= more

    def joinable(self, group: Group, node: Node) -> bool:
        """Whether a group may store a value, for all who ask for it, without waiting for itself."""
        readers = self.asking[node]
        if node in group.whole or group.library is not None or len(group.targets) >= MOST_STORES:
            return False
        if len(group.local) > MOST_NODES or group.lasting is not (node in self.lasting):
            return False
        # What is stored as an output is computed in every run.
        if group.lasting and (node in self.outputs) is not (group.targets[0].owner in self.outputs):
            return False
        if not self.barriers.passed(node, group.asked):
            return False
        return not any(reader is not group and reader.reach >> group.number & 1 for reader in readers)

    def add_target(self, group: Group, node: Node, place: Place) -> None:
        group.targets.append(Target(node, place, node, linear(place, node.shape)))

    def covering(self, node: Node, group: Group, places: Iterable[Place]) -> Place | None:
        """A place at which a group meets every element of a node once."""
        for place in sorted(places):
            if place.guards:
                continue
            shape = (self.size[node],) if place.flat else node.shape
            if covers(place.maps, shape, group.axes, group.sizes):
                address = linear(place, node.shape)
                beside = node in self.barriers.waits and any(
                    target.address == address for target in group.targets
                )
                if not group.inner or beside or self.walks_forward(group, address):
                    return place
            elif group.inner and covers(place.maps, shape, group.rows, group.sizes):
                return place
        return None

    def walks_forward(self, group: Group, address: Map) -> bool:
        """Whether the inner axes of a group walk neighbours in memory."""
        strides = dict(address[1])
        steps = [strides[axis] for axis in group.inner if axis in strides]
        return not steps or min(steps) == 1

    def wasteful(self, node: Node, group: Group) -> bool:
        """Whether a group would compute a costly value many times over."""
        places = self.asking[node][group]
        if self.costs.light(node, group.points // max(1, self.size[node])):
            return False
        if len(places) > 1 and len({linear(place, node.shape) for place in places}) > 1:
            return True
        # What does not change along the innermost axis is computed outside that loop.
        last = next((axis for axis in reversed(group.axes) if group.sizes[axis] > 1), -1)
        varies = any(axis == last for place in places for index in place.maps for axis, _ in index[1])
        return varies and self.size[node] * 4 <= group.points


def reduced_axes(node: Node) -> list[int]:
    """The dimensions a reduction goes over."""
    if "axis" in node.op.attributes:
        return [node.attribute("axis")]
    return list(node.attribute("axes"))
