"""Residual networks (He et al. 2016, arXiv:1512.03385), the stride of a bottleneck in its 3 x 3 window."""

from __future__ import annotations

from collections.abc import Sequence

import treadle as td
from treadle import nn
from treadle.models.classifier import Classifier
from treadle.nn.initial import he_normal_out, xavier_uniform


def _conv(inputs: int, outputs: int, window: int, layout: str, stride: int = 1) -> nn.Conv:
    return nn.Conv(
        inputs,
        outputs,
        window,
        stride=stride,
        padding=window // 2,
        bias=False,
        layout=layout,
        first=he_normal_out,
    )


class _Residual(nn.Module):
    """What both kinds of block share: the identity, brought to the branch's shape where that differs."""

    expansion = 1
    """How many times wider the result is than the block."""

    def __init__(self, inputs: int, width: int, stride: int, layout: str):
        outputs = width * self.expansion
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                _conv(inputs, outputs, 1, layout, stride), nn.BatchNorm(outputs, layout=layout)
            )

    def branch(self, x: td.Array) -> td.Array:
        raise NotImplementedError

    def forward(self, x: td.Array) -> td.Array:
        return td.relu(self.branch(x) + (x if self.downsample is None else self.downsample(x)))


class BasicBlock(_Residual):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, inputs: int, width: int, stride: int, layout: str):
        super().__init__(inputs, width, stride, layout)
        self.conv1 = _conv(inputs, width, 3, layout, stride)
        self.bn1 = nn.BatchNorm(width, layout=layout)
        self.conv2 = _conv(width, width, 3, layout)
        self.bn2 = nn.BatchNorm(width, layout=layout)

    def branch(self, x: td.Array) -> td.Array:
        x = td.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(_Residual):
    """1 x 1 to fewer channels, 3 x 3, and 1 x 1 to four times as many, beside the identity."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, layout: str):
        super().__init__(inputs, width, stride, layout)
        outputs = width * self.expansion
        self.conv1 = _conv(inputs, width, 1, layout)
        self.bn1 = nn.BatchNorm(width, layout=layout)
        self.conv2 = _conv(width, width, 3, layout, stride)
        self.bn2 = nn.BatchNorm(width, layout=layout)
        self.conv3 = _conv(width, outputs, 1, layout)
        self.bn3 = nn.BatchNorm(outputs, layout=layout)

    def branch(self, x: td.Array) -> td.Array:
        x = td.relu(self.bn1(self.conv1(x)))
        x = td.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


DEPTHS: dict[int, tuple[type[_Residual], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
    200: (Bottleneck, (3, 24, 36, 3)),
}
"""Blocks in each of the four stages, by the number of layers."""


class ResNet(Classifier):
    """A residual network for images ``[batch, channels, height, width]``; names are torchvision's.

    Args:
        depth: 18, 34, 50, 101, 152 or 200.
        num_classes: how many logits.
        channels: of the images.
        width: channels of the first stage; each next one has twice as many.
        small: for images of some 32 pixels: the first convolution is 3 x 3 without a stride, and there is no
            pooling behind it (section 4.2 of the paper).
        layout: "NCHW" or "NHWC".

    Raises:
        ArgumentError: there is no such depth.
    """

    head = "fc"

    def __init__(
        self,
        depth: int = 18,
        num_classes: int = 1000,
        *,
        channels: int = 3,
        width: int = 64,
        small: bool = False,
        layout: str = "NCHW",
    ):
        block, repeats = self.chosen("depth", depth, DEPTHS)
        window, stride = (3, 1) if small else (7, 2)
        self.conv1 = _conv(channels, width, window, layout, stride)
        self.bn1 = nn.BatchNorm(width, layout=layout)
        self.maxpool = None if small else nn.MaxPool(3, stride=2, padding=1, layout=layout)
        inputs = width
        stages: list[nn.Sequential] = []
        for number, count in enumerate(repeats):
            stage, inputs = self._stage(block, inputs, width << number, count, 2 if number else 1, layout)
            stages.append(stage)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.GlobalAveragePool(layout=layout)
        self.fc = nn.Dense(inputs, num_classes, first=xavier_uniform)

    def _stage(
        self, block: type[_Residual], inputs: int, width: int, count: int, stride: int, layout: str
    ) -> tuple[nn.Sequential, int]:
        """Blocks of one width, and the channels of their result."""
        outputs = width * block.expansion
        rest: Sequence[_Residual] = [block(outputs, width, 1, layout) for _ in range(count - 1)]
        return nn.Sequential(block(inputs, width, stride, layout), *rest), outputs

    def forward(self, x: td.Array) -> td.Array:
        x = td.relu(self.bn1(self.conv1(x)))
        x = x if self.maxpool is None else self.maxpool(x)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x))
