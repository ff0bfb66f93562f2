"""What is added to a loss, or done after a step, to keep parameters small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import treadle as td
from treadle.errors import ArgumentError

Parameters = Mapping[str, td.Variable] | Iterable[td.Variable]


def _listed(parameters: Parameters) -> list[td.Variable]:
    return list(parameters.values() if isinstance(parameters, Mapping) else parameters)


def l2(parameters: Parameters, rate: float) -> td.Array:
    """``rate * sum of squares`` of all parameters, 0-d."""
    return rate * sum((td.sum(td.square(w)) for w in _listed(parameters)), td.asarray(0.0))


def l1(parameters: Parameters, rate: float) -> td.Array:
    """``rate * sum of absolute values`` of all parameters, 0-d."""
    return rate * sum((td.sum(td.abs(w)) for w in _listed(parameters)), td.asarray(0.0))


@dataclass(frozen=True)
class MaxNorm:
    """A constraint for optimizers: weights scaled down where the Euclidean norm of those that enter one unit
    exceeds a limit (Srebro and Shraibman 2005); vectors are left alone.

    Args:
        limit: the largest norm, positive.
        axis: the dimensions that norms are taken over; None for the first of a matrix ``[inputs, outputs]``,
            all but the first of a convolution's weight.

    Raises:
        ArgumentError: the limit is not positive.

    >>> import treadle as td
    >>> td.nn.MaxNorm(1.0)(td.asarray([[3.0, 0.3], [4.0, 0.4]])).numpy().round(4).tolist()
    [[0.6000000238418579, 0.30000001192092896], [0.800000011920929, 0.4000000059604645]]
    """

    limit: float
    axis: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ArgumentError(f"[MaxNorm] limit={self.limit} is not positive")

    def __call__(self, w: td.Array) -> td.Array:
        if w.ndim < 2:
            return w
        axis = self.axis
        if axis is None:
            axis = 0 if w.ndim == 2 else tuple(range(1, w.ndim))
        norms = td.sqrt(td.sum(td.square(w), axis=axis, keepdims=True))
        return w * td.minimum(self.limit / td.maximum(norms, 1e-12), 1.0)


def max_norm(parameters: Parameters, limit: float, axis: int | tuple[int, ...] | None = None) -> None:
    """Assign parameters what `MaxNorm` makes of them, after a step or at any other time."""
    constraint = MaxNorm(limit, axis)
    with td.assignments():
        for w in _listed(parameters):
            if w.ndim >= 2:
                w.assign(constraint(w))
