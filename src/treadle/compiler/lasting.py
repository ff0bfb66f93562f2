"""What depends on lasting leaves alone: those that hold the same from run to run, as a rule, such as the
parameters of a network that is not trained. A device may compute it once and keep it.

Only found here, in a graph and among calls; where it is kept, and until when, is the device's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from treadle.compiler.costs import REDUCTIONS, Costs
from treadle.compiler.indexmap import MOVEMENT
from treadle.compiler.program import Call, Fused
from treadle.graph.node import Node


def lasting_nodes(
    order: Sequence[Node], inputs: Mapping[Node, tuple[Node, ...]], leaves: Collection[int]
) -> dict[Node, int]:
    """The nodes that depend on lasting leaves, and on nothing else but constants. Each with the most elements
    that one of its leaves has.
    """
    found: dict[Node, int] = {}
    constant: set[Node] = set()
    for node in order:
        below = inputs[node]
        if node.op.name == "input":
            if node.attribute("index") in leaves:
                found[node] = math.prod(node.shape)  # type: ignore[arg-type]
        elif node.op.effect or node.op.user or node.op.of_graphs:
            continue
        elif all(child in found or child in constant for child in below):
            if any(child in found for child in below):
                found[node] = max(found[child] for child in below if child in found)
            else:
                constant.add(node)
    return found


def stored_once(
    order: Sequence[Node],
    inputs: Mapping[Node, tuple[Node, ...]],
    size: Mapping[Node, int],
    lasting: Mapping[Node, int],
    costs: Costs,
) -> set[Node]:
    """Lasting values that are worth a place in memory: others read them, and they cost something. None that
    is larger than the leaves it is made of.
    """
    found = set()
    for node in order:
        if node in lasting:
            continue
        for child in inputs[node]:
            while child in lasting and child.op.name in MOVEMENT and child.op.name != "pad":
                child = inputs[child][0]
            dear = child.op.name in REDUCTIONS or not costs.cheap(child)
            if child in lasting and not child.op.leaf and dear and size[child] <= lasting[child]:
                found.add(child)
    return found


def lasting_calls(
    fused: Fused, calls: Sequence[Call], leaves: Collection[int], usable: Callable[[int], bool]
) -> tuple[list[bool], set[int]]:
    """For every call whether it depends on lasting leaves alone; and the buffers that do, leaves and what
    such calls write. Calls that write outputs run every time, as those that are not `usable`.
    """
    infos = fused.buffers
    writers: dict[int, list[int]] = {}
    for i, call in enumerate(calls):
        for buffer in call.writes:
            writers.setdefault(buffer, []).append(i)
    whole = [bool(call.reads) and usable(i) for i, call in enumerate(calls)]

    def lasts(buffer: int) -> bool:
        info = infos[buffer]
        if info.source == "input":
            return info.index in leaves
        return info.source == "temporary" and all(whole[i] for i in writers.get(buffer, ()))

    changed = True
    while changed:
        changed = False
        for i, call in enumerate(calls):
            if whole[i] and not all(map(lasts, (*call.reads, *call.writes))):
                whole[i], changed = False, True
    return whole, {b for b in range(len(infos)) if lasts(b) and (b in writers or infos[b].source == "input")}
