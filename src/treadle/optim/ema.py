"""The running mean of parameters over the steps of training, for evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

import treadle as td
from treadle.errors import StateError
from treadle.nn.values import assign_all
from treadle.optim.groups import Parameters, checked_number, settled


class EMA:
    """An exponential moving average of parameters (Polyak and Juditsky 1992; with a decay as Tarvainen and
    Valpola 2017, arXiv:1703.01780): ``average = decay * average + (1 - decay) * parameter``.

    An optimizer that it is given to as `ema` moves it on with every step, in the same program, and keeps
    it in its own state. By hand, call `step` after each step.

    Args:
        parameters: a module's `parameters()` or any floating variables.
        decay: how much of the average is kept in a step, in [0, 1).
        bias_correction: begin at zeros and divide by what the weights of all steps add up to, instead of
            beginning at the parameters as they are.

    Raises:
        ArgumentError: there are no parameters, or the decay is out of range.

    >>> import treadle as td
    >>> w = td.Variable([0.0])
    >>> ema = td.optim.EMA([w], 0.75)
    >>> w.assign(td.asarray([8.0]))
    >>> ema.step()
    >>> with ema.applied():
    ...     w.tolist()
    [2.0]
    >>> w.tolist()
    [8.0]
    """

    def __init__(self, parameters: Parameters, decay: float = 0.999, *, bias_correction: bool = False):
        checked_number("EMA", "decay", decay, "in [0, 1)", lambda value: 0 <= value < 1)
        self.decay, self.bias_correction = decay, bias_correction
        (group,) = settled("EMA", parameters, 0.0, 0.0)
        self.parameters = group.parameters
        """The parameters by path."""
        self.steps = td.Variable(np.float32(0), "steps", trainable=False)
        """How many steps it was moved on."""
        self.means = {
            path: td.Variable(_first(w, bias_correction), f"mean.{path}", trainable=False)
            for path, w in self.parameters.items()
        }
        """The averages by path, float32 or float64 variables."""
        self._before: dict[str, Any] | None = None

    def step(self) -> None:
        """Move it on to the parameters' present values, all of it or nothing."""
        self.check_not_applied("step")
        with td.assignments():
            for variable, value in self.next_values({}):
                variable.assign(value)

    def next_values(self, after: Mapping[Any, td.Array]) -> list[tuple[td.Variable, td.Array]]:
        """What a step assigns, as pairs of a variable and its next value.

        Args:
            after: the values of parameters to go by, by cell; of others it is the present one.
        """
        pairs: list[tuple[td.Variable, td.Array]] = [(self.steps, self.steps + 1)]
        for path, w in self.parameters.items():
            mean = self.means[path]
            value = td.astype(after.get(w.cell, w), mean.dtype)
            pairs.append((mean, mean + (1 - self.decay) * (value - mean)))
        return pairs

    def values(self) -> dict[str, td.Array]:
        """The averages by path, in the parameters' dtypes; the parameters themselves before the first step
        with `bias_correction`.
        """
        found: dict[str, td.Array] = {}
        for path, w in self.parameters.items():
            mean: td.Array = self.means[path]
            if self.bias_correction:
                weight = td.astype(weights(self.decay, self.steps), mean.dtype)
                mean = td.where(
                    self.steps == 0, td.astype(w, mean.dtype), mean / td.where(weight > 0, weight, 1)
                )
            found[path] = td.astype(mean, w.dtype)
        return found

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A block in which the parameters have the values of the averages; they get their own back at its
        end, however it ends.

        Raises:
            StateError: they have them already, or a step is made inside.
        """
        self.check_not_applied("applied")
        before = {path: w.numpy() for path, w in self.parameters.items()}
        _assign(self.parameters, self.values())
        self._before = before
        try:
            yield
        finally:
            self._before = None
            _assign(self.parameters, before)

    def check_not_applied(self, what: str) -> None:
        """Refuse what would be lost at the end of an `applied` block."""
        if self._before is not None:
            raise StateError(
                f"[{what}] the parameters have the values of their averages here, and get their own back at "
                f"the end of the block ema.applied(): do it outside"
            )

    def variables(self) -> dict[str, td.Variable]:
        """All that it remembers, by name."""
        return {"steps": self.steps, **{f"mean.{path}": mean for path, mean in self.means.items()}}

    def state(self) -> dict[str, np.ndarray]:
        """The values of all that it remembers, by name."""
        return {name: variable.numpy() for name, variable in self.variables().items()}

    def load_state(self, values: Mapping[str, Any]) -> None:
        """Assign what `state` gave, all of it or nothing.

        Raises:
            FormatError: values are missing, unexpected or of another shape.
        """
        assign_all("EMA", self.variables(), values)


def weights(decay: float, steps: td.Array) -> td.Array:
    """What the weights of so many steps in a mean with that decay add up to: ``1 - decay**steps``, without
    cancellation, for steps from 1.
    """
    return -td.expm1(steps * math.log(decay)) if decay else td.ones_like(steps)


def _first(w: td.Variable, zeros: bool) -> np.ndarray:
    dtype = "float64" if w.dtype is td.float64 else "float32"
    return np.zeros(w.shape, dtype) if zeros else w.numpy().astype(dtype)


def _assign(parameters: Mapping[str, td.Variable], values: Mapping[str, Any]) -> None:
    with td.assignments():
        for path, w in parameters.items():
            w.assign(td.asarray(values[path]))
    td.evaluate()
