"""Panels of curves as one self-contained HTML page of SVG pictures. Knows points, not where they are from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from treadle.view.svg import SURFACES

if TYPE_CHECKING:
    from treadle.train.curves import Curve, Panel

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 34
"""Around the axes, in pixels."""
COLOURS = {
    "each step": ("#a9b8c8", "#4d5a68"),
    "training": ("#1f6feb", "#58a6ff"),
    "validation": ("#d2570a", "#f0883e"),
}
"""Of each kind of curve, on light and on dark ground."""
DECADES = 50
"""From this ratio of the largest to the smallest value on the axis counts decades."""
MOST = 1500
"""A curve of more points is drawn by the means of so many parts of it."""
RULES = """
body { margin: 0 auto; padding: 1rem; max-width: 1180px; background: var(--ground); color: var(--ink);
  font: 15px/1.4 system-ui, sans-serif; color-scheme: light dark; }
h1 { font-size: 1.1rem; margin: 0 0 .8rem; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; background: var(--panel); border-radius: 8px; }
svg text { font-size: 11px; fill: var(--faint); }
svg .name { font-size: 13px; font-weight: 600; fill: var(--ink); }
svg .grid { stroke: var(--frame); stroke-width: .6; }
svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .thin { stroke-width: 1; }
"""


def page(panels: Sequence[Panel], title: str) -> str:
    """One HTML page; it follows the reader's light or dark colours."""
    pictures = "\n".join(picture(panel) for panel in panels)
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(1)} }} }}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n:root {{ {_variables(0)} }}\n{dark}\n{RULES.strip()}\n</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<main>\n{pictures}\n</main>\n</body>\n</html>\n"
    )


def _variables(dark: int) -> str:
    named = {**SURFACES, **{_variable(kind): pair for kind, pair in COLOURS.items()}}
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in named.items())


def _variable(kind: str) -> str:
    return kind.replace(" ", "-")


def is_logarithmic(panel: Panel) -> bool:
    """Whether the values are better read on an axis of decades."""
    low, high = min(panel.values), max(panel.values)
    return low > 0 and high / low >= DECADES


def picture(panel: Panel) -> str:
    """One panel as SVG."""
    logarithmic = is_logarithmic(panel)
    low, high, marks = _decades(panel.values) if logarithmic else _linear(panel.values)
    steps = [x for curve in panel.curves for x, _ in curve.points]
    first, last = min(steps), max(steps)
    last = last if last > first else first + 1

    def place(x: float, y: float) -> tuple[float, float]:
        y = math.log10(y) if logarithmic else y
        across, up = (x - first) / (last - first), (y - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text class="name" x="{LEFT}" y="21">{escape(panel.name)}</text>', _legend(panel.curves)]
    for value in marks:
        y = place(first, value)[1]
        parts.append(
            f'<path class="grid" d="M{LEFT},{y:.1f} H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>'
        )
    for step in ticks(first, last, 6):
        x = place(step, 10**low if logarithmic else low)[0]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{step:.10g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">step</text>')
    for curve in panel.curves:
        parts.append(_drawn(curve, [place(x, y) for x, y in thinned(curve.points)]))
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(_said(panel))}">\n{inside}\n</svg>'
    )


def _drawn(curve: Curve, points: Sequence[tuple[float, float]]) -> str:
    colour = f"var(--{_variable(curve.kind)})"
    last_x, last_y = curve.points[-1]
    title = f"<title>{escape(curve.kind)}: {last_y:.6g} at step {last_x:.10g}</title>"
    if len(points) == 1:
        (x, y), *_ = points
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" style="fill: {colour}">{title}</circle>'
    thin = " thin" if curve.kind == "each step" else ""
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="curve{thin}" style="stroke: {colour}" points="{way}">{title}</polyline>'


def _legend(curves: Sequence[Curve]) -> str:
    x, parts = WIDTH - RIGHT, []
    for curve in reversed(curves):
        x -= 7 * len(curve.kind) + 26
        parts.append(
            f'<path d="M{x},17 h14" style="stroke: var(--{_variable(curve.kind)}); stroke-width: 3"/>'
            f'<text x="{x + 19}" y="21">{curve.kind}</text>'
        )
    return "".join(parts)


def _said(panel: Panel) -> str:
    """The picture in words."""
    ends = ", ".join(f"{curve.kind} {curve.points[-1][1]:.4g}" for curve in panel.curves)
    return f"{panel.name} over the steps, at the end: {ends}"


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """No more points than can be seen: the means of equal parts."""
    if len(points) <= MOST:
        return list(points)
    cuts = [i * len(points) // MOST for i in range(MOST + 1)]
    parts = [points[a:b] for a, b in pairwise(cuts)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two, at most so many: multiples of 1, 2 or 5 times a power of ten.

    >>> ticks(0.03, 0.98, 6)
    [0.2, 0.4, 0.6, 0.8]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9)
    return [round(i * apart, 12 - math.floor(math.log10(apart))) for i in range(first, last + 1)]


def _linear(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends of an axis and its marks."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-300):
        wide = abs(high) * 0.1 or 1.0
        low, high = low - wide, high + wide
    margin = 0.04 * (high - low)
    low, high = low - margin, high + margin
    return low, high, ticks(low, high, 6)


def _decades(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends of an axis, as powers of ten, and its marks."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = 0.04 * (high - low)
    low, high = low - margin, high + margin
    every = max(1, round((high - low) / 7))
    return low, high, [10.0**i for i in range(math.ceil(low), math.floor(high) + 1, every)]
