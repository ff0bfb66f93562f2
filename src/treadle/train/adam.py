"""Adam (Kingma and Ba 2015, arXiv:1412.6980) as a plain function; what it remembers is variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import treadle as td

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass
class Moments:
    """What Adam remembers: how often it stepped, and running means of each gradient and of its square."""

    steps: td.Variable
    first: list[td.Variable]
    second: list[td.Variable]


def zero_moments(variables: Sequence[td.Variable]) -> Moments:
    """The state before the first step."""
    return Moments(
        td.Variable(0.0, name="adam.steps", trainable=False),
        [td.Variable(td.zeros_like(v), name=f"{v.name}.first", trainable=False) for v in variables],
        [td.Variable(td.zeros_like(v), name=f"{v.name}.second", trainable=False) for v in variables],
    )


def step(
    variables: Sequence[td.Variable],
    gradients: Sequence[td.Array],
    moments: Moments,
    rate: float | td.Array,
) -> None:
    """Assign every variable its next value, and the moments theirs, all of them or none.

    >>> w = td.Variable([1.0, -1.0])
    >>> step([w], [td.asarray([0.5, -2.0])], zero_moments([w]), rate=0.1)
    >>> [round(value, 3) for value in w.tolist()]
    [0.9, -0.9]
    """
    with td.assignments():
        steps = moments.steps + 1
        moments.steps.assign(steps)
        corrected = rate * td.sqrt(1 - BETA2**steps) / (1 - BETA1**steps)
        for w, g, first, second in zip(variables, gradients, moments.first, moments.second, strict=True):
            m = BETA1 * first + (1 - BETA1) * g
            v = BETA2 * second + (1 - BETA2) * td.square(g)
            first.assign(m)
            second.assign(v)
            w.assign(w - corrected * m / (td.sqrt(v) + EPSILON))
