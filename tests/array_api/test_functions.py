"""Every function of the standard on generated arrays, against NumPy: values, dtype and shape. 0-d, empty,
negative strides, NaN, infinities, signed zeros, the ends of the integers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import treadle as td
from treadle import config, dtypes

KINDS = {
    "bool": ["bool"],
    "int": ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"],
    "real": ["float32", "float64"],
    "complex": ["complex64", "complex128"],
}
REAL = KINDS["int"] + KINDS["real"]
FLOATING = KINDS["real"] + KINDS["complex"]
NUMERIC = REAL + KINDS["complex"]
ANY = KINDS["bool"] + NUMERIC
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
AWKWARD = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.5, 1e-30, -7e5, 3e38, math.inf, -math.inf, math.nan]


def elements(dtype: str) -> st.SearchStrategy[Any]:
    kind = np.dtype(dtype).kind
    if kind == "f":
        return st.sampled_from(AWKWARD) | st.floats(-50, 50, width=32)
    if kind == "c":
        return st.complex_numbers(max_magnitude=20, width=64, allow_nan=False)
    if kind == "b":
        return st.booleans()
    info = np.iinfo(dtype)
    return st.sampled_from([0, 1, 2, 3, info.max, info.min]) | st.integers(int(info.min), int(info.max))


def arrays(names: list[str], shape: Any = SHAPES) -> st.SearchStrategy[np.ndarray]:
    made = st.sampled_from(names).flatmap(lambda name: hnp.arrays(name, shape, elements=elements(name)))
    # Some of them seen with negative strides.
    return st.tuples(made, st.booleans()).map(
        lambda pair: np.asarray(np.flip(pair[0]) if pair[1] else pair[0])
    )


def same(found: Any, expected: Any, exact: bool = False) -> None:
    found, expected = found.numpy(), np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if exact or expected.dtype.kind not in "fc":
        np.testing.assert_array_equal(found, expected)
    else:
        narrow = expected.dtype in (np.float32, np.complex64)
        np.testing.assert_allclose(found, expected, rtol=2e-5 if narrow else 1e-11, atol=1e-30)


def check(function: Callable[..., Any], oracle: Callable[..., Any], *given: Any, exact: bool = False) -> None:
    with np.errstate(all="ignore"):
        same(
            function(*[td.asarray(x) if isinstance(x, np.ndarray) else x for x in given]),
            oracle(*given),
            exact,
        )


UNARY = {
    **dict.fromkeys(
        [
            "acos",
            "acosh",
            "asin",
            "asinh",
            "atan",
            "atanh",
            "cos",
            "cosh",
            "exp",
            "log",
            "sin",
            "sinh",
            "sqrt",
            "tan",
            "tanh",
        ],
        FLOATING,
    ),
    **dict.fromkeys(("expm1", "log1p", "log2", "log10", "signbit", "reciprocal"), KINDS["real"]),
    **dict.fromkeys(
        ("abs", "negative", "positive", "square", "conj", "isfinite", "isinf", "isnan", "round"), NUMERIC
    ),
    **dict.fromkeys(("ceil", "floor", "trunc", "sign", "real"), REAL),
    "imag": KINDS["complex"],
    "bitwise_invert": KINDS["bool"] + KINDS["int"],
    "logical_not": KINDS["bool"],
}
NUMPY = {"pow": "power", "concat": "concatenate", "matrix_transpose": "matrix_transpose"}


@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=15)
@given(data=st.data())
def test_unary(name: str, data: st.DataObject):
    x = data.draw(arrays(UNARY[name]))
    check(getattr(td, name), getattr(np, name), x)


def power(a: Any, b: Any) -> Any:
    """NumPy's, which takes the square root where the exponent 1/2 is the only one."""
    y = np.power(a, b)
    return np.where((b == 0.5) & ((a == 0) | (a == -np.inf)), np.abs(a), y).astype(y.dtype)


