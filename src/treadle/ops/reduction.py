"""Reductions: sums, products, extremes, tests over dimensions, and what they compose (mean, variance,
softmax).

Names and meaning are those of the Array API standard 2025.12; softmax and its kin are as every
deep-learning framework has them. `axis` is one dimension, several, or None for all; `keepdims` leaves the
reduced dimensions in place with size 1.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.dtypes import DType, as_dtype
from treadle.errors import DTypeError, ShapeError
from treadle.graph.dimension import Shape, product
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import shifted
from treadle.ops.elementwise import (
    WHOLE,
    add,
    cast,
    conj,
    divide,
    equal,
    exp,
    expect_kind,
    greater,
    like,
    log,
    maximum,
    multiply,
    reciprocal,
    sqrt,
    square,
    stop_gradient,
    subtract,
    where,
)
from treadle.ops.record import (
    Operand,
    broadcast,
    constant,
    expect_axes,
    expect_convertible,
    expect_node,
    filled,
    method,
    normal_axes,
    normal_axis,
    public,
    register,
    reshaped,
)

Axis = int | Sequence[int] | None


def _reduced(x: Type, axes: tuple[int, ...], dtype: DType) -> Type:
    return Type([size for i, size in enumerate(x.shape) if i not in axes], dtype)


def spread(y: Node, shape: Shape, axes: tuple[int, ...]) -> Node:
    """A reduced value seen again in the shape it was reduced from."""
    kept = tuple(1 if i in axes else size for i, size in enumerate(shape))
    return broadcast(reshaped(y, kept), shape)


def _reduction(
    name: str,
    reference: Callable[..., Any],
    vjp: Callable[..., Any] | None,
    accepts: str,
    dtype: DType | None = None,
    no_gradient: str = "",
    nonempty: bool = False,
) -> Op:
    """Record a reduction over the attribute `axes`."""

    def infer(x: Type, axes: tuple[int, ...]) -> Type:
        if x.dtype.kind not in dtypes.KINDS[accepts]:
            raise DTypeError(f"[{name}] x is {x!r}; expected a {accepts} dtype")
        expect_axes(name, axes, len(x.shape))
        if nonempty and builtins.any(x.shape[axis] == 0 for axis in axes if isinstance(x.shape[axis], int)):
            raise ShapeError(
                f"[{name}] x of shape {x.shape} has no elements along axis {axes}, so there is no {name}"
            )
        return _reduced(x, axes, dtype or x.dtype)

    return register(
        Op(
            name,
            infer,
            lambda x, axes: np.asarray(reference(x, axes)),
            vjp,
            ("axes",),
            batch=shifted,
            no_gradient=no_gradient,
        )
    )


def _extreme_vjp(g: Node, y: Node, x: Node, axes: tuple[int, ...]) -> tuple[Node]:
    """The cotangent to the extreme elements, in equal shares where there are several."""
    chosen = equal(x, spread(y, x.shape, axes))
    share = cast(chosen, x.dtype)
    count = spread(sum(share, axis=axes), x.shape, axes)
    return (multiply(spread(g, x.shape, axes), divide(share, count)),)


def _prod_vjp(g: Node, y: Node, x: Node, axes: tuple[int, ...]) -> tuple[Node]:
    """The product of the others: by division where nothing is zero, exactly where one is."""
    zero, one = like(0, x), like(1, x)
    is_zero = equal(x, zero)
    filled_in = where(is_zero, one, x)
    zeros = spread(sum(cast(is_zero, x.dtype), axis=axes), x.shape, axes)
    rest = spread(prod(filled_in, axis=axes), x.shape, axes)
    others = divide(rest, filled_in)
    alone = where(is_zero, where(equal(zeros, one), rest, zero), where(equal(zeros, zero), others, zero))
    return (multiply(spread(g, x.shape, axes), conj(alone)),)


SUM = _reduction(
    "sum",
    lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype),
    lambda g, y, x, axes: (spread(g, x.shape, axes),),
    "numeric",
)
PROD = _reduction("prod", lambda x, axes: np.prod(x, axis=axes, dtype=x.dtype), _prod_vjp, "numeric")
MAX = _reduction("max", lambda x, axes: np.max(x, axis=axes), _extreme_vjp, "real", nonempty=True)
MIN = _reduction("min", lambda x, axes: np.min(x, axis=axes), _extreme_vjp, "real", nonempty=True)
ANY = _reduction("any", lambda x, axes: np.any(x, axis=axes), None, "boolean", dtypes.bool, WHOLE)
ALL = _reduction("all", lambda x, axes: np.all(x, axis=axes), None, "boolean", dtypes.bool, WHOLE)


def _arg_reduction(name: str, reference: Callable[..., Any]) -> Op:
    def infer(x: Type, axis: int) -> Type:
        if x.dtype.kind not in dtypes.KINDS["real"]:
            raise DTypeError(f"[{name}] x is {x!r}; expected a real dtype")
        expect_axes(name, (axis,), len(x.shape))
        if x.shape[axis] == 0:
            raise ShapeError(f"[{name}] x of shape {x.shape} has no elements along axis {axis}")
        return _reduced(x, (axis,), dtypes.int64)

    return register(
        Op(
            name,
            infer,
            lambda x, axis: np.asarray(reference(x, axis=axis), dtype=np.int64),
            None,
            ("axis",),
            batch=shifted,
            no_gradient="an index has no derivative",
        )
    )


ARGMAX = _arg_reduction("argmax", np.argmax)
ARGMIN = _arg_reduction("argmin", np.argmin)


def _over(op: Op, x: Node, axis: Axis, keepdims: bool) -> Node:
    """Apply a reduction's record."""
    axes = normal_axes(op.name, axis, x.ndim)
    y = make(op, (x,), (axes,)) if axes else x
    return reshaped(y, tuple(1 if i in axes else n for i, n in enumerate(x.shape))) if keepdims else y


