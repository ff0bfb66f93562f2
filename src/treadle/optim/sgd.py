"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle.errors import ArgumentError
from treadle.optim.optimizer import Optimizer, Parameters, Rate


class SGD(Optimizer):
    """``w -= rate * g``; with momentum, ``v = momentum * v + g`` and ``w -= rate * v`` (Polyak 1964).

    Args:
        parameters, rate, weight_decay: as of `Optimizer`.
        momentum: in [0, 1).
        nesterov: ``w -= rate * (g + momentum * v)`` (Sutskever et al. 2013).

    >>> import treadle as td
    >>> w = td.Variable([1.0, 2.0])
    >>> td.optim.SGD([w], 0.5).step([td.asarray([2.0, 0.0])])
    >>> w.tolist()
    [0.0, 2.0]
    """

    def __init__(
        self,
        parameters: Parameters | Any,
        rate: Rate,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        if not 0 <= momentum < 1:
            raise ArgumentError(f"[SGD] momentum={momentum} is not in [0, 1)")
        if nesterov and not momentum:
            raise ArgumentError("[SGD] nesterov=True needs a momentum")
        self.slots = ("momentum",) if momentum else ()
        self.momentum, self.nesterov = momentum, nesterov
        super().__init__(parameters, rate, weight_decay=weight_decay)

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        if not self.momentum:
            return w - rate * g, {}
        v = self.momentum * memory["momentum"] + g
        return w - rate * (g + self.momentum * v if self.nesterov else v), {"momentum": v}
