"""Averages of parameters: in the program of the step, in every style, and in the parameters' place."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim
from treadle.devices.cpu.runner import Frame
from treadle.errors import ArgumentError, StateError

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def network():
    td.random.seed(1)
    return nn.Sequential(nn.Dense(4, 8), td.tanh, nn.Dense(8, 2))


def expected(history, decay, first=None):
    """The mean of a history of values, beginning at the first, or corrected."""
    mean = history[0] if first is None else np.zeros_like(history[0])
    for value in history[1:]:
        mean = decay * mean + (1 - decay) * value
    return mean if first is None else mean / (1 - decay ** (len(history) - 1))


@pytest.mark.parametrize("correction", [False, True])
@pytest.mark.parametrize("style", ["eager", "session", "compiled", "by hand"])
def test_it_moves_with_the_steps(style, correction):
    net = network()
    ema = optim.EMA(net.parameters(), 0.8, bias_correction=correction)
    opt = optim.SGD(net.parameters(), 0.1, momentum=0.5, **{} if style == "by hand" else {"ema": ema})

    def step(x, y):
        loss = td.mean(td.square(net(x) - y))
        opt.step(td.gradients(loss, net.parameters()))
        if style == "by hand":
            ema.step()
        return loss

    if style == "session":
        x, y = td.placeholder(("batch", 4)), td.placeholder(("batch", 2))
        train, session = opt.minimize(td.mean(td.square(net(x) - y))), td.Session()
        run = lambda: session.run(train, {x: X, y: Y})  # noqa: E731
    else:
        chosen = step if style == "eager" else td.compile(step)
        run = lambda: float(chosen(td.asarray(X), td.asarray(Y)))  # noqa: E731
    weight = net[0].weight
    history = [weight.numpy()]
    for _ in range(5):
        run()
        history.append(weight.numpy())
    found = ema.values()["0.weight"]
    np.testing.assert_allclose(found, expected(history, 0.8, correction or None), rtol=1e-5, atol=1e-6)
    with ema.applied():
        np.testing.assert_array_equal(weight.numpy(), found)
        assert net(td.asarray(X)).numpy().shape == (16, 2)
    np.testing.assert_array_equal(weight.numpy(), history[-1])


def test_it_is_in_the_same_native_call(monkeypatch):
    net = network()
    opt = optim.Adam(net.parameters(), 0.1, ema=optim.EMA(net.parameters()))
    calls = []
    run = Frame.run
    monkeypatch.setattr(Frame, "run", lambda self, *given: (calls.append(self), run(self, *given))[1])
    step = td.compile(lambda x: opt.step(td.gradients(td.sum(net(x)), net.parameters())))
    for done in (1, 2):
        step(X)
        assert len(calls) == done


def test_only_steps_that_are_made_count():
    w = td.Variable([0.0])
    ema = optim.EMA([w], 0.5)
    opt = optim.SGD([w], 1.0, accumulate=2, loss_scale=optim.LossScale(2.0), ema=ema)
    for factor in (1.0, 1.0, float("inf"), 1.0, 1.0, 1.0):
        opt.step(td.gradients(opt.scaled(td.sum(w * factor)), [w]))
    assert float(ema.steps) == float(opt.steps) == 2.0
    assert w.tolist() == [-2.0] and ema.values()["0"].tolist() == [-1.25]
    assert float(opt.loss_scale.scale) == 1.0


def test_its_state_goes_through():
    nets = [network(), network()]
    emas = [optim.EMA(net.parameters(), 0.9) for net in nets]
    opts = [optim.SGD(net.parameters(), 0.1, ema=ema) for net, ema in zip(nets, emas, strict=True)]
    grads = {path: td.ones(w.shape) for path, w in nets[0].parameters().items()}
    opts[0].step(grads)
    assert "ema.mean.0.weight" in opts[0].state()
    nets[1].load_state(nets[0].state())
    opts[1].load_state(opts[0].state())
    for opt in opts:
        opt.step(grads)
    for path, value in emas[0].state().items():
        assert value.tobytes() == emas[1].state()[path].tobytes(), path
    alone = optim.EMA(nets[0].parameters(), 0.9)
    alone.load_state(emas[0].state())
    assert float(alone.steps) == 2.0


def test_the_parameters_come_back_after_an_error_and_nothing_is_lost():
    w = td.Variable([1.0])
    ema = optim.EMA([w], 0.0)
    opt = optim.SGD([w], 0.5, ema=ema)
    opt.step([td.asarray([1.0])])
    w.assign(td.asarray([7.0]))
    with pytest.raises(ZeroDivisionError), ema.applied():
        assert w.tolist() == [0.5]
        raise ZeroDivisionError
    assert w.tolist() == [7.0]
    with ema.applied():
        with pytest.raises(StateError, match="values of their averages"):
            opt.step([td.asarray([1.0])])
        with pytest.raises(StateError, match=r"\[applied\]"), ema.applied():
            pass
    assert w.tolist() == [7.0]


def test_corrected_and_sixteen_bit_averages():
    w = td.Variable(np.asarray([2.0]), dtype=td.bfloat16)
    ema = optim.EMA([w], 0.0, bias_correction=True)
    assert ema.values()["0"].tolist() == [2.0]
    ema.step()
    assert ema.values()["0"].tolist() == [2.0] and ema.values()["0"].dtype is td.bfloat16


def test_no_step_is_made_on_averages():
    w = td.Variable([1.0])
    opt = optim.SGD([w], 0.1, ema=optim.EMA([w], 0.5))
    with opt.ema.applied(), pytest.raises(StateError, match=r"\[minimize\] .* do it outside"):
        opt.minimize(td.sum(w * w))
    assert opt.steps.item() == 0


@pytest.mark.parametrize("decay", [0.9, 0.9999])
def test_the_first_corrected_average_is_the_parameter(decay):
    w = td.Variable([0.0])
    ema = optim.EMA([w], decay, bias_correction=True)
    w.assign(td.asarray([8.0]))
    ema.step()
    np.testing.assert_allclose(ema.values()["0"].numpy(), [8.0], rtol=1e-6)


def test_wrong_use():
    net = network()
    with pytest.raises(ArgumentError, match="pass its parameters"):
        optim.EMA(net)
    with pytest.raises(ArgumentError, match=r"decay=1\.0"):
        optim.EMA(net.parameters(), 1.0)
    with pytest.raises(ArgumentError, match=r"ema=0\.9; expected an optim\.EMA"):
        optim.SGD(net.parameters(), 0.1, ema=0.9)
