"""Norms of vectors and matrices, and the rank.

Names and meaning are those of the extension `linalg` of the Array API standard 2025.12. All are made of other
ops. The gradient of a norm at 0, where it has a kink, is 0.
"""

from __future__ import annotations

import math
from typing import Any

from treadle import dtypes
from treadle.errors import ArgumentError, ShapeError
from treadle.graph.node import Node
from treadle.ops import reduction
from treadle.ops.decompositions import svdvals
from treadle.ops.elementwise import abs as magnitude
from treadle.ops.elementwise import (
    conj,
    equal,
    greater,
    like,
    multiply,
    not_equal,
    pow,
    sqrt,
    where,
)
from treadle.ops.matrices import REAL_OF, expect_floats, expect_matrices
from treadle.ops.record import Operand, broadcast, cast, normal_axes, public_in, reshaped
from treadle.ops.reduction import Axis, sum
from treadle.ops.solving import relative_tolerance


def _squares(x: Node) -> Node:
    """|x|^2, real."""
    return cast(multiply(x, conj(x)), REAL_OF[x.dtype])


def _root(x: Node) -> Node:
    """The square root of what is not negative, with the gradient 0 at 0."""
    zero = equal(x, like(0, x))
    return where(zero, like(0, x), sqrt(where(zero, like(1, x), x)))


def _sizes(x: Node) -> Node:
    """|x|, real."""
    return magnitude(x) if x.dtype.kind == "float" else _root(_squares(x))


def _powers(x: Node, ord: float, axis: Axis, keepdims: bool) -> Node:
    """The sum of |x|^ord, and its root; of powers below 1, as of a zero, the gradient is infinite or none."""
    sizes = _sizes(x)
    if ord < 0:
        total = sum(pow(sizes, like(ord, sizes)), axis=axis, keepdims=keepdims)
        return pow(total, like(1 / ord, total))
    zero = equal(sizes, like(0, sizes))
    each = where(zero, like(0, sizes), pow(where(zero, like(1, sizes), sizes), like(ord, sizes)))
    total = sum(each, axis=axis, keepdims=keepdims)
    none = equal(total, like(0, total))
    return where(none, like(0, total), pow(where(none, like(1, total), total), like(1 / ord, total)))


def _expect_order(name: str, ord: Any, known: tuple[Any, ...] | None) -> Any:
    """An order of norm, one of `known` if they are few."""
    if isinstance(ord, bool) or not isinstance(ord, (int, float, str)) or ord != ord:
        raise ArgumentError(f"[{name}] ord={ord!r}; expected a number or the name of a norm")
    if known is None and isinstance(ord, str):
        raise ArgumentError(f"[{name}] ord={ord!r}; expected a number, which may be infinite")
    if known is not None and ord not in known:
        raise ArgumentError(f"[{name}] ord={ord!r}; there are {', '.join(map(repr, known))}")
    return ord


@public_in("linalg")
def vector_norm(x: Operand, /, *, axis: Axis = None, keepdims: bool = False, ord: int | float = 2) -> Node:
    """The norm of vectors: by default the Euclidean one, the root of the sum of squares.

    Args:
        x: array of dtype float32, float64, complex64 or complex128.
        axis: the dimensions that a vector is along; None for all.
        keepdims: leave these dimensions in place with size 1.
        ord: 2, 1 for the sum of absolute values, inf or -inf for the largest or smallest of them, 0 for how
            many are not zero, any other p for ``sum(abs(x) ** p) ** (1 / p)``.

    Returns:
        Array of the real dtype of x's precision without the dimensions. The gradient at 0 is 0.

    Raises:
        DTypeError: x is of another dtype.
        ShapeError: there are no elements, and ord is inf or -inf.
        ArgumentError: axis is out of range or repeated, or ord is no number.

    >>> import treadle as td
    >>> td.linalg.vector_norm(td.asarray([3.0, 4.0])).item()
    5.0
    """
    x = expect_floats("vector_norm", x)
    _expect_order("vector_norm", ord, None)
    axes = normal_axes("vector_norm", axis, x.ndim)
    if not axes:
        # Every element is a vector of one.
        return cast(not_equal(x, like(0, x)), REAL_OF[x.dtype]) if ord == 0 else _sizes(x)
    if ord == 2:
        return _root(sum(_squares(x), axis=axes, keepdims=keepdims))
    if ord == 0:
        return sum(cast(not_equal(x, like(0, x)), REAL_OF[x.dtype]), axis=axes, keepdims=keepdims)
    if ord == 1:
        return sum(_sizes(x), axis=axes, keepdims=keepdims)
    if math.isinf(ord):
        extreme = reduction.max if ord > 0 else reduction.min
        return extreme(_sizes(x), axis=axes, keepdims=keepdims)
    return _powers(x, float(ord), axes, keepdims)


