"""``x[key]`` and ``x[key] = values``: NumPy's indexing, written with slices, flips, gathering and scattering.

A key is read once, into a `Subscript`: a slice of every dimension, and the arrays of integers that pick from
some of them. Places given as Python numbers are checked here and now, those in arrays when the graph runs.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from treadle import dtypes
from treadle.errors import DTypeError, IndexingError, ShapeError
from treadle.graph.dimension import Dimension, Shape, Size
from treadle.graph.node import Node, make
from treadle.ops.elementwise import add, where
from treadle.ops.gather import GATHER, SCATTER_ADD, SCATTER_SET, check_static_index, normal_index
from treadle.ops.movement import PAD, flip, permute_dims, take_slice
from treadle.ops.record import (
    Operand,
    broadcast,
    broadcast_shapes,
    cast,
    constant,
    describe,
    filled,
    promoted,
    reshaped,
)

Nonzero = Callable[[Node], Sequence[Node]]
"""Gives the places where a mask is true, an array for each of its dimensions; it demands the mask's value."""

NEW, ARRAYS = "new dimension", "arrays"
"""What stands in the order of the result's dimensions besides the numbers of x's own."""


@dataclass
class Subscript:
    """A key, read for one shape. All lists but `order` are in the order of x's dimensions."""

    shape: Shape
    start: list[int] = field(default_factory=list)
    stop: list[Size] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    flipped: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    """Dimensions indexed by one Python number: a slice of size 1, which the result does not have."""
    arrays: dict[int, Node] = field(default_factory=dict)
    """Indices by dimension: int64, from the front, of one shape."""
    order: list[Any] = field(default_factory=list)
    """The result's dimensions: a number for a dimension of x, `NEW`, or once `ARRAYS`."""

    @property
    def dimension(self) -> int:
        """The dimension that the next item of the key is about."""
        return len(self.start)

    def cut(self, start: int, stop: Size, step: int) -> None:
        """A slice of the next dimension."""
        self.start.append(start)
        self.stop.append(stop)
        self.step.append(step)

    def whole(self) -> None:
        self.order.append(self.dimension)
        self.cut(0, self.shape[self.dimension], 1)

    # -- reading

    def slice_of(self, x: Node) -> Node:
        """The part of x that slices and numbers leave, with as many dimensions as x."""
        part = take_slice(x, self.start, self.stop, self.step)
        return flip(part, axis=self.flipped) if self.flipped else part

    def without_dropped(self, part: Node) -> Node:
        return reshaped(part, tuple(size for i, size in enumerate(part.shape) if i not in self.dropped))

    @property
    def axes(self) -> tuple[int, ...]:
        """The dimensions indexed by arrays, counted without those dropped."""
        return tuple(i - builtins.sum(d < i for d in self.dropped) for i in self.arrays)

    def gathered_shape(self, low: Node) -> Shape:
        """What gathering from a slice gives: the arrays' shape, then the other sizes not dropped."""
        first = next(iter(self.arrays.values())).shape if self.arrays else ()
        return first + tuple(size for i, size in enumerate(low.shape) if i not in self.axes)

    def arrangement(self, taken: Sequence[Size]) -> tuple[list[int], Shape]:
        """How to put what was gathered in the result's order: a permutation, then a shape."""
        count = next(iter(self.arrays.values())).ndim if self.arrays else 0
        rest = iter(range(count, len(taken)))
        places, shape = [], []
        for item in self.order:
            if item is NEW:
                shape.append(1)
                continue
            found = range(count) if item is ARRAYS else [next(rest)]
            places.extend(found)
            shape.extend(taken[place] for place in found)
        return places, tuple(shape)

    def result_shape(self, part: Node) -> Shape:
        return self.arrangement(self.gathered_shape(self.without_dropped(part)))[1]

    def read(self, x: Node) -> Node:
        part = self.without_dropped(self.slice_of(x))
        if self.arrays:
            part = make(GATHER, (part, *self.arrays.values()), (self.axes,))
        places, shape = self.arrangement(part.shape)
        return reshaped(permute_dims(part, places), shape)

    # -- writing

    def scattered(self, part: Node, values: Node, op: Any) -> Node:
        """The slice of x with values, in the shape that reading gives, put where the arrays say."""
        if not self.arrays:
            return reshaped(values, part.shape)
        low = self.without_dropped(part)
        taken = self.gathered_shape(low)
        places, _ = self.arrangement(taken)
        values = reshaped(values, tuple(taken[place] for place in places))
        values = permute_dims(values, [places.index(i) for i in range(len(places))])
        return reshaped(make(op, (low, values, *self.arrays.values()), (self.axes,)), part.shape)

    def spread(self, part: Node, outside: Operand) -> Node:
        """A slice put back at its place in x's shape, with a number everywhere else."""
        if self.flipped:
            part = flip(part, axis=self.flipped)
        widths = []
        for size, count, start, step in zip(self.shape, part.shape, self.start, self.step, strict=True):
            whole = size == count and (start, step) == (0, 1)
            widths.append((0, 0, 0) if whole else _margins(size, count, start, step))  # type: ignore[arg-type]
        if not builtins.any(low or high or inner for low, high, inner in widths):
            return part
        return make(PAD, (part, constant(outside, part.dtype)), (tuple(widths),))  # type: ignore[arg-type]


