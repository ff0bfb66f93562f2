"""Maxima and averages of windows that move along one to three spatial dimensions.

Of equal maxima the first in row-major order of the window counts, and NaN is larger than any number. Maxima
come with the record that puts a cotangent to their places, and the one that reads values there: each is the
other's gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Shape
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import folded
from treadle.ops.contraction import widened
from treadle.ops.elementwise import like
from treadle.ops.record import Operand, expect_kind, expect_node, public, register
from treadle.ops.window import (
    Padding,
    Sizes,
    output_sizes,
    padded,
    padded_zeros,
    per_dimension,
    read_padding,
    taps,
    unpadded,
)

PLACE = ("window", "stride", "padding")


def _pooled(
    name: str, x: Type, window: Sizes, stride: Sizes, padding: Padding, accepts: str = "real"
) -> Type:
    """What one number for each window makes of x."""
    if x.dtype.kind not in dtypes.KINDS[accepts]:
        raise DTypeError(f"[{name}] x is {x!r}; expected a {accepts} dtype")
    if len(x.shape) != len(window) + 2:
        raise ShapeError(
            f"[{name}] x has shape {x.shape}; expected [batch, channels] and {len(window)} spatial dimensions"
        )
    ones = (1,) * len(window)
    return Type((*x.shape[:2], *output_sizes(name, x.shape[2:], window, stride, padding, ones)), x.dtype)


def _taps(x: Any, window: Sizes, stride: Sizes, padding: Padding) -> Any:
    ones = (1,) * len(window)
    return taps(window, output_sizes("pool", x.shape[2:], window, stride, padding, ones), stride, ones)  # type: ignore[arg-type]


# -- maxima


def _lowest(dtype: Any) -> Any:
    """What padding counts as for maxima."""
    return np.iinfo(dtype).min if dtype.kind in "iu" else dtype.type(-np.inf)


def _maxima(x: Any, window: Sizes, stride: Sizes, padding: Padding) -> tuple[Any, Any]:
    """The maximum of each window, and at which of the window's places, counted row-major, it stands first."""
    source = padded(x, padding, _lowest(x.dtype))
    inside = padded(np.ones(x.shape, bool), padding, False)
    shape = (
        *x.shape[:2],
        *output_sizes("max_pool", x.shape[2:], window, stride, padding, (1,) * len(window)),
    )
    best, place = np.full(shape, _lowest(x.dtype), x.dtype), np.zeros(shape, np.int64)
    found = np.zeros(shape, bool)
    for number, (_, met) in enumerate(_taps(x, window, stride, padding)):
        candidate, real = source[(..., *met)], inside[(..., *met)]
        better = real & (~found | (candidate > best) | (np.isnan(candidate) & ~np.isnan(best)))
        best, place = np.where(better, candidate, best), np.where(better, number, place)
        found |= real
    return best, place


def _max_pool_vjp(g: Node, y: Node, x: Node, **place: Any) -> tuple[Node]:
    return (make(MAX_POOL_GRADIENT, (x, g), tuple(place[name] for name in PLACE)),)


MAX_POOL = register(
    Op("max_pool", lambda x, **place: _pooled("max_pool", x, **place),
       lambda x, **place: _maxima(x, **place)[0], _max_pool_vjp,
       attributes=PLACE, batch=folded, doc="The maximum of each window.")
)  # fmt: skip


def _infer_max_pool_gradient(x: Type, g: Type, **place: Any) -> Type:
    wanted = _pooled("max_pool_gradient", x, **place)
    if g is not wanted:
        raise ShapeError(f"[max_pool_gradient] g is {g!r}; the pooling gives {wanted!r}")
    return x


def _max_pool_gradient_reference(x: Any, g: Any, **place: Any) -> Any:
    _, chosen = _maxima(x, **place)
    cotangent = widened(g)
    result = padded_zeros(x.shape[:2], x.shape[2:], place["padding"], cotangent.dtype)
    for number, (_, met) in enumerate(_taps(x, **place)):
        result[(..., *met)] += np.where(chosen == number, cotangent, 0)
    return unpadded(result, place["padding"]).astype(g.dtype)


