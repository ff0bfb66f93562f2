"""Notebook displays of what is no picture itself: arrays and compiled programs."""

from __future__ import annotations

from html import escape
from typing import Any

from treadle.graph.dimension import is_known
from treadle.graph.node import MAPPED, STATIC
from treadle.view.html import page
from treadle.view.picture import picture
from treadle.view.show import framed


def array_html(array: Any) -> str:
    """An array: its type and values; of a static graph, or of one example, its type and its picture."""
    node = array.node
    kind = f"{node.type!r} on {node.device}"
    if node.flags & (STATIC | MAPPED) or not is_known(node.type.shape):
        drawn = framed(page(picture([node])), 360)
        of = "one example" if node.flags & MAPPED else "a static graph"
        return (
            f"<div><code>{escape(kind)}, of {of}</code>"
            f"<details><summary>graph</summary>{drawn}</details></div>"
        )
    return f"<div><code>{escape(kind)}</code><pre>{escape(str(array.numpy()))}</pre></div>"


def program_html(executable: Any) -> str:
    """A compiled program: the bytes it needs, its graph, and what each pass made of it."""
    memory = ", ".join(f"{kind} {nbytes:,} bytes" for kind, nbytes in executable.memory().items())
    drawn = framed(page(picture(executable.outputs), "compiled program"), 420)
    return (
        f"<div><code>{escape(type(executable).__name__)}: {escape(memory)}</code>{drawn}"
        f"<details><summary>passes and kernels</summary>"
        f"<pre>{escape(executable.explain())}</pre></details></div>"
    )
