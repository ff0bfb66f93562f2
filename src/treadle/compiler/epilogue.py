"""Makes the one group that reads a library op's result the op's epilogue, which computes before anything is
stored.
"""

from __future__ import annotations

from treadle.compiler import costs
from treadle.compiler.groups import Group, Groups, Target
from treadle.compiler.indexmap import Place, Split, identity, linear, row_major, unravel
from treadle.graph.node import Node

IN_PLACE = frozenset(["matmul"])
"""Ops that can store over what their epilogue reads at the same element, and that can store several values of
it, as momentum and weight are.
"""


def epilogue_of(groups: Groups, node: Node) -> Group | None:
    """The one group that reads a library op's result, turned into its epilogue; or None."""
    (group, places), *_ = groups.asking[node].items()
    usable = group.library is None and not group.inner and group.targets
    if not usable or not groups.takes_epilogue(node):
        return None
    several = node.op.name in IN_PLACE
    rows = [axis for axis in group.rows if group.sizes[axis] > 1]
    strides = row_major([group.sizes[axis] for axis in rows])
    points = 0, tuple(sorted(zip(rows, strides, strict=True)))
    if (
        group.points != groups.size[node]
        or (len(group.targets) > 1 and not several)
        or any(
            target.node is not target.owner
            or target.node.dtype is not node.dtype
            or target.address != points
            or (not several and updates(groups, group, target))
            for target in group.targets
        )
        or any(place.guards or linear(place, node.shape) != points for place in places)
        or not costs.NO_EPILOGUE.isdisjoint({local.op.name for local in group.local})
    ):
        return None
    return group if rebase(groups, group, node) else None


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


def rebase(groups: Groups, group: Group, node: Node) -> bool:
    """Write a group's places over the dimensions of a library op's result. False where one cannot be."""
    sizes = list(node.shape)
    number = linear(identity(sizes), sizes)
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