BINARY = {
    **dict.fromkeys(("add", "subtract", "multiply"), NUMERIC),
    **dict.fromkeys(("equal", "not_equal"), ANY),
    **dict.fromkeys(
        ["greater", "greater_equal", "less", "less_equal", "maximum", "minimum", "remainder"], REAL
    ),
    **dict.fromkeys(("atan2", "copysign", "divide", "hypot", "logaddexp", "nextafter", "pow"), KINDS["real"]),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), KINDS["bool"] + KINDS["int"]),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), KINDS["bool"]),
}


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=15)
@given(data=st.data())
def test_binary(name: str, data: st.DataObject):
    dtype = data.draw(st.sampled_from(BINARY[name]))
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
    x, y = (data.draw(arrays([dtype], shape)) for shape in shapes.input_shapes)
    oracle = power if name == "pow" else getattr(np, name)
    check(getattr(td, name), oracle, x, y, exact=name == "nextafter")
    number = data.draw(elements(dtype))
    if not (name == "pow" and number != number):
        check(getattr(td, name), oracle, x, number)
        check(getattr(td, name), oracle, number, x)


@settings(max_examples=40)
@given(data=st.data())
def test_shifts_and_integer_powers(data: st.DataObject):
    x = data.draw(arrays(KINDS["int"], (4,)))
    by = data.draw(hnp.arrays(x.dtype, (4,), elements=st.integers(0, 100)))
    check(td.bitwise_left_shift, np.left_shift, x, by)
    check(td.bitwise_right_shift, np.right_shift, x, by)
    check(td.pow, np.power, x, by)
    check(
        td.floor_divide, lambda a, b: np.where(b == 0, 0, np.floor_divide(a, np.where(b == 0, 1, b))), x, by
    )


FLOOR_DIVIDE = """
    inf 2 -> inf, inf -2 -> -inf, -inf 2 -> -inf, -inf -2 -> inf, inf inf -> nan, 0 0 -> nan, 0 -2 -> -0,
    -0 2 -> -0, 3 0 -> inf, 3 -0 -> -inf, -3 0 -> -inf, 5 inf -> 0, 5 -inf -> -0, -5 inf -> -0, -5 -inf -> 0,
    7 2 -> 3, -7 2 -> -4, 7 -2 -> -4, nan 1 -> nan, 1 nan -> nan
"""
REMAINDER = """
    inf 2 -> nan, 5 0 -> nan, 0 2 -> 0, -0 2 -> 0, 0 -2 -> -0, -0 -2 -> -0, 5 inf -> 5, -5 inf -> inf,
    5 -inf -> -inf, -5 -inf -> -5, 7 -2 -> -1, -7 2 -> 1, nan 1 -> nan
"""
POW = """
    2 nan -> nan, 1 nan -> 1, nan 0 -> 1, nan -0 -> 1, nan 2 -> nan, 2 inf -> inf, -2 inf -> inf, 2 -inf -> 0,
    -1 inf -> 1, -1 -inf -> 1, 0.5 inf -> 0, 0.5 -inf -> inf, inf 2 -> inf, inf -2 -> 0, -inf 3 -> -inf,
    -inf 2 -> inf, -inf -3 -> -0, -inf -2 -> 0, 0 2 -> 0, 0 -2 -> inf, -0 3 -> -0, -0 2 -> 0, -0 -3 -> -inf,
    -0 -2 -> inf, -2 0.5 -> nan, -0 0.5 -> 0, -inf 0.5 -> inf
"""


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("dtype", [td.float32, td.float64], ids=str)
@pytest.mark.parametrize(
    ("name", "table"), [("floor_divide", FLOOR_DIVIDE), ("remainder", REMAINDER), ("pow", POW)]
)
def test_special_cases(name: str, table: str, dtype: Any, native: bool, monkeypatch):
    if native:
        monkeypatch.setattr(config, "SMALL_NODES", 0)
    cases = [case.replace("->", " ").split() for case in table.split(",")]
    left, right, expected = np.array([[float(part) for part in case] for case in cases]).T.astype(dtype.numpy)
    call = getattr(td, name)
    together = call(td.asarray(left), td.asarray(right)).numpy()
    # NumPy has other code for one operand on the right.
    apart = np.array([call(td.asarray(a), td.asarray(b)).item() for a, b in zip(left, right)])
    for found in (together, apart):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found)[expected == 0], np.signbit(expected)[expected == 0])


