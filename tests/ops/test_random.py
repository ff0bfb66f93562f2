"""Random bits against the published vectors, and distributions by their moments, for fixed keys."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numeric import given, symbolic, value

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError
from treadle.graph.dimension import Dimension
from treadle.graph.node import make
from treadle.ops import random as r
from treadle.ops.record import OPS

KEY = (0x13198A2E, 0x03707344)
COUNT = 20000

# Known answers of the paper's library, Random123: key, counter, cipher.
VECTORS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    (KEY, (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def key():
    return r.key_node(*KEY)


@pytest.mark.parametrize("cipher_key, counter, expected", VECTORS)
def test_threefry_is_the_published_one(cipher_key, counter, expected):
    assert r.threefry(cipher_key, counter) == expected
    arrays = [np.array([word], np.uint64) for word in (*cipher_key, *counter)]
    assert tuple(int(word[0]) for word in r.threefry(arrays[:2], arrays[2:])) == expected


def test_bits_are_the_cipher_of_the_position():
    shape = (3, 5, 7)
    for word in (0, 1):
        bits = value(make(r.RANDOM_BITS, (key(),), (shape, word)))
        assert bits.shape == shape and bits.dtype == np.uint32
        assert [int(b) for b in bits.ravel()] == [r.threefry(KEY, (0, i))[word] for i in range(105)]


def test_bits_are_those_that_kernels_are_tested_against():
    from treadle.compiler.interpret import threefry

    words = threefry(np.uint32(KEY[0]), np.uint32(KEY[1]), np.arange(10, dtype=np.uint64))
    for word in (0, 1):
        np.testing.assert_array_equal(value(make(r.RANDOM_BITS, (key(),), ((10,), word))), words[word])


def test_keys_are_distinct_and_repeatable():
    assert r.split(KEY, 3) == r.split(KEY, 5)[:3]
    derived = {
        KEY,
        *r.split(KEY, 100),
        *(r.fold_in(KEY, i) for i in range(100)),
        r.fold_in(KEY, 1 << 32),
        r.fold_in(KEY, 2**64 - 1),
    }
    assert len(derived) == 203
    assert all(0 <= word < 2**32 for pair in derived for word in pair)
    with pytest.raises(ArgumentError, match="count=0"):
        r.split(KEY, 0)


def test_a_key_is_an_input_not_part_of_the_graph():
    assert r.key_node(1, 2).attributes == () and r.key_node(1, 2).binding == (1, 2)


def test_bits_need_a_key():
    with pytest.raises(DTypeError, match="expected uint32"):
        make(r.RANDOM_BITS, (given(np.zeros(2, np.float32)),), ((3,), 0))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_uniform(dtype):
    x = value(r.uniform(key(), (COUNT,), dtype=dtypes.BY_NAME[dtype])).astype(np.float64)
    assert x.min() >= 0 and x.max() < 1
    assert abs(x.mean() - 0.5) < 4 / math.sqrt(12 * COUNT) + 2.0**-8 * (dtype == "bfloat16")
    assert abs(x.var() - 1 / 12) < 0.003
    counts = np.histogram(x, 16, (0, 1))[0]
    assert (
        np.sum((counts - COUNT / 16) ** 2) / (COUNT / 16) < 45
    )  # chi-squared of 15 degrees exceeds this once in 10**4


def test_uniform_bounds():
    x = value(r.uniform(key(), (4, 5), -3.0, 5.0))
    np.testing.assert_allclose(x, value(r.uniform(key(), (4, 5))) * 8 - 3, rtol=1e-6, atol=1e-6)
    # Every sum rounds up to the bound, which is excluded.
    assert set(value(r.uniform(key(), (100,), 1.0, 1.0 + 2**-23)).tolist()) == {1.0}
    with pytest.raises(ArgumentError, match=r"low=2 is larger than high=1"):
        r.uniform(key(), (3,), 2, 1)
    with pytest.raises(DTypeError, match="expected a real floating dtype"):
        r.uniform(key(), (3,), dtype=dtypes.int32)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_normal(dtype):
    x = value(r.normal(key(), (COUNT,), dtypes.BY_NAME[dtype])).astype(np.float64)
    assert abs(x.mean()) < 4 / math.sqrt(COUNT)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / COUNT)
    assert abs((x**3).mean()) < 4 * math.sqrt(15 / COUNT)
    assert abs((x**4).mean() - 3) < 4 * math.sqrt(96 / COUNT)
    assert abs(np.mean(np.abs(x) > 1.959964) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / COUNT)


def test_exponential_and_gumbel():
    for dtype in (dtypes.float32, dtypes.float64):
        x = value(r.exponential(key(), (COUNT,), dtype))
        assert x.min() > 0 and np.isfinite(x).all()
        assert abs(x.mean() - 1) < 4 / math.sqrt(COUNT)
        assert abs(x.var() - 1) < 4 * math.sqrt(8 / COUNT)
        y = value(r.gumbel(key(), (COUNT,), dtype)).astype(np.float64)
        assert abs(y.mean() - np.euler_gamma) < 4 * math.pi / math.sqrt(6 * COUNT)


def test_extreme_bits_give_finite_numbers():
    """All bits clear and all bits set, where logarithms are of 0 and 1."""
    for bits, dtype in ((32, np.float32), (53, np.float64)):
        x = value(r._positive(given(np.array([0, 2.0**bits - 1], dtype)), bits))
        assert 0 < x[0] < x[1] < 1


def test_bernoulli():
    p = np.array([[0.0], [0.25], [1.0]], np.float32)
    x = value(r.bernoulli(key(), given(p), (3, COUNT)))
    assert x.dtype == bool
    assert not x[0].any() and x[2].all() and abs(x[1].mean() - 0.25) < 4 * math.sqrt(0.1875 / COUNT)
    assert r.bernoulli(key(), given(p)).shape == (3, 1)
    with pytest.raises(ArgumentError, match=r"p=1\.5 is not between 0 and 1"):
        r.bernoulli(key(), 1.5, (3,))


def test_categorical():
    p = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]], np.float32)
    with np.errstate(divide="ignore"):
        logits = np.log(p) + 3
    x = value(r.categorical(key(), given(logits), shape=(COUNT,)))
    assert x.shape == (COUNT, 2) and x.dtype == np.int64
    for row in range(2):
        found = np.bincount(x[:, row], minlength=3) / COUNT
        assert np.abs(found - p[row]).max() < 4 * math.sqrt(0.25 / COUNT)
    assert (x[:, 1] < 2).all()
    assert r.categorical(key(), given(logits), 0).shape == (3,)


@pytest.mark.parametrize(
    "low, high, dtype",
    [
        (-3, 4, "int64"),
        (0, 256, "uint8"),
        (-128, 128, "int8"),
        (0, 2**32 - 1, "uint32"),
        (-(2**63), 2**63, "int64"),
        (0, 2**64, "uint64"),
        (5, 2**40, "int64"),
    ],
)
def test_randint(low, high, dtype):
    x = value(r.randint(key(), low, high, (COUNT,), dtypes.BY_NAME[dtype])).tolist()
    assert low <= min(x) and max(x) < high
    if high - low < 300:
        assert set(x) == set(range(low, high))
    scaled = [(v - low) / (high - low) for v in x]
    assert abs(sum(scaled) / COUNT - 0.5) < 4 / math.sqrt(12 * COUNT) + 1 / (high - low)


def test_randint_is_the_scaled_64_bit_number():
    words = [value(make(r.RANDOM_BITS, (key(),), ((50,), word))).tolist() for word in (0, 1)]
    expected = [((a << 32 | b) * 1000 >> 64) - 500 for a, b in zip(*words, strict=True)]
    assert value(r.randint(key(), -500, 500, (50,))).tolist() == expected


def test_randint_refuses():
    with pytest.raises(ArgumentError, match="low=3 and high=3"):
        r.randint(key(), 3, 3, (2,))
    with pytest.raises(ArgumentError, match="expected integers of uint8"):
        r.randint(key(), 0, 257, (2,), dtypes.uint8)
    with pytest.raises(DTypeError, match="expected an integer dtype"):
        r.randint(key(), 0, 2, (2,), dtypes.float32)


def test_permutation():
    order = value(r.permutation(key(), 1000))
    assert sorted(order.tolist()) == list(range(1000)) and order.tolist() != list(range(1000))
    x = np.arange(12).reshape(3, 4)
    assert sorted(value(r.permutation(key(), given(x))).tolist()) == x.tolist()
    assert sorted(value(r.permutation(key(), given(x), axis=1)).T.tolist()) == x.T.tolist()
    # Each of the six orders of three is as likely as another.
    orders = [tuple(value(r.permutation(r.key_node(*k), 3)).tolist()) for k in r.split(KEY, 600)]
    assert all(65 < orders.count(order) < 140 for order in set(orders)) and len(set(orders)) == 6


def test_symbolic_shapes():
    batch = Dimension(["batch"])
    assert r.normal(key(), (batch, 3), dtypes.float64).shape == (batch, 3)
    assert r.bernoulli(key(), symbolic((batch, 3)), (batch, 3)).shape == (batch, 3)


def test_another_key_other_numbers():
    a, b = (value(r.uniform(r.key_node(*k), (1000,))) for k in r.split(KEY, 2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.12


def test_records_are_registered():
    assert OPS["random_bits"] is r.RANDOM_BITS and OPS["key"] is r.KEY
