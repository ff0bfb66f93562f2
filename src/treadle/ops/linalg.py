"""Products in the namespace `linalg` that the main namespace has not; those that it has are in both.

Names and meaning are those of the extension `linalg` of the Array API standard 2025.12.
"""

from __future__ import annotations

from treadle.dtypes import DType
from treadle.errors import ArgumentError, ShapeError
from treadle.graph.node import Node
from treadle.ops.contraction import matmul, tensordot, vecdot
from treadle.ops.elementwise import multiply, subtract
from treadle.ops.gather import diagonal
from treadle.ops.movement import concat, matrix_transpose, moveaxis, take_slice
from treadle.ops.record import (
    Operand,
    broadcast,
    broadcast_shapes,
    cast,
    expect_kind,
    expect_node,
    normal_axis,
    promoted,
    public_in,
    reshaped,
)
from treadle.ops.reduction import sum

for function in (diagonal, matmul, matrix_transpose, tensordot, vecdot):
    public_in("linalg")(function)


@public_in("linalg")
def outer(x1: Operand, x2: Operand, /) -> Node:
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
    x, y = _numeric("outer", x1, x2)
    for label, node in (("x1", x), ("x2", y)):
        if node.ndim != 1:
            raise ShapeError(f"[outer] {label} has shape {node.shape}; expected one dimension")
    return multiply(reshaped(x, (*x.shape, 1)), reshaped(y, (1, *y.shape)))


@public_in("linalg")
def cross(x1: Operand, x2: Operand, /, *, axis: int = -1) -> Node:
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
    x, y = _numeric("cross", x1, x2)
    if axis >= 0 and x.ndim != y.ndim:
        raise ArgumentError(
            f"[cross] axis={axis} with x1 of shape {x.shape} and x2 of shape {y.shape}: use a negative axis"
        )
    vectors = []
    for label, node in (("x1", x), ("x2", y)):
        place = normal_axis("cross", axis, node.ndim)
        if node.shape[place] != 3:
            raise ShapeError(
                f"[cross] {label} has shape {node.shape}: dimension {axis} is {node.shape[place]}, not 3"
            )
        vectors.append(moveaxis(node, place, -1))
    shape = broadcast_shapes("cross", [node.shape for node in vectors], ["x1", "x2"])
    a, b = ([_component(broadcast(node, shape), i) for i in range(3)] for node in vectors)
    parts = [subtract(multiply(a[i], b[j]), multiply(a[j], b[i])) for i, j in ((1, 2), (2, 0), (0, 1))]
    return moveaxis(concat(parts, axis=-1), -1, axis if axis < 0 else axis - x.ndim)


def _component(x: Node, i: int) -> Node:
    """One element of the vectors in the last dimension, which stays with size 1."""
    lead = [0] * (x.ndim - 1)
    return take_slice(x, [*lead, i], [*x.shape[:-1], i + 1], [1] * x.ndim)


@public_in("linalg")
def trace(x: Operand, /, *, offset: int = 0, dtype: DType | None = None) -> Node:
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
    x = expect_node("trace", "x", x)
    expect_kind("trace", "x", x, "numeric")
    return sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def _numeric(name: str, x1: Operand, x2: Operand) -> tuple[Node, Node]:
    """Two operands of one numeric dtype."""
    (left, right), dtype = promoted(name, (x1, x2))
    x, y = cast(left, dtype), cast(right, dtype)
    expect_kind(name, "x1 with x2 promoted", x, "numeric")
    return x, y
