"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation, and
with ReLU6, as published for mobile devices in 2020.
"""

from __future__ import annotations

import treadle as td
from treadle import nn
from treadle.models.classifier import Classifier
from treadle.nn.dropout import kept_examples
from treadle.nn.initial import he_normal_out, normal

# Repeats, window, first stride, expansion, channels of each group of blocks.
GROUPS = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip


def _conv(inputs: int, outputs: int, window: int, layout: str, stride: int = 1, groups: int = 1) -> nn.Conv:
    return nn.Conv(
        inputs,
        outputs,
        window,
        stride=stride,
        padding="same",
        groups=groups,
        bias=False,
        layout=layout,
        first=he_normal_out,
    )


def _norm(channels: int, layout: str) -> nn.BatchNorm:
    return nn.BatchNorm(channels, epsilon=1e-3, momentum=0.01, layout=layout)


class MBConv(nn.Module):
    """An inverted residual; in training it is left out of some examples (stochastic depth)."""

    def __init__(
        self, inputs: int, outputs: int, window: int, stride: int, expansion: int, drop: float, layout: str
    ):
        inner = inputs * expansion
        self.expand_conv = _conv(inputs, inner, 1, layout) if expansion != 1 else None
        self.bn0 = _norm(inner, layout) if expansion != 1 else None
        self.depthwise_conv = _conv(inner, inner, window, layout, stride, groups=inner)
        self.bn1 = _norm(inner, layout)
        self.project_conv = _conv(inner, outputs, 1, layout)
        self.bn2 = _norm(outputs, layout)
        self.adds = stride == 1 and inputs == outputs
        self.drop = drop

    def forward(self, x: td.Array) -> td.Array:
        y = x
        if self.expand_conv is not None and self.bn0 is not None:
            y = nn.relu6(self.bn0(self.expand_conv(y)))
        y = nn.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        if not self.adds:
            return y
        return x + (kept_examples(y, self.drop) if self.training and self.drop else y)


class EfficientNetLite0(Classifier):
    """EfficientNet-Lite0 for images ``[batch, 3, height, width]``.

    Args:
        num_classes: how many logits.
        dropout: rate before the last layer.
        drop: rate at which the last residual block is left out in training; those before it less, in
            proportion.
        layout: "NCHW" or "NHWC".
    """

    head = "fc"

    def __init__(
        self, num_classes: int = 1000, *, dropout: float = 0.2, drop: float = 0.2, layout: str = "NCHW"
    ):
        inputs, count = 32, sum(repeats for repeats, *_ in GROUPS)
        self.conv_stem = _conv(3, inputs, 3, layout, stride=2)
        self.bn0 = _norm(inputs, layout)
        blocks: list[MBConv] = []
        for repeats, window, stride, expansion, outputs in GROUPS:
            for i in range(repeats):
                rate = drop * len(blocks) / count
                first = 1 if i else stride
                blocks.append(MBConv(inputs, outputs, window, first, expansion, rate, layout))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = _conv(inputs, 1280, 1, layout)
        self.bn1 = _norm(1280, layout)
        self.pool = nn.GlobalAveragePool(layout=layout)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Dense(1280, num_classes, first=normal(0.01))

    def forward(self, x: td.Array) -> td.Array:
        x = nn.relu6(self.bn0(self.conv_stem(x)))
        x = nn.relu6(self.bn1(self.conv_head(self.blocks(x))))
        return self.fc(self.dropout(self.pool(x)))

    def torch_name(self, path: str) -> str:
        """The published file marks what is not a number or a kind of value with a line before it."""
        *places, kind = path.split(".")
        return ".".join([*(place if place.isdigit() else f"_{place}" for place in places), kind])
