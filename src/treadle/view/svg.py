"""A laid-out picture as SVG. Colours stand in one style sheet; all else is geometry and escaped text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from treadle.view.layout import HEADER, Layout, Point, lay_out
from treadle.view.picture import Box, Picture
from treadle.view.roles import ROLES

CHARACTER = 7.3
"""Width of a character of the labels' 12-pixel monospaced font, rounded up."""
SMALL_CHARACTER = 6.1
LABEL_MOST = 34
SURFACES = {
    "ground": ("#ffffff", "#14181d"),
    "panel": ("#f5f7f9", "#1c2229"),
    "ink": ("#1b2430", "#e8edf2"),
    "faint": ("#566270", "#9daab7"),
    "edge": ("#8d99a6", "#667482"),
    "frame": ("#c3ccd5", "#3b4651"),
}

RULES = """
.treadle-picture { color-scheme: light dark; background: var(--ground); }
.treadle-picture text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
  monospace; font-size: 12px; fill: var(--ink); text-anchor: middle; }
.treadle-picture .type, .treadle-picture .legend { font-size: 10px; fill: var(--faint); }
.treadle-picture .small text, .treadle-picture .legend { font-size: 10px; }
.treadle-picture .name { font-size: 12px; font-weight: 600; text-anchor: start; }
.treadle-picture .group > rect { fill: var(--panel); fill-opacity: .75; stroke: var(--frame); }
.treadle-picture .box > rect { stroke-width: 1.2; }
.treadle-picture .output > rect { stroke-width: 3; }
.treadle-picture .edge { fill: none; stroke: var(--edge); stroke-width: 1.2; }
.treadle-picture .tip { fill: var(--edge); }
"""


def palette(dark: bool) -> str:
    """The style variables of the light or the dark colours."""
    colours = [f"--{name}: {pair[dark]};" for name, pair in SURFACES.items()]
    for role in ROLES.values():
        fill, stroke = role.dark if dark else role.light
        colours += [f"--{role.name}: {fill};", f"--{role.name}-line: {stroke};"]
    return " ".join(colours)


def style() -> str:
    """The style sheet: light colours, dark ones where the reader prefers them."""
    roles = "\n".join(
        f".treadle-picture .{name} > rect {{ fill: var(--{name}); stroke: var(--{name}-line); }}"
        for name in ROLES
    )
    return (
        f":root {{ {palette(dark=False)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {palette(dark=True)} }} }}\n"
        f"{RULES.strip()}\n{roles}\n"
    )


def label_of(box: Box) -> str:
    """What stands in a box, short enough to read."""
    label = box.label
    return label if len(label) <= LABEL_MOST else label[: LABEL_MOST - 1] + "…"


def size_of(box: Box) -> tuple[float, float]:
    """Width and height of a box around its text."""
    if box.small:
        return SMALL_CHARACTER * len(label_of(box)) + 16, 20.0
    return max(CHARACTER * len(label_of(box)), SMALL_CHARACTER * len(box.type)) + 20, 38.0


def layout_of(picture: Picture) -> Layout:
    """Where the boxes of a picture stand."""
    header_widths = {path: CHARACTER * len(path[-1]) + 60 for path in picture.groups}
    return lay_out(
        [size_of(box) for box in picture.boxes],
        [box.group for box in picture.boxes],
        picture.edges,
        header_widths,
    )


def svg(picture: Picture, title: str = "computational graph") -> str:
    """One self-contained SVG file."""
    layout = layout_of(picture)
    legend_height = 30.0
    width = max(layout.width, 84.0 * len(picture.roles) + 20)
    return (
        f'<svg class="treadle-picture" xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" '
        f'height="{layout.height + legend_height:.0f}" viewBox="0 {-legend_height:.0f} {width:.0f} '
        f'{layout.height + legend_height:.0f}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style()}</style>\n"
        f"{_legend(picture.roles, -legend_height)}\n{drawing(picture, layout)}\n</svg>\n"
    )


