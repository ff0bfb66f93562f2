"""Gradients added up over parts of a batch: the numbers of the whole batch, in every style."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim
from treadle.devices.cpu.runner import Frame
from treadle.errors import ArgumentError

PARTS = 4
X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")
MAKERS = {
    "sgd": lambda p, **more: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, **more),
    "adamw": lambda p, **more: optim.AdamW(p, optim.cosine(0.05, 6), clip_norm=0.5, **more),
}


def network():
    td.random.seed(1)
    return nn.Sequential(nn.Dense(4, 8), td.tanh, nn.Dense(8, 2))


def loss_of(net, x, y):
    return td.mean(td.square(net(x) - y))


def by_gradients(net, opt):
    def step(x, y):
        loss = loss_of(net, td.asarray(x), td.asarray(y))
        opt.step(td.gradients(loss, net.parameters()))
        float(loss)

    return step


def by_backward(net, opt):
    def step(x, y):
        loss_of(net, td.asarray(x), td.asarray(y)).backward()
        opt.step()
        td.evaluate()

    return step


def by_session(net, opt):
    x, y = td.placeholder(("batch", 4)), td.placeholder(("batch", 2))
    train, session = opt.minimize(loss_of(net, x, y)), td.Session()
    return lambda a, b: session.run(train, {x: a, y: b})


def by_compile(net, opt):
    @td.compile
    def step(x, y):
        loss = loss_of(net, x, y)
        opt.step(td.gradients(loss, net.parameters()))
        return loss

    return step


WAYS = (by_gradients, by_backward, by_session, by_compile)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("way", WAYS)
def test_parts_make_the_steps_of_the_whole(way, maker):
    net, parts = network(), network()
    opt, accumulating = maker(net.parameters()), maker(parts.parameters(), accumulate=PARTS)
    whole, part = way(net, opt), way(parts, accumulating)
    for _ in range(3):
        whole(X, Y)
        before = parts.state()
        for i in range(PARTS):
            assert all(np.array_equal(v, before[path]) for path, v in parts.state().items())
            part(X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4])
    assert float(accumulating.steps) == float(opt.steps) == 3.0
    for path, value in net.state().items():
        np.testing.assert_allclose(parts.state()[path], value, rtol=2e-4, atol=1e-5, err_msg=path)


@pytest.mark.parametrize("way", WAYS)
def test_a_part_is_one_native_call(way, monkeypatch):
    net = network()
    step = way(net, optim.Adam(net.parameters(), 0.1, accumulate=2))
    step(X, Y)
    step(X, Y)
    calls = []
    run = Frame.run
    monkeypatch.setattr(Frame, "run", lambda self, *given: (calls.append(self), run(self, *given))[1])
    for done in range(1, 5):
        step(X, Y)
        assert len(calls) == done


def test_it_goes_on_in_the_middle_of_a_batch_with_the_same_bits():
    def made():
        net = network()
        opt = MAKERS["adamw"](net.parameters(), accumulate=PARTS)
        return net, opt, by_compile(net, opt)

    net, opt, step = made()
    for i in range(6):
        step(X[2 * i : 2 * i + 2], Y[2 * i : 2 * i + 2])
    other, resumed, go_on = made()
    other.load_state(net.state())
    resumed.load_state(opt.state())
    for i in range(6):
        step(X[i : i + 2], Y[i : i + 2])
        go_on(X[i : i + 2], Y[i : i + 2])
    for ours, theirs in ((net, other), (opt, resumed)):
        assert {k: v.tobytes() for k, v in ours.state().items()} == {
            k: v.tobytes() for k, v in theirs.state().items()
        }


def test_a_rate_may_change_between_parts():
    w = td.Variable([0.0])
    opt = optim.SGD([w], 1.0, accumulate=2)
    opt.step([td.asarray([2.0])])
    opt.rate = 0.5
    opt.step([td.asarray([4.0])])
    assert w.tolist() == [-1.5] and opt.rate == 0.5


@pytest.mark.parametrize("count", [0, -1, 2.0, True, None])
def test_numbers_of_parts_that_are_none(count):
    with pytest.raises(ArgumentError, match=r"\[SGD\] accumulate="):
        optim.SGD([td.Variable([1.0])], 0.1, accumulate=count)
