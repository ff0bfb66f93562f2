"""The base of optimizers: parameters in groups, what is remembered of each, and the three ways to step.

A rule is a function of one parameter, its gradient and what is remembered of it; which parameters there are,
and how their next values are stored, is settled here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import treadle as td
from treadle import state
from treadle.errors import ArgumentError, GradientError
from treadle.nn.values import assign_all

Parameters = Mapping[str, td.Variable] | Sequence[td.Variable]
Rate = float | Callable[[td.Array], Any]
"""A learning rate: a number, or a schedule, a function of the number of steps made so far."""


class Group(NamedTuple):
    """Parameters with a rate and a weight decay of their own; what is None is the optimizer's."""

    parameters: Parameters
    rate: Rate | None = None
    weight_decay: float | None = None


class _Group:
    """A group as the optimizer keeps it: its rate is a variable, so that changing it is no new program."""

    def __init__(self, parameters: dict[str, td.Variable], rate: Rate, weight_decay: float, name: str):
        self.parameters = parameters
        self.schedule = rate if callable(rate) else None
        self.rate = td.Variable(0.0 if callable(rate) else rate, name, trainable=False)
        self.weight_decay = weight_decay


class Optimizer:
    """Base of the optimizers. A subclass names what it remembers of each parameter in `slots` and writes
    `rule`.

    Args:
        parameters: a module's `parameters()`, any variables, or a list of `Group`.
        rate: the learning rate: a number, or a schedule, which maps the number of steps made so far (a 0-d
            float32 array) to the rate.
        weight_decay: how much of each parameter is added to its gradient (L2), or taken from it in each
            step if `decoupled`.

    Raises:
        ArgumentError: there are no parameters, one is in two groups, or the rate is negative.
    """

    slots: tuple[str, ...] = ()
    """What is remembered of each parameter: arrays of its shape, zeros at first."""
    decoupled = False

    def __init__(self, parameters: Parameters | Sequence[Group], rate: Rate, *, weight_decay: float = 0.0):
        self.steps = td.Variable(0.0, "steps", trainable=False)
        """How many steps were made, a 0-d float32 variable."""
        self.groups = [
            _Group(group.parameters, self._checked(group.rate), group.weight_decay, f"rate.{i}")
            for i, group in enumerate(_grouped(parameters, rate, weight_decay))
        ]
        self.memory = {
            path: {
                slot: td.Variable(np.zeros(w.shape, "float32"), f"{slot}.{path}", trainable=False)
                for slot in self.slots
            }
            for group in self.groups
            for path, w in group.parameters.items()
        }
        """Variables by parameter and slot."""

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        """One parameter's next value, in float32, and what is to be remembered: (w, {slot: array}).

        Args:
            w, g: the parameter and its gradient, float32 or float64.
            memory: what was remembered, by slot.
            rate: the learning rate, 0-d.
            step: the number of this step, from 1, 0-d.
        """
        raise NotImplementedError

    # -- three ways to step

    def step(self, gradients: Any = None) -> None:
        """Assign every parameter its next value, all of them or none.

        Args:
            gradients: as `td.gradients(loss, parameters)` gives them, a dict or list like the parameters;
                None takes what `backward` has added up in `.grad`, and clears it.

        Raises:
            GradientError: there are no gradients, or not one for each parameter.
        """
        given = self._from_backward() if gradients is None else self._by_path(gradients)
        with td.assignments():
            for variable, value in self.next_values(given):
                variable.assign(value)
        if gradients is None:
            for w in self.parameters.values():
                w.grad = None

    def minimize(self, loss: td.Array) -> td.Array:
        """In a static graph: the loss, which a session or function that computes it also makes a step on."""
        gradients = td.gradients(loss, self.parameters)
        node = loss.node
        for variable, value in self.next_values(gradients):
            node = state.keep(variable.cell, node, lambda before, value=value: value.node)
        return td.Array(node)

    def next_values(self, gradients: Mapping[str, td.Array]) -> list[tuple[td.Variable, td.Array]]:
        """What a step assigns, as pairs of a variable and its next value."""
        step = self.steps + 1
        found: list[tuple[td.Variable, td.Array]] = [(self.steps, step)]
        for group in self.groups:
            rate: td.Array = group.rate
            if group.schedule is not None:
                rate = td.asarray(group.schedule(self.steps), dtype=td.float32)
                found.append((group.rate, rate))
            for path, w in group.parameters.items():
                wide = td.float64 if w.dtype is td.float64 else td.float32
                value, g = td.astype(w, wide), td.astype(gradients[path], wide)
                if group.weight_decay and self.decoupled:
                    value = value * (1 - rate * group.weight_decay)
                elif group.weight_decay:
                    g = g + group.weight_decay * value
                slots: dict[str, td.Array] = dict(self.memory[path])
                value, remembered = self.rule(value, g, slots, rate, step)
                found.append((w, td.astype(value, w.dtype)))
                found += [
                    (self.memory[path][slot], td.astype(array, td.float32))
                    for slot, array in remembered.items()
                ]
        return found

    # -- settings and state

    @property
    def parameters(self) -> dict[str, td.Variable]:
        """All parameters by path."""
        return {path: w for group in self.groups for path, w in group.parameters.items()}

    @property
    def rate(self) -> float:
        """The first group's learning rate: with a schedule, that of the last step. Assign it to change it."""
        return float(self.groups[0].rate)

    @rate.setter
    def rate(self, rate: Rate) -> None:
        for group in self.groups:
            group.schedule = rate if callable(rate) else None
            if not callable(rate):
                group.rate.assign(self._checked(rate))

    def variables(self) -> dict[str, td.Variable]:
        """All that it remembers, by name: steps, rates, slots."""
        found = {"steps": self.steps}
        found.update({f"rate.{i}": group.rate for i, group in enumerate(self.groups)})
        for path, slots in self.memory.items():
            found.update({f"{slot}.{path}": variable for slot, variable in slots.items()})
        return found

    def state(self) -> dict[str, np.ndarray]:
        """The values of all that it remembers, by name."""
        return {name: variable.numpy() for name, variable in self.variables().items()}

    def load_state(self, values: Mapping[str, Any]) -> None:
        """Assign what `state` gave, all of it or nothing.

        Raises:
            FormatError: values are missing, unexpected or of another shape.
        """
        assign_all(type(self).__name__, self.variables(), values)

    # -- arguments

    def _checked(self, rate: Any) -> Any:
        if not callable(rate) and not rate >= 0:
            raise ArgumentError(f"[{type(self).__name__}] rate={rate}: a learning rate is not negative")
        return rate

    def _by_path(self, gradients: Any) -> dict[str, td.Array]:
        parameters = self.parameters
        if not isinstance(gradients, Mapping):
            gradients = list(gradients)
            if len(gradients) != len(parameters):
                raise GradientError(
                    f"[step] {len(gradients)} gradients for {len(parameters)} parameters: "
                    f"pass td.gradients(loss, optimizer.parameters)"
                )
            gradients = dict(zip(parameters, gradients, strict=True))
        missing = [path for path in parameters if path not in gradients]
        if missing:
            raise GradientError(f"[step] there is no gradient for {', '.join(missing)}")
        return dict(gradients)

    def _from_backward(self) -> dict[str, td.Array]:
        found: dict[str, Any] = {path: w.grad for path, w in self.parameters.items()}
        missing = [path for path, g in found.items() if g is None]
        if missing:
            raise GradientError(
                f"[step] {', '.join(missing)} has no .grad: call loss.backward(), or pass the gradients"
            )
        return found


