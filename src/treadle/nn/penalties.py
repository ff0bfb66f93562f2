"""What is added to a loss, or done after a step, to keep parameters small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import treadle as td

Parameters = Mapping[str, td.Variable] | Iterable[td.Variable]


def _listed(parameters: Parameters) -> list[td.Variable]:
    return list(parameters.values() if isinstance(parameters, Mapping) else parameters)


def l2(parameters: Parameters, rate: float) -> td.Array:
    """``rate * sum of squares`` of all parameters, 0-d."""
    return rate * sum((td.sum(td.square(w)) for w in _listed(parameters)), td.asarray(0.0))


def l1(parameters: Parameters, rate: float) -> td.Array:
    """``rate * sum of absolute values`` of all parameters, 0-d."""
    return rate * sum((td.sum(td.abs(w)) for w in _listed(parameters)), td.asarray(0.0))


def max_norm(parameters: Parameters, limit: float, axis: int = 0) -> None:
    """Scale down, after a step, the slices of weights along a dimension whose Euclidean norm exceeds a limit
    (Srebro and Shraibman 2005); vectors are left alone.
    """
    with td.assignments():
        for w in _listed(parameters):
            if w.ndim >= 2:
                norms = td.sqrt(td.sum(td.square(w), axis=axis, keepdims=True))
                w.assign(w * td.minimum(limit / td.maximum(norms, 1e-12), 1.0))
