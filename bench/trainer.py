"""What the Trainer adds to a step: the digits' network trained by a hand-written loop, by `Step` and by
`Trainer`, six epochs at a time, in turns, on one thread. Prints medians of the processor's microseconds a
step, which say what is added also where others use the machine.

    python bench/trainer.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np

import treadle as td
from treadle import nn, optim, train
from treadle.datasets import digits

ROUNDS = 12
EPOCHS = 6
BATCH = 32
STEPS = 44
"""A round of six epochs is one call of `fit`."""


def network() -> nn.Module:
    """The network of `treadle train digits`."""
    td.random.seed(0)
    return nn.Sequential(
        nn.Conv(1, 32, 3, padding=1), td.relu, nn.MaxPool(2), nn.Conv(32, 64, 3, padding=1), td.relu,
        nn.MaxPool(2), lambda x: td.reshape(x, (x.shape[0], -1)), nn.Dense(256, 64), td.relu,
        nn.Dense(64, 10),
    )  # fmt: skip


def optimizer(net: nn.Module) -> optim.Optimizer:
    return optim.Adam(net.parameters(), optim.cosine(2e-3, STEPS * EPOCHS * ROUNDS))


def gone_over(x: np.ndarray, y: np.ndarray, step) -> None:
    """Six epochs of shuffled batches."""
    numbers = np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = numbers.permutation(len(x))
        for begin in range(0, len(x), BATCH):
            chosen = order[begin : begin + BATCH]
            step(x[chosen], y[chosen])


def hand(x: np.ndarray, y: np.ndarray):
    """A loop as one writes it by hand."""
    net = network()
    opt = optimizer(net)

    @td.compile
    def step(images, labels):
        loss = nn.cross_entropy(net(images), labels)
        opt.step(td.gradients(loss, net.parameters()))
        return loss

    return lambda: gone_over(x, y, lambda images, labels: float(step(images, labels)))


def stepped(x: np.ndarray, y: np.ndarray):
    net = network()
    step = train.Step(net, nn.cross_entropy, optimizer(net))

    return lambda: gone_over(x, y, step)


def trained(x: np.ndarray, y: np.ndarray, **options):
    net = network()
    trainer = train.Trainer(net, nn.cross_entropy, optimizer(net), **options)
    return lambda: trainer.fit((x, y), epochs=EPOCHS, batch=BATCH)


def main() -> None:
    td.set_num_threads(1)
    x, y, *_ = digits()
    x, y = x[: STEPS * BATCH], y[: STEPS * BATCH]
    watched = [train.every(steps=10)(lambda trainer: trainer.latest["loss"])]
    ways = {
        "by hand": hand(x, y),
        "Step": stepped(x, y),
        "Trainer": trained(x, y),
        "Trainer, one callback": trained(x, y, callbacks=watched),
        "Trainer, accuracy too": trained(x, y, metrics=["accuracy"]),
    }
    for way in ways.values():
        way()
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.thread_time()
            way()
            spent[name].append((time.thread_time() - began) / (EPOCHS * STEPS) * 1e6)
    base = statistics.median(spent["by hand"])
    for name, values in spent.items():
        median = statistics.median(values)
        print(
            f"{name:24} {median:7.0f} us a step  {median - base:+5.0f} us {100 * (median / base - 1):+5.1f} %"
        )


if __name__ == "__main__":
    main()
