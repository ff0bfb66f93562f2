"""Sorting and searching, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numeric import check_gradients, given, value

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.ops.sort import argsort, searchsorted, sort

random = np.random.default_rng(0)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.kind in dtypes.KINDS["real"]], ids=repr)
def test_sort_and_argsort(dtype, descending, axis):
    x = random.integers(0, 5, size=(6, 7)).astype(dtype.numpy)
    ordered = np.sort(x, axis=axis)
    expected = np.flip(ordered, axis) if descending else ordered
    np.testing.assert_array_equal(value(sort(given(x), axis=axis, descending=descending)), expected)
    order = value(argsort(given(x), axis=axis, descending=descending))
    np.testing.assert_array_equal(np.take_along_axis(x, order, axis), expected)
    # Stable: the places of equal elements ascend, whatever the direction.
    lines = zip(np.moveaxis(expected, axis, 0).T, np.moveaxis(order, axis, 0).T, strict=True)
    assert all(
        i < j for line, places in lines for a, b, i, j in zip(line, line[1:], places, places[1:]) if a == b
    )


def test_nan_is_the_largest():
    x = np.array([2.0, np.nan, -1.0, np.inf])
    np.testing.assert_array_equal(value(argsort(given(x))), [2, 0, 3, 1])
    np.testing.assert_array_equal(value(argsort(given(x), descending=True)), [1, 3, 0, 2])


@pytest.mark.parametrize("descending", [False, True])
def test_gradients(descending):
    check_gradients(
        lambda x: sort(x, axis=0, descending=descending), random.permutation(12).reshape(4, 3), order=1
    )
    check_gradients(lambda x: sort(x, descending=descending), random.permutation(12).reshape(4, 3), order=1)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, 100])
@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(size, side):
    line = np.sort(random.integers(0, 30, size=size)).astype(np.float32)
    wanted = np.concatenate([np.arange(-1, 32), [np.nan, np.inf, -np.inf]]).astype(np.float32).reshape(6, 6)
    np.testing.assert_array_equal(
        value(searchsorted(given(line), given(wanted), side=side)), np.searchsorted(line, wanted, side)
    )


def test_searchsorted_among_nans():
    line = np.array([1.0, 2.0, np.nan, np.nan])
    for side in ("left", "right"):
        np.testing.assert_array_equal(
            value(searchsorted(given(line), given(np.array([np.nan, 3.0])), side=side)),
            np.searchsorted(line, [np.nan, 3.0], side),
        )


def test_refusals():
    with pytest.raises(DTypeError, match=r"\[sort\] x is complex64\[3\]; expected a real dtype"):
        sort(given(np.zeros(3, np.complex64)))
    with pytest.raises(ArgumentError, match="axis=2 is out of range"):
        argsort(given(np.zeros(3)), axis=2)
    with pytest.raises(ArgumentError, match="descending=0"):
        argsort(given(np.zeros(3)), descending=0)
    with pytest.raises(ArgumentError, match='"left" and "right"'):
        searchsorted(given(np.zeros(3)), given(np.zeros(3)), side="middle")
    with pytest.raises(ShapeError, match="expected one dimension"):
        searchsorted(given(np.zeros((3, 3))), given(np.zeros(3)))