def sum_to(x: Node, shape: Shape) -> Node:
    """The sum over what broadcasting `shape` to x's shape repeated."""
    if x.type.shape == shape:
        return x
    lead = x.ndim - len(shape)
    axes = tuple(i for i, n in enumerate(x.shape) if i < lead or (shape[i - lead] == 1 and n != 1))
    return reshaped(make(SUM, (x,), (axes,)) if axes else x, shape)


def _summed(op: Op, x: Operand, axis: Axis, dtype: DType | None, keepdims: bool) -> Node:
    """sum and prod, which accumulate in the dtype asked for, else at least in the default integer."""
    x = expect_node(op.name, "x", x)
    if dtype is not None:
        target = as_dtype(dtype)
        expect_convertible(op.name, "x", x.type, x.dtype.kind, target)
    else:
        target = {"bool": dtypes.int64, "int": dtypes.int64, "uint": dtypes.uint64}.get(x.dtype.kind, x.dtype)
    return _over(op, cast(x, target), axis, keepdims)


@method
def sum(x: Operand, /, *, axis: Axis = None, dtype: DType | None = None, keepdims: bool = False) -> Node:
    """The sum over dimensions.

    Args:
        x: array of numeric or bool dtype.
        axis: the dimensions to sum over; None for all.
        dtype: of the result; None keeps floating dtypes and sums integers and bools as int64 (unsigned as
            uint64).
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions; 0 where there is nothing to sum.

    Raises:
        ArgumentError: axis is out of range or repeated.
        DTypeError: x is complex and dtype is real.
    """
    return _summed(SUM, x, axis, dtype, keepdims)


@method
def prod(x: Operand, /, *, axis: Axis = None, dtype: DType | None = None, keepdims: bool = False) -> Node:
    """The product over dimensions.

    Args:
        x: array of numeric or bool dtype.
        axis: the dimensions; None for all.
        dtype: of the result, as in `sum`.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions; 1 where there is nothing to multiply.

    Raises:
        ArgumentError: axis is out of range or repeated.
        DTypeError: x is complex and dtype is real.
    """
    return _summed(PROD, x, axis, dtype, keepdims)


