"""The two-layer ReLU network: the smallest one that is not linear."""

from __future__ import annotations

import treadle as td
from treadle import nn
from treadle.models.classifier import Classifier


class TwoLayer(Classifier):
    """``relu(x @ w1 + b1) @ w2 + b2`` of examples of any shape, flattened.

    Args:
        num_classes: how many logits.
        inputs: elements of an example.
        hidden: how many units.
        dropout: rate behind the hidden layer.
    """

    head = "output"

    def __init__(self, num_classes: int = 10, *, inputs: int = 784, hidden: int = 100, dropout: float = 0.0):
        self.hidden = nn.Dense(inputs, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Dense(hidden, num_classes)

    def forward(self, x: td.Array) -> td.Array:
        x = td.reshape(x, (x.shape[0], -1))
        return self.output(self.dropout(td.relu(self.hidden(x))))
