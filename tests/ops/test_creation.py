"""Arrays made from nothing, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numeric import check_gradients, given, symbolic, value

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered, rebuild
from treadle.ops import creation as c

BATCH = Dimension(["batch"])


@pytest.mark.parametrize(
    "arguments",
    [(5,), (0,), (-3,), (2, 7), (2, 7, 2), (7, 2, -2), (7, 2),
     (0.5,), (0, 1, 0.1), (1.0, 2.0, 0.25), (3, -1, -0.5), (2.5, 2.5)],
    ids=repr,
)  # fmt: skip
def test_arange(arguments):
    x = c.arange(*arguments)
    expected = np.arange(*arguments)
    assert x.dtype is (dtypes.int64 if expected.dtype == np.int64 else dtypes.float32)
    assert x.shape == expected.shape
    np.testing.assert_allclose(value(x), expected, rtol=1e-6)


def test_arange_of_other_dtypes_and_sizes():
    assert value(c.arange(5, dtype=dtypes.bfloat16)).astype(int).tolist() == [0, 1, 2, 3, 4]
    # Counted in whole numbers: float16 has no 2049, but neither does it lose count.
    assert value(c.arange(2046, 2052, dtype=dtypes.float16)).tolist() == [2046, 2047, 2048, 2048, 2050, 2052]
    assert c.arange(BATCH).shape == (BATCH,)
    assert c.arange(np.int32(3)).shape == (3,)
    assert value(c.arange(1, 3, dtype=dtypes.complex64)).tolist() == [1, 2]


def test_a_symbolic_count_follows_its_size():
    x = c.iota(BATCH, dtypes.int32)
    assert rebuild(x, (), (4, dtypes.int32)).shape == (4,)


def test_arange_refuses():
    with pytest.raises(ArgumentError, match="step=0 never reaches stop=3"):
        c.arange(0, 3, 0)
    with pytest.raises(ArgumentError, match="is not a Python int or float: the size must be known"):
        c.arange(given(np.int64(3)))
    with pytest.raises(DTypeError, match="dtype=bool; expected a numeric dtype"):
        c.arange(3, dtype=dtypes.bool)


@pytest.mark.parametrize("endpoint", [True, False])
@pytest.mark.parametrize(
    "start, stop, num", [(0, 1, 5), (-1.5, 2.5, 7), (3, 1, 4), (0, 1, 1), (0, 1, 0), (0, 0.1, 11)]
)
def test_linspace(start, stop, num, endpoint):
    x = c.linspace(start, stop, num, endpoint=endpoint)
    assert x.dtype is dtypes.float32
    expected = np.linspace(start, stop, num, endpoint=endpoint)
    np.testing.assert_allclose(value(x), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        value(c.linspace(start, stop, num, endpoint=endpoint, dtype=dtypes.float64)), expected
    )


def test_linspace_refuses():
    with pytest.raises(ArgumentError, match="num=-1"):
        c.linspace(0, 1, -1)
    with pytest.raises(DTypeError, match="dtype=bool; expected a numeric dtype"):
        c.linspace(0, 1, 3, dtype=dtypes.bool)
    with pytest.raises(DTypeError, match="dtype=int32; expected a complex dtype"):
        c.linspace(0, 1j, 3, dtype=dtypes.int32)


@pytest.mark.parametrize("endpoint", [True, False])
@pytest.mark.parametrize(
    "start, stop, num, dtype",
    [
        (0, 10, 4, dtypes.int32),
        (9, -7, 6, dtypes.int8),
        (5, 5, 1, dtypes.uint8),
        (-(2**63), 2**63 - 1, 5, dtypes.int64),
        (2**64 - 1, 3, 7, dtypes.uint64),
        (0, 2**53 + 1, 2, dtypes.int64),
        (0, 1, 0, dtypes.int16),
    ],
)
def test_linspace_of_integers_is_exact(start, stop, num, dtype, endpoint):
    gaps = max(num - 1 if endpoint else num, 1)
    expected = [start + i * (stop - start) // gaps for i in range(num)]
    assert value(c.linspace(start, stop, num, dtype=dtype, endpoint=endpoint)).tolist() == expected


def test_linspace_takes_the_floor_of_fractions_for_integers():
    assert value(c.linspace(-1.5, 1.5, 4, dtype=dtypes.int32)).tolist() == [-2, -1, 0, 1]


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=repr)
def test_filled_arrays_of_every_dtype(dtype):
    for function, number in ((c.zeros, 0), (c.ones, 1), (c.empty, 0)):
        x = function((2, 3), dtype=dtype)
        assert x.dtype is dtype
        np.testing.assert_array_equal(value(x), np.full((2, 3), number, dtype.numpy))
    np.testing.assert_array_equal(value(c.full(4, 1, dtype=dtype)), np.ones(4, dtype.numpy))
    x = given(np.zeros((2, 1), dtype.numpy))
    for made in (c.zeros_like(x), c.ones_like(x), c.empty_like(x), c.full_like(x, 1)):
        assert made.type is x.type


def test_filled_arrays_take_no_memory():
    """One number, seen everywhere: building them computes nothing."""
    for x in (c.zeros((10**6, 10**6)), c.full((10**6, 10**6), 0.3), c.ones_like(symbolic((BATCH, 10**9)))):
        assert sum(node.shape == () for node in ordered([x])) == 1
        assert {node.op.name for node in ordered([x])} <= {"constant", "scalar", "broadcast_to"}


def test_full_takes_its_dtype_from_the_value():
    kinds = {True: dtypes.bool, 3: dtypes.int64, 0.5: dtypes.float32, 1j: dtypes.complex64}
    assert all(c.full((2,), v).dtype is dtype for v, dtype in kinds.items())
    assert c.full((2,), given(np.float64(3))).dtype is dtypes.float64
    assert c.full((2,), given(np.float64(3)), dtype=dtypes.int8).dtype is dtypes.int8
    assert c.full_like(given(np.zeros(2, np.float16)), 7).dtype is dtypes.float16
    check_gradients(lambda v: c.full((2, 3), v), np.float64(2))


def test_full_refuses():
    with pytest.raises(ShapeError, match=r"fill_value has shape \(2,\); use broadcast_to"):
        c.full((2,), given(np.zeros(2)))
    with pytest.raises(DTypeError, match="fill_value is a str"):
        c.full((2,), "x", dtype=dtypes.int8)
    with pytest.raises(DTypeError, match="300 does not fit uint8"):
        c.full((2,), 300, dtype=dtypes.uint8)
    with pytest.raises(ShapeError, match="negative size -1"):
        c.zeros((2, -1))


@pytest.mark.parametrize("k", [-5, -2, 0, 1, 7])
def test_eye_and_triangles(k):
    np.testing.assert_array_equal(value(c.eye(3, 4, k=k)), np.eye(3, 4, k, np.float32))
    x = np.arange(1.0, 25).reshape(2, 3, 4)
    np.testing.assert_array_equal(value(c.tril(given(x), k=k)), np.tril(x, k))
    np.testing.assert_array_equal(value(c.triu(given(x), k=k)), np.triu(x, k))
    check_gradients(lambda x: c.tril(x, k=k), x)


def test_eye_of_one_size_and_triangles_of_symbolic_ones():
    assert c.eye(3).shape == (3, 3)
    assert value(c.eye(2, dtype=dtypes.bool)).tolist() == [[True, False], [False, True]]
    assert c.triu(symbolic((BATCH, 3, 3))).shape == (BATCH, 3, 3)
    assert c.tril(symbolic((BATCH, BATCH))).shape == (BATCH, BATCH)
    with pytest.raises(ShapeError, match="at least two dimensions"):
        c.tril(given(np.zeros(3)))


@pytest.mark.parametrize("indexing", ["xy", "ij"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_meshgrid(count, indexing):
    lines = [np.arange(n) + 0.5 for n in (2, 3, 4)[:count]]
    for ours, expected in zip(
        c.meshgrid(*map(given, lines), indexing=indexing), np.meshgrid(*lines, indexing=indexing), strict=True
    ):
        np.testing.assert_array_equal(value(ours), expected)


def test_meshgrid_refuses():
    with pytest.raises(ShapeError, match=r"arrays\[1\] has shape \(2, 2\); expected one dimension"):
        c.meshgrid(given(np.zeros(2)), given(np.zeros((2, 2))))
    with pytest.raises(ArgumentError, match="indexing='yx'"):
        c.meshgrid(indexing="yx")