def _grouped(parameters: Any, rate: Rate, weight_decay: float) -> Iterable[_Given]:
    """Groups with all that they are, every parameter by its path."""
    listed = list(parameters) if not isinstance(parameters, Mapping) else []
    groups = listed if listed and all(isinstance(item, Group) for item in listed) else [Group(parameters)]
    seen: dict[int, str] = {}
    paths: set[str] = set()
    for number, group in enumerate(groups):
        named = group.parameters
        if not isinstance(named, Mapping):
            variables = list(named)
            names = [w.name for w in variables]
            distinct = len(set(names)) == len(names) and len(groups) == 1
            named = {n if distinct else f"{number}.{i}": w for i, (n, w) in enumerate(zip(names, variables))}
        if not named:
            raise ArgumentError("an optimizer needs parameters; are they all frozen?")
        for path, w in named.items():
            if id(w.cell) in seen:
                raise ArgumentError(f"{path} is among the parameters twice, first as {seen[id(w.cell)]}")
            seen[id(w.cell)] = path
        # Parts of one network have the same names inside.
        taken = not paths.isdisjoint(named)
        paths.update(named)
        yield _Given(
            {f"{number}.{path}" if taken else path: w for path, w in named.items()},
            rate if group.rate is None else group.rate,
            weight_decay if group.weight_decay is None else group.weight_decay,
        )


class _Given(NamedTuple):
    """A group, nothing left open."""

    parameters: dict[str, td.Variable]
    rate: Rate
    weight_decay: float
