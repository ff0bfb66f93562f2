"""Sums of products in tiles, and what else is written in two forms, for devices whose work items share memory
and for those whose do not: values of both on OpenCL, whatever the device is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import treadle as td
from treadle import config, program_cache
from treadle.devices import registry
from treadle.devices.csource import shared_tiles
from treadle.devices.csource.lowering import Generator
from treadle.devices.opencl import device as opencl
from treadle.errors import IndexingError

pytest.importorskip("pyopencl")
if not opencl.found():
    pytest.skip("no OpenCL driver is installed", allow_module_level=True)


@pytest.fixture(params=[False, True], ids=["registers", "shared"])
def place(request, monkeypatch):
    """The device, made to generate one form."""
    device = registry.find("opencl")
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    facts = replace(device.generator.facts, barriers=request.param, units=2, lanes=256)
    monkeypatch.setattr(device, "generator", Generator(facts))
    program_cache.programs.programs.clear()
    yield device
    program_cache.programs.programs.clear()


def agree(place, function, *arrays, rtol=2e-5):
    """What a device makes of arrays is what references make of the same in float64."""
    found = function(*[td.asarray(array).to("opencl") for array in arrays])
    td.evaluate(*found)
    with td.device("reference"):
        wide = [
            td.asarray(array.astype(np.float64) if array.dtype.kind in "fV" else array) for array in arrays
        ]
        expected = [y.numpy() for y in function(*wide)]
    for i, (got, want) in enumerate(zip(found, expected, strict=True)):
        scale = max(1.0, np.abs(want).max())
        np.testing.assert_allclose(
            got.numpy().astype(np.float64), want, rtol=0, atol=rtol * scale, err_msg=f"result {i}"
        )


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def test_products_of_all_kinds(place):
    def function(a, b, c, d, e):
        return (
            td.relu(a @ b + 1) * 2,  # with tails on all sides, and an epilogue
            td.matrix_transpose(b) @ td.matrix_transpose(a),
            c @ d,  # a batch on both sides
            c @ b[:40, :19],  # and on one, which joins its rows
            e @ td.matrix_transpose(e),  # long sums of few tiles
        )

    arrays = normal(67, 41), normal(41, 53), normal(3, 2, 33, 40), normal(3, 2, 40, 19), normal(9, 3001)
    agree(place, function, *arrays)


def test_products_of_other_floats(place):
    with td.device("opencl"):
        for dtype, rtol in (("float64", 1e-12), ("float16", 2e-3), ("bfloat16", 2e-2)):
            a, b = (td.asarray(normal(*shape)).astype(getattr(td, dtype)) for shape in ((40, 50), (50, 33)))
            y = (a @ b).astype(td.float64).numpy()
            want = a.astype(td.float64).numpy() @ b.astype(td.float64).numpy()
            np.testing.assert_allclose(y, want, rtol=0, atol=rtol * np.abs(want).max())


def test_the_largest_tiles(place, monkeypatch):
    monkeypatch.setattr(shared_tiles, "TILES", shared_tiles.TILES[:1])
    agree(place, lambda a, b: [a @ b], normal(131, 70), normal(70, 139))


@pytest.mark.parametrize(
    ("x", "w", "how"),
    [
        ((2, 9, 15, 17), (11, 9, 3, 3), {"padding": 1}),
        ((1, 16, 14, 19), (24, 8, 3, 2), {"padding": 2, "dilation": 2, "groups": 2, "stride": 2}),
        ((3, 8, 101), (12, 8, 7), {"padding": ((3, 1),), "stride": 3}),
    ],
    ids=str,
)
def test_convolutions_and_their_gradients(place, x, w, how):
    def function(x, w):
        y = td.relu(td.conv(x, w, **how) + 0.5)
        return y, *td.gradients(td.sum(td.sin(y)), [x, w])

    agree(place, function, normal(*x), normal(*w), rtol=1e-4)


def test_several_points_of_a_work_item(place):
    def function(x, row):
        return td.exp(x) + row, td.permute_dims(x, (2, 0, 1)) * 2, td.astype(x, td.float64) + 1

    agree(place, function, normal(5, 67, 101), normal(101))


def test_scattering_and_running_sums_of_many(place):
    places = np.random.default_rng(3).integers(0, 50, (700,))

    def function(x, values):
        lines = td.cumulative_sum(values, axis=0)
        given = td.asarray(places).to(values.device)
        table = td.take(x, given, axis=0)
        return lines, td.cumulative_sum(td.reshape(values, (-1,))), *td.gradients(td.sum(table * values), [x])

    agree(place, function, normal(50, 3), normal(700, 3), rtol=1e-4)


def test_values_for_a_place_that_is_not_there(place):
    with td.device("opencl"):
        x, places = td.zeros((4, 3)), td.asarray([1, 9])
        kept = td.Variable(np.ones(2, np.float32), name="kept")
    x[places] = 1.0
    kept.assign(kept + td.sum(x))
    with pytest.raises(IndexingError, match="9"):
        x.numpy()
    assert kept.numpy().tolist() == [1, 1]
