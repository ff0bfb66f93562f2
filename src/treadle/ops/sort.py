"""Sorting along a dimension, and searching what is sorted. It is stable; NaN is larger than any number."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import shifted
from treadle.ops.creation import known
from treadle.ops.elementwise import (
    add,
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
from treadle.ops.gather import GATHER, gather_along
from treadle.ops.record import (
    Operand,
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
)


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
def searchsorted(x1: Operand, x2: Operand, /, *, side: str = "left") -> Node:
    """Where numbers would have to be inserted into a sorted array to keep it sorted.

    Args:
        x1: 1-d array of real dtype in ascending order.
        x2: array of real dtype: what to look for.
        side: "left" for the place before elements that are equal, "right" for the place after them.

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
