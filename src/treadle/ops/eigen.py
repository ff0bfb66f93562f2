"""Eigenvalues and eigenvectors of square matrices.

Names and meaning are those of the extension `linalg` of the Array API standard 2025.12. Gradients are written
with the results themselves, so that they have gradients. Vectors are determined up to a sign, of complex
matrices up to a phase: gradients mean something for what does not depend on it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from treadle.graph.node import Node, Op, Type, Types, make
from treadle.ops.batch import everywhere
from treadle.ops.elementwise import multiply
from treadle.ops.matrices import (
    COMPLEX_OF,
    NOT_FOUND,
    REAL_OF,
    adjoint,
    as_diagonal,
    chain,
    check_matrices,
    columns_times,
    differences,
    expect_matrices,
    hermitian,
    hermitian_part,
    total,
    where_possible,
)
from treadle.ops.record import (
    Operand,
    cast,
    public_in,
    register,
    results,
)


def _infer_eigh(x: Type) -> Types:
    check_matrices("eigh", x, True)
    return Types([Type(x.shape[:-1], REAL_OF[x.dtype]), x])


def _eigh_vjp(g: Any, y: Node, x: Node) -> tuple[Node]:
    """Giles, "An extended collection of matrix derivative results" (2008), section 3.1."""
    by_values, by_vectors = g
    values, vectors = results(y)
    parts: list[Node | None] = [None if by_values is None else cast(as_diagonal(by_values), x.dtype)]
    if by_vectors is not None:
        turn = chain(adjoint(vectors), by_vectors)
        parts.append(multiply(turn, cast(differences(values), x.dtype)))
    core = total(parts)
    assert core is not None
    return (hermitian_part(chain(vectors, core, adjoint(vectors))),)


def _infer_eigvalsh(x: Type) -> Type:
    check_matrices("eigvalsh", x, True)
    return Type(x.shape[:-1], REAL_OF[x.dtype])


def _eigvalsh_vjp(g: Node, y: Node, x: Node) -> tuple[Node]:
    _, vectors = results(make(EIGH, (x,)))
    return (hermitian_part(chain(columns_times(vectors, g), adjoint(vectors))),)


EIGH = register(
    Op("eigh", _infer_eigh,
       lambda x: tuple(where_possible("eigh", np.linalg.eigh, hermitian(x), why=NOT_FOUND)),
       _eigh_vjp, batch=everywhere, doc="Eigenvalues and eigenvectors of the Hermitian part.")
)  # fmt: skip
EIGVALSH = register(
    Op("eigvalsh", _infer_eigvalsh,
       lambda x: where_possible("eigvalsh", np.linalg.eigvalsh, hermitian(x), why=NOT_FOUND),
       _eigvalsh_vjp, batch=everywhere, doc="Eigenvalues of the Hermitian part, the smallest first.")
)  # fmt: skip

NONSYMMETRIC = "no rule is written for matrices that are not symmetric: where they are, use eigh"


def _infer_eig(x: Type) -> Types:
    check_matrices("eig", x, True)
    return Types([Type(x.shape[:-1], COMPLEX_OF[x.dtype]), Type(x.shape, COMPLEX_OF[x.dtype])])


def _infer_eigvals(x: Type) -> Type:
    check_matrices("eigvals", x, True)
    return Type(x.shape[:-1], COMPLEX_OF[x.dtype])


def _in_complex(compute: Any) -> Any:
    """NumPy gives real eigenvalues where all are: as complex ones in any case."""
    return lambda x: compute(x.astype(np.result_type(x.dtype, np.complex64)))


EIG = register(
    Op("eig", _infer_eig,
       lambda x: tuple(where_possible("eig", _in_complex(np.linalg.eig), x, why=NOT_FOUND)),
       batch=everywhere, no_gradient=NONSYMMETRIC, doc="Eigenvalues and eigenvectors, complex.")
)  # fmt: skip
EIGVALS = register(
    Op("eigvals", _infer_eigvals,
       lambda x: where_possible("eigvals", _in_complex(np.linalg.eigvals), x, why=NOT_FOUND),
       batch=everywhere, no_gradient=NONSYMMETRIC, doc="Eigenvalues, complex.")
)  # fmt: skip


class EighResult(NamedTuple):
    """What `eigh` returns: x times an eigenvector, a column, is the vector times its value."""

    eigenvalues: Node
    eigenvectors: Node


class EigResult(NamedTuple):
    """What `eig` returns: x times an eigenvector, a column, is the vector times its value."""

    eigenvalues: Node
    eigenvectors: Node


@public_in("linalg")
def eigh(x: Operand, /) -> EighResult:
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
    return EighResult(*results(make(EIGH, (expect_matrices("eigh", x, square=True),))))


@public_in("linalg")
def eigvalsh(x: Operand, /) -> Node:
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
    return make(EIGVALSH, (expect_matrices("eigvalsh", x, square=True),))


@public_in("linalg")
def eig(x: Operand, /) -> EigResult:
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
    return EigResult(*results(make(EIG, (expect_matrices("eig", x, square=True),))))


@public_in("linalg")
def eigvals(x: Operand, /) -> Node:
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
    return make(EIGVALS, (expect_matrices("eigvals", x, square=True),))
