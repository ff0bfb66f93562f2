"""Layers that bring values to mean 0 and variance 1."""

from __future__ import annotations

import math
from typing import Any

import treadle as td
from treadle.errors import ShapeError
from treadle.nn.layout import check_layout
from treadle.nn.module import Module, Parameter, Statistic


class BatchNorm(Module):
    """Each channel at mean 0 and variance 1 over the batch and its places, then scaled and shifted (Ioffe and
    Szegedy 2015, arXiv:1502.03167). In evaluation the running statistics are used.

    Args:
        channels: how many there are.
        epsilon: added to the variance.
        momentum: the share of the batch's statistics in the running ones; the running variance is of the
            sample (divided by n - 1).
        layout: "NCHW" for channels in dimension 1, "NHWC" for the last.
        dtype: of the parameters.

    Raises:
        ShapeError: x does not have that many channels, or in training only one value for each.

    >>> import treadle as td
    >>> from treadle import nn
    >>> nn.BatchNorm(3)(td.ones((4, 3, 8, 8))).shape
    (4, 3, 8, 8)
    """

    def __init__(
        self,
        channels: int,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
        layout: str = "NCHW",
        dtype: Any = td.float32,
    ):
        self.weight = Parameter((channels,), 1.0, dtype, "weight")
        self.bias = Parameter((channels,), 0.0, dtype, "bias")
        self.running_mean = Statistic((channels,), 0.0, dtype, "running_mean")
        self.running_var = Statistic((channels,), 1.0, dtype, "running_var")
        self.epsilon = epsilon
        self.momentum = momentum
        self.layout = check_layout("BatchNorm", layout)

    def forward(self, x: td.Array) -> td.Array:
        channels = self.weight.shape[0]
        axis = 1 if self.layout == "NCHW" else x.ndim - 1
        if x.ndim < 2 or x.shape[axis] != channels:
            raise ShapeError(
                f"[BatchNorm] x has shape {x.shape}; dimension {axis} must be {channels} channels"
            )
        shape = tuple(channels if i == axis else 1 for i in range(x.ndim))
        if self.training:
            axes = tuple(i for i in range(x.ndim) if i != axis)
            mean, variance = td.mean(x, axis=axes), td.var(x, axis=axes)
            x = self._kept(x, mean, axes)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight / td.sqrt(variance + self.epsilon)
        return (x - td.reshape(mean, shape)) * td.reshape(scale, shape) + td.reshape(self.bias, shape)

    def _kept(self, x: td.Array, mean: td.Array, axes: tuple[int, ...]) -> td.Array:
        """x, with which the running statistics move on."""
        if all(isinstance(x.shape[i], int) for i in axes) and math.prod(x.shape[i] for i in axes) < 2:
            raise ShapeError(
                f"[BatchNorm] x of shape {x.shape} has one value for each channel; training needs two"
            )
        sample = td.var(x, axis=axes, correction=1)
        m = self.momentum
        x = self.running_mean.keep(x, lambda before: before + m * (mean - before))
        return self.running_var.keep(x, lambda before: before + m * (sample - before))

    def _summary(self) -> str:
        return f"BatchNorm({self.weight.shape[0]})"
