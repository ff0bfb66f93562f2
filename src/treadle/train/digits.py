"""A small convolutional network for the 8x8 digits."""

from __future__ import annotations

import treadle as td
from treadle import nn


class Digits(nn.Module):
    """Two convolutions and two dense layers: from ``[batch, 1, 8, 8]`` to the scores of 10 classes.

    Args:
        channels: of the two convolutions.
        hidden: features between the dense layers.
        classes: how many.

    >>> import treadle as td
    >>> from treadle.train.digits import Digits
    >>> Digits()(td.ones((2, 1, 8, 8))).shape
    (2, 10)
    """

    def __init__(self, *, channels: tuple[int, int] = (32, 64), hidden: int = 64, classes: int = 10):
        first, second = channels
        self.conv1 = nn.Conv(1, first, 3, padding=1)
        self.conv2 = nn.Conv(first, second, 3, padding=1)
        self.dense1 = nn.Dense(4 * second, hidden)
        self.dense2 = nn.Dense(hidden, classes)

    def forward(self, x: td.Array) -> td.Array:
        for conv in (self.conv1, self.conv2):
            x = td.max_pool(td.relu(conv(x)), 2)
        x = td.reshape(x, (x.shape[0], -1))
        return self.dense2(td.relu(self.dense1(x)))
