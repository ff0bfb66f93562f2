"""Linear algebra with arrays: the Array API standard's extension of that name. Generated from the op
records by ``./dev generate``: do not edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from treadle.array import Array, ArrayLike, as_operand, wrap
from treadle.namespace import diagonal, matmul, matrix_transpose, tensordot, vecdot
from treadle.ops import decompositions as _decompositions
from treadle.ops import determinants as _determinants
from treadle.ops import eigen as _eigen
from treadle.ops import linalg as _linalg
from treadle.ops import norms as _norms
from treadle.ops import solving as _solving

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


class EigResult(NamedTuple):
    """What `eig` returns: x times an eigenvector, a column, is the vector times its value."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """What `eigh` returns: x times an eigenvector, a column, is the vector times its value."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """What `qr` returns: x is ``Q @ R``."""

    Q: Array
    R: Array


class SVDResult(NamedTuple):
    """What `svd` returns: x is ``(U * S[..., None, :]) @ Vh`` where the vectors are as many as the values."""

    U: Array
    S: Array
    Vh: Array


class SlogdetResult(NamedTuple):
    """What `slogdet` returns: the determinant is ``sign * exp(logabsdet)``."""

    sign: Array
    logabsdet: Array


def cholesky(x: ArrayLike, /, *, upper: bool = False) -> Array:
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
    return wrap(_solving.cholesky(as_operand(x), upper=upper))


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


def det(x: ArrayLike, /) -> Array:
    """The determinant of square matrices.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128.

    Returns:
        Array of shape ``[...]``; 1 for matrices without elements. Its gradient is right for singular matrices
        too; the gradient of that needs an inverse.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.

    >>> import treadle as td
    >>> td.linalg.det(td.asarray([[2.0, 0.0], [0.0, 4.0]])).item()
    8.0
    """
    return wrap(_determinants.det(as_operand(x)))


def eig(x: ArrayLike, /) -> EigResult:
    """The eigenvalues and eigenvectors of square matrices. They have no gradient here.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128.

    Returns:
        ``eigenvalues`` of shape ``[..., n]``, in no order, and ``eigenvectors`` of shape ``[..., n, n]``, as
        columns; both complex.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.
        LinAlgError: when the graph runs, a matrix has NaN or infinity in it.

    >>> import treadle as td
    >>> sorted(td.linalg.eig(td.asarray([[0.0, -1.0], [1.0, 0.0]])).eigenvalues.numpy().imag.tolist())
    [-1.0, 1.0]
    """
    return EigResult(*map(wrap, _eigen.eig(as_operand(x))))


def eigh(x: ArrayLike, /) -> EighResult:
    """The eigenvalues and eigenvectors of symmetric or Hermitian matrices.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128. Where it is not
            Hermitian, its Hermitian part counts, ``(x + x^H) / 2``.

    Returns:
        ``eigenvalues``, real, of shape ``[..., n]``, the smallest first, and ``eigenvectors`` of shape
        ``[..., n, n]``, as columns, which have a gradient where the values differ.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.
        LinAlgError: when the graph runs, LAPACK finds no eigenvalues; of NaN they may also be NaN.

    >>> import treadle as td
    >>> td.linalg.eigh(td.asarray([[3.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
    [1.0, 3.0]
    """
    return EighResult(*map(wrap, _eigen.eigh(as_operand(x))))


def eigvals(x: ArrayLike, /) -> Array:
    """The eigenvalues of square matrices. They have no gradient here.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128.

    Returns:
        Array of complex dtype and shape ``[..., n]``, in no order.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.
        LinAlgError: when the graph runs, a matrix has NaN or infinity in it.

    >>> import treadle as td
    >>> sorted(td.linalg.eigvals(td.asarray([[0.0, -1.0], [1.0, 0.0]])).numpy().imag.tolist())
    [-1.0, 1.0]
    """
    return wrap(_eigen.eigvals(as_operand(x)))


def eigvalsh(x: ArrayLike, /) -> Array:
    """The eigenvalues of symmetric or Hermitian matrices.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128. Where it is not
            Hermitian, its Hermitian part counts, ``(x + x^H) / 2``.

    Returns:
        Array of the real dtype of x's precision and shape ``[..., n]``, the smallest first.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.
        LinAlgError: when the graph runs, LAPACK finds no eigenvalues; of NaN they may also be NaN.

    >>> import treadle as td
    >>> td.linalg.eigvalsh(td.asarray([[3.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 3.0]
    """
    return wrap(_eigen.eigvalsh(as_operand(x)))


def inv(x: ArrayLike, /) -> Array:
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
    return wrap(_solving.inv(as_operand(x)))


def matrix_norm(x: ArrayLike, /, *, keepdims: bool = False, ord: int | float | str | None = 'fro') -> Array:
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
    return wrap(_norms.matrix_norm(as_operand(x), keepdims=keepdims, ord=ord))


def matrix_power(x: ArrayLike, n: int, /) -> Array:
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
    return wrap(_solving.matrix_power(as_operand(x), n))


def matrix_rank(x: ArrayLike, /, *, rtol: ArrayLike | None = None) -> Array:
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
    return wrap(_norms.matrix_rank(as_operand(x), rtol=None if rtol is None else as_operand(rtol)))


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


def pinv(x: ArrayLike, /, *, rtol: ArrayLike | None = None) -> Array:
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
    return wrap(_solving.pinv(as_operand(x), rtol=None if rtol is None else as_operand(rtol)))


def qr(x: ArrayLike, /, *, mode: str = 'reduced') -> QRResult:
    """The QR decomposition: x as the product of orthonormal columns and an upper triangle.

    Args:
        x: array of shape ``[..., m, n]`` and dtype float32, float64, complex64 or complex128.
        mode: "reduced" for k = min(m, n) columns, "complete" for k = m.

    Returns:
        ``Q`` of shape ``[..., m, k]`` and ``R`` of shape ``[..., k, n]``. There is a gradient where the first
        min(m, n) columns of x are linearly independent; of more columns than x has there is none.

    Raises:
        ShapeError: x has fewer than two dimensions.
        DTypeError: x is of another dtype.
        ArgumentError: mode is neither of the two.

    >>> import treadle as td
    >>> q, r = td.linalg.qr(td.asarray([[3.0, 1.0], [4.0, 2.0]]))
    >>> bool(td.max(td.abs(q @ r - td.asarray([[3.0, 1.0], [4.0, 2.0]]))) < 1e-5)
    True
    """
    return QRResult(*map(wrap, _decompositions.qr(as_operand(x), mode=mode)))


def slogdet(x: ArrayLike, /) -> SlogdetResult:
    """The sign of the determinant of square matrices, and the logarithm of its absolute value.

    Args:
        x: array of shape ``[..., n, n]`` and dtype float32, float64, complex64 or complex128.

    Returns:
        ``sign``, of x's dtype, and ``logabsdet``, real, of shape ``[...]``: 0 and -infinity of a singular
        matrix, which has no gradient.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: x is of another dtype.

    >>> import treadle as td
    >>> sign, logabsdet = td.linalg.slogdet(td.asarray([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign.item(), logabsdet.item()
    (-1.0, 0.0)
    """
    return SlogdetResult(*map(wrap, _determinants.slogdet(as_operand(x))))


def solve(x1: ArrayLike, x2: ArrayLike, /) -> Array:
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
    return wrap(_solving.solve(as_operand(x1), as_operand(x2)))


def svd(x: ArrayLike, /, *, full_matrices: bool = True) -> SVDResult:
    """The singular value decomposition.

    Args:
        x: array of shape ``[..., m, n]`` and dtype float32, float64, complex64 or complex128.
        full_matrices: give all m left and n right vectors, not only the k = min(m, n) that have a value.

    Returns:
        ``U`` of shape ``[..., m, m]`` or ``[..., m, k]``, with left vectors as columns; ``S``, real, of shape
        ``[..., k]``, the largest first; ``Vh`` of shape ``[..., n, n]`` or ``[..., k, n]``, with conjugated
        right vectors as rows. The vectors have a gradient where full_matrices is False or m = n, and the
        values differ from each other and from 0.

    Raises:
        ShapeError: x has fewer than two dimensions.
        DTypeError: x is of another dtype.
        ArgumentError: full_matrices is not a bool.
        LinAlgError: when the graph runs, a matrix has NaN or infinity in it.

    >>> import treadle as td
    >>> td.linalg.svd(td.asarray([[0.0, 2.0], [1.0, 0.0]])).S.tolist()
    [2.0, 1.0]
    """
    return SVDResult(*map(wrap, _decompositions.svd(as_operand(x), full_matrices=full_matrices)))


def svdvals(x: ArrayLike, /) -> Array:
    """The singular values of matrices.

    Args:
        x: array of shape ``[..., m, n]`` and dtype float32, float64, complex64 or complex128.

    Returns:
        Array of the real dtype of x's precision and shape ``[..., min(m, n)]``, the largest first.

    Raises:
        ShapeError: x has fewer than two dimensions.
        DTypeError: x is of another dtype.
        LinAlgError: when the graph runs, a matrix has NaN or infinity in it.

    >>> import treadle as td
    >>> td.linalg.svdvals(td.asarray([[0.0, 2.0], [1.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    return wrap(_decompositions.svdvals(as_operand(x)))


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


def vector_norm(
    x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False, ord: int | float
    = 2
) -> Array:
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
    return wrap(_norms.vector_norm(as_operand(x), axis=axis, keepdims=keepdims, ord=ord))
