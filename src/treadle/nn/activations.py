"""Activations that the operations do not have: functions of one array."""

from __future__ import annotations

import treadle as td
from treadle.errors import ShapeError
from treadle.nn.layout import check_layout
from treadle.nn.module import Module, Parameter

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def leaky_relu(x: td.Array, slope: float = 0.01) -> td.Array:
    """x where it is positive, else slope * x."""
    return td.where(x > 0, x, slope * x)


def elu(x: td.Array, alpha: float = 1.0) -> td.Array:
    """x where it is positive, else alpha * (exp(x) - 1) (Clevert et al. 2016, arXiv:1511.07289)."""
    return td.where(x > 0, x, alpha * td.expm1(td.where(x > 0, 0.0, x)))


def selu(x: td.Array) -> td.Array:
    """The self-normalising exponential unit (Klambauer et al. 2017, arXiv:1706.02515)."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


def silu(x: td.Array) -> td.Array:
    """x * sigmoid(x), also called swish (Elfwing et al. 2018, arXiv:1702.03118)."""
    return x * td.sigmoid(x)


def softplus(x: td.Array) -> td.Array:
    """log(1 + exp(x)) without overflow."""
    return td.maximum(x, 0.0) + td.log1p(td.exp(-td.abs(x)))


def mish(x: td.Array) -> td.Array:
    """x * tanh(softplus(x)) (Misra 2020, arXiv:1908.08681)."""
    return x * td.tanh(softplus(x))


def relu6(x: td.Array) -> td.Array:
    """x between 0 and 6 (Howard et al. 2017, arXiv:1704.04861)."""
    return td.minimum(td.relu(x), 6.0)


def hard_sigmoid(x: td.Array) -> td.Array:
    """relu6(x + 3) / 6."""
    return relu6(x + 3.0) / 6.0


def hard_swish(x: td.Array) -> td.Array:
    """x * hard_sigmoid(x) (Howard et al. 2019, arXiv:1905.02244)."""
    return x * hard_sigmoid(x)


def glu(x: td.Array, axis: int = -1) -> td.Array:
    """The first half along a dimension, times the sigmoid of the second (Dauphin et al. 2017,
    arXiv:1612.08083).
    """
    if x.ndim == 0 or x.shape[axis] % 2:
        raise ShapeError(f"[glu] x has shape {x.shape}; expected an even size in dimension {axis}")
    half = x.shape[axis] // 2
    first, second = td.take(x, td.arange(half), axis=axis), td.take(x, td.arange(half, 2 * half), axis=axis)
    return first * td.sigmoid(second)


class PReLU(Module):
    """`leaky_relu` with a slope that is learned, one for all or one a channel (He et al. 2015,
    arXiv:1502.01852).

    Args:
        channels: how many slopes; 1 is for all channels.
        first: the slopes' first value.
        layout: "NCHW" for channels in dimension 1, "NHWC" for the last.

    Raises:
        ShapeError: x does not have that many channels.
    """

    def __init__(self, channels: int = 1, first: float = 0.25, *, layout: str = "NCHW"):
        self.weight = Parameter((channels,), first)
        self.layout = check_layout("PReLU", layout)

    def forward(self, x: td.Array) -> td.Array:
        channels = self.weight.shape[0]
        axis = 1 if self.layout == "NCHW" else x.ndim - 1
        if channels > 1 and (x.ndim < 2 or x.shape[axis] != channels):
            raise ShapeError(f"[PReLU] x has shape {x.shape}; dimension {axis} must be {channels} channels")
        shape = tuple(channels if i == axis else 1 for i in range(x.ndim)) if channels > 1 else ()
        slope = td.reshape(self.weight, shape)
        return td.where(x > 0, x, slope * x)
