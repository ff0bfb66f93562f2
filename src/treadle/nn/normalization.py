"""Layers that bring values to mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, ShapeError
from treadle.graph.dimension import Dimension, product
from treadle.graph.node import surroundings
from treadle.nn.inputs import check_counts
from treadle.nn.layout import channels_first, channels_last, check_layout
from treadle.nn.mixed import as_narrow, wide
from treadle.nn.module import Module, Parameter, Statistic
from treadle.ops.expectation import expect_at_least
from treadle.ops.moments import moments
from treadle.ops.reduction import counted


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
        given, x = x, wide(x)
        if self.training:
            axes = tuple(i for i in range(x.ndim) if i != axis)
            x = self._checked(x, axes)
            mean, variance = map(td.Array, moments(x.node, axes))
            x = self._kept(x, mean, variance, axes)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight / td.sqrt(variance + self.epsilon)
        y = (x - td.reshape(mean, shape)) * td.reshape(scale, shape) + td.reshape(self.bias, shape)
        return as_narrow(y, given)

    def _checked(self, x: td.Array, axes: tuple[int, ...]) -> td.Array:
        """x, which must have two values for each channel."""
        count = product([x.shape[i] for i in axes])
        values = "no value" if count == 0 else "one value"
        path = ".".join(surroundings.scope[1:])
        where = f", in {path}," if path and isinstance(count, Dimension) else ""
        message = (
            f"[BatchNorm] x of shape {x.shape}{where} has {values} for each channel; training needs two: "
            f"give larger batches, or call eval() before"
        )
        return td.Array(expect_at_least(x.node, count, 2, message))

    def _kept(self, x: td.Array, mean: td.Array, variance: td.Array, axes: tuple[int, ...]) -> td.Array:
        """x, with which the running statistics move on."""
        count = td.Array(counted(x.node, axes))
        sample = variance * (count / td.Array(counted(x.node, axes, 1.0)))

        def moved(before: td.Array, value: td.Array) -> td.Array:
            return td.astype(before + self.momentum * (value - before), before.dtype)

        x = self.running_mean.keep(x, lambda before: moved(before, mean))
        return self.running_var.keep(x, lambda before: moved(before, sample))

    def _summary(self) -> str:
        return f"BatchNorm({self.weight.shape[0]})"


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last dimensions of each example, then scaled and shifted (Ba et al.
    2016, arXiv:1607.06450).

    Args:
        shape: sizes of the last dimensions, or the last one's.
        epsilon: added to the variance.
        bias: whether it is shifted.
        dtype: of the parameters.

    Raises:
        ShapeError: x's last dimensions are others.

    >>> import treadle as td
    >>> td.nn.LayerNorm(4)(td.ones((2, 4))).tolist()
    [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(
        self, shape: int | Sequence[int], *, epsilon: float = 1e-5, bias: bool = True, dtype: Any = td.float32
    ):
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        self.weight = Parameter(sizes, 1.0, dtype, "weight")
        self.bias = Parameter(sizes, 0.0, dtype, "bias") if bias else None
        self.epsilon = epsilon

    def forward(self, x: td.Array) -> td.Array:
        count = self.weight.ndim
        if x.ndim < count or x.shape[x.ndim - count :] != self.weight.shape:
            raise ShapeError(f"[LayerNorm] x has shape {x.shape}; it must end in {self.weight.shape}")
        y = _standardized(wide(x), tuple(range(x.ndim - count, x.ndim)), self.epsilon) * self.weight
        return as_narrow(y if self.bias is None else y + self.bias, x)

    def _summary(self) -> str:
        return f"LayerNorm({', '.join(map(str, self.weight.shape))})"


class GroupNorm(Module):
    """Mean 0 and variance 1 over each group of channels of each example, then scaled and shifted by channel
    (Wu and He 2018, arXiv:1803.08494).

    Args:
        groups: how many.
        channels: how many; groups divide them.
        epsilon: added to the variance.
        affine: whether it is scaled and shifted.
        layout: "NCHW" or "NHWC".
        dtype: of the parameters.

    Raises:
        ArgumentError: the channels do not divide into groups.
        ShapeError: x has other channels.

    >>> import treadle as td
    >>> td.nn.GroupNorm(2, 4)(td.ones((2, 4, 3, 3))).shape
    (2, 4, 3, 3)
    """

    def __init__(
        self,
        groups: int,
        channels: int,
        *,
        epsilon: float = 1e-5,
        affine: bool = True,
        layout: str = "NCHW",
        dtype: Any = td.float32,
    ):
        check_counts(type(self).__name__, groups=groups, channels=channels)
        if groups < 1 or channels % groups:
            raise ArgumentError(
                f"[{type(self).__name__}] {channels} channels do not divide into {groups} groups"
            )
        self.weight = Parameter((channels,), 1.0, dtype, "weight") if affine else None
        self.bias = Parameter((channels,), 0.0, dtype, "bias") if affine else None
        self.groups, self.channels, self.epsilon = groups, channels, epsilon
        self.layout = check_layout(type(self).__name__, layout)

    def forward(self, x: td.Array) -> td.Array:
        x = channels_first(x, self.layout)
        if x.ndim < 2 or x.shape[1] != self.channels:
            raise ShapeError(
                f"[{type(self).__name__}] x has shape {x.shape}; expected {self.channels} channels"
            )
        shape = (x.shape[0], self.groups, self.channels // self.groups, *x.shape[2:])
        y = _standardized(td.reshape(wide(x), shape), tuple(range(2, x.ndim + 1)), self.epsilon)
        y = td.reshape(y, x.shape)
        if self.weight is not None and self.bias is not None:
            spread = (self.channels, *(1,) * (x.ndim - 2))
            y = y * td.reshape(self.weight, spread) + td.reshape(self.bias, spread)
        return channels_last(as_narrow(y, x), self.layout)

    def _summary(self) -> str:
        return f"{type(self).__name__}({self.groups} of {self.channels})"


class InstanceNorm(GroupNorm):
    """Mean 0 and variance 1 over each channel of each example (Ulyanov et al. 2016, arXiv:1607.08022).

    Args:
        channels: how many.
        epsilon: added to the variance.
        affine: whether it is scaled and shifted.
        layout: "NCHW" or "NHWC".
        dtype: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        *,
        epsilon: float = 1e-5,
        affine: bool = False,
        layout: str = "NCHW",
        dtype: Any = td.float32,
    ):
        super().__init__(channels, channels, epsilon=epsilon, affine=affine, layout=layout, dtype=dtype)


