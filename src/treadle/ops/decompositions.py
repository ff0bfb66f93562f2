"""Decompositions of matrices of any shape: QR, singular values and vectors.

Names and meaning are those of the extension `linalg` of the Array API standard 2025.12. Gradients are written
with the results themselves, so that they have gradients. Vectors are determined up to a sign, of complex
matrices up to a phase: gradients mean something for what does not depend on it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from treadle.errors import ArgumentError, GradientError
from treadle.graph.node import Node, Op, Type, Types, make
from treadle.ops.batch import everywhere
from treadle.ops.creation import tril
from treadle.ops.elementwise import add, divide, like, multiply, subtract, where
from treadle.ops.gather import diagonal
from treadle.ops.matrices import (
    NOT_FOUND,
    REAL_OF,
    adjoint,
    as_diagonal,
    chain,
    check_matrices,
    columns_times,
    differences,
    expect_flag,
    expect_matrices,
    on_diagonal,
    rows_times,
    total,
    where_possible,
)
from treadle.ops.movement import concat, take_slice
from treadle.ops.record import (
    Operand,
    cast,
    filled,
    public_in,
    register,
    results,
)
from treadle.ops.solving import SOLVE


def _columns(x: Node, start: int, stop: Any) -> Node:
    """Some columns of matrices."""
    return take_slice(x, [0] * (x.ndim - 1) + [start], [*x.shape[:-1], stop], [1] * x.ndim)


# -- QR


def _expect_mode(mode: Any) -> str:
    if mode not in ("reduced", "complete"):
        raise ArgumentError(f'[qr] mode={mode!r}; there are "reduced" and "complete"')
    return mode


def _infer_qr(x: Type, mode: str) -> Types:
    check_matrices("qr", x)
    _expect_mode(mode)
    *lead, m, n = x.shape
    inner = m if mode == "complete" else min(m, n)
    return Types([Type((*lead, m, inner), x.dtype), Type((*lead, inner, n), x.dtype)])


def _qr_vjp(g: Any, y: Node, x: Node, mode: str) -> tuple[Node | None]:
    """Walter and Lehmann, "Algorithmic differentiation of linear algebra functions with application in
    optimum experimental design" (2010), of tall matrices. Of a wide one [a, b] the columns b are q r_b:
    Roberts and Roberts, "QR and LQ decomposition matrix backpropagation algorithms for square, wide, and deep
    matrices and their software implementation" (2020).
    """
    by_q, by_r = g
    q, r = results(y)
    m, n = x.shape[-2:]
    if mode == "complete" and m > n:
        raise GradientError(
            f"[qr] mode='complete' of {x.type!r} has no gradient: columns of Q beyond the {n} of x are any "
            f'that are orthogonal; use mode="reduced"'
        )
    if m >= n:
        return (_tall_qr(by_q, by_r, q, r),)
    rest, by_rest = _columns(x, m, n), None if by_r is None else _columns(by_r, m, n)
    by_q = total([by_q, None if by_rest is None else chain(rest, adjoint(by_rest))])
    square = _tall_qr(by_q, None if by_r is None else _columns(by_r, 0, m), q, _columns(r, 0, m))
    assert square is not None
    return (concat([square, like(0, rest) if by_rest is None else chain(q, by_rest)], axis=-1),)


def _tall_qr(by_q: Node | None, by_r: Node | None, q: Node, r: Node) -> Node | None:
    """(by_q + q copyltu(m)) r^-H with m = r by_r^H - by_q^H q: copyltu repeats the lower triangle above."""
    m = total([
        None if by_r is None else chain(r, adjoint(by_r)),
        None if by_q is None else multiply(chain(adjoint(by_q), q), like(-1, r)),
    ])  # fmt: skip
    if m is None:
        return None
    lower = tril(m)
    both = add(lower, adjoint(lower))
    both = where(on_diagonal(both), multiply(both, like(0.5, both)), both)
    back = total([by_q, chain(q, both)])
    assert back is not None
    return adjoint(make(SOLVE, (r, adjoint(back))))


QR = register(
    Op("qr", _infer_qr,
       lambda x, mode: tuple(where_possible("qr", lambda a: np.linalg.qr(a, mode), x, why=NOT_FOUND)),
       _qr_vjp, attributes=("mode",), batch=everywhere, doc="Orthonormal columns, and a triangle.")
)  # fmt: skip

# -- singular values


def _infer_svd(x: Type, full_matrices: bool) -> Types:
    check_matrices("svd", x)
    expect_flag("svd", "full_matrices", full_matrices)
    *lead, m, n = x.shape
    k = min(m, n)
    rows, columns = (m, n) if full_matrices else (k, k)
    values = Type((*lead, k), REAL_OF[x.dtype])
    return Types([Type((*lead, m, rows), x.dtype), values, Type((*lead, columns, n), x.dtype)])


def _svd_vjp(g: Any, y: Node, x: Node, full_matrices: bool) -> tuple[Node]:
    """Townsend, "Differentiating the singular value decomposition" (2016); for complex matrices with the term
    of Wan and Zhang, "Automatic differentiation for complex valued SVD" (2019).
    """
    by_u, by_s, by_vh = g
    u, s, vh = results(y)
    m, n = x.shape[-2:]
    if full_matrices and m != n:
        if by_u is not None or by_vh is not None:
            raise GradientError(
                f"[svd] the vectors of {x.type!r} with full_matrices=True have no gradient: those beyond the "
                f"singular values are any that are orthogonal; use full_matrices=False"
            )
        u, _, vh = results(make(SVD, (x,), (False,)))
    gaps = differences(multiply(s, s))
    inverse = divide(like(1, s), s)
    inner = [None if by_s is None else cast(as_diagonal(by_s), x.dtype)]
    outer: list[Node | None] = []
    if by_u is not None:
        turn = chain(adjoint(u), by_u)
        skew = subtract(turn, adjoint(turn))
        inner.append(columns_times(multiply(skew, cast(gaps, x.dtype)), s))
        if x.dtype.kind == "complex":
            phase = multiply(diagonal(skew), cast(multiply(inverse, like(0.5, s)), x.dtype))
            inner.append(as_diagonal(phase))
        if m > n:
            outer.append(chain(columns_times(subtract(by_u, chain(u, turn)), inverse), vh))
    if by_vh is not None:
        turn = chain(vh, adjoint(by_vh))
        skew = subtract(turn, adjoint(turn))
        inner.append(rows_times(s, multiply(skew, cast(gaps, x.dtype))))
        if n > m:
            outer.append(chain(u, rows_times(inverse, subtract(by_vh, chain(adjoint(turn), vh)))))
    core = total(inner)
    found = total([None if core is None else chain(u, core, vh), *outer])
    return (filled(0, x.shape, x.dtype) if found is None else found,)


def _infer_svdvals(x: Type) -> Type:
    check_matrices("svdvals", x)
    return Type((*x.shape[:-2], min(x.shape[-2:])), REAL_OF[x.dtype])


def _svdvals_vjp(g: Node, y: Node, x: Node) -> tuple[Node]:
    u, _, vh = results(make(SVD, (x,), (False,)))
    return (chain(columns_times(u, g), vh),)


SVD = register(
    Op("svd", _infer_svd,
       lambda x, full_matrices: tuple(
           where_possible("svd", lambda a: np.linalg.svd(a, full_matrices), x, why=NOT_FOUND)),
       _svd_vjp, attributes=("full_matrices",), batch=everywhere, doc="Left vectors, values, right vectors.")
)  # fmt: skip
SVDVALS = register(
    Op("svdvals", _infer_svdvals,
       lambda x: where_possible("svdvals", lambda a: np.linalg.svd(a, compute_uv=False), x, why=NOT_FOUND),
       _svdvals_vjp, batch=everywhere, doc="Singular values, the largest first.")
)  # fmt: skip

# -- what users call


class QRResult(NamedTuple):
    """What `qr` returns: x is ``Q @ R``."""

    Q: Node
    R: Node


class SVDResult(NamedTuple):
    """What `svd` returns: x is ``(U * S[..., None, :]) @ Vh`` where the vectors are as many as the values."""

    U: Node
    S: Node
    Vh: Node


@public_in("linalg")
def qr(x: Operand, /, *, mode: str = "reduced") -> QRResult:
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
    return QRResult(*results(make(QR, (expect_matrices("qr", x),), (_expect_mode(mode),))))


@public_in("linalg")
def svd(x: Operand, /, *, full_matrices: bool = True) -> SVDResult:
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
    expect_flag("svd", "full_matrices", full_matrices)
    return SVDResult(*results(make(SVD, (expect_matrices("svd", x),), (full_matrices,))))


@public_in("linalg")
def svdvals(x: Operand, /) -> Node:
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
    return make(SVDVALS, (expect_matrices("svdvals", x),))
