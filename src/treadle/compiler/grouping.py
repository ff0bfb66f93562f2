"""Decides which nodes are computed together: groups, each of which becomes one call.

Nodes are visited from the outputs back to the leaves. When a node is visited all who ask for it are known,
and it is computed inside the group that asks, or in a group that stores it: an old one where that closes no
circle, or one of its own, which never does. Knows places and costs, not how kernels are written.
"""

from __future__ import annotations

from treadle.compiler.costs import REDUCTIONS
from treadle.compiler.epilogue import epilogue_of
from treadle.compiler.groups import Folded, Group, Groups, Target, reduced_axes
from treadle.compiler.indexmap import Place, identity, row_major, weighted
from treadle.compiler.joining import fold, host, part_beside
from treadle.graph.node import Node

MOST_PARTS = 16
"""Parts of a concatenation that one kernel writes."""


def group_nodes(groups: Groups) -> None:
    """Put every node into groups."""
    for node in reversed(groups.order):
        visit(groups, node)


def visit(groups: Groups, node: Node) -> None:
    """Decide where a node is computed, all who ask for it being known."""
    asking = groups.asking[node]
    name = node.op.name
    if node in groups.results:
        call_library(groups, node)
    elif name in ("input", "result") or not (asking or node in groups.outputs):
        # Nobody asks for what only empty values are made of; results come with what they are of.
        return
    elif groups.size[node] == 0:
        groups.stored.add(node)
    elif groups.is_library[node]:
        call_library(groups, node)
    elif name == "concat":
        store_parts(groups, node)
    elif name == "constant" and node not in groups.stored:
        for group in asking:
            group.local.add(node)
    elif node in groups.stored or node in groups.apart or not inlined(groups, node):
        store(groups, node)


def inlined(groups: Groups, node: Node) -> bool:
    """Compute a node inside every group that asks for it, if that is possible and pays."""
    asking = groups.asking[node]
    if node.op.name in REDUCTIONS:
        if len(asking) > 1:
            return False
        return fold(groups, node, next(iter(asking)))
    if len(asking) > 1 and not groups.costs.cheap(node):
        return False
    sources = {}
    for group in list(asking):
        found = groups.sources(node, group)
        if found is None or groups.wasteful(node, group):
            return False
        sources[group] = found
    for group, found in sources.items():
        groups.take(group, node, found)
    return True


def store(groups: Groups, node: Node) -> None:
    """Compute a node in a group that stores it."""
    groups.stored.add(node)
    asking = groups.asking[node]
    group = host(groups, node) or store_alone(groups, node)
    groups.precede(group, asking)


def store_alone(groups: Groups, node: Node) -> Group:
    """A new group for one node."""
    if node.op.name in REDUCTIONS:
        x = groups.inputs[node][0]
        axes = reduced_axes(node)
        rows = [axis for axis in range(x.ndim) if axis not in axes]
        group = groups.new_group(x.shape, rows, axes)
        group.lasting = node in groups.lasting
        source = identity(x.shape)
        place = Place(tuple([source.maps[axis] for axis in rows]))
        group.folds[node] = Folded(place, source)
        groups.add_target(group, node, place)
        groups.ask(group, node, place)
        groups.take(group, node, [(x, source)])
        return group
    group = groups.new_group(node.shape, range(node.ndim))
    group.lasting = node in groups.lasting
    groups.add_target(group, node, identity(node.shape))
    groups.ask(group, node, identity(node.shape))
    found = groups.sources(node, group)
    if found is None and node.op.name == "pad":
        return spread(groups, node, group)
    if found is None:
        raise NotImplementedError(
            f"no loop computes {node!r}, and the device has no kernel for {node.op.name}"
        )
    groups.take(group, node, found)
    return group


def store_parts(groups: Groups, node: Node) -> None:
    """A concatenation: parts of one shape are written by one group, each to its own place."""
    axis = node.attribute("axis")
    strides = row_major(node.shape)
    start, shape, group, place = 0, None, None, Place(())
    for part in groups.inputs[node]:
        if groups.size[part]:
            if group is None or shape != part.shape or len(group.targets) >= MOST_PARTS:
                shape, found = part.shape, part_beside(groups, node, part)
                group, place = found or (groups.new_group(shape, range(part.ndim)), identity(shape))
                groups.precede(group, groups.asking[node])
            address = weighted([((start * strides[axis], ()), 1), *zip(place.maps, strides, strict=True)])
            group.targets.append(Target(part, place, node, address))
            groups.ask(group, part, place)
        start += part.shape[axis]


def spread(groups: Groups, node: Node, fill: Group) -> Group:
    """A padding between elements that no loop axis divides: `fill` fills, the group returned stores the
    elements.
    """
    assert node.op.name == "pad", node
    x, value = groups.inputs[node]
    groups.asking[node].pop(fill)
    fill.asked.discard(node)
    fill.targets[0].node, fill.targets[0].place = value, Place(())
    groups.ask(fill, value, Place(()))
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
    group = groups.new_group(sizes, range(len(sizes)))
    group.targets.append(Target(x, Place(tuple(maps)), node, weighted((a, 1) for a in addresses)))
    groups.ask(group, x, Place(tuple(maps)))
    groups.precede(group, groups.asking[node])
    groups.precede(fill, [group])
    return group


def call_library(groups: Groups, node: Node) -> None:
    """A call of a library op; the group that alone reads its result becomes its epilogue where it can."""
    asking = groups.asking[node]
    group = epilogue_of(groups, node) if len(asking) == 1 and node not in groups.outputs else None
    if group is None:
        group = groups.new_group((), ())
        groups.precede(group, groups.readers(node))
    group.library = node
    for child in groups.inputs[node]:
        view = groups.view(child)
        group.views.append(view)
        groups.stored.add(view[0])
        groups.asking[view[0]].setdefault(group, set())
        group.asked.add(view[0])
