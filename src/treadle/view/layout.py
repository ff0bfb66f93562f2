"""Where everything stands: each group is laid out in layers, and is then one item of the group around it.

Takes sizes, groups and edges; gives rectangles and the points that edges go through. Knows nothing of nodes
or colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from treadle.view.layers import Net, arrange

GAP = 18.0
LAYER_GAP = 30.0
PADDING = 14.0
HEADER = 24.0
MARGIN = 16.0

Group = tuple[str, ...]
Point = tuple[float, float]


@dataclass(frozen=True)
class Port:
    """Where the value of a box crosses the border of a group."""

    box: int
    inward: bool


Item = int | Group | Port
"""What stands in a group: a box, a group inside it, or a crossing of its border."""


@dataclass
class Rectangle:
    """Left, top, width, height."""

    x: float
    y: float
    width: float
    height: float


@dataclass
class Layout:
    """Rectangles of boxes and groups; `routes[u, v]` are the points of an edge, from below u to above v."""

    boxes: list[Rectangle]
    groups: dict[Group, Rectangle]
    routes: dict[tuple[int, int], list[Point]]
    width: float
    height: float


@dataclass
class _Frame:
    """One group's inside, before it has a place."""

    group: Group
    items: list[Item] = field(default_factory=list)
    places: dict[Item, Rectangle] = field(default_factory=dict)
    chains: dict[tuple[int, Item], list[Point]] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0


def lay_out(
    sizes: Sequence[tuple[float, float]],
    groups: Sequence[Group],
    edges: Sequence[tuple[int, int]],
    header_widths: dict[Group, float],
) -> Layout:
    """Lay out boxes of the given sizes, each in its group, so that edges go down.

    `header_widths` is the room that a group's name needs.
    """
    paths = {group[:depth] for group in groups for depth in range(len(group) + 1)} | {()}
    frames = {path: _Frame(path) for path in paths}
    for i, group in enumerate(groups):
        frames[group].items.append(i)
    for path in sorted(paths):
        if path:
            frames[path[:-1]].items.append(path)
    steps = _steps(groups, edges)
    for path in sorted(paths, key=len, reverse=True):
        _lay_out_frame(frames[path], frames, sizes, steps.get(path, []), header_widths.get(path, 0.0))
    _place(frames)
    boxes = []
    for i, group in enumerate(groups):
        inside = frames[group].places[i]
        boxes.append(
            Rectangle(frames[group].x + inside.x, frames[group].y + inside.y, inside.width, inside.height)
        )
    rectangles = {path: Rectangle(f.x, f.y, f.width, f.height) for path, f in frames.items() if path}
    routes = {(u, v): _route(frames, groups, boxes, u, v) for u, v in edges}
    return Layout(boxes, rectangles, routes, frames[()].width, frames[()].height)


def _item_of(box: int, group: Group, path: Group) -> Item:
    """What stands for a box in the frame of `path`, in or around the box's group."""
    return box if group == path else group[: len(path) + 1]


def _legs(groups: Sequence[Group], u: int, v: int) -> list[tuple[Group, Item, Item]]:
    """The frames an edge goes through and the items it joins in each: out of u's groups, then into v's."""
    source, target = groups[u], groups[v]
    common = 0
    while common < min(len(source), len(target)) and source[common] == target[common]:
        common += 1
    legs: list[tuple[Group, Item, Item]] = []
    for depth in range(len(source), common, -1):
        path = source[:depth]
        legs.append((path, _item_of(u, source, path), Port(u, False)))
    path = source[:common]
    legs.append((path, _item_of(u, source, path), _item_of(v, target, path)))
    for depth in range(common + 1, len(target) + 1):
        path = target[:depth]
        legs.append((path, Port(u, True), _item_of(v, target, path)))
    return legs


def _steps(
    groups: Sequence[Group], edges: Sequence[tuple[int, int]]
) -> dict[Group, list[tuple[int, Item, Item]]]:
    """For every frame the (value, from item, to item) that edges need in it, each once."""
    found: dict[Group, dict[tuple[int, Item, Item], None]] = {}
    for u, v in edges:
        for path, source, target in _legs(groups, u, v):
            found.setdefault(path, {})[u, source, target] = None
    return {path: list(steps) for path, steps in found.items()}


