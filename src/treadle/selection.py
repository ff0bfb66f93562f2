"""Operations whose result shape depends on values: they demand their input, and are an error in a static
graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.array import Array, ArrayLike, as_node, as_operand, asarray
from treadle.dtypes import DType, as_dtype
from treadle.errors import ShapeError
from treadle.ops.record import promoted


def nonzero(x: ArrayLike, /) -> tuple[Array, ...]:
    """The places of the elements that are not zero, in row-major order.

    Args:
        x: array of any dtype and at least one dimension.

    Returns:
        One int64 array a dimension of x, each of shape [count].

    Raises:
        ShapeError: x is 0-d.
        PlaceholderError: x depends on a placeholder: how many there are is not known while a graph is built.

    >>> import treadle as td
    >>> td.nonzero(td.asarray([0, 3, 0, 5]))[0].tolist()
    [1, 3]
    """
    array = Array(as_node(x))
    if array.ndim == 0:
        raise ShapeError("[nonzero] x is 0-d: it has no places")
    return tuple(asarray(places.astype(np.int64)) for places in np.nonzero(array.numpy()))


def unique_values(x: ArrayLike, /) -> Array:
    """The distinct elements, in ascending order; every NaN counts as distinct.

    Args:
        x: array of any dtype.

    Returns:
        Array of shape [count] and x's dtype.

    Raises:
        PlaceholderError: x depends on a placeholder.

    >>> import treadle as td
    >>> td.unique_values(td.asarray([2, 1, 2])).tolist()
    [1, 2]
    """
    return asarray(np.unique(Array(as_node(x)).numpy(), equal_nan=False))


def result_type(*operands: ArrayLike | DType) -> DType:
    """The dtype of an operation on operands.

    Args:
        operands: arrays, Python numbers and dtypes, at least one.

    Raises:
        DTypeError: they do not promote.

    >>> import treadle as td
    >>> td.result_type(td.float16, td.float32), td.result_type(td.ones(2, dtype=td.int8), 3)
    (float32, int8)
    """
    given: list[Any] = []
    for operand in operands:
        if isinstance(operand, (DType, str, type, np.dtype)):
            given.append(as_node(asarray(np.zeros((), as_dtype(operand).numpy))))
        else:
            given.append(as_operand(operand))
    return promoted("result_type", given)[1]
