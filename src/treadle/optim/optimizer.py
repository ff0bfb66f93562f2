"""The base of optimizers: what is remembered of each parameter, and the three ways to step.

A rule is a function of one parameter, its gradient and what is remembered of it; which parameters there are,
when a step is made of the gradients given, and how next values are stored, is settled here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NoReturn, TypedDict

import numpy as np

import treadle as td
from treadle import state
from treadle.errors import ArgumentError, GradientError, ShapeError, StateError
from treadle.graph.node import surrounded
from treadle.nn.values import assign_all
from treadle.optim.clipping import clip_by_norm, clip_by_value
from treadle.optim.ema import EMA
from treadle.optim.groups import Constraint, Group, Parameters, Rate, checked_number, checked_rate, settled
from treadle.optim.loss_scale import LossScale
from treadle.unknown import unknown_attribute

Pairs = list[tuple[td.Variable, td.Array]]
"""Variables and their next values."""


class Settings(TypedDict, total=False):
    """What every optimizer can be told by keyword, as `Optimizer` says."""

    weight_decay: float
    constraint: Constraint | None
    clip_value: float | None
    clip_norm: float | None
    accumulate: int
    loss_scale: LossScale | None
    ema: EMA | None


class Optimizer:
    """Base of the optimizers. A subclass names what it remembers of each parameter in `slots` and writes
    `rule`.

    Args:
        parameters: a module's `parameters()`, any variables, or a list of `Group`.
        rate: the learning rate: a number, or a schedule, which maps the number of steps made so far (a 0-d
            float32 array) to the rate.
        weight_decay: how much of each parameter is added to its gradient (L2), or taken from it in each
            step if `decoupled`.
        constraint: what every parameter is brought to at the end of a step, such as `nn.MaxNorm`; give groups
            their own to bound some parameters alone.
        clip_value: keep every element of the gradients within it, as `clip_by_value`; None for no bound.
        clip_norm: keep the norm of all gradients together within it, as `clip_by_norm`.
        accumulate: make a step of the mean of the gradients of so many calls, the parts of one large batch.
        loss_scale: how the losses are scaled whose gradients are given, for float16; see `scaled`.
        ema: an average of parameters, moved on with every step.

    Raises:
        ArgumentError: there are no parameters, one is there twice, or a setting is out of range.
    """

    slots: tuple[str, ...] = ()
    """What is remembered of each parameter: arrays of its shape, zeros at first."""
    decoupled = False

    def __init__(
        self,
        parameters: Parameters | Sequence[Group],
        rate: Rate,
        *,
        weight_decay: float = 0.0,
        constraint: Constraint | None = None,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        loss_scale: LossScale | None = None,
        ema: EMA | None = None,
    ):
        owner = type(self).__name__
        for name, limit in (("clip_value", clip_value), ("clip_norm", clip_norm)):
            if limit is not None:
                checked_number(owner, name, limit, "above 0", lambda value: value > 0)
        if not isinstance(accumulate, int) or isinstance(accumulate, bool) or accumulate < 1:
            raise ArgumentError(f"[{owner}] accumulate={accumulate!r}; expected a number of calls, from 1")
        for name, value, kind in (("loss_scale", loss_scale, LossScale), ("ema", ema, EMA)):
            if value is not None and not isinstance(value, kind):
                raise ArgumentError(f"[{owner}] {name}={value!r}; expected an optim.{kind.__name__}")
        self.clip_value, self.clip_norm, self.accumulate = clip_value, clip_norm, accumulate
        self.loss_scale, self.ema = loss_scale, ema
        self.groups = settled(owner, parameters, rate, weight_decay, constraint)
        self._learned = [path for path, w in self.parameters.items() if w.trainable]
        self.steps = _number("steps")
        """How many steps were made, a 0-d float32 variable."""
        self.memory = {path: self._zeros(self.slots, path, w) for path, w in self.parameters.items()}
        """Variables by parameter and slot."""
        self.calls = _number("calls")
        """How many gradients have been added up since the last step."""
        self.sums = {
            path: self._zeros(("sum",), path, w)["sum"]
            for path, w in (self.parameters.items() if accumulate > 1 else ())
        }
        """Gradients added up, by parameter, with `accumulate`."""
        self._scaled = False

    def _zeros(self, slots: Sequence[str], path: str, w: td.Variable) -> dict[str, td.Variable]:
        dtype = _wide(w).name
        return {
            slot: td.Variable(np.zeros(w.shape, dtype), f"{slot}.{path}", trainable=False) for slot in slots
        }

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        """One parameter's next value and what is to be remembered: (w, {slot: array}).

        Args:
            w, g: the parameter and its gradient, float32 or float64.
            memory: what was remembered, by slot.
            rate: the learning rate, 0-d.
            step: the number of this step, from 1, 0-d.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rule")

    # -- three ways to step

    def step(self, gradients: Any = None) -> None:
        """Assign every parameter its next value, all of them or none.

        Args:
            gradients: as `td.gradients(loss, parameters)` gives them, a dict or list like the parameters;
                None takes what `backward` has added up in `.grad`, and clears it.

        Raises:
            GradientError: there are no gradients, or not one for each parameter.
            StateError: a parameter was frozen after the optimizer was made.
            ShapeError: a gradient is not of its parameter's shape.
        """
        self.refuse_frozen()
        given = self._from_backward() if gradients is None else self._by_path(gradients)
        if self.loss_scale is not None and not self._scaled:
            raise GradientError(
                "[step] the optimizer has a loss_scale, but the loss was not scaled: take the gradients of "
                "optimizer.scaled(loss)"
            )
        self._scaled = False
        if self.ema is not None:
            self.ema.check_not_applied("step")
        with td.assignments():
            for variable, value in self.next_values(given):
                variable.assign(value)
        if gradients is None:
            for w in self.parameters.values():
                w.grad = None

    def minimize(self, loss: td.Array) -> td.Array:
        """The loss, which a session or function that computes it also makes a step on. For static graphs;
        elsewhere the step is made along with what is demanded next.

        Raises:
            ShapeError: the loss is not 0-d.
            StateError: a parameter was frozen after the optimizer was made.
            StateError: the parameters have the values of their averages, by `EMA.applied`.
        """
        if not isinstance(loss, td.Array) or loss.shape != ():
            given = f"of shape {loss.shape}" if isinstance(loss, td.Array) else f"a {type(loss).__name__}"
            raise ShapeError(f"[minimize] loss is {given}; expected a 0-d array: take its mean or sum")
        self.refuse_frozen()
        if self.ema is not None:
            self.ema.check_not_applied("minimize")
        gradients = self._by_path(td.gradients(self.scaled(loss), self.parameters))
        self._scaled = False
        node = loss.node
        for variable, value in self.next_values(gradients):
            node = state.keep(variable.cell, node, lambda before, value=value: value.node)
        return td.Array(node)

    def scaled(self, loss: td.Array) -> td.Array:
        """The loss times the present `loss_scale`, in float32: what gradients are to be taken of. Without a
        `loss_scale` the loss itself.
        """
        if self.loss_scale is None:
            return loss
        self._scaled = True
        return td.astype(loss, td.float32) * self.loss_scale.scale

    def refuse_frozen(self) -> None:
        """Raise StateError if parameters were frozen after the optimizer was made: it would move them on."""
        parameters = self.parameters
        frozen = [path for path in self._learned if not parameters[path].trainable]
        if frozen:
            raise StateError(
                f"[{type(self).__name__}] frozen since the optimizer was made: {', '.join(frozen)}; make "
                f"another optimizer, of net.parameters(), after net.freeze(...)"
            )

    # -- what a step is

    def next_values(self, gradients: Mapping[str, td.Array]) -> Pairs:
        """What a call of `step` with these gradients, by path, assigns."""
        with surrounded(role="update", mixed=None):
            # Reads that branches share are made outside of them.
            held = [variable.node for variable in (*self.variables().values(), *self.parameters.values())]
            wide = {path: td.astype(gradients[path], _wide(w)) for path, w in self.parameters.items()}
            pairs = self._next_values(wide)
            del held
            return pairs

    def _next_values(self, gradients: dict[str, td.Array]) -> Pairs:
        if self.accumulate == 1:
            return self._attempted(gradients)
        # The first call's gradients take the place of the last step's, so nothing has to be cleared.
        first, last = self.calls == 0, self.calls == self.accumulate - 1
        sums = {path: td.where(first, g, self.sums[path] + g) for path, g in gradients.items()}

        def of_means() -> Pairs:
            return self._attempted({path: total / self.accumulate for path, total in sums.items()})

        calls = td.where(last, 0.0, self.calls + 1)
        pairs = [(self.calls, calls), *((self.sums[path], total) for path, total in sums.items())]
        return [*pairs, *_where(last, of_means)]

    def _attempted(self, gradients: dict[str, td.Array]) -> Pairs:
        """A step, or none if the loss is scaled and the gradients are not finite."""
        if self.loss_scale is None:
            return self._stepped(gradients)
        finite = reduce(td.logical_and, [td.all(td.isfinite(g)) for g in gradients.values()])
        inverse = 1 / self.loss_scale.scale

        def unscaled() -> Pairs:
            return self._stepped({path: g * td.astype(inverse, g.dtype) for path, g in gradients.items()})

        return [*self.loss_scale.next_values(finite), *_where(finite, unscaled)]

    def _stepped(self, gradients: dict[str, td.Array]) -> Pairs:
        """A step by gradients of the parameters' width, whatever they are."""
        if self.clip_value is not None:
            gradients = clip_by_value(gradients, self.clip_value)
        if self.clip_norm is not None:
            gradients = clip_by_norm(gradients, self.clip_norm)
        step = self.steps + 1
        pairs: Pairs = [(self.steps, step)]
        after: dict[Any, td.Array] = {}
        for group in self.groups:
            rate: td.Array = group.rate
            if group.schedule is not None:
                rate = td.asarray(group.schedule(self.steps), dtype=td.float32)
                pairs.append((group.rate, rate))
            for path, w in group.parameters.items():
                value, g = td.astype(w, _wide(w)), gradients[path]
                if group.weight_decay and self.decoupled:
                    value = value * (1 - rate * group.weight_decay)
                elif group.weight_decay:
                    g = g + group.weight_decay * value
                slots: dict[str, td.Array] = dict(self.memory[path])
                value, remembered = self.rule(value, g, slots, rate, step)
                if group.constraint is not None:
                    value = self._bounded(path, group.constraint, value)
                after[w.cell] = td.astype(value, w.dtype)
                pairs.append((w, after[w.cell]))
                pairs += [
                    (variable, td.astype(remembered[slot], variable.dtype))
                    for slot, variable in self.memory[path].items()
                ]
        if self.ema is not None:
            pairs += self.ema.next_values(after)
        return pairs

    def _bounded(self, path: str, constraint: Constraint, value: td.Array) -> td.Array:
        found = td.asarray(constraint(value))
        if found.shape != value.shape:
            raise ShapeError(f"[step] the constraint of {path} makes {found.shape} of {value.shape}")
        return found

    # -- settings and state

    @property
    def parameters(self) -> dict[str, td.Variable]:
        """All parameters by path."""
        return {path: w for group in self.groups for path, w in group.parameters.items()}

    @property
    def rate(self) -> float:
        """The first group's learning rate: with a schedule, that of the last step. Assign it to change it."""
        return self.groups[0].rate.numpy().item()

    @rate.setter
    def rate(self, rate: Rate) -> None:
        rate = checked_rate(type(self).__name__, rate)
        for group in self.groups:
            group.schedule = rate if callable(rate) else None
            if not callable(rate):
                group.rate.assign(rate)

    def variables(self) -> dict[str, td.Variable]:
        """All that it remembers, by name: steps, rates, slots, and what accumulation, the scale of losses and
        the average keep.
        """
        found = {"steps": self.steps}
        found.update({f"rate.{i}": group.rate for i, group in enumerate(self.groups)})
        for path, slots in self.memory.items():
            found.update({f"{slot}.{path}": variable for slot, variable in slots.items()})
        if self.accumulate > 1:
            found["calls"] = self.calls
            found.update({f"sum.{path}": variable for path, variable in self.sums.items()})
        for name, part in (("loss_scale", self.loss_scale), ("ema", self.ema)):
            if part is not None:
                found.update({f"{name}.{key}": variable for key, variable in part.variables().items()})
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

    # -- names of other systems

    def __getattr__(self, name: str) -> NoReturn:
        raise unknown_attribute("optimizer", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("lr", "learning_rate"):  # would be kept, and change nothing
            raise unknown_attribute("optimizer", self, name)
        super().__setattr__(name, value)

    # -- gradients as they come

    def _by_path(self, gradients: Any) -> dict[str, td.Array]:
        parameters = self.parameters
        if isinstance(gradients, td.Array):
            raise GradientError(
                f"[step] got an array of shape {gradients.shape}; expected the gradients of all parameters: "
                f"pass td.gradients(loss, optimizer.parameters)"
            )
        if not isinstance(gradients, Mapping):
            gradients = list(gradients)
            if len(gradients) != len(parameters):
                raise GradientError(
                    f"[step] {len(gradients)} gradients for {len(parameters)} parameters: "
                    f"pass td.gradients(loss, optimizer.parameters)"
                )
            gradients = dict(zip(parameters, gradients, strict=True))
        missing = [path for path in parameters if gradients.get(path) is None]
        extra = [path for path in gradients if path not in parameters]
        if missing:
            raise GradientError(f"[step] there is no gradient for {', '.join(missing)}")
        if extra:
            raise GradientError(
                f"[step] there is no parameter for the gradients {', '.join(map(str, extra))}"
            )
        return {path: _fitting(path, w, gradients[path]) for path, w in parameters.items()}

    def _from_backward(self) -> dict[str, td.Array]:
        found: dict[str, Any] = {path: w.grad for path, w in self.parameters.items()}
        missing = [path for path, g in found.items() if g is None]
        if missing:
            raise GradientError(
                f"[step] {', '.join(missing)} has no .grad: call loss.backward(), or pass the gradients"
            )
        return {path: _fitting(path, w, found[path]) for path, w in self.parameters.items()}


def _fitting(path: str, w: td.Variable, gradient: Any) -> td.Array:
    """A gradient, refused if it cannot be that of the parameter."""
    g = td.asarray(gradient)
    if g.shape != w.shape:
        raise ShapeError(f"[step] the gradient for {path} has shape {g.shape}, the parameter {w.shape}")
    if g.dtype.kind != "float":
        raise GradientError(f"[step] the gradient for {path} is {g.dtype}, the parameter {w.dtype}")
    return g


def _number(name: str) -> td.Variable:
    return td.Variable(np.float32(0), name, trainable=False)


def _wide(w: td.Array) -> Any:
    """The dtype in which a parameter's steps are computed."""
    return td.float64 if w.dtype is td.float64 else td.float32


def _where(condition: td.Array, stepped: Callable[[], Pairs]) -> Pairs:
    """The pairs that a function gives where the condition holds; elsewhere variables stay as they are, and
    nothing of it is computed.
    """
    variables: list[td.Variable] = []

    def changed() -> list[td.Array]:
        pairs = stepped()
        variables.extend(variable for variable, _ in pairs)
        return [value for _, value in pairs]

    values = td.cond(condition, changed, lambda: [td.Array(variable.node) for variable in variables])
    return list(zip(variables, values, strict=True))
