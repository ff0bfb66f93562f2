"""Rates that adapt to each element by the squares of its gradients: AdaGrad and RMSProp."""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle.errors import ArgumentError
from treadle.optim.optimizer import Optimizer, Parameters, Rate


class AdaGrad(Optimizer):
    """Steps over the root of the sum of all squares so far (Duchi et al. 2011).

    Args:
        parameters, rate, weight_decay: as of `Optimizer`.
        epsilon: added to the root.

    >>> import treadle as td
    >>> w = td.Variable([1.0])
    >>> td.optim.AdaGrad([w], 0.5).step([td.asarray([4.0])])
    >>> w.tolist()
    [0.5]
    """

    slots = ("squares",)

    def __init__(
        self,
        parameters: Parameters | Any,
        rate: Rate = 1e-2,
        *,
        epsilon: float = 1e-10,
        weight_decay: float = 0.0,
    ):
        self.epsilon = epsilon
        super().__init__(parameters, rate, weight_decay=weight_decay)

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        squares = memory["squares"] + td.square(g)
        return w - rate * g / (td.sqrt(squares) + self.epsilon), {"squares": squares}


class RMSProp(Optimizer):
    """Steps over the root of a running mean of squares (Tieleman and Hinton 2012, lecture 6e).

    Args:
        parameters, rate, weight_decay: as of `Optimizer`.
        decay: how much of the mean is kept in a step, in [0, 1).
        epsilon: added to the root.
        momentum: in [0, 1).
        centered: whether the mean of the gradients is taken out of the squares (Graves 2013,
            arXiv:1308.0850).
    """

    def __init__(
        self,
        parameters: Parameters | Any,
        rate: Rate = 1e-2,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ):
        if not 0 <= decay < 1 or not 0 <= momentum < 1:
            raise ArgumentError(f"[RMSProp] decay={decay} and momentum={momentum} must be in [0, 1)")
        self.decay, self.epsilon, self.momentum, self.centered = decay, epsilon, momentum, centered
        self.slots = ("squares", *("mean",) * centered, *("momentum",) * bool(momentum))
        super().__init__(parameters, rate, weight_decay=weight_decay)

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        kept = {"squares": self.decay * memory["squares"] + (1 - self.decay) * td.square(g)}
        variance = kept["squares"]
        if self.centered:
            kept["mean"] = self.decay * memory["mean"] + (1 - self.decay) * g
            variance = variance - td.square(kept["mean"])
        change = g / (td.sqrt(variance) + self.epsilon)
        if self.momentum:
            change = kept["momentum"] = self.momentum * memory["momentum"] + change
        return w - rate * change, kept
