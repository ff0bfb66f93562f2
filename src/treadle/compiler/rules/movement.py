"""Rules of movement and conversion: one step where there were two, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from treadle import dtypes
from treadle.compiler.rules.table import is_float, is_number, is_op, rule
from treadle.graph.node import Node

if TYPE_CHECKING:
    from treadle.compiler.simplify import Simplifier

MOST_PARTS = 16
"""Of a sum that becomes a concatenation."""


@rule("reshape", "broadcast_to", "astype")
def no_change(make: Simplifier, node: Node) -> Node | None:
    """A reshape, broadcast or conversion to what it is -> x."""
    return node.inputs[0] if node.inputs[0].type is node.type else None


@rule("permute_dims")
def permute_nothing(make: Simplifier, node: Node) -> Node | None:
    """An order that moves only dimensions of size 1 -> reshape, or x."""
    axes = [axis for axis in node.attribute("axes") if node.inputs[0].shape[axis] != 1]
    return make("reshape", node.inputs[0], shape=node.shape) if axes == sorted(axes) else None


@rule("slice")
def slice_all(make: Simplifier, node: Node) -> Node | None:
    """A slice of everything -> x."""
    return node.inputs[0] if node.type is node.inputs[0].type and not any(node.attribute("start")) else None


@rule("flip")
def flip_nothing(make: Simplifier, node: Node) -> Node | None:
    """A flip of dimensions of size 1 -> x."""
    return node.inputs[0] if all(node.shape[axis] == 1 for axis in node.attribute("axes")) else None


@rule("pad")
def pad_nothing(make: Simplifier, node: Node) -> Node | None:
    """A padding of no elements -> x."""
    return node.inputs[0] if not any(map(any, node.attribute("widths"))) else None


@rule("add")
def add_parts(make: Simplifier, node: Node) -> Node | None:
    """pad(x) + pad(y) + ..., which are computed and side by side make all of it -> concat(x + 0, y + 0 ...).

    The gradient of something that was sliced, as the gates of a cell are. The zero keeps the sum's sign.
    """
    waiting, parts = [node], []
    while waiting:
        part = waiting.pop()
        if is_op(part, "add"):
            waiting += part.inputs
        elif not is_op(part, "pad") or not is_number(part.inputs[1], 0.0) or not _computed(part.inputs[0]):
            return None
        else:
            parts.append(part)
        if len(waiting) + len(parts) > MOST_PARTS:
            return None
    used = {axis for part in parts for axis, widths in enumerate(part.attribute("widths")) if any(widths)}
    if len(used) != 1:
        return None
    (axis,) = used
    parts.sort(key=lambda part: part.attribute("widths")[axis])
    end = 0
    for part in parts:
        low, _, between = part.attribute("widths")[axis]
        if low != end or between:
            return None
        end += part.inputs[0].shape[axis]  # type: ignore[operator]
    if end != node.shape[axis]:
        return None
    values = [part.inputs[0] for part in parts]
    return make("concat", *[make("add", x, make.constant(0.0, x.type)) for x in values], axis=axis)


def _computed(x: Node) -> bool:
    """Whether a value is computed element by element, and so can be where it belongs at once."""
    while is_op(x, "reshape"):
        x = x.inputs[0]
    return x.op.elementwise and is_float(x)


@rule("concat")
def concat_one(make: Simplifier, node: Node) -> Node | None:
    """A concatenation of one array, the empty ones left out -> that array."""
    axis = node.attribute("axis")
    parts = [part for part in node.inputs if part.shape[axis] != 0]
    if len(parts) == 1:
        return parts[0]
    return make("concat", *parts, axis=axis) if parts and len(parts) < len(node.inputs) else None


@rule("reshape")
def reshape_reshape(make: Simplifier, node: Node) -> Node | None:
    """reshape(reshape(x)) -> reshape(x)."""
    x = node.inputs[0]
    return make("reshape", x.inputs[0], shape=node.shape) if is_op(x, "reshape") else None


@rule("broadcast_to")
def broadcast_broadcast(make: Simplifier, node: Node) -> Node | None:
    """broadcast_to(broadcast_to(x)) -> broadcast_to(x)."""
    x = node.inputs[0]
    return make("broadcast_to", x.inputs[0], shape=node.shape) if is_op(x, "broadcast_to") else None


@rule("broadcast_to")
def broadcast_leading(make: Simplifier, node: Node) -> Node | None:
    """broadcast_to(reshape(x)) -> broadcast_to(x) where the reshape adds leading dimensions of size 1."""
    x = node.inputs[0]
    if is_op(x, "reshape"):
        source = x.inputs[0]
        lead = x.ndim - source.ndim
        if lead > 0 and x.shape == (1,) * lead + source.shape:
            return make("broadcast_to", source, shape=node.shape)
    return None


@rule("reshape")
def reshape_number(make: Simplifier, node: Node) -> Node | None:
    """reshape(broadcast_to(x)) -> broadcast_to(x) where x has one element."""
    x = node.inputs[0]
    if is_op(x, "broadcast_to") and x.inputs[0].shape == ():
        return make("broadcast_to", x.inputs[0], shape=node.shape)
    return None


@rule("permute_dims")
def permute_permute(make: Simplifier, node: Node) -> Node | None:
    """permute_dims(permute_dims(x)) -> permute_dims(x)."""
    x = node.inputs[0]
    if not is_op(x, "permute_dims"):
        return None
    inner = x.attribute("axes")
    return make("permute_dims", x.inputs[0], axes=tuple([inner[axis] for axis in node.attribute("axes")]))


@rule("slice")
def slice_slice(make: Simplifier, node: Node) -> Node | None:
    """slice(slice(x)) -> slice(x)."""
    x = node.inputs[0]
    if not is_op(x, "slice") or 0 in node.shape:
        return None
    starts, stops, steps = [], [], []
    inner = zip(x.attribute("start"), x.attribute("step"), strict=True)
    outer = zip(node.attribute("start"), node.attribute("step"), strict=True)
    for (start, step), (more, by), size in zip(inner, outer, node.shape, strict=True):
        starts.append(start + step * more)
        steps.append(step * by)
        stops.append(starts[-1] + steps[-1] * (size - 1) + 1)
    return make("slice", x.inputs[0], start=tuple(starts), stop=tuple(stops), step=tuple(steps))


@rule("flip")
def flip_flip(make: Simplifier, node: Node) -> Node | None:
    """flip(flip(x)) -> x, or the flip of what is flipped once."""
    x = node.inputs[0]
    if not is_op(x, "flip"):
        return None
    axes = tuple(sorted(set(node.attribute("axes")) ^ set(x.attribute("axes"))))
    return make("flip", x.inputs[0], axes=axes) if axes else x.inputs[0]


@rule("permute_dims", "slice", "flip")
def move_number(make: Simplifier, node: Node) -> Node | None:
    """A number repeated, then moved -> the number repeated."""
    x = node.inputs[0]
    if is_op(x, "broadcast_to") and x.inputs[0].shape == ():
        return make("broadcast_to", x.inputs[0], shape=node.shape)
    return None


@rule("astype")
def cast_cast(make: Simplifier, node: Node) -> Node | None:
    """astype(astype(x, wide), dtype) -> astype(x, dtype) where the first conversion loses nothing."""
    x = node.inputs[0]
    if not is_op(x, "astype"):
        return None
    first, middle = x.inputs[0].dtype, x.dtype
    if first is node.dtype and _holds(middle, first):
        return x.inputs[0]
    if _holds(middle, first) and first.kind in ("float", "bool") and node.dtype.kind == "float":
        return make("astype", x.inputs[0], dtype=node.dtype)
    return None


def _holds(wide: dtypes.DType, narrow: dtypes.DType) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if narrow.kind == "complex" or wide.kind == "complex" or (wide.kind == "bool" and narrow.kind != "bool"):
        return False
    return bool(np.can_cast(_twin(narrow), _twin(wide), "safe")) and wide is not dtypes.bfloat16


def _twin(dtype: dtypes.DType) -> np.dtype:
    """A NumPy dtype whose values include bfloat16's, which NumPy's casting table does not know."""
    return np.dtype(np.float32) if dtype is dtypes.bfloat16 else dtype.numpy
