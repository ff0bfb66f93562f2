"""A character LSTM (Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import treadle as td
from treadle import nn
from treadle.errors import ShapeError
from treadle.models.sampling import continued
from treadle.nn.module import evaluating


class CharacterLSTM(nn.Module):
    """Scores of what follows each character of a text: an embedding, LSTM layers, a dense layer.

    Args:
        vocabulary: how many characters there are.
        width: of the embedding and the layers.
        layers: how many.
        dropout: between the layers and after them.

    Called with numbers of characters ``[batch, steps]`` it gives scores ``[batch, steps, vocabulary]``.

    >>> import treadle as td
    >>> net = td.models.CharacterLSTM(26, width=16)
    >>> net(td.zeros((2, 7), dtype=td.int64)).shape
    (2, 7, 26)
    """

    def __init__(self, vocabulary: int, *, width: int = 256, layers: int = 2, dropout: float = 0.0):
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers=layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Dense(width, vocabulary, first=nn.initial.xavier_uniform)

    def forward(self, numbers: td.Array) -> td.Array:
        return self.along(numbers)[0]

    def along(self, numbers: td.Array, state: Any = None) -> tuple[td.Array, Any]:
        """Scores, and the state after the last character, from which a text can go on."""
        numbers = td.asarray(numbers)
        if numbers.ndim != 2:
            raise ShapeError(f"[CharacterLSTM] numbers have shape {numbers.shape}; expected [batch, steps]")
        y, state = self.lstm(self.embedding(numbers), state)
        return self.head(self.dropout(y)), state

    def sample(
        self,
        start: Sequence[int],
        count: int,
        *,
        temperature: float = 1.0,
        most_likely: int | None = None,
        seed: int = 0,
    ) -> list[int]:
        """`start` and what the network continues it with; in evaluation mode.

        Args:
            start: numbers of characters, at least one.
            count: how many more.
            temperature: below 1 draws likelier characters, 0 the likeliest.
            most_likely: draw among so many of the likeliest alone; None for all.
            seed: of the draws.

        Raises:
            ArgumentError: `start` is empty or holds no characters, or a number is out of range.
        """
        state: list[Any] = [None]
        seen = [0]
        step = td.compile(lambda numbers, state: self.along(numbers, state))

        def scores_after(symbols: list[int]) -> Any:
            new = td.asarray([symbols[seen[0] :]], dtype=td.int64)
            seen[0] = len(symbols)
            scores, state[0] = step(new, state[0])
            return scores.numpy()[0, -1]

        with evaluating(self):
            return continued(
                start,
                count,
                scores_after,
                vocabulary=self.head.weight.shape[1],
                temperature=temperature,
                most_likely=most_likely,
                seed=seed,
            )
