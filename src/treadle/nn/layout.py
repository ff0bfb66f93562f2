"""The two orders of dimensions that images come in: channels first (NCHW) and channels last (NHWC).

The letters stand for any number of spatial dimensions. Ops take channels first; what is moved for them costs
nothing where kernels take strides.
"""

from __future__ import annotations

import treadle as td
from treadle.errors import ArgumentError

LAYOUTS = ("NCHW", "NHWC")


def check_layout(name: str, layout: str) -> str:
    """The layout, if it is one."""
    if layout not in LAYOUTS:
        raise ArgumentError(f"[{name}] layout={layout!r}; it is one of {', '.join(LAYOUTS)}")
    return layout


def channels_first(x: td.Array, layout: str) -> td.Array:
    """x of a layout, as ``[batch, channels, spatial...]``."""
    return x if layout == "NCHW" else td.moveaxis(x, -1, 1)


def channels_last(y: td.Array, layout: str) -> td.Array:
    """``[batch, channels, spatial...]`` in a layout."""
    return y if layout == "NCHW" else td.moveaxis(y, 1, -1)
