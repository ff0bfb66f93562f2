"""Optimizers: the same steps in every style, PyTorch's numbers, state that goes through."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim, train
from treadle.errors import ArgumentError, DTypeError, FormatError, GradientError, ShapeError

MAKERS = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "decayed": lambda p: optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, 0.05, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, 0.05),
    "groups": lambda p: optim.AdamW(
        [
            optim.Group([w for w in p.values() if w.ndim == 2], rate=optim.linear(0.02, 30)),
            optim.Group([w for w in p.values() if w.ndim == 1], weight_decay=0.0),
        ],
        0.05,
        clip_norm=0.5,
    ),
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


def test_names_in_the_state_do_not_depend_on_what_was_made_before():
    made = [optim.Adam([td.Variable([1.0]), td.Variable([2.0])], 0.1) for _ in range(2)]
    assert list(made[0].state()) == list(made[1].state())
    assert list(made[0].parameters) == ["0", "1"]
    named = [td.Variable([1.0], name="a"), td.Variable([2.0], name="b")]
    groups = [optim.Group([named[1]]), optim.Group([named[0]], rate=0.0)]
    assert list(optim.SGD(groups, 0.1).parameters) == ["b", "a"]
    unnamed = [optim.Group([td.Variable([1.0])]), optim.Group([td.Variable([1.0])])]
    assert list(optim.SGD(unnamed, 0.1).parameters) == ["0", "1.0"]


def test_a_changed_rate_is_no_new_program():
    w = td.Variable([1.0])
    opt = optim.SGD([w], 0.1)
    step = td.compile(lambda g: opt.step([g]))
    step(np.ones(1, "float32"))
    opt.rate = 1.0
    step(np.ones(1, "float32"))
    assert len(step.traces) == 1 and w.tolist() == pytest.approx([-0.1])
    assert opt.rate == 1.0


EVERY = {
    "momentum": lambda p: optim.SGD(p, optim.one_cycle(0.1, 8), momentum=0.9, nesterov=True, clip_value=0.1),
    "adagrad": lambda p: optim.AdaGrad(p, 0.1, weight_decay=0.1),
    "rmsprop": lambda p: optim.RMSProp(
        p, optim.warm_up(3, optim.linear(0.01, 5)), momentum=0.5, centered=True
    ),
    "amsgrad": lambda p: optim.AdamW(p, optim.steps_down(0.1, [4]), amsgrad=True, clip_norm=0.3),
    "scaled": lambda p: optim.Adam(p, 0.01, loss_scale=optim.LossScale(8.0, interval=2)),
}


@pytest.mark.parametrize("maker", EVERY.values(), ids=EVERY)
def test_a_resumed_run_has_the_bits_of_one_that_went_on(maker):
    def made():
        net = network()
        opt = maker(net.parameters())

        @td.compile
        def step(x, y):
            loss = loss_of(net, x, y)
            opt.step(td.gradients(opt.scaled(loss), net.parameters()))
            return loss

        return net, opt, step

    net, opt, step = made()
    for _ in range(3):
        step(X, Y)
    other, resumed, go_on = made()
    other.load_state(net.state())
    resumed.load_state(opt.state())
    for _ in range(4):
        assert float(step(X, Y)) == float(go_on(X, Y))
    for ours, theirs in ((net, other), (opt, resumed)):
        for name, value in ours.state().items():
            assert value.tobytes() == theirs.state()[name].tobytes(), name
    assert float(resumed.steps) == 7.0


def test_a_state_of_another_optimizer_is_refused():
    net = network()
    with pytest.raises(FormatError, match="unexpected: first"):
        optim.SGD(net.parameters(), 0.1).load_state(optim.Adam(net.parameters()).state())


@pytest.mark.parametrize("way", [by_gradients, by_session])
def test_clipping_goes_with_every_style(way):
    net, other = network(), network()
    way(net, optim.SGD(net.parameters(), 0.5, clip_norm=0.01, clip_value=0.004))
    by_compile(other, optim.SGD(other.parameters(), 0.5, clip_norm=0.01, clip_value=0.004))
    for path, value in net.state().items():
        np.testing.assert_allclose(other.state()[path], value, rtol=1e-4, atol=1e-6)
    moved = sum(float(np.sum((v - network().state()[path]) ** 2)) for path, v in net.state().items()) ** 0.5
    assert 0 < moved <= 20 * 0.5 * 0.01 * 1.001


def test_a_trainers_step_scales_losses_and_accumulates():
    net, plain = network(), network()
    settings = {"accumulate": 2, "loss_scale": optim.LossScale(16.0), "clip_norm": 0.5}
    step = train.Step(net, nn.squared_error, optim.SGD(net.parameters(), 0.1, **settings))
    whole = train.Step(plain, nn.squared_error, optim.SGD(plain.parameters(), 0.1, clip_norm=0.5))
    step(X[:8], Y[:8])
    step(X[8:], Y[8:])
    whole(X, Y)
    for path, value in plain.state().items():
        np.testing.assert_allclose(net.state()[path], value, rtol=1e-5, atol=1e-6)


def test_minimize_makes_a_step_in_every_style():
    w = td.Variable([2.0])
    opt = optim.SGD([w], 0.25)
    assert float(opt.minimize(td.sum(w * w))) == 4.0 and w.tolist() == [1.0]
    step = td.compile(lambda: opt.minimize(td.sum(w * w)))
    assert float(step()) == 1.0 and w.tolist() == [0.5]


def test_float64_parameters_step_in_float64():
    w = td.Variable(np.asarray([1.0]))
    opt = optim.SGD([w], 2.0**-30, momentum=0.5)
    for _ in range(2):
        opt.step([td.ones((1,), dtype=td.float64)])
    assert float(w[0]) == 1 - 2.5 * 2.0**-30 and opt.state()["momentum.0"].dtype == np.float64


def test_sixteen_bit_parameters_step_in_float32():
    w = td.Variable(np.ones(3), dtype=td.bfloat16)
    opt = optim.Adam([w], 0.01)
    opt.step([td.ones((3,), dtype=td.bfloat16)])
    assert w.dtype is td.bfloat16 and float(w[0]) == pytest.approx(0.99, abs=0.004)


def test_parameters_that_are_none():
    net = network()
    for given in (net, [net], nn.Dense(2, 2)):
        with pytest.raises(ArgumentError, match=r"pass its parameters\(\)"):
            optim.Adam(given, 0.1)
    for given, said in (
        (net[0].weight, "is a Parameter; expected a module's parameters"),
        (3, "is a int; expected"),
        ("weights", "is a str; expected"),
        ([net[0].weight, np.ones(3)], r"parameters\[1\] is a ndarray; expected a td.Variable"),
        ({"a": td.ones(3)}, r"parameters\['a'\] is a Array; expected a td.Variable"),
        ([optim.Group(net.parameters()), net[0].weight], "item 1 is a Parameter among groups"),
        ([optim.Group(net), optim.Group([])], r"parameters of group 0 is a Sequential: pass its"),
        ([optim.Group(net[0].parameters()), optim.Group([])], "no parameters in group 1"),
        ([optim.Group([optim.Group([])])], "is a Group; expected a td.Variable"),
        ([], "there are no parameters; are they all frozen"),
        ([net[0].weight, net[0].weight], "is there twice"),
        ([optim.Group(net.parameters()), optim.Group(net.parameters())], "is there twice"),
    ):
        with pytest.raises(ArgumentError, match=said):
            optim.SGD(given, 0.1)
    with pytest.raises(DTypeError, match="is int64; only real floating"):
        optim.SGD([td.Variable([1, 2])], 0.1)
    with pytest.raises(ArgumentError, match="there are no parameters; are they all frozen"):
        optim.SGD(net.freeze().parameters(), 0.1)


def test_rates_that_are_none():
    w = [td.Variable([1.0])]
    for rate, said in (
        (-1.0, r"rate=-1\.0; expected a number, at least 0"),
        (float("nan"), "rate=nan"),
        ("fast", "rate='fast'"),
        (None, "rate=None"),
        (True, "rate=True"),
        (td.asarray([0.1, 0.2]), r"rate is an array of shape \(2,\)"),
        (optim.cosine, r"rate='cosine' is no function of the number of steps .*optim\.cosine\(1e-3, 1000\)"),
        (lambda step: [0.1, 0.2], r"gives float32\[2\]; expected a number"),
        (lambda step: 0.1 if step < 3 else 0.01, "use td.where"),
    ):
        with pytest.raises(ArgumentError, match=said):
            optim.SGD(w, rate)
        with pytest.raises(ArgumentError, match=said):
            optim.SGD(w, 0.1).rate = rate
    with pytest.raises(ArgumentError, match="rate=-2"):
        optim.SGD([optim.Group(w, rate=-2)], 0.1)
    settings = {"weight_decay": -0.1, "clip_norm": 0, "clip_value": -1.0, "momentum": 1.0, "loss_scale": 3.0}
    for name, value in settings.items():
        with pytest.raises(ArgumentError, match=rf"\[SGD\] {name}="):
            optim.SGD(w, 0.1, **{name: value})
    with pytest.raises(ArgumentError, match=r"betas=0\.9; expected two"):
        optim.Adam(w, betas=0.9)


def test_gradients_that_do_not_fit():
    net = network()
    parameters = net.parameters()
    opt = optim.SGD(parameters, 0.1)
    good = {path: td.ones(w.shape) for path, w in parameters.items()}
    before = net.state()
    for given, said in (
        (None, r"no \.grad: call loss"),
        ([td.ones(())] * 3, "3 gradients for 4"),
        (td.ones(()), r"got an array of shape \(\)"),
        ({path: g for path, g in good.items() if path != "2.bias"}, r"no gradient for 2\.bias"),
        ({**good, "3.bias": td.ones(2)}, r"no parameter for the gradients 3\.bias"),
        ({**good, "0.bias": td.ones(8, dtype=td.int64)}, r"for 0\.bias is int64"),
    ):
        with pytest.raises(GradientError, match=said):
            opt.step(given)
    with pytest.raises(ShapeError, match=r"0\.bias has shape \(3,\), the parameter \(8,\)"):
        opt.step({**good, "0.bias": td.ones(3)})
    with pytest.raises(ShapeError, match=r"loss is of shape \(16, 2\); expected a 0-d array"):
        opt.minimize(net(td.asarray(X)))
    scaling = optim.SGD(parameters, 0.1, loss_scale=optim.LossScale())
    with pytest.raises(GradientError, match="the loss was not scaled"):
        scaling.step(good)
    assert all(np.array_equal(value, before[path]) for path, value in net.state().items())


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("rows", [16, 1500])
def test_a_step_stores_over_old_values_that_nobody_holds(name, rows):
    """The product that gives a gradient stores the parameter's and the optimizer's next values."""
    x, y, start = (
        np.random.default_rng(i).normal(size=(n, 24)).astype("float32")
        for i, n in enumerate((rows, rows, 24))
    )
    made = []
    for debug in (False, True):
        w = td.Variable(start)
        opt = MAKERS[name]([w])
        parts = [w, *next(iter(opt.memory.values())).values()]

        @td.compile(debug=debug)
        def step(x, y, w=w, opt=opt):
            opt.step(td.gradients(td.mean(td.square(x @ w - y)), [w]))

        held = [part.numpy() for part in parts]
        copies = [value.copy() for value in held]
        step(x, y)
        for value, copy in zip(held, copies, strict=True):
            np.testing.assert_array_equal(value, copy)
        del held, value
        step(x, y)
        places = [part.cell.current.buffer.address for part in parts]
        step(x, y)
        assert debug or places == [part.cell.current.buffer.address for part in parts]
        made.append([part.numpy().copy() for part in parts])
    for value, wanted in zip(*made, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-5)
