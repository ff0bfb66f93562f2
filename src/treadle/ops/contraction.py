"""Contractions: products summed over shared dimensions. One record, `matmul`; the others arrange operands for
it.

Names and meaning are those of the Array API standard 2025.12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Shape, Size, product
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import Flags, in_front
from treadle.ops.elementwise import conj, multiply
from treadle.ops.movement import matrix_transpose, moveaxis, permute_dims
from treadle.ops.record import (
    Operand,
    broadcast,
    broadcast_shapes,
    cast,
    naming,
    normal_axis,
    promoted,
    public,
    register,
    reshaped,
)
from treadle.ops.reduction import sum

NARROW = (dtypes.float16.numpy, dtypes.bfloat16.numpy)
"""NumPy dtypes that are summed in float32 and rounded once, as native code does."""


def widened(x: Any) -> Any:
    """A NumPy array in the dtype it is summed in."""
    return x.astype(np.float32) if x.dtype in NARROW else x


def _infer_matmul(x: Type, y: Type) -> Type:
    if len(x.shape) < 2 or len(x.shape) != len(y.shape) or x.shape[:-2] != y.shape[:-2]:
        raise ShapeError(f"[matmul] operands {x!r} and {y!r} are not stacks of matrices of one shape")
    if x.shape[-1] != y.shape[-2]:
        raise ShapeError(_inner_sizes(x.shape, y.shape))
    if x.dtype is not y.dtype:
        raise DTypeError(f"[matmul] operands are {x!r} and {y!r}; expected one dtype")
    if x.dtype.kind not in dtypes.KINDS["numeric"]:
        raise DTypeError(f"[matmul] the operands promote to {x.dtype}; expected a numeric dtype")
    return Type((*x.shape[:-1], y.shape[-1]), x.dtype)


def _inner_sizes(left: Shape, right: Shape) -> str:
    """What to say where the summed dimensions differ."""
    first = f"[matmul] last dimension of x1, of shape {left}, is {left[-1]} but "
    hint = naming(left[-1:], right[-2:][:1])
    if len(right) == 1:
        return first + f"x2, of shape {right}, has {right[0]} elements" + hint
    return first + f"the second-to-last of x2, of shape {right}, is {right[-2]}" + hint


def _matmul_reference(x: Any, y: Any) -> Any:
    return np.matmul(widened(x), widened(y)).astype(x.dtype)


def _matmul_vjp(g: Node, z: Node, x: Node, y: Node) -> tuple[Node, Node]:
    return make(MATMUL, (g, conj(matrix_transpose(y)))), make(MATMUL, (conj(matrix_transpose(x)), g))


def _matmul_batch(z: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node:
    """A stack of products; where the second operand is the same for all examples, the rows of the first make
    one larger product. Columns do not: what is copied costs more than is gained, 1.5 to 3 times for sizes of
    32 to 256 on a CPU.
    """
    x, y = inputs
    if batched[1]:
        return make(MATMUL, (in_front(x, size, batched[0]), y))
    *lead, m, n = z.shape
    rows = reshaped(moveaxis(x, 0, -3), (*lead, size * m, x.shape[-1]))
    return moveaxis(reshaped(make(MATMUL, (rows, y)), (*lead, size, m, n)), -3, 0)


MATMUL = register(
    Op("matmul", _infer_matmul, _matmul_reference, _matmul_vjp, batch=_matmul_batch,
       doc="Products of the matrices of two equally shaped stacks, [batch..., m, k] and [batch..., k, n].")
)  # fmt: skip


@public
def matmul(x1: Operand, x2: Operand, /) -> Node:
    """The matrix product over the last dimension of x1 and the second-to-last of x2.

    Args:
        x1: array of numeric dtype, of shape ``[..., m, k]``, or ``[k]`` for a row.
        x2: array of shape ``[..., k, n]``, or ``[k]`` for a column; leading dimensions broadcast, dtypes
            promote.

    Returns:
        Array of shape ``[..., m, n]``, without m where x1 is a row and without n where x2 is a column.

    Raises:
        ShapeError: an operand is 0-d, the summed sizes differ, or the leading dimensions do not broadcast.
        DTypeError: the promoted dtype is bool.
    """
    x, y = _operands("matmul", x1, x2)
    for label, node in (("x1", x), ("x2", y)):
        if node.ndim == 0:
            raise ShapeError(f"[matmul] {label} has no dimensions: multiply by a number with *")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ShapeError(_inner_sizes(x.shape, y.shape))
    row, column = x.ndim == 1, y.ndim == 1
    x = reshaped(x, (1, *x.shape)) if row else x
    y = reshaped(y, (*y.shape, 1)) if column else y
    if y.ndim == 2:
        # One tall matrix: the gradient by y is then one product too, not a stack of them to be summed.
        lead = x.shape[:-1]
        z = make(MATMUL, (reshaped(x, (product(lead), x.shape[-1])), y))
        z = reshaped(z, (*lead, y.shape[-1]))
    else:
        batch = broadcast_shapes(
            "matmul", [x.shape[:-2], y.shape[:-2]], ["leading dimensions of x1", "of x2"]
        )
        z = make(MATMUL, (broadcast(x, batch + x.shape[-2:]), broadcast(y, batch + y.shape[-2:])))
    lead, tail = z.shape[:-2], z.shape[-2:]
    return reshaped(z, lead + (() if row else tail[:1]) + (() if column else tail[1:]))


def _operands(name: str, x1: Operand, x2: Operand) -> tuple[Node, Node]:
    """Two operands of one dtype."""
    (left, right), dtype = promoted(name, (x1, x2))
    return cast(left, dtype), cast(right, dtype)


@public
def vecdot(x1: Operand, x2: Operand, /, *, axis: int = -1) -> Node:
    """The sum of conj(x1) * x2 over one dimension.

    Args:
        x1: array of numeric dtype.
        x2: likewise; the dimensions other than `axis` broadcast, dtypes promote.
        axis: the dimension to sum over, counted from the end and so negative, or 0 and up where the ranks are
            equal.

    Returns:
        Array of the broadcast shape without that dimension.

    Raises:
        ShapeError: the sizes along `axis` differ, or the other dimensions do not broadcast.
        ArgumentError: axis is out of range.
    """
    x, y = _operands("vecdot", x1, x2)
    if axis >= 0 and x.ndim != y.ndim:
        raise ArgumentError(
            f"[vecdot] axis={axis} with x1 of shape {x.shape} and x2 of shape {y.shape}: use a negative axis"
        )
    left, right = normal_axis("vecdot", axis, x.ndim), normal_axis("vecdot", axis, y.ndim)
    if x.shape[left] != y.shape[right]:
        raise ShapeError(
            f"[vecdot] dimension {axis} of x1, of shape {x.shape}, is {x.shape[left]} "
            f"but that of x2, of shape {y.shape}, is {y.shape[right]}"
        )
    x, y = (moveaxis(node, a, -1) for node, a in ((x, left), (y, right)))
    return sum(multiply(conj(x), y), axis=-1, dtype=x.dtype)


@public
def tensordot(x1: Operand, x2: Operand, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Node:
    """The sum of products over pairs of dimensions.

    Args:
        x1: array of numeric dtype.
        x2: likewise; dtypes promote.
        axes: a number n, to pair the last n dimensions of x1 with the first n of x2 in order; or the
            dimensions of x1 and, in the same order, those of x2.

    Returns:
        Array with the other dimensions of x1, then those of x2.

    Raises:
        ShapeError: paired sizes differ.
        ArgumentError: axes do not pair up, or are out of range.
    """
    x, y = _operands("tensordot", x1, x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, y.ndim):
            raise ArgumentError(
                f"[tensordot] axes={axes} with x1 of shape {x.shape} and x2 of shape {y.shape}"
            )
        left, right = list(range(x.ndim - axes, x.ndim)), list(range(axes))
    else:
        given = [[part] if isinstance(part, int) else list(part) for part in axes]
        if len(given) != 2 or len(given[0]) != len(given[1]):
            raise ArgumentError(
                f"[tensordot] axes={axes} does not pair up: give as many dimensions of x1 as of x2"
            )
        left = [normal_axis("tensordot", a, x.ndim, "axes") for a in given[0]]
        right = [normal_axis("tensordot", a, y.ndim, "axes") for a in given[1]]
        if len(set(left)) != len(left) or len(set(right)) != len(right):
            raise ArgumentError(f"[tensordot] axes={axes} names a dimension twice")
    for a, b in zip(left, right, strict=True):
        if x.shape[a] != y.shape[b]:
            raise ShapeError(
                f"[tensordot] dimension {a} of x1, of shape {x.shape}, is {x.shape[a]} "
                f"but dimension {b} of x2, of shape {y.shape}, is {y.shape[b]}"
            )
    rows = [a for a in range(x.ndim) if a not in left]
    columns = [b for b in range(y.ndim) if b not in right]
    summed = product([x.shape[a] for a in left])
    row_sizes, column_sizes = tuple(x.shape[a] for a in rows), tuple(y.shape[b] for b in columns)
    x = reshaped(permute_dims(x, rows + left), (product(row_sizes), summed))
    y = reshaped(permute_dims(y, right + columns), (summed, product(column_sizes)))
    return reshaped(make(MATMUL, (x, y)), row_sizes + column_sizes)