REDUCTIONS = {
    "sum": (NUMERIC, np.sum), "prod": (KINDS["int"], np.prod), "any": (ANY, np.any), "all": (ANY, np.all),
    "max": (REAL, np.max), "min": (REAL, np.min), "mean": (KINDS["real"], np.mean),
    "var": (KINDS["real"], np.var), "std": (KINDS["real"], np.std), "count_nonzero": (ANY, np.count_nonzero),
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
@settings(max_examples=20)
@given(data=st.data())
def test_reductions(name: str, data: st.DataObject):
    names, oracle = REDUCTIONS[name]
    least = 1 if name in ("max", "min") else 0
    x = data.draw(arrays(names, hnp.array_shapes(min_dims=0, max_dims=3, min_side=least, max_side=3)))
    if x.dtype.kind in "fc":  # what is added in another order is near where nothing cancels or overflows
        bounded = np.where(np.isfinite(x), np.clip(x.real, -50, 50), x.real).astype(x.real.dtype)
        x = bounded if x.dtype.kind == "f" else (np.abs(bounded) + 1).astype(x.dtype)
        x = np.where(np.isfinite(x), np.abs(x) + 1, x)
    axis = data.draw(st.none() | hnp.valid_tuple_axes(x.ndim, min_size=1)) if x.ndim else None
    keepdims = data.draw(st.booleans())
    found = getattr(td, name)(td.asarray(x), axis=axis, keepdims=keepdims)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing's mean
        expected = np.asarray(oracle(x, axis=axis, keepdims=keepdims))
    if name in ("var", "std"):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)
    else:
        same(found, expected.astype(np.int64) if name == "count_nonzero" else expected)


