"""The discrete Fourier transform: the records `fft`, `rfft` and `irfft`, and how operands are made for them.

The transforms are linear, so the gradient of one is its adjoint: the transform in the other direction,
normalized the other way. Of a real transform the half of the spectrum that is not stored counts through the
half that is. NumPy computes them, in the operand's precision.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension, Size
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import shifted
from treadle.ops.creation import iota, known
from treadle.ops.elementwise import equal, logical_or, multiply, where
from treadle.ops.movement import PAD, take_slice
from treadle.ops.record import (
    Operand,
    broadcast,
    cast,
    expect_axes,
    expect_node,
    filled,
    normal_axis,
    register,
    reshaped,
)

COMPLEX_OF = {dtypes.float32: dtypes.complex64, dtypes.float64: dtypes.complex128}
REAL_OF = {wide: real for real, wide in COMPLEX_OF.items()}
ADJOINT = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
"""The normalization with which the transform in the other direction is the adjoint."""

# -- records


def _check_lines(name: str, x: Type, axes: tuple[int, ...], norm: str) -> None:
    expect_axes(name, axes, len(x.shape))
    expect_norm(name, norm)
    for axis in axes:
        if x.shape[axis] == 0:
            raise ShapeError(f"[{name}] x is {x!r}: there is nothing to transform along dimension {axis}")


def _infer_fft(x: Type, axes: tuple[int, ...], inverse: bool, norm: str) -> Type:
    if x.dtype.kind != "complex":
        raise DTypeError(f"[fft] x is {x!r}; expected a complex dtype")
    _check_lines("fft", x, axes, norm)
    if not isinstance(inverse, bool):
        raise ArgumentError(f"[fft] inverse={inverse!r}; expected True or False")
    return x


def _infer_rfft(x: Type, axis: int, norm: str) -> Type:
    if x.dtype not in COMPLEX_OF:
        raise DTypeError(f"[rfft] x is {x!r}; expected float32 or float64")
    _check_lines("rfft", x, (axis,), norm)
    return Type((*x.shape[:axis], x.shape[axis] // 2 + 1, *x.shape[axis + 1 :]), COMPLEX_OF[x.dtype])


def _infer_irfft(x: Type, n: int, axis: int, norm: str) -> Type:
    if x.dtype not in REAL_OF:
        raise DTypeError(f"[irfft] x is {x!r}; expected complex64 or complex128")
    expect_axes("irfft", (axis,), len(x.shape))
    expect_norm("irfft", norm)
    if x.shape[axis] != expect_count("irfft", "n", n) // 2 + 1:
        raise ShapeError(f"[irfft] x is {x!r}; {n} values have {n // 2 + 1} frequencies")
    return Type((*x.shape[:axis], n, *x.shape[axis + 1 :]), REAL_OF[x.dtype])


def _interior(x: Node, axis: int, n: int, weight: float) -> Node:
    """A half spectrum of n values with a weight on those frequencies that stand for their negatives too."""
    size = x.shape[axis]
    frequency = iota(size, dtypes.int64)
    alone = equal(frequency, known(0, frequency))
    if n % 2 == 0:
        alone = logical_or(alone, equal(frequency, known(n // 2, frequency)))
    weights = where(alone, 1.0, cast(weight, REAL_OF[x.dtype]))
    shape = (*[1] * axis, size, *[1] * (x.ndim - axis - 1))
    return multiply(x, broadcast(reshaped(cast(weights, x.dtype), shape), x.shape))


def _fft_vjp(g: Node, y: Node, x: Node, axes: tuple[int, ...], inverse: bool, norm: str) -> tuple[Node]:
    return (make(FFT, (g,), (axes, not inverse, ADJOINT[norm])),)


def _rfft_vjp(g: Node, y: Node, x: Node, axis: int, norm: str) -> tuple[Node]:
    n = x.shape[axis]
    return (make(IRFFT, (_interior(g, axis, n, 0.5),), (n, axis, ADJOINT[norm])),)


def _irfft_vjp(g: Node, y: Node, x: Node, n: int, axis: int, norm: str) -> tuple[Node]:
    return (_interior(make(RFFT, (g,), (axis, ADJOINT[norm])), axis, n, 2.0),)


FFT = register(
    Op("fft", _infer_fft,
       lambda x, axes, inverse, norm: (np.fft.ifftn if inverse else np.fft.fftn)(x, axes=axes, norm=norm),
       _fft_vjp, attributes=("axes", "inverse", "norm"), batch=shifted,
       doc="The Fourier transform over dimensions.")
)  # fmt: skip
RFFT = register(
    Op("rfft", _infer_rfft, lambda x, axis, norm: np.fft.rfft(x, axis=axis, norm=norm), _rfft_vjp,
       attributes=("axis", "norm"), batch=shifted,
       doc="The half of a real line's Fourier transform that tells the rest.")
)  # fmt: skip
IRFFT = register(
    Op("irfft", _infer_irfft, lambda x, n, axis, norm: np.fft.irfft(x, n, axis, norm), _irfft_vjp,
       attributes=("n", "axis", "norm"), batch=shifted, doc="The n real values whose `rfft` is given.")
)  # fmt: skip

# -- arguments


def complex_operand(name: str, x: Operand) -> Node:
    """The operand as complex values."""
    x = expect_node(name, "x", x)
    if x.dtype.kind == "complex":
        return x
    if x.dtype not in COMPLEX_OF:
        raise DTypeError(
            f"[{name}] x is {x.type!r}; expected complex64 or complex128, or float32 or float64, which are "
            f"made complex: convert it with astype"
        )
    return cast(x, COMPLEX_OF[x.dtype])


def real_operand(name: str, x: Operand) -> Node:
    """The operand, which must be real."""
    x = expect_node(name, "x", x)
    if x.dtype not in COMPLEX_OF:
        hint = "use fft for complex values" if x.dtype.kind == "complex" else "convert it with astype"
        raise DTypeError(f"[{name}] x is {x.type!r}; expected float32 or float64: {hint}")
    return x


def expect_norm(name: str, norm: str) -> str:
    if norm not in ADJOINT:
        raise ArgumentError(f'[{name}] norm={norm!r}; there are "backward", "ortho" and "forward"')
    return norm


def expect_count(name: str, argument: str, n: Any) -> int:
    """A number of values, at least one."""
    try:
        count = operator.index(n)
    except (TypeError, ShapeError):
        raise ArgumentError(f"[{name}] {argument}={n!r} is not an integer") from None
    if isinstance(n, bool) or count < 1:
        raise ArgumentError(f"[{name}] {argument}={n!r}; a transform takes at least one value")
    return count


def sized(name: str, x: Node, axis: int, n: int) -> Node:
    """The first n elements along a dimension, with zeros after them where there are not so many."""
    size = x.shape[axis]
    if size == n:
        return x
    if isinstance(size, Dimension):
        raise ArgumentError(f"[{name}] the size of dimension {axis} is not known: x is {x.type!r}, n={n}")
    if size > n:
        stop = (*x.shape[:axis], n, *x.shape[axis + 1 :])
        return take_slice(x, [0] * x.ndim, stop, [1] * x.ndim)
    widths = tuple((0, n - size if a == axis else 0, 0) for a in range(x.ndim))
    return make(PAD, (x, filled(0, (), x.dtype)), (widths,))


def whole_size(name: str, x: Node, axis: int) -> int:
    """How many real values a half spectrum is of, if nothing else is said."""
    size = x.shape[axis]
    if isinstance(size, Dimension):
        raise ArgumentError(f"[{name}] the size of dimension {axis} of x, {x.type!r}, is not known: give n")
    if size < 2:
        raise ArgumentError(
            f"[{name}] x is {x.type!r}: {size} frequencies along dimension {axis} do not say how many values "
            f"there are; give n"
        )
    return 2 * (size - 1)


def line_of(name: str, x: Node, n: int | None, axis: int) -> tuple[Node, int]:
    """The operand with n elements along a dimension, and that dimension counted from the front."""
    axis = normal_axis(name, axis, x.ndim)
    return (x if n is None else sized(name, x, axis, expect_count(name, "n", n))), axis


def axes_and_sizes(
    name: str, x: Node, s: Sequence[int] | None, axes: Sequence[int] | None
) -> tuple[list[int], list[Size | None]]:
    """The dimensions, counted from the front and in the order given, and the sizes asked for."""
    if axes is None:
        if s is not None:
            raise ArgumentError(f"[{name}] s={s} without axes: say which dimensions have these sizes")
        axes = range(x.ndim)
    found = [normal_axis(name, axis, x.ndim, "axes") for axis in axes]
    if len(set(found)) != len(found):
        raise ArgumentError(f"[{name}] axes={tuple(axes)} names a dimension twice")
    if s is None:
        return found, [None] * len(found)
    if len(s) != len(found):
        raise ArgumentError(f"[{name}] s={tuple(s)} and axes={tuple(axes)} differ in number")
    return found, [None if size == -1 else expect_count(name, "s", size) for size in s]


def all_sized(name: str, x: Node, axes: Sequence[int], sizes: Sequence[Size | None]) -> Node:
    for axis, size in zip(axes, sizes, strict=True):
        if size is not None:
            x = sized(name, x, axis, size)
    return x
