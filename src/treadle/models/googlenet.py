"""Inception-v1, or GoogLeNet (Szegedy et al. 2015, arXiv:1409.4842): parallel windows of several sizes.

As torchvision publishes it, with batch-norm and 3 x 3 windows where the paper has 5 x 5, and as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import treadle as td
from treadle import nn
from treadle.models.classifier import Classifier, flattened
from treadle.nn.initial import truncated_normal, xavier_uniform

# Channels of 1 x 1; of 3 x 3, reduced and whole; of 5 x 5, reduced and whole; of the pooled: table 1.
INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class Outputs(NamedTuple):
    """What it gives in training with `auxiliary`: logits, and those of the two classifiers on the way."""

    logits: td.Array
    first: td.Array
    second: td.Array


class _Style(NamedTuple):
    """What differs between the paper and torchvision."""

    batch_norm: bool
    layout: str

    def conv(self, inputs: int, outputs: int, window: int, stride: int = 1) -> _Unit:
        return _Unit(inputs, outputs, window, stride, self)

    def pool(self, window: int, stride: int, padding: int = 0) -> nn.MaxPool:
        return nn.MaxPool(window, stride=stride, padding=padding, ceil=True, layout=self.layout)


class _Unit(nn.Module):
    """A convolution, a batch-norm if there are any, and ReLU."""

    def __init__(self, inputs: int, outputs: int, window: int, stride: int, style: _Style):
        plain = not style.batch_norm
        self.conv = nn.Conv(
            inputs,
            outputs,
            window,
            stride=stride,
            padding=window // 2,
            bias=plain,
            layout=style.layout,
            first=xavier_uniform if plain else truncated_normal(0.01),
        )
        self.bn = None if plain else nn.BatchNorm(outputs, epsilon=1e-3, layout=style.layout)

    def forward(self, x: td.Array) -> td.Array:
        x = self.conv(x)
        return td.relu(x if self.bn is None else self.bn(x))


class Inception(nn.Module):
    """Four branches, their channels side by side."""

    def __init__(self, channels: tuple[int, ...], style: _Style):
        inputs, one, reduce3, three, reduce5, five, pooled = channels
        self.branch1 = style.conv(inputs, one, 1)
        self.branch2 = nn.Sequential(style.conv(inputs, reduce3, 1), style.conv(reduce3, three, 3))
        window = 3 if style.batch_norm else 5
        self.branch3 = nn.Sequential(style.conv(inputs, reduce5, 1), style.conv(reduce5, five, window))
        self.branch4 = nn.Sequential(style.pool(3, 1, 1), style.conv(inputs, pooled, 1))
        self._axis = 1 if style.layout == "NCHW" else -1

    def forward(self, x: td.Array) -> td.Array:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return td.concat([branch(x) for branch in branches], axis=self._axis)


class _Auxiliary(nn.Module):
    """A classifier on the way, which gives the layers below it gradients of their own."""

    def __init__(self, inputs: int, num_classes: int, dropout: float, style: _Style):
        self.pool = (
            nn.AdaptiveAveragePool(4, layout=style.layout)
            if style.batch_norm
            else nn.AveragePool(5, stride=3, layout=style.layout)
        )
        self.conv = style.conv(inputs, 128, 1)
        self.fc1 = nn.Dense(2048, 1024, first=truncated_normal(0.01))
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Dense(1024, num_classes, first=truncated_normal(0.01))
        self.layout = style.layout

    def forward(self, x: td.Array) -> td.Array:
        x = flattened(self.conv(self.pool(x)), self.layout)
        return self.fc2(self.dropout(td.relu(self.fc1(x))))


class GoogLeNet(Classifier):
    """GoogLeNet for images ``[batch, 3, height, width]``; names are torchvision's.

    Args:
        num_classes: how many logits.
        auxiliary: whether there are the two classifiers on the way; then it gives `Outputs` in training.
        paper: as in the paper: 5 x 5 windows, response normalisation, no batch-norm.
        dropout: rate before the last layer: 0.2 with batch-norm, 0.4 in the paper.
        layout: "NCHW" or "NHWC".
    """

    head = ("fc", "aux1.fc2", "aux2.fc2")

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        auxiliary: bool = False,
        paper: bool = False,
        dropout: float | None = None,
        layout: str = "NCHW",
    ):
        style = _Style(not paper, layout)
        self.conv1 = style.conv(3, 64, 7, 2)
        self.maxpool1 = style.pool(3, 2)
        self.conv2 = style.conv(64, 64, 1)
        self.conv3 = style.conv(64, 192, 3)
        self.maxpool2 = style.pool(3, 2)
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, layout=layout) if paper else None
        self.inception3a, self.inception3b = (Inception(INCEPTIONS[n], style) for n in ("3a", "3b"))
        self.maxpool3 = style.pool(3, 2)
        self.inception4a, self.inception4b, self.inception4c, self.inception4d, self.inception4e = (
            Inception(INCEPTIONS[f"4{n}"], style) for n in "abcde"
        )
        self.maxpool4 = style.pool(3 if paper else 2, 2)
        self.inception5a, self.inception5b = (Inception(INCEPTIONS[n], style) for n in ("5a", "5b"))
        self.aux1 = _Auxiliary(512, num_classes, 0.7, style) if auxiliary else None
        self.aux2 = _Auxiliary(528, num_classes, 0.7, style) if auxiliary else None
        self.avgpool = nn.GlobalAveragePool(layout=layout)
        self.dropout = nn.Dropout((0.4 if paper else 0.2) if dropout is None else dropout)
        self.fc = nn.Dense(1024, num_classes, first=truncated_normal(0.01))
        self.unused = () if auxiliary else ("aux1.*", "aux2.*")

    def forward(self, x: td.Array) -> Any:
        x = self.maxpool1(self.conv1(x))
        x = x if self.norm is None else self.norm(x)
        x = self.conv3(self.conv2(x))
        x = self.maxpool2(x if self.norm is None else self.norm(x))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        early = x = self.inception4a(x)
        late = x = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.maxpool4(self.inception4e(x))
        logits = self.fc(self.dropout(self.avgpool(self.inception5b(self.inception5a(x)))))
        if self.aux1 is None or self.aux2 is None or not self.training:
            return logits
        return Outputs(logits, self.aux1(early), self.aux2(late))


def with_auxiliary(
    loss: Callable[[td.Array, Any], td.Array], share: float = 0.3
) -> Callable[[Any, Any], td.Array]:
    """A loss of `Outputs`: that of the logits, and a share of those of the classifiers on the way.

    Args:
        loss: of logits and targets.
        share: of each of the two.

    Returns:
        A function of outputs and targets; of logits alone, which evaluation gives, it is `loss`.

    >>> import treadle as td
    >>> loss = td.models.with_auxiliary(td.nn.cross_entropy)
    >>> loss(td.zeros((2, 4)), td.asarray([0, 1])).shape
    ()
    """

    def total(outputs: Any, targets: Any) -> td.Array:
        if not isinstance(outputs, Outputs):
            return loss(outputs, targets)
        return loss(outputs.logits, targets) + share * (
            loss(outputs.first, targets) + loss(outputs.second, targets)
        )

    return total
