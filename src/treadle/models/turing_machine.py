"""A neural Turing machine (Graves, Wayne and Danihelka 2014, arXiv:1410.5401): an LSTM that reads and writes
a memory by content and by place. Equations are numbered as there.
"""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle import nn
from treadle.errors import ShapeError

SHIFTS = (-1, 0, 1)


class Head(nn.Module):
    """Where to read or write: a weighting of the memory's rows."""

    def __init__(self, inputs: int, columns: int):
        self.key = nn.Dense(inputs, columns, first=nn.initial.xavier_uniform)
        self.focus = nn.Dense(inputs, 3, first=nn.initial.xavier_uniform)
        self.shift = nn.Dense(inputs, len(SHIFTS), first=nn.initial.xavier_uniform)

    def forward(self, h: td.Array, memory: td.Array, before: td.Array) -> td.Array:
        """The weighting ``[batch, rows]`` by the controller's output ``[batch, width]``, the memory ``[batch,
        rows, columns]`` and the weighting before.
        """
        key = td.expand_dims(td.tanh(self.key(h)), axis=1)
        focus = self.focus(h)
        strength, gate, sharp = (
            nn.softplus(focus[:, :1]),
            td.sigmoid(focus[:, 1:2]),
            1 + nn.softplus(focus[:, 2:]),
        )
        # By content (5, 6): the cosine between the key and each row.
        lengths = td.sqrt(td.sum(td.square(memory), axis=-1) * td.sum(td.square(key), axis=-1) + 1e-8)
        likeness = td.sum(memory * key, axis=-1) / lengths
        weights = td.softmax(strength * likeness, axis=-1)
        # By place (7 to 9): some of the weighting before, moved, and sharpened.
        weights = gate * weights + (1 - gate) * before
        shares = td.softmax(self.shift(h), axis=-1)
        moved = [shares[:, i : i + 1] * td.roll(weights, by, axis=1) for i, by in enumerate(SHIFTS)]
        weights = (moved[0] + moved[1] + moved[2] + 1e-12) ** sharp
        return weights / td.sum(weights, axis=-1, keepdims=True)


class NeuralTuringMachine(nn.Module):
    """An LSTM with a memory of `rows` by `columns`, which one head writes and one reads in every step.

    Args:
        inputs, outputs: sizes of what goes in and comes out in each step.
        width: of the LSTM.
        rows, columns: of the memory.

    Called with x ``[batch, steps, inputs]`` it gives scores ``[batch, steps, outputs]``.

    >>> import treadle as td
    >>> net = td.models.NeuralTuringMachine(6, 4, width=16, rows=8, columns=5)
    >>> net(td.zeros((2, 7, 6))).shape
    (2, 7, 4)
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 100, rows: int = 128, columns: int = 20):
        self.inputs, self.rows, self.columns = inputs, rows, columns
        self.controller = nn.LSTMCell(inputs + columns, width)
        self.writing, self.reading = Head(width, columns), Head(width, columns)
        self.erase = nn.Dense(width, columns, first=nn.initial.xavier_uniform)
        self.add = nn.Dense(width, columns, first=nn.initial.xavier_uniform)
        self.output = nn.Dense(width + columns, outputs, first=nn.initial.xavier_uniform)
        self.first_read = nn.Parameter((1, columns), nn.initial.normal(0.1))

    def forward(self, x: td.Array) -> td.Array:
        x = td.asarray(x)
        if x.ndim != 3 or x.shape[2] != self.inputs:
            raise ShapeError(
                f"[NeuralTuringMachine] x has shape {x.shape}; expected [batch, steps, {self.inputs}]"
            )
        batch, width = x.shape[0], self.controller.width
        # The first row is where both heads begin; the memory begins empty.
        at = td.broadcast_to(td.one_hot(td.asarray(0), self.rows), (batch, self.rows))
        state = td.zeros((batch, width)), td.zeros((batch, width))
        memory = td.full((batch, self.rows, self.columns), 1e-6)
        read = td.broadcast_to(td.tanh(self.first_read), (batch, self.columns))
        _, ys = td.scan(self._step, (state, memory, at, at, read), td.permute_dims(x, (1, 0, 2)))
        return td.permute_dims(ys, (1, 0, 2))

    def _step(self, carry: Any, x: td.Array) -> tuple[Any, td.Array]:
        state, memory, written, reading, read = carry
        state = self.controller(td.concat([x, read], axis=1), state)
        h = state[0]
        # Write (3, 4): erase, then add.
        written = self.writing(h, memory, written)
        place = td.expand_dims(written, axis=2)
        memory = memory * (1 - place * td.expand_dims(td.sigmoid(self.erase(h)), axis=1))
        memory = memory + place * td.expand_dims(td.tanh(self.add(h)), axis=1)
        # Read (2).
        reading = self.reading(h, memory, reading)
        read = td.sum(td.expand_dims(reading, axis=2) * memory, axis=1)
        return (state, memory, written, reading, read), self.output(td.concat([h, read], axis=1))
