"""Linear systems, inverses and the Cholesky factor.

Names and meaning are those of the extension `linalg` of the Array API standard 2025.12. Gradients are written
with the results themselves, so that they have gradients. Their rules, where nothing else is said, are those
of Giles, "An extended collection of matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008), sections 2.2 and 2.3, with adjoints for transposes where values are complex.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import everywhere
from treadle.ops.contraction import matmul
from treadle.ops.creation import eye, tril
from treadle.ops.elementwise import add, like, multiply, negative, subtract, where
from treadle.ops.matrices import (
    NOT_FOUND,
    REAL_OF,
    adjoint,
    chain,
    check_matrices,
    expect_flag,
    expect_floats,
    expect_matrices,
    hermitian_part,
    on_diagonal,
    singular,
    square_type,
    where_possible,
)
from treadle.ops.record import (
    Operand,
    broadcast,
    broadcast_shapes,
    cast,
    promoted,
    public_in,
    register,
    reshaped,
)

# -- systems and inverses


def _infer_solve(a: Type, b: Type) -> Type:
    check_matrices("solve", a, True, "x1")
    check_matrices("solve", b, False, "x2")
    if a.dtype is not b.dtype:
        raise DTypeError(f"[solve] the operands are {a!r} and {b!r}; expected one dtype")
    if a.shape[:-1] != b.shape[:-1]:
        raise ShapeError(f"[solve] x1 of shape {a.shape} does not fit x2 of shape {b.shape}")
    return b


def _solve_vjp(g: Node, x: Node, a: Node, b: Node) -> tuple[Node, Node]:
    by_b = make(SOLVE, (adjoint(a), g))
    return negative(chain(by_b, adjoint(x))), by_b


SOLVE = register(
    Op("solve", _infer_solve, lambda a, b: singular("solve", np.linalg.solve, a, b), _solve_vjp,
       batch=everywhere, doc="The x with a x = b, of stacks of square matrices [..., n, n] and [..., n, k].")
)  # fmt: skip


def _inv_vjp(g: Node, y: Node, x: Node) -> tuple[Node]:
    return (negative(chain(adjoint(y), g, adjoint(y))),)


INV = register(
    Op("inv", lambda x: square_type("inv", x), lambda x: singular("inv", np.linalg.inv, x), _inv_vjp,
       batch=everywhere, doc="The inverses of square matrices.")
)  # fmt: skip


def _infer_pinv(x: Type, rtol: Type) -> Type:
    check_matrices("pinv", x)
    if rtol is not Type(x.shape[:-2], REAL_OF[x.dtype]):
        raise ShapeError(f"[pinv] rtol is {rtol!r}; expected one {REAL_OF[x.dtype]} a matrix of {x!r}")
    return Type((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)


def _pinv_vjp(g: Node, p: Node, x: Node, rtol: Node) -> tuple[Node, None]:
    """Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose
    variables separate" (1973), theorem 4.3, transposed; where the rank is constant.
    """
    q, h = adjoint(p), adjoint(g)
    back = chain(h, p, q)
    forth = chain(q, p, h)
    outside = subtract(back, chain(x, p, back))
    inside = subtract(forth, chain(forth, p, x))
    return add(subtract(outside, chain(q, g, q)), inside), None


PINV = register(
    Op("pinv", _infer_pinv,
       lambda x, rtol: where_possible(
           "pinv", lambda a, r: np.linalg.pinv(a, rtol=r), x, rtol, why=NOT_FOUND),
       _pinv_vjp, batch=everywhere, doc="The pseudo-inverses.")
)  # fmt: skip

# -- the Cholesky factor


def _infer_cholesky(x: Type, upper: bool) -> Type:
    expect_flag("cholesky", "upper", upper)
    return square_type("cholesky", x)


def _cholesky_reference(x: Any, upper: bool) -> Any:
    half = x / 2
    lower = where_possible(
        "cholesky",
        np.linalg.cholesky,
        half + np.swapaxes(half, -1, -2).conj(),
        why="is not positive definite",
    )
    # conj() makes the zeros -0j; those below the diagonal are to be plain ones.
    return np.triu(np.swapaxes(lower, -1, -2).conj()) if upper else lower


def _cholesky_vjp(g: Node, y: Node, x: Node, upper: bool) -> tuple[Node]:
    """Murray, "Differentiation of the Cholesky decomposition" (2016), section 3.1."""
    if upper:
        g, y = adjoint(g), adjoint(y)
    inner = tril(chain(adjoint(y), g))
    inner = where(on_diagonal(inner), multiply(inner, like(0.5, inner)), inner)
    left = make(SOLVE, (adjoint(y), inner))
    return (hermitian_part(make(SOLVE, (adjoint(y), adjoint(left)))),)


CHOLESKY = register(
    Op("cholesky", _infer_cholesky, _cholesky_reference, _cholesky_vjp,
       attributes=("upper",), batch=everywhere, doc="Triangular l with l l^H the Hermitian part, or u.")
)  # fmt: skip

# -- what users call


@public_in("linalg")
def cholesky(x: Operand, /, *, upper: bool = False) -> Node:
    """The Cholesky factor of positive-definite matrices.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128: symmetric or
            Hermitian matrices. Of others the Hermitian part counts, ``(x + x^H) / 2``.
        upper: give the upper-triangular u with ``x = u^H u`` in place of the lower-triangular l with
            ``x = l l^H``.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.
        LinAlgError: when the graph runs, a matrix is not positive definite.

    >>> import treadle as td
    >>> td.linalg.cholesky(td.asarray([[4.0, 2.0], [2.0, 5.0]])).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    return make(
        CHOLESKY, (expect_matrices("cholesky", x, square=True),), (expect_flag("cholesky", "upper", upper),)
    )


