"""Noise in training that is marginalised in use."""

from __future__ import annotations

import treadle as td
from treadle.errors import ArgumentError
from treadle.nn.module import Module


class Dropout(Module):
    """In training, each element is 0 with a probability, the others are scaled up so that the mean stays; in
    evaluation, x (Srivastava et al. 2014).

    Args:
        rate: the probability, in [0, 1).
        spatial: whether whole channels of ``[batch, channels, spatial...]`` are dropped together (Tompson et
            al. 2015, arXiv:1411.4280).

    >>> import treadle as td
    >>> from treadle import nn
    >>> nn.Dropout(0.5).eval()(td.ones((3,))).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, rate: float = 0.5, *, spatial: bool = False):
        if not 0 <= rate < 1:
            raise ArgumentError(f"[Dropout] rate={rate} is not in [0, 1)")
        self.rate = rate
        self.spatial = spatial

    def forward(self, x: td.Array) -> td.Array:
        if not self.training or self.rate == 0:
            return x
        shape = (*x.shape[:2], *(1,) * (x.ndim - 2)) if self.spatial else x.shape
        kept = td.random.bernoulli(1 - self.rate, shape)
        return td.where(kept, x / (1 - self.rate), 0)

    def _summary(self) -> str:
        return f"Dropout({self.rate}{', spatial' if self.spatial else ''})"
