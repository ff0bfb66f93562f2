"""Mixing the examples of a batch, and their targets, on the device."""

from __future__ import annotations

import math

import treadle as td
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.nn.module import Module

TRIES = 8
"""Of the rejection for a gamma variate: each is taken with a probability above 0.95, one of so many with one
that float32 cannot tell from 1.
"""


class Mixup(Module):
    """In training, a batch mixed with itself in reverse order, and so its labels (Zhang et al. 2018,
    arXiv:1710.09412); in evaluation, both as they are.

    Args:
        classes: how many there are; mixed labels are probabilities ``[batch, classes]``.
        alpha: of the distribution Beta(alpha, alpha) from which each batch's share is drawn.

    Called with inputs ``[batch, ...]`` of floats and integer labels ``[batch]``.

    Raises:
        ShapeError: they are not as many.
        DTypeError: in training, the inputs are not floating.

    >>> import treadle as td
    >>> from treadle import nn
    >>> x, y = nn.Mixup(2, alpha=0.4)(td.asarray([[0.0], [1.0]]), td.asarray([0, 1]))
    >>> x[:, 0].tolist() == y[:, 1].tolist()
    True
    """

    def __init__(self, classes: int, alpha: float = 0.2):
        if not isinstance(classes, int) or classes < 1:
            raise ArgumentError(f"[Mixup] classes={classes!r} is not a positive integer")
        if not alpha > 0:
            raise ArgumentError(f"[Mixup] alpha={alpha} is not positive")
        self.classes, self.alpha = classes, alpha

    def forward(self, x: td.Array, labels: td.Array) -> tuple[td.Array, td.Array]:
        if labels.ndim != 1 or x.ndim < 1 or x.shape[0] != labels.shape[0]:
            raise ShapeError(
                f"[Mixup] x has shape {x.shape}, labels {labels.shape}; expected [batch, ...] and [batch]"
            )
        if not self.training:
            return x, labels
        if x.dtype.kind != "float":
            raise DTypeError(f"[Mixup] x is {x.dtype}; expected floating: td.astype(x, td.float32)")
        share = td.astype(beta(self.alpha, ()), x.dtype)
        sure = td.one_hot(labels, self.classes, dtype=x.dtype, outside="error")
        return (
            share * x + (1 - share) * td.flip(x, axis=0),
            share * sure + (1 - share) * td.flip(sure, axis=0),
        )

    def _summary(self) -> str:
        return f"Mixup({self.classes}, alpha={self.alpha})"


def beta(alpha: float, shape: tuple[int, ...]) -> td.Array:
    """Numbers of the distribution Beta(alpha, alpha): one gamma variate's part of two, in logarithms since
    those of a small alpha underflow.
    """
    first, second = log_gamma_variate(alpha, shape), log_gamma_variate(alpha, shape)
    return td.sigmoid(first - second)


def log_gamma_variate(alpha: float, shape: tuple[int, ...]) -> td.Array:
    """Logarithms of gamma variates by rejection (Marsaglia and Tsang 2000), all tries at once."""
    raised = alpha + 1 if alpha < 1 else alpha
    d = raised - 1 / 3
    x = td.random.normal((TRIES, *shape))
    v = td.maximum((1 + x / math.sqrt(9 * d)) ** 3, 1e-30)
    u = 1 - td.random.uniform((TRIES, *shape))  # in (0, 1]
    taken = (v > 1e-30) & (td.log(u) < 0.5 * x * x + d - d * v + d * td.log(v))
    place = td.argmax(td.astype(taken, td.int64), axis=0, keepdims=True)
    found = math.log(d) + td.log(td.take_along_axis(v, place, axis=0)[0])
    if alpha < 1:
        # Their section 6: a variate of alpha + 1 times a uniform number to the power 1 / alpha.
        found = found + td.log(1 - td.random.uniform(shape)) / alpha
    return found