@method
def max(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Node:
    """The largest element over dimensions; NaN if there is one.

    Args:
        x: array of real dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions.

    Raises:
        ShapeError: there are no elements.
        ArgumentError: axis is out of range or repeated.
    """
    return _over(MAX, expect_node("max", "x", x), axis, keepdims)


@method
def min(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Node:
    """The smallest element over dimensions; NaN if there is one.

    Args:
        x: array of real dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions.

    Raises:
        ShapeError: there are no elements.
        ArgumentError: axis is out of range or repeated.
    """
    return _over(MIN, expect_node("min", "x", x), axis, keepdims)


def _truth(x: Node) -> Node:
    return x if x.dtype is dtypes.bool else cast(x, dtypes.bool)


@method
def any(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Node:
    """Whether any element over dimensions is true (not zero).

    Args:
        x: array of any dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of dtype bool; False where there are no elements.

    Raises:
        ArgumentError: axis is out of range or repeated.
    """
    return _over(ANY, _truth(expect_node("any", "x", x)), axis, keepdims)


@method
def all(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Node:
    """Whether all elements over dimensions are true (not zero).

    Args:
        x: array of any dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of dtype bool; True where there are no elements.

    Raises:
        ArgumentError: axis is out of range or repeated.
    """
    return _over(ALL, _truth(expect_node("all", "x", x)), axis, keepdims)


def _position(op: Op, x: Operand, axis: int | None, keepdims: bool) -> Node:
    x = expect_node(op.name, "x", x)
    shape = x.shape
    if axis is None:
        y = make(op, (reshaped(x, (product(shape),)),), (0,))
        return reshaped(y, (1,) * len(shape)) if keepdims else y
    axis = normal_axis(op.name, axis, x.ndim)
    y = make(op, (x,), (axis,))
    return reshaped(y, tuple(1 if i == axis else n for i, n in enumerate(shape))) if keepdims else y


@method
def argmax(x: Operand, /, *, axis: int | None = None, keepdims: bool = False) -> Node:
    """The index of the first largest element; of the first NaN, if there is one.

    Args:
        x: array of real dtype.
        axis: along which dimension; None for the flattened array.
        keepdims: leave the dimension in place with size 1.

    Returns:
        Array of dtype int64.

    Raises:
        ShapeError: there are no elements.
        ArgumentError: axis is out of range.
    """
    return _position(ARGMAX, x, axis, keepdims)


@method
def argmin(x: Operand, /, *, axis: int | None = None, keepdims: bool = False) -> Node:
    """The index of the first smallest element; of the first NaN, if there is one.

    Args:
        x: array of real dtype.
        axis: along which dimension; None for the flattened array.
        keepdims: leave the dimension in place with size 1.

    Returns:
        Array of dtype int64.

    Raises:
        ShapeError: there are no elements.
        ArgumentError: axis is out of range.
    """
    return _position(ARGMIN, x, axis, keepdims)


# -- compositions


def counted(x: Node, axis: Axis, less: float = 0.0) -> Node:
    """The number of elements reduced over, less a correction, as a node of x's dtype."""
    size = product([x.shape[a] for a in normal_axes("mean", axis, x.ndim)])
    if isinstance(size, int):
        return filled(builtins.max(size - less, 0), (), x.dtype)
    return subtract(constant(size, x.dtype), less) if less else constant(size, x.dtype)


@method
def mean(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Node:
    """The arithmetic mean over dimensions.

    Args:
        x: array of floating dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of x's dtype; NaN where there are no elements.

    Raises:
        DTypeError: x is not of a floating dtype.
        ArgumentError: axis is out of range or repeated.
    """
    x = expect_node("mean", "x", x)
    expect_kind("mean", "x", x, "floating")
    return divide(sum(x, axis=axis, keepdims=keepdims), counted(x, axis))


@method
def var(x: Operand, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Node:
    """The variance over dimensions.

    Args:
        x: array of real floating dtype.
        axis: the dimensions; None for all.
        correction: subtracted from the number of elements in the divisor; 1 gives the unbiased estimate.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of x's dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ArgumentError: axis is out of range or repeated.
    """
    x = expect_node("var", "x", x)
    expect_kind("var", "x", x, "real floating")
    apart = square(subtract(x, mean(x, axis=axis, keepdims=True)))
    return divide(sum(apart, axis=axis, keepdims=keepdims), counted(x, axis, float(correction)))


@method
def std(x: Operand, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Node:
    """The standard deviation over dimensions: the square root of `var`.

    Args:
        x: array of real floating dtype.
        axis: the dimensions; None for all.
        correction: subtracted from the number of elements in the divisor.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of x's dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ArgumentError: axis is out of range or repeated.
    """
    return sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


@public
def count_nonzero(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Node:
    """The number of elements that are not zero.

    Args:
        x: array of any dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of dtype int64.

    Raises:
        ArgumentError: axis is out of range or repeated.
    """
    return sum(_truth(expect_node("count_nonzero", "x", x)), axis=axis, keepdims=keepdims)


def _highest(x: Node, axis: Axis) -> Node:
    """The maximum that softmax subtracts: kept in shape, without gradient, and 0 where it is infinite."""
    top = stop_gradient(max(x, axis=axis, keepdims=True))
    infinite = filled(float("inf"), top.shape, top.dtype)
    return where(greater(infinite, maximum(top, multiply(top, like(-1, top)))), top, like(0, top))


@public
def logsumexp(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Node:
    """log(sum(exp(x))) without overflow.

    Args:
        x: array of real floating dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ShapeError: there are no elements.
    """
    x = expect_node("logsumexp", "x", x)
    expect_kind("logsumexp", "x", x, "real floating")
    top = _highest(x, axis)
    result = add(log(sum(exp(subtract(x, top)), axis=axis, keepdims=True)), top)
    if keepdims:
        return result
    axes = normal_axes("logsumexp", axis, x.ndim)
    return reshaped(result, tuple(n for i, n in enumerate(x.shape) if i not in axes))


@public
def softmax(x: Operand, /, *, axis: int = -1) -> Node:
    """exp(x) over its sum along a dimension, without overflow.

    Args:
        x: array of real floating dtype.
        axis: the dimension along which the results sum to one.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ArgumentError: axis is out of range.
    """
    x = expect_node("softmax", "x", x)
    expect_kind("softmax", "x", x, "real floating")
    axis = normal_axis("softmax", axis, x.ndim)
    e = exp(subtract(x, stop_gradient(max(x, axis=axis, keepdims=True))))
    # A division of every element would cost as much as eight products, here and twice in the gradient.
    return multiply(e, reciprocal(sum(e, axis=axis, keepdims=True)))


@public
def log_softmax(x: Operand, /, *, axis: int = -1) -> Node:
    """log(softmax(x)), accurate where softmax is near zero.

    Args:
        x: array of real floating dtype.
        axis: the dimension along which the exponentials sum to one.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ArgumentError: axis is out of range.
    """
    x = expect_node("log_softmax", "x", x)
    expect_kind("log_softmax", "x", x, "real floating")
    axis = normal_axis("log_softmax", axis, x.ndim)
    low = subtract(x, stop_gradient(max(x, axis=axis, keepdims=True)))
    return subtract(low, log(sum(exp(low), axis=axis, keepdims=True)))
