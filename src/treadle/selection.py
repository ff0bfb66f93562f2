"""Operations whose result shape depends on values: they demand their input, and are an error in a static
graph.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from treadle.array import Array, ArrayLike, as_node, asarray, unlocated
from treadle.errors import ArgumentError, ShapeError
from treadle.ops import gather, movement
from treadle.ops.record import normal_axis


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
    return tuple(_places(array.device, *np.nonzero(array.numpy())))


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Array
    inverse_indices: Array


def unique_all(x: ArrayLike, /) -> UniqueAll:
    """The distinct elements in ascending order, where they are and how often; every NaN counts as distinct.

    Args:
        x: array of any dtype.

    Returns:
        `values` of shape [count] and x's dtype; `indices`, the place of the first of each in the flattened
        array; `inverse_indices` of x's shape, the place of each element of x among the values; `counts`.

    Raises:
        PlaceholderError: x depends on a placeholder: how many there are is not known while a graph is built.

    >>> import treadle as td
    >>> [part.tolist() for part in td.unique_all(td.asarray([2, 1, 2]))]
    [[1, 2], [1, 0], [1, 0, 1], [1, 2]]
    """
    given = Array(as_node(x))
    array = given.numpy()
    values, indices, inverse, counts = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    places = _places(given.device, indices, inverse.reshape(array.shape), counts)
    return UniqueAll(asarray(values, device=given.device), *places)


def unique_counts(x: ArrayLike, /) -> UniqueCounts:
    """The distinct elements in ascending order, and how often they are there; every NaN counts as distinct.

    Args:
        x: array of any dtype.

    Returns:
        `values` of shape [count] and x's dtype, and `counts`.

    Raises:
        PlaceholderError: x depends on a placeholder.

    >>> import treadle as td
    >>> td.unique_counts(td.asarray([2, 1, 2])).counts.tolist()
    [1, 2]
    """
    given = Array(as_node(x))
    values, counts = np.unique(given.numpy(), return_counts=True, equal_nan=False)
    return UniqueCounts(asarray(values, device=given.device), *_places(given.device, counts))


def unique_inverse(x: ArrayLike, /) -> UniqueInverse:
    """The distinct elements in ascending order, and which of them each element is; every NaN is distinct.

    Args:
        x: array of any dtype.

    Returns:
        `values` of shape [count] and x's dtype; `inverse_indices` of x's shape.

    Raises:
        PlaceholderError: x depends on a placeholder.

    >>> import treadle as td
    >>> td.unique_inverse(td.asarray([2, 1, 2])).inverse_indices.tolist()
    [1, 0, 1]
    """
    given = Array(as_node(x))
    values, inverse = np.unique(given.numpy(), return_inverse=True, equal_nan=False)
    places = _places(given.device, inverse.reshape(given.shape))
    return UniqueInverse(asarray(values, device=given.device), *places)


def _places(device: str, *arrays: np.ndarray) -> list[Array]:
    return [asarray(array.astype(np.int64), device=device) for array in arrays]


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
    given = Array(as_node(x))
    return asarray(np.unique(given.numpy(), equal_nan=False), device=given.device)


def repeat(x: ArrayLike, repeats: int | ArrayLike, /, *, axis: int | None = None) -> Array:
    """Each element repeated in place.

    Args:
        x: array of any dtype.
        repeats: how often: a number, or a 1-d array of integers, one for each element along the dimension.
            The result's shape depends on such an array's values, which are therefore demanded.
        axis: along which dimension; None flattens first.

    Returns:
        Array whose size along `axis` is the sum of the repeats.

    Raises:
        ArgumentError: repeats is negative or no integer, or axis is out of range.
        ShapeError: repeats has not as many elements as the dimension.
        PlaceholderError: repeats is an array that depends on a placeholder.

    >>> import treadle as td
    >>> td.repeat(td.asarray([1, 2]), td.asarray([2, 1])).tolist()
    [1, 1, 2]
    """
    node = as_node(x)
    if not isinstance(repeats, (Array, np.ndarray)):
        return Array(movement.repeat(node, repeats, axis=axis))
    given = Array(as_node(repeats))
    if given.dtype.kind not in ("int", "uint") or given.ndim > 1:
        raise ArgumentError(f"[repeat] repeats is {given.node.type!r}; expected integers of one dimension")
    if axis is None:
        node, axis = movement.reshape(node, -1), 0
    axis = normal_axis("repeat", axis, node.ndim)
    counts = given.numpy()
    if counts.size not in (1, node.shape[axis]):
        raise ShapeError(
            f"[repeat] repeats has shape {counts.shape}, dimension {axis} of x, of shape {node.shape}, has "
            f"{node.shape[axis]} elements"
        )
    if (counts < 0).any():
        raise ArgumentError(f"[repeat] repeats has the negative number {counts.min()}")
    # NumPy repeats by int64 alone and takes no uint64.
    places = np.repeat(np.arange(node.shape[axis]), counts.reshape(-1).astype(np.int64))
    return Array(gather.take(node, unlocated(places), axis=axis))