def _max_pool_gradient_vjp(h: Node, y: Node, x: Node, g: Node, **place: Any) -> tuple[Node, Node]:
    return like(0, x), make(MAX_POOL_SELECT, (x, h), tuple(place[name] for name in PLACE))


MAX_POOL_GRADIENT = register(
    Op("max_pool_gradient", _infer_max_pool_gradient, _max_pool_gradient_reference, _max_pool_gradient_vjp,
       attributes=PLACE, batch=folded,
       doc="g put to the place of each window's first maximum in x, and added up there.")
)  # fmt: skip


def _infer_max_pool_select(x: Type, values: Type, **place: Any) -> Type:
    if values is not x:
        raise ShapeError(f"[max_pool_select] values are {values!r}, x is {x!r}; they must be alike")
    return _pooled("max_pool_select", x, **place)


def _max_pool_select_reference(x: Any, values: Any, **place: Any) -> Any:
    _, chosen = _maxima(x, **place)
    source = padded(values, place["padding"])
    result = np.zeros(chosen.shape, x.dtype)
    for number, (_, met) in enumerate(_taps(x, **place)):
        result = np.where(chosen == number, source[(..., *met)], result)
    return result


def _max_pool_select_vjp(h: Node, y: Node, x: Node, values: Node, **place: Any) -> tuple[Node, Node]:
    return like(0, x), make(MAX_POOL_GRADIENT, (x, h), tuple(place[name] for name in PLACE))


MAX_POOL_SELECT = register(
    Op("max_pool_select", _infer_max_pool_select, _max_pool_select_reference, _max_pool_select_vjp,
       attributes=PLACE, batch=folded, doc="The values at the places of each window's first maximum in x.")
)  # fmt: skip


# -- averages


def _counts(sizes: Sizes, window: Sizes, stride: Sizes, padding: Padding, count_include_pad: bool) -> Any:
    """How many elements each window averages over."""
    inside = padded(np.ones((1, 1, *sizes)), padding, float(count_include_pad))
    return np.sum(
        [inside[(..., *met)] for _, met in _taps(np.empty((1, 1, *sizes)), window, stride, padding)], axis=0
    )


def _infer_average(x: Type, count_include_pad: bool, **place: Any) -> Type:
    return _pooled("average_pool", x, **place, accepts="floating")


def _average_reference(x: Any, count_include_pad: bool, **place: Any) -> Any:
    source = padded(widened(x), place["padding"])
    total = np.sum([source[(..., *met)] for _, met in _taps(x, **place)], axis=0)
    return (total / _counts(x.shape[2:], **place, count_include_pad=count_include_pad)).astype(x.dtype)


def _average_vjp(g: Node, y: Node, x: Node, **attributes: Any) -> tuple[Node]:
    return (make(AVERAGE_POOL_GRADIENT, (g,), (x.shape[2:], *(attributes[name] for name in AVERAGING))),)


AVERAGING = (*PLACE, "count_include_pad")
AVERAGE_POOL = register(
    Op("average_pool", _infer_average, _average_reference, _average_vjp, attributes=AVERAGING,
       batch=folded, doc="The mean of each window.")
)  # fmt: skip


def _infer_average_gradient(g: Type, size: Shape, count_include_pad: bool, **place: Any) -> Type:
    x = Type((*g.shape[:2], *size), g.dtype)
    wanted = _pooled("average_pool_gradient", x, **place, accepts="floating")
    if g is not wanted:
        raise ShapeError(f"[average_pool_gradient] g is {g!r}; the pooling gives {wanted!r}")
    return x


