"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition"), with all maps of S2
connected to all of C3, plain averages for its subsampling, and logits for its radial basis functions.
"""

from __future__ import annotations

import treadle as td
from treadle import nn
from treadle.models.classifier import Classifier, flattened
from treadle.nn.initial import he_normal, lecun_normal

ACTIVATIONS = {"tanh": (td.tanh, lecun_normal), "relu": (td.relu, he_normal)}
"""Functions, and the first values that suit them."""


class LeNet5(Classifier):
    """LeNet-5 for images ``[batch, channels, size, size]``.

    Args:
        num_classes: how many logits.
        channels: of the images.
        size: height and width: 32 as in the paper, or less, which is padded to it.
        activation: "tanh" as in the paper, or "relu".
        layout: "NCHW" or "NHWC".

    Raises:
        ArgumentError: there is no such activation, or the size is odd or above 32.
    """

    head = "output"

    def __init__(
        self,
        num_classes: int = 10,
        *,
        channels: int = 1,
        size: int = 28,
        activation: str = "tanh",
        layout: str = "NCHW",
    ):
        self._activation, first = self.chosen("activation", activation, ACTIVATIONS)
        padding = self.chosen("size", size, {n: (32 - n) // 2 for n in range(8, 33, 2)})
        self.conv1 = nn.Conv(channels, 6, 5, padding=padding, layout=layout, first=first)
        self.conv2 = nn.Conv(6, 16, 5, layout=layout, first=first)
        self.conv3 = nn.Conv(16, 120, 5, layout=layout, first=first)
        self.pool = nn.AveragePool(2, layout=layout)
        self.dense = nn.Dense(120, 84, first=first)
        self.output = nn.Dense(84, num_classes, first=lecun_normal)
        self.layout = layout

    def forward(self, x: td.Array) -> td.Array:
        x = self.pool(self._activation(self.conv1(x)))
        x = self.pool(self._activation(self.conv2(x)))
        x = flattened(self._activation(self.conv3(x)), self.layout)
        return self.output(self._activation(self.dense(x)))
