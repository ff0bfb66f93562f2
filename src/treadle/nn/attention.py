"""Attention: each place of a sequence takes a mean of values, weighted by how its query fits their keys."""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle.errors import ArgumentError, ShapeError
from treadle.nn import initial
from treadle.nn.dense import Dense
from treadle.nn.dropout import Dropout
from treadle.nn.inputs import check_counts
from treadle.nn.module import Module

attention = td.scaled_dot_product_attention


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
