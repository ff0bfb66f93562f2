"""Noise in training that is marginalised in use."""

from __future__ import annotations

import copy
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, ShapeError
from treadle.nn.layout import check_layout
from treadle.nn.module import Module


class Dropout(Module):
    """In training, each element is 0 with a probability, the others are scaled up so that the mean stays; in
    evaluation, x (Srivastava et al. 2014).

    Args:
        rate: the probability, in [0, 1).
        spatial: whether whole channels of ``[batch, channels, spatial...]`` are dropped together (Tompson et
            al. 2015, arXiv:1411.4280).
        layout: where the channels are, with `spatial`: "NCHW" or "NHWC".

    >>> import treadle as td
    >>> from treadle import nn
    >>> nn.Dropout(0.5).eval()(td.ones((3,))).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, rate: float = 0.5, *, spatial: bool = False, layout: str = "NCHW"):
        if not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise ArgumentError(f"[Dropout] rate={rate!r} is not in [0, 1)")
        self.rate = rate
        self.spatial = spatial
        self.layout = check_layout("Dropout", layout)

    def forward(self, x: td.Array) -> td.Array:
        if not self.training or self.rate == 0:
            return x
        shape = self._of_channels(x) if self.spatial else x.shape
        kept = td.random.bernoulli(1 - self.rate, shape)
        return td.where(kept, x / (1 - self.rate), 0)

    def _of_channels(self, x: td.Array) -> tuple[Any, ...]:
        """x's shape with all places as one."""
        if x.ndim < 3:
            raise ShapeError(
                f"[Dropout] x has shape {x.shape}; expected a batch, channels and spatial dimensions"
            )
        ones = (1,) * (x.ndim - 2)
        return (*x.shape[:2], *ones) if self.layout == "NCHW" else (x.shape[0], *ones, x.shape[-1])

    def _summary(self) -> str:
        return f"Dropout({self.rate}{', spatial' if self.spatial else ''})"


class GaussianNoise(Module):
    """In training, x plus normal noise; in evaluation, x.

    Args:
        std: the noise's standard deviation.
    """

    def __init__(self, std: float):
        if not std >= 0:
            raise ArgumentError(f"[GaussianNoise] std={std} is negative")
        self.std = std

    def forward(self, x: td.Array) -> td.Array:
        return x + td.random.normal(x.shape, std=self.std, dtype=x.dtype) if self.training else x


def kept_examples(y: td.Array, rate: float) -> td.Array:
    """y, 0 for each example with a probability, the others scaled up so that the mean stays."""
    kept = td.random.bernoulli(1 - rate, (y.shape[0], *(1,) * (y.ndim - 1)))
    return td.where(kept, y / (1 - rate), 0)


class StochasticDepth(Module):
    """A residual branch that is left out, in training, of each example with a probability (Huang et al. 2016,
    arXiv:1603.09382): ``x + branch(x)``, the branch scaled up where it is kept so that its mean stays.

    Args:
        branch: what is computed beside the identity.
        rate: the probability, in [0, 1).
    """

    def __init__(self, branch: Module, rate: float):
        if not 0 <= rate < 1:
            raise ArgumentError(f"[StochasticDepth] rate={rate} is not in [0, 1)")
        self.branch = branch
        self.rate = rate

    def forward(self, x: td.Array) -> td.Array:
        y = self.branch(x)
        return x + (kept_examples(y, self.rate) if self.training and self.rate else y)


class DropConnect(Module):
    """A module whose weights, in training, are each 0 with a probability, the others scaled up (Wan et al.
    2013).

    Args:
        inner: a `Dense` or `Conv` layer, or what else has `weight`.
        rate: the probability, in [0, 1).
    """

    def __init__(self, inner: Any, rate: float = 0.5):
        if not 0 <= rate < 1:
            raise ArgumentError(f"[DropConnect] rate={rate} is not in [0, 1)")
        self.inner = inner
        self.rate = rate

    def forward(self, x: td.Array) -> td.Array:
        if not self.training or not self.rate:
            return self.inner(x)
        weight = self.inner.weight
        kept = td.random.bernoulli(1 - self.rate, weight.shape)
        thinned = copy.copy(self.inner)  # the same layer but for its weight
        vars(thinned)["weight"] = td.where(kept, weight / (1 - self.rate), 0)
        return thinned(x)
