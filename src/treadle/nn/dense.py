"""Fully connected layers."""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle.errors import ShapeError
from treadle.nn import initial
from treadle.nn.initial import First
from treadle.nn.module import Module, Parameter


class Dense(Module):
    """``x @ weight + bias`` over the last dimension.

    Args:
        inputs: size of x's last dimension.
        outputs: size of the result's.
        bias: whether there is one.
        first: first values of the weight, ``[inputs, outputs]``; the bias begins at 0.
        dtype: of the parameters.

    Raises:
        ShapeError: x's last dimension is not `inputs`.

    >>> import treadle as td
    >>> from treadle import nn
    >>> nn.Dense(3, 2)(td.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        first: First = initial.he_normal,
        dtype: Any = td.float32,
    ):
        self.weight = Parameter((inputs, outputs), first, dtype, "weight")
        self.bias = Parameter((outputs,), 0.0, dtype, "bias") if bias else None

    def forward(self, x: td.Array) -> td.Array:
        if x.ndim == 0 or x.shape[-1] != self.weight.shape[0]:
            raise ShapeError(
                f"[Dense] x has shape {x.shape}; its last dimension must be {self.weight.shape[0]}"
            )
        y = x @ self.weight
        return y if self.bias is None else y + td.astype(self.bias, y.dtype)

    def _summary(self) -> str:
        return f"Dense({self.weight.shape[0]} -> {self.weight.shape[1]})"
