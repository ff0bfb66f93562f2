"""Attention: each place of a sequence takes a mean of values, weighted by how its query fits their keys."""

from __future__ import annotations

import math
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, ShapeError
from treadle.nn import initial
from treadle.nn.dense import Dense
from treadle.nn.dropout import Dropout
from treadle.nn.inputs import check_counts
from treadle.nn.module import Module


def attention(
    query: td.Array,
    key: td.Array,
    value: td.Array,
    *,
    mask: td.Array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> td.Array:
    """``softmax(query @ key^T * scale) @ value`` (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        query: floating, ``[..., targets, size]``.
        key: ``[..., sources, size]``.
        value: ``[..., sources, features]``.
        mask: bool, broadcast to ``[..., targets, sources]``: where it is False, nothing is taken.
        causal: whether place i takes from places 0 to i alone.
        scale: None for 1 / sqrt(size).

    Returns:
        Array ``[..., targets, features]``; zeros where everything is masked.

    Raises:
        ShapeError: sizes of query and key, or the numbers of keys and values, differ.

    >>> import treadle as td
    >>> td.nn.attention(td.ones((2, 3, 4)), td.ones((2, 5, 4)), td.ones((2, 5, 6))).shape
    (2, 3, 6)
    """
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"[attention] query has shape {query.shape}, key {key.shape}, value {value.shape}: expected "
            f"[..., targets, size], [..., sources, size], [..., sources, features]"
        )
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ td.matrix_transpose(key)
    if causal:
        rows, columns = td.arange(query.shape[-2]), td.arange(key.shape[-2])
        past = td.expand_dims(rows, axis=1) >= td.expand_dims(columns, axis=0)
        mask = past if mask is None else td.logical_and(mask, past)
    if mask is None:
        return td.softmax(scores, axis=-1) @ value
    lowest = td.where(mask, scores, -1e30 if scores.dtype is not td.float16 else -6e4)
    weights = td.where(mask, td.softmax(lowest, axis=-1), 0.0)
    return weights @ value


class MultiHeadAttention(Module):
    """Attention by several heads, each on its part of the features.

    Args:
        size: features of queries and results; the heads divide it.
        heads: how many.
        bias: whether the four projections have one.
        dropout: rate at which results are dropped in training.
        dtype: of the parameters.

    Raises:
        ArgumentError: the heads do not divide the size.

    >>> import treadle as td
    >>> td.nn.MultiHeadAttention(8, 2)(td.ones((3, 5, 8)), causal=True).shape
    (3, 5, 8)
    """

    def __init__(
        self, size: int, heads: int, *, bias: bool = True, dropout: float = 0.0, dtype: Any = td.float32
    ):
        check_counts("MultiHeadAttention", size=size, heads=heads)
        if heads < 1 or size % heads:
            raise ArgumentError(f"[MultiHeadAttention] {heads} heads do not divide {size} features")
        self.heads = heads
        self.query, self.key, self.value, self.output = (
            Dense(size, size, bias=bias, first=initial.xavier_uniform, dtype=dtype) for _ in range(4)
        )
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: td.Array,
        source: td.Array | None = None,
        *,
        mask: td.Array | None = None,
        causal: bool = False,
    ) -> td.Array:
        """From x ``[batch, targets, size]``, and a source to take from if it is not x itself; a mask is
        broadcast to ``[batch, heads, targets, sources]``.
        """
        source = x if source is None else source
        size = self.output.weight.shape[0]
        for label, array in (("x", x), ("source", source)):
            if array.ndim != 3 or array.shape[0] != x.shape[0] or array.shape[2] != size:
                raise ShapeError(
                    f"[MultiHeadAttention] {label} has shape {array.shape}; expected "
                    f"[{x.shape[0] if label == 'source' and x.ndim else 'batch'}, places, {size}]"
                )
        query, key, value = (
            self._split(self.query(x)),
            self._split(self.key(source)),
            self._split(self.value(source)),
        )
        taken = attention(query, key, value, mask=mask, causal=causal)
        taken = td.reshape(td.permute_dims(taken, (0, 2, 1, 3)), x.shape)
        return self.dropout(self.output(taken))

    def _split(self, x: td.Array) -> td.Array:
        """``[batch, length, size]`` as ``[batch, heads, length, size / heads]``."""
        batch, length, size = x.shape
        return td.permute_dims(td.reshape(x, (batch, length, self.heads, size // self.heads)), (0, 2, 1, 3))

    def _summary(self) -> str:
        return f"MultiHeadAttention({self.output.weight.shape[0]}, {self.heads} heads)"
