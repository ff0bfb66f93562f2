"""What the families of linear algebra are written with: checks of operands, adjoints, diagonals, and what is
said where LAPACK gives up. Matrices are in the last two dimensions; the others are a stack of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.dtypes import DType
from treadle.errors import ArgumentError, DTypeError, LinAlgError, ShapeError
from treadle.graph.node import Node, Type, make
from treadle.ops.contraction import MATMUL
from treadle.ops.creation import eye
from treadle.ops.elementwise import add, conj, divide, like, multiply, subtract, where
from treadle.ops.movement import matrix_transpose
from treadle.ops.record import Operand, broadcast, cast, expect_node, reshaped

REAL_OF: dict[DType, DType] = {
    dtypes.float32: dtypes.float32, dtypes.float64: dtypes.float64,
    dtypes.complex64: dtypes.float32, dtypes.complex128: dtypes.float64,
}  # fmt: skip
"""The dtypes LAPACK computes in, and the real one of the same precision."""
COMPLEX_OF: dict[DType, DType] = {
    dtypes.float32: dtypes.complex64, dtypes.float64: dtypes.complex128,
    dtypes.complex64: dtypes.complex64, dtypes.complex128: dtypes.complex128,
}  # fmt: skip


# -- operands


def expect_floats(name: str, x: Operand, argument: str = "x") -> Node:
    """The operand, of a dtype that LAPACK computes in."""
    x = expect_node(name, argument, x)
    if x.dtype not in REAL_OF:
        raise DTypeError(
            f"[{name}] {argument} is {x.type!r}; expected float32, float64, complex64 or complex128: convert "
            f"it with astype"
        )
    return x


def expect_matrices(name: str, x: Operand, square: bool = False, argument: str = "x") -> Node:
    """The operand, which must be a matrix or a stack of them."""
    x = expect_floats(name, x, argument)
    check_matrices(name, x.type, square, argument)
    return x


def check_matrices(name: str, x: Type, square: bool = False, argument: str = "x") -> None:
    """What a record asks of its operand."""
    if x.dtype not in REAL_OF:
        raise DTypeError(f"[{name}] {argument} is {x!r}; expected a dtype that LAPACK computes in")
    if len(x.shape) < 2:
        raise ShapeError(f"[{name}] {argument} has shape {x.shape}; at least two dimensions are needed")
    if square and x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"[{name}] {argument} has shape {x.shape}; its matrices must be square")


def square_type(name: str, x: Type) -> Type:
    """The type of a result that is like its operand, of square matrices."""
    check_matrices(name, x, True)
    return x


def expect_flag(name: str, argument: str, value: Any) -> bool:
    """An argument that is True or False."""
    if not isinstance(value, bool):
        raise ArgumentError(f"[{name}] {argument}={value!r}; expected True or False")
    return value


# -- nodes


def adjoint(x: Node) -> Node:
    """The conjugate transpose."""
    return conj(matrix_transpose(x))


def chain(*matrices: Node) -> Node:
    """The product of matrices, from left to right; all have the same dimensions in front."""
    result = matrices[0]
    for matrix in matrices[1:]:
        result = make(MATMUL, (result, matrix))
    return result


def hermitian_part(x: Node) -> Node:
    """(x + x^H) / 2."""
    half = multiply(x, like(0.5, x))
    return add(half, adjoint(half))


def on_diagonal(x: Node) -> Node:
    """Where the elements of square matrices are on the diagonal, in the shape of x."""
    return broadcast(eye(x.shape[-1], dtype=dtypes.bool), x.shape)


def as_diagonal(v: Node) -> Node:
    """Diagonal matrices [..., n, n] of vectors [..., n]."""
    full = columns_times(like(1, broadcast(reshaped(v, (*v.shape, 1)), (*v.shape, v.shape[-1]))), v)
    return where(on_diagonal(full), full, like(0, full))


def columns_times(x: Node, v: Node) -> Node:
    """Matrices [..., m, n] times diagonal ones: the columns times the elements of v [..., n]."""
    v = reshaped(v, (*v.shape[:-1], 1, v.shape[-1]))
    return multiply(x, broadcast(cast(v, x.dtype), x.shape))


def rows_times(v: Node, x: Node) -> Node:
    """Diagonal matrices times others [..., m, n]: the rows times the elements of v [..., m]."""
    return multiply(broadcast(cast(reshaped(v, (*v.shape, 1)), x.dtype), x.shape), x)


def over_matrices(v: Node, x: Node) -> Node:
    """One number a matrix, [...], over the elements of matrices, in their dtype."""
    return broadcast(cast(reshaped(v, (*v.shape, 1, 1)), x.dtype), x.shape)


def total(parts: list[Node | None]) -> Node | None:
    """The sum of what is there."""
    found = None
    for part in parts:
        if part is not None:
            found = part if found is None else add(found, part)
    return found


def differences(values: Node) -> Node:
    """1 / (values[j] - values[i]) in row i and column j, 0 on the diagonal."""
    shape = (*values.shape, values.shape[-1])
    columns = broadcast(reshaped(values, (*values.shape[:-1], 1, values.shape[-1])), shape)
    rows = broadcast(reshaped(values, (*values.shape, 1)), shape)
    gaps = subtract(columns, rows)
    alone = on_diagonal(gaps)
    return where(alone, like(0, gaps), divide(like(1, gaps), where(alone, like(1, gaps), gaps)))


# -- references

NOT_FOUND = "has no decomposition LAPACK finds"


def where_possible(name: str, compute: Callable[..., Any], *arrays: Any, why: str) -> Any:
    """What LAPACK computes of stacks of matrices; where it gives up, which matrix it is and why."""
    try:
        return compute(*arrays)
    except np.linalg.LinAlgError:
        x = arrays[0]
        for place in np.ndindex(x.shape[:-2]):
            try:
                compute(*[array[place] for array in arrays])
            except np.linalg.LinAlgError:
                what = f"matrix {place} of x" if place else "x"
                if not np.isfinite(x[place]).all():
                    why = "has NaN or infinity in it"
                raise LinAlgError(f"[{name}] {what}, {x.dtype}{list(x.shape)}, {why}") from None
        raise


def hermitian(x: Any) -> Any:
    """The Hermitian part of NumPy's matrices."""
    half = x / 2
    return half + np.swapaxes(half, -1, -2).conj()


def singular(name: str, compute: Callable[..., Any], *arrays: Any) -> Any:
    """The same for what needs an inverse."""
    return where_possible(
        name, compute, *arrays, why="is singular: it has no inverse; td.linalg.pinv gives a pseudo-inverse"
    )
