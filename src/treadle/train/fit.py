"""The training loop of the digits: batches, compiled steps, evaluation, and where the time goes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

import treadle as td
from treadle.datasets import load_digits
from treadle.train import adam
from treadle.train.digits import Parameters, cross_entropy, initialize, scores

BATCH = 32
RATE = 2e-3
EPOCHS = 15


@dataclass
class Outcome:
    """What a training run came to.

    `seconds` says where the time went: drawing the first parameters, the first step and the first evaluation,
    which compile their programs, count as compiling.
    """

    steps: int = 0
    correct: int = 0
    tested: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("data", "steps", "evaluation", "compiling"), 0.0)
    )

    @property
    def accuracy(self) -> float:
        """The share of test images that were recognised."""
        return self.correct / self.tested

    @property
    def step_ms(self) -> float:
        """Milliseconds a step, without the one that compiled."""
        return 1e3 * self.seconds["steps"] / max(1, self.steps - 1)


@dataclass(frozen=True)
class Progress:
    """How far training is: told after every step. `correct` is None before the first evaluation."""

    step: int
    of: int
    epoch: int
    loss: float
    correct: int | None
    tested: int


def train_digits(
    epochs: int = EPOCHS, seed: int = 0, on_step: Callable[[Progress], None] = lambda progress: None
) -> tuple[Parameters, Outcome]:
    """Train the network of `treadle.train.digits` on the 1,437 training digits, and test it on the other 360.

    `seed` decides the first parameters and the order of the images, never which are held out. The learning
    rate falls from 0.002 to 0 along a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983).
    """
    if epochs < 1:
        raise td.errors.ArgumentError(f"epochs={epochs}: training takes at least one")
    outcome = Outcome()
    with _timed(outcome, "data"):
        train_images, train_labels, test_images, test_labels = load_digits()
        numbers = np.random.RandomState(seed)
    outcome.tested = len(test_labels)
    with _timed(outcome, "compiling"):
        parameters = initialize(seed)
        variables = list(parameters.values())
        moments = adam.zero_moments(variables)

    @td.compile
    def train_step(images: td.Array, labels: td.Array, rate: float) -> td.Array:
        loss = cross_entropy(scores(parameters, images), labels)
        adam.step(variables, td.gradients(loss, variables), moments, rate)
        return loss

    @td.compile
    def count_correct(images: td.Array, labels: td.Array) -> td.Array:
        right = td.argmax(scores(parameters, images), axis=1) == labels
        return td.sum(td.astype(right, td.int64))

    batches = len(train_images) // BATCH
    correct: int | None = None
    for epoch in range(epochs):
        with _timed(outcome, "data"):
            order = numbers.permutation(len(train_images))
        for batch in range(batches):
            with _timed(outcome, "data"):
                # The last, smaller batch is left out; the next epoch shuffles again.
                chosen = order[batch * BATCH : (batch + 1) * BATCH]
                images, labels = train_images[chosen], train_labels[chosen]
            rate = RATE * 0.5 * (1 + math.cos(math.pi * outcome.steps / (epochs * batches)))
            with _timed(outcome, "steps" if outcome.steps else "compiling"):
                loss = float(train_step(images, labels, rate))
            outcome.steps += 1
            on_step(Progress(outcome.steps, epochs * batches, epoch, loss, correct, outcome.tested))
        with _timed(outcome, "evaluation" if epoch else "compiling"):
            correct = outcome.correct = int(count_correct(test_images, test_labels))
    return parameters, outcome


@contextmanager
def _timed(outcome: Outcome, what: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        outcome.seconds[what] += time.perf_counter() - began
