"""What is asked of cuBLASLt: layouts, batches, epilogues; a fake multiplies what it is told to."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import treadle as td
from treadle import config
from treadle.devices import registry
from treadle.devices.cuda import blas
from treadle.errors import DeviceError

pytest.importorskip("pyopencl")
from treadle.devices.opencl import device as opencl

if not opencl.found():
    pytest.skip("no OpenCL driver is installed, which the fake runs kernels by", allow_module_level=True)

from fake_blas import NUMBERS, FakeBlas
from fake_cuda import FakeDriver, keep_source

from treadle.devices.cuda.device import CudaDevice
from treadle.program_cache import programs


@pytest.fixture
def fake(monkeypatch):
    """The cuBLASLt behind "cuda"."""
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    monkeypatch.setattr(blas.Blas, "number", lambda self, name: NUMBERS.get(name, 9))
    driver = FakeDriver()
    lt = FakeBlas(driver)
    monkeypatch.setitem(registry._made, "cuda", CudaDevice("cuda", 0, driver, keep_source, lt))
    before = dict(programs.programs)
    programs.programs.clear()
    yield lt
    programs.programs.clear()
    programs.programs.update(before)


def on(values):
    return td.asarray(values).to("cuda")


def test_products_of_every_layout(fake):
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(5, 7)).astype(np.float32), draw.normal(size=(7, 3)).astype(np.float32)
    left, right = on(a), on(b)
    stack = draw.normal(size=(2, 4, 5, 7)).astype(np.float32)
    wide = draw.normal(size=(6, 5, 7)).astype(np.float64)
    column, row = on(a[:, :1]), on(b[:1])
    found = {
        "plain": (left @ right, a @ b),
        "both turned": (td.matrix_transpose(right) @ td.matrix_transpose(left), b.T @ a.T),
        "gram": (td.matrix_transpose(left) @ left, a.T @ a),
        "outer": (column @ row, a[:, :1] @ b[:1]),
        "inner": (on(a[:1]) @ on(b[:, :1]), a[:1] @ b[:, :1]),
        "batch": (on(stack) @ right, stack @ b),
        "part": (left[1:4, 2:6] @ right[2:6], a[1:4, 2:6] @ b[2:6]),
        "every second row": (left[::2] @ right, a[::2] @ b),
        "float64": (on(wide) @ td.matrix_transpose(on(wide)), wide @ wide.swapaxes(-1, -2)),
        "float16": (left.astype(td.float16) @ right.astype(td.float16), a @ b),
    }
    td.evaluate(*[value for value, _ in found.values()])
    for name, (value, expected) in found.items():
        rtol = 2e-2 if name == "float16" else 1e-5
        np.testing.assert_allclose(
            value.numpy(), expected, rtol=rtol, atol=1e-2 if rtol > 1e-3 else 1e-5, err_msg=name
        )
    assert fake.products >= len(found) - 1


def test_epilogues(fake):
    draw = np.random.default_rng(1)
    a, b = draw.normal(size=(6, 8)).astype(np.float32), draw.normal(size=(8, 4)).astype(np.float32)
    c, r = draw.normal(size=(4,)).astype(np.float32), draw.normal(size=(6, 4)).astype(np.float32)
    left, right, bias, residual = on(a), on(b), on(c), on(r)
    cases = {
        "BIAS": (left @ right + bias, a @ b + c),
        "RELU_BIAS": (td.relu(left @ right + bias), np.maximum(a @ b + c, 0)),
        "RELU": (td.relu(left @ right), np.maximum(a @ b, 0)),
        "DEFAULT": (td.tanh(left @ right + bias) + residual, np.tanh(a @ b + c) + r),
    }
    for name, (value, expected) in cases.items():
        program = td.explain(value)
        assert f"cuBLASLt: 1 products of 6 x 8 by 8 x 4, float32, {name}" in program.splitlines(), program
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_the_quickest_algorithm_is_kept_when_it_is_asked_for(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    a = np.ones((8, 8), np.float32)

    @td.compile
    def product(x, y):
        return x @ y

    with td.device("cuda"):
        product(on(a), on(a)).numpy()
        assert fake.algorithm == 11
        fake.driver.times = [30.0, 10.0, 20.0]
        (row,) = td.tune(product, on(a), on(a))
        assert (row.before_ms, row.after_ms, row.tried) == (3.0, 1.0, 3)
        product(on(a), on(a)).numpy()
        assert fake.algorithm == 12
        place = CudaDevice("cuda", 0, fake.driver, keep_source, fake)
        monkeypatch.setitem(registry._made, "cuda", place)
        programs.programs.clear()
        (on(a) @ on(a)).numpy()
    assert fake.algorithm == 12


def test_generated_kernels_when_they_are_asked_for(fake):
    a = np.ones((4, 4), np.float32)
    with td.device("cuda", kernels="generated"):
        assert (on(a) @ on(a)).numpy().tolist() == (a @ a).tolist()
    assert fake.products == 0
    with pytest.raises(ValueError, match="'vendor', 'generated'"):
        td.device("cuda", kernels="mine")


def test_the_precision_of_sums_is_asked_for():
    x = td.asarray(np.ones((3, 3), np.float32))
    assert blas._compute("float32") == "COMPUTE_32F_FAST_TF32" and x.ndim == 2
    with td.precision("exact"):
        assert blas._compute("float32") == "COMPUTE_32F"
    assert (blas._compute("float64"), blas._compute("bfloat16")) == ("COMPUTE_64F", "COMPUTE_32F")


def test_without_the_bindings_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    with pytest.raises(DeviceError, match=r"nvmath-python: type `pip install 'treadle\[cuda\]'`"):
        blas.library()
