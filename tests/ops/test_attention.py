"""Attention against its definition: values, gradients of both orders, masks, dtypes, mistakes."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.errors import ArgumentError, DTypeError, ShapeError

attention = td.scaled_dot_product_attention


def drawn(*shapes, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [td.asarray(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def plain(q, k, v, mask=None, causal=False, scale=None):
    scores = (q @ td.matrix_transpose(k)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = td.where(mask, scores, -1e30) if mask.dtype is td.bool else scores + mask
    if causal:
        scores = td.where(td.tril(td.ones(scores.shape[-2:], dtype=td.bool)), scores, -1e30)
    return td.softmax(scores, axis=-1) @ v


MASK = np.random.default_rng(7).random((2, 1, 5, 6)) < 0.6
MASK[..., 0] = True


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"scale": 0.3},
        {"mask": td.asarray(MASK)},
        {"mask": drawn((3, 1, 6))[0], "causal": True},
    ],
    ids=lambda options: "+".join(options) or "plain",
)
def test_values_and_gradients_of_both_orders(options):
    q, k, v = drawn((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7))
    weights = drawn((2, 3, 5, 7), (2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7), seed=1)
    found, wanted = [], []
    for function, values in ((attention, found), (plain, wanted)):
        y = function(q, k, v, **options)
        xs = [q, k, v]
        if options.get("mask") is not None and options["mask"].dtype is not td.bool:
            xs.append(options["mask"])
        first = td.gradients(td.sum(y * weights[0]) + td.sum(y**2), xs)
        second = td.gradients(sum(td.sum(g * w) for g, w in zip(first, weights[1:])), xs)
        values += [y, *first, *second]
    td.evaluate(*found, *wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-11)


def test_leading_dimensions_broadcast_and_may_be_missing():
    q, k, v = drawn((5, 4), (3, 6, 4), (2, 1, 6, 2))
    np.testing.assert_allclose(attention(q, k, v).numpy(), plain(q, k, v).numpy(), rtol=1e-12)
    np.testing.assert_allclose(
        attention(q, k[0], v[0, 0]).numpy(), plain(q, k[0], v[0, 0]).numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_dtypes(dtype, tolerance):
    q, k, v = (td.astype(x, dtype) for x in drawn((2, 5, 4), (2, 6, 4), (2, 6, 3)))
    y = attention(q, k, v, mask=td.asarray(MASK[:, 0]))
    assert y.dtype is getattr(td, dtype)
    wide = [td.astype(x, td.float64) for x in (q, k, v)]
    right = plain(*wide, mask=td.asarray(MASK[:, 0])).numpy()
    np.testing.assert_allclose(td.astype(y, td.float64).numpy(), right, rtol=tolerance, atol=tolerance)


def test_where_everything_is_masked_nothing_is_taken_and_nothing_learned():
    q, k, v = drawn((1, 3, 4), (1, 3, 4), (1, 3, 4), dtype="float32")
    mask = td.asarray([[True, False, True], [False, False, False], [True, True, False]])
    y = attention(q, k, v, mask=mask)
    grads = td.gradients(td.sum(y**2), [q, k, v])
    y, by_q, by_k, by_v = (x.numpy() for x in (y, *grads))
    assert (y[0, 1] == 0).all() and (by_q[0, 1] == 0).all()
    assert all(np.isfinite(x).all() for x in (y, by_q, by_k, by_v))
    only_first = attention(q, k, v, mask=td.asarray([[True, False, False]] * 3))
    assert (only_first.numpy() == v.numpy()[:, :1]).all()


def test_what_is_masked_is_not_seen():
    q, k, v = drawn((1, 2, 4), (1, 3, 4), (1, 3, 4), dtype="float32")
    spoilt = td.asarray(np.where(np.arange(3)[None, :, None] == 1, np.nan, k.numpy()))
    mask = td.asarray([[True, False, True]])
    assert (attention(q, k, v, mask=mask).numpy() == attention(q, spoilt, v, mask=mask).numpy()).all()


def test_under_vmap_and_in_loops_of_examples():
    q, k, v = drawn((4, 2, 3, 5, 4), (4, 2, 3, 6, 4), (4, 2, 3, 6, 7))
    together = td.vmap(lambda q, k, v: attention(q, k, v, causal=True))(q, k, v)
    np.testing.assert_allclose(together.numpy(), attention(q, k, v, causal=True).numpy(), rtol=1e-12)

    def by_query(q, k):
        return td.gradients(td.sum(attention(q, k, v[0], causal=True) ** 2), [q])[0]

    one = td.vmap(by_query, in_axes=(0, None))(q, k[0])
    for i in range(4):
        np.testing.assert_allclose(one[i].numpy(), by_query(q[i], k[0]).numpy(), rtol=1e-9, atol=1e-12)


def test_places_without_elements():
    y = attention(td.ones((2, 3, 4)), td.ones((2, 0, 4)), td.ones((2, 0, 5)))
    assert y.shape == (2, 3, 5) and (y.numpy() == 0).all()
    assert attention(td.ones((2, 0, 4)), td.ones((2, 3, 4)), td.ones((2, 3, 5))).numpy().shape == (2, 0, 5)


def test_mistakes_are_named():
    q, k, v = td.ones((2, 3, 4)), td.ones((2, 5, 4)), td.ones((2, 5, 6))
    with pytest.raises(ShapeError, match="query has shape"):
        attention(q, k, v[:, :4])
    with pytest.raises(ShapeError, match="cannot be broadcast"):
        attention(q, k, v, mask=td.ones((3, 4)))
    with pytest.raises(ShapeError, match="mask has shape"):
        attention(q, k, v, mask=td.ones((7, 2, 3, 5)))
    with pytest.raises(DTypeError, match="query"):
        attention(td.ones((2, 3, 4), dtype=td.int32), k[..., :4].astype(td.int32), v.astype(td.int32))
    with pytest.raises(DTypeError, match="mask"):
        attention(q, k, v, mask=td.ones((3, 5), dtype=td.int32))
    with pytest.raises(ArgumentError, match="scale"):
        attention(q, k, v, scale="large")
