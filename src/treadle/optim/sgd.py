"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import treadle as td
from treadle.errors import ArgumentError
from treadle.optim.groups import Group, Parameters, Rate, checked_number
from treadle.optim.optimizer import Optimizer, Settings


class SGD(Optimizer):
    """``w -= rate * g``; with momentum, ``v = momentum * v + g`` and ``w -= rate * v`` (Polyak 1964).

    Args:
        parameters, rate: as of `Optimizer`.
        momentum: in [0, 1).
        nesterov: ``w -= rate * (g + momentum * v)`` (Sutskever et al. 2013).
        settings: as of `Optimizer`: weight_decay, clip_value, clip_norm, accumulate, loss_scale, ema.

    >>> import treadle as td
    >>> w = td.Variable([1.0, 2.0])
    >>> td.optim.SGD([w], 0.5).step([td.asarray([2.0, 0.0])])
    >>> w.tolist()
    [0.0, 2.0]
    """

    def __init__(
        self,
        parameters: Parameters | Sequence[Group],
        rate: Rate,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        **settings: Unpack[Settings],
    ):
        checked_number("SGD", "momentum", momentum, "in [0, 1)", lambda value: 0 <= value < 1)
        if nesterov and not momentum:
            raise ArgumentError("[SGD] nesterov=True needs a momentum")
        self.slots = ("momentum",) if momentum else ()
        self.momentum, self.nesterov = momentum, nesterov
        super().__init__(parameters, rate, **settings)

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        if not self.momentum:
            return w - rate * g, {}
        v = self.momentum * memory["momentum"] + g
        return w - rate * (g + self.momentum * v if self.nesterov else v), {"momentum": v}
