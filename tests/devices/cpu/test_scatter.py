"""Scatter and running sums against NumPy, between guard pages, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from guard import run_kernel

from treadle.devices.cpu.cumulative import Cumulative, cumulative
from treadle.devices.cpu.registers import Unsupported
from treadle.devices.cpu.scatter import Scatter, scatter
from treadle.devices.cpu.target import host_isas
from treadle.dtypes import as_dtype


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int32", "uint8"])
@pytest.mark.parametrize(
    "shape, axes", [((7, 150), (0,)), ((5, 6, 3), (1,)), ((4, 5), (0, 1)), ((9, 1), (0,))]
)
@pytest.mark.parametrize("add", [True, False])
def test_values_are_written_in_order(isa, dtype, shape, axes, add):
    rng = np.random.default_rng(3)
    points = (2, 11)
    others = [a for a in range(len(shape)) if a not in axes]
    out = rng.integers(0, 50, shape).astype(as_dtype(dtype).numpy)
    values = rng.integers(0, 5, (*points, *(shape[a] for a in others))).astype(out.dtype)
    indices = [rng.integers(0, shape[a], points) for a in axes]
    expected = out.copy()
    view = np.moveaxis(expected, axes, range(len(axes)))
    for p in np.ndindex(points):
        place = tuple(i[p] for i in indices)
        view[place] = view[place] + values[p] if add else values[p]
    made, given = row_major(shape), row_major(values.shape)
    spec = Scatter(
        dtype, add, points, tuple(shape[a] for a in others), tuple(made[a] for a in axes),
        tuple(made[a] for a in others), given[:2], given[2:], ("int64",) * len(axes), (row_major(points),) *
        len(axes),
        tuple(shape[a] for a in axes),
    )  # fmt: skip
    status = np.zeros(1, np.int32)
    out, expected = out.astype(as_dtype(spec.summed).numpy), expected.astype(as_dtype(spec.summed).numpy)
    run_kernel(scatter(spec, isa), [out, values, *indices, status], isa)
    np.testing.assert_array_equal(out, expected)
    assert status[0] == 0


@pytest.mark.parametrize("wrong", [-1, 4, 1 << 40])
def test_a_place_outside_is_reported_and_not_written(wrong):
    out, values = np.zeros(4, np.float32), np.ones(3, np.float32)
    indices, status = np.array([0, wrong, 3]), np.zeros(1, np.int32)
    spec = Scatter("float32", True, (3,), (), (1,), (), (1,), (), ("int64",), ((1,),), (4,), fault_code=7)
    run_kernel(scatter(spec, host_isas()[0]), [out, values, indices, status], host_isas()[0])
    assert status[0] == 7
    assert out.tolist() == [1, 0, 0, 1]


def test_dtypes_without_a_kernel_are_refused():
    spec = Scatter("bool", True, (3,), (), (1,), (), (1,), (), ("int64",), ((1,),), (4,))
    with pytest.raises(Unsupported):
        scatter(spec, host_isas()[0])
    with pytest.raises(Unsupported):
        cumulative(Cumulative("bool", "sum", 1, 2, 3), host_isas()[0])


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("outer, length, inner", [(1, 9, 1), (3, 5, 37), (70, 4, 1), (2, 1, 16), (1, 3, 200)])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_results(isa, outer, length, inner, reverse):
    rng = np.random.default_rng(0)
    for dtype in ("float32", "int64", "bfloat16", "float16"):
        x = rng.integers(-3, 4, (outer, length, inner)).astype(as_dtype(dtype).numpy)
        turned = x[:, ::-1] if reverse else x
        wide = np.int64 if dtype == "int64" else np.float32
        for combine, function in (("sum", np.cumsum), ("prod", np.cumprod)):
            with np.errstate(over="ignore"):
                expected = function(turned.astype(wide), axis=1).astype(x.dtype)
            out = np.empty_like(x)
            run_kernel(
                cumulative(Cumulative(dtype, combine, outer, length, inner, reverse), isa), [x, out], isa
            )
            np.testing.assert_array_equal(out, expected[:, ::-1] if reverse else expected)


def test_a_running_sum_keeps_the_sign_of_zero():
    x, out = np.array([-0.0, -0.0], np.float32), np.empty(2, np.float32)
    run_kernel(cumulative(Cumulative("float32", "sum", 1, 2, 1), host_isas()[0]), [x, out], host_isas()[0])
    assert np.signbit(out).all()