def _margins(size: int, count: int, start: int, step: int) -> tuple[int, int, int]:
    """How far a slice of `count` elements is padded before, after and between to be `size` again."""
    return (start, size - start - ((count - 1) * step + 1), step - 1) if count else (0, size, 0)


# -- keys


def read_key(x: Node, key: Any, nonzero: Nonzero | None = None) -> Subscript:
    """A key as a `Subscript` of x."""
    items = _without_masks(x, key if isinstance(key, tuple) else (key,), nonzero)
    named = builtins.sum(item is not None and item is not Ellipsis for item in items)
    if named > x.ndim:
        raise IndexingError(
            f"[index] {named} indices for x, of shape {x.shape}, which has {x.ndim} dimensions"
        )
    if builtins.sum(item is Ellipsis for item in items) > 1:
        raise IndexingError("[index] the key has more than one ...; write : for the other dimensions")
    if Ellipsis not in [item for item in items if not isinstance(item, Node)]:
        items.append(Ellipsis)
    subscript = Subscript(x.shape)
    arrays: dict[int, Node] = {}
    advanced = []
    for position, item in enumerate(items):
        axis = subscript.dimension
        if item is None:
            subscript.order.append(NEW)
        elif item is Ellipsis:
            for _ in range(x.ndim - named):
                subscript.whole()
        elif isinstance(item, slice):
            _cut_slice(subscript, item)
        elif isinstance(item, Node):
            arrays[axis] = normal_index(item, x.shape[axis])
            if ARRAYS not in subscript.order:
                subscript.order.append(ARRAYS)
            advanced.append(position)
            subscript.cut(0, x.shape[axis], 1)
        else:
            number = _whole_number(item)
            check_static_index("index", "index", number, axis, x.shape[axis])
            if not isinstance(x.shape[axis], int) and number < 0:
                raise IndexingError(
                    f"[index] index {number} counts from the end of dimension {axis}, whose size "
                    f"{x.shape[axis]} is not known yet"
                )
            number += x.shape[axis] if number < 0 else 0  # type: ignore[operator]
            subscript.dropped.append(axis)
            subscript.cut(number, number + 1, 1)
            advanced.append(position)
    if arrays:
        shape = broadcast_shapes(
            "index", [array.shape for array in arrays.values()], [f"index {i}" for i in arrays]
        )
        subscript.arrays = {axis: broadcast(array, shape) for axis, array in arrays.items()}
        _place_arrays(subscript, items, advanced)
    return subscript


