"""Training steps of whole networks give the same bits by any number of threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import treadle as td
from treadle import models, nn, optim


class Residual(nn.Module):
    """Convolutions, norms, a pooling and a sum, large enough to be divided among threads."""

    def __init__(self):
        self.first = nn.Conv(3, 24, 5, padding=2, stride=2, bias=False)
        self.norms = [nn.BatchNorm(24) for _ in range(3)]
        self.convs = [nn.Conv(24, 24, 3, padding=1, bias=False) for _ in range(2)]
        self.wide = nn.Conv(24, 60, 1)
        self.last = nn.Dense(60, 10)

    def forward(self, x):
        x = td.max_pool(td.relu(self.norms[0](self.first(x))), 2)
        y = td.relu(self.norms[1](self.convs[0](x)))
        y = td.relu(x + self.norms[2](self.convs[1](y)))
        return self.last(td.mean(self.wide(y), axis=(2, 3)))


class Recurrent(nn.Module):
    def __init__(self):
        self.cells = nn.LSTM(20, 48)
        self.last = nn.Dense(48, 10)

    def forward(self, x):
        return self.last(self.cells(x)[0][:, -1])


def images():
    return np.random.default_rng(0).standard_normal((6, 3, 48, 48)).astype("float32")


def sequences():
    return np.random.default_rng(0).standard_normal((16, 12, 20)).astype("float32")


def characters():
    return np.random.default_rng(0).integers(0, 30, (4, 32))


NETS = {
    "convolutions": (Residual, images, lambda y: y),
    "LSTM": (Recurrent, sequences, lambda y: y),
    "GPT": (lambda: models.GPT(30, context=32, layers=2, width=64, heads=4), characters, lambda y: y[:, -1]),
}


def trained(name: str, threads: int) -> bytes:
    """Loss and parameters after three steps."""
    td.random.seed(3)
    make, inputs, seen = NETS[name]
    net = make()
    opt = optim.Adam(net.parameters(), 1e-3)

    @td.compile
    def step(x, labels):
        loss = nn.cross_entropy(seen(net(x)), labels)
        opt.step(td.gradients(loss, net.parameters()))
        return loss

    x = td.asarray(inputs())
    labels = td.asarray(np.arange(x.shape[0]) % 10)
    before = td.num_threads()
    td.set_num_threads(threads)
    try:
        losses = [step(x, labels).numpy() for _ in range(3)]
    finally:
        td.set_num_threads(before)
    assert np.isfinite(losses).all()
    return b"".join(array.tobytes() for array in (*losses, *net.state().values()))


def test_threads_that_train_at_the_same_time_get_what_each_gets_alone():
    x, labels = td.asarray(images()), td.asarray(np.arange(6) % 10)
    evaluated = td.compile(lambda net, x: net(x))

    def steps():
        """A network, and what trains it and looks at it beside others."""
        td.random.seed(3)
        net = Residual()
        opt = optim.SGD(net.parameters(), 0.01, momentum=0.9)

        @td.compile
        def step(x, labels):
            loss = nn.cross_entropy(net(x), labels)
            opt.step(td.gradients(loss, net.parameters()))
            return loss

        def run() -> bytes:
            seen = [value.numpy() for _ in range(4) for value in (step(x, labels), evaluated(net, x))]
            return b"".join(array.tobytes() for array in (*seen, *net.state().values()))

        return run

    found: dict[int, bytes] = {}
    runs = [steps() for _ in range(4)]
    threads = [
        threading.Thread(target=lambda i=i, run=run: found.update({i: run()})) for i, run in enumerate(runs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(runs) and {*found.values()} == {steps()()}


@pytest.mark.parametrize("name", NETS)
def test_any_number_of_threads_gives_the_same_bits(name):
    assert len({trained(name, threads) for threads in (1, 2, 3, 5)}) == 1
