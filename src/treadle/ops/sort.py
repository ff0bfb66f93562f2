"""Sorting along a dimension, and searching what is sorted. It is stable; NaN is larger than any number."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import product
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import shifted
from treadle.ops.creation import known
from treadle.ops.elementwise import (
    add,
    equal,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    subtract,
    where,
)
from treadle.ops.gather import GATHER, gather_along, take
from treadle.ops.movement import take_slice
from treadle.ops.record import (
    Operand,
    broadcast,
    cast,
    expect_axes,
    expect_kind,
    expect_node,
    filled,
    method,
    normal_axis,
    promoted,
    public,
    register,
    reshaped,
)
from treadle.ops.reduction import any


def _argsorted(x: Any, axis: int, descending: bool) -> Any:
    """NumPy's stable order; descending is the ascending order of the reversed line, read backwards."""
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)


def _infer_sorting(name: str, x: Type, axis: int) -> Type:
    if x.dtype.kind not in dtypes.KINDS["real"]:
        raise DTypeError(f"[{name}] x is {x!r}; expected a real dtype")
    expect_axes(name, (axis,), len(x.shape))
    return x


def _infer_argsort(x: Type, axis: int, descending: bool) -> Type:
    return Type(_infer_sorting("argsort", x, axis).shape, dtypes.int64)


def _sort_vjp(g: Node, y: Node, x: Node, axis: int, descending: bool) -> tuple[Node]:
    """Each cotangent back to where its value came from: along the inverse of the order."""
    order = make(ARGSORT, (x,), (axis, descending))
    return (gather_along(g, make(ARGSORT, (order,), (axis, False)), axis),)


ARGSORT = register(
    Op("argsort", _infer_argsort,
       lambda x, axis, descending: _argsorted(x, axis, descending).astype(np.int64),
       attributes=("axis", "descending"), batch=shifted, no_gradient="an index has no derivative",
       doc="The places of the sorted elements.")
)  # fmt: skip
SORT = register(
    Op("sort", lambda x, axis, descending: _infer_sorting("sort", x, axis),
       lambda x, axis, descending: np.take_along_axis(x, _argsorted(x, axis, descending), axis), _sort_vjp,
       attributes=("axis", "descending"), batch=shifted, doc="The elements along a dimension in order.")
)  # fmt: skip


def _sorting(op: Op, x: Operand, axis: int, descending: bool, stable: bool) -> Node:
    x = expect_node(op.name, "x", x)
    for argument, given in (("descending", descending), ("stable", stable)):
        if not isinstance(given, bool):
            raise ArgumentError(f"[{op.name}] {argument}={given!r}; expected True or False")
    return make(op, (x,), (normal_axis(op.name, axis, x.ndim), descending))


