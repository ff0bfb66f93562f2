"""A profile as one self-contained HTML page: the roofline, what ran when, and the table."""

from __future__ import annotations

import math
from html import escape

from treadle.profiling.profile import Profile
from treadle.profiling.roofline import COLOURS, axes, family, points
from treadle.view.svg import SURFACES

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 18, 40
"""Around the axes, in pixels."""
LANE, GAP = 26, 6
"""The height of one role in the timeline, and what is between two."""
MOST_EVENTS = 4000
"""Of more the longest are drawn."""
LANES = ("forward", "gradient", "update")
RULES = """
body { margin: 0 auto; padding: 1rem; max-width: 1180px; background: var(--ground); color: var(--ink);
  font: 15px/1.4 system-ui, sans-serif; color-scheme: light dark; }
h1 { font-size: 1.1rem; } h2 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
svg { width: 100%; height: auto; background: var(--panel); border-radius: 8px; }
svg text { font-size: 11px; fill: var(--faint); }
svg .grid { stroke: var(--frame); stroke-width: .6; }
svg .roof { fill: none; stroke: var(--ink); stroke-width: 1.4; opacity: .7; }
svg circle { fill-opacity: .6; }
pre { overflow-x: auto; background: var(--panel); border-radius: 8px; padding: .8rem; font-size: 12px; }
"""


def page(profile: Profile) -> str:
    """One HTML page; it follows the reader's light or dark colours."""
    title = f"{profile.name}: {profile.totals.step_ms:.3f} ms"
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(1)} }} }}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n:root {{ {_variables(0)} }}\n{dark}\n{RULES.strip()}\n</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n"
        f"<h2>What the machine allows, and what kernels reach (areas are times)</h2>\n{roofline(profile)}\n"
        f"<h2>What ran when</h2>\n{timeline(profile)}\n"
        f"<h2>Kernels</h2>\n<pre>{escape(profile.table(most=100))}</pre>\n</body>\n</html>\n"
    )


def _variables(dark: int) -> str:
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in {**SURFACES, **COLOURS}.items())


def roofline(profile: Profile) -> str:
    """Kernels by operations a byte and speed, as SVG."""
    shown, of = points(profile), profile.totals
    left, right, low, high = axes(profile, shown)

    def place(intensity: float, gflops: float) -> tuple[float, float]:
        across = math.log2(intensity / left) / math.log2(right / left)
        up = math.log2(max(gflops, low) / low) / math.log2(high / low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for power in range(round(math.log2(low)), round(math.log2(high)) + 1):
        y = place(left, 2.0**power)[1]
        parts.append(
            f'<path class="grid" d="M{LEFT},{y:.1f} H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{2.0**power:g}</text>'
        )
    for power in range(round(math.log2(left)), round(math.log2(right)) + 1):
        x = place(2.0**power, low)[0]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 24}" text-anchor="middle">{2.0**power:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">FLOP a byte</text>')
    parts.append(f'<text x="{LEFT + 4}" y="{TOP - 4}">GFLOP/s</text>')
    for name, rate in of.roofs.items():
        begins = max(left, low / rate)
        (x0, y0), (x1, y1) = place(begins, begins * rate), place(of.limit_gflops / rate, of.limit_gflops)
        parts.append(
            f'<path class="roof" d="M{x0:.1f},{y0:.1f} L{x1:.1f},{y1:.1f} H{WIDTH - RIGHT}">'
            f"<title>{escape(name)}: {rate:.1f} GB/s; {of.limit_gflops:.0f} GFLOP/s</title></path>"
            f'<text x="{x1:.1f}" y="{y1 - 6:.1f}" text-anchor="middle">{escape(name)}</text>'
        )
    for point in shown:
        x, y = place(point.intensity, point.gflops)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2.5 + 40 * math.sqrt(point.share):.1f}" '
            f'style="fill: var(--{point.family})"><title>{escape(point.said)}</title></circle>'
        )
    return _svg(HEIGHT, "kernels under the machine's limits", [*parts, _legend()])


def timeline(profile: Profile) -> str:
    """The kernels of one step over its time, a lane for each role, as SVG."""
    events = sorted(profile.events, key=lambda event: -event.took_us)[:MOST_EVENTS]
    whole = max([1e3 * profile.totals.step_ms, *[event.us + event.took_us for event in events]])
    height = TOP + len(LANES) * (LANE + GAP) + BOTTOM - 14
    scale = (WIDTH - LEFT - RIGHT) / whole
    parts = [
        f'<text x="{LEFT - 6}" y="{TOP + i * (LANE + GAP) + 17}" text-anchor="end">{role}</text>'
        for i, role in enumerate(LANES)
    ]
    for tenth in range(0, 11, 2):
        x = LEFT + tenth / 10 * (WIDTH - LEFT - RIGHT)
        parts.append(
            f'<path class="grid" d="M{x:.1f},{TOP} V{height - 24}"/>'
            f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">{whole * tenth / 1e4:.3g} ms</text>'
        )
    for event in events:
        row = profile.rows[event.row]
        lane = LANES.index(row.role) if row.role in LANES else 0
        width = max(0.3, event.took_us * scale)
        parts.append(
            f'<rect x="{LEFT + event.us * scale:.2f}" y="{TOP + lane * (LANE + GAP)}" '
            f'width="{width:.2f}" height="{LANE}" style="fill: var(--{family(row)})">'
            f"<title>{escape(row.label)}\n{event.took_us / 1e3:.3f} ms\n{escape(row.line)}</title></rect>"
        )
    return _svg(height, "what ran when", parts)


def _legend() -> str:
    parts = []
    for i, name in enumerate(COLOURS):
        y = HEIGHT - BOTTOM - 12 - 16 * (len(COLOURS) - 1 - i)
        parts.append(
            f'<circle cx="{WIDTH - RIGHT - 96}" cy="{y}" r="5" style="fill: var(--{name})"/>'
            f'<text x="{WIDTH - RIGHT - 86}" y="{y + 4}">{name}</text>'
        )
    return "".join(parts)


def _svg(height: int, said: str, parts: list[str]) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(said)}">\n{inside}\n</svg>'
    )