def _lay_out_frame(
    frame: _Frame,
    frames: dict[Group, _Frame],
    sizes: Sequence[tuple[float, float]],
    steps: Sequence[tuple[int, Item, Item]],
    header_width: float,
) -> None:
    items = dict.fromkeys(frame.items)
    for _, source, target in steps:
        items.setdefault(source)
        items.setdefault(target)
    order = sorted(items, key=_first_box(frames))
    number = {item: i for i, item in enumerate(order)}
    extents = [_extent(item, frames, sizes) for item in order]
    nets: dict[Item, Net] = {}
    for value, source, target in steps:
        net = nets.setdefault(value, Net(number[source], _port(source, Port(value, False), frames)))
        net.targets[number[target]] = _port(target, Port(value, True), frames)
    comes_in = [i for item, i in number.items() if isinstance(item, Port) and item.inward]
    goes_out = [i for item, i in number.items() if isinstance(item, Port) and not item.inward]
    level = arrange([width for width, _ in extents], nets, comes_in, goes_out, GAP)
    padding, top = (PADDING, HEADER + PADDING) if frame.group else (MARGIN, MARGIN)
    heights = [max((extents[i][1] for i in layer if i < len(order)), default=0.0) for layer in level.layers]
    tops = [0.0] * len(heights)
    y = top
    for depth in range(bool(comes_in), len(heights) - bool(goes_out)):
        tops[depth] = y
        y += heights[depth] + LAYER_GAP
    frame.height = y - LAYER_GAP + padding
    reach = [extents[i][0] / 2 if i < len(order) else 0.0 for i in range(len(level.x))]
    left = min((x - half for x, half in zip(level.x, reach)), default=0.0)
    right = max((x + half for x, half in zip(level.x, reach)), default=0.0)
    side_lane = right + GAP
    if level.bundled:
        right = side_lane
    frame.width = max(right - left, header_width) + 2 * padding
    shift = (frame.width - (right - left)) / 2 - left
    for item, i in number.items():
        width, height = extents[i]
        depth = level.layer_of[i]
        if isinstance(item, Port):
            y = 0.0 if item.inward else frame.height
        else:
            y = tops[depth] + (heights[depth] - height) / 2
        frame.places[item] = Rectangle(level.x[i] + shift - width / 2, y, width, height)
    for value, source, target in steps:
        chain: list[Point] = []
        for depth in range(level.layer_of[number[source]] + 1, level.layer_of[number[target]]):
            x = (side_lane if value in level.bundled else level.x[level.points[value, depth]]) + shift
            chain.append((x, tops[depth]))
            chain.append((x, tops[depth] + heights[depth]))
        if value in level.bundled:
            # The lane is one line from end to end.
            chain = [*chain[:1], *chain[-1:]]
        frame.chains[value, target] = chain


def _first_box(frames: dict[Group, _Frame]):
    """Orders items as the program has them: a group by the first box in it."""
    known: dict[Item, int] = {}

    def first(item: Item) -> int:
        if isinstance(item, int):
            return item
        if isinstance(item, Port):
            return item.box
        if item not in known:
            known[item] = min(map(first, frames[item].items))
        return known[item]

    return first


def _extent(
    item: Item, frames: dict[Group, _Frame], sizes: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    if isinstance(item, int):
        return sizes[item]
    if isinstance(item, Port):
        return 1.0, 0.0
    return frames[item].width, frames[item].height


def _port(item: Item, port: Port, frames: dict[Group, _Frame]) -> float:
    """How far from an item's middle a value crosses its border."""
    if not isinstance(item, tuple):
        return 0.0
    frame = frames[item]
    return frame.places[port].x + frame.places[port].width / 2 - frame.width / 2


def _place(frames: dict[Group, _Frame]) -> None:
    for path in sorted(frames, key=len):
        if path:
            around = frames[path[:-1]]
            inside = around.places[path]
            frames[path].x, frames[path].y = around.x + inside.x, around.y + inside.y


def _route(
    frames: dict[Group, _Frame], groups: Sequence[Group], boxes: Sequence[Rectangle], u: int, v: int
) -> list[Point]:
    points = [(boxes[u].x + boxes[u].width / 2, boxes[u].y + boxes[u].height)]
    for path, source, target in _legs(groups, u, v):
        frame = frames[path]
        if isinstance(source, Port):
            place = frame.places[source]
            points.append((frame.x + place.x + place.width / 2, frame.y))
        points += [(frame.x + x, frame.y + y) for x, y in frame.chains[u, target]]
        if isinstance(target, Port):
            place = frame.places[target]
            points.append((frame.x + place.x + place.width / 2, frame.y + frame.height))
    points.append((boxes[v].x + boxes[v].width / 2, boxes[v].y))
    return points
