"""A small generative transformer: the decoder of Vaswani et al. 2017 (arXiv:1706.03762), normalised before
each part as in GPT-2 (Radford et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError, ShapeError
from treadle.models.sampling import continued
from treadle.nn.module import evaluating

SMALL = nn.initial.normal(0.02)


class Block(nn.Module):
    """Attention to what came before and a dense net of four times the width, each beside the identity."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float):
        # The projections that add to the sum of all layers begin smaller the more layers there are.
        last = nn.initial.normal(0.02 / (2 * layers) ** 0.5)
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiHeadAttention(width, heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Dense(width, 4 * width, first=SMALL)
        self.narrow = nn.Dense(4 * width, width, first=last)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: td.Array) -> td.Array:
        x = x + self.attention(self.norm1(x), causal=True)
        return x + self.dropout(self.narrow(td.gelu(self.widen(self.norm2(x)), approximate=True)))


class GPT(nn.Module):
    """Scores of what follows each symbol of a text, of at most `context` symbols.

    Args:
        vocabulary: how many symbols there are.
        context: how many symbols it sees at most.
        layers, width, heads: of the transformer; the heads divide the width.
        dropout: after the embedding and each part of a block.

    Called with numbers of symbols ``[batch, steps]`` it gives scores ``[batch, steps, vocabulary]``. The head
    is the embedding's table (Press and Wolf 2017, arXiv:1608.05859).

    >>> import treadle as td
    >>> net = td.models.GPT(26, context=8, layers=1, width=16, heads=2)
    >>> net(td.zeros((2, 7), dtype=td.int64)).shape
    (2, 7, 26)
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        context: int = 64,
        layers: int = 4,
        width: int = 128,
        heads: int = 4,
        dropout: float = 0.0,
    ):
        if min(vocabulary, context, layers) < 1:
            raise ArgumentError(
                f"[GPT] vocabulary={vocabulary}, context={context}, layers={layers}: all are positive"
            )
        self.embedding = nn.Embedding(vocabulary, width, first=SMALL)
        self.positions = nn.Parameter((context, width), SMALL)
        self.dropout = nn.Dropout(dropout)
        self.blocks = [Block(width, heads, layers, dropout) for _ in range(layers)]
        self.norm = nn.LayerNorm(width)

    def forward(self, numbers: td.Array) -> td.Array:
        numbers = td.asarray(numbers)
        context = self.positions.shape[0]
        if numbers.ndim != 2 or (isinstance(numbers.shape[1], int) and numbers.shape[1] > context):
            raise ShapeError(
                f"[GPT] numbers have shape {numbers.shape}; expected [batch, steps], of at most {context} "
                f"steps"
            )
        x = self.dropout(self.embedding(numbers) + self.positions[: numbers.shape[1]])
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ td.matrix_transpose(self.embedding.weight)

    def sample(
        self,
        start: Sequence[int],
        count: int,
        *,
        temperature: float = 1.0,
        most_likely: int | None = None,
        seed: int = 0,
    ) -> list[int]:
        """`start` and what the network continues it with, of which it sees the last `context` symbols; in
        evaluation mode.

        Args:
            start: numbers of symbols, at least one.
            count: how many more.
            temperature: below 1 draws likelier symbols, 0 the likeliest.
            most_likely: draw among so many of the likeliest alone; None for all.
            seed: of the draws.

        Raises:
            ArgumentError: `start` is empty or holds no symbols, or a number is out of range.
        """
        context = self.positions.shape[0]
        run = td.compile(lambda numbers, last: td.take(self(numbers)[0], last, axis=0))

        def scores_after(symbols: list[int]) -> Any:
            # One program for all lengths: what comes after the last symbol is not seen by it.
            window = np.zeros((1, context), np.int64)
            known = symbols[-context:]
            window[0, : len(known)] = known
            return run(window, td.asarray(len(known) - 1)).numpy()

        with evaluating(self):
            return continued(
                start,
                count,
                scores_after,
                vocabulary=self.embedding.weight.shape[0],
                temperature=temperature,
                most_likely=most_likely,
                seed=seed,
            )
