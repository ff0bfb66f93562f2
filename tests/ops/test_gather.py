"""Gathering and scattering, and what is composed of them, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numeric import check_gradients, given, symbolic, value, values

from treadle import dtypes
from treadle.autodiff import gradients
from treadle.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from treadle.graph.dimension import Dimension
from treadle.graph.node import make
from treadle.ops.gather import GATHER, SCATTER_ADD, SCATTER_SET, diagonal, one_hot, take, take_along_axis

random = np.random.default_rng(0)
X = random.normal(size=(3, 4, 5))
PLACES = np.array([[2, 0], [1, 2], [2, 2]])


def test_gather_reference():
    np.testing.assert_array_equal(GATHER.reference(X, PLACES, axes=(1,)), np.moveaxis(X[:, PLACES], 0, -2))
    np.testing.assert_array_equal(GATHER.reference(X, PLACES, PLACES, axes=(0, 2)), X[PLACES, :, PLACES])
    assert GATHER.reference(X, *[np.array(1)] * 3, axes=(0, 1, 2)) == X[1, 1, 1]


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=repr)
def test_scattering_of_every_dtype(dtype):
    x, v = np.zeros(3, dtype.numpy), np.ones(3, dtype.numpy)
    places = np.array([2, 0, 2])
    np.testing.assert_array_equal(SCATTER_SET.reference(x, v, places, axes=(0,)).astype(complex), [1, 0, 1])
    if dtype.kind != "bool":
        np.testing.assert_array_equal(
            SCATTER_ADD.reference(x, v, places, axes=(0,)).astype(complex), [1, 0, 2]
        )
    assert not x.any()


def test_the_last_value_for_a_place_stays():
    places = random.integers(0, 4, size=200)
    v = np.arange(200.0)
    expected = np.zeros(4)
    for place, number in zip(places, v, strict=True):
        expected[place] = number
    np.testing.assert_array_equal(SCATTER_SET.reference(np.zeros(4), v, places, axes=(0,)), expected)


def test_the_gradient_goes_to_the_value_that_stayed():
    v = given(np.arange(4.0))
    y = make(SCATTER_SET, (given(np.zeros(3)), v, given(np.array([1, 0, 1, 2]))), ((0,),))
    np.testing.assert_array_equal(
        values(gradients([y], [v], [given(np.array([5.0, 6.0, 7.0]))]))[0], [0, 5, 6, 7]
    )


@pytest.mark.parametrize("op", [SCATTER_ADD, SCATTER_SET], ids=repr)
def test_scatter_gradients(op):
    places = [given(PLACES), given(PLACES[::-1].copy())]
    check_gradients(lambda x, v: make(op, (x, v, *places), ((0, 2),)), X, random.normal(size=(3, 2, 4)))


@pytest.mark.parametrize("op", [GATHER, SCATTER_ADD, SCATTER_SET], ids=repr)
def test_bounds(op):
    arguments = [np.zeros((3, 4))] + ([] if op is GATHER else [np.zeros((1, 3))])
    for place, shown in ((4, 4), (-1, -5)):  # users' indices have had 4 added where they were negative
        with pytest.raises(
            IndexingError, match=f"index {shown} is out of range for dimension 1 of x, of size 4"
        ):
            op.reference(*arguments, np.array([place]), axes=(1,))


def test_records_refuse():
    x, places = given(X), given(PLACES)
    with pytest.raises(DTypeError, match="expected an integer dtype"):
        make(GATHER, (x, given(np.zeros(2))), ((0,),))
    with pytest.raises(ShapeError, match="all must be equal"):
        make(GATHER, (x, places, given(np.array([1]))), ((0, 1),))
    with pytest.raises(ShapeError, match=r"for the dimensions \(3,\) of x"):
        make(GATHER, (x, places), ((3,),))
    with pytest.raises(ShapeError, match=r"values have shape \(3, 2\); the places have shape \(3, 2, 4, 5\)"):
        make(SCATTER_SET, (x, given(np.zeros((3, 2))), places), ((0,),))
    with pytest.raises(DTypeError, match="expected one dtype"):
        make(SCATTER_SET, (x, given(np.zeros((3, 2, 4, 5), np.float32)), places), ((0,),))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take(axis):
    for places in (PLACES, -PLACES, np.array(1), np.array([], np.int32)):
        y = take(given(X), given(places), axis=axis)
        np.testing.assert_array_equal(value(y), np.take(X, places, axis))
    check_gradients(lambda x: take(x, given(PLACES), axis=axis), X)


def test_take_of_a_line_and_of_numbers():
    np.testing.assert_array_equal(value(take(given(X[0, 0]), given(PLACES))), X[0, 0][PLACES])
    np.testing.assert_array_equal(value(take(given(X), -1, axis=1)), X[:, -1])
    assert take(symbolic((Dimension(["n"]), 8)), given(PLACES), axis=0).shape == (3, 2, 8)
    with pytest.raises(ArgumentError, match=r"\[take\] axis is missing: x has shape \(3, 4, 5\)"):
        take(given(X), given(PLACES))
    with pytest.raises(IndexingError, match="indices=4 is out of range for dimension 1, of size 4"):
        take(given(X), 4, axis=1)
    with pytest.raises(IndexingError, match="indices are integers"):
        take(given(X), given(np.array([1.0])), axis=0)


def test_narrow_indices_of_large_dimensions():
    """-1 of int8 plus 300 is no int8."""
    x = np.arange(300)
    np.testing.assert_array_equal(value(take(given(x), given(np.array([-1, 100], np.int8)))), [299, 100])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_along_axis(axis):
    order = np.argsort(X, axis=axis)
    np.testing.assert_array_equal(
        value(take_along_axis(given(X), given(order), axis=axis)), np.take_along_axis(X, order, axis)
    )
    one = np.argmax(X, axis=axis, keepdims=True) - X.shape[axis]
    np.testing.assert_array_equal(
        value(take_along_axis(given(X), given(one), axis=axis)), np.take_along_axis(X, one, axis)
    )
    check_gradients(lambda x: take_along_axis(x, given(one), axis=axis), X)


def test_take_along_axis_broadcasts_and_refuses():
    places = np.array([[[0], [3]]])
    np.testing.assert_array_equal(
        value(take_along_axis(given(X), given(places), axis=1)),
        np.take_along_axis(X, np.broadcast_to(places, (3, 2, 5)), 1),
    )
    with pytest.raises(ShapeError, match="both must have as many dimensions"):
        take_along_axis(given(X), given(PLACES))
    with pytest.raises(ShapeError, match="cannot be broadcast"):
        take_along_axis(given(X), given(np.zeros((2, 4, 1), np.int64)))


@pytest.mark.parametrize("offset", [-9, -2, -1, 0, 1, 3, 9])
@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (5, 3), (2, 4, 3)])
def test_diagonal(shape, offset):
    x = random.normal(size=shape)
    expected = np.diagonal(x, offset, -2, -1)
    np.testing.assert_array_equal(value(diagonal(given(x), offset=offset)), expected)
    check_gradients(lambda x: diagonal(x, offset=offset), x)


def test_diagonal_refuses():
    with pytest.raises(ShapeError, match="at least two dimensions"):
        diagonal(given(np.zeros(3)))
    with pytest.raises(ArgumentError, match=r"offset=1\.0 is not an integer"):
        diagonal(given(np.zeros((3, 3))), offset=1.0)


def test_one_hot():
    classes = np.array([[0, 2, 1], [3, -1, 2]], np.int32)
    expected = (classes[..., None] == np.arange(3)).astype(np.float32)
    np.testing.assert_array_equal(value(one_hot(given(classes), 3)), expected)
    np.testing.assert_array_equal(
        value(one_hot(given(classes), 3, axis=0, dtype=dtypes.int8)), np.moveaxis(expected, -1, 0)
    )
    assert one_hot(symbolic((Dimension(["n"]),), "uint8"), 10).shape == (Dimension(["n"]), 10)
    with pytest.raises(DTypeError, match="expected class numbers"):
        one_hot(given(np.zeros(3)), 3)
    with pytest.raises(ArgumentError, match=r"num_classes=2\.5 is not a positive integer"):
        one_hot(given(classes), 2.5)
    with pytest.raises(ArgumentError, match="num_classes=-1"):
        one_hot(given(classes), -1)
