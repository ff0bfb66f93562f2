"""Pooling against windows written out, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest
from numeric import check_gradients, given, symbolic, value

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension
from treadle.graph.node import make
from treadle.ops.pooling import MAX_POOL_GRADIENT, MAX_POOL_SELECT, average_pool, max_pool

random = np.random.default_rng(0)

CASES = [
    # x, window, stride, padding
    ((2, 3, 7), (3,), (2,), ((1, 1),)),
    ((2, 2, 6, 6), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((1, 2, 5, 7), (3, 2), (1, 3), ((1, 2), (0, 1))),
    ((1, 1, 4, 5, 3), (2, 3, 2), (2, 1, 1), ((1, 0), (1, 1), (0, 1))),
]


def windows(x, window, stride, padding):
    """For each output place, the places of x that its window holds, row-major."""
    sizes = [
        (n + low + high - k) // s + 1
        for n, k, s, (low, high) in zip(x.shape[2:], window, stride, padding, strict=True)
    ]
    for o in np.ndindex(*x.shape[:2], *sizes):
        places = []
        for t in np.ndindex(*window):
            at = [i * s - low + j for i, s, (low, _), j in zip(o[2:], stride, padding, t, strict=True)]
            if all(0 <= i < n for i, n in zip(at, x.shape[2:], strict=True)):
                places.append((*o[:2], *at))
        yield o, places


def first_maximum(x, places):
    best = places[0]
    for place in places[1:]:
        if x[place] > x[best] or (np.isnan(x[place]) and not np.isnan(x[best])):
            best = place
    return best


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_maxima(case, ties):
    shape, *place = case
    x = random.integers(0, 3, size=shape).astype(float) if ties else random.normal(size=shape)
    y = max_pool(given(x), place[0], stride=place[1], padding=place[2])
    g, v = random.normal(size=y.shape), random.normal(size=x.shape)
    expected, gradient, selected = np.zeros(y.shape), np.zeros(x.shape), np.zeros(y.shape)
    for o, places in windows(x, *place):
        best = first_maximum(x, places)
        expected[o], selected[o] = x[best], v[best]
        gradient[best] += g[o]
    np.testing.assert_array_equal(value(y), expected)
    np.testing.assert_allclose(value(make(MAX_POOL_GRADIENT, (given(x), given(g)), y.attributes)), gradient)
    np.testing.assert_array_equal(value(make(MAX_POOL_SELECT, (given(x), given(v)), y.attributes)), selected)


def test_nan_is_the_maximum_and_padding_never():
    x = np.array([[[np.nan, 1.0, -np.inf, -np.inf, 5.0, np.nan, np.nan]]])
    y = max_pool(given(x), 2, padding=((1, 0),))
    np.testing.assert_array_equal(value(y), [[[np.nan, 1.0, 5.0, np.nan]]])
    g = given(np.array([[[1.0, 2.0, 3.0, 4.0]]]))
    np.testing.assert_array_equal(
        value(make(MAX_POOL_GRADIENT, (given(x), g), y.attributes)), [[[1, 2, 0, 0, 3, 4, 0]]]
    )
    low = given(np.full((1, 1, 3), -np.inf))
    y = max_pool(low, 2, padding=((1, 0),))
    np.testing.assert_array_equal(
        value(make(MAX_POOL_GRADIENT, (low, given(np.ones((1, 1, 2)))), y.attributes)), [[[1, 1, 0]]]
    )


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_averages(case, include):
    shape, *place = case
    x = random.normal(size=shape)
    y = average_pool(given(x), place[0], stride=place[1], padding=place[2], count_include_pad=include)
    expected = np.zeros(y.shape)
    for o, places in windows(x, *place):
        expected[o] = sum(x[p] for p in places) / (np.prod(place[0]) if include else len(places))
    np.testing.assert_allclose(value(y), expected, atol=1e-12)
    check_gradients(
        lambda x: average_pool(x, place[0], stride=place[1], padding=place[2], count_include_pad=include),
        x,
        order=3,
    )


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_gradients_of_maxima(case):
    shape, window, stride, padding = case
    x = random.permutation(np.prod(shape)).reshape(shape).astype(float)
    check_gradients(lambda x: max_pool(x, window, stride=stride, padding=padding), x, order=1)
    y = max_pool(given(x), window, stride=stride, padding=padding)
    g, v = random.normal(size=y.shape), random.normal(size=shape)
    check_gradients(lambda g: make(MAX_POOL_GRADIENT, (given(x), g), y.attributes), g, order=2)
    check_gradients(lambda v: make(MAX_POOL_SELECT, (given(x), v), y.attributes), v, order=2)
    # A curved function, so that the second derivatives are not all zero.
    from treadle.ops.elementwise import square

    check_gradients(
        lambda x: square(max_pool(square(x), window, stride=stride, padding=padding)), x / x.size, order=2
    )


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.kind in dtypes.KINDS["real"]], ids=repr)
def test_dtypes(dtype):
    x = random.integers(0, 9, size=(1, 2, 6)).astype(dtype.numpy)
    np.testing.assert_array_equal(value(max_pool(given(x), 2)), x.reshape(1, 2, 3, 2).max(-1))
    if dtype.kind == "float":
        expected = x.astype(float).reshape(1, 2, 3, 2).mean(-1).astype(dtype.numpy)
        np.testing.assert_array_equal(value(average_pool(given(x), 2)), expected)


def test_defaults_and_symbolic_batch():
    batch = Dimension(["batch"])
    assert max_pool(symbolic((batch, 3, 9, 8)), 2).shape == (batch, 3, 4, 4)
    assert average_pool(symbolic((batch, 3, 9, 8)), (3, 2), stride=1, padding="same").shape == (
        batch,
        3,
        9,
        8,
    )


@pytest.mark.parametrize("pool", [max_pool, average_pool])
def test_refusals(pool):
    x = given(np.zeros((1, 2, 5)))
    with pytest.raises(ShapeError, match=r"x has shape \(2, 5\); expected \[batch, channels, spatial...\]"):
        pool(given(np.zeros((2, 5))), 2)
    with pytest.raises(ShapeError, match=r"a window of \(6,\) does not fit"):
        pool(x, 6)
    with pytest.raises(ArgumentError, match="window=0; expected positive integers"):
        pool(x, 0)
    with pytest.raises(ArgumentError, match="padding=2 is as large as window=2"):
        pool(x, 2, padding=2)
    with pytest.raises(DTypeError, match="x is bool"):
        pool(given(np.zeros((1, 2, 5), bool)), 2)
    place = ((2,), (2,), ((0, 0),))
    with pytest.raises(ShapeError, match="the pooling gives"):
        make(MAX_POOL_GRADIENT, (x, x), place)
    with pytest.raises(ShapeError, match="must be alike"):
        make(MAX_POOL_SELECT, (x, given(np.zeros((1, 2, 4)))), place)
