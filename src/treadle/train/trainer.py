"""The training loop: steps, evaluations, callbacks, and where the time goes.

It knows nothing of how a step computes, of where data come from, or of how checkpoints are written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, StateError
from treadle.nn.module import Module
from treadle.optim.optimizer import Optimizer
from treadle.train.batches import as_batches, length_of
from treadle.train.callback import Callback, Trigger, every
from treadle.train.history import History, with_numbers
from treadle.train.metrics import Given, examples
from treadle.train.prediction import Prediction
from treadle.train.step import Evaluation, Loss, Step, pair


class Trainer:
    """Trains a model, and measures it.

    Args:
        model: what is trained; a batch's inputs are its argument (a tuple of them its arguments).
        loss: of outputs and targets, 0-d: the mean over the batch. What `nn` has, or any function.
        optimizer: of the model's parameters.
        metrics: names ("accuracy", "top5", "confusion", "auc", "perplexity"), `Metric` objects or functions
            of outputs and targets; a list, or a dict of them by name. They are measured in steps and
            evaluations.
        callbacks: told of every step, epoch and evaluation, in this order.
        folder: where the run keeps its files; it is made. None keeps none.
        clip: the largest norm of all gradients together; None for no limit.
        seed: of the order of arrays, and of what the model draws at random in training.

    >>> import numpy as np
    >>> from treadle import nn, optim, train
    >>> net = nn.Dense(4, 2)
    >>> adam = optim.Adam(net.parameters(), 0.1)
    >>> trainer = train.Trainer(net, nn.cross_entropy, adam, metrics=["accuracy"])
    >>> x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
    >>> history = trainer.fit((x, (x[:, 0] > 0).astype("int64")), epochs=8)
    >>> trainer.latest["training/accuracy"] > 0.9
    True
    """

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: Optimizer,
        *,
        metrics: Mapping[str, Given] | Sequence[Given] = (),
        callbacks: Sequence[Callback] = (),
        folder: str | Path | None = None,
        clip: float | None = None,
        seed: int = 0,
    ):
        wrong = [item for item in callbacks if not isinstance(item, Callback)]
        if wrong:
            raise ArgumentError(
                f"[Trainer] {wrong[0]!r} is no callback: wrap a function as train.every(steps=1)(function)"
            )
        self.model, self.optimizer = model, optimizer
        self.folder = None if folder is None else Path(folder)
        self.callbacks = list(callbacks)
        self.seed = seed
        self.step = 0
        """Steps made, over all epochs."""
        self.epoch = 0
        """Epochs completed."""
        self.steps: int | None = None
        """Steps planned, if that is known."""
        self.epochs: int | None = None
        """Epochs planned, if that is known."""
        self.latest: dict[str, float] = {}
        """The last value of everything measured: ``loss`` and ``rate`` of the last step, ``training/loss``,
        ``training/...`` of the last epoch, ``validation/loss``, ``validation/...``.
        """
        self.history = History()
        self._step = Step(model, loss, optimizer, metrics=metrics, clip=clip, seed=seed)
        self._evaluation = Evaluation(model, loss, metrics)
        self._prediction = Prediction(model)
        self._losses, self._examples = 0.0, 0
        self._running = False

    @property
    def seconds(self) -> dict[str, float]:
        """Where the time went: data, steps, evaluation, compiling, checkpoints, callbacks."""
        return self.history.seconds

    @property
    def waiting(self) -> float:
        """The share of the time that was spent waiting for data."""
        return self.history.waiting

    @property
    def stopped(self) -> str | None:
        """Why training ended; None while it goes on."""
        return self.history.stopped

    def stop(self, reason: str) -> None:
        """End training after the step that is being made.

        Args:
            reason: what `stopped` will say.
        """
        self.history.stopped = reason

    # -- training

    def fit(
        self,
        data: Any,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        validation: Any = None,
        validate: Trigger | None = None,
        batch: int | None = None,
        shuffle: bool = True,
    ) -> History:
        """Train.

        Args:
            data: a `data.Loader`; a `data.Dataset` of batches, or of examples if `batch` is given; a tuple of
                arrays ``(inputs, targets)``; or any iterable of batches. A batch is a pair of inputs and
                targets.
            epochs, steps: how long, one of them.
            validation: data of the same kinds, to evaluate on.
            validate: how often; after every epoch if None.
            batch: examples in a batch, of arrays (32 if None) and of data sets of examples.
            shuffle: whether arrays are gone through in another order in each epoch.

        Returns:
            What the run came to.

        Raises:
            ArgumentError: there are no data, or it is not said how long.
        """
        if (epochs is None) == (steps is None):
            raise ArgumentError(f"[fit] epochs={epochs}, steps={steps}: give one of them")
        count = epochs if steps is None else steps
        if not isinstance(count, int) or count < 1:
            raise ArgumentError(f"[fit] {count!r} is not a positive integer")
        if self._running:
            raise StateError("[fit] the trainer is training already")
        batches = as_batches(data, batch, shuffle=shuffle, seed=self.seed)
        held = None if validation is None else as_batches(validation, batch)
        if not self.model.training:
            self.model.train()
        length = length_of(batches)
        self.epochs = None if epochs is None else self.epoch + epochs
        self.steps = self.step + steps if steps is not None else None
        if self.epochs is not None and length is not None:
            self.steps = length * self.epochs
        self.history.stopped = None
        self._running = True
        try:
            with self._timed("callbacks"):
                for callback in self.callbacks:
                    callback.begin(self)
            self._loop(batches, held, validate or every(epochs=1))
        finally:
            self._running = False
            self._finish(batches)
        return self.history

    def _loop(self, batches: Any, held: Any, validate: Trigger) -> None:
        began = self.step
        while self.stopped is None:
            with self._timed("data"):
                batch = next(batches, None)
            if batch is not None:
                self._make_step(*pair(batch))
                due = validate.after_step(self)
            elif self.step == began:
                raise ArgumentError("[fit] the data set is empty: it gave no batch")
            else:
                self.epoch += 1
                due = validate.after_epoch(self)
                self._close_epoch()
            planned = self.epochs if self.epochs is not None else self.steps
            done = self.epoch if self.epochs is not None else self.step
            if planned is not None and done >= planned:
                self.stop(f"{planned} {'epochs' if self.epochs is not None else 'steps'} made")
            if held is not None and due:
                self._validate(held)
            if batch is None:
                self._tell("epoch_ended")

    def _make_step(self, inputs: Any, targets: Any) -> None:
        known = self._step.programs
        began = time.perf_counter()
        loss = self._step(inputs, targets)
        kind = "steps" if self._step.programs == known else "compiling"
        self.seconds[kind] += time.perf_counter() - began
        self.step += 1
        self.latest["loss"], self.latest["rate"] = loss, self._step.rate
        count = examples(targets)
        self._losses, self._examples = self._losses + count * loss, self._examples + count
        if not math.isfinite(loss):
            raise td.errors.NumericsError(f"the loss of step {self.step} is {loss}")
        self._tell("stepped")

    def _close_epoch(self) -> None:
        """Note the means of an epoch, and begin anew."""
        measured: dict[str, Any] = {"loss": self._losses / max(1, self._examples)}
        measured.update(self._step.totals.results())
        self._step.totals.reset()
        self._losses, self._examples = 0.0, 0
        self._note("training", measured)

    def _note(self, where: str, measured: dict[str, Any]) -> None:
        """Put what was measured into `latest` and the history's row of this step."""
        found = {f"{where}/{name}": value for name, value in with_numbers(measured).items()}
        self.latest.update(found)
        rows = self.history.rows
        if not rows or rows[-1]["step"] != self.step:
            rows.append({"step": self.step, "epoch": self.epoch})
        rows[-1].update(epoch=self.epoch, **found)

    def _validate(self, batches: Any) -> None:
        known = self._evaluation.programs
        began = time.perf_counter()
        measured = self._evaluation(batches)
        kind = "evaluation" if self._evaluation.programs == known else "compiling"
        self.seconds[kind] += time.perf_counter() - began
        self._note("validation", measured)
        self._tell("evaluated")

    def _tell(self, event: str) -> None:
        if self.callbacks:
            with self._timed("callbacks"):
                for callback in self.callbacks:
                    getattr(callback, event)(self)

    def _finish(self, batches: Any) -> None:
        """Tell all callbacks that training ended, and note what is to be said of it."""
        self.history.step = self.step
        self.history.programs = self._step.programs + self._evaluation.programs
        if hasattr(batches, "report"):
            self.history.advice = batches.report().partition("; ")[2]
        self._tell("ended")

    @contextmanager
    def _timed(self, kind: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[kind] += time.perf_counter() - began

    # -- use

    def evaluate(self, data: Any, *, batch: int | None = None) -> dict[str, Any]:
        """The mean loss and the metrics of data, with the model in evaluation mode.

        Args:
            data, batch: as `fit` takes them.

        Returns:
            By name: numbers, and arrays of metrics that give them.

        Raises:
            ArgumentError: there are no data.
        """
        return self._evaluation(as_batches(data, batch))

    def predict(self, inputs: Any, *, batch: int = 32) -> Any:
        """What the model, in evaluation mode, makes of inputs.

        Args:
            inputs: an array (a tuple of several), or an iterable of batches of them.
            batch: how many examples of arrays go through the model together.

        Returns:
            NumPy arrays ``[examples, ...]``, in the structure of the model's outputs.
        """
        return self._prediction(inputs, batch)