class LocalResponseNorm(Module):
    """Each value over a power of the squares around it in neighbouring channels (Krizhevsky et al. 2012):
    ``x / (k + alpha * mean(x**2))**beta``, the mean over `size` channels, zeros beyond the first and last.

    Args:
        size: how many channels.
        alpha, beta, k: of the formula.
        layout: "NCHW" or "NHWC".

    >>> import treadle as td
    >>> td.nn.LocalResponseNorm(5)(td.ones((1, 8, 2, 2))).shape
    (1, 8, 2, 2)
    """

    def __init__(
        self, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, layout: str = "NCHW"
    ):
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.layout = check_layout("LocalResponseNorm", layout)

    def forward(self, x: td.Array) -> td.Array:
        if x.ndim < 3:
            raise ShapeError(
                f"[LocalResponseNorm] x has shape {x.shape}; expected a batch, channels and spatial "
                f"dimensions"
            )
        x = channels_first(x, self.layout)
        # The channels as the places of an image of one channel.
        squares = td.reshape(td.square(wide(x)), (x.shape[0], 1, x.shape[1], -1))
        around = td.average_pool(
            squares, (self.size, 1), stride=1, padding=[(self.size // 2, (self.size - 1) // 2), (0, 0)]
        )
        y = wide(x) / td.pow(self.k + self.alpha * td.reshape(around, x.shape), self.beta)
        return channels_last(as_narrow(y, x), self.layout)


def _standardized(x: td.Array, axes: tuple[int, ...], epsilon: float) -> td.Array:
    mean = td.mean(x, axis=axes, keepdims=True)
    # A division of every element would cost as much as eight products, here and three times in the gradient.
    return (x - mean) * td.reciprocal(td.sqrt(td.var(x, axis=axes, keepdims=True) + epsilon))
