"""The scale of losses for float16, whose gradients are otherwise too small for it."""

from __future__ import annotations

import numpy as np

import treadle as td
from treadle.errors import ArgumentError
from treadle.optim.groups import checked_number

LEAST = 2.0**-126
"""The least scale: gradients are multiplied by its inverse, which float32 holds."""


class LossScale:
    """A factor for the loss that is as large as the gradients bear (Micikevicius et al. 2018,
    arXiv:1710.03740): it shrinks when one is not finite, and grows after so many steps in a row in which all
    were. A step whose gradients are not finite changes nothing but the scale.

    Given to an optimizer as `loss_scale`, whose state it is part of. Gradients are taken of
    `optimizer.scaled(loss)`.

    Args:
        first: the scale at first, above 0.
        growth: by what it is multiplied when it grows, from 1.
        backoff: by what when it shrinks, in (0, 1].
        interval: after how many good steps it grows.

    Raises:
        ArgumentError: a setting is out of range.

    >>> import treadle as td
    >>> w = td.Variable([1.0])
    >>> opt = td.optim.SGD([w], 0.5, loss_scale=td.optim.LossScale(8.0))
    >>> opt.step(td.gradients(opt.scaled(td.sum(w * float("inf"))), [w]))
    >>> w.tolist(), float(opt.loss_scale.scale)
    ([1.0], 4.0)
    """

    def __init__(
        self, first: float = 65536.0, *, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
    ):
        checked_number("LossScale", "first", first, "above 0", lambda value: value > 0)
        checked_number("LossScale", "growth", growth, "at least 1", lambda value: value >= 1)
        checked_number("LossScale", "backoff", backoff, "in (0, 1]", lambda value: 0 < value <= 1)
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
            raise ArgumentError(f"[LossScale] interval={interval!r}; expected a number of steps, from 1")
        self.growth, self.backoff, self.interval = growth, backoff, interval
        self.scale = td.Variable(np.float32(first), "scale", trainable=False)
        """The present scale, a 0-d float32 variable."""
        self.good = td.Variable(np.float32(0), "good", trainable=False)
        """How many steps in a row had finite gradients."""

    def next_values(self, finite: td.Array) -> list[tuple[td.Variable, td.Array]]:
        """What a step assigns, as pairs of a variable and its next value.

        Args:
            finite: whether all gradients are, a 0-d bool array.
        """
        good = td.where(finite, self.good + 1, 0.0)
        grows = good == self.interval
        larger = self.scale * self.growth
        larger = td.where(td.isfinite(larger), larger, self.scale)
        smaller = td.maximum(self.scale * self.backoff, LEAST)
        scale = td.where(finite, td.where(grows, larger, self.scale), smaller)
        return [(self.scale, scale), (self.good, td.where(grows, 0.0, good))]

    def variables(self) -> dict[str, td.Variable]:
        """What it remembers, by name."""
        return {"scale": self.scale, "good": self.good}
