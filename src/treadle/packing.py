"""Variables' memory in the order that programs store them in, and in that of their shapes.

A cell's layout is an order of its dimensions. Programs that run through a door read and write its memory in
that order: in their graphs a leaf of the stored type, and a permutation that the compiler sees through. Who
looks at a value gets it in the order of the shape. What a layout is chosen by is not known here
(`compiler.storage`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle import state
from treadle.devices import registry
from treadle.graph.node import Node, Type, surrounded
from treadle.ops.movement import permute_dims
from treadle.state import READ, Cell, Layout, Version

BLOCK = 16
"""Elements along the first dimension that are copied at a time, so that the lines which they come from or go
to stay in a cache: 512 x 512 x 3 x 3 numbers take 2.5 ms, and 9 all at once.
"""


def stored(type: Type, layout: Layout) -> Type:
    """The type of what is in memory."""
    return type if layout is None else Type([type.shape[axis] for axis in layout], type.dtype)


def seen(node: Node, layout: Layout) -> Node:
    """Of a node in the order of memory, in that of the shape."""
    return node if layout is None else _permuted(node, inverse(layout))


def laid(node: Node, layout: Layout) -> Node:
    """Of a node in the order of the shape, in that of memory."""
    return node if layout is None else _permuted(node, layout)


def inverse(layout: tuple[int, ...]) -> tuple[int, ...]:
    """Where in memory's order each dimension of the shape is."""
    return tuple([layout.index(axis) for axis in range(len(layout))])


def _permuted(node: Node, axes: tuple[int, ...]) -> Node:
    with surrounded(line=node.line, scope=node.scope, device=node.device, role=node.role):
        return permute_dims(node, axes)


def is_packed(node: Node) -> bool:
    """Whether a node reads a version whose memory is in another order, and has not been unpacked."""
    return node.op is READ and node.buffer is None and not node.inputs and layout_of(node) is not None


def held(node: Node) -> tuple[Layout, Any] | None:
    """The order and the memory of what a node reads, if that is packed: whoever has them may read it,
    whatever other threads do with the node and the variable.
    """
    if not is_packed(node):
        return None
    version: Version = node.binding
    with version.cell.lock:
        if node.buffer is not None:
            return None
        return version.layout, state.raise_failure(version) if version.buffer is None else version.buffer


def layout_of(node: Node) -> Layout:
    """The order in which what a `read` node is bound to lies."""
    return node.binding.layout if isinstance(node.binding, Version) else None


def unpack(node: Node) -> None:
    """Give a node of which `is_packed` holds its value in the order of its shape."""
    version: Version = node.binding
    with version.cell.lock:
        if node.buffer is not None:
            return  # another thread was quicker
        if version.buffer is None:
            state.raise_failure(version)
        found = np.empty(node.type.shape, node.type.dtype.numpy)
        _copy(found, values(version))
        node.buffer = registry.find(version.cell.device).copy_in(found, node.type)


def pack(cell: Cell) -> Any:
    """Bring the memory of a cell's current version in the cell's layout, once; the buffer. The caller holds
    the cell's lock.
    """
    version, layout = cell.current, cell.layout
    if version.buffer is None:
        state.raise_failure(version)
    if version.layout is not layout:
        version.buffer = packed(cell, values(version))
        version.layout = layout
    return version.buffer


def packed(cell: Cell, array: np.ndarray) -> Any:
    """An array of a cell's shape as a buffer in its layout."""
    type, layout = stored(cell.type, cell.layout), cell.layout
    if layout is None:
        found = np.ascontiguousarray(array)
    else:
        found = np.empty(type.shape, type.dtype.numpy)
        _copy(found.transpose(inverse(layout)), array)
    return registry.find(cell.device).copy_in(found, type)


def _copy(into: np.ndarray, array: np.ndarray) -> None:
    for first in range(0, len(array), BLOCK):
        into[first : first + BLOCK] = array[first : first + BLOCK]


def values(version: Version) -> np.ndarray:
    """A version's value in the order of the shape: of host memory a view. The caller holds the cell's
    lock.
    """
    cell, layout = version.cell, version.layout
    array = registry.find(cell.device).copy_out(version.buffer, stored(cell.type, layout))
    return array if layout is None else array.transpose(inverse(layout))
