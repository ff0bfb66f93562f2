"""Rates that adapt to each element by the squares of its gradients: AdaGrad and RMSProp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import treadle as td
from treadle.optim.groups import Group, Parameters, Rate, checked_number
from treadle.optim.optimizer import Optimizer, Settings


class AdaGrad(Optimizer):
    """Steps over the root of the sum of all squares so far (Duchi et al. 2011).

    Args:
        parameters, rate: as of `Optimizer`.
        epsilon: added to the root.
        settings: as of `Optimizer`: weight_decay, clip_value, clip_norm, accumulate, loss_scale, ema.

    >>> import treadle as td
    >>> w = td.Variable([1.0])
    >>> td.optim.AdaGrad([w], 0.5).step([td.asarray([4.0])])
    >>> w.tolist()
    [0.5]
    """

    slots = ("squares",)

    def __init__(
        self,
        parameters: Parameters | Sequence[Group],
        rate: Rate = 1e-2,
        *,
        epsilon: float = 1e-10,
        **settings: Unpack[Settings],
    ):
        self.epsilon = checked_number("AdaGrad", "epsilon", epsilon, "at least 0", lambda value: value >= 0)
        super().__init__(parameters, rate, **settings)

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        squares = memory["squares"] + td.square(g)
        return w - rate * g / (td.sqrt(squares) + self.epsilon), {"squares": squares}


class RMSProp(Optimizer):
    """Steps over the root of a running mean of squares (Tieleman and Hinton 2012, lecture 6e).

    Args:
        parameters, rate: as of `Optimizer`.
        decay: how much of the mean is kept in a step, in [0, 1).
        epsilon: added to the root.
        momentum: in [0, 1).
        centered: whether the mean of the gradients is taken out of the squares (Graves 2013,
            arXiv:1308.0850).
        settings: as of `Optimizer`: weight_decay, clip_value, clip_norm, accumulate, loss_scale, ema.
    """

    def __init__(
        self,
        parameters: Parameters | Sequence[Group],
        rate: Rate = 1e-2,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        **settings: Unpack[Settings],
    ):
        for name, value in (("decay", decay), ("momentum", momentum)):
            checked_number("RMSProp", name, value, "in [0, 1)", lambda value: 0 <= value < 1)
        checked_number("RMSProp", "epsilon", epsilon, "at least 0", lambda value: value >= 0)
        self.decay, self.epsilon, self.momentum, self.centered = decay, epsilon, momentum, centered
        self.slots = ("squares", *("mean",) * centered, *("momentum",) * bool(momentum))
        super().__init__(parameters, rate, **settings)

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
