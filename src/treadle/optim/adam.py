"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import treadle as td
from treadle.errors import ArgumentError
from treadle.optim.ema import weights
from treadle.optim.groups import Group, Parameters, Rate, checked_number
from treadle.optim.optimizer import Optimizer, Settings


class Adam(Optimizer):
    """Steps by running means of each gradient and of its square (Kingma and Ba 2015, arXiv:1412.6980).

    Args:
        parameters, rate: as of `Optimizer`.
        betas: how much of both means is kept in a step, in [0, 1).
        epsilon: added to the root of the second.
        amsgrad: divide by the root of the largest second mean so far (Reddi et al. 2018).
        settings: as of `Optimizer`: weight_decay, clip_value, clip_norm, accumulate, loss_scale, ema.

    >>> import treadle as td
    >>> w = td.Variable([1.0, -1.0])
    >>> td.optim.Adam([w], 0.1).step([td.asarray([0.5, -2.0])])
    >>> [round(value, 3) for value in w.tolist()]
    [0.9, -0.9]
    """

    def __init__(
        self,
        parameters: Parameters | Sequence[Group],
        rate: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        **settings: Unpack[Settings],
    ):
        name = type(self).__name__
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ArgumentError(f"[{name}] betas={betas!r}; expected two numbers, in [0, 1)")
        for beta in betas:
            checked_number(name, "betas", beta, "in [0, 1)", lambda value: 0 <= value < 1)
        checked_number(name, "epsilon", epsilon, "at least 0", lambda value: value >= 0)
        self.betas, self.epsilon, self.amsgrad = betas, epsilon, amsgrad
        self.slots = ("first", "second", *("largest",) * amsgrad)
        super().__init__(parameters, rate, **settings)

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        keep1, keep2 = self.betas
        first = keep1 * memory["first"] + (1 - keep1) * g
        second = largest = keep2 * memory["second"] + (1 - keep2) * td.square(g)
        kept = {"first": first, "second": second}
        if self.amsgrad:
            largest = kept["largest"] = td.maximum(memory["largest"], second)
        size = rate / weights(keep1, step)
        root = td.sqrt(largest) / td.sqrt(weights(keep2, step)) + self.epsilon
        return w - size * first / root, kept


class AdamW(Adam):
    """Adam whose weight decay, 0.01 if nothing else is said, is taken from the parameters, not added to the
    gradients (Loshchilov and Hutter 2019, arXiv:1711.05101).
    """

    decoupled = True

    def __init__(
        self,
        parameters: Parameters | Sequence[Group],
        rate: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        **settings: Unpack[Settings],
    ):
        settings.setdefault("weight_decay", 1e-2)
        super().__init__(parameters, rate, betas=betas, epsilon=epsilon, amsgrad=amsgrad, **settings)
