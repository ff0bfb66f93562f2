"""x[key] and x[key] = values, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import given as examples
from hypothesis import strategies as st
from numeric import check_gradients, given, symbolic, value

from treadle import dtypes
from treadle.errors import DTypeError, IndexingError, ShapeError
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered
from treadle.graph.node import Node
from treadle.ops.elementwise import less, like
from treadle.ops.indexing import index, index_add, index_update

random = np.random.default_rng(0)
X = np.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)
I, J = np.array([1, 0]), np.array([0, -1])
M = np.array([[2], [0], [1]])


def nodes(key):
    """A NumPy key with nodes in place of arrays."""
    items = key if isinstance(key, tuple) else (key,)
    return tuple(given(item) if isinstance(item, np.ndarray) else item for item in items)


def nonzero(mask: Node):
    return [given(places) for places in np.nonzero(value(mask))]


S = np.s_
KEYS = [
    S[0], S[-1, 2], S[1, -1, 0, 4], S[...], S[()], S[:], S[None], S[..., None, 0], S[0, ..., 1], S[1:],
    S[:, 1:-1, ::2], S[:, ::-1], S[..., ::-2], S[:, 2:0:-1, 3:100], S[:, 5:], S[:, :, 3:1],
    S[0, :, None, 1:3], S[np.int64(1)], S[:, 10:0:-3], S[I], S[:, I], S[I, J], S[I, :, J], S[:, I, J],
    S[:, I, :, J], S[..., I, J], S[I, ..., J], S[:, :, I, ..., 0], S[0, I], S[0, :, I], S[I, 0, None],
    S[None, I, 0], S[:, I, None, J], S[I, None], S[:, None, I], S[1:, M, 1], S[:, M, I],
    S[::-1, I, 1:, M], S[:, np.array(1)], S[:, 0, :, np.array(1)], S[np.array([], np.int64)],
    S[:, I.astype(np.uint8)], S[:, J.astype(np.int8), 0], S[X[:, 0, 0, 0] > 3], S[:, X[0, :, 0, 0] > 3],
    S[X[:, :, 0, 0] > 30, 1], S[0, ..., X[0, 0, 0] > 2], S[X > 50], S[X > 1000],
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_reading_is_numpys(key):
    y = index(given(X), nodes(key), nonzero)
    assert y.shape == X[key].shape
    np.testing.assert_array_equal(value(y), X[key])


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_writing_is_numpys(key):
    full = random.normal(size=X[key].shape)
    for values in (full, -1.5, full[:1] if full.ndim else full):
        expected = X.copy()
        expected[key] = values
        operand = values if isinstance(values, float) else given(np.asarray(values))
        y = index_update(given(X), nodes(key), operand, nonzero)
        np.testing.assert_array_equal(value(y), expected)
        expected = X.copy()
        np.add.at(expected, key, values)
        np.testing.assert_allclose(value(index_add(given(X), nodes(key), operand, nonzero)), expected)


@st.composite
def slices(draw):
    bound = st.none() | st.integers(-6, 6)
    return slice(draw(bound), draw(bound), draw(st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3])))


ITEM = slices() | st.integers(-2, 1) | st.just(None) | st.just(Ellipsis) | st.sampled_from([I, J, M])


@examples(st.lists(ITEM, max_size=5))
def test_random_keys(items):
    key = tuple(items)
    assume(sum(item is Ellipsis for item in items) <= 1)
    x = X[:, :, :2, :3]
    try:
        expected = x[key]
    except IndexError:
        with pytest.raises((IndexingError, ShapeError)):
            value(index(given(x), nodes(key)))
        return
    y = index(given(x), nodes(key))
    assert y.shape == expected.shape
    np.testing.assert_array_equal(value(y), expected)
    written = x.copy()
    written[key] = np.arange(expected.size, dtype=float).reshape(expected.shape)
    update = index_update(
        given(x), nodes(key), given(np.arange(expected.size, dtype=float).reshape(expected.shape))
    )
    np.testing.assert_array_equal(value(update), written)


@pytest.mark.parametrize(
    "key",
    [S[0], S[:, ::-1, 1:3], S[I], S[:, I, :, J], S[0, :, np.array([1, 1, 2])], S[..., None, M, 0]],
    ids=repr,
)
def test_gradients(key):
    small = X[:, :3, :3, :2] / 10
    values = random.normal(size=small[key].shape)
    check_gradients(lambda x: index(x, nodes(key)), small)
    check_gradients(lambda x, v: index_update(x, nodes(key), v), small, values)
    check_gradients(lambda x, v: index_add(x, nodes(key), v), small, values)


def test_a_mask_with_one_number_needs_no_value_of_the_mask():
    """So it works in static graphs: no call of nonzero, no gather, no scatter."""
    x = given(X)
    mask = less(x, like(20.0, x))
    y = index_update(x, mask, 7.0)
    np.testing.assert_array_equal(value(y), np.where(X < 20, 7, X))
    assert not {"gather", "scatter_set"} & {node.op.name for node in ordered([y])}
    rows = given(np.array([True, False]))
    expected = X.copy()
    expected[np.array([True, False])] = np.arange(5)
    np.testing.assert_array_equal(value(index_update(x, rows, given(np.arange(5.0)))), expected)


def test_slices_are_written_without_scattering():
    y = index_update(given(X), S[:, 1:, ::2], 0)
    assert {node.op.name for node in ordered([y])} <= {
        "given",
        "constant",
        "broadcast_to",
        "pad",
        "where",
        "reshape",
    }


def test_dtypes():
    x = given(np.zeros(4, np.float32))
    assert index_update(x, 0, 1).dtype is dtypes.float32
    assert index_update(x, 0, given(np.float64(2))).dtype is dtypes.float32
    assert index_update(given(np.zeros(4, np.int8)), 0, given(np.int64(2))).dtype is dtypes.int8
    with pytest.raises(DTypeError, match=r"values are 1.5, x is int64\[4\]: convert one of them with astype"):
        index_update(given(np.zeros(4, np.int64)), 0, 1.5)
    with pytest.raises(DTypeError, match="values are complex64"):
        index_update(x, 0, given(np.complex64(1)))
    with pytest.raises(DTypeError, match="300 does not fit uint8"):
        index_update(given(np.zeros(4, np.uint8)), 0, 300)


def test_symbolic_sizes():
    batch = Dimension(["batch"])
    x = symbolic((batch, 10, 3))
    assert index(x, S[:, 0]).shape == (batch, 3)
    assert index(x, S[..., 1:, ::-1]).shape == (batch, 9, 3)
    assert index(x, S[::-1]).shape == (batch, 10, 3)
    assert index(x, (slice(None), given(I))).shape == (batch, 2, 3)
    assert index(x, (given(I),)).shape == (2, 10, 3)
    assert index_update(x, S[:, 0], 1.0).shape == (batch, 10, 3)
    with pytest.raises(IndexingError, match="dimension 0 has the size batch, not known yet"):
        index(x, S[1:])
    with pytest.raises(IndexingError, match="index -1 counts from the end of dimension 0, whose size batch"):
        index(x, -1)


@pytest.mark.parametrize(
    "key, message",
    [
        (S[2], "index=2 is out of range for dimension 0, of size 2"),
        (S[0, -4], "index=-4 is out of range for dimension 1, of size 3"),
        (S[0, 0, 0, 0, 0], r"5 indices for x, of shape \(2, 3, 4, 5\), which has 4 dimensions"),
        (S[..., 0, ...], r"more than one \.\.\."),
        (S[1.0], r"index 1\.0 is a float; indices are integers"),
        (S[1.5:], r"index 1\.5 is a float"),
        (S["a"], "a key cannot have a str"),
        (S[True], "index True is a bool"),
        (S[::0], "step 0"),
        (S[np.array([0.5])], r"an index is float64\[1\]; indices are integers or masks"),
        (
            S[np.array([True, False, True])],
            r"a mask of shape \(3,\) does not fit the dimensions from 0 of x, of shape \(2, 3",
        ),
        (S[:, np.array([[True]])], r"a mask of shape \(1, 1\) does not fit the dimensions from 1"),
    ],
)
def test_refused_keys(key, message):
    with pytest.raises(IndexingError, match=message):
        index(given(X), nodes(key), nonzero)


def test_arrays_are_checked_when_they_run():
    for place in (5, -6):
        with pytest.raises(
            IndexingError, match=f"index {place} is out of range for dimension 2 of x, of size 5"
        ):
            value(index(given(X), (0, slice(None), slice(None), given(np.array([0, place])))))


def test_masks_need_a_value():
    with pytest.raises(IndexingError, match=r"the shape of x\[mask\] depends on the values of the mask"):
        index(given(X), given(X > 3))


def test_values_must_broadcast():
    with pytest.raises(
        ShapeError, match=r"values of shape \(2,\), x\[key\] of shape \(4, 5\) cannot be broadcast"
    ):
        index_update(given(X), S[0, 0], given(np.zeros(2)))
    with pytest.raises(
        ShapeError, match=r"values of shape \(2, 1\) do not broadcast to x\[key\], of shape \(1,\)"
    ):
        index_update(given(X), S[0, 0, 0, :1], given(np.zeros((2, 1))))
    with pytest.raises(
        ShapeError, match=r"index 0 of shape \(2,\), index 1 of shape \(3,\) cannot be broadcast"
    ):
        index(given(X), (given(I), given(np.zeros(3, np.int64))))
