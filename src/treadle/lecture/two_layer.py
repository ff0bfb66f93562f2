"""A two-layer ReLU network on random data, trained by five programs that must print the same losses.

Each program is a function that takes the data and the first weights and returns its step, so that all are
timed alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

import treadle as td
from treadle.errors import ArgumentError

N, D, H = 64, 1000, 100
RATE = 1e-6
TOLERANCE = 1e-4
"""How far losses may differ, relative to NumPy's."""

Step = Callable[[], float]
Program = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Step]


def numpy_by_hand(x: np.ndarray, y: np.ndarray, w1: np.ndarray, w2: np.ndarray) -> Step:
    """NumPy, gradients worked out by hand."""
    w1, w2 = w1.copy(), w2.copy()

    def step() -> float:
        h = x @ w1
        h_relu = np.maximum(h, 0)
        difference = h_relu @ w2 - y
        grad_y_pred = 2 / N * difference
        grad_w2 = h_relu.T @ grad_y_pred
        grad_w1 = x.T @ (grad_y_pred @ w2.T * (h > 0))
        np.subtract(w1, RATE * grad_w1, out=w1)
        np.subtract(w2, RATE * grad_w2, out=w2)
        return float(np.mean(np.sum(difference**2, axis=1)))

    return step


def network_loss(x: td.Array, y: td.Array, w1: td.Array, w2: td.Array) -> td.Array:
    """The loss that the other four share: 0-d."""
    y_pred = td.relu(x @ w1) @ w2
    return td.mean(td.sum(td.square(y_pred - y), axis=1))


def weights_fed(x: np.ndarray, y: np.ndarray, w1: np.ndarray, w2: np.ndarray) -> Step:
    """Placeholders, gradients and a session; the weights are fed each time."""
    inputs = [
        td.placeholder(a.shape, name=name)
        for name, a in zip(("x", "y", "w1", "w2"), (x, y, w1, w2), strict=True)
    ]
    loss = network_loss(*inputs)
    grads = td.gradients(loss, inputs[2:])
    session = td.Session()
    weights = [w1, w2]

    def step() -> float:
        loss_value, grad_values = session.run([loss, grads], dict(zip(inputs, [x, y, *weights], strict=True)))
        weights[:] = [w - RATE * g.numpy() for w, g in zip(weights, grad_values, strict=True)]
        return float(loss_value)

    return step


def updates_in_graph(x: np.ndarray, y: np.ndarray, w1: np.ndarray, w2: np.ndarray) -> Step:
    """Variables, updated in the graph by the session."""
    x_fed, y_fed = td.placeholder(x.shape, name="x"), td.placeholder(y.shape, name="y")
    weights = [td.Variable(w1, name="w1"), td.Variable(w2, name="w2")]
    loss = network_loss(x_fed, y_fed, *weights)
    updates = [td.update(w, w - RATE * g) for w, g in zip(weights, td.gradients(loss, weights), strict=True)]
    session = td.Session()

    def step() -> float:
        loss_value, _ = session.run([loss, updates], {x_fed: x, y_fed: y})
        return float(loss_value)

    return step


def define_by_run(x: np.ndarray, y: np.ndarray, w1: np.ndarray, w2: np.ndarray) -> Step:
    """Define-by-run: a new graph each step, gradients by `backward`."""
    x_array, y_array = td.asarray(x), td.asarray(y)
    weights = [td.Variable(w1, name="w1"), td.Variable(w2, name="w2")]

    def step() -> float:
        loss = network_loss(x_array, y_array, *weights)
        loss.backward()
        for w in weights:
            assert w.grad is not None
            w.assign(w - RATE * w.grad)
            w.grad = None
        return float(loss)

    return step


def compiled(x: np.ndarray, y: np.ndarray, w1: np.ndarray, w2: np.ndarray) -> Step:
    """`@td.compile`: the step as one program."""
    x_array, y_array = td.asarray(x), td.asarray(y)
    weights = [td.Variable(w1, name="w1"), td.Variable(w2, name="w2")]

    @td.compile
    def train(x: td.Array, y: td.Array) -> td.Array:
        loss = network_loss(x, y, *weights)
        for w, g in zip(weights, td.gradients(loss, weights), strict=True):
            w.assign(w - RATE * g)
        return loss

    return lambda: float(train(x_array, y_array))


PROGRAMS: dict[str, Program] = {
    "NumPy by hand": numpy_by_hand,
    "session, weights fed": weights_fed,
    "session, updates": updates_in_graph,
    "define-by-run": define_by_run,
    "compiled": compiled,
}


@dataclass(frozen=True)
class Run:
    """What one program gave: its loss at every step, and the time of every step."""

    name: str
    losses: list[float]
    times_ms: list[float]

    @property
    def step_ms(self) -> float:
        """The median step, without the first."""
        return median(self.times_ms[1:] or self.times_ms)

    @property
    def first_ms(self) -> float:
        """The first step, in which graphs are built and compiled."""
        return self.times_ms[0]


def run_all(steps: int, on_start: Callable[[str], None] = lambda name: None) -> list[Run]:
    """Run every program for that many steps on the same data, one program after the other."""
    if steps < 1:
        raise ArgumentError(f"steps={steps}: there must be at least one")
    numbers = np.random.RandomState(0)
    x, y, w1, w2 = (
        numbers.normal(size=shape).astype(np.float32) for shape in ((N, D), (N, D), (D, H), (H, D))
    )
    runs = []
    for name, program in PROGRAMS.items():
        on_start(name)
        step = program(x, y, w1, w2)
        losses, times_ms = [], []
        for _ in range(steps):
            began = time.perf_counter()
            losses.append(step())
            times_ms.append(1e3 * (time.perf_counter() - began))
        runs.append(Run(name, losses, times_ms))
    return runs


def differences(runs: list[Run]) -> list[float]:
    """For every run, by how much its losses differ from the first run's at most, relative to that."""
    wanted = np.asarray(runs[0].losses)
    return [float(np.max(np.abs(np.asarray(run.losses) - wanted) / np.abs(wanted))) for run in runs]
