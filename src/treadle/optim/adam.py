"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle.errors import ArgumentError
from treadle.optim.optimizer import Optimizer, Parameters, Rate


class Adam(Optimizer):
    """Steps by running means of each gradient and of its square (Kingma and Ba 2015, arXiv:1412.6980).

    Args:
        parameters, rate, weight_decay: as of `Optimizer`.
        betas: how much of both means is kept in a step, in [0, 1).
        epsilon: added to the root of the second.

    >>> import treadle as td
    >>> w = td.Variable([1.0, -1.0])
    >>> td.optim.Adam([w], 0.1).step([td.asarray([0.5, -2.0])])
    >>> [round(value, 3) for value in w.tolist()]
    [0.9, -0.9]
    """

    slots = ("first", "second")

    def __init__(
        self,
        parameters: Parameters | Any,
        rate: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        if not all(0 <= beta < 1 for beta in betas):
            raise ArgumentError(f"[{type(self).__name__}] betas={betas} are not in [0, 1)")
        self.betas, self.epsilon = betas, epsilon
        super().__init__(parameters, rate, weight_decay=weight_decay)

    def rule(
        self, w: td.Array, g: td.Array, memory: dict[str, td.Array], rate: td.Array, step: td.Array
    ) -> Any:
        keep1, keep2 = self.betas
        first = keep1 * memory["first"] + (1 - keep1) * g
        second = keep2 * memory["second"] + (1 - keep2) * td.square(g)
        size = rate / (1 - keep1**step)
        root = td.sqrt(second) / td.sqrt(1 - keep2**step) + self.epsilon
        return w - size * first / root, {"first": first, "second": second}


class AdamW(Adam):
    """Adam whose weight decay is taken from the parameters, not added to the gradients (Loshchilov and Hutter
    2019, arXiv:1711.05101).
    """

    decoupled = True

    def __init__(
        self,
        parameters: Parameters | Any,
        rate: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(parameters, rate, betas=betas, epsilon=epsilon, weight_decay=weight_decay)
