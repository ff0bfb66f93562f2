"""Which nodes are computed together: groups, each of which becomes one call.

Nodes are visited from the outputs back to the leaves. A group asks for values at places (`indexmap`); when a node is
visited all who ask for it are known, and it is computed inside the group that asks, or in a group that stores it, an
old one or one of its own. Edges between groups go from who stores to who reads; a node joins an old group only where
that closes no cycle, and a new group never does. Knows places and costs, not how kernels are written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from treadle.compiler import costs
from treadle.compiler.costs import REDUCTIONS
from treadle.compiler.indexmap import (
    MOVEMENT,
    ZERO,
    Map,
    Place,
    Sources,
    Split,
    covers,
    dimensions,
    identity,
    linear,
    matched,
    refined,
    refined_place,
    row_major,
    unravel,
    weighted,
)
from treadle.graph.node import Node

IDENTITIES = frozenset(["positive", "stop_gradient", "barrier", "update"])
"""Ops that compute nothing."""
MOST_NODES = 160
"""Nodes written into one kernel: the time to compile grows faster than that."""
MOST_STORES = 12
MOST_SEARCHED = 10
"""How many values are looked at to find a group that reads the same."""
MOST_PARTS = 16
"""Parts of a concatenation that one kernel writes."""


@dataclass(eq=False)
class Target:
    """Something a group stores: `node` at `place` goes to element `address` of the buffer of `owner`."""

    node: Node
    place: Place
    owner: Node
    address: Map


@dataclass(eq=False)
class Folded:
    """A reduction inside a group: its result is asked for at `place` of a row, and folds its input at `source`."""

    place: Place
    source: Place


@dataclass(eq=False)
class Group:
    """Nodes computed by one call. `sizes` are those of the loop axes, which `rows` and `inner` put in order.

    A group with `library` is a call of that node's op on `views`; its targets, if any, are the epilogue's, and its loop
    axes are then the op's dimensions.
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


