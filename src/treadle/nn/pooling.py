"""Pooling layers: windows, whole images, and as many windows as are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import treadle as td
from treadle.errors import ArgumentError, ShapeError
from treadle.nn.layout import channels_first, channels_last, check_layout, each
from treadle.nn.module import Module

Sizes = int | Sequence[int]


def _spatial(module: Module, x: td.Array) -> int:
    """How many spatial dimensions x has."""
    if not 3 <= x.ndim <= 5:
        raise ShapeError(
            f"[{type(module).__name__}] x has shape {x.shape}; expected a batch, channels and 1 to 3 spatial "
            f"dimensions"
        )
    return x.ndim - 2


class _Pool(Module):
    """What both kinds of pooling share: windows, and the padding that lets the last ones in."""

    def __init__(self, window: Sizes, stride: Sizes | None, padding: Sizes, ceil: bool, layout: str):
        self.window, self.stride, self.padding, self.ceil = window, stride, padding, ceil
        self.layout = check_layout(type(self).__name__, layout)

    def _sizes(self, x: td.Array) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, int]]]:
        """Windows, strides, and the padding before and after each spatial dimension."""
        count, name = _spatial(self, x), type(self).__name__
        window = each(name, "window", self.window, count)
        stride = each(name, "stride", self.window if self.stride is None else self.stride, count)
        padding = [(p, p) for p in each(name, "padding", self.padding, count)]
        if min(*window, *stride) < 1:
            raise ArgumentError(f"[{name}] window={window}, stride={stride}: expected positive integers")
        if self.ceil:
            sizes: Any = zip(x.shape[2:], window, stride, padding, strict=True)
            padding = [(p, p + _overhang(n, w, s, p)) for n, w, s, (p, _) in sizes]
        return window, stride, padding

    def _summary(self) -> str:
        return f"{type(self).__name__}({self.window})"


def _overhang(size: int, window: int, stride: int, padding: int) -> int:
    """By how much the last window that begins inside sticks out."""
    count = -(-(size + 2 * padding - window) // stride) + 1
    if (count - 1) * stride >= size + padding:
        count -= 1
    return max(0, (count - 1) * stride + window - size - 2 * padding)


class MaxPool(_Pool):
    """The largest value of each window.

    Args:
        window: its size, for all spatial dimensions or for each.
        stride: None for the window's size.
        padding: around x; it never counts.
        ceil: whether a last window that sticks out is there too.
        layout: "NCHW" or "NHWC".

    >>> import treadle as td
    >>> td.nn.MaxPool(2, ceil=True)(td.ones((1, 1, 5, 5))).shape
    (1, 1, 3, 3)
    """

    def __init__(
        self,
        window: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil: bool = False,
        layout: str = "NCHW",
    ):
        super().__init__(window, stride, padding, ceil, layout)

    def forward(self, x: td.Array) -> td.Array:
        x = channels_first(x, self.layout)
        window, stride, padding = self._sizes(x)
        return channels_last(td.max_pool(x, window, stride=stride, padding=padding), self.layout)


class AveragePool(_Pool):
    """The mean of each window.

    Args:
        window, stride, padding, ceil, layout: as of `MaxPool`; of a window that sticks out what is outside
            the padding does not count.
        count_padding: whether padding counts as zeros.

    >>> import treadle as td
    >>> td.nn.AveragePool(2)(td.ones((1, 1, 4, 4))).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    def __init__(
        self,
        window: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil: bool = False,
        count_padding: bool = True,
        layout: str = "NCHW",
    ):
        super().__init__(window, stride, padding, ceil, layout)
        self.count_padding = count_padding

    def forward(self, x: td.Array) -> td.Array:
        x = channels_first(x, self.layout)
        window, stride, padding = self._sizes(x)
        y = td.average_pool(x, window, stride=stride, padding=padding, count_include_pad=self.count_padding)
        if self.ceil and self.count_padding:
            y = y * td.asarray(self._correction(x, window, stride, padding), dtype=y.dtype)
        return channels_last(y, self.layout)

    def _correction(self, x: td.Array, window: Any, stride: Any, padding: Any) -> np.ndarray:
        """The windows' sizes over what of them lies in x and its padding, ``[windows...]``."""
        whole = np.ones(())
        for n, w, s, (before, after) in zip(x.shape[2:], window, stride, padding, strict=True):
            count = (n + before + after - w) // s + 1
            ends = np.minimum(np.arange(count) * s + w, n + 2 * before)
            whole = np.multiply.outer(whole, w / (ends - np.arange(count) * s))
        return whole


