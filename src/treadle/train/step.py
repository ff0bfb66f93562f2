"""A training step, and a batch's evaluation, as one program each. Knows nothing of epochs, data or files.

What a step draws at random is a function of its seed and of the number of the step, whenever and however
often it is traced: therefore a run that goes on from a checkpoint draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import treadle as td
from treadle.array import borrowed
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.nn.module import Module, evaluating
from treadle.optim.optimizer import Optimizer
from treadle.train.batches import whole_pass
from treadle.train.metrics import Given, Metric, examples, metrics_by_name
from treadle.train.totals import Totals

Loss = Callable[[Any, Any], td.Array]
"""Of a model's outputs and targets: 0-d, the mean over the examples."""


class Step:
    """A training step, compiled: outputs, loss, gradients, the optimizer's step and the sums of metrics are
    one program, which writes the variables in place.

    Args:
        model: called with the inputs; a tuple of them are its arguments.
        loss: of outputs and targets.
        optimizer: of the model's parameters.
        metrics: what is measured of the outputs that the step has anyway: see `Trainer`.
        seed: of what the model draws at random.

    >>> import numpy as np
    >>> import treadle as td
    >>> from treadle import nn, optim, train
    >>> net = nn.Dense(2, 3)
    >>> step = train.Step(net, nn.cross_entropy, optim.SGD(net.parameters(), 0.1))
    >>> x, labels = np.ones((4, 2), "float32"), np.zeros(4, "int64")
    >>> step(x, labels) > step(x, labels)
    True
    """

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: Optimizer,
        *,
        metrics: Mapping[str, Given] | Sequence[Given] = (),
        seed: int = 0,
    ):
        self.model, self.loss, self.optimizer = model, loss, optimizer
        measured = metrics_by_name(metrics)
        self.totals = Totals({name: metric for name, metric in measured.items() if not metric.collects})
        self.programs = 0
        """How many signatures were traced."""
        self._key = td.random.fold_in(td.random.key(seed), 1)
        self._compiled = td.compile(self._step)

    def __call__(self, inputs: Any, targets: Any) -> float:
        """Make a step on a batch; its loss, before the step."""
        if not self.programs and self.totals.metrics:
            self._prepare(inputs, targets)
        return self._compiled(inputs, targets).item()

    def _step(self, inputs: Any, targets: Any) -> td.Array:
        self.programs += 1
        examples((targets, inputs))  # refuses what is no batch
        with drawing(self._key):
            outputs = called(self.model, inputs)
            loss = _checked_loss(self.loss(outputs, targets))
            self.optimizer.step(td.gradients(self.optimizer.scaled(loss), self.optimizer.parameters))
            self.totals.add(outputs, targets)
            return loss

    def _prepare(self, inputs: Any, targets: Any) -> None:
        with drawing(self._key):
            inputs, targets = placeholders((inputs, targets))
            self.totals.prepare(called(self.model, inputs), targets)

    def continue_at(self, step: int) -> None:
        """Draw from here on what the step of that number, counted from 0, draws."""
        self._compiled.continue_at(step)


class Evaluation:
    """What a model, in evaluation mode, makes of data: the mean loss and metrics, exact over batches of any
    sizes.

    Args:
        model: called with the inputs; a tuple of them are its arguments.
        loss: of outputs and targets; None to measure metrics alone.
        metrics: see `Trainer`.

    >>> import numpy as np
    >>> from treadle import nn, train
    >>> measure = train.Evaluation(nn.Dense(2, 3), nn.cross_entropy, ["accuracy"])
    >>> sorted(measure([(np.ones((4, 2), "float32"), np.zeros(4, "int64"))]))
    ['accuracy', 'loss']
    """

    def __init__(self, model: Module, loss: Loss | None, metrics: Mapping[str, Given] | Sequence[Given] = ()):
        self.model = model
        measured: dict[str, Metric] = {} if loss is None else {"loss": _MeanLoss(loss)}
        measured.update(metrics_by_name(metrics))
        self.totals = Totals(measured)
        self.programs = 0
        """How many signatures were traced."""
        self._key = td.random.fold_in(td.random.key(0), 2)
        self._compiled = td.compile(self._batch)

    def __call__(self, batches: Any) -> dict[str, Any]:
        """Go through a whole pass of batches of inputs and targets.

        Returns:
            By name: numbers, and arrays of metrics that give them.

        Raises:
            ArgumentError: there is no batch, or no end of them.
        """
        batches = whole_pass("evaluate", batches)
        self.totals.reset()
        self._compiled.continue_at(0)
        with evaluating(self.model):
            count = 0
            for batch in batches:
                inputs, targets = pair(batch)
                if not self.programs:
                    with drawing(self._key):
                        wanted = placeholders((inputs, targets))
                        self.totals.prepare(called(self.model, wanted[0]), wanted[1])
                self.totals.collect(self._compiled(inputs, targets))
                count += 1
        if not count:
            raise ArgumentError("[evaluate] the data set is empty: it gave no batch")
        return self.totals.results()

    def _batch(self, inputs: Any, targets: Any) -> dict[str, tuple[td.Array, ...]]:
        self.programs += 1
        with drawing(self._key):
            return self.totals.add(called(self.model, inputs), targets)


class _MeanLoss(Metric):
    """The mean of a loss, which is a batch's mean, over examples."""

    def __init__(self, loss: Loss):
        self.loss = loss

    def batch(self, outputs: Any, targets: Any) -> Sequence[td.Array]:
        count = examples((targets, outputs))
        loss = td.astype(_checked_loss(self.loss(outputs, targets)), td.float64)
        return loss * count, td.asarray(count, dtype=td.int64)

    def result(self, *totals: np.ndarray) -> float:
        return float(totals[0] / totals[1])


def called(model: Any, inputs: Any) -> Any:
    """What a model gives for a batch's inputs: a tuple are its arguments."""
    return model(*inputs) if type(inputs) is tuple else model(inputs)


def pair(batch: Any) -> tuple[Any, Any]:
    """The inputs and targets of a batch.

    Raises:
        ArgumentError: it is no pair.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    what = f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
    raise ArgumentError(
        f"a batch is a pair of inputs and targets, this one is {what}: map it to (inputs, targets), where "
        f"several inputs are a tuple"
    )


def placeholders(structure: Any) -> Any:
    """Placeholders of the types of the arrays in nested tuples, lists and dicts."""
    if isinstance(structure, Mapping):
        return {key: placeholders(value) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)([placeholders(item) for item in structure])
    if hasattr(structure, "dtype"):
        array = borrowed(structure)
        return td.placeholder(array.shape, dtype=array.dtype)
    return structure


@contextmanager
def drawing(key: tuple[int, int]) -> Iterator[None]:
    """A block whose random keys come from a key, while the thread's generator stays where it is."""
    before = td.random.get_state()
    td.random.set_state((key, 0))
    try:
        yield
    finally:
        td.random.set_state(before)


def _checked_loss(loss: Any) -> td.Array:
    if not isinstance(loss, td.Array) or loss.shape != ():
        given = loss.shape if isinstance(loss, td.Array) else type(loss).__name__
        raise ShapeError(
            f"[loss] it gives {given}; a loss is one number, 0-d, the mean over the batch: see `reduction`"
        )
    if loss.dtype.kind != "float":
        raise DTypeError(f"[loss] it gives {loss.dtype}; a loss is a floating number")
    return loss
