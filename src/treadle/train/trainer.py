"""The training loop: steps, evaluations, callbacks, and where the time goes.

It knows nothing of how a step computes, of where data come from, or of how checkpoints are written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, StateError, TreadleError
from treadle.nn.module import Module
from treadle.optim.optimizer import Optimizer
from treadle.train.batches import as_batches, check_end, length_of
from treadle.train.callback import Callback, Trigger, every
from treadle.train.checkpoints import Checkpoints
from treadle.train.history import History, with_numbers
from treadle.train.interruption import INTERRUPTED, ending_on_interrupt
from treadle.train.metrics import Given, examples
from treadle.train.not_finite import EVERY, Anchor, not_finite
from treadle.train.prediction import Prediction
from treadle.train.resuming import restore, training_state
from treadle.train.step import Evaluation, Loss, Step, pair

_NONE_ANY_MORE = object()
"""What stands for a batch when there will be no other."""


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
        seed: of the order of arrays, and of what the model draws at random in training.

    Raises:
        ArgumentError: one of them is something else, or the optimizer is of another model's parameters.

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
        seed: int = 0,
    ):
        if isinstance(callbacks, Callback):
            callbacks = (callbacks,)
        _check(model, loss, optimizer, callbacks)
        self.model, self.optimizer = model, optimizer
        self.folder = None if folder is None else Path(folder)
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
        self._step = Step(model, loss, optimizer, metrics=metrics, seed=seed)
        self._evaluation = Evaluation(model, loss, metrics)
        self._prediction = Prediction(model)
        given = [item for item in callbacks if isinstance(item, Checkpoints)]
        self.callbacks = [item for item in callbacks if not isinstance(item, Checkpoints)]
        self._checkpoints = given[0] if given else Checkpoints() if self.folder is not None else None
        self.failed = False
        """Whether training ended by an error."""
        self._losses, self._examples = 0.0, 0
        self._running = False
        self._begun = self._written = (0, 0)
        self._planned_end: str | None = None
        self._data: Any = None
        self._held: Any = None

    @property
    def seconds(self) -> dict[str, float]:
        """Where the time went: data, steps, evaluation, compiling, checkpoints, callbacks."""
        return self.history.seconds

    @property
    def waiting(self) -> float:
        """The share of the time that was spent waiting for data."""
        return self.history.waiting

    @property
    def validates(self) -> bool:
        """Whether `fit` was given a validation set."""
        return self._held is not None

    @property
    def stopped(self) -> str | None:
        """Why training ended; None while it goes on."""
        return self.history.stopped

    def stop(self, reason: str) -> None:
        """End training after the step that is being made.

        Args:
            reason: what `stopped` will say; the first one stands.
        """
        if self.history.stopped is None:
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
        resume: bool = False,
    ) -> History:
        """Train.

        Ctrl-C ends it after the step that is being made; a second one at once.

        Args:
            data: a `data.Loader`; a `data.Dataset` of batches, or of examples if `batch` is given; a tuple of
                arrays ``(inputs, targets)``; or any iterable of batches. A batch is a pair of inputs and
                targets.
            epochs, steps: how long, one of them; of a run that is resumed, counted from its beginning.
            validation: data of the same kinds, to evaluate on; what is evaluated is the optimizer's `ema`, if
                it has one.
            validate: how often, and at the planned end; after every epoch if None.
            batch: examples in a batch, of arrays (32 if None) and of data sets of examples.
            shuffle: whether arrays are gone through in another order in each epoch.
            resume: whether to go on from the last checkpoint in the folder, if there is one, to the bits that
                the run would have come to without an interruption.

        Returns:
            What the run came to.

        Raises:
            ArgumentError: there are no data, or it is not said how long.
            NumericsError: the loss was NaN or infinite: the message says in which step, at which node and
                line that began; the model is as it was before that step.
            CheckpointError: the folder cannot be written to, which is seen before the first step.
            FormatError: a checkpoint is broken, or that of another model; nothing is changed.
            StateError: the folder holds another run's checkpoints, the data are not those of the run, or
                parameters were frozen after the optimizer was made.
        """
        if (epochs is None) == (steps is None):
            raise ArgumentError(f"[fit] epochs={epochs}, steps={steps}: give one of them")
        count = epochs if steps is None else steps
        if not isinstance(count, int) or count < 1:
            name = "epochs" if steps is None else "steps"
            raise ArgumentError(f"[fit] {name}={count!r} is not a positive integer")
        if self._running:
            raise StateError("[fit] the trainer is training already")
        if resume and self._checkpoints is None:
            raise ArgumentError(
                "[fit] resume=True: give the trainer the folder whose checkpoints to go on from"
            )
        self.optimizer.refuse_frozen()
        self._data = as_batches(data, batch, shuffle=shuffle, seed=self.seed, passes=self.epoch)
        self._held = None if validation is None else as_batches(validation, batch)
        check_end("fit", self._held)
        self._validate = validate or every(epochs=1)
        if self._held is self._data and self._validate.steps is not None:
            raise ArgumentError(
                "[fit] validation is the loader that is trained on, which stands in one place: to evaluate "
                "within epochs make another one of the data set"
            )
        if not self.model.training:
            self.model.train()
        self._running, self.failed = True, False
        try:
            self._prepare(resume)
            self._plan(epochs, steps)
            with ending_on_interrupt(self.stop):
                try:
                    self._tell("begin")
                    self._loop()
                except BaseException as error:
                    self.failed = True
                    self.stop(f"{type(error).__name__}: {error}")
                    raise
                finally:
                    self._finish()
        finally:
            self._running = False
        return self.history

    def _prepare(self, resume: bool) -> None:
        """Begin anew, or where the last checkpoint stands."""
        found = None if self._checkpoints is None else self._checkpoints.prepare(self, resume)
        self.history.stopped = None
        if found is not None:
            restore(self, found)
        else:
            self._step.continue_at(self.step)
            self._step.totals.reset()
            self._begun = (self.step, self.epoch)
            self._losses, self._examples = 0.0, 0
        self._written = (self.step, self.epoch)

    def _plan(self, epochs: int | None, steps: int | None) -> None:
        step, epoch = self._begun
        length = length_of(self._data)
        if epochs is not None and length is None and hasattr(self._data, "__len__"):
            raise ArgumentError("[fit] the data have no end, so there are no epochs: say steps=")
        self.epochs = None if epochs is None else epoch + epochs
        self.steps = None if steps is None else step + steps
        if self.epochs is not None and length is not None:
            self.steps = step + length * (self.epochs - epoch)
        self._check_planned()

    def _check_planned(self) -> None:
        if self.epochs is not None and self.epoch >= self.epochs:
            self._planned_end = f"{self.epochs} epochs made"
        elif self.epochs is None and self.steps is not None and self.step >= self.steps:
            self._planned_end = f"{self.steps} steps made"
        else:
            self._planned_end = None
            return
        self.stop(self._planned_end)

    def _loop(self) -> None:
        self._anchor = Anchor(self.step, self._step, self._data)
        began, middle = self.step, bool(self._data.state().get("place"))
        while self.stopped is None:
            batch = self._next_batch()
            if batch is _NONE_ANY_MORE:
                break
            if batch is not None:
                loss = self._make_step(batch)
                if not math.isfinite(loss):
                    raise self._not_finite(f"the loss of step {self.step} is {loss}")
                self._tell("stepped")
                due = self._validate.after_step(self)
            elif self.step == began and not middle:
                raise ArgumentError(
                    f"[fit] the data set is empty: it gave no batch in epoch {self.epoch + 1}; if it gave "
                    f"some before, give a list, a data.Loader or an object whose __iter__ begins anew"
                )
            else:
                self.epoch += 1
                began, middle = self.step, False
                due = self._validate.after_epoch(self)
                self._close_epoch()
            self._check_planned()
            if self._held is not None and (due or self._planned_end is not None):
                self._evaluate_held()
            if batch is None:
                self._tell("epoch_ended")
            self._settle(batch is None)
        self._write_checkpoint(self._data.state())

    def _next_batch(self) -> Any:
        """The next batch; None at the end of an epoch."""
        began = time.perf_counter()
        try:
            return next(self._data, None)
        except Exception:
            # Ctrl-C in a terminal goes to the processes that make batches, too.
            if self.stopped == INTERRUPTED:
                return _NONE_ANY_MORE
            # Nothing was changed: the run can go on from here when what failed is repaired.
            self._write_checkpoint(self._data.state())
            raise
        finally:
            self.seconds["data"] += time.perf_counter() - began

    def _make_step(self, batch: Any) -> float:
        known = self._step.programs
        began = time.perf_counter()
        try:
            inputs, targets = pair(batch)
            loss = self._step(inputs, targets)
        except Exception as error:
            if isinstance(error, TreadleError):
                error.place(f"in step {self.step + 1}")
            # A step that fails changes nothing: the run can go on with this batch.
            position = self._data.state()
            self._write_checkpoint({**position, "place": position["place"] - 1})
            raise
        kind = "steps" if self._step.programs == known else "compiling"
        self.seconds[kind] += time.perf_counter() - began
        self.step += 1
        self.latest["loss"] = loss
        count = examples((targets, inputs))
        self._losses, self._examples = self._losses + count * loss, self._examples + count
        return loss

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

    def _evaluate_held(self) -> None:
        known = self._evaluation.programs
        began = time.perf_counter()
        ema = self.optimizer.ema
        with nullcontext() if ema is None else ema.applied():
            measured = self._evaluation(self._held)
        kind = "evaluation" if self._evaluation.programs == known else "compiling"
        self.seconds[kind] += time.perf_counter() - began
        self._note("validation", measured)
        self._tell("evaluated")

    def _settle(self, epoch_ended: bool) -> None:
        """All is done that follows from a step or from the end of an epoch: keep it, if that is due."""
        if self._checkpoints is not None and self._checkpoints.due(self, epoch_ended):
            self._write_checkpoint(self._data.state())
        if self.step - self._anchor.step >= EVERY:
            self._check_values()
            self._anchor = Anchor(self.step, self._step, self._data)

    def _write_checkpoint(self, position: dict[str, Any]) -> None:
        """Keep all that the run depends on, if something was done since; it would go on at that position."""
        if self._checkpoints is None or self._written == (self.step, self.epoch):
            return
        self._check_values()
        with self._timed("checkpoints"):
            self._checkpoints.write(self, self.model.state(), training_state(self, position))
            self._written = (self.step, self.epoch)

    def _check_values(self) -> None:
        """Refuse to keep parameters that are not finite, which the next loss would show."""
        wrong = not_finite(self.model)
        if wrong:
            raise self._not_finite(
                f"after step {self.step} {', '.join(wrong)} has values that are not finite"
            )

    def _not_finite(self, what: str) -> td.errors.NumericsError:
        """The error that says where the first number that is not finite arose; the model is taken back to
        before that step.
        """
        since = self._anchor.step
        found = self._anchor.find(self._data, self.step)
        last = None if self._checkpoints is None else self._checkpoints.last(self)
        kept = f"; the last checkpoint is {last}" if last else ""
        if found is None:
            self.step = since
            return td.errors.NumericsError(
                f"[fit] {what}; made again from step {since} on, where the model is taken back to, all was "
                f"finite: something in the data or the model is not the same every time{kept}"
            )
        self.step, cause = found
        return td.errors.NumericsError(
            f"[fit] {what}; the model is taken back to before step {self.step + 1}, in which that "
            f"began{kept}. {cause.message}",
            cause.line,
        )

    def _tell(self, event: str) -> None:
        if self.callbacks:
            began = time.perf_counter()
            self.latest["rate"] = self.optimizer.rate
            for callback in self.callbacks:
                getattr(callback, event)(self)
            self.seconds["callbacks"] += time.perf_counter() - began
        if self._checkpoints is not None:
            self._checkpoints.heard(self, event)

    def _finish(self) -> None:
        """Tell all callbacks that training ended, and note what is to be said of it."""
        self.history.step = self.step
        self.history.programs = self._step.programs + self._evaluation.programs
        if hasattr(self._data, "report"):
            self.history.advice = self._data.report().partition("; ")[2]
        for batches in (self._data, self._held):
            close = getattr(batches, "close", None)
            if close is not None:
                close()
        with self._timed("callbacks"), ExitStack() as all_hear_it:
            for callback in reversed(self.callbacks):
                all_hear_it.callback(callback.ended, self)

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
            inputs: an array (a tuple or dict of several), or a loader or other iterable of batches, whose
                targets are left out.
            batch: how many examples of arrays go through the model together.

        Returns:
            NumPy arrays ``[examples, ...]``, in the structure of the model's outputs.
        """
        return self._prediction(inputs, batch)


