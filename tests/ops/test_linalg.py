"""Products of the namespace `linalg` against NumPy, and those that the main namespace has too."""

from __future__ import annotations

import numeric
import numpy as np
import pytest

import treadle as td
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.ops.record import NAMESPACES

random = np.random.default_rng(0)
linalg = NAMESPACES["linalg"]
DTYPES = ("int8", "uint16", "int64", "float32", "float64", "complex64", "complex128")


def operand(shape, dtype="float64") -> np.ndarray:
    x = random.normal(size=shape) * 3
    return (x + 1j * random.normal(size=shape) if "complex" in dtype else np.abs(x)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_numpys(dtype):
    x, y = operand(4, dtype), operand(3, dtype)
    found = td.linalg.outer(td.asarray(x), td.asarray(y))
    assert found.dtype.name == dtype
    np.testing.assert_allclose(found.numpy(), np.outer(x, y), rtol=1e-6)
    for left, right, axis in (
        ((3,), (3,), -1),
        ((2, 3), (5, 1, 3), -1),
        ((3, 4), (2, 3, 4), -2),
        ((3, 2), (3, 2), 0),
    ):
        x, y = operand(left, dtype), operand(right, dtype)
        found = td.linalg.cross(td.asarray(x), td.asarray(y), axis=axis)
        assert found.dtype.name == dtype
        expected = np.moveaxis(np.cross(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)), -1, axis)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [-3, -1, 0, 2, 7])
def test_traces_are_numpys(dtype, offset):
    for shape in ((3, 4), (2, 5, 3), (0, 2, 2), (2, 0, 3)):
        x = operand(shape, dtype)
        found = td.linalg.trace(td.asarray(x), offset=offset)
        expected = np.linalg.trace(x, offset=offset)
        assert found.dtype.name == expected.dtype.name
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert td.linalg.trace(td.ones((2, 2), dtype=td.int8), dtype=td.float64).dtype is td.float64


def test_empty_products():
    assert td.linalg.outer(td.zeros(0), td.zeros(2)).shape == (0, 2)
    assert td.linalg.cross(td.zeros((0, 3)), td.zeros((1, 3))).shape == (0, 3)


def test_dtypes_promote():
    a, b = td.asarray([1, 2, 3], dtype=td.int32), td.asarray([1.0, 2.0, 4.0])
    assert td.linalg.outer(a, b).dtype is td.float32 and td.linalg.cross(a, b).dtype is td.float32


def test_what_the_main_namespace_has_is_the_same():
    x, y = td.asarray(operand((2, 3))), td.asarray(operand((3, 2)))
    for name, operands in (("matmul", (x, y)), ("tensordot", (x, x)), ("vecdot", (x, x))):
        found, main = (getattr(place, name)(*operands) for place in (td.linalg, td))
        np.testing.assert_array_equal(found.numpy(), main.numpy())
    for name in ("matrix_transpose", "diagonal"):
        np.testing.assert_array_equal(getattr(td.linalg, name)(x).numpy(), getattr(td, name)(x).numpy())


def test_gradients():
    for function, shapes in (
        (linalg["outer"], ((3,), (2,))),
        (linalg["cross"], ((2, 1, 3), (4, 3))),
        (lambda x: linalg["trace"](x, offset=1), ((2, 3, 4),)),
    ):
        numeric.check_gradients(function, *[random.normal(size=shape) for shape in shapes])
        numeric.check_complex_gradients(function, *[operand(shape, "complex128") for shape in shapes])


def test_refusals():
    x, y = td.zeros((2, 3)), td.zeros((3, 2))
    with pytest.raises(ShapeError, match=r"\[outer\] x1 has shape \(2, 3\); expected one dimension"):
        td.linalg.outer(x, td.zeros(3))
    with pytest.raises(ShapeError, match=r"\[cross\] x2 has shape \(3, 2\): dimension -1 is 2, not 3"):
        td.linalg.cross(x, y)
    with pytest.raises(ShapeError, match="cannot be broadcast together"):
        td.linalg.cross(x, td.zeros((5, 3)))
    with pytest.raises(ArgumentError, match="use a negative axis"):
        td.linalg.cross(x, td.zeros(3), axis=1)
    with pytest.raises(ArgumentError, match="out of range"):
        td.linalg.cross(y, td.zeros(3), axis=-2)
    for name in ("outer", "cross"):
        with pytest.raises(DTypeError, match=rf"\[{name}\].*bool"):
            getattr(td.linalg, name)(td.zeros(3, dtype=td.bool), td.zeros(3, dtype=td.bool))
    with pytest.raises(DTypeError, match=r"\[trace\].*numeric"):
        td.linalg.trace(td.zeros((2, 2), dtype=td.bool))
    with pytest.raises(ShapeError, match="at least two dimensions"):
        td.linalg.trace(td.zeros(3))
