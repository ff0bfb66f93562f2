"""Gradients kept within bounds, as functions of what `td.gradients` gives: a dict or a list."""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle.errors import ArgumentError


def _mapped(gradients: Any, function: Any) -> Any:
    if isinstance(gradients, dict):
        return {path: function(g) for path, g in gradients.items()}
    return [function(g) for g in gradients]


def clip_by_value(gradients: Any, limit: float) -> Any:
    """Every element between -limit and limit.

    >>> import treadle as td
    >>> td.optim.clip_by_value([td.asarray([3.0, -0.5])], 1.0)[0].tolist()
    [1.0, -0.5]
    """
    if not limit > 0:
        raise ArgumentError(f"[clip_by_value] limit={limit} is not positive")
    return _mapped(gradients, lambda g: td.clip(g, -limit, limit))


def global_norm(gradients: Any) -> td.Array:
    """The Euclidean norm of all gradients together, 0-d float32."""
    parts = list(gradients.values() if isinstance(gradients, dict) else gradients)
    return td.sqrt(sum((td.sum(td.square(td.astype(g, td.float32))) for g in parts), td.zeros(())))


def clip_by_norm(gradients: Any, limit: float) -> Any:
    """All gradients scaled down together so that their norm is at most `limit` (Pascanu et al. 2013,
    arXiv:1211.5063).

    >>> import treadle as td
    >>> [g.tolist() for g in td.optim.clip_by_norm([td.asarray([3.0]), td.asarray([4.0])], 5.0)]
    [[3.0], [4.0]]
    """
    if not limit > 0:
        raise ArgumentError(f"[clip_by_norm] limit={limit} is not positive")
    scale = td.minimum(limit / td.maximum(global_norm(gradients), 1e-12), 1.0)
    return _mapped(gradients, lambda g: g * td.astype(scale, g.dtype))