def _average_gradient_reference(g: Any, size: Sizes, count_include_pad: bool, **place: Any) -> Any:
    share = widened(g)
    share = (share / _counts(size, **place, count_include_pad=count_include_pad)).astype(share.dtype)
    result = padded_zeros(g.shape[:2], size, place["padding"], share.dtype)
    for _, met in _taps(np.empty((*g.shape[:2], *size)), **place):
        result[(..., *met)] += share
    return unpadded(result, place["padding"]).astype(g.dtype)


def _average_gradient_vjp(h: Node, y: Node, g: Node, size: Shape, **attributes: Any) -> tuple[Node]:
    return (make(AVERAGE_POOL, (h,), tuple(attributes[name] for name in AVERAGING)),)


AVERAGE_POOL_GRADIENT = register(
    Op("average_pool_gradient", _infer_average_gradient, _average_gradient_reference, _average_gradient_vjp,
       attributes=("size", *AVERAGING), batch=folded,
       doc="The gradient of `average_pool` by an input of spatial sizes `size`.")
)  # fmt: skip


# -- what users call


def _arguments(name: str, x: Operand, window: Any, stride: Any, padding: Any) -> tuple[Node, tuple[Any, ...]]:
    """The input and the attributes of a pooling."""
    x = expect_node(name, "x", x)
    if not 3 <= x.ndim <= 5:
        raise ShapeError(
            f"[{name}] x has shape {x.shape}; expected [batch, channels, spatial...] with 1 to 3 spatial "
            f"dimensions"
        )
    count = x.ndim - 2
    sizes = per_dimension(name, "window", window, count)
    steps = sizes if stride is None else per_dimension(name, "stride", stride, count)
    widths = read_padding(name, padding, x.shape[2:], sizes, steps, (1,) * count)
    for n, pair in zip(sizes, widths, strict=True):
        if max(pair) >= n:
            raise ArgumentError(
                f"[{name}] padding={padding!r} is as large as window={window!r}: a window might hold nothing "
                f"of x"
            )
    return x, (sizes, steps, widths)


@public
def max_pool(
    x: Operand, window: int | Sequence[int], /, *, stride: int | Sequence[int] | None = None, padding: Any = 0
) -> Node:
    """The maximum of each window; NaN where there is one. Padding never counts.

    Args:
        x: array of real dtype, of shape ``[batch, channels, spatial...]`` with one to three spatial
            dimensions.
        window: its size, for all spatial dimensions or for each.
        stride: by how much the window moves; None for its size.
        padding: as in `conv`; smaller than the window.

    Returns:
        Array of shape ``[batch, channels, windows...]``.

    Raises:
        ShapeError: x has too few or too many dimensions, or no window fits.
        ArgumentError: window, stride or padding is malformed.
        DTypeError: x is not of a real dtype.
    """
    x, attributes = _arguments("max_pool", x, window, stride, padding)
    return make(MAX_POOL, (x,), attributes)


@public
def average_pool(
    x: Operand,
    window: int | Sequence[int],
    /,
    *,
    stride: int | Sequence[int] | None = None,
    padding: Any = 0,
    count_include_pad: bool = True,
) -> Node:
    """The mean of each window.

    Args:
        x: array of floating dtype, of shape ``[batch, channels, spatial...]`` with one to three spatial
            dimensions.
        window: its size, for all spatial dimensions or for each.
        stride: by how much the window moves; None for its size.
        padding: as in `conv`; smaller than the window.
        count_include_pad: whether padding counts, as zeros.

    Returns:
        Array of shape ``[batch, channels, windows...]``.

    Raises:
        ShapeError: x has too few or too many dimensions, or no window fits.
        ArgumentError: window, stride or padding is malformed.
        DTypeError: x is not of a floating dtype.
    """
    x, attributes = _arguments("average_pool", x, window, stride, padding)
    expect_kind("average_pool", "x", x, "floating")
    return make(AVERAGE_POOL, (x,), (*attributes, bool(count_include_pad)))