class _Global(Module):
    """One value of all places of a channel."""

    def __init__(self, *, layout: str = "NCHW"):
        self.layout = check_layout(type(self).__name__, layout)

    def _places(self, x: td.Array) -> tuple[int, ...]:
        """The spatial dimensions."""
        first = 2 if self.layout == "NCHW" else 1
        return tuple(range(first, first + _spatial(self, x)))


class GlobalAveragePool(_Global):
    """The mean over all places: ``[batch, channels]`` (Lin et al. 2014, arXiv:1312.4400).

    Args:
        layout: "NCHW" or "NHWC".

    >>> import treadle as td
    >>> td.nn.GlobalAveragePool()(td.ones((2, 3, 4, 4))).shape
    (2, 3)
    """

    def forward(self, x: td.Array) -> td.Array:
        return td.mean(x, axis=self._places(x))


class GlobalMaxPool(_Global):
    """The largest value of all places: ``[batch, channels]``.

    Args:
        layout: "NCHW" or "NHWC".

    >>> import treadle as td
    >>> td.nn.GlobalMaxPool(layout="NHWC")(td.ones((2, 4, 4, 3))).shape
    (2, 3)
    """

    def forward(self, x: td.Array) -> td.Array:
        return td.max(x, axis=self._places(x))


class _Adaptive(Module):
    """As many windows as are wanted, of sizes that differ by one at most."""

    def __init__(self, outputs: Sizes, *, layout: str = "NCHW"):
        self.outputs = outputs
        self.layout = check_layout(type(self).__name__, layout)

    def forward(self, x: td.Array) -> td.Array:
        x = channels_first(x, self.layout)
        name = type(self).__name__
        for axis, outputs in enumerate(each(name, "outputs", self.outputs, _spatial(self, x)), start=2):
            if not isinstance(x.shape[axis], int):
                raise ShapeError(f"[{name}] needs to know the sizes of x, which is {x.shape}")
            if not outputs > 0:
                raise ArgumentError(f"[{name}] outputs={self.outputs} are not positive")
            x = x if x.shape[axis] == outputs else self._along(x, axis, outputs)
        return channels_last(x, self.layout)

    def _along(self, x: td.Array, axis: int, outputs: int) -> td.Array:
        size = x.shape[axis]
        ends = [(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)]
        index = [slice(None)] * x.ndim
        parts = []
        for first, last in ends:
            index[axis] = slice(first, last)
            parts.append(self._pooled(x[tuple(index)], axis))
        return td.concat(parts, axis=axis)

    def _pooled(self, x: td.Array, axis: int) -> td.Array:
        raise NotImplementedError

    def _summary(self) -> str:
        return f"{type(self).__name__}({self.outputs})"


class AdaptiveAveragePool(_Adaptive):
    """The means of as many windows as are wanted.

    Args:
        outputs: how many, for all spatial dimensions or for each.
        layout: "NCHW" or "NHWC".

    >>> import treadle as td
    >>> td.nn.AdaptiveAveragePool(3)(td.ones((1, 2, 7, 5))).shape
    (1, 2, 3, 3)
    """

    def _pooled(self, x: td.Array, axis: int) -> td.Array:
        return td.mean(x, axis=axis, keepdims=True)


class AdaptiveMaxPool(_Adaptive):
    """The largest values of as many windows as are wanted.

    Args:
        outputs: how many, for all spatial dimensions or for each.
        layout: "NCHW" or "NHWC".
    """

    def _pooled(self, x: td.Array, axis: int) -> td.Array:
        return td.max(x, axis=axis, keepdims=True)
