"""Learning rates as functions of the number of steps made so far.

A schedule is computed within the step, so that it is the same in every style and is resumed with the
optimizer's state. `Plateau` alone follows what is measured outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import treadle as td
from treadle.errors import ArgumentError, FormatError
from treadle.optim.groups import checked_number, checked_rate
from treadle.optim.optimizer import Optimizer

Schedule = Callable[[td.Array], td.Array]


def steps_down(rate: float, at: Sequence[int], factor: float = 0.1) -> Schedule:
    """`rate`, times `factor` from each of the steps `at` on.

    >>> import treadle as td
    >>> schedule = td.optim.steps_down(1.0, [10, 20], 0.5)
    >>> [float(schedule(td.asarray(float(step)))) for step in (9, 10, 25)]
    [1.0, 0.5, 0.25]
    """
    _check("steps_down", rate)
    checked_number("steps_down", "factor", factor, "above 0", lambda value: value > 0)
    if isinstance(at, str) or not isinstance(at, Iterable):
        raise ArgumentError(f"[steps_down] at={at!r}; expected a list of numbers of steps")
    places = sorted(at)

    def schedule(step: td.Array) -> td.Array:
        passed = sum((td.astype(step >= place, td.float32) for place in places), td.zeros(()))
        return rate * td.pow(factor, passed)

    return schedule


def cosine(rate: float, steps: int, *, last: float = 0.0) -> Schedule:
    """From `rate` to `last` along half a cosine, in `steps` steps (Loshchilov and Hutter 2017,
    arXiv:1608.03983).
    """
    _check("cosine", rate, steps, last)

    def schedule(step: td.Array) -> td.Array:
        share = td.minimum(step / steps, 1.0)
        return last + (rate - last) * 0.5 * (1 + td.cos(math.pi * share))

    return schedule


def linear(rate: float, steps: int, *, last: float = 0.0) -> Schedule:
    """From `rate` to `last` in equal steps."""
    _check("linear", rate, steps, last)
    return lambda step: rate + (last - rate) * td.minimum(step / steps, 1.0)


def warm_up(steps: int, then: Schedule | float) -> Schedule:
    """From near 0 up to where `then` begins, in equal steps, and on from there (Goyal et al. 2017,
    arXiv:1706.02677).
    """
    _check("warm_up", 0.0, steps)
    checked_rate("warm_up", then)

    def schedule(step: td.Array) -> td.Array:
        later = then(td.maximum(step - steps, 0.0)) if callable(then) else td.asarray(then)
        return later * td.minimum((step + 1) / steps, 1.0)

    return schedule


def one_cycle(
    highest: float, steps: int, *, rising: float = 0.3, first: float = 25.0, last: float = 1e4
) -> Schedule:
    """Up to `highest` along a cosine for a share of the steps, then down (Smith and Topin 2019,
    arXiv:1708.07120).

    Args:
        highest: the largest rate.
        steps: how many there will be.
        rising: the share of them in which it rises.
        first, last: the first rate is ``highest / first``, the last one that over `last`.
    """
    _check("one_cycle", highest, steps)
    checked_number("one_cycle", "rising", rising, "in (0, 1)", lambda value: 0 < value < 1)
    for name, value in (("first", first), ("last", last)):
        checked_number("one_cycle", name, value, "above 0", lambda value: value > 0)
    up = max(1.0, rising * steps - 1)
    down = max(1.0, steps - 1 - up)

    def along(share: td.Array, begin: float, end: float) -> td.Array:
        return end + (begin - end) * 0.5 * (1 + td.cos(math.pi * td.clip(share, 0.0, 1.0)))

    def schedule(step: td.Array) -> td.Array:
        rise = along(step / up, highest / first, highest)
        return td.where(step <= up, rise, along((step - up) / down, highest, highest / first / last))

    return schedule


def _check(name: str, rate: Any, steps: Any = 1, last: Any = 0.0) -> None:
    """Refuse settings that make no schedule."""
    for argument, value in (("rate", rate), ("last", last)):
        checked_number(name, argument, value, "at least 0", lambda value: value >= 0)
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 1:
        raise ArgumentError(f"[{name}] steps={steps!r}; expected a number of steps, from 1")


class Plateau:
    """Lowers an optimizer's rate when what is measured has not improved for a while.

    Args:
        optimizer: whose rates are numbers.
        factor: by which they are multiplied.
        patience: how many measurements without improvement are borne.
        threshold: by which share of the best it must improve.
        lowest: the rates do not fall below.
        larger_is_better: whether improving means growing.

    Raises:
        ArgumentError: a setting is out of range, or a schedule sets a rate of the optimizer.

    >>> import treadle as td
    >>> opt = td.optim.SGD([td.Variable(1.0)], 0.5)
    >>> plateau = td.optim.Plateau(opt, factor=0.5, patience=1)
    >>> [plateau.measured(loss) for loss in (1.0, 1.1, 1.2)], opt.rate
    ([False, False, True], 0.25)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        lowest: float = 0.0,
        larger_is_better: bool = False,
    ):
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"[Plateau] optimizer is a {type(optimizer).__name__}; expected an optimizer")
        if any(group.schedule is not None for group in optimizer.groups):
            raise ArgumentError("[Plateau] the optimizer's rate is a schedule, which sets it in every step")
        checked_number("Plateau", "factor", factor, "in (0, 1)", lambda value: 0 < value < 1)
        checked_number("Plateau", "patience", patience, "at least 0", lambda value: value >= 0)
        checked_number("Plateau", "threshold", threshold, "at least 0", lambda value: value >= 0)
        checked_number("Plateau", "lowest", lowest, "at least 0", lambda value: value >= 0)
        self.optimizer, self.factor, self.patience = optimizer, factor, patience
        self.threshold, self.lowest = threshold, lowest
        self.sign = -1.0 if larger_is_better else 1.0
        self.best = math.inf
        self.bad = 0

    def measured(self, value: Any) -> bool:
        """Take note of a measurement; whether the rates were lowered."""
        value = self.sign * float(value)
        if value < self.best - self.threshold * abs(self.best if math.isfinite(self.best) else 0.0):
            self.best, self.bad = value, 0
            return False
        self.bad += 1
        if self.bad <= self.patience:
            return False
        self.bad = 0
        with td.assignments():
            for group in self.optimizer.groups:
                lower = td.maximum(group.rate * self.factor, self.lowest)
                group.rate.assign(td.minimum(group.rate, lower))  # that of a group may be lower already
        return True

    def state(self) -> dict[str, np.ndarray]:
        """What it remembers, by name; the rates are in the optimizer's state."""
        return {"best": np.asarray(self.best, "float64"), "bad": np.asarray(self.bad, "int64")}

    def load_state(self, values: Mapping[str, Any]) -> None:
        """Take what `state` gave.

        Raises:
            FormatError: values are missing or unexpected.
        """
        if set(values) != {"best", "bad"}:
            raise FormatError(f"[load_state] Plateau: expected best and bad, got {', '.join(sorted(values))}")
        self.best, self.bad = float(values["best"]), int(values["bad"])