@public_in("linalg")
def solve(x1: Operand, x2: Operand, /) -> Node:
    """The solution x of the linear system ``x1 x = x2``.

    Args:
        x1: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128.
        x2: array of shape ``[n]``, or ``[..., n, k]`` for k right-hand sides; leading dimensions broadcast,
            dtypes promote.

    Returns:
        Array of shape ``[..., n]`` or ``[..., n, k]``.

    Raises:
        ShapeError: the matrices are not square, or shapes do not fit.
        DTypeError: an operand is of another dtype.
        LinAlgError: when the graph runs, a matrix is singular.

    >>> import treadle as td
    >>> td.linalg.solve(td.asarray([[2.0, 0.0], [0.0, 4.0]]), td.asarray([2.0, 2.0])).tolist()
    [1.0, 0.5]
    """
    a, b = expect_matrices("solve", x1, True, "x1"), expect_floats("solve", x2, "x2")
    _, dtype = promoted("solve", (a, b))
    a, b = cast(a, dtype), cast(b, dtype)
    alone = b.ndim == 1
    if not b.ndim:
        raise ShapeError("[solve] x2 has no dimensions; expected [n] or [..., n, k]")
    b = reshaped(b, (*b.shape, 1)) if alone else b
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"[solve] x1 of shape {a.shape} has {a.shape[-1]} rows, x2 of shape {x2.shape} {b.shape[-2]}"  # type: ignore[union-attr]
        )
    lead = broadcast_shapes("solve", [a.shape[:-2], b.shape[:-2]], ["leading dimensions of x1", "of x2"])
    y = make(SOLVE, (broadcast(a, lead + a.shape[-2:]), broadcast(b, lead + b.shape[-2:])))
    return reshaped(y, y.shape[:-1]) if alone else y


@public_in("linalg")
def inv(x: Operand, /) -> Node:
    """The inverse of square matrices. To solve a linear system, `solve` is quicker and more accurate.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.
        LinAlgError: when the graph runs, a matrix is singular.

    >>> import treadle as td
    >>> td.linalg.inv(td.asarray([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return make(INV, (expect_matrices("inv", x, square=True),))


def relative_tolerance(name: str, x: Node, rtol: Operand | None) -> Node:
    """What counts as zero beside the largest singular value, for each matrix."""
    real = REAL_OF[x.dtype]
    if isinstance(rtol, Node) and rtol.dtype.kind != "float":
        raise DTypeError(f"[{name}] rtol is {rtol.type!r}; expected a real floating dtype")
    if rtol is None:
        rows, columns = x.shape[-2:]
        if isinstance(rows, Dimension) or isinstance(columns, Dimension):
            raise ArgumentError(f"[{name}] a size of the matrices of x, {x.type!r}, is not known: give rtol")
        value = cast(max(rows, columns) * float(np.finfo(real.numpy).eps), real)
    else:
        value = cast(rtol, real)
    if broadcast_shapes(name, [value.shape, x.shape[:-2]], ["rtol", "the stack of x"]) != x.shape[:-2]:
        raise ShapeError(f"[{name}] rtol of shape {value.shape} is for more matrices than x, {x.type!r}, has")
    return broadcast(value, x.shape[:-2])


@public_in("linalg")
def pinv(x: Operand, /, *, rtol: Operand | None = None) -> Node:
    """The Moore-Penrose pseudo-inverse of matrices, which solves least-squares problems.

    Args:
        x: array of shape ``[..., m, n]`` and dtype float32, float64, complex64 or complex128.
        rtol: singular values up to this times the largest count as zero; a number, or one for each matrix.
            None gives max(m, n) times the dtype's eps.

    Returns:
        Array of shape ``[..., n, m]``. Its gradient is that of matrices whose rank does not change.

    Raises:
        ShapeError: x has fewer than two dimensions, or rtol does not fit.
        DTypeError: x or rtol is of another dtype.
        LinAlgError: when the graph runs, a matrix has NaN or infinity in it.

    >>> import treadle as td
    >>> td.linalg.pinv(td.asarray([[2.0, 0.0], [0.0, 0.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    x = expect_matrices("pinv", x)
    return make(PINV, (x, relative_tolerance("pinv", x, rtol)))


@public_in("linalg")
def matrix_power(x: Operand, n: int, /) -> Node:
    """Square matrices multiplied by themselves.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128.
        n: how often; 0 gives identity matrices, a negative number powers of the inverse.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.
        ArgumentError: n is not an integer.
        LinAlgError: when the graph runs, n is negative and a matrix is singular.

    >>> import treadle as td
    >>> td.linalg.matrix_power(td.asarray([[1.0, 1.0], [0.0, 1.0]]), 5).tolist()
    [[1.0, 5.0], [0.0, 1.0]]
    """
    x = expect_matrices("matrix_power", x, square=True)
    if not isinstance(n, int) or isinstance(n, bool):
        raise ArgumentError(f"[matrix_power] n={n!r} is not an integer")
    if n == 0:
        return broadcast(eye(x.shape[-1], dtype=x.dtype), x.shape)
    power, left, result = inv(x) if n < 0 else x, abs(n), None
    while left:
        if left % 2:
            result = power if result is None else matmul(result, power)
        left //= 2
        power = matmul(power, power) if left else power
    assert result is not None
    return result
