"""Convolutional layers over one to three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, ShapeError
from treadle.nn import initial
from treadle.nn.initial import First
from treadle.nn.inputs import check_counts
from treadle.nn.layout import channels_first, channels_last, check_layout, each, window_sizes
from treadle.nn.module import Module, Parameter
from treadle.ops.window import read_padding

PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""What stands around the input of a convolution, and what `td.pad` calls it."""


class Conv(Module):
    """Convolution (cross-correlation) with learned windows.

    Args:
        inputs: channels of x.
        outputs: channels of the result.
        window: size of the windows: an integer for all spatial dimensions, or one for each.
        dimensions: how many spatial dimensions there are, 1 to 3, if `window` does not say.
        stride, padding, dilation, groups: as of `td.conv`; padding is also "same" or "valid".
        padding_mode: what is around x: "zeros", its mirror image ("reflect"), its outermost values
            ("replicate"), or x again ("circular").
        bias: whether there is one.
        layout: "NCHW" for x of shape ``[batch, channels, spatial...]``, "NHWC" for channels last.
        first: first values of the weight, ``[outputs, inputs / groups, window...]``; the bias begins at 0.
        dtype: of the parameters.

    Raises:
        ShapeError: x does not have that many dimensions or channels.

    >>> import treadle as td
    >>> from treadle import nn
    >>> nn.Conv(3, 8, 3, padding=1, stride=2)(td.ones((2, 3, 32, 32))).shape
    (2, 8, 16, 16)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: int | Sequence[int],
        *,
        dimensions: int | None = None,
        stride: int | Sequence[int] = 1,
        padding: Any = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        bias: bool = True,
        layout: str = "NCHW",
        first: First = initial.he_normal,
        dtype: Any = td.float32,
    ):
        sizes = window_sizes("Conv", window, dimensions, stride)
        if padding_mode not in PADDING_MODES:
            raise ArgumentError(
                f"[Conv] padding_mode={padding_mode!r}; it is one of {', '.join(PADDING_MODES)}"
            )
        check_counts("Conv", inputs=inputs, outputs=outputs, groups=groups)
        if groups < 1 or inputs % groups or outputs % groups:
            raise ArgumentError(
                f"[Conv] {inputs} inputs and {outputs} outputs do not divide into {groups} groups"
            )
        self.weight = Parameter((outputs, inputs // groups, *sizes), first, dtype, "weight")
        self.bias = Parameter((outputs,), 0.0, dtype, "bias") if bias else None
        self.inputs = inputs
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.padding_mode = padding_mode
        self.layout = check_layout("Conv", layout)

    def forward(self, x: td.Array) -> td.Array:
        dimensions = self.weight.ndim - 2
        axis = 1 if self.layout == "NCHW" else -1
        if x.ndim != dimensions + 2 or x.shape[axis] != self.inputs:
            raise ShapeError(
                f"[Conv] x has shape {x.shape}; expected {dimensions + 2} dimensions in the order "
                f"{self.layout} with {self.inputs} channels"
            )
        x, padding = channels_first(x, self.layout), self.padding
        if self.padding_mode != "zeros":
            x, padding = self._surrounded(x), 0
        y = td.conv(
            x,
            self.weight,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        if self.bias is not None:
            y = y + td.reshape(td.astype(self.bias, y.dtype), (-1, *(1,) * dimensions))
        return channels_last(y, self.layout)

    def _surrounded(self, x: td.Array) -> td.Array:
        """x with what `padding_mode` puts around it."""
        window = self.weight.shape[2:]
        stride, dilation = (each("Conv", "size", n, len(window)) for n in (self.stride, self.dilation))
        widths = read_padding("Conv", self.padding, x.shape[2:], window, stride, dilation)
        return td.pad(x, [(0, 0), (0, 0), *widths], mode=PADDING_MODES[self.padding_mode])

    def _summary(self) -> str:
        outputs, _, *window = self.weight.shape
        return f"Conv({self.inputs} -> {outputs}, {'x'.join(map(str, window))})"