def _place_arrays(subscript: Subscript, items: Sequence[Any], advanced: Sequence[int]) -> None:
    """NumPy's rule: indices that follow each other give their dimensions where they stand, others in front.

    Numbers beside arrays are indices too, so the first of them decides where they stand.
    """
    subscript.order.remove(ARRAYS)
    place = 0
    if advanced[-1] - advanced[0] == len(advanced) - 1:
        before = items[: advanced[0]]
        consumed = builtins.sum(
            len(subscript.shape) - builtins.sum(i is not None and i is not Ellipsis for i in items)
            if item is Ellipsis
            else 1
            for item in before
        )
        place = consumed
    subscript.order.insert(place, ARRAYS)


def _without_masks(x: Node, items: Sequence[Any], nonzero: Nonzero | None) -> list[Any]:
    """The key's items, masks replaced by the places where they are true."""
    result: list[Any] = []
    for item in items:
        if not isinstance(item, Node) or item.dtype is not dtypes.bool:
            if isinstance(item, Node) and item.dtype.kind not in dtypes.KINDS["integer"]:
                raise IndexingError(
                    f"[index] an index is {item.type!r}; indices are integers or masks: convert with "
                    f"astype(td.int64)"
                )
            result.append(item)
            continue
        if nonzero is None:
            raise IndexingError(
                f"[index] the shape of x[mask] depends on the values of the mask, {item.type!r}: use "
                f"td.where(mask, x, 0), or "
                "index outside of the graph"
            )
        check_mask(x, item, _dimensions_before(x, items, items.index(item)))
        result.extend(nonzero(item))
    return result


def _dimensions_before(x: Node, items: Sequence[Any], position: int) -> int:
    """The first dimension of x that an item of the key is about."""

    def covered(part: Sequence[Any]) -> int:
        return builtins.sum(
            (item.ndim if item.dtype is dtypes.bool else 1)
            if isinstance(item, Node)
            else item is not None and item is not Ellipsis
            for item in part
        )

    if builtins.any(item is Ellipsis for item in items[:position]):
        return x.ndim - covered(items[position:])
    return covered(items[:position])


def check_mask(x: Node, mask: Node, axis: int = 0) -> None:
    """Refuse a mask that does not have the sizes of the dimensions it indexes."""
    wanted = x.shape[axis : axis + mask.ndim]
    if mask.ndim == 0 or mask.shape != wanted:
        raise IndexingError(
            f"[index] a mask of shape {mask.shape} does not fit the dimensions from {axis} of x, of shape "
            f"{x.shape}: it must have "
            "their sizes"
        )


def _whole_number(item: Any) -> int:
    if isinstance(item, bool):
        raise IndexingError(f"[index] index {item} is a bool; use an integer, or a mask of x's shape")
    if isinstance(item, float):
        raise IndexingError(f"[index] index {item!r} is a float; indices are integers: use int() or //")
    try:
        return operator.index(item)
    except TypeError:
        raise IndexingError(
            f"[index] a key cannot have a {type(item).__name__}; it may have integers, slices, None, ... and "
            f"integer arrays"
        ) from None


def _cut_slice(subscript: Subscript, item: slice) -> None:
    """A slice of the next dimension, with Python's rules for what lies outside."""
    axis = subscript.dimension
    size = subscript.shape[axis]
    parts = [None if part is None else _whole_number(part) for part in (item.start, item.stop, item.step)]
    if parts[2] == 0:
        raise IndexingError("[index] a slice has step 0")
    subscript.order.append(axis)
    if isinstance(size, Dimension) and parts[:2] == [None, None] and parts[2] in (None, 1, -1):
        subscript.cut(0, size, 1)
        start, step, count = 0, parts[2] or 1, None
    elif isinstance(size, Dimension):
        raise IndexingError(
            f"[index] dimension {axis} has the size {size}, not known yet: it can only be taken whole"
        )
    else:
        start, stop, step = slice(*parts).indices(size)
        count = len(range(start, stop, step))
        if count == 0:
            subscript.cut(0, 0, 1)
        elif step > 0:
            subscript.cut(start, start + (count - 1) * step + 1, step)
        else:
            subscript.cut(start + (count - 1) * step, start + 1, -step)
    if step < 0 and count != 0:
        subscript.flipped.append(axis)