def _check(model: Any, loss: Any, optimizer: Any, callbacks: Any) -> None:
    """Refuse what a trainer cannot be made of."""
    if not isinstance(model, Module):
        raise ArgumentError(f"[Trainer] model is {_said(model)}; expected an nn.Module")
    if not callable(loss) or isinstance(loss, type):
        raise ArgumentError(
            f"[Trainer] loss is {_said(loss)}; expected a function of outputs and targets, such as "
            f"nn.cross_entropy"
        )
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"[Trainer] optimizer is {_said(optimizer)}; expected one that is made, such as "
            f"optim.Adam(net.parameters(), 1e-3)"
        )
    cells = {variable.cell for variable in model.variables().values()}
    if not any(variable.cell in cells for variable in optimizer.parameters.values()):
        raise ArgumentError(
            f"[Trainer] the optimizer's parameters ({', '.join(list(optimizer.parameters)[:3])} ...) are "
            f"none of the model's: make it of the model's parameters()"
        )
    wrong = [item for item in callbacks if not isinstance(item, Callback)]
    if wrong and isinstance(wrong[0], type):
        raise ArgumentError(f"[Trainer] the callback {wrong[0].__name__} is a class: make one")
    if wrong:
        raise ArgumentError(
            f"[Trainer] {wrong[0]!r} is no callback: wrap a function as train.every(steps=1)(function)"
        )


def _said(given: Any) -> str:
    """What was given, in a few words."""
    if isinstance(given, type):
        return f"the class {given.__name__}"
    return repr(given) if isinstance(given, str | int | float | None) else f"a {type(given).__name__}"
