"""A training step of a convolutional network is one native call, in every style."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.devices.cpu.program import CpuExecutable
from treadle.devices.cpu.runner import Frame, Table
from treadle.evaluate import programs

SHAPES = {
    "conv1": (6, 1, 5, 5), "bias1": (6, 1, 1), "conv2": (16, 6, 5, 5), "bias2": (16, 1, 1),
    "dense1": (400, 120), "bias3": (120,), "dense2": (120, 84), "bias4": (84,),
    "dense3": (84, 10), "bias5": (10,),
}  # fmt: skip
"""LeNet-5 (LeCun et al. 1998), with ReLU and maxima."""

BATCH = 4
IMAGES = np.random.default_rng(0).normal(size=(BATCH, 1, 28, 28)).astype(np.float32)
LABELS = np.arange(BATCH) % 10


def variables() -> dict[str, td.Variable]:
    generator = np.random.default_rng(1)
    drawn = {name: generator.normal(size=shape) * 0.1 for name, shape in SHAPES.items()}
    return {name: td.Variable(value.astype(np.float32), name=name) for name, value in drawn.items()}


def loss_of(w: dict[str, td.Variable], images: td.Array, labels: td.Array) -> td.Array:
    x = td.max_pool(td.relu(td.conv(images, w["conv1"], padding=2) + w["bias1"]), 2)
    x = td.max_pool(td.relu(td.conv(x, w["conv2"]) + w["bias2"]), 2)
    x = td.reshape(x, (x.shape[0], -1))
    for i in (1, 2, 3):
        x = x @ w[f"dense{i}"] + w[f"bias{i + 2}"]
        if i < 3:
            x = td.relu(x)
    picked = td.take_along_axis(td.log_softmax(x, axis=1), td.expand_dims(labels, 1), axis=1)
    return -td.mean(picked)


def step(w: dict[str, td.Variable], images: td.Array, labels: td.Array) -> td.Array:
    loss = loss_of(w, images, labels)
    gradients = td.gradients(loss, list(w.values()))
    with td.assignments():
        for variable, gradient in zip(w.values(), gradients, strict=True):
            variable.assign(variable - 0.05 * gradient)
    return loss


@pytest.fixture
def calls(monkeypatch) -> list[Table]:
    """The tables of every native call."""
    found: list[Table] = []
    run = Frame.run

    def counted(self: Frame, *arguments):
        found.append(self)
        return run(self, *arguments)

    monkeypatch.setattr(Frame, "run", counted)
    return found


def native_only(program: object) -> None:
    assert isinstance(program, CpuExecutable)
    assert [type(segment) for segment in program.segments] == [Table]


def test_a_step_of_define_by_run_is_one_call(calls):
    w, images, labels = variables(), td.asarray(IMAGES), td.asarray(LABELS)
    losses = []
    for _ in range(3):
        before = len(calls)
        losses.append(float(step(w, images, labels)))
        assert len(calls) == before + 1
        native_only(list(programs.programs.values())[-1])
    assert losses[2] < losses[1] < losses[0]


def test_a_compiled_step_is_one_call_and_the_same_numbers(calls):
    w, images, labels = variables(), td.asarray(IMAGES), td.asarray(LABELS)
    expected = [float(step(w, images, labels)) for _ in range(3)]
    w = variables()
    compiled = td.compile(lambda images, labels: step(w, images, labels))
    found = []
    for _ in range(3):
        before = len(calls)
        found.append(float(compiled(images, labels)))
        assert len(calls) == before + 1
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_step_of_a_session_is_one_call(calls):
    w = variables()
    images = td.placeholder((BATCH, 1, 28, 28), name="images")
    labels = td.placeholder((BATCH,), name="labels", dtype=td.int64)
    loss = loss_of(w, images, labels)
    gradients = td.gradients(loss, list(w.values()))
    updates = [td.update(v, v - 0.05 * g) for v, g in zip(w.values(), gradients, strict=True)]
    session = td.Session()
    feeds = {images: IMAGES, labels: LABELS}
    losses = []
    for _ in range(2):
        before = len(calls)
        losses.append(float(session.run([loss, *updates], feeds)[0]))
        assert len(calls) == before + 1
    assert losses[1] < losses[0]


def test_the_same_bits_whatever_the_number_of_threads():
    before = td.num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            td.set_num_threads(count)
            w, images, labels = variables(), td.asarray(IMAGES), td.asarray(LABELS)
            losses = [float(step(w, images, labels)) for _ in range(2)]
            results.append([losses, *[variable.numpy().tobytes() for variable in w.values()]])
    finally:
        td.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_values_agree_with_the_references():
    w, images, labels = variables(), td.asarray(IMAGES), td.asarray(LABELS)
    found = [float(step(w, images, labels)) for _ in range(2)]
    with td.debug():
        w = variables()
        expected = [float(step(w, images, labels)) for _ in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