# -- what arrays call


def index(x: Node, key: Any, nonzero: Nonzero | None = None) -> Node:
    """``x[key]`` with NumPy's meaning.

    A key is one or more of: integers, slices, None, ..., nodes of integers, and (where `nonzero` is given) of
    bools.

    Raises:
        IndexingError: a number is out of range, there are too many of them, or an item is of another kind.
        ShapeError: arrays of indices do not broadcast together.
    """
    return read_key(x, key, nonzero).read(x)


def index_update(x: Node, key: Any, values: Operand, nonzero: Nonzero | None = None) -> Node:
    """x with ``x[key] = values`` done: values are broadcast to the shape of ``x[key]``; where places repeat,
    the last stays.

    Raises:
        IndexingError, ShapeError: as `index`; or the values do not broadcast to ``x[key]``.
        DTypeError: the values are of a higher kind than x, so that converting them would lose something.
    """
    values = _values(x, values)
    mask = _lone_mask(key)
    if mask is not None and values.ndim <= x.ndim - mask.ndim:
        return where(_over(x, mask), broadcast_to_part(values, x.shape, "x"), x)
    subscript = read_key(x, key, nonzero)
    part = subscript.slice_of(x)
    part = subscript.scattered(part, broadcast_to_part(values, subscript.result_shape(part)), SCATTER_SET)
    if part.shape == x.shape and not subscript.flipped:
        return part
    inside = subscript.spread(filled(True, part.shape, dtypes.bool), False)
    return where(inside, subscript.spread(part, 0), x)


def index_add(x: Node, key: Any, values: Operand, nonzero: Nonzero | None = None) -> Node:
    """x with values added at ``x[key]``, every time that a place is named.

    Raises:
        IndexingError, ShapeError, DTypeError: as `index_update`.
    """
    values = _values(x, values)
    mask = _lone_mask(key)
    if mask is not None and values.ndim <= x.ndim - mask.ndim:
        values = broadcast_to_part(values, x.shape, "x")
        return add(x, where(_over(x, mask), values, filled(0, x.shape, x.dtype)))
    subscript = read_key(x, key, nonzero)
    part = subscript.slice_of(x)
    zeros = filled(0, part.shape, x.dtype)
    added = subscript.scattered(zeros, broadcast_to_part(values, subscript.result_shape(part)), SCATTER_ADD)
    return add(x, subscript.spread(added, 0))


def _values(x: Node, values: Operand) -> Node:
    """What is assigned, in x's dtype."""
    _, dtype = promoted("index_update", (x, values))
    integers = dtype.kind in dtypes.KINDS["integer"] and x.dtype.kind in dtypes.KINDS["integer"]
    if dtype.kind != x.dtype.kind and not integers:
        raise DTypeError(
            f"[index_update] values are {describe(values)}, x is {x.type!r}: convert one of them with astype"
        )
    return cast(values, x.dtype)


def broadcast_to_part(values: Node, shape: Shape, name: str = "x[key]") -> Node:
    """Values in the shape they are assigned to; dimensions of size 1 in front of them count for nothing."""
    while values.ndim > len(shape) and values.shape[0] == 1:
        values = reshaped(values, values.shape[1:])
    labels = ["values", name]
    if values.ndim > len(shape) or broadcast_shapes("index_update", [values.shape, shape], labels) != shape:
        raise ShapeError(
            f"[index_update] values of shape {values.shape} do not broadcast to {name}, of shape {shape}"
        )
    return broadcast(values, shape)


def _lone_mask(key: Any) -> Node | None:
    """The mask that is the whole key."""
    item = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    return item if isinstance(item, Node) and item.dtype is dtypes.bool else None


def _over(x: Node, mask: Node) -> Node:
    """A mask of the leading dimensions, seen in x's shape."""
    check_mask(x, mask)
    return broadcast(reshaped(mask, mask.shape + (1,) * (x.ndim - mask.ndim)), x.shape)