def _legend(roles: Sequence[str], y: float) -> str:
    return "\n".join(
        f'<g class="{role}"><title>{escape(ROLES[role].legend)}</title>'
        f'<rect x="{16 + 84 * i}" y="{y + 10:.0f}" width="12" height="12" rx="3"/>'
        f'<text class="legend" x="{33 + 84 * i}" y="{y + 20:.0f}" style="text-anchor: start">'
        f"{role}</text></g>"
        for i, role in enumerate(roles)
    )


def drawing(picture: Picture, layout: Layout) -> str:
    """Groups, edges and boxes, in the order in which they cover each other.

    Groups and boxes stand where their `transform` says, and their `data-` attributes say what they are.
    """
    names = {path: i for i, path in enumerate(picture.groups)}
    parts = [_group(picture, layout, path, names) for path in picture.groups]
    for u, v in picture.edges:
        points = layout.routes[u, v]
        parts.append(
            f'<path class="edge" data-from="{u}" data-to="{v}" d="{curve(points)}"/>'
            f'<path class="tip" data-from="{u}" data-to="{v}" d="{tip(points[-1])}"/>'
        )
    parts += [_box(i, box, layout, names) for i, box in enumerate(picture.boxes)]
    return "\n".join(parts)


def _group(picture: Picture, layout: Layout, path: tuple[str, ...], names: dict[tuple[str, ...], int]) -> str:
    place = layout.groups[path]
    count = sum(box.group[: len(path)] == path for box in picture.boxes)
    around = names.get(path[:-1], "")
    said = escape(" / ".join(path))
    return (
        f'<g class="group" data-group="{names[path]}" data-in="{around}" data-count="{count}" '
        f'data-box="{_four(layout, path)}" '
        f'transform="translate({place.x:.1f},{place.y:.1f})"><title>{said}: {count} nodes</title>'
        f'<rect width="{place.width:.1f}" height="{place.height:.1f}" rx="8"/>'
        f'<text class="name" x="14" y="{HEADER - 7:.0f}">{escape(path[-1])}</text></g>'
    )


def _four(layout: Layout, path: tuple[str, ...]) -> str:
    place = layout.groups[path]
    return f"{place.x:.1f} {place.y:.1f} {place.width:.1f} {place.height:.1f}"


def _box(i: int, box: Box, layout: Layout, names: dict[tuple[str, ...], int]) -> str:
    place = layout.boxes[i]
    kind = " ".join(["box", box.role, *(["small"] if box.small else []), *(["output"] if box.output else [])])
    rounding = place.height / 2 if box.leaf else 4
    middle = place.width / 2
    label = f'<text x="{middle:.1f}" y="{14 if box.small else 16}">{escape(label_of(box))}</text>'
    if not box.small:
        label += f'<text class="type" x="{middle:.1f}" y="30">{escape(box.type)}</text>'
    return (
        f'<g class="{kind}" tabindex="0" data-node="{i}" data-in="{names.get(box.group, "")}" '
        f'data-box="{place.x:.1f} {place.y:.1f} {place.width:.1f} {place.height:.1f}" '
        f'transform="translate({place.x:.1f},{place.y:.1f})"><title>{escape(box.title)}</title>'
        f'<rect width="{place.width:.1f}" height="{place.height:.1f}" rx="{rounding:.0f}"/>{label}</g>'
    )


def curve(points: Sequence[Point]) -> str:
    """A smooth path that leaves and enters every point vertically."""
    (x, y), *rest = points
    text = f"M{x:.1f},{y:.1f}"
    for next_x, next_y in rest:
        if abs(next_x - x) < 0.5:
            text += f" L{next_x:.1f},{next_y:.1f}"
        else:
            middle = (y + next_y) / 2
            text += f" C{x:.1f},{middle:.1f} {next_x:.1f},{middle:.1f} {next_x:.1f},{next_y:.1f}"
        x, y = next_x, next_y
    return text


def tip(point: Point) -> str:
    """The head of the arrow that ends there."""
    x, y = point
    return f"M{x - 3.5:.1f},{y - 6:.1f} L{x + 3.5:.1f},{y - 6:.1f} L{x:.1f},{y:.1f} Z"
