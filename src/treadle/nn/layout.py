"""The two orders of dimensions that images come in: channels first (NCHW) and channels last (NHWC).

The letters stand for any number of spatial dimensions. Ops take channels first; what is moved for them costs
nothing where kernels take strides.
"""

from __future__ import annotations

from collections.abc import Sequence

import treadle as td
from treadle.errors import ArgumentError

LAYOUTS = ("NCHW", "NHWC")


def check_layout(name: str, layout: str) -> str:
    """The layout, if it is one."""
    if layout not in LAYOUTS:
        raise ArgumentError(f"[{name}] layout={layout!r}; it is one of {', '.join(LAYOUTS)}")
    return layout


def each(name: str, argument: str, value: int | Sequence[int], count: int) -> tuple[int, ...]:
    """One number for each spatial dimension, of one for all or of as many as there are.

    Raises:
        ArgumentError: it is neither.
    """
    numbers = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(numbers) != count or not all(isinstance(n, int) for n in numbers):
        raise ArgumentError(
            f"[{name}] {argument}={value!r}; expected one integer, or one for each of the {count} spatial "
            f"dimensions"
        )
    return numbers


def window_sizes(
    name: str, window: int | Sequence[int], dimensions: int | None, stride: int | Sequence[int]
) -> tuple[int, ...]:
    """The sizes of a layer's windows, which say how many spatial dimensions there are.

    Raises:
        ArgumentError: window and dimensions do not fit each other, there are none or more than three, or a
            size or stride is not positive.
    """
    given = len(window) if isinstance(window, Sequence) and not isinstance(window, str) else 2
    sizes = each(name, "window", window, given if dimensions is None else dimensions)
    if not 1 <= len(sizes) <= 3:
        raise ArgumentError(f"[{name}] {len(sizes)} spatial dimensions; there are layers of 1 to 3")
    if min(*sizes, *each(name, "stride", stride, len(sizes))) < 1:
        raise ArgumentError(f"[{name}] window={window}, stride={stride}: expected positive integers")
    return sizes


def channels_first(x: td.Array, layout: str) -> td.Array:
    """x of a layout, as ``[batch, channels, spatial...]``."""
    return x if layout == "NCHW" else td.moveaxis(x, -1, 1)


def channels_last(y: td.Array, layout: str) -> td.Array:
    """``[batch, channels, spatial...]`` in a layout."""
    return y if layout == "NCHW" else td.moveaxis(y, 1, -1)
