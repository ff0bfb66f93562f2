"""Determinants of square matrices.

Names and meaning are those of the extension `linalg` of the Array API standard 2025.12. The gradients are
Jacobi's formula (Giles, "An extended collection of matrix derivative results", 2008, section 2.2.4), with
adjoints for transposes where values are complex.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from treadle.graph.node import Node, Op, Type, Types, make
from treadle.ops.batch import everywhere
from treadle.ops.elementwise import add, conj, like, multiply, subtract
from treadle.ops.matrices import (
    NOT_FOUND,
    REAL_OF,
    adjoint,
    chain,
    check_matrices,
    expect_matrices,
    over_matrices,
    square_type,
    where_possible,
)
from treadle.ops.movement import matrix_transpose
from treadle.ops.record import (
    Operand,
    cast,
    filled,
    public_in,
    register,
    results,
)
from treadle.ops.reduction import sum
from treadle.ops.solving import INV


def _infer_det(x: Type) -> Type:
    check_matrices("det", x, True)
    return Type(x.shape[:-2], x.dtype)


def _cofactors_reference(x: Any) -> Any:
    """By the singular values, the product of the others for each: so it holds for singular matrices too."""
    u, s, vh = where_possible("cofactors", np.linalg.svd, x, why=NOT_FOUND)
    one = np.ones((*s.shape[:-1], 1), s.dtype)
    before = np.cumprod(np.concatenate([one, s], -1), -1)[..., :-1]
    after = np.cumprod(np.concatenate([one, s[..., ::-1]], -1), -1)[..., :-1][..., ::-1]
    sign = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    return sign * np.matmul(u.conj() * (before * after)[..., None, :], vh.conj())


def _cofactors_vjp(h: Node, c: Node, x: Node) -> tuple[Node]:
    """From c = det(x) x^-T, which needs an inverse."""
    inverse = adjoint(make(INV, (x,)))
    along = over_matrices(sum(multiply(h, conj(c)), axis=(-2, -1)), x)
    return (subtract(multiply(along, inverse), chain(conj(c), matrix_transpose(h), inverse)),)


COFACTORS = register(
    Op("cofactors", lambda x: square_type("cofactors", x), _cofactors_reference, _cofactors_vjp,
       batch=everywhere, doc="The derivatives of the determinants of square matrices by their elements.")
)  # fmt: skip
DET = register(
    Op("det", _infer_det, np.linalg.det,
       lambda g, y, x: (multiply(over_matrices(g, x), conj(make(COFACTORS, (x,)))),),
       batch=everywhere, doc="The determinants of square matrices.")
)  # fmt: skip


def _infer_slogdet(x: Type) -> Types:
    check_matrices("slogdet", x, True)
    return Types([Type(x.shape[:-2], x.dtype), Type(x.shape[:-2], REAL_OF[x.dtype])])


def _slogdet_vjp(g: Any, y: Node, x: Node) -> tuple[Node | None]:
    """d log|det x| = Re tr(x^-1 dx), and d sign = i sign Im tr(x^-1 dx): of a real matrix the sign stands."""
    by_sign, by_log = g
    factor = filled(0, x.shape[:-2], x.dtype) if by_log is None else cast(by_log, x.dtype)
    if by_sign is not None and x.dtype.kind == "complex":
        turned = multiply(conj(by_sign), results(y)[0])
        factor = add(factor, multiply(subtract(conj(turned), turned), like(0.5, turned)))
    return (multiply(over_matrices(factor, x), adjoint(make(INV, (x,)))),)


SLOGDET = register(
    Op("slogdet", _infer_slogdet, lambda x: tuple(np.linalg.slogdet(x)), _slogdet_vjp,
       batch=everywhere, doc="The signs of determinants, and the logarithms of their absolute values.")
)  # fmt: skip


@public_in("linalg")
def det(x: Operand, /) -> Node:
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
    return make(DET, (expect_matrices("det", x, square=True),))


class SlogdetResult(NamedTuple):
    """What `slogdet` returns: the determinant is ``sign * exp(logabsdet)``."""

    sign: Node
    logabsdet: Node


@public_in("linalg")
def slogdet(x: Operand, /) -> SlogdetResult:
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
    return SlogdetResult(*results(make(SLOGDET, (expect_matrices("slogdet", x, square=True),))))