@method
def sort(x: Operand, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Node:
    """The elements in order along a dimension; NaN counts as larger than any number.

    Args:
        x: array of real dtype.
        axis: the dimension.
        descending: from the largest to the smallest.
        stable: whether equal elements must keep their order; they do in any case.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real dtype.
        ArgumentError: axis is out of range.
    """
    return _sorting(SORT, x, axis, descending, stable)


@method
def argsort(x: Operand, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Node:
    """The indices that sort an array along a dimension; NaN counts as larger than any number.

    Args:
        x: array of real dtype.
        axis: the dimension.
        descending: from the largest to the smallest.
        stable: whether equal elements must keep their order; they do in any case.

    Returns:
        Array of dtype int64 and the same shape, to be given to `take_along_axis`.

    Raises:
        DTypeError: x is not of a real dtype.
        ArgumentError: axis is out of range.
    """
    return _sorting(ARGSORT, x, axis, descending, stable)


@public
def searchsorted(x1: Operand, x2: Operand, /, *, side: str = "left", sorter: Operand | None = None) -> Node:
    """Where numbers would have to be inserted into a sorted array to keep it sorted.

    Args:
        x1: 1-d array of real dtype in ascending order.
        x2: array of real dtype, or a number: what to look for.
        side: "left" for the place before elements that are equal, "right" for the place after them.
        sorter: array of the indices that sort x1, where it is not in order.

    Returns:
        Array of dtype int64 and x2's shape: 0 to the size of x1.

    Raises:
        ShapeError: x1 is not 1-d.
        ArgumentError: side is neither of the two.
        DTypeError: a dtype is not real.
    """
    if side not in ("left", "right"):
        raise ArgumentError(f'[searchsorted] side={side!r}; there are "left" and "right"')
    (line, wanted), dtype = promoted("searchsorted", (x1, x2))
    line, wanted = cast(line, dtype), cast(wanted, dtype)
    if line.ndim != 1:
        raise ShapeError(f"[searchsorted] x1 has shape {line.shape}; expected one dimension")
    expect_kind("searchsorted", "x1", line, "real")
    if sorter is not None:
        line = take(line, sorter)
    size = operator.index(line.shape[0])
    place = filled(0, wanted.shape, dtypes.int64)
    # Binary search from the highest power of two down: `place` elements are known to come before.
    for bit in reversed(range(size.bit_length())):
        ahead = add(place, known(1 << bit, place))
        last = minimum(subtract(ahead, known(1, place)), known(size - 1, place))
        found = make(GATHER, (line, maximum(last, known(0, place))), ((0,),))
        fits = less_equal(ahead, known(size, place))
        place = where(logical_and(fits, _before(found, wanted, side)), ahead, place)
    return place


def _before(x: Node, wanted: Node, side: str) -> Node:
    """Whether x comes before the wanted number, NaN being the largest."""
    if side == "left":
        before = less(x, wanted)
        return (
            logical_or(before, logical_and(isnan(wanted), logical_not(isnan(x))))
            if x.dtype.kind == "float"
            else before
        )
    before = less_equal(x, wanted)
    return logical_or(before, isnan(wanted)) if x.dtype.kind == "float" else before


@public
def isin(x1: Operand, x2: Operand, /, *, invert: bool = False) -> Node:
    """Whether each element of x1 is equal to any element of x2.

    Args:
        x1: array of any dtype, or a number.
        x2: likewise; dtypes promote.
        invert: whether it is equal to none of them instead.

    Returns:
        Array of dtype bool and x1's shape. NaN is equal to nothing.

    Raises:
        DTypeError: the dtypes do not promote.
    """
    (wanted, among), dtype = promoted("isin", (x1, x2))
    wanted, among = cast(wanted, dtype), cast(among, dtype)
    if dtype.kind == "bool":
        wanted, among = cast(wanted, dtypes.uint8), cast(among, dtypes.uint8)
    size = operator.index(product(among.shape))
    line = reshaped(among, (size,))
    if size == 0:
        found = filled(False, wanted.shape, dtypes.bool)
    elif dtype.kind == "complex":  # which has no order to search by
        shape = (*wanted.shape, size)
        pairs = equal(broadcast(reshaped(wanted, (*wanted.shape, 1)), shape), broadcast(line, shape))
        found = any(pairs, axis=-1)
    else:
        line = sort(line)
        place = searchsorted(line, wanted)
        place = minimum(place, known(size - 1, place))
        found = equal(make(GATHER, (line, place), ((0,),)), wanted)
    return logical_not(found) if invert else found


@public
def top_k(x: Operand, k: int, /, *, axis: int = -1, mode: str = "largest") -> tuple[Node, Node]:
    """The k largest or smallest elements along a dimension, in order, and their places.

    Args:
        x: array of real dtype.
        k: how many.
        axis: the dimension.
        mode: "largest", of which NaN counts as the largest, or "smallest".

    Returns:
        The elements, of x's dtype, and their indices, of dtype int64; the dimension has size k in both. Of
        equal elements the first are taken.

    Raises:
        ArgumentError: k is not between 0 and the size of the dimension, or mode is neither of the two.
        DTypeError: x is not of a real dtype.
    """
    x = expect_node("top_k", "x", x)
    axis = normal_axis("top_k", axis, x.ndim)
    if mode not in ("largest", "smallest"):
        raise ArgumentError(f'[top_k] mode={mode!r}; there are "largest" and "smallest"')
    if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k <= operator.index(x.shape[axis]):
        raise ArgumentError(f"[top_k] k={k!r} is not from 0 to the size of dimension {axis} of x, {x.type!r}")
    order = argsort(x, axis=axis, descending=mode == "largest")
    stop = [k if a == axis else size for a, size in enumerate(x.shape)]
    places = take_slice(order, [0] * x.ndim, stop, [1] * x.ndim)
    return gather_along(x, places, axis), places
