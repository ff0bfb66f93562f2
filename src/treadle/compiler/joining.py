"""Finds a group that can compute one more value: a reduction of its rows, or something stored beside what it
stores.
"""

from __future__ import annotations

from collections.abc import Iterator

from treadle.compiler.costs import REDUCTIONS
from treadle.compiler.epilogue import could_be_epilogue
from treadle.compiler.groups import MOST_NODES, Folded, Group, Groups, reduced_axes
from treadle.compiler.indexmap import ZERO, Place, Split, covers, dimensions, matched
from treadle.graph.node import Node

MOST_SEARCHED = 10
"""How many values are looked at to find a group that reads the same."""


def host(groups: Groups, node: Node) -> Group | None:
    """An old group that computes a node from now on, and stores it; if there is one."""
    asking = groups.asking[node]
    if node.op.name in REDUCTIONS:
        # One that walks such rows already has the reduction's input at hand.
        for group in sorted(asking, key=lambda group: not group.inner):
            if groups.joinable(group, node) and fold(groups, node, group):
                groups.add_target(group, node, group.folds[node].place)
                return group
        return reduced_beside(groups, node)
    feeds = groups.costs.feeds(node) and node not in groups.outputs
    for group in () if node in groups.apart else list(asking):
        if groups.joinable(group, node) and (not feeds or could_be_epilogue(groups, group, node)):
            foresee_rows(groups, node, group)
            place = groups.covering(node, group, asking[group])
            if place is not None and not groups.wasteful(node, group):
                found = groups.sources(node, group)
                if found is not None:
                    # Its places may have changed with a split.
                    place = groups.covering(node, group, asking[group])
                    assert place is not None
                    groups.add_target(group, node, place)
                    groups.take(group, node, found)
                    return group
    return None if feeds else mapped_beside(groups, node)


def foresee_rows(groups: Groups, node: Node, group: Group) -> None:
    """Make rows of a group's points where a value for each row is asked for that a reduction over the rest of
    the row gives: the reduction, visited later, joins the group.
    """
    reduction = groups.costs.reduction.get(node)
    if reduction is None or group.inner or group.library is not None:
        return
    for place in groups.asking[node][group]:
        used = {axis for index in place.maps for axis, _ in index[1]}
        inner = [axis for axis in group.rows if axis not in used and group.sizes[axis] != 1]
        rows = [axis for axis in group.rows if axis not in inner]
        shape = (groups.size[node],) if place.flat else node.shape
        x = groups.inputs[reduction][0]
        reduced = [x.shape[axis] for axis in reduced_axes(reduction)]
        fits = used and inner and matched(inner, group.sizes, reduced) is not None
        if fits and not place.guards and covers(place.maps, shape, rows, group.sizes):
            group.rows, group.inner = rows, inner
            return


def mapped_beside(groups: Groups, node: Node) -> Group | None:
    """A group that reads what the node is computed from at the same points, joined; or None."""
    if not node.op.elementwise or not node.shape:
        return None
    for group, places in at_same_points(groups, node):
        if group in groups.asking[node] or not groups.joinable(group, node):
            continue
        place = groups.covering(node, group, places)
        if place is not None:
            groups.ask(group, node, place)
            found = groups.sources(node, group)
            assert found is not None
            groups.add_target(group, node, place)
            groups.take(group, node, found)
            return group
    return None


def part_beside(groups: Groups, node: Node, part: Node) -> tuple[Group, Place] | None:
    """A group of points that reads what a part of a concatenation, `node`, is computed from, and where it
    meets the part: it can store the part too. Sizes of 1 are overlooked.
    """
    near, seen = [part], {part}
    for value in near:
        for group, places in groups.asking[value].items() if value is not part else ():
            if group.inner or not group.targets or not groups.joinable(group, node):
                continue
            for place in sorted(places):
                long = iter([m for m, size in zip(place.maps, value.shape, strict=False) if size != 1])
                maps = [ZERO if size == 1 else next(long, ZERO) for size in part.shape]
                plain = not place.flat and not place.guards
                if plain and covers(maps, part.shape, group.rows, group.sizes):
                    return group, Place(tuple(maps))
        if (value.op.elementwise or value.op.name == "reshape") and len(near) < MOST_SEARCHED:
            for child in groups.inputs[value]:
                same = [n for n in child.shape if n != 1] == [n for n in part.shape if n != 1]
                if same and child not in seen and not is_number(groups, child):
                    seen.add(child)
                    near.append(child)
    return None


def at_same_points(groups: Groups, node: Node) -> Iterator[tuple[Group, set[Place]]]:
    """The groups that ask for what a node is computed from element by element, and where they do: they could
    compute the node at those places.
    """
    near, seen = [node], {node}
    for value in near:
        if value is not node or not value.op.elementwise:
            yield from list(groups.asking[value].items())
        if value.op.elementwise and len(near) < MOST_SEARCHED:
            for child in groups.inputs[value]:
                if child.shape == node.shape and child not in seen and not is_number(groups, child):
                    seen.add(child)
                    near.append(child)


def is_number(groups: Groups, node: Node) -> bool:
    """Whether every element is one number: to read that is nothing in common."""
    while node.op.name in ("broadcast_to", "reshape"):
        node = groups.inputs[node][0]
    return node.op.name == "constant"


def fold(groups: Groups, node: Node, group: Group) -> bool:
    """Compute a reduction inside a group whose rows it gives one value each. False where it does not fit."""
    places = groups.asking[node][group]
    if group.library is not None or len(places) != 1 or len(group.local) > MOST_NODES:
        return False
    place = next(iter(places))
    maps = dimensions(place, node.shape, group.sizes)
    if place.guards or maps is None or isinstance(maps, Split):
        return False
    x = groups.inputs[node][0]
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
        found = [(0, ((axis, 1),)) if size != 1 else ZERO for axis, size in zip(inner, shape, strict=True)]
    group.rows, group.inner = rows, inner
    whole = [ZERO] * x.ndim
    for axis, index in zip(axes, found, strict=True):
        whole[axis] = index
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    for axis, index in zip(kept, maps, strict=True):
        whole[axis] = index
    source = Place(tuple(whole))
    group.folds[node] = Folded(place, source)
    groups.take(group, node, [(x, source)])
    return True


def reduced_beside(groups: Groups, node: Node) -> Group | None:
    """A group that walks the reduction's input in rows that suit it, joined; or None."""
    x = groups.inputs[node][0]
    axes = reduced_axes(node)
    for group, places in [*groups.asking[x].items(), *at_same_points(groups, x)]:
        if group in groups.asking[node] or not groups.joinable(group, node):
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
                groups.ask(group, node, result)
                groups.add_target(group, node, result)
                groups.take(group, node, [(x, place)])
                return group
    return None
