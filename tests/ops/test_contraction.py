"""Matrix products and what is made of them, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numeric import check_gradients, given, symbolic, value

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension
from treadle.ops.contraction import MATMUL, matmul, tensordot, vecdot

random = np.random.default_rng(0)

SHAPES = [
    ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)),
    ((2, 0), (0, 4)), ((0, 3), (3, 4)),
]  # fmt: skip


@pytest.mark.parametrize("left, right", SHAPES)
def test_matmul_is_numpys(left, right):
    x, y = random.normal(size=left), random.normal(size=right)
    z = matmul(given(x), given(y))
    assert z.shape == np.matmul(x, y).shape
    np.testing.assert_allclose(value(z), np.matmul(x, y), rtol=1e-12)


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.kind != "bool"], ids=repr)
def test_matmul_of_every_dtype(dtype):
    x, y = (random.integers(0, 5, size=(3, 3)).astype(dtype.numpy) for _ in range(2))
    z = MATMUL.reference(x, y)
    assert z.dtype == dtype.numpy
    np.testing.assert_array_equal(z.astype(complex), x.astype(complex) @ y.astype(complex))


def test_narrow_products_are_summed_wide():
    ones = np.ones((1, 4096), np.float16)
    assert MATMUL.reference(ones, ones.T)[0, 0] == 4096


def test_matmul_promotes_and_keeps_one_product_for_one_matrix():
    z = matmul(given(np.ones((5, 2, 3), np.int32)), given(np.ones((3, 4), np.float32)))
    assert z.dtype is dtypes.float32 and z.shape == (5, 2, 4)
    assert z.inputs[0].op is MATMUL and z.inputs[0].shape == (10, 4)


def test_matmul_of_symbolic_sizes():
    batch = Dimension(["batch"])
    z = matmul(symbolic((batch, 7, 784)), symbolic((784, 10)))
    assert z.shape == (batch, 7, 10)


@pytest.mark.parametrize("left, right", [s for s in SHAPES if 0 not in s[0]])
def test_matmul_gradients(left, right):
    check_gradients(matmul, random.normal(size=left), random.normal(size=right), order=3)


@pytest.mark.parametrize(
    "left, right, message",
    [
        (
            (2, 3),
            (4, 5),
            r"last dimension of x1, of shape \(2, 3\), is 3 but the second-to-last of x2, of shape \(4, 5\), "
            r"is 4",
        ),
        (
            (2, 3),
            (4,),
            r"last dimension of x1, of shape \(2, 3\), is 3 but x2, of shape \(4,\), has 4 elements",
        ),
        ((), (4,), r"\[matmul\] x1 has no dimensions: multiply by a number with \*"),
        (
            (2, 1, 3),
            (5, 3, 3, 3),
            r"\[matmul\] leading dimensions of x1 of shape \(2,\), of x2 of shape \(5, 3\) cannot be",
        ),
    ],
)
def test_matmul_refuses_shapes(left, right, message):
    with pytest.raises(ShapeError, match=message):
        matmul(given(np.zeros(left)), given(np.zeros(right)))


def test_matmul_refuses_bool():
    with pytest.raises(DTypeError, match="promote to bool; expected a numeric dtype"):
        matmul(given(np.ones((2, 2), bool)), given(np.ones((2, 2), bool)))


def test_complex_cotangents_are_conjugated():
    """d/dRe + i d/dIm of a real loss, the convention of all gradients here."""
    from treadle.autodiff import gradients

    x, y, g = (random.normal(size=(2, 2)) + 1j * random.normal(size=(2, 2)) for _ in range(3))
    left, right = given(x), given(y)
    found = gradients([matmul(left, right)], [left, right], [given(g)])
    np.testing.assert_allclose(value(found[0]), g @ y.conj().T)
    np.testing.assert_allclose(value(found[1]), x.conj().T @ g)


def test_vecdot():
    x, y = random.normal(size=(4, 1, 3)) + 1j, random.normal(size=(5, 3)) + 2j
    np.testing.assert_allclose(value(vecdot(given(x), given(y))), np.sum(x.conj() * y, axis=-1))
    x, y = (
        random.integers(0, 9, size=(3, 4)).astype(np.int8),
        random.integers(0, 9, size=(3, 4)).astype(np.int8),
    )
    z = vecdot(given(x), given(y), axis=0)
    assert z.dtype is dtypes.int8
    np.testing.assert_array_equal(value(z), np.sum(x * y, axis=0, dtype=np.int8))
    check_gradients(vecdot, random.normal(size=(2, 1, 3)), random.normal(size=(4, 3)))
    with pytest.raises(
        ShapeError,
        match=r"dimension -1 of x1, of shape \(2, 3\), is 3 but that of x2, of shape \(2, 4\), is 4",
    ):
        vecdot(given(np.zeros((2, 3))), given(np.zeros((2, 4))))
    with pytest.raises(ArgumentError, match="use a negative axis"):
        vecdot(given(np.zeros((2, 3))), given(np.zeros(3)), axis=0)


@pytest.mark.parametrize("axes", [0, 1, 2, ((1, 2), (0, 1)), ((0, -1), (2, 1)), ((), ())])
def test_tensordot(axes):
    x, y = (
        random.normal(size=(4, 2, 3)),
        random.normal(size=(2, 3, 4)) if axes != 1 else random.normal(size=(3, 5)),
    )
    np.testing.assert_allclose(value(tensordot(given(x), given(y), axes=axes)), np.tensordot(x, y, axes))
    check_gradients(lambda a, b: tensordot(a, b, axes=axes), x, y)


def test_tensordot_refuses():
    x, y = given(np.zeros((2, 3))), given(np.zeros((4, 5)))
    with pytest.raises(ShapeError, match=r"dimension 1 of x1, of shape \(2, 3\), is 3 but dimension 0 of x2"):
        tensordot(x, y, axes=1)
    with pytest.raises(ArgumentError, match="does not pair up"):
        tensordot(x, y, axes=((0, 1), (0,)))
    with pytest.raises(ArgumentError, match="axes=5"):
        tensordot(x, y, axes=5)
    with pytest.raises(ArgumentError, match="twice"):
        tensordot(x, x, axes=((0, 0), (0, 1)))
