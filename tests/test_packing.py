"""Variables that are stored as kernels want them: chosen once, kept from step to step, seen by nobody."""

from __future__ import annotations

import copy
import pickle
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import treadle as td
from treadle import nn, optim, packing, state
from treadle.compiler.storage import storage_orders
from treadle.devices.cpu.device import CpuDevice
from treadle.errors import TreadleError
from treadle.graph.graph import ordered

FILTERS_LAST = (2, 3, 1, 0)
NUMBERS = np.random.default_rng(7)
X = NUMBERS.standard_normal((4, 3, 10, 9), dtype=np.float32)
Y = np.array([0, 1, 2, 1])


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Conv(3, 20, 3, stride=(1, 2), padding=1)
        self.norm = nn.BatchNorm(20)
        self.second = nn.Conv(20, 8, 3, stride=2, groups=4)
        self.point = nn.Conv(8, 6, 1)
        self.dense = nn.Dense(6, 3)

    def forward(self, x):
        x = td.relu(self.norm(self.first(x)))
        x = self.point(td.relu(self.second(x)))
        return self.dense(td.mean(x, axis=(2, 3)))


RULES = {
    "momentum": lambda w: optim.SGD(w, 0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda w: optim.Adam(w, 0.01),
}


def made(rule="momentum"):
    td.random.seed(3)
    net = Net()
    return net, RULES[rule](net.parameters())


def step_of(net, optimizer):
    @td.compile
    def step(x, y):
        loss = nn.cross_entropy(net(x), y)
        optimizer.step(td.gradients(loss, optimizer.parameters))
        return loss

    return step


def bits(net, optimizer):
    return {
        name: np.asarray(value).tobytes() for name, value in [*net.state().items(), *flat(optimizer.state())]
    }


def flat(tree, path=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{name}.")
        elif hasattr(value, "shape"):
            yield f"{path}{name}", value


@pytest.fixture
def copies(monkeypatch):
    """The names of variables, each time that one is brought in another order."""
    found = []
    plain = packing.packed

    def counted(cell, array):
        if cell.layout is not None:
            found.append(cell.name)
        return plain(cell, array)

    monkeypatch.setattr(packing, "packed", counted)
    return found


@contextmanager
def unpacked(monkeypatch):
    """A device that does not mind how weights lie."""
    with monkeypatch.context() as patched:
        patched.setattr(CpuDevice, "weights_order", lambda self, gradient: None)
        yield


@pytest.mark.parametrize("rule", RULES)
def test_weights_and_what_is_updated_with_them_are_packed_once(rule, copies):
    net, optimizer = made(rule)
    step = step_of(net, optimizer)
    for _ in range(4):
        step(X, Y)
    state_of = 1 + {"momentum": 1, "adam": 2}[rule]
    assert len(copies) == 2 * state_of  # of both weights of 3 x 3, in the first step
    assert net.first.weight.cell.current.layout == net.second.weight.cell.current.layout == FILTERS_LAST
    assert net.point.weight.cell.layout is None and net.dense.weight.cell.layout is None
    before = net.first.weight.cell.current.buffer.address
    step(X, Y)
    assert net.first.weight.cell.current.buffer.address == before  # updated in place
    assert len(copies) == 2 * state_of


@pytest.mark.parametrize("rule", RULES)
def test_training_gives_the_bits_that_it_gives_without(rule, monkeypatch):
    def trained():
        net, optimizer = made(rule)
        step = step_of(net, optimizer)
        losses = [step(X, Y).item() for _ in range(4)]
        return losses, bits(net, optimizer), net.first.weight.cell.layout

    losses, packed, layout = trained()
    with unpacked(monkeypatch):
        plain_losses, plain, none = trained()
    assert layout == FILTERS_LAST and none is None
    assert losses == plain_losses and packed == plain


def test_everybody_sees_the_shape(copies):
    net, optimizer = made()
    w, shape = net.first.weight, (20, 3, 3, 3)
    seen = td.compile(lambda x: net.first(x))
    before = seen(X).numpy()
    start, held = w.numpy(), td.Array(w.node)  # held: version 0, as a node without its own memory later
    step = step_of(net, optimizer)
    step(X, Y)
    np.testing.assert_array_equal(start, held.numpy())
    now = w.numpy()
    assert now.shape == w.shape == shape and now.flags.c_contiguous and not np.array_equal(start, now)
    held = td.Array(w.node)
    step(X, Y)
    np.testing.assert_array_equal(held.numpy(), now)  # that version's memory stayed
    now = w.numpy()
    for other in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        np.testing.assert_array_equal(other.numpy(), now)
        assert other.cell.current.layout == FILTERS_LAST
    np.testing.assert_array_equal(np.from_dlpack(w), now)
    np.testing.assert_array_equal((w + 0).numpy(), now)
    np.testing.assert_array_equal(w[3, 1].numpy(), now[3, 1])
    np.testing.assert_array_equal(td.Session().run([w, w * 1])[1].numpy(), now)
    g = td.gradients(td.sum(w * w), w)
    np.testing.assert_array_equal(g.numpy(), 2 * now)
    # A program that was compiled before reads it as it is now.
    after = seen(X).numpy()
    assert after.shape == before.shape and not np.array_equal(after, before)
    expected = td.conv(td.asarray(X), td.asarray(now), stride=(1, 2), padding=1) + net.first.bias.reshape(
        (20, 1, 1)
    )
    np.testing.assert_allclose(after, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert len(copies) == 4 + 2  # and the two copies of the variable


def test_what_is_assigned_from_outside_is_packed_by_the_next_step(copies, monkeypatch):
    values = NUMBERS.standard_normal((20, 3, 3, 3), dtype=np.float32) / 10

    def trained():
        net, optimizer = made()
        step, w = step_of(net, optimizer), net.first.weight
        step(X, Y)
        w.assign(values)
        np.testing.assert_array_equal(w.numpy(), values)
        step(X, Y)
        w.assign(w * 0.5)  # by a program of define-by-run, of what is packed
        w[2, 1] = 0.25
        step(X, Y)
        for _ in range(2):
            loss = nn.cross_entropy(net(td.asarray(X)), td.asarray(Y))
            optimizer.step(td.gradients(loss, optimizer.parameters))
        return step(X, Y).item(), bits(net, optimizer), w.cell.layout

    loss, packed, layout = trained()
    count = len(copies)
    with unpacked(monkeypatch):
        plain_loss, plain, none = trained()
    assert layout == FILTERS_LAST and none is None and len(copies) == count == 4 + 2 + 4
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    for name, value in packed.items():
        a, b = (np.frombuffer(found, np.float32) for found in (value, plain[name]))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_run_goes_on_from_saved_values_with_the_same_bits():
    net, optimizer = made("adam")
    step = step_of(net, optimizer)
    for _ in range(2):
        step(X, Y)
    values = net.state(), optimizer.state()
    for _ in range(2):
        step(X, Y)
    again, other = made("adam")
    again.load_state(values[0])
    other.load_state(values[1])
    step = step_of(again, other)
    for _ in range(2):
        step(X, Y)
    assert bits(net, optimizer) == bits(again, other)


def test_a_mean_over_steps_is_stored_like_what_it_is_of():
    net, _ = made()
    ema = optim.EMA(net.parameters(), 0.5)
    optimizer = optim.SGD(net.parameters(), 0.05, momentum=0.9, ema=ema)
    step = step_of(net, optimizer)
    means = [net.first.weight.numpy()]
    for _ in range(3):
        step(X, Y)
        means.append(0.5 * means[-1] + 0.5 * net.first.weight.numpy())
    assert ema.means["first.weight"].cell.current.layout == FILTERS_LAST
    np.testing.assert_allclose(ema.means["first.weight"].numpy(), means[-1], rtol=1e-5, atol=1e-6)
    before = net.first.weight.numpy()
    with ema.applied():
        np.testing.assert_array_equal(net.first.weight.numpy(), ema.means["first.weight"].numpy())
    np.testing.assert_array_equal(net.first.weight.numpy(), before)


def test_sessions_and_functions_choose_too_and_the_first_choice_stays():
    w = td.Variable(NUMBERS.standard_normal((4, 3, 3, 3), dtype=np.float32), name="w")
    x = td.placeholder((2, 3, 6, 6), name="x")
    loss = td.sum(td.conv(x, w, stride=2) ** 2.0)
    train = td.update(w, w - 0.01 * td.gradients(loss, w))
    run, first = td.Session(), w.numpy()
    images = NUMBERS.standard_normal((2, 3, 6, 6), dtype=np.float32)
    run.run(train, {x: images})
    assert w.cell.current.layout == FILTERS_LAST
    second = w.numpy()
    step = td.function([x], loss, updates=[(w, w - 0.01 * td.gradients(loss, w))])
    step(images)
    assert w.cell.current.layout == FILTERS_LAST
    assert not np.array_equal(first, second) and not np.array_equal(second, w.numpy())
    # A function that gives what it stores gives it in the order of the shape.
    both = td.function([x], w * 2, updates=[(w, w * 2)])
    np.testing.assert_array_equal(both(images).numpy(), w.numpy())
    own = td.Variable(w.numpy(), layout=(1, 0, 2, 3))
    loss = td.sum(td.conv(x, own) ** 2.0)
    td.function([x], loss, updates=[(own, own - 0.01 * td.gradients(loss, own))])(images)
    assert own.cell.current.layout == (1, 0, 2, 3)


def test_threads_may_look_while_a_step_runs():
    net, optimizer = made()
    step, w = step_of(net, optimizer), net.first.weight
    seen = td.compile(lambda x: td.sum(net.first(x)))
    failures, done = [], threading.Event()

    def look():
        try:
            while not done.is_set():
                value = w.numpy()
                assert value.shape == (20, 3, 3, 3) and np.isfinite(value).all()
                assert np.isfinite(seen(X).item())
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        step(X, Y)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures and w.cell.current.layout == FILTERS_LAST
    alone, other = made()
    again = step_of(alone, other)
    for _ in range(20):
        again(X, Y)
    assert bits(net, optimizer) == bits(alone, other)


def test_a_failed_step_leaves_what_was_packed():
    net, optimizer = made()
    step = step_of(net, optimizer)
    step(X, Y)
    before = bits(net, optimizer)
    with pytest.raises(TreadleError):
        step(X, np.array([0, 1, 2, 99]))
    assert bits(net, optimizer) == before
    assert np.isfinite(step(X, Y).item())


def test_explain_shows_how_variables_are_stored():
    net, optimizer = made()
    text = step_of(net, optimizer).program(X, Y).explain()
    assert "'first.weight stored as [2, 3, 1, 0]'} : float32[3, 3, 3, 20]" in text


# -- what is chosen


def chosen(updates):
    """The orders of variables, by name, for pairs of a variable and its next value."""
    values = {w.cell: value.node for w, value in updates}
    found = storage_orders(
        ordered(list(values.values())),
        values,
        state.cell_of,
        CpuDevice().weights_order,
        lambda cell: cell.layout,
    )
    return {cell.name: layout for cell, layout in found.items()}


def test_only_what_is_made_of_a_gradient_element_by_element_is_stored_like_it():
    x = td.asarray(X)
    w, m, other = (td.Variable(np.ones((5, 3, 3, 3), np.float32), name=name) for name in ("w", "m", "other"))
    g = td.gradients(td.sum(td.conv(x, w, stride=2) ** 2.0), w)
    slow = 0.9 * m + g
    assert chosen([(w, w - slow), (m, slow)]) == {"w": FILTERS_LAST, "m": FILTERS_LAST}
    assert chosen([(w, w - g), (other, other + 1)]) == {"w": FILTERS_LAST}
    assert chosen([(w, w - td.flip(g, axis=0))]) == {}
    assert chosen([(w, td.cond(td.sum(g) > 0, lambda: w - g, lambda: w))]) == {}
    assert chosen([(m, m + g)]) == {}  # nobody convolves with it
    half = td.conv(td.astype(x, td.bfloat16), td.astype(w, td.bfloat16), stride=2)
    half = td.gradients(td.sum(half**2.0), w)
    assert chosen([(w, w - half)]) == {"w": FILTERS_LAST}
    for shape, options in (
        ((5, 3, 1, 1), {}),
        ((5, 3, 3, 3), {}),
        ((3, 1, 3, 3), {"groups": 3, "stride": 2}),
    ):
        # A matrix; a weight for Winograd's algorithm; one of each channel alone.
        v = td.Variable(np.ones(shape, np.float32), name="v")
        assert chosen([(v, v - td.gradients(td.sum(td.conv(x, v, **options) ** 2.0), v))]) == {}
    stays = td.Variable(np.ones((5, 3, 3, 3), np.float32), name="stays", layout=(1, 0, 2, 3))
    g = td.gradients(td.sum(td.conv(x, stays, stride=2) ** 2.0), stays)
    assert chosen([(stays, stays - g - m), (m, m + g)]) == {"m": (1, 0, 2, 3)}
