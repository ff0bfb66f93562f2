"""Linear algebra with arrays: the Array API standard's extension of that name. Generated from the op
records by ``./dev generate``: do not edit."""

from __future__ import annotations

from typing import Any

from treadle.array import Array, ArrayLike, as_operand, wrap
from treadle.namespace import diagonal, matmul, matrix_transpose, tensordot, vecdot
from treadle.ops import linalg as _linalg

__all__ = [
    "cross",
    "diagonal",
    "matmul",
    "matrix_transpose",
    "outer",
    "tensordot",
    "trace",
    "vecdot",
]


def cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Array:
    """The cross product of vectors of three elements.

    Args:
        x1: array of numeric dtype with three elements along the axis.
        x2: likewise; the other dimensions broadcast, dtypes promote.
        axis: the dimension of the vectors, counted from the end and so negative, or 0 and up where the ranks
            are equal.

    Returns:
        Array of the broadcast shape.

    Raises:
        ShapeError: there are not three elements along the axis, or the other dimensions do not broadcast.
        ArgumentError: axis is out of range.
        DTypeError: the promoted dtype is bool.

    >>> import treadle as td
    >>> td.linalg.cross(td.asarray([1, 0, 0]), td.asarray([0, 1, 0])).tolist()
    [0, 0, 1]
    """
    return wrap(_linalg.cross(as_operand(x1), as_operand(x2), axis=axis))


def outer(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The products of every element of one vector with every element of another.

    Args:
        x1: array of numeric dtype and shape ``[n]``.
        x2: likewise, of shape ``[m]``; dtypes promote.

    Returns:
        Array of shape ``[n, m]``.

    Raises:
        ShapeError: an operand is not 1-d.
        DTypeError: the promoted dtype is bool.

    >>> import treadle as td
    >>> td.linalg.outer(td.asarray([1, 2]), td.asarray([3, 4])).tolist()
    [[3, 4], [6, 8]]
    """
    return wrap(_linalg.outer(as_operand(x1), as_operand(x2)))


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """The sum of a diagonal of the matrices in the last two dimensions.

    Args:
        x: array of numeric dtype and shape ``[..., m, n]``.
        offset: which diagonal: 0 for the main one, positive above it, negative below.
        dtype: of the result; None keeps floating dtypes and sums integers as int64 (unsigned as uint64).

    Returns:
        Array of shape ``[...]``; 0 where there is nothing to sum.

    Raises:
        ShapeError: x has fewer than two dimensions.
        DTypeError: x is bool.

    >>> import treadle as td
    >>> td.linalg.trace(td.asarray([[1, 2], [3, 4]])).item()
    5
    """
    return wrap(_linalg.trace(as_operand(x), offset=offset, dtype=dtype))
