"""AlexNet, as in the paper of 2012 (Krizhevsky, Sutskever and Hinton, NeurIPS 2012), and as of 2014 without
groups and response normalisation (Krizhevsky 2014, arXiv:1404.5997), whose weights torchvision publishes.
"""

from __future__ import annotations

import treadle as td
from treadle import nn
from treadle.models.classifier import Classifier, flattened
from treadle.nn.initial import he_normal, normal

PLACES = 6
"""Height and width of what the last layers take."""


def _pool(layout: str) -> nn.MaxPool:
    return nn.MaxPool(3, stride=2, layout=layout)


class AlexNet(Classifier):
    """AlexNet of 2014 for images ``[batch, 3, height, width]`` of 63 pixels and more; torchvision's names.

    Args:
        num_classes: how many logits.
        dropout: rate before the last layers.
        layout: "NCHW" or "NHWC".
    """

    head = "classifier.6"

    def __init__(self, num_classes: int = 1000, *, dropout: float = 0.5, layout: str = "NCHW"):
        self.layout = layout
        self.features = nn.Sequential(*self._features(layout))
        self.avgpool = nn.AdaptiveAveragePool(PLACES, layout=layout)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Dense(256 * PLACES * PLACES, 4096, first=he_normal),
            td.relu,
            nn.Dropout(dropout),
            nn.Dense(4096, 4096, first=he_normal),
            td.relu,
            nn.Dense(4096, num_classes, first=normal(0.01)),
        )

    def _features(self, layout: str) -> list:
        return [
            nn.Conv(3, 64, 11, stride=4, padding=2, layout=layout),
            td.relu,
            _pool(layout),
            nn.Conv(64, 192, 5, padding=2, layout=layout),
            td.relu,
            _pool(layout),
            nn.Conv(192, 384, 3, padding=1, layout=layout),
            td.relu,
            nn.Conv(384, 256, 3, padding=1, layout=layout),
            td.relu,
            nn.Conv(256, 256, 3, padding=1, layout=layout),
            td.relu,
            _pool(layout),
        ]

    def forward(self, x: td.Array) -> td.Array:
        return self.classifier(flattened(self.avgpool(self.features(x)), self.layout))


def _normalized(layout: str) -> nn.LocalResponseNorm:
    # The paper sums 5 squares times 1e-4; the layer takes their mean.
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0, layout=layout)


class AlexNet2012(AlexNet):
    """AlexNet of the paper of 2012: three of its convolutions in two groups, as it was trained on two GPUs.

    Args:
        num_classes, dropout, layout: as of `AlexNet`.
    """

    def _features(self, layout: str) -> list:
        return [
            nn.Conv(3, 96, 11, stride=4, padding=2, layout=layout),
            td.relu,
            _normalized(layout),
            _pool(layout),
            nn.Conv(96, 256, 5, padding=2, groups=2, layout=layout),
            td.relu,
            _normalized(layout),
            _pool(layout),
            nn.Conv(256, 384, 3, padding=1, layout=layout),
            td.relu,
            nn.Conv(384, 384, 3, padding=1, groups=2, layout=layout),
            td.relu,
            nn.Conv(384, 256, 3, padding=1, groups=2, layout=layout),
            td.relu,
            _pool(layout),
        ]
