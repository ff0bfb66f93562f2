"""The session door: placeholders and `Session.run(fetches, feed_dict)`, as in TensorFlow 1."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from treadle import state
from treadle.array import Array, ArrayLike, Variable
from treadle.door import PLACEHOLDER, Door, feed_buffer
from treadle.door import placeholder as placeholder_node
from treadle.dtypes import as_dtype, float32
from treadle.errors import FeedError, ShapeError
from treadle.graph.dimension import Dimension, Size
from treadle.graph.node import Node
from treadle.state import Cell

_numbers = itertools.count()


def placeholder(
    shape: Sequence[int | str | None] = (), dtype: Any = float32, name: str | None = None
) -> Array:
    """A value to be fed when the graph runs.

    Args:
        shape: sizes: a number, a name (equal names are equal sizes), or None for a size of its own.
        dtype: element type of what will be fed.
        name: what messages and pictures call it.

    Returns:
        Array that can be computed with, and has no value.

    Raises:
        ShapeError: a size is neither a number, a name nor None.

    >>> import treadle as td
    >>> x = td.placeholder((None, 3), name="x")
    >>> td.Session().run(x.sum(axis=1), {x: [[1.0, 2.0, 3.0]]}).tolist()
    [6.0]
    """
    name = name or f"placeholder{next(_numbers)}"
    sizes: list[Size] = []
    for axis, size in enumerate(shape):
        if size is None:
            sizes.append(Dimension([f"{name}.{axis}"]))
        elif isinstance(size, str):
            sizes.append(Dimension([size]))
        elif isinstance(size, Dimension) or (isinstance(size, int) and size >= 0):
            sizes.append(size)
        else:
            raise ShapeError(f"[placeholder] shape={tuple(shape)}: {size!r} is not a size, a name or None")
    return Array(placeholder_node(name, tuple(sizes), as_dtype(dtype)))


class Session:
    """Runs static graphs: fetches in, values out. It holds nothing but the programs it has compiled;
    variables outlive it.

    Args:
        debug: run node by node by the references, so that an error names the node's line.

    >>> import treadle as td
    >>> a, b = td.placeholder((), name="a"), td.placeholder((), name="b")
    >>> td.Session().run({"sum": a + b, "product": a * b}, {a: 2.0, b: 3.0})["product"].item()
    6.0
    """

    def __init__(self, *, debug: bool = False) -> None:
        self.debug = debug
        self._doors: dict[tuple[Node | Cell, ...], Door] = {}
        self._runs = itertools.count()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self._doors.clear()

    def run(self, fetches: Any, feed_dict: Mapping[Any, ArrayLike] | None = None) -> Any:
        """The values of fetches, for what is fed.

        Args:
            fetches: an array, or lists, tuples and dicts of them; `td.update(...)` among them changes
                variables.
            feed_dict: values by placeholder, or by its name.

        Returns:
            Arrays whose values are there, in the structure of fetches.

        Raises:
            FeedError: a placeholder is unknown, missing, or fed a wrong shape or dtype.
        """
        door, feeds = self._fed(fetches, feed_dict)
        values = iter([Array(node) for node in door.run(feeds, next(self._runs))])
        return _rebuilt(fetches, values)

    def memory(self, fetches: Any, feed_dict: Mapping[Any, ArrayLike] | None = None) -> dict[str, int]:
        """The bytes a run will need, by kind (inputs, outputs, arena), before it runs."""
        door, feeds = self._fed(fetches, feed_dict)
        door.check_feeds(feeds)
        return door.plan({node: type for node, (type, _) in feeds.items()}).executable.memory()

    def _fed(self, fetches: Any, feed_dict: Mapping[Any, ArrayLike] | None) -> tuple[Door, dict[Node, Any]]:
        """The door of fetches, and what is fed by placeholder."""
        flat: list[Node | Cell] = []
        _flatten(fetches, flat)
        door = self._door(flat)
        if feed_dict is not None and not isinstance(feed_dict, Mapping):
            raise FeedError(
                f"[feed] feed_dict is a {type(feed_dict).__name__}; it is a dict of values by placeholder"
            )
        feeds = {}
        for key, value in (feed_dict or {}).items():
            node = _fed_placeholder(key, door)
            if node in feeds:
                raise FeedError(
                    f"[feed] the placeholder {node.attributes[0]!r} is fed twice, by its name and as an array"
                )
            feeds[node] = feed_buffer(node, value)
        return door, feeds

    def _door(self, fetches: list[Node | Cell]) -> Door:
        key = tuple(fetches)
        door = self._doors.get(key)
        if door is None:
            if len(self._doors) >= 256:
                self._doors.pop(next(iter(self._doors)))
            # A variable is fetched as itself, not as the version that it has now.
            door = self._doors[key] = Door(
                [item if isinstance(item, Node) else state.late_read(item) for item in fetches],
                debug=self.debug,
            )
        return door


def _fed_placeholder(key: Any, door: Door) -> Node:
    """The placeholder that a key of the feed_dict names."""
    if isinstance(key, str):
        found = [node for node in door.placeholders if node.attributes[0] == key]
        if len(found) == 1:
            return found[0]
        known = ", ".join(sorted(node.attributes[0] for node in door.placeholders)) or "none"
        raise FeedError(
            f"[feed] {len(found) or 'no'} placeholders of these fetches are named {key!r}; there are: {known}"
        )
    node = key.node if isinstance(key, Array) and not isinstance(key, Variable) else None
    if node is None or node.op is not PLACEHOLDER:
        what = f"a {type(key).__name__}"
        if isinstance(key, Variable):
            what = f"the variable {key.name}: assign it, or make it a placeholder"
        elif node is not None:
            what = f"{node.op.name} {node.type!r}, made at {node.line}"
        raise FeedError(f"[feed] only placeholders are fed; this is {what}")
    # Feeding more than these fetches need is harmless, and common when fetches vary.
    return node


def _flatten(structure: Any, into: list[Node | Cell]) -> None:
    if isinstance(structure, Variable):
        into.append(structure.cell)
    elif isinstance(structure, Array):
        into.append(structure.node)
    elif isinstance(structure, dict):
        for item in structure.values():
            _flatten(item, into)
    elif isinstance(structure, (list, tuple)):
        for item in structure:
            _flatten(item, into)
    else:
        raise FeedError(
            f"[run] cannot fetch a {type(structure).__name__}; fetches are arrays, or lists, tuples and "
            f"dicts of them"
        )


def _rebuilt(structure: Any, values: Any) -> Any:
    if isinstance(structure, Array):
        return next(values)
    if isinstance(structure, dict):
        return {key: _rebuilt(item, values) for key, item in structure.items()}
    items = [_rebuilt(item, values) for item in structure]
    return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
