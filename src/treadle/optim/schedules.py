"""Learning rates as functions of the number of steps made so far.

A schedule is computed within the step, so that it is the same in every style and is resumed with the
optimizer's state. `Plateau` alone follows what is measured outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import treadle as td
from treadle.errors import ArgumentError
from treadle.optim.optimizer import Optimizer

Schedule = Callable[[td.Array], td.Array]


def steps_down(rate: float, at: Sequence[int], factor: float = 0.1) -> Schedule:
    """`rate`, times `factor` from each of the steps `at` on.

    >>> import treadle as td
    >>> schedule = td.optim.steps_down(1.0, [10, 20], 0.5)
    >>> [float(schedule(td.asarray(float(step)))) for step in (9, 10, 25)]
    [1.0, 0.5, 0.25]
    """
    places = sorted(at)

    def schedule(step: td.Array) -> td.Array:
        passed = sum((td.astype(step >= place, td.float32) for place in places), td.zeros(()))
        return rate * td.pow(factor, passed)

    return schedule


def cosine(rate: float, steps: int, *, last: float = 0.0) -> Schedule:
    """From `rate` to `last` along half a cosine, in `steps` steps (Loshchilov and Hutter 2017,
    arXiv:1608.03983).
    """
    if steps < 1:
        raise ArgumentError(f"[cosine] steps={steps} is not positive")

    def schedule(step: td.Array) -> td.Array:
        share = td.minimum(step / steps, 1.0)
        return last + (rate - last) * 0.5 * (1 + td.cos(math.pi * share))

    return schedule


def linear(rate: float, steps: int, *, last: float = 0.0) -> Schedule:
    """From `rate` to `last` in equal steps."""
    if steps < 1:
        raise ArgumentError(f"[linear] steps={steps} is not positive")
    return lambda step: rate + (last - rate) * td.minimum(step / steps, 1.0)


def warm_up(steps: int, then: Schedule | float) -> Schedule:
    """From near 0 up to where `then` begins, in equal steps, and on from there (Goyal et al. 2017,
    arXiv:1706.02677).
    """
    if steps < 1:
        raise ArgumentError(f"[warm_up] steps={steps} is not positive")

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
    if steps < 2 or not 0 < rising < 1:
        raise ArgumentError(
            f"[one_cycle] steps={steps} and rising={rising}: expected 2 or more, and in (0, 1)"
        )
    up = max(1.0, rising * steps - 1)
    down = max(1.0, steps - 1 - up)

    def along(share: td.Array, begin: float, end: float) -> td.Array:
        return end + (begin - end) * 0.5 * (1 + td.cos(math.pi * td.clip(share, 0.0, 1.0)))

    def schedule(step: td.Array) -> td.Array:
        rise = along(step / up, highest / first, highest)
        return td.where(step <= up, rise, along((step - up) / down, highest, highest / first / last))

    return schedule


class Plateau:
    """Lowers an optimizer's rate when what is measured has not improved for a while.

    Args:
        optimizer: whose rate is a number.
        factor: by which it is multiplied.
        patience: how many measurements without improvement are borne.
        threshold: by which share of the best it must improve.
        lowest: the rate does not fall below.
        larger_is_better: whether improving means growing.
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
        if not 0 < factor < 1:
            raise ArgumentError(f"[Plateau] factor={factor} is not in (0, 1)")
        self.optimizer, self.factor, self.patience = optimizer, factor, patience
        self.threshold, self.lowest = threshold, lowest
        self.sign = -1.0 if larger_is_better else 1.0
        self.best = math.inf
        self.bad = 0

    def measured(self, value: Any) -> bool:
        """Take note of a measurement; whether the rate was lowered."""
        value = self.sign * float(value)
        if value < self.best - self.threshold * abs(self.best if math.isfinite(self.best) else 0.0):
            self.best, self.bad = value, 0
            return False
        self.bad += 1
        if self.bad <= self.patience:
            return False
        self.bad = 0
        for group in self.optimizer.groups:
            group.rate.assign(td.maximum(group.rate * self.factor, self.lowest))
        return True
