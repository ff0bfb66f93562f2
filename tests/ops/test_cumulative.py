"""Running sums and products, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numeric import check_gradients, given, symbolic, value

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError
from treadle.graph.dimension import Dimension
from treadle.graph.node import make
from treadle.ops.cumulative import PROD, SUM, cumulative_prod, cumulative_sum

random = np.random.default_rng(0)
X = random.normal(size=(3, 4, 2))
FUNCTIONS = [(cumulative_sum, np.cumsum), (cumulative_prod, np.cumprod)]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("ours, numpys", FUNCTIONS)
def test_values(ours, numpys, axis):
    np.testing.assert_array_equal(value(ours(given(X), axis=axis)), numpys(X, axis=axis))
    begun = value(ours(given(X), axis=axis, include_initial=True))
    initial = np.full_like(np.take(X, [0], axis), 0 if ours is cumulative_sum else 1)
    np.testing.assert_array_equal(begun, np.concatenate([initial, numpys(X, axis=axis)], axis))


@pytest.mark.parametrize("op, numpys", [(SUM, np.cumsum), (PROD, np.cumprod)])
def test_reverse(op, numpys):
    np.testing.assert_array_equal(op.reference(X, axis=1, reverse=True), numpys(X[:, ::-1], axis=1)[:, ::-1])


@pytest.mark.parametrize("ours, numpys", FUNCTIONS)
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=repr)
def test_dtypes(dtype, ours, numpys):
    x = (
        np.array([1, 0, 1, 1]).astype(dtype.numpy)
        if dtype.kind == "bool"
        else np.array([1, 2, 3]).astype(dtype.numpy)
    )
    y = ours(given(x))
    assert y.dtype.kind == (dtype.kind if dtype.kind != "bool" else "int")
    assert y.dtype is dtype or y.dtype.itemsize == 8
    np.testing.assert_array_equal(value(y).astype(complex), numpys(x.astype(complex)))
    if dtype.kind == "complex":
        with pytest.raises(DTypeError, match="would drop the imaginary part"):
            ours(given(x), dtype=dtypes.float32)
    else:
        assert ours(given(x), dtype=dtypes.float32).dtype is dtypes.float32


@pytest.mark.parametrize("ours", [cumulative_sum, cumulative_prod])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gradients(ours, axis):
    check_gradients(lambda x: ours(x, axis=axis), X, order=3, tolerance=1e-4)
    check_gradients(lambda x: ours(x, axis=axis, include_initial=True), X)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_a_product_with_zeros(reverse):
    one_zero, two_zeros = np.array([2.0, 3.0, 0.0, 4.0, 5.0]), np.array([2.0, 0.0, 3.0, 0.0, 5.0])
    check_gradients(lambda x: make(PROD, (x,), (0, reverse)), one_zero, order=2)
    check_gradients(lambda x: make(PROD, (x,), (0, reverse)), two_zeros, order=1)


def test_symbolic_and_empty():
    n = Dimension(["n"])
    assert cumulative_sum(symbolic((n, 3)), axis=0).shape == (n, 3)
    assert value(cumulative_prod(given(np.zeros((0, 2))), axis=0)).shape == (0, 2)


def test_refusals():
    with pytest.raises(ArgumentError, match=r"\[cumulative_sum\] axis is missing: x has shape \(3, 4, 2\)"):
        cumulative_sum(given(X))
    with pytest.raises(ArgumentError, match="axis=3 is out of range"):
        cumulative_prod(given(X), axis=3)
    with pytest.raises(DTypeError, match="expected a numeric dtype"):
        make(SUM, (given(np.zeros(3, bool)),), (0, False))