@public_in("linalg")
def matrix_norm(x: Operand, /, *, keepdims: bool = False, ord: int | float | str | None = "fro") -> Node:
    """The norm of matrices: by default Frobenius', the root of the sum of squares.

    Args:
        x: array of shape ``[..., m, n]`` and dtype float32, float64, complex64 or complex128.
        keepdims: leave the two dimensions in place with size 1.
        ord: "fro" (or None); "nuc", the sum of the singular values; 2 or -2, the largest or smallest of them;
            1 or -1, the largest or smallest sum of absolute values of a column; inf or -inf, of a row.

    Returns:
        Array of the real dtype of x's precision and shape ``[...]``.

    Raises:
        ShapeError: x has fewer than two dimensions, or no elements where there must be some.
        DTypeError: x is of another dtype.
        ArgumentError: ord is none of these.

    >>> import treadle as td
    >>> td.linalg.matrix_norm(td.asarray([[1.0, -2.0], [3.0, 4.0]]), ord=1).item()
    6.0
    """
    x = expect_matrices("matrix_norm", x)
    ord = "fro" if ord is None else ord
    _expect_order("matrix_norm", ord, ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf))
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        values = svdvals(x)
        y = sum(values, axis=-1) if ord == "nuc" else _extreme(values, -1, ord)
    else:
        summed = -2 if abs(ord) == 1 else -1  # type: ignore[arg-type]
        y = _extreme(sum(_sizes(x), axis=summed), -1, ord)
    return reshaped(y, (*y.shape, 1, 1)) if keepdims else y


def _extreme(values: Node, axis: int, ord: Any) -> Node:
    """The largest, or for a negative order the smallest."""
    if values.shape[axis] == 0 and ord > 0:
        return sum(values, axis=axis)
    if values.shape[axis] == 0:
        raise ShapeError(f"[matrix_norm] ord={ord} of matrices without elements: there is no smallest")
    return (reduction.max if ord > 0 else reduction.min)(values, axis=axis)


@public_in("linalg")
def matrix_rank(x: Operand, /, *, rtol: Operand | None = None) -> Node:
    """How many singular values of matrices are not zero, as far as rounding can tell. It has no gradient.

    Args:
        x: array of shape ``[..., m, n]`` and dtype float32, float64, complex64 or complex128.
        rtol: singular values up to this times the largest count as zero; a number, or one for each matrix.
            None gives max(m, n) times the dtype's eps.

    Returns:
        Array of dtype int64 and shape ``[...]``.

    Raises:
        ShapeError: x has fewer than two dimensions, or rtol does not fit.
        DTypeError: x or rtol is of another dtype.
        LinAlgError: when the graph runs, a matrix has NaN or infinity in it.

    >>> import treadle as td
    >>> td.linalg.matrix_rank(td.asarray([[1.0, 2.0], [2.0, 4.0]])).item()
    1
    """
    x = expect_matrices("matrix_rank", x)
    tolerance = relative_tolerance("matrix_rank", x, rtol)
    values = svdvals(x)
    if values.shape[-1] == 0:
        return cast(sum(values, axis=-1), dtypes.int64)
    least = multiply(reduction.max(values, axis=-1), tolerance)
    counted = greater(values, broadcast(reshaped(least, (*least.shape, 1)), values.shape))
    return sum(cast(counted, dtypes.int64), axis=-1)