class Grouping:
    """The groups of a graph. `order` holds every node that is needed, inputs first; identities are gone from it."""

    def __init__(
        self,
        order: Sequence[Node],
        outputs: Iterable[Node],
        inputs: dict[Node, tuple[Node, ...]],
        library: Callable[[Node], bool],
        takes_epilogue: Callable[[Node], bool],
    ):
        self.order = order
        self.inputs = inputs
        self.is_library = {node: node.op.name != "input" and library(node) for node in order}
        self.takes_epilogue = takes_epilogue
        self.outputs = set(outputs)
        self.stored: set[Node] = set(self.outputs)
        """What has a buffer, as far as known: outputs, leaves, results of library ops, and what groups exchange."""
        for node in order:
            if node.op.name == "input" or self.is_library[node] or node.op.name == "concat":
                self.stored.add(node)
        self.size = {node: math.prod(node.shape) for node in order}
        self.position = {node: i for i, node in enumerate(order)}
        self.costs = costs.estimate(order, inputs, self.stored, self.is_library, takes_epilogue)
        self.groups: list[Group] = []
        self.tables: dict[Node, tuple[Node, Map]] = {}
        """What gathers read: something in memory, and the map from the dimensions of the operand."""
        self.asking: dict[Node, dict[Group, set[Place]]] = {node: {} for node in order}
        for node in reversed(order):
            self.visit(node)

    # -- one node

    def visit(self, node: Node) -> None:
        """Decide where a node is computed, all who ask for it being known."""
        asking = self.asking[node]
        name = node.op.name
        if name == "input" or not (asking or node in self.stored):
            return
        if self.size[node] == 0:
            self.stored.add(node)
        elif self.is_library[node]:
            self.call_library(node)
        elif name == "concat":
            self.store_parts(node)
        elif name == "constant" and node not in self.stored:
            for group in asking:
                group.local.add(node)
        elif node in self.stored or not self.inlined(node):
            self.store(node)

    def inlined(self, node: Node) -> bool:
        """Compute a node inside every group that asks for it, if that is possible and pays."""
        asking = self.asking[node]
        if node.op.name in REDUCTIONS:
            if len(asking) > 1:
                return False
            return self.fold(node, next(iter(asking)))
        if len(asking) > 1 and not self.costs.cheap(node):
            return False
        sources = {}
        for group in list(asking):
            found = self.sources(node, group)
            if found is None or self.wasteful(node, group):
                return False
            sources[group] = found
        for group, found in sources.items():
            self.take(group, node, found)
        return True

    def wasteful(self, node: Node, group: Group) -> bool:
        """Whether a group would compute a costly value many times over."""
        places = self.asking[node][group]
        if self.costs.light(node):
            return False
        if len(places) > 1 and len({linear(place, node.shape) for place in places}) > 1:
            return True
        # What does not change along the innermost axis is computed outside that loop.
        last = next((axis for axis in reversed(group.axes) if group.sizes[axis] > 1), -1)
        varies = any(axis == last for place in places for index in place.maps for axis, _ in index[1])
        return varies and self.size[node] * 4 <= group.points

    def take(self, group: Group, node: Node, sources: Iterable[tuple[Node, Place]]) -> None:
        """Make a node part of a group, which then asks for its inputs."""
        group.local.add(node)
        if node in self.tables:
            group.whole.add(self.tables[node][0])
        for child, place in sources:
            self.ask(group, child, place)

    def ask(self, group: Group, node: Node, place: Place) -> None:
        """Let a group ask for a value at a place."""
        self.asking[node].setdefault(group, set()).add(place)
        group.asked.add(node)

    # -- places

    def sources(self, node: Node, group: Group) -> list[tuple[Node, Place]] | None:
        """What a group asks for when it computes a node at all places it asks for that; axes are split where needed.
        None where the node cannot be computed there."""
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
        if name == "gather":
            return self.gathered(node, place, sizes)
        return None

    def gathered(
        self, node: Node, place: Place, sizes: Sequence[int]
    ) -> list[tuple[Node, Place]] | Split | None:
        """What a gather reads from, which has to be in memory, at the row-major number of the first element that
        its indices may choose; and the indices."""
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

    # -- groups

    def new_group(self, sizes: Sequence[int], rows: Sequence[int], inner: Sequence[int] = ()) -> Group:
        group = Group(len(self.groups), list(sizes), list(rows), list(inner))
        self.groups.append(group)
        return group

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
                    for other in self.groups:
                        if other.reach >> group.number & 1:
                            other.reach |= more

    def joinable(self, group: Group, node: Node) -> bool:
        """Whether a group may store a value, for all who ask for it, without waiting for itself."""
        readers = self.asking[node]
        if node in group.whole or group.library is not None or len(group.targets) >= MOST_STORES:
            return False
        if len(group.local) > MOST_NODES:
            return False
        return not any(reader is not group and reader.reach >> group.number & 1 for reader in readers)

    def store(self, node: Node) -> None:
        """Compute a node in a group that stores it."""
        self.stored.add(node)
        asking = self.asking[node]
        host = self.host(node)
        if host is None:
            host = self.store_alone(node)
        self.precede(host, asking)

    def host(self, node: Node) -> Group | None:
        """An old group that computes a node from now on, and stores it; if there is one."""
        asking = self.asking[node]
        if node.op.name in REDUCTIONS:
            for group in list(asking):
                if self.joinable(group, node) and self.fold(node, group):
                    self.add_target(group, node, group.folds[node].place)
                    return group
            return self.reduced_beside(node)
        if self.costs.feeds(node) and node not in self.outputs:
            return None
        for group in list(asking):
            if self.joinable(group, node):
                self.foresee_rows(node, group)
                place = self.covering(node, group, asking[group])
                if place is not None and not self.wasteful(node, group):
                    found = self.sources(node, group)
                    if found is not None:
                        # Its places may have changed with a split.
                        place = self.covering(node, group, asking[group])
                        assert place is not None
                        self.add_target(group, node, place)
                        self.take(group, node, found)
                        return group
        return self.mapped_beside(node)

    def foresee_rows(self, node: Node, group: Group) -> None:
        """Make rows of a group's points where a value for each row is asked for that a reduction over the rest of
        the row gives: the reduction, visited later, joins the group."""
        reduction = self.costs.reduction.get(node)
        if reduction is None or group.inner or group.library is not None:
            return
        for place in self.asking[node][group]:
            used = {axis for index in place.maps for axis, _ in index[1]}
            inner = [axis for axis in group.rows if axis not in used and group.sizes[axis] != 1]
            rows = [axis for axis in group.rows if axis not in inner]
            shape = (self.size[node],) if place.flat else node.shape
            x = self.inputs[reduction][0]
            reduced = [x.shape[axis] for axis in reduced_axes(reduction)]
            if used and inner and not place.guards and covers(place.maps, shape, rows, group.sizes):
                if matched(inner, group.sizes, reduced) is not None:
                    group.rows, group.inner = rows, inner
                    return

    def covering(self, node: Node, group: Group, places: Iterable[Place]) -> Place | None:
        """A place at which a group meets every element of a node once."""
        for place in sorted(places):
            if place.guards:
                continue
            shape = (self.size[node],) if place.flat else node.shape
            if covers(place.maps, shape, group.axes, group.sizes):
                if not group.inner or self.walks_forward(group, linear(place, node.shape)):
                    return place
            elif group.inner and covers(place.maps, shape, group.rows, group.sizes):
                return place
        return None

    def walks_forward(self, group: Group, address: Map) -> bool:
        """Whether the inner axes of a group walk neighbours in memory."""
        strides = dict(address[1])
        steps = [strides[axis] for axis in group.inner if axis in strides]
        return not steps or min(steps) == 1

    def add_target(self, group: Group, node: Node, place: Place) -> None:
        group.targets.append(Target(node, place, node, linear(place, node.shape)))

    def mapped_beside(self, node: Node) -> Group | None:
        """A group that reads what the node is computed from at the same points, joined; or None."""
        if not node.op.elementwise or not node.shape:
            return None
        for group, places in self.at_same_points(node):
            if group in self.asking[node] or not self.joinable(group, node):
                continue
            place = self.covering(node, group, places)
            if place is not None:
                self.ask(group, node, place)
                found = self.sources(node, group)
                assert found is not None
                self.add_target(group, node, place)
                self.take(group, node, found)
                return group
        return None

    def at_same_points(self, node: Node) -> Iterator[tuple[Group, set[Place]]]:
        """The groups that ask for what a node is computed from element by element, and where they do: they could
        compute the node at those places."""
        near, seen = [node], {node}
        for value in near:
            if value is not node or not value.op.elementwise:
                yield from list(self.asking[value].items())
            if value.op.elementwise and len(near) < MOST_SEARCHED:
                for child in self.inputs[value]:
                    if child.shape == node.shape and child not in seen:
                        seen.add(child)
                        near.append(child)

    def store_alone(self, node: Node) -> Group:
        """A new group for one node."""
        if node.op.name in REDUCTIONS:
            x = self.inputs[node][0]
            axes = reduced_axes(node)
            rows = [axis for axis in range(x.ndim) if axis not in axes]
            group = self.new_group(x.shape, rows, axes)
            source = identity(x.shape)
            place = Place(tuple([source.maps[axis] for axis in rows]))
            group.folds[node] = Folded(place, source)
            self.add_target(group, node, place)
            self.ask(group, node, place)
            self.take(group, node, [(x, source)])
            return group
        group = self.new_group(node.shape, range(node.ndim))
        self.add_target(group, node, identity(node.shape))
        self.ask(group, node, identity(node.shape))
        found = self.sources(node, group)
        if found is None and node.op.name == "pad":
            return self.spread(node, group)
        if found is None:
            raise NotImplementedError(
                f"no loop computes {node!r}, and the device has no kernel for {node.op.name}"
            )
        self.take(group, node, found)
        return group

    # -- reductions

    def fold(self, node: Node, group: Group) -> bool:
        """Compute a reduction inside a group whose rows it gives one value each. False where it does not fit."""
        places = self.asking[node][group]
        if group.library is not None or len(places) != 1 or len(group.local) > MOST_NODES:
            return False
        place = next(iter(places))
        maps = dimensions(place, node.shape, group.sizes)
        if place.guards or maps is None or isinstance(maps, Split):
            return False
        x = self.inputs[node][0]
        axes = reduced_axes(node)
        sizes = group.sizes
        used = {axis for index in maps for axis, _ in index[1]}
        rows, inner = group.rows, group.inner
        if not inner:
            inner = [axis for axis in rows if axis not in used and sizes[axis] != 1]
            rows = [axis for axis in rows if axis not in inner]
        if not covers(maps, node.shape, rows, sizes):
            return False
        shape = [x.shape[axis] for axis in axes]
        if inner:
            found = matched(inner, sizes, shape)
            if found is None:
                return False
        else:
            # Only rows so far: what they do follows the fold.
            inner = list(range(len(sizes), len(sizes) + len(shape)))
            sizes += shape
            found = [
                (0, ((axis, 1),)) if size != 1 else ZERO for axis, size in zip(inner, shape, strict=True)
            ]
        group.rows, group.inner = rows, inner
        whole = [ZERO] * x.ndim
        for axis, index in zip(axes, found, strict=True):
            whole[axis] = index
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        for axis, index in zip(kept, maps, strict=True):
            whole[axis] = index
        source = Place(tuple(whole))
        group.folds[node] = Folded(place, source)
        self.take(group, node, [(x, source)])
        return True

    def reduced_beside(self, node: Node) -> Group | None:
        """A group that walks the reduction's input in rows that suit it, joined; or None."""
        x = self.inputs[node][0]
        axes = reduced_axes(node)
        for group, places in [*self.asking[x].items(), *self.at_same_points(x)]:
            if group in self.asking[node] or not self.joinable(group, node):
                continue
            for place in sorted(places):
                if place.flat or place.guards:
                    continue
                kept = [axis for axis in range(x.ndim) if axis not in axes]
                maps = [place.maps[axis] for axis in kept]
                over = [place.maps[axis] for axis in axes]
                rows, inner = group.rows, group.inner
                if not inner:
                    count = len({axis for index in over for axis, _ in index[1]})
                    rows, inner = rows[: len(rows) - count], rows[len(rows) - count :]
                shape = [x.shape[axis] for axis in axes]
                if not inner or not covers(maps, node.shape, rows, group.sizes):
                    continue
                if covers(over, shape, inner, group.sizes) and matched(inner, group.sizes, shape) == over:
                    group.rows, group.inner = rows, inner
                    result = Place(tuple(maps))
                    group.folds[node] = Folded(result, place)
                    self.ask(group, node, result)
                    self.add_target(group, node, result)
                    self.take(group, node, [(x, place)])
                    return group
        return None

    # -- several groups for one buffer

    def store_parts(self, node: Node) -> None:
        """A concatenation: parts of one shape are written by one group, each to its own place."""
        axis = node.attribute("axis")
        strides = row_major(node.shape)
        start, latest = 0, None
        for part in self.inputs[node]:
            if self.size[part]:
                if latest is None or latest[0] != part.shape or len(latest[1].targets) >= MOST_PARTS:
                    latest = part.shape, self.new_group(part.shape, range(part.ndim))
                    self.precede(latest[1], self.asking[node])
                place = identity(part.shape)
                address = weighted([((start * strides[axis], ()), 1), *zip(place.maps, strides, strict=True)])
                latest[1].targets.append(Target(part, place, node, address))
                self.ask(latest[1], part, place)
            start += part.shape[axis]

    def spread(self, node: Node, fill: Group) -> Group:
        """A padding between elements that no loop axis divides: `fill` fills, the group returned stores the elements."""
        assert node.op.name == "pad", node
        x, value = self.inputs[node]
        self.asking[node].pop(fill)
        fill.asked.discard(node)
        fill.targets[0].node, fill.targets[0].place = value, Place(())
        self.ask(fill, value, Place(()))
        strides = row_major(node.shape)
        sizes, maps, addresses = [], [], []
        for axis, (size, (low, _, inner)) in enumerate(zip(x.shape, node.attribute("widths"), strict=True)):
            step = inner + 1
            first = max(0, -(low // step))
            last = min(size - 1, (node.shape[axis] - 1 - low) // step)
            sizes.append(max(0, last - first + 1))
            maps.append((first, ((axis, 1),) if sizes[-1] > 1 else ()))
            terms = ((axis, step * strides[axis]),) if sizes[-1] > 1 else ()
            addresses.append((strides[axis] * (low + first * step), terms))
        if 0 in sizes:
            return fill
        group = self.new_group(sizes, range(len(sizes)))
        group.targets.append(Target(x, Place(tuple(maps)), node, weighted((a, 1) for a in addresses)))
        self.ask(group, x, Place(tuple(maps)))
        self.precede(group, self.asking[node])
        self.precede(fill, [group])
        return group

    # -- library ops

    def call_library(self, node: Node) -> None:
        """A call of a library op; the group that alone reads its result becomes its epilogue where it can."""
        asking = self.asking[node]
        group = self.epilogue(node) if len(asking) == 1 and node not in self.outputs else None
        if group is None:
            group = self.new_group((), ())
            self.precede(group, asking)
        group.library = node
        for child in self.inputs[node]:
            view = self.view(child)
            group.views.append(view)
            self.stored.add(view[0])
            self.asking[view[0]].setdefault(group, set())
            group.asked.add(view[0])

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

    def epilogue(self, node: Node) -> Group | None:
        """The one group that reads a library op's result, turned into its epilogue; or None."""
        (group, places), *_ = self.asking[node].items()
        if (
            node.op.name not in costs.WITH_EPILOGUE
            or group.library is not None
            or group.folds
            or len(group.targets) != 1
        ):
            return None
        target = group.targets[0]
        rows = [axis for axis in group.rows if group.sizes[axis] > 1]
        strides = row_major([group.sizes[axis] for axis in rows])
        points = 0, tuple(sorted(zip(rows, strides, strict=True)))
        if (
            group.points != self.size[node]
            or target.node is not target.owner
            or target.node.dtype is not node.dtype
            or target.address != points
            or any(place.guards or linear(place, node.shape) != points for place in places)
            or not costs.NO_EPILOGUE.isdisjoint({local.op.name for local in group.local})
            or self.updates(group, target)
        ):
            return None
        if not self.rebase(group, node):
            return None
        return group

    def updates(self, group: Group, target: Target) -> bool:
        """Whether an output could take the place of an input that is read element by element, as a parameter's next
        value does: only a loop kernel may write where it reads."""
        if target.node not in self.outputs:
            return False
        for node in group.asked:
            if node.op.name == "input" and node.type is target.node.type:
                if any(
                    linear(place, node.shape) == target.address for place in self.asking[node].get(group, ())
                ):
                    return True
        return False

    def rebase(self, group: Group, node: Node) -> bool:
        """Write a group's places over the dimensions of a library op's result. False where one cannot be."""
        sizes, target = list(node.shape), group.targets[0]
        number = linear(identity(sizes), sizes)
        maps = unravel(number, target.node.shape, sizes)
        place = Place((number,), (), True) if maps is None or isinstance(maps, Split) else Place(maps)
        places: dict[Node, set[Place]] = {target.node: {place}}
        for local in sorted(group.local, key=lambda n: -self.position[n]):
            for at in sorted(places.get(local, ())):
                found = self.sources_at(local, at, sizes)
                if found is None or isinstance(found, Split):
                    return False
                for child, source in found:
                    places.setdefault(child, set()).add(source)
        for asked in group.asked:
            self.asking[asked].pop(group)
        group.asked = set()
        for asked, found in places.items():
            for at in found:
                self.ask(group, asked, at)
        group.sizes, group.rows = sizes, list(range(len(sizes)))
        target.place, target.address = place, number
        return True


def reduced_axes(node: Node) -> list[int]:
    """The dimensions a reduction goes over."""
    if "axis" in node.op.attributes:
        return [node.attribute("axis")]
    return list(node.attribute("axes"))
