"""Graphs made visible: as text, and as one self-contained SVG or HTML page. Reads graphs, changes nothing."""

from __future__ import annotations

from treadle.view.display import array_html, program_html
from treadle.view.show import View, show

__all__ = ["View", "array_html", "program_html", "show"]
