"""Running sums, products and differences along a dimension, as the Array API standard 2025.12 means them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.dtypes import DType, as_dtype
from treadle.errors import ArgumentError, DTypeError
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import shifted
from treadle.ops.contraction import widened
from treadle.ops.elementwise import conj, divide, equal, like, logical_and, multiply, subtract, where
from treadle.ops.movement import concat, take_slice
from treadle.ops.record import (
    Operand,
    cast,
    expect_axes,
    expect_convertible,
    expect_kind,
    expect_node,
    filled,
    method,
    normal_axis,
    public,
    register,
)


def _running(name: str, reference: Callable[..., Any], vjp: Callable[..., Any]) -> Op:
    """Record a running reduction along `axis`, from the end where `reverse`."""

    def infer(x: Type, axis: int, reverse: bool) -> Type:
        if x.dtype.kind not in dtypes.KINDS["numeric"]:
            raise DTypeError(f"[{name}] x is {x!r}; expected a numeric dtype")
        expect_axes(name, (axis,), len(x.shape))
        return x

    def meaning(x: Any, axis: int, reverse: bool) -> Any:
        line = widened(np.flip(x, axis) if reverse else x)
        result = reference(line, axis=axis, dtype=line.dtype).astype(x.dtype)
        return np.flip(result, axis) if reverse else result

    return register(
        Op(
            name,
            infer,
            meaning,
            vjp,
            ("axis", "reverse"),
            batch=shifted,
            doc=f"The {name.replace('_', ' ')} along `axis`.",
        )
    )


def _sum_vjp(g: Node, y: Node, x: Node, axis: int, reverse: bool) -> tuple[Node]:
    return (running_sum(g, axis, not reverse),)


def _prod_vjp(g: Node, y: Node, x: Node, axis: int, reverse: bool) -> tuple[Node]:
    """Element j is a factor of every product from j on, so its share is their sum, weighted by g, divided by
    x[j].

    A zero cannot be divided by. Behind the first zero of a line all products are 0; the products behind it
    without it are those of a line in which it is 1.
    """
    zero, one = like(0, x), like(1, x)
    is_zero = equal(x, zero)
    count = running_sum(cast(is_zero, dtypes.int64), axis, reverse)
    first = logical_and(is_zero, equal(count, like(1, count)))
    without = make(PROD, (where(first, one, x),), (axis, reverse))
    through = running_sum(multiply(g, conj(without)), axis, not reverse)
    shares = divide(running_sum(multiply(g, conj(y)), axis, not reverse), conj(where(is_zero, one, x)))
    return (where(first, through, where(is_zero, zero, shares)),)


SUM = _running("cumulative_sum", np.cumsum, _sum_vjp)
PROD = _running("cumulative_prod", np.cumprod, _prod_vjp)


def running_sum(x: Node, axis: int, reverse: bool) -> Node:
    """The sum of each element and those before it, or behind it."""
    return make(SUM, (x,), (axis, reverse))


def _over(
    op: Op, x: Operand, axis: int | None, dtype: DType | None, include_initial: bool, initial: int
) -> Node:
    x = expect_node(op.name, "x", x)
    if axis is None and x.ndim != 1:
        raise ArgumentError(f"[{op.name}] axis is missing: x has shape {x.shape}")
    axis = normal_axis(op.name, 0 if axis is None else axis, x.ndim)
    if dtype is not None:
        target = as_dtype(dtype)
        expect_convertible(op.name, "x", x.type, x.dtype.kind, target)
    else:
        target = {"bool": dtypes.int64, "int": dtypes.int64, "uint": dtypes.uint64}.get(x.dtype.kind, x.dtype)
    y = make(op, (cast(x, target),), (axis, False))
    if include_initial:
        y = concat([filled(initial, (*x.shape[:axis], 1, *x.shape[axis + 1 :]), target), y], axis=axis)
    return y


@method
def cumulative_sum(
    x: Operand, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Node:
    """The sum of each element and all before it along a dimension.

    Args:
        x: array of numeric or bool dtype.
        axis: the dimension; may be left out where x has only one.
        dtype: of the result; None keeps floating dtypes and sums integers and bools as int64 (unsigned as
            uint64).
        include_initial: begin with the sum of nothing, 0, so that the dimension grows by one.

    Returns:
        Array of the same shape, or one longer along `axis`.

    Raises:
        ArgumentError: axis is out of range, or missing where x has several dimensions.
    """
    return _over(SUM, x, axis, dtype, include_initial, 0)


@method
def cumulative_prod(
    x: Operand, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Node:
    """The product of each element and all before it along a dimension.

    Args:
        x: array of numeric or bool dtype.
        axis: the dimension; may be left out where x has only one.
        dtype: of the result, as in `cumulative_sum`.
        include_initial: begin with the product of nothing, 1, so that the dimension grows by one.

    Returns:
        Array of the same shape, or one longer along `axis`.

    Raises:
        ArgumentError: axis is out of range, or missing where x has several dimensions.
    """
    return _over(PROD, x, axis, dtype, include_initial, 1)


@public
def diff(
    x: Operand,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: Operand | None = None,
    append: Operand | None = None,
) -> Node:
    """The difference of each element from the one before it along a dimension.

    Args:
        x: array of numeric dtype.
        axis: the dimension.
        n: how often differences are taken, of differences again from the second time on.
        prepend: array put before x along the dimension; its other sizes are x's.
        append: array put after x, likewise.

    Returns:
        Array of the promoted dtype and x's shape, but for the dimension, which is n shorter; empty if it
        would be less.

    Raises:
        ArgumentError: axis is out of range, or n is no non-negative integer.
        ShapeError: the sizes of what is put before or after differ.
        DTypeError: x is not of a numeric dtype.
    """
    x = expect_node("diff", "x", x)
    expect_kind("diff", "x", x, "numeric")
    axis = normal_axis("diff", axis, x.ndim)
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise ArgumentError(f"[diff] n={n!r} is not a non-negative integer")
    x = concat([part for part in (prepend, x, append) if part is not None], axis=axis)
    ones = [1] * x.ndim
    for _ in range(n):
        size = x.shape[axis]
        first, last = [0] * x.ndim, list(x.shape)
        first[axis], last[axis] = min(1, size), max(size - 1, 0)  # type: ignore[type-var]
        x = subtract(take_slice(x, first, x.shape, ones), take_slice(x, [0] * x.ndim, last, ones))
    return x
