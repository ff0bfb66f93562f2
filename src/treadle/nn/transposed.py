"""Transposed convolution: what a convolution's gradient does to its output, as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import treadle as td
from treadle.errors import ArgumentError, ShapeError
from treadle.graph.node import make
from treadle.nn import initial
from treadle.nn.initial import First
from treadle.nn.inputs import check_counts
from treadle.nn.layout import channels_first, channels_last, check_layout, each, window_sizes
from treadle.nn.module import Module, Parameter
from treadle.ops.record import cast, promoted
from treadle.ops.window import CONV_INPUT_GRADIENT

Sizes = int | Sequence[int]


class ConvTranspose(Module):
    """Each value spreads its window of weights over the result (Zeiler et al. 2010).

    Args:
        inputs: channels of x.
        outputs: channels of the result.
        window: size of the windows, for all spatial dimensions or for each.
        dimensions: how many spatial dimensions there are, if `window` does not say; 2 otherwise.
        stride: by how much windows of neighbouring values are apart.
        padding: how much is cut off on every side of the result.
        output_padding: how much longer the result is at its end: a convolution of this stride takes several
            sizes to one.
        dilation, groups: as of `td.conv`.
        bias: whether there is one.
        layout: "NCHW" or "NHWC".
        first: first values of the weight, ``[inputs, outputs / groups, window...]``.
        dtype: of the parameters.

    Raises:
        ShapeError: x does not have that many dimensions or channels, or unknown sizes.

    >>> import treadle as td
    >>> td.nn.ConvTranspose(4, 2, 4, stride=2, padding=1)(td.ones((1, 4, 8, 8))).shape
    (1, 2, 16, 16)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: Sizes,
        *,
        dimensions: int | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        layout: str = "NCHW",
        first: First = initial.he_normal,
        dtype: Any = td.float32,
    ):
        sizes = window_sizes("ConvTranspose", window, dimensions, stride)
        check_counts("ConvTranspose", inputs=inputs, outputs=outputs, groups=groups)
        if groups < 1 or inputs % groups or outputs % groups:
            raise ArgumentError(
                f"[ConvTranspose] {inputs} inputs and {outputs} outputs do not divide into {groups} groups"
            )
        count = len(sizes)
        self.weight = Parameter((inputs, outputs // groups, *sizes), first, dtype, "weight")
        self.bias = Parameter((outputs,), 0.0, dtype, "bias") if bias else None
        self.stride, self.padding, self.output_padding, self.dilation = (
            each("ConvTranspose", argument, value, count)
            for argument, value in (
                ("stride", stride),
                ("padding", padding),
                ("output_padding", output_padding),
                ("dilation", dilation),
            )
        )
        self.groups = groups
        self.layout = check_layout("ConvTranspose", layout)

    def forward(self, x: td.Array) -> td.Array:
        inputs, _, *window = self.weight.shape
        x = channels_first(x, self.layout)
        if x.ndim != len(window) + 2 or x.shape[1] != inputs:
            raise ShapeError(
                f"[ConvTranspose] x has shape {x.shape}; expected {len(window) + 2} dimensions with {inputs} "
                f"channels"
            )
        if not all(isinstance(n, int) for n in x.shape[2:]):
            raise ShapeError(f"[ConvTranspose] needs to know the sizes of x, which is {x.shape}")
        each: Any = zip(
            x.shape[2:], window, self.stride, self.padding, self.output_padding, self.dilation, strict=True
        )
        sizes = tuple((n - 1) * s - 2 * p + d * (w - 1) + o + 1 for n, w, s, p, o, d in each)
        padding = tuple((p, p) for p in self.padding)
        attributes = (sizes, self.stride, padding, self.dilation, self.groups)
        operands, dtype = promoted("conv", (x.node, self.weight.node))
        y = td.Array(make(CONV_INPUT_GRADIENT, tuple([cast(node, dtype) for node in operands]), attributes))
        if self.bias is not None:
            y = y + td.reshape(td.astype(self.bias, y.dtype), (-1, *(1,) * len(window)))
        return channels_last(y, self.layout)

    def _summary(self) -> str:
        inputs, outputs, *window = self.weight.shape
        return f"ConvTranspose({inputs} -> {outputs * self.groups}, {'x'.join(map(str, window))})"
