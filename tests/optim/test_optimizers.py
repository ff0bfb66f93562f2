"""Optimizers: the same steps in every style, PyTorch's numbers, state that goes through."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim
from treadle.errors import ArgumentError, FormatError, GradientError

MAKERS = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "decayed": lambda p: optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, 0.05, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, 0.05),
    "scheduled": lambda p: optim.SGD(p, lambda step: 0.1 / (1 + step), momentum=0.5),
}
X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def network():
    td.random.seed(1)
    return nn.Sequential(nn.Dense(4, 8), td.tanh, nn.Dense(8, 2))


def loss_of(net, x, y):
    return td.mean(td.square(net(x) - y))


def by_gradients(net, opt):
    for _ in range(20):
        loss = loss_of(net, td.asarray(X), td.asarray(Y))
        opt.step(td.gradients(loss, net.parameters()))
        float(loss)


def by_backward(net, opt):
    for _ in range(20):
        loss_of(net, td.asarray(X), td.asarray(Y)).backward()
        opt.step()
    assert all(w.grad is None for w in net.parameters().values())


def by_session(net, opt):
    x, y = td.placeholder(("batch", 4)), td.placeholder(("batch", 2))
    train = opt.minimize(loss_of(net, x, y))
    session = td.Session()
    losses = [float(session.run(train, {x: X, y: Y})) for _ in range(20)]
    assert losses[-1] < losses[0]


def by_compile(net, opt):
    @td.compile
    def step(x, y):
        loss = loss_of(net, x, y)
        opt.step(td.gradients(loss, net.parameters()))
        return loss

    for _ in range(20):
        step(X, Y)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_every_style_makes_the_same_steps(maker):
    states = []
    for way in (by_gradients, by_backward, by_session, by_compile):
        net = network()
        opt = maker(net.parameters())
        way(net, opt)
        assert float(opt.steps) == 20.0
        states.append({**net.state(), **opt.state()})
    for other in states[1:]:
        for name, value in states[0].items():
            np.testing.assert_allclose(other[name], value, rtol=2e-4, atol=1e-5, err_msg=name)


def test_groups_have_rates_and_decays_of_their_own():
    net = network()
    first, last = net[0].parameters(), net[2].parameters()
    opt = optim.SGD([optim.Group(first, rate=0.0), optim.Group(last, weight_decay=0.5)], 0.1)
    before = net.state()
    opt.step([td.zeros(w.shape) for w in opt.parameters.values()])
    after = net.state()
    np.testing.assert_array_equal(after["0.weight"], before["0.weight"])
    np.testing.assert_allclose(after["2.weight"], before["2.weight"] * 0.95, rtol=1e-6)


def test_a_changed_rate_is_no_new_program():
    w = td.Variable([1.0])
    opt = optim.SGD([w], 0.1)
    step = td.compile(lambda g: opt.step([g]))
    step(np.ones(1, "float32"))
    opt.rate = 1.0
    step(np.ones(1, "float32"))
    assert len(step.traces) == 1 and w.tolist() == pytest.approx([-0.1])
    assert opt.rate == 1.0


def test_a_state_goes_through():
    net = network()
    opt = optim.Adam(net.parameters())
    by_gradients(net, opt)
    other = optim.Adam(network().parameters())
    other.load_state(opt.state())
    assert float(other.steps) == 20.0
    with pytest.raises(FormatError, match="unexpected: first"):
        optim.SGD(net.parameters(), 0.1).load_state(opt.state())


def test_sixteen_bit_parameters_step_in_float32():
    w = td.Variable(np.ones(3), dtype=td.bfloat16)
    opt = optim.Adam([w], 0.01)
    opt.step([td.ones((3,), dtype=td.bfloat16)])
    assert w.dtype is td.bfloat16 and float(w[0]) == pytest.approx(0.99, abs=0.004)


def test_wrong_use():
    net = network()
    with pytest.raises(ArgumentError, match="needs parameters"):
        optim.SGD(net.freeze().parameters(), 0.1)
    net.unfreeze()
    with pytest.raises(ArgumentError, match="rate=-1"):
        optim.Adam(net.parameters(), -1.0)
    with pytest.raises(ArgumentError, match="twice"):
        optim.SGD([optim.Group(net.parameters()), optim.Group(net.parameters())], 0.1)
    opt = optim.SGD(net.parameters(), 0.1)
    with pytest.raises(GradientError, match=r"no \.grad: call loss"):
        opt.step()
    with pytest.raises(GradientError, match="3 gradients for 4"):
        opt.step([td.ones(())] * 3)
    with pytest.raises(GradientError, match=r"no gradient for 2\.bias"):
        opt.step({path: td.ones(w.shape) for path, w in net.parameters().items() if path != "2.bias"})
