"""Convolutions against sums written out, and their gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numeric import check_gradients, given, symbolic, value

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension
from treadle.graph.node import make
from treadle.ops.window import CONV, CONV_INPUT_GRADIENT, CONV_WEIGHT_GRADIENT, conv

random = np.random.default_rng(0)


def written_out(x, w, stride, padding, dilation, groups):
    """The definition, one number at a time."""
    padding = [(p, p) if isinstance(p, int) else p for p in padding]
    sizes = [
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, k, s, (low, high), d in zip(x.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *sizes), x.dtype)
    inputs, outputs = w.shape[1], w.shape[0] // groups
    for b, k in np.ndindex(*y.shape[:2]):
        for o in np.ndindex(*sizes):
            for c in range(inputs):
                for t in np.ndindex(*w.shape[2:]):
                    at = [
                        i * s - low + j * d
                        for i, s, (low, _), j, d in zip(o, stride, padding, t, dilation, strict=True)
                    ]
                    if all(0 <= i < n for i, n in zip(at, x.shape[2:], strict=True)):
                        y[(b, k, *o)] += x[(b, k // outputs * inputs + c, *at)] * w[(k, c, *t)]
    return y


CASES = [
    # x, w, stride, padding, dilation, groups
    ((2, 3, 7), (4, 3, 3), (1,), (0,), (1,), 1),
    ((2, 4, 9), (6, 2, 3), (2,), ((1, 2),), (2,), 2),
    ((2, 3, 5, 6), (4, 3, 3, 2), (1, 1), (0, 0), (1, 1), 1),
    ((1, 4, 6, 7), (4, 2, 3, 3), (2, 3), (1, (0, 2)), (1, 2), 2),
    ((1, 3, 5, 5), (6, 1, 3, 3), (1, 1), (2, 1), (1, 1), 3),
    ((1, 2, 4, 4), (2, 2, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((1, 2, 4, 3, 5), (2, 1, 2, 2, 3), (1, 2, 2), (1, 0, 1), (2, 1, 1), 2),
    ((2, 1, 3), (1, 1, 3), (3,), (2,), (2,), 1),
]


def arguments(case):
    x, w, stride, padding, dilation, groups = case
    return (
        random.normal(size=x),
        random.normal(size=w),
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
    )


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_conv_is_the_sum_written_out(case):
    x, w, keywords = arguments(case)
    np.testing.assert_allclose(
        value(conv(given(x), given(w), **keywords)), written_out(x, w, **keywords), atol=1e-12
    )


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_gradients_to_third_order(case):
    x, w, keywords = arguments(case)
    check_gradients(lambda x, w: conv(x, w, **keywords), x, w, order=3)


@pytest.mark.parametrize("op", [CONV_INPUT_GRADIENT, CONV_WEIGHT_GRADIENT], ids=repr)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_gradients_of_the_gradient_records(case, op):
    x, w, keywords = arguments(case)
    y = conv(given(x), given(w), **keywords)
    first, size = (y.shape, x.shape[2:]) if op is CONV_INPUT_GRADIENT else (x.shape, w.shape[2:])
    second = w.shape if op is CONV_INPUT_GRADIENT else y.shape
    a, b = random.normal(size=first), random.normal(size=second)
    check_gradients(lambda a, b: make(op, (a, b), (size, *y.attributes)), a, b, order=2)


def test_complex_gradients_are_conjugated():
    """<g, dy> = <vjp(g), d> for the real inner product of complex arrays."""
    from numeric import values

    from treadle.autodiff import gradients

    x, w, g, dx, dw = (
        random.normal(size=s) + 1j * random.normal(size=s)
        for s in [(1, 2, 5), (3, 2, 2), (1, 3, 4), (1, 2, 5), (3, 2, 2)]
    )
    left, right = given(x), given(w)
    gx, gw = values(gradients([conv(left, right)], [left, right], [given(g)]))
    change = value(conv(given(dx), right)) + value(conv(left, given(dw)))
    assert np.isclose(np.vdot(g, change).real, (np.vdot(gx, dx) + np.vdot(gw, dw)).real)


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.kind != "bool"], ids=repr)
def test_dtypes(dtype):
    x, w = (random.integers(0, 3, size=s).astype(dtype.numpy) for s in ((1, 2, 5), (2, 2, 3)))
    y = value(conv(given(x), given(w), padding=1))
    expected = written_out(x.astype(complex), w.astype(complex), (1,), (1,), (1,), 1)
    np.testing.assert_array_equal(y.astype(complex), expected)


@pytest.mark.parametrize(
    "size, window, stride, dilation", [*itertools.product([5, 6, 7], [1, 2, 3], [1, 2, 3], [1, 2])]
)
def test_same_padding(size, window, stride, dilation):
    y = conv(
        given(np.ones((1, 1, size))),
        given(np.ones((1, 1, window))),
        padding="same",
        stride=stride,
        dilation=dilation,
    )
    assert y.shape[2] == -(-size // stride)
    ((low, high),) = y.attribute("padding")
    assert low <= high <= low + 1 or (low, high) == (0, 0)


def test_forms_of_padding_and_promotion():
    x, w = given(np.ones((1, 2, 6, 7), np.float32)), given(np.ones((3, 2, 3, 3), np.int32))
    assert conv(x, w).dtype is dtypes.float32
    assert conv(x, w, padding="valid").shape == (1, 3, 4, 5)
    assert conv(x, w, padding=1).shape == (1, 3, 6, 7)
    assert conv(x, w, padding=(1, 2)).shape == (1, 3, 6, 9)
    assert conv(x, w, padding=((0, 1), (2, 3))).shape == (1, 3, 5, 10)
    assert conv(x, w, padding=[1, (2, 3)], stride=2).shape == (1, 3, 3, 5)


def test_symbolic_batch():
    batch = Dimension(["batch"])
    assert conv(symbolic((batch, 2, 6)), symbolic((3, 2, 3))).shape == (batch, 3, 4)


@pytest.mark.parametrize(
    "x, w, keywords, error, message",
    [
        ((1, 2, 5), (3, 2, 3, 3), {}, ShapeError, r"x has shape \(1, 2, 5\) and w \(3, 2, 3, 3\)"),
        ((2, 5), (3, 2), {}, ShapeError, "with 1 to 3 spatial dimensions"),
        ((1, 4, 5), (3, 2, 3), {}, ShapeError, r"\(1, 4, 5\) has 4 channels, w of shape \(3, 2, 3\) with"),
        ((1, 4, 5), (3, 2, 3), {"groups": 2}, ShapeError, "groups divides both"),
        ((1, 2, 2), (3, 2, 3), {}, ShapeError, r"of \(3,\) does not fit into the spatial sizes \(2,\)"),
        ((1, 2, 4), (3, 2, 3), {"dilation": 2}, ShapeError, r"of \(3,\) with dilation \(2,\) does not"),
        ((1, 2, 5), (3, 2, 3), {"stride": 0}, ArgumentError, "stride=0; expected positive integers"),
        ((1, 2, 5), (3, 2, 3), {"stride": (1, 1)}, ArgumentError, "one for each of the 1 spatial dimensions"),
        ((1, 2, 5), (3, 2, 3), {"padding": "full"}, ArgumentError, "padding='full'; there are"),
        ((1, 2, 5), (3, 2, 3), {"padding": -1}, ArgumentError, "padding=-1; expected integers of 0 and up"),
        ((1, 2, 5), (3, 2, 3), {"padding": (1, 2)}, ArgumentError, "one item for each of the 1 spatial"),
        ((1, 2, 5), (3, 2, 3), {"groups": 0}, ArgumentError, "groups=0 is not a positive integer"),
    ],
)  # fmt: skip
def test_refusals(x, w, keywords, error, message):
    with pytest.raises(error, match=message):
        conv(given(np.zeros(x)), given(np.zeros(w)), **keywords)


def test_bool_is_refused_and_gradient_records_check_their_shapes():
    with pytest.raises(DTypeError, match="expected a numeric dtype"):
        conv(given(np.zeros((1, 1, 3), bool)), given(np.zeros((1, 1, 3), bool)))
    rest = ((1,), ((0, 0),), (1,), 1)
    with pytest.raises(
        ShapeError, match=r"g is float64\[1, 3, 5\]; the convolution gives float64\[1, 3, 4\]"
    ):
        make(CONV_INPUT_GRADIENT, (given(np.zeros((1, 3, 5))), given(np.zeros((3, 2, 3)))), ((6,), *rest))
    with pytest.raises(ShapeError, match="the convolution gives"):
        make(CONV_WEIGHT_GRADIENT, (given(np.zeros((1, 2, 6))), given(np.zeros((1, 3, 5)))), ((3,), *rest))
    assert CONV.attributes == ("stride", "padding", "dilation", "groups")
