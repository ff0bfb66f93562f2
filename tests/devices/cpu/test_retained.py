"""Values that depend on variables and constants alone are computed once, until one of them changes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle import nn
from treadle.devices.cpu.device import chosen_isa
from treadle.devices.cpu.program import CpuExecutable
from treadle.dtypes import float32
from treadle.evaluate import detached, structure_of
from treadle.graph.node import new
from treadle.ops.record import INPUT

IMAGES = np.random.default_rng(0).standard_normal((2, 5, 9, 9), dtype=np.float32)


def network(**options: Any) -> nn.Sequential:
    """Two convolutions, the second with a batch-norm whose statistics are not those of a fresh one."""
    td.random.seed(3)
    net = nn.Sequential(
        nn.Conv(5, 12, 3, padding=1),
        td.relu,
        nn.Conv(12, 20, 3, padding=1, bias=False),
        nn.BatchNorm(20),
        nn.relu6,
    )
    norm: Any = net[3]
    rng = np.random.default_rng(1)
    for variable, low, high in (
        (norm.weight, -1.5, 1.5), (norm.bias, -1, 1), (norm.running_mean, -1, 1), (norm.running_var, 0.1, 2),
    ):  # fmt: skip
        variable.assign(rng.uniform(low, high, 20).astype(np.float32))
    return net.eval()


def by_references(net: nn.Module, x: np.ndarray) -> np.ndarray:
    with td.debug():
        return net(td.asarray(x)).numpy()


def inference(net: nn.Module) -> Any:
    @td.compile
    def predict(x: td.Array) -> td.Array:
        return net(x)

    return predict


def values_of(predict: Any) -> Any:
    """What the program keeps, which is another object once it has been computed anew."""
    return predict.program(td.asarray(IMAGES))._retained._values


def close(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_they_are_computed_once_and_anew_after_an_assignment():
    net = network()
    predict = inference(net)
    first = predict(IMAGES).numpy()
    close(first, by_references(net, IMAGES))
    values = values_of(predict)
    assert predict.memory(td.asarray(IMAGES))["kept"] == values.buffer.nbytes > 0
    np.testing.assert_array_equal(predict(IMAGES).numpy(), first)
    close(predict(-IMAGES).numpy(), by_references(net, -IMAGES))
    assert values_of(predict) is values
    norm: Any = net[3]
    for variable in (net[0].weight, norm.running_var, norm.bias):  # type: ignore[attr-defined]
        variable.assign(variable * 1.5)
        close(predict(IMAGES).numpy(), by_references(net, IMAGES))
        assert values_of(predict) is not values
        values = values_of(predict)
    saved = {name: value * 0.5 for name, value in net.state().items()}
    net.load_state(saved)
    close(predict(IMAGES).numpy(), by_references(net, IMAGES))


def test_they_are_computed_anew_when_another_program_writes_the_variables_memory():
    net = network()
    predict = inference(net)
    predict(IMAGES)
    weight: Any = net[0].weight  # type: ignore[attr-defined]

    @td.compile
    def shrink() -> None:
        weight.assign(weight * 0.5)

    shrink()
    address = weight.numpy().ctypes.data
    first = predict(IMAGES).numpy()
    shrink()
    assert weight.numpy().ctypes.data == address
    second = predict(IMAGES).numpy()
    assert not np.array_equal(first, second)
    close(second, by_references(net, IMAGES))


def test_a_step_keeps_nothing_of_what_it_writes():
    net = network()
    optimizer = td.optim.SGD(net.parameters(), 0.1)

    @td.compile
    def step(x: td.Array) -> td.Array:
        loss = td.mean(td.square(net(x)))
        optimizer.step(td.gradients(loss, net.parameters()))
        return loss

    x = td.asarray(IMAGES)
    losses = [float(step(x)) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
    kept = step.memory(x)["kept"]
    # The running statistics are not written in evaluation; the weights are.
    assert kept < 12 * 5 * 9 * 4


def test_frozen_parameters_are_kept_in_a_training_step():
    net = network()
    first: Any = net[0]
    trained = [p for p in net.parameters().values() if p is not first.weight and p is not first.bias]
    optimizer = td.optim.SGD(trained, 0.1)

    @td.compile
    def step(x: td.Array) -> td.Array:
        loss = td.mean(td.square(net(x)))
        optimizer.step(td.gradients(loss, trained))
        return loss

    x = td.asarray(IMAGES)
    losses = [float(step(x)) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0] and step.memory(x)["kept"] >= 12 * 5 * 9 * 4


def test_threads_share_them():
    net = network()
    predict = inference(net)
    expected = by_references(net, IMAGES)
    predict.program(td.asarray(IMAGES))
    found: list[np.ndarray] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        for _ in range(5):
            found.append(predict(IMAGES).numpy())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    close(found[0], expected)
    for value in found[1:]:
        np.testing.assert_array_equal(value, found[0])


def test_memory_that_others_may_write_is_read_every_time():
    lent = np.random.default_rng(2).standard_normal((40, 5, 3, 3), dtype=np.float32)
    weight = td.asarray(lent, copy=False)
    predict = td.compile(lambda x: td.conv(x, weight))
    before = predict(IMAGES).numpy()
    lent *= 2
    close(predict(IMAGES).numpy(), 2 * before)


def test_a_plain_loop_keeps_them_too():
    net = network()
    norm: Any = net[3]
    norm.bias.numpy()  # Runs what is pending.
    first = net(td.asarray(IMAGES)).numpy()
    np.testing.assert_array_equal(net(td.asarray(IMAGES)).numpy(), first)
    norm.running_mean.assign(norm.running_mean + 1)
    close(net(td.asarray(IMAGES)).numpy(), by_references(net, IMAGES))


@pytest.mark.parametrize("lasting", [(), (1,), (2, 3), (1, 2, 3)])
def test_bits_are_the_same_whatever_is_kept(lasting: tuple[int, ...]):
    def leaf(index: int, *shape: int) -> td.Array:
        return td.Array(new(INPUT, (), (index,), td.ones(shape).node.type))

    x, w, scale, v = leaf(0, 2, 5, 9, 9), leaf(1, 12, 5, 3, 3), leaf(2, 12, 1, 1), leaf(3, 12, 1, 1)
    spread = td.sqrt(td.square(scale) + td.exp(v)) / (1 + td.square(v))
    y = td.relu(td.conv(x, td.tanh(w)) + spread)
    outputs = [y.node, td.square(w).node]
    structure = structure_of(outputs, lambda n: n.op is INPUT, lambda n: n.op is INPUT)
    assert [node.attributes[0] for node in structure.leaves] == [0, 1, 2, 3]
    rng = np.random.default_rng(4)
    arrays = [rng.standard_normal(n.shape, dtype=np.float32) for n in structure.leaves]  # type: ignore[arg-type]
    leaves: list[Any] = [td.asarray(array).node.buffer for array in arrays]

    def run(program: CpuExecutable) -> list[np.ndarray]:
        found = program.run(leaves, [None] * 2)
        return [buffer.view(node.type).copy() for buffer, node in zip(found, outputs, strict=True)]

    graph = detached(structure, outputs)
    expected = run(CpuExecutable(graph, [None] * 2, chosen_isa()))
    program = CpuExecutable(graph, [None] * 2, chosen_isa(), lasting)
    assert (program.memory()["kept"] > 0) is bool(lasting)
    for _ in range(3):
        for value, wanted in zip(run(program), expected, strict=True):
            np.testing.assert_array_equal(value, wanted)
    assert outputs[0].dtype is float32
