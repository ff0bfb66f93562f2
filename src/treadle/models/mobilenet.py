"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381): inverted residuals with linear bottlenecks."""

from __future__ import annotations

import treadle as td
from treadle import nn
from treadle.models.classifier import Classifier
from treadle.nn.initial import he_normal_out, normal

# Expansion, channels, repeats and first stride of each group of blocks: table 2 of the paper.
GROUPS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple, but not less than nine tenths of what is asked for."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def _unit(
    inputs: int, outputs: int, window: int, layout: str, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv(
        inputs,
        outputs,
        window,
        stride=stride,
        padding=window // 2,
        groups=groups,
        bias=False,
        layout=layout,
        first=he_normal_out,
    )
    return nn.Sequential(conv, nn.BatchNorm(outputs, layout=layout), nn.relu6)


class InvertedResidual(nn.Module):
    """Expand with 1 x 1, filter each channel with 3 x 3, project with 1 x 1; x is added where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, layout: str):
        inner = inputs * expansion
        expand = [_unit(inputs, inner, 1, layout)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _unit(inner, inner, 3, layout, stride, groups=inner),
            nn.Conv(inner, outputs, 1, bias=False, layout=layout, first=he_normal_out),
            nn.BatchNorm(outputs, layout=layout),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: td.Array) -> td.Array:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(Classifier):
    """MobileNetV2 for images ``[batch, 3, height, width]``; names are torchvision's.

    Args:
        num_classes: how many logits.
        width: multiplies the channels.
        dropout: rate before the last layer.
        layout: "NCHW" or "NHWC".
    """

    head = "classifier.1"

    def __init__(
        self, num_classes: int = 1000, *, width: float = 1.0, dropout: float = 0.2, layout: str = "NCHW"
    ):
        inputs = divisible(32 * width)
        last = divisible(1280 * max(1.0, width))
        parts: list[nn.Module] = [_unit(3, inputs, 3, layout, stride=2)]
        for expansion, channels, repeats, stride in GROUPS:
            outputs = divisible(channels * width)
            for i in range(repeats):
                parts.append(InvertedResidual(inputs, outputs, 1 if i else stride, expansion, layout))
                inputs = outputs
        self.features = nn.Sequential(*parts, _unit(inputs, last, 1, layout))
        self.pool = nn.GlobalAveragePool(layout=layout)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Dense(last, num_classes, first=normal(0.01)))

    def forward(self, x: td.Array) -> td.Array:
        return self.classifier(self.pool(self.features(x)))
