"""Makes the one group that reads a library op's result the op's epilogue, which computes before anything is
stored.
"""

from __future__ import annotations

from treadle.compiler import costs
from treadle.compiler.groups import Group, Groups, Target
from treadle.compiler.indexmap import Map, Place, Split, identity, linear, row_major, unravel
from treadle.graph.node import Node

IN_PLACE = frozenset(["matmul"])
"""Ops that can store over what their epilogue reads at the same element, that can store several values of it,
as momentum and weight are, and that store with any strides.
"""


def epilogue_of(groups: Groups, node: Node) -> Group | None:
    """The one group that reads a library op's result, turned into its epilogue; or None."""
    (group, places), *_ = groups.asking[node].items()
    several = node.op.name in IN_PLACE
    points = points_of(groups, group, node)
    if (
        points is None
        or not groups.takes_epilogue(node)
        or (len(group.targets) > 1 and not several)
        or any(not several and updates(groups, group, target) for target in group.targets)
        or any(place.guards for place in places)
    ):
        return None
    read = {linear(place, node.shape) for place in places}
    address = stored_at(read.pop(), points, group, node) if len(read) == 1 else None
    if address is None or (not several and address != linear(identity(node.shape), node.shape)):
        return None
    return group if rebase(groups, group, node, address) else None


def points_of(groups: Groups, group: Group, node: Node) -> Map | None:
    """The number of a point over a group's axes, if the group computes and stores element by element, as many
    elements as a node has, and of its dtype.
    """
    rows = [axis for axis in group.rows if group.sizes[axis] > 1]
    strides = row_major([group.sizes[axis] for axis in rows])
    points = 0, tuple(sorted(zip(rows, strides, strict=True)))
    alike = group.library is None and not group.inner and group.points == groups.size[node] and group.targets
    if not alike or not costs.NO_EPILOGUE.isdisjoint({local.op.name for local in group.local}):
        return None
    plain = all(
        target.node is target.owner and target.node.dtype is node.dtype and target.address == points
        for target in group.targets
    )
    return points if plain else None


def could_be_epilogue(groups: Groups, group: Group, node: Node) -> bool:
    """Whether a group that reads what an epilogue gives could be that epilogue, which then stores both: a
    difference, and what the loss's gradient makes of it.
    """
    points = points_of(groups, group, node)
    places = groups.asking[node][group]
    return (
        groups.costs.fed[node].op.name in IN_PLACE
        and points is not None
        and all(not place.guards and linear(place, node.shape) == points for place in places)
    )


def stored_at(read: Map, stored: Map, group: Group, node: Node) -> Map | None:
    """Where a group stores what it makes of an element of a library op's result, over the dimensions of the
    result, given the numbers of both over the group's axes; None where that is no map of these dimensions, or
    one that has neighbours in neither of the last two.
    """
    strides, terms, offset = dict(stored[1]), [], read[0]
    for dimension, step in enumerate(row_major(node.shape)):
        size = node.shape[dimension]
        parts = [(axis, stride) for axis, stride in read[1] if step <= stride < step * size]  # type: ignore[operator]
        if not parts:
            continue
        steps = {divmod(strides.get(axis, 0) * step, stride) for axis, stride in parts}
        if len(steps) > 1 or any(left for _, left in steps) or any(stride % step for _, stride in parts):
            return None
        terms.append((dimension, steps.pop()[0]))
    count = sum(group.sizes[axis] > 1 for axis in group.rows)
    near = any(stride == 1 for axis, stride in terms if axis >= node.ndim - 2)
    return (0, tuple(terms)) if near and not offset and len(read[1]) == count == len(strides) else None


def updates(groups: Groups, group: Group, target: Target) -> bool:
    """Whether an output could take the place of an input that is read element by element, as a parameter's
    next value does.
    """
    if target.node not in groups.outputs:
        return False
    for node in group.asked:
        places = groups.asking[node].get(group, ()) if node.op.name == "input" else ()
        if node.type is target.node.type and any(linear(p, node.shape) == target.address for p in places):
            return True
    return False


def rebase(groups: Groups, group: Group, node: Node, number: Map) -> bool:
    """Write a group's places over the dimensions of a library op's result, `number` being where it stores.
    False where one cannot be.
    """
    sizes = list(node.shape)
    own: list[Place] = []
    places: dict[Node, set[Place]] = {}
    for target in group.targets:
        maps = unravel(number, target.node.shape, sizes)
        own.append(Place((number,), (), True) if maps is None or isinstance(maps, Split) else Place(maps))
        places.setdefault(target.node, set()).add(own[-1])
    for local in sorted(group.local, key=lambda n: -groups.position[n]):
        for at in sorted(places.get(local, ())):
            found = groups.sources_at(local, at, sizes)
            if found is None or isinstance(found, Split):
                return False
            for child, source in found:
                places.setdefault(child, set()).add(source)
    whole = linear(identity(sizes), sizes)
    if any(linear(place, node.shape) != whole for place in places.get(node, ())):
        return False
    for asked in group.asked:
        groups.asking[asked].pop(group)
    group.asked = set()
    for asked, found in places.items():
        for at in found:
            groups.ask(group, asked, at)
    group.sizes, group.rows = sizes, list(range(len(sizes)))
    for target, place in zip(group.targets, own, strict=True):
        target.place, target.address = place, number
    return True
