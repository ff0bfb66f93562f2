"""A picture as one HTML page that needs nothing else: the SVG, a legend, a script that folds groups."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from treadle.view.picture import Picture
from treadle.view.roles import ROLES
from treadle.view.svg import drawing, layout_of, style

FOLD_ABOVE = 150
"""With more boxes than this the page opens with its groups folded."""


def page(picture: Picture, title: str = "computational graph") -> str:
    """One self-contained HTML page."""
    layout = layout_of(picture)
    folder = files("treadle.view")
    css, script = (folder.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    counts = {role: sum(box.role == role for box in picture.boxes) for role in picture.roles}
    legend = "".join(
        f'<li title="{escape(ROLES[role].legend)}">'
        f'<svg class="treadle-picture" width="14" height="14" aria-hidden="true">'
        f'<g class="{role}"><rect x="1" y="1" width="12" height="12" rx="3"/></g></svg>'
        f"{role} <small>{count}</small></li>"
        for role, count in counts.items()
    )
    size = f"{layout.width:.0f} {layout.height:.0f}"
    buttons = [("unfold", "unfold all"), ("fold", "fold all")] if picture.groups else []
    buttons += [("out", "−"), ("in", "+"), ("fit", "fit")]
    said = {"out": "smaller", "in": "larger", "fit": "fit the width"}
    controls = "".join(
        f'<button type="button" data-do="{do}" aria-label="{said.get(do, text)}">{text}</button>'
        for do, text in buttons
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{style()}{css}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1><ul>{legend}</ul><nav>{controls}</nav></header>\n"
        f'<main><svg id="picture" class="treadle-picture" role="group" aria-label="{escape(title)}" '
        f'data-fold="{int(len(picture.boxes) > FOLD_ABOVE)}" '
        f'width="{layout.width:.0f}" height="{layout.height:.0f}" '
        f'viewBox="0 0 {size}">\n{drawing(picture, layout)}\n</svg></main>\n'
        f'<output id="said" aria-live="polite">Point at a node for its shape, dtype and line.</output>\n'
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )
