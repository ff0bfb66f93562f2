"""The CUDA device's own side against a fake driver: values, order, sizes, lifetimes, graphs, and what goes
wrong.

Nothing here has seen a GPU; `./dev test --device cuda` runs everything on one.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest

import treadle as td
from treadle import config
from treadle.devices import registry
from treadle.errors import DeviceError, IndexingError, OutOfMemory

pytest.importorskip("pyopencl")
from treadle.devices.opencl import device as opencl

if not opencl.found():
    pytest.skip("no OpenCL driver is installed, which the fake runs kernels by", allow_module_level=True)

from fake_cuda import FakeDriver, keep_source

from treadle.devices.cuda.device import CudaDevice


@pytest.fixture
def fake(monkeypatch):
    """The driver behind "cuda"; nothing it gave is left when a test ends."""
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    monkeypatch.setattr(config.options, "kernels", "generated")
    driver = FakeDriver()
    monkeypatch.setitem(registry._made, "cuda", CudaDevice("cuda", 0, driver, keep_source))
    from treadle.program_cache import programs

    before = dict(programs.programs)
    programs.programs.clear()
    yield driver
    programs.programs.clear()
    programs.programs.update(before)


def test_values_and_a_training_step_are_right(fake):
    x = np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)
    with td.device("cuda"):
        w = td.Variable(np.ones((10, 4), np.float32) / 10, name="w")
    step = td.compile(lambda x: _step(w, x))
    expected = w.numpy().astype(np.float64)
    given = td.asarray(x).to("cuda")
    for _ in range(5):
        loss = step(given).item()
        product = x @ expected
        np.testing.assert_allclose(loss, (np.maximum(product, 0) ** 2).mean(), rtol=1e-5)
        expected = expected - 0.1 * x.T @ (2 * np.maximum(product, 0) / product.size)
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-5)
    # Seen once, captured the second time, launched as one from then on.
    assert fake.calls.count("begin_capture") == fake.calls.count("end_capture") >= 1
    assert fake.calls.count("launch_graph") >= 3


def _step(w, x):
    loss = td.mean(td.square(td.relu(x @ w)))
    (gradient,) = td.gradients(loss, [w])
    w.assign(w - 0.1 * gradient)
    return loss


def test_memory_goes_back(fake):
    x = td.asarray(np.ones((64, 64), np.float32)).to("cuda")
    for _ in range(3):
        y = td.exp(x) @ x
        y.numpy()
    held = sum(fake.sizes.values())
    for _ in range(20):
        y = td.exp(x) @ x
        y.numpy()
    assert sum(fake.sizes.values()) == held
    del x, y
    from treadle.program_cache import programs

    programs.programs.clear()
    gc.collect()
    assert not fake.sizes


def test_a_fault_is_found_before_anything_is_stored(fake):
    with td.device("cuda"):
        table = td.Variable(np.zeros((5, 3), np.float32), name="table")

    @td.compile
    def step(rows):
        loss = td.sum(td.take(table, rows, axis=0))
        table.assign(table + 1)
        return loss

    assert step(td.asarray(np.array([0, 4]))).item() == 0
    with pytest.raises(IndexingError):
        step(td.asarray(np.array([0, 5])))
    assert table.numpy().tolist() == [[1, 1, 1]] * 5


def test_out_of_memory_is_foreseen_and_survived(fake):
    x = td.asarray(np.ones((1000,), np.float32)).to("cuda")
    with pytest.raises(OutOfMemory, match="float32"):
        (td.reshape(x, (1000, 1, 1)) * td.reshape(x, (1, 1000, 1)) * td.reshape(x, (1, 1, 1000))).numpy()
    fake.nbytes = sum(fake.sizes.values()) + 1000
    with pytest.raises(OutOfMemory, match=r"'cuda' has no 0\.4 MB left"):
        td.asarray(np.ones((100000,), np.float32)).to("cuda")
    fake.nbytes = 1 << 30
    assert td.sum(x).item() == 1000


def test_devices_that_are_not_there(monkeypatch):
    with pytest.raises(DeviceError, match=r"no device 'cuda:1'.*a fake GPU"):
        CudaDevice("cuda:1", 1, FakeDriver(), keep_source)
    with pytest.raises(DeviceError, match="finds no GPU"):
        CudaDevice("cuda", 0, FakeDriver(devices=0), keep_source)


def test_copies_go_through_pinned_memory_that_is_used_again(fake):
    arrays = [np.full(50_000, i, np.float32) for i in range(6)]
    there = [td.asarray(array).to("cuda") for array in arrays]
    assert len(fake.pinned_memory) == 3  # the ring for small arrays, and two blocks in turn
    assert fake.calls.count("wait") == 4
    for i, value in enumerate(there):
        assert td.sum(value).item() == 50_000 * i


def test_a_driver_that_is_too_old_says_so(monkeypatch):
    import sys
    from types import ModuleType, SimpleNamespace

    from treadle.devices.cuda import driver

    calls = SimpleNamespace(cuInit=lambda flags: (0,), cuDriverGetVersion=lambda: (0, 11040))
    package = ModuleType("cuda.bindings")
    package.driver = calls
    monkeypatch.setitem(sys.modules, "cuda.bindings", package)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", calls)
    with pytest.raises(DeviceError, match=r"speaks CUDA 11\.4, Treadle needs 12\.0"):
        driver.Driver()


def test_memory_that_is_let_go_during_a_capture_goes_back_after_it(fake):
    place = registry.find("cuda")
    held = [td.asarray(np.ones(1000, np.float32)).to("cuda")]

    class LetsGo:
        def launch(self, device, addresses):
            held.clear()

    before = len(fake.sizes)
    place.plan([(LetsGo(), [])])
    assert len(fake.sizes) == before - 1
