"""`show`: a graph in a terminal, in a notebook, or as a file. Finds the graph in whatever holds it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from treadle.array import Array, Variable
from treadle.compiled import Compiled
from treadle.door import Door
from treadle.errors import ArgumentError
from treadle.function import Function
from treadle.graph.node import Node
from treadle.view.html import page
from treadle.view.picture import Picture, picture
from treadle.view.svg import svg
from treadle.view.text import picture_text

WRITERS = {
    ".html": page,
    ".svg": svg,
    ".txt": lambda drawn, title: picture_text(drawn).plain,
}


class View:
    """A picture that displays itself: as a page in a notebook, as text elsewhere."""

    def __init__(self, drawn: Picture, title: str = "computational graph"):
        self.picture = drawn
        self.title = title

    def _repr_html_(self) -> str:
        return framed(page(self.picture, self.title))

    def __repr__(self) -> str:
        return picture_text(self.picture).plain.rstrip()

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained file, of the kind the name ends in.

        Raises:
            ArgumentError: the name ends in none of .html, .svg, .txt.
        """
        path = Path(path)
        writer = WRITERS.get(path.suffix.lower())
        if writer is None:
            raise ArgumentError(
                f"[show] path={str(path)!r} ends in {path.suffix!r}; pictures are {', '.join(WRITERS)}"
            )
        path.write_text(writer(self.picture, self.title), encoding="utf-8")
        return path


def show(x: Any, *args: Any, path: str | os.PathLike[str] | None = None) -> View | None:
    """A graph to look at: nodes by role, with shapes, dtypes and the lines that made them.

    Args:
        x: an array, what a session would fetch (lists, tuples and dicts of arrays), or a function made by
            `function` or `compile`.
        args: example arguments, for a function made by `compile`.
        path: a file to write instead, ending in .html (groups fold), .svg or .txt. It needs no network.

    Returns:
        None; in a notebook, the picture, which displays itself.

    Raises:
        ArgumentError: there is no graph in x, or path ends in something else.

    >>> import treadle as td
    >>> x = td.placeholder((3,), name="x")
    >>> td.show(x * 2)  # doctest: +ELLIPSIS
    x = placeholder                float32[3]  input ...
    %1 = multiply(x, 2)  (output)  float32[3]  forward ...
    """
    view = View(picture(*targets(x, args)))
    if path is not None:
        view.write(path)
        return None
    if in_notebook():
        return view
    from rich.console import Console

    # Made now, so that it prints to whatever standard output is now.
    Console(soft_wrap=True, highlight=False).print(picture_text(view.picture), end="")
    return None


def targets(x: Any, args: Sequence[Any] = ()) -> tuple[list[Node], list[tuple[Any, Node]]]:
    """The outputs and the (cell, value) updates of whatever holds a graph."""
    if isinstance(x, functools.partial) and isinstance(x.func, Compiled):
        x, args = x.func, (*x.args, *args)
    if isinstance(x, Compiled):
        x, _ = x.door(*args)
    elif args:
        raise ArgumentError(
            f"[show] only functions made by compile take example arguments; this is a {type(x).__name__}"
        )
    if isinstance(x, Function):
        x = x.door
    if isinstance(x, Door):
        return x.outputs, list(x.updates.items())
    found: list[Node] = []
    _collect(x, found)
    if not found:
        raise ArgumentError(f"[show] there is no array in {x!r}")
    return found, []


def _collect(structure: Any, into: list[Node]) -> None:
    if isinstance(structure, Node):
        into.append(structure)
    elif isinstance(structure, (Array, Variable)):
        into.append(structure.node)
    elif isinstance(structure, dict):
        for item in structure.values():
            _collect(item, into)
    elif isinstance(structure, (list, tuple)):
        for item in structure:
            _collect(item, into)
    else:
        raise ArgumentError(
            f"[show] a {type(structure).__name__} is no graph; show takes arrays, lists, tuples and dicts of "
            f"them, and functions made by td.function and td.compile"
        )


def framed(document: str, height: int = 560) -> str:
    """A page inside a notebook's cell, where its styles and script touch nothing else."""
    return (
        f'<iframe sandbox="allow-scripts" style="width: 100%; height: {height}px; border: 1px solid #8884" '
        f'title="computational graph" srcdoc="{escape(document)}"></iframe>'
    )


def in_notebook() -> bool:
    """Whether the code runs in a kernel whose front end shows HTML."""
    shell = sys.modules.get("IPython")
    current = shell.get_ipython() if shell is not None else None
    return current is not None and hasattr(current, "kernel")
