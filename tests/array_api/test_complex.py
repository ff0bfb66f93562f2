"""Complex numbers: special values as the standard lists them, and gradients as d/dRe + i d/dIm."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest

import treadle as td
from treadle.errors import DTypeError
from treadle.ops.special_values import joined

# Real and imaginary part -> those of the result ("abs" has one); ? is what the standard leaves open.
CASES = {
    "abs": """
        inf nan -> inf, nan -inf -> inf, -0 -3 -> 3, nan 1 -> nan, 1e+300 1e+300 ->
        1.4142135623730952e+300
    """,
    "acos": """
        0 0 -> pi/2 -0, -0 nan -> pi/2 nan, 2 inf -> pi/2 -inf, -inf 1 -> pi -inf, inf 1 -> 0 -inf, -inf
        inf -> 3*pi/4 -inf, inf inf -> pi/4 -inf, inf nan -> nan ?, nan inf -> nan -inf, nan nan -> nan
        nan
    """,
    "acosh": """
        0 0 -> 0 pi/2, 3 inf -> inf pi/2, 2 nan -> nan nan, -inf 1 -> inf pi, inf 1 -> inf 0, -inf inf ->
        inf 3*pi/4, inf nan -> inf nan, nan inf -> inf nan
    """,
    "asinh": """
        0 0 -> 0 0, 1 inf -> inf pi/2, 1 nan -> nan nan, inf 1 -> inf 0, inf inf -> inf pi/4, nan 0 -> nan
        0, nan 1 -> nan nan, nan inf -> ? nan
    """,
    "atanh": """
        0 0 -> 0 0, 0 nan -> 0 nan, 1 0 -> inf 0, 1 inf -> 0 pi/2, inf 1 -> 0 pi/2, inf inf -> 0 pi/2, inf
        nan -> 0 nan, nan inf -> 0 pi/2
    """,
    "cosh": """
        0 0 -> 1 0, 0 inf -> nan 0, 1 inf -> nan nan, inf 0 -> inf 0, inf 2 -> -inf inf, inf inf -> ? nan,
        inf nan -> inf nan, nan 0 -> nan ?
    """,
    "exp": """
        -0 0 -> 1 0, 1 inf -> nan nan, inf 0 -> inf 0, -inf 2 -> -0 0, inf 2 -> -inf inf, -inf inf -> ? ?,
        inf inf -> ? nan, nan 0 -> nan 0
    """,
    "expm1": """
        -0 0 -> 0 0, 1 inf -> nan nan, inf 0 -> inf 0, -inf 2 -> -1 0, inf 2 -> -inf inf, -inf inf -> -1
        ?, -inf nan -> -1 ?, nan 0 -> nan 0
    """,
    "log": """
        -0 0 -> -inf pi, 0 0 -> -inf 0, 3 inf -> inf pi/2, 1 nan -> nan nan, -inf 1 -> inf pi, inf 1 ->
        inf 0, -inf inf -> inf 3*pi/4, inf nan -> inf nan
    """,
    "log1p": """
        -1 0 -> -inf 0, 3 inf -> inf pi/2, 1 nan -> nan nan, -inf 1 -> inf pi, inf 1 -> inf 0, -inf inf ->
        inf 3*pi/4, nan inf -> inf nan, 1e-20 0 -> 1e-20 0
    """,
    "log2": "0 0 -> -inf 0, 8 0 -> 3 0, 3 inf -> inf pi/2/log(2)",
    "log10": "0 0 -> -inf 0, 1000 0 -> 3 0, 3 inf -> inf pi/2/log(10)",
    "sinh": """
        0 0 -> 0 0, 0 inf -> 0 nan, 1 inf -> nan nan, inf 0 -> inf 0, inf 2 -> -inf inf, inf inf -> ? nan,
        nan 0 -> nan 0, nan 1 -> nan nan
    """,
    "tanh": """
        0 0 -> 0 0, 1 inf -> nan nan, inf 1 -> 1 0, inf 15 -> 1 0, -inf 2 -> -1 0, inf inf -> 1 ?, inf nan
        -> 1 ?, nan 0 -> nan 0, nan 1 -> nan nan
    """,
    "tan": """
        -0 0 -> -0 0, 15 inf -> 0 1, -15 inf -> -0 1, nan inf -> ? 1, 1 2 -> 0.03381282607989669
        1.0147936161466335
    """,
    "sqrt": """
        -0 0 -> 0 0, nan inf -> inf inf, 1 inf -> inf inf, 1 nan -> nan nan, -inf 1 -> 0 inf, inf 1 -> inf
        0, -inf nan -> nan ?, inf nan -> inf nan
    """,
    "sign": "0 0 -> 0 0, 3e+300 4e+300 -> 0.6 0.8, 3e-310 -4e-310 -> 0.6 -0.8, nan 1 -> nan nan",
    "round": "0.5 1.5 -> 0 2, -2.5 inf -> -2 inf, nan 0 -> nan 0",
}  # fmt: skip


def parts(text: str) -> list[float | None]:
    names = {"pi": math.pi, "inf": math.inf, "nan": math.nan, "log": math.log}
    given = ["-0.0" if part == "-0" else part for part in text.split()]
    return [None if part == "?" else float(eval(part, names)) for part in given]


def agrees(found: float, expected: float | None) -> bool:
    if expected is None:
        return True
    if math.isnan(expected):
        return math.isnan(found)
    same_sign = math.copysign(1, found) == math.copysign(1, expected)
    return same_sign and (found == expected or math.isclose(found, expected, rel_tol=1e-12))


@pytest.mark.parametrize("name", CASES)
def test_special_values(name: str):
    cases = [[parts(side) for side in case.split("->")] for case in CASES[name].split(",")]
    x = joined(*np.array([point for point, _ in cases]).T)
    for (point, expected), value in zip(cases, getattr(td, name)(td.asarray(x)).numpy(), strict=True):
        found = [value] if name == "abs" else [value.real, value.imag]
        assert all(map(agrees, found, expected)), (point, value, expected)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"abs"}))
def test_the_conjugate_has_the_conjugate_value(name: str):
    line = np.array([0.0, 1.0, -1.0, 0.3, -7.5, np.inf, -np.inf])
    x = np.array([complex(a, b) for a, b in itertools.product(line, line[1:])])
    function = getattr(td, name)
    left, right = function(td.conj(td.asarray(x))).numpy(), np.conj(function(td.asarray(x)).numpy())
    np.testing.assert_array_equal(left, right)


def test_digits_near_zero():
    x = np.array([1e-9 + 1e-9j, -1e-12 + 1e-5j, 1e-18j], np.complex128)
    np.testing.assert_allclose(td.expm1(td.asarray(x)).numpy(), x + x * x / 2, rtol=1e-9)
    np.testing.assert_allclose(td.log1p(td.asarray(x)).numpy(), x - x * x / 2, rtol=1e-9)


HOLOMORPHIC = [
    "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "sqrt", "square", "reciprocal", "negative", "conj", "sign",
]  # fmt: skip
FUNCTIONS = {name: getattr(td, name) for name in HOLOMORPHIC} | {
    "abs": lambda z: td.abs(z) * (1 + 0.5j),
    "real": lambda z: td.real(z) * (0.3 - 1j),
    "imag": lambda z: td.imag(z) * (0.3 - 1j),
    "pow": lambda z: z ** (z + 0.5),
    "divide": lambda z: (1 + z) / (z * z - 2j),
    "prod": lambda z: td.prod(z),
    "matmul": lambda z: td.reshape(z, (2, 2)) @ td.reshape(td.conj(z), (2, 2)),
    "to real and back": lambda z: td.astype(td.real(z), td.complex128) * z,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_to_second_order(name: str):
    """Of a real loss, against central differences along a line in the complex plane."""
    generator = np.random.default_rng(7)

    def complex_numbers(*shape: int) -> np.ndarray:
        return generator.normal(size=shape) + 1j * generator.normal(size=shape)

    def loss(z: td.Array, weights: list[np.ndarray], order: int) -> td.Array:
        y = FUNCTIONS[name](z)
        for weight in weights[:order]:
            total = td.sum(td.real(y * td.asarray(weight[: y.size].reshape(y.shape))))
            (y,) = td.gradients([total], [z], unconnected="zero")
        return td.sum(td.real(y * td.asarray(weights[order][: y.size].reshape(y.shape))))

    at, line = 0.4 * complex_numbers(4) + (0.7 + 0.6j), complex_numbers(4)
    weights = [complex_numbers(4), complex_numbers(4)]
    for order in (0, 1):
        z = td.asarray(at)
        z.requires_grad = True
        (found,) = td.gradients([loss(z, weights, order)], [z], unconnected="zero")
        slope = np.sum((np.conj(found.numpy()) * line).real)
        step = 1e-6
        ends = []
        for end in (at + step * line, at - step * line):
            z = td.asarray(end)
            z.requires_grad = True
            ends.append(loss(z, weights, order).item())
        assert math.isclose(slope, (ends[0] - ends[1]) / (2 * step), rel_tol=2e-6, abs_tol=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td.imag(td.ones(3)), r"\[imag\] x is float32\[3\]; expected a complex dtype"),
        (lambda: td.real(td.ones(3, dtype=td.bool)), r"\[real\] x is bool\[3\]; expected a numeric"),
        (lambda: td.ones(3, dtype=td.complex64) < 1, "expected a real dtype"),
        (lambda: td.floor(td.ones(3, dtype=td.complex64)), r"\[floor\] x is complex64"),
        (lambda: td.sort(td.ones(3, dtype=td.complex64)), r"\[sort\] x is complex64"),
        *[
            (lambda call=call: call(td.ones((3, 1), dtype=td.complex64), dtype=td.float32), message)
            for call, message in (
                (td.sum, r"\[sum\] x is complex64\[3, 1\]: .* would drop the imaginary part"),
                (td.prod, r"\[prod\] x is"),
                (partial(td.cumulative_sum, axis=0), r"\[cumulative_sum\] x is"),
                (td.asarray, r"\[asarray\] obj is complex64\[3, 1\]: .* would drop the imaginary part"),
            )
        ],
        (lambda: td.asarray([1, 2j], dtype=td.float32), r"\[asarray\] obj is complex128\[2\]: take td.real"),
        (lambda: td.full((2,), 1j, dtype=td.int8), r"\[full\] fill_value is 1j: .* int8 would drop"),
    ],
)
def test_what_is_not_defined_for_a_dtype_says_so(call, message):
    with pytest.raises(DTypeError, match=message):
        call()


def test_real_of_real_numbers_is_the_array():
    x = td.asarray(np.arange(3, dtype=np.int8))
    assert td.real(x).dtype is td.int8 and td.real(x).tolist() == [0, 1, 2]
    assert td.abs(td.asarray([3 + 4j])).dtype is td.float32
