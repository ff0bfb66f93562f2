"""The frequencies of a Fourier transform, and their order.

Names and meaning are those of the extension `fft` of the Array API standard 2025.12.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle import dtypes
from treadle.dtypes import DType, as_dtype
from treadle.errors import ArgumentError, DTypeError
from treadle.graph.node import Node, surrounded, surroundings
from treadle.ops.creation import iota, known
from treadle.ops.elementwise import less, multiply, subtract, where
from treadle.ops.fourier import expect_count
from treadle.ops.movement import roll
from treadle.ops.record import Operand, cast, expect_node, normal_axis, public_in


def _frequencies(name: str, n: int, d: float, dtype: DType | None, device: str | None, half: bool) -> Node:
    target = dtypes.float32 if dtype is None else as_dtype(dtype)
    n = expect_count(name, "n", n)
    if target.kind != "float":
        raise DTypeError(f"[{name}] dtype={target}; expected a real floating dtype")
    if isinstance(d, bool) or not isinstance(d, (int, float)) or d == 0:
        raise ArgumentError(f"[{name}] d={d!r}; expected the distance of two samples, a number that is not 0")
    with surrounded(device=surroundings.device if device is None else device):
        k = iota(n // 2 + 1 if half else n, dtypes.int64)
        if not half:
            k = where(less(k, known((n + 1) // 2, k)), k, subtract(k, known(n, k)))
        return cast(multiply(cast(k, dtypes.float64), 1.0 / (n * d)), target)


@public_in("fft")
def fftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: str | None = None) -> Node:
    """The frequencies that `fft` gives, in its order: 0 and up, then the negative ones up to -1.

    Args:
        n: how many values are transformed.
        d: the distance of two of them.
        dtype: of the result; None gives float32.
        device: where it is computed; None for the current device.

    Returns:
        Array of shape ``[n]``, in cycles per unit of d.

    Raises:
        ArgumentError: n is less than 1, or d is 0.
        DTypeError: dtype is not a real floating one.

    >>> import treadle as td
    >>> td.fft.fftfreq(4, d=0.5).tolist()
    [0.0, 0.5, -1.0, -0.5]
    """
    return _frequencies("fftfreq", n, d, dtype, device, False)


@public_in("fft")
def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: str | None = None) -> Node:
    """The frequencies that `rfft` gives: 0 and up.

    Args:
        n: how many values are transformed.
        d: the distance of two of them.
        dtype: of the result; None gives float32.
        device: where it is computed; None for the current device.

    Returns:
        Array of shape ``[n // 2 + 1]``, in cycles per unit of d.

    Raises:
        ArgumentError: n is less than 1, or d is 0.
        DTypeError: dtype is not a real floating one.

    >>> import treadle as td
    >>> td.fft.rfftfreq(4, d=0.5).tolist()
    [0.0, 0.5, 1.0]
    """
    return _frequencies("rfftfreq", n, d, dtype, device, True)


def _shifted(name: str, x: Operand, axes: int | Sequence[int] | None, sign: int) -> Node:
    x = expect_node(name, "x", x)
    given = range(x.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    for axis in given:
        axis = normal_axis(name, axis, x.ndim, "axes")
        half = x.shape[axis] // 2
        x = roll(x, sign * half, axis=axis)
    return x


@public_in("fft")
def fftshift(x: Operand, /, *, axes: int | Sequence[int] | None = None) -> Node:
    """The frequencies in ascending order, 0 in the middle, from the order that `fft` gives them in.

    Args:
        x: array of any dtype.
        axes: the dimensions; None for all.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ArgumentError: an axis is out of range.

    >>> import treadle as td
    >>> td.fft.fftshift(td.fft.fftfreq(4)).tolist()
    [-0.5, -0.25, 0.0, 0.25]
    """
    return _shifted("fftshift", x, axes, 1)


@public_in("fft")
def ifftshift(x: Operand, /, *, axes: int | Sequence[int] | None = None) -> Node:
    """The inverse of `fftshift`: the order that `ifft` takes frequencies in.

    Args:
        x: array of any dtype.
        axes: the dimensions; None for all.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ArgumentError: an axis is out of range.

    >>> import treadle as td
    >>> td.fft.ifftshift(td.fft.fftshift(td.fft.fftfreq(5))).tolist() == td.fft.fftfreq(5).tolist()
    True
    """
    return _shifted("ifftshift", x, axes, -1)
