"""One level of a layered drawing: layers by longest path, order by barycentres, positions by least squares.

Items are numbered; nothing here knows what they are. An edge that skips layers passes through points of its
own in each, shared by all edges of its net, so that it goes around what stands there.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LANE_WIDTH = 8.0
MOST_POINTS = 12_000
"""Above so many points of passing edges, the longest nets are bundled into one lane at the side instead."""
SWEEPS = 6


@dataclass
class Net:
    """What reads one value at this level: `source` to each of `targets`. `leave` and the targets' numbers say
    how far from an item's middle the edge leaves or enters it.
    """

    source: int
    leave: float = 0.0
    targets: dict[int, float] = field(default_factory=dict)


@dataclass
class Level:
    """Layers of items and of passing points, top down. `x` are middles; `points[net, layer]` is the item of a
    passing point; nets in `bundled` have none.
    """

    layers: list[list[int]]
    x: list[float]
    layer_of: list[int]
    points: dict[tuple[Any, int], int]
    bundled: set[Any]


def arrange(
    widths: Sequence[float],
    nets: Mapping[Any, Net],
    first: Sequence[int],
    last: Sequence[int],
    gap: float,
) -> Level:
    """Give items their layers and middles. `first` and `last` have a layer of their own, above and below."""
    edges = [(net.source, target) for net in nets.values() for target in net.targets]
    layer_of = _layers(len(widths), edges, set(first), set(last))
    widths = list(widths)
    points: dict[tuple[Any, int], int] = {}
    bundled: set[Any] = set()
    left = MOST_POINTS
    for key, net in sorted(nets.items(), key=lambda item: _span(item[1], layer_of)):
        left -= max(0, _span(net, layer_of) - 1)
        if left < 0:
            bundled.add(key)
            continue
        for layer in range(layer_of[net.source] + 1, layer_of[net.source] + _span(net, layer_of)):
            points[key, layer] = len(widths)
            layer_of.append(layer)
            widths.append(LANE_WIDTH)
    segments = _segments(nets, layer_of, points, bundled)
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for item, layer in enumerate(layer_of):
        layers[layer].append(item)
    _order(layers, segments, len(widths))
    return Level(layers, _positions(layers, segments, widths, gap), layer_of, points, bundled)


def _span(net: Net, layer_of: Sequence[int]) -> int:
    return max((layer_of[target] - layer_of[net.source] for target in net.targets), default=0)


def _layers(count: int, edges: Sequence[tuple[int, int]], first: set[int], last: set[int]) -> list[int]:
    """Longest-path layers; edges that close a circle (two scopes that read each other) are left aside. What
    has no more inputs than readers comes down to them.
    """
    below: dict[int, list[int]] = defaultdict(list)
    waiting = [0] * count
    for u, v in edges:
        below[u].append(v)
        waiting[v] += 1
    ready = [i for i in range(count) if not waiting[i]]
    order: list[int] = []
    done = [False] * count
    unseen = iter(range(count))
    while len(order) < count:
        if not ready:
            ready.append(next(i for i in unseen if not done[i]))
        u = ready.pop()
        if done[u]:
            continue
        done[u] = True
        order.append(u)
        for v in below[u]:
            waiting[v] -= 1
            if not waiting[v] and not done[v]:
                ready.append(v)
    rank = {item: i for i, item in enumerate(order)}
    layer = [0 if not first or i in first else 1 for i in range(count)]
    inputs = [0] * count
    for u in order:
        for v in below[u]:
            if rank[v] > rank[u]:
                layer[v] = max(layer[v], layer[u] + 1)
                inputs[v] += 1
    for u in reversed(order):
        readers = [v for v in below[u] if rank[v] > rank[u] and v not in last]
        if u not in first and readers and inputs[u] <= len(readers):
            layer[u] = min(layer[v] for v in readers) - 1
    bottom = max((layer[i] for i in range(count) if i not in last), default=0) + 1
    for i in last:
        layer[i] = bottom
    return layer


Segment = tuple[int, float, int, float]
"""(upper item, where it leaves, lower item, where it enters): between neighbouring layers."""


def _segments(
    nets: Mapping[Any, Net],
    layer_of: Sequence[int],
    points: Mapping[tuple[Any, int], int],
    bundled: set[Any],
) -> list[Segment]:
    found: list[Segment] = []
    for key, net in nets.items():
        if key in bundled:
            continue
        above = layer_of[net.source]
        for layer in range(above + 1, above + _span(net, layer_of)):
            upper = points.get((key, layer - 1))
            item, offset = (net.source, net.leave) if upper is None else (upper, 0.0)
            found.append((item, offset, points[key, layer], 0.0))
        for target, enter in net.targets.items():
            upper = points.get((key, layer_of[target] - 1))
            if upper is not None:
                found.append((upper, 0.0, target, enter))
            elif layer_of[target] == above + 1:
                found.append((net.source, net.leave, target, enter))
    return found


def _neighbours(segments: Sequence[Segment], count: int) -> tuple[list[list[Segment]], list[list[Segment]]]:
    """The segments that end at each item from above, and from below."""
    above: list[list[Segment]] = [[] for _ in range(count)]
    below: list[list[Segment]] = [[] for _ in range(count)]
    for segment in segments:
        below[segment[0]].append(segment)
        above[segment[2]].append(segment)
    return above, below


def _order(layers: list[list[int]], segments: Sequence[Segment], count: int) -> None:
    """Sort every layer by its neighbours' barycentres, down and up in turn; keep what crosses least."""
    above, below = _neighbours(segments, count)
    place = [0.0] * count
    for layer in layers:
        for i, item in enumerate(layer):
            place[item] = float(i)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, below, place)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near = above if down else below
        for layer in layers if down else reversed(layers):
            wanted = {}
            for item in layer:
                ends = [(u, leave) if down else (v, enter) for u, leave, v, enter in near[item]]
                found = [place[other] + offset * 1e-4 for other, offset in ends]
                wanted[item] = sum(found) / len(found) if found else place[item]
            layer.sort(key=wanted.__getitem__)
            for i, item in enumerate(layer):
                place[item] = float(i)
        crossings = _crossings(layers, below, place)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _crossings(
    layers: Sequence[Sequence[int]], below: Sequence[Sequence[Segment]], place: Sequence[float]
) -> int:
    total = 0
    for layer in layers:
        seen: list[float] = []
        for item in layer:
            ends = sorted(place[segment[2]] for segment in below[item])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _positions(
    layers: Sequence[Sequence[int]], segments: Sequence[Segment], widths: Sequence[float], gap: float
) -> list[float]:
    """Middles close to the neighbours', with room between. Passing edges pull hardest, to be straight."""
    above, below = _neighbours(segments, len(widths))
    x = [0.0] * len(widths)
    for layer in layers:
        edge = 0.0
        for item in layer:
            x[item] = edge + widths[item] / 2
            edge += widths[item] + gap
        for item in layer:
            x[item] -= edge / 2
    passing = [width == LANE_WIDTH for width in widths]
    for sweep in range(4 * SWEEPS):
        both = sweep >= 2 * SWEEPS
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted, weights = [], []
            for item in layer:
                pull = weight = 0.0
                for upper, leave, _, enter in above[item] if sweep % 2 == 0 or both else ():
                    w = 6.0 if passing[item] and passing[upper] else 1.0
                    pull, weight = pull + w * (x[upper] + leave - enter), weight + w
                for _, leave, lower, enter in below[item] if sweep % 2 == 1 or both else ():
                    w = 6.0 if passing[item] and passing[lower] else 1.0
                    pull, weight = pull + w * (x[lower] + enter - leave), weight + w
                wanted.append(pull / weight if weight else x[item])
                weights.append(weight or 0.01)
            for item, middle in zip(layer, _separated(wanted, weights, [widths[i] for i in layer], gap)):
                x[item] = middle
    return x


def _separated(
    wanted: Sequence[float], weights: Sequence[float], widths: Sequence[float], gap: float
) -> list[float]:
    """The middles closest to those wanted, in weighted least squares, that keep order and gaps.

    Without the gaps this is isotonic regression: neighbours out of order are pooled at their mean.
    """
    offsets, offset = [], 0.0
    for i, width in enumerate(widths):
        offset += (widths[i - 1] + width) / 2 + gap if i else 0.0
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []
    for want, weight, offset in zip(wanted, weights, offsets):
        value, count = want - offset, 1
        while pools and pools[-1][0] > value:
            before, before_weight, before_count = pools.pop()
            value = (before * before_weight + value * weight) / (before_weight + weight)
            weight, count = before_weight + weight, before_count + count
        pools.append((value, weight, count))
    starts = [value for value, _, count in pools for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets)]
