"""OpenCL from end to end: values, variables, faults, mixed devices. Every op is tested by
``tests/test_every_op.py --device opencl``.
"""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import config
from treadle.devices.opencl import device as opencl
from treadle.errors import DeviceError, IndexingError

pytest.importorskip("pyopencl")
if not opencl.found():
    pytest.skip("no OpenCL driver is installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """However small a graph is."""
    monkeypatch.setattr(config, "SMALL_NODES", 0)


def test_values_are_where_they_are_asked_for():
    x = td.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    on = x.to("opencl")
    assert (x.device, on.device, on.to("opencl:0") is on) == ("cpu", "opencl", True)
    y = td.exp(on) + 1
    assert y.device == "opencl"
    np.testing.assert_allclose(y.numpy(), np.exp(x.numpy()) + 1, rtol=1e-6)
    assert y.to("cpu").device == "cpu"
    assert "opencl" in td.devices()


def test_a_step_trains_in_place_and_a_fault_leaves_variables_alone():
    with td.device("opencl"):
        w = td.Variable(np.ones((4, 3), np.float32), name="w")
        rows = td.asarray(np.arange(6, dtype=np.int64) % 4)

    @td.compile
    def step(x, places):
        loss = td.sum(td.take(w, places, axis=0) * x)
        (gradient,) = td.gradients(loss, [w])
        w.assign(w - 0.1 * gradient)
        return loss

    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    expected = np.ones((4, 3), np.float32)
    for _ in range(3):
        loss = step(td.asarray(x).to("opencl"), rows)
        assert loss.device == "opencl"
        np.testing.assert_allclose(loss.item(), (expected[np.arange(6) % 4] * x).sum(), rtol=1e-5)
        for i in range(6):
            expected[i % 4] -= np.float32(0.1) * x[i]
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-5)
    with pytest.raises(IndexingError):
        step(x, td.asarray(np.full(6, 7)).to("opencl")).item()
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (3000,), (1, 70000), (7, 5000), (300, 33), (2, 3, 4099)])
def test_folds_of_every_form(shape):
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    x = td.asarray(values).to("opencl")
    found = [
        td.sum(x), td.max(x, axis=-1), td.argmax(x, axis=-1), td.min(x, axis=0), td.argmin(x),
        td.mean(x, axis=0), td.softmax(x, axis=-1), td.prod(x.astype(td.int32), axis=-1),
        td.any(x > 3, axis=-1),
    ]  # fmt: skip
    td.evaluate(*found)
    wide = values.astype(np.float64)
    exponentials = np.exp(wide - wide.max(-1, keepdims=True))
    expected = [
        wide.sum(), wide.max(-1), wide.argmax(-1), wide.min(0), wide.argmin(), wide.mean(0),
        exponentials / exponentials.sum(-1, keepdims=True), values.astype(np.int32).prod(-1),
        (wide > 3).any(-1),
    ]  # fmt: skip
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-4)


def test_two_devices_in_one_run_and_in_one_operation():
    here = td.Variable(np.zeros(2, np.float32), name="here")
    with td.device("opencl"):
        there = td.Variable(np.zeros(2, np.float32), name="there")
    with pytest.raises(DeviceError, match=r"float32\[2\] on 'cpu' and float32\[2\] on 'opencl'"):
        here + there
    for _ in range(2):
        here.assign(here + 1)
        there.assign(there + np.array([1, 2], np.float32))
    assert here.numpy().tolist() == [2, 2] and there.numpy().tolist() == [2, 4]
    rate = td.Variable(np.float32(0.5), name="rate")
    assert (there * rate).device == "opencl"


def test_loops_and_branches_run_on_the_device():
    x = td.asarray(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)).to("opencl")

    def body(carry, row):
        return carry * 0.5 + row, td.sum(carry)

    last, sums = td.scan(body, td.zeros((3,), device="opencl"), x)
    carry, expected = np.zeros(3, np.float32), []
    for row in x.numpy():
        expected.append(carry.sum())
        carry = carry * np.float32(0.5) + row
    np.testing.assert_allclose(last.numpy(), carry, rtol=1e-6)
    np.testing.assert_allclose(sums.numpy(), expected, rtol=1e-5, atol=1e-6)
    grown = td.while_loop(lambda v: td.sum(v) < 100, lambda v: v * 2, td.ones((3,), device="opencl"))
    assert grown.numpy().tolist() == [64, 64, 64]
    chosen = td.cond(td.sum(x) > 10, lambda: x + 1, lambda: x - 1)
    np.testing.assert_allclose(chosen.numpy(), x.numpy() - 1)


def test_a_device_that_is_not_there_and_a_kernel_that_does_not_compile(monkeypatch):
    with pytest.raises(DeviceError, match="opencl:17"):
        td.zeros((3,), device="opencl:17")
    with pytest.raises(DeviceError, match="no device 'openc'"):
        td.zeros((3,), device="openc")
    from treadle.devices import registry

    place = registry.find("opencl")
    x = td.asarray(np.ones(3, np.float32)).to("opencl")
    monkeypatch.setattr(place, "preamble", place.preamble + "nonsense;")
    with pytest.raises(DeviceError, match=r"does not compile.*treadle-[0-9a-f]+\.cl") as caught:
        td.atan(x * 3.25).numpy()
    path = str(caught.value).split("are in ")[1].split()[0]
    with open(path, encoding="utf-8") as file:
        assert "nonsense" in file.read()


def test_modules_move_and_variables_are_given_values_from_anywhere():
    from treadle import nn

    model = nn.Sequential(nn.Dense(3, 4), td.relu, nn.Dense(4, 2))
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    expected = model(td.asarray(x)).numpy()
    values = model.state()
    assert model.to("opencl") is model
    assert {v.device for v in model.variables().values()} == {"opencl"}
    with pytest.raises(DeviceError, match="different devices"):
        model(td.asarray(x))
    np.testing.assert_allclose(model(td.asarray(x).to("opencl")).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(td.compile(model)(x).numpy(), expected, rtol=1e-5)
    model.load_state({name: value * 0 for name, value in values.items()})
    assert model(td.asarray(x).to("opencl")).numpy().tolist() == [[0, 0], [0, 0]]
    weight = model.variables()["0.weight"]
    weight.assign(td.ones(weight.shape))
    assert weight.numpy().sum() == weight.size and weight.device == "opencl"
    model.to("cpu").load_state(values)
    np.testing.assert_allclose(model(td.asarray(x)).numpy(), expected, rtol=1e-6)


def test_what_depends_on_values_stays_on_the_device():
    x = td.asarray(np.array([3, 1, 3, 0], np.float32)).to("opencl")
    assert [part.device for part in (*td.unique_all(x), *td.nonzero(x), x[x > 1])] == ["opencl"] * 6
    assert x[x > 1].tolist() == [3, 3]
    found = td.device_memory("opencl")
    assert 0 < found["free"] <= found["total"]


def test_a_graph_goes_from_device_to_device_and_gradients_come_back():
    w = td.Variable(np.array([1.0, 2.0, 3.0], np.float32), name="w")
    x = td.asarray(np.array([0.5, -1.0, 2.0], np.float32))

    def loss(x):
        there = (w * x).to("opencl")
        return td.sum((td.exp(there) * 2).to("cpu") * x)

    (gradient,) = td.gradients(loss(x), [w])
    values, at = x.numpy(), np.array([1.0, 2.0, 3.0])
    expected = 2 * np.exp(at * values) * values**2
    assert gradient.device == "cpu"
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5)

    @td.compile
    def step(x):
        value = loss(x)
        (g,) = td.gradients(value, [w])
        w.assign(w - 0.1 * g)
        return value, td.tanh(x).to("opencl")

    found, there = step(x)
    np.testing.assert_allclose(found.item(), (2 * np.exp(at * values) * values).sum(), rtol=1e-5)
    np.testing.assert_allclose(w.numpy(), at - 0.1 * expected, rtol=1e-5)
    assert there.device == "opencl" and found.device == "cpu"
    assert "==== on opencl" in td.explain(loss(x)) and "==== on cpu" in td.explain(loss(x))