@settings(max_examples=40)
@given(data=st.data())
def test_searching_sorting_and_sets(data: st.DataObject):
    x = data.draw(arrays(REAL, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    a = td.asarray(x)
    same(td.sort(a, axis=axis), np.sort(x, axis=axis), exact=True)
    same(td.argsort(a, axis=axis), np.argsort(x, axis=axis, stable=True))
    order = td.argsort(a, axis=axis, descending=True)
    same(td.take_along_axis(a, order, axis=axis), np.flip(np.sort(x, axis=axis), axis), exact=True)
    same(td.argmax(a, axis=axis), np.argmax(x, axis=axis))
    same(td.argmin(a), np.int64(np.argmin(x)))
    k = data.draw(st.integers(0, x.shape[axis]))
    values, places = td.top_k(a, k, axis=axis)
    same(values, np.take(np.flip(np.sort(x, axis=axis), axis), range(k), axis), exact=True)
    same(td.take_along_axis(a, places, axis=axis), values.numpy(), exact=True)
    line = np.sort(x.reshape(-1))
    wanted = data.draw(arrays([x.dtype.name]))
    for side in ("left", "right"):
        same(
            td.searchsorted(td.asarray(line), td.asarray(wanted), side=side),
            np.searchsorted(line, wanted, side),
        )
    flat = td.reshape(a, (-1,))
    same(td.searchsorted(flat, td.asarray(wanted), sorter=td.argsort(flat)), np.searchsorted(line, wanted))
    for y in (x, x.astype(np.complex128) if x.dtype.kind == "f" and np.isfinite(x).all() else x):
        among = wanted.astype(y.dtype)
        same(td.isin(td.asarray(y), td.asarray(among)), np.isin(y, among))
        same(td.isin(td.asarray(y), td.asarray(among), invert=True), np.isin(y, among, invert=True))
    for found, expected in zip(td.unique_all(a), np.unique_all(x), strict=True):
        same(found, expected)
    for name in ("unique_counts", "unique_inverse"):
        for found, expected in zip(getattr(td, name)(a), getattr(np, name)(x), strict=True):
            same(found, expected)
    for found, expected in zip(td.nonzero(a), np.nonzero(x), strict=True):
        same(found, expected)


@settings(max_examples=40)
@given(data=st.data())
def test_moving_and_counting(data: st.DataObject):
    x = data.draw(arrays(ANY, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    a = td.asarray(x)
    same(td.flip(a, axis=axis), np.flip(x, axis))
    shift = data.draw(st.integers(-(10**9), 10**9))
    same(td.roll(a, shift, axis=axis), np.roll(x, shift, axis))
    same(td.expand_dims(a, (0, -1)), np.expand_dims(x, (0, -1)))
    same(td.moveaxis(a, axis, 0), np.moveaxis(x, axis, 0))
    same(td.concat([a, a], axis=axis), np.concatenate([x, x], axis))
    same(td.stack([a, a], axis=axis), np.stack([x, x], axis))
    same(td.tile(a, (2, 1)), np.tile(x, (2, 1)))
    counts = data.draw(hnp.arrays(np.int64, x.shape[axis], elements=st.integers(0, 3)))
    for dtype in (td.int64, td.uint8, td.uint64):
        same(td.repeat(a, td.asarray(counts, dtype=dtype), axis=axis), np.repeat(x, counts, axis))
    same(td.repeat(a, 2), np.repeat(x, 2))
    for found, expected in zip(td.unstack(a, axis=axis), np.unstack(x, axis=axis), strict=True):
        same(found, expected)
    if x.ndim > 1:
        k = data.draw(st.integers(-(10**20), 10**20) | st.integers(-3, 3))
        near = max(-9, min(k, 9))
        same(td.tril(a, k=k), np.tril(x, near))
        same(td.triu(a, k=k), np.triu(x, near))
        same(a.mT, np.swapaxes(x, -1, -2))
    if x.dtype.kind != "b":
        n = data.draw(st.integers(0, 3))
        with np.errstate(all="ignore"):
            same(td.diff(a, axis=axis, n=n), np.diff(x, n, axis))
            same(td.diff(a, axis=axis, prepend=a, append=a), np.diff(x, 1, axis, x, x))
            if x.dtype.kind in "iu":
                for name in ("cumulative_sum", "cumulative_prod"):
                    for initial in (False, True):
                        found = getattr(td, name)(a, axis=axis, include_initial=initial)
                        same(found, getattr(np, name)(x, axis=axis, include_initial=initial))


@settings(max_examples=60)
@given(data=st.data())
def test_indexing(data: st.DataObject):
    x = data.draw(arrays(ANY, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
    key = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True))
    a = td.asarray(x)
    same(a[key], x[key], exact=True)
    mask = data.draw(hnp.arrays(bool, x.shape[: data.draw(st.integers(0, x.ndim))]))
    same(a[td.asarray(mask)], x[mask], exact=True)
    places = data.draw(hnp.integer_array_indices(x.shape[:1], dtype=np.int64))
    same(a[tuple(map(td.asarray, places))], x[places], exact=True)
    value = data.draw(elements(x.dtype.name))
    for where, theirs in ((key, key), (td.asarray(mask), mask)):
        changed, expected = td.asarray(x), x.copy()
        changed[where], expected[theirs] = value, value
        same(changed, expected, exact=True)


@settings(max_examples=40)
@given(start=st.integers(-99, 99), stop=st.integers(-99, 99), step=st.integers(-9, 9), num=st.integers(0, 30))
def test_counting(start: int, stop: int, step: int, num: int):
    if step:
        same(td.arange(start, stop, step), np.arange(start, stop, step))
        same(
            td.arange(start / 4, stop / 4, step / 4, dtype=td.float64),
            np.arange(start / 4, stop / 4, step / 4),
        )
    for endpoint in (True, False):
        found = td.linspace(start, stop, num, dtype=td.float64, endpoint=endpoint)
        same(found, np.linspace(start, stop, num, endpoint=endpoint))
    whole = td.linspace(start, stop, num + 1, dtype=td.float64)[:-1]
    same(td.linspace(start, stop, num, dtype=td.float64, endpoint=False), whole.numpy(), exact=True)
    found = td.linspace(start + 1j, stop, num, dtype=td.complex128)
    same(found, np.linspace(start + 1j, stop, num))
    same(td.eye(num, 3, k=step), np.eye(num, 3, k=step, dtype=np.float32))


def test_grids_and_shapes():
    lines = [np.arange(2), np.arange(3), np.arange(4)]
    for indexing in ("xy", "ij"):
        grids = td.meshgrid(*map(td.asarray, lines), indexing=indexing)
        assert isinstance(grids, tuple)
        for found, expected in zip(grids, np.meshgrid(*lines, indexing=indexing), strict=True):
            same(found, expected)
    assert td.broadcast_shapes((3, 1), (1, 0), ()) == (3, 0) and td.broadcast_shapes() == ()
    assert [x.shape for x in td.broadcast_arrays(td.ones((3, 1)), td.ones(2))] == [(3, 2), (3, 2)]
    assert dtypes.as_dtype("complex64") is td.complex64
