"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556): 3 x 3 convolutions, pooled by two, five times."""

from __future__ import annotations

import treadle as td
from treadle import nn
from treadle.models.classifier import Classifier, flattened
from treadle.nn.initial import he_normal_out, normal

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions before each pooling, by the number of layers: table 1 of the paper, A, B, D, E."""


class VGG(Classifier):
    """VGG for images ``[batch, 3, height, width]`` of 32 pixels and more; names are torchvision's.

    Args:
        depth: 11, 13, 16 or 19.
        num_classes: how many logits.
        batch_norm: whether each convolution has a batch-norm.
        dropout: rate between the last layers.
        layout: "NCHW" or "NHWC".

    Raises:
        ArgumentError: there is no such depth.
    """

    head = "classifier.6"

    def __init__(
        self,
        depth: int = 16,
        num_classes: int = 1000,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
        layout: str = "NCHW",
    ):
        parts: list = []
        inputs = 3
        for width, count in zip(WIDTHS, self.chosen("depth", depth, DEPTHS), strict=True):
            for _ in range(count):
                parts.append(nn.Conv(inputs, width, 3, padding=1, layout=layout, first=he_normal_out))
                parts += [nn.BatchNorm(width, layout=layout), td.relu] if batch_norm else [td.relu]
                inputs = width
            parts.append(nn.MaxPool(2, layout=layout))
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.AdaptiveAveragePool(7, layout=layout)
        self.classifier = nn.Sequential(
            nn.Dense(inputs * 7 * 7, 4096, first=normal(0.01)),
            td.relu,
            nn.Dropout(dropout),
            nn.Dense(4096, 4096, first=normal(0.01)),
            td.relu,
            nn.Dropout(dropout),
            nn.Dense(4096, num_classes, first=normal(0.01)),
        )
        self.layout = layout

    def forward(self, x: td.Array) -> td.Array:
        return self.classifier(flattened(self.avgpool(self.features(x)), self.layout))
