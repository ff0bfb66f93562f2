"""Fourier transforms of arrays: the Array API standard's extension of that name. Generated from the op
records by ``./dev generate``: do not edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.array import Array, ArrayLike, as_operand, wrap
from treadle.ops import fft as _fft
from treadle.ops import frequencies as _frequencies

__all__ = [
    "fft",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfftn",
    "rfft",
    "rfftfreq",
    "rfftn",
]


def fft(x: ArrayLike, /, *, n: int | None = None, axis: int = -1, norm: str = 'backward') -> Array:
    """The discrete Fourier transform along one dimension.

    Args:
        x: array of complex dtype; float32 and float64 are made complex.
        n: how many values to transform: the first n, with zeros after them where there are fewer. None for
            all.
        axis: the dimension.
        norm: what divides the result: nothing ("backward"), sqrt(n) ("ortho") or n ("forward").

    Returns:
        Array of complex dtype in whose shape the dimension has size n.

    Raises:
        DTypeError: x is neither complex nor float32 or float64.
        ArgumentError: n is less than 1, axis is out of range, or norm is none of the three.

    >>> import treadle as td
    >>> td.fft.fft(td.asarray([1.0, 2.0, 3.0, 4.0])).tolist()
    [(10+0j), (-2+2j), (-2+0j), (-2-2j)]
    """
    return wrap(_fft.fft(as_operand(x), n=n, axis=axis, norm=norm))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None) -> Array:
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
    return wrap(_frequencies.fftfreq(n, d=d, dtype=dtype, device=device))


def fftn(
    x: ArrayLike, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str =
    'backward'
) -> Array:
    """The discrete Fourier transform over several dimensions.

    Args:
        x: array of complex dtype; float32 and float64 are made complex.
        s: for every axis, how many values to transform: the first ones, with zeros after them where there are
            fewer, or -1 for all. None for all; with `axes` only.
        axes: the dimensions; None for all.
        norm: what divides the result: nothing ("backward"), or the square root of the number of values
            ("ortho"), or that number ("forward").

    Returns:
        Array of complex dtype in whose shape the dimensions have the sizes asked for.

    Raises:
        DTypeError: x is neither complex nor float32 or float64.
        ArgumentError: s comes without axes or does not fit them, an axis is out of range or repeated, or norm
            is none of the three.

    >>> import treadle as td
    >>> td.fft.fftn(td.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[(10+0j), (-2+0j)], [(-4+0j), 0j]]
    """
    return wrap(_fft.fftn(as_operand(x), s=s, axes=axes, norm=norm))


def fftshift(x: ArrayLike, /, *, axes: int | Sequence[int] | None = None) -> Array:
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
    return wrap(_frequencies.fftshift(as_operand(x), axes=axes))


def hfft(x: ArrayLike, /, *, n: int | None = None, axis: int = -1, norm: str = 'backward') -> Array:
    """The discrete Fourier transform of values of which those at negative places are the conjugates: it is
    real.

    Args:
        x: array of complex dtype, of the values at 0, 1 ... along the dimension; float32 and float64 are made
            complex.
        n: how many values there are with those at negative places; None for ``2 * (size - 1)``.
        axis: the dimension.
        norm: what divides the result: nothing ("backward"), sqrt(n) ("ortho") or n ("forward").

    Returns:
        Array of the real dtype of x's precision in whose shape the dimension has size n.

    Raises:
        DTypeError: x is neither complex nor float32 or float64.
        ArgumentError: n is less than 1, axis is out of range, or norm is none of the three.

    >>> import treadle as td
    >>> td.fft.hfft(td.asarray([1.0, 2.0, 3.0])).tolist()
    [8.0, -2.0, 0.0, -2.0]
    """
    return wrap(_fft.hfft(as_operand(x), n=n, axis=axis, norm=norm))


def ifft(x: ArrayLike, /, *, n: int | None = None, axis: int = -1, norm: str = 'backward') -> Array:
    """The inverse of `fft`.

    Args:
        x: array of complex dtype; float32 and float64 are made complex.
        n: how many values to transform: the first n, with zeros after them where there are fewer. None for
            all.
        axis: the dimension.
        norm: what divides the result: n ("backward"), sqrt(n) ("ortho") or nothing ("forward").

    Returns:
        Array of complex dtype in whose shape the dimension has size n.

    Raises:
        DTypeError: x is neither complex nor float32 or float64.
        ArgumentError: n is less than 1, axis is out of range, or norm is none of the three.

    >>> import treadle as td
    >>> td.fft.ifft(td.fft.fft(td.asarray([1.0, 2.0, 3.0, 4.0]))).tolist()
    [(1+0j), (2+0j), (3+0j), (4+0j)]
    """
    return wrap(_fft.ifft(as_operand(x), n=n, axis=axis, norm=norm))


def ifftn(
    x: ArrayLike, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str =
    'backward'
) -> Array:
    """The inverse of `fftn`.

    Args:
        x: array of complex dtype; float32 and float64 are made complex.
        s: for every axis, how many values to transform: the first ones, with zeros after them where there are
            fewer, or -1 for all. None for all; with `axes` only.
        axes: the dimensions; None for all.
        norm: what divides the result: the number of values ("backward"), its square root ("ortho"), or
            nothing ("forward").

    Returns:
        Array of complex dtype in whose shape the dimensions have the sizes asked for.

    Raises:
        DTypeError: x is neither complex nor float32 or float64.
        ArgumentError: s comes without axes or does not fit them, an axis is out of range or repeated, or norm
            is none of the three.

    >>> import treadle as td
    >>> td.fft.ifftn(td.asarray([[10.0, -2.0], [-4.0, 0.0]])).tolist()
    [[(1+0j), (2+0j)], [(3+0j), (4+0j)]]
    """
    return wrap(_fft.ifftn(as_operand(x), s=s, axes=axes, norm=norm))


def ifftshift(x: ArrayLike, /, *, axes: int | Sequence[int] | None = None) -> Array:
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
    return wrap(_frequencies.ifftshift(as_operand(x), axes=axes))


def ihfft(x: ArrayLike, /, *, n: int | None = None, axis: int = -1, norm: str = 'backward') -> Array:
    """The inverse of `hfft`, without the half that repeats it.

    Args:
        x: array of dtype float32 or float64.
        n: how many values to transform: the first n, with zeros after them where there are fewer. None for
            all.
        axis: the dimension.
        norm: what divides the result: n ("backward"), sqrt(n) ("ortho") or nothing ("forward").

    Returns:
        Array of the complex dtype of x's precision in whose shape the dimension has size ``n // 2 + 1``.

    Raises:
        DTypeError: x is not of dtype float32 or float64.
        ArgumentError: n is less than 1, axis is out of range, or norm is none of the three.

    >>> import treadle as td
    >>> td.fft.ihfft(td.asarray([8.0, -2.0, 0.0, -2.0])).tolist()
    [(1-0j), (2-0j), (3-0j)]
    """
    return wrap(_fft.ihfft(as_operand(x), n=n, axis=axis, norm=norm))


def irfft(x: ArrayLike, /, *, n: int | None = None, axis: int = -1, norm: str = 'backward') -> Array:
    """The inverse of `rfft`: real values from the half of their transform.

    Args:
        x: array of complex dtype, of the frequencies 0, 1 ... along the dimension; float32 and float64 are
            made complex. Frequency 0, and n / 2, count with their real part.
        n: how many values there are: ``n // 2 + 1`` frequencies are taken, zeros where there are fewer. None
            for ``2 * (size - 1)``, which is even.
        axis: the dimension.
        norm: what divides the result: n ("backward"), sqrt(n) ("ortho") or nothing ("forward").

    Returns:
        Array of the real dtype of x's precision in whose shape the dimension has size n.

    Raises:
        DTypeError: x is neither complex nor float32 or float64.
        ArgumentError: n is less than 1, axis is out of range, or norm is none of the three.

    >>> import treadle as td
    >>> td.fft.irfft(td.fft.rfft(td.asarray([1.0, 2.0, 3.0])), n=3).tolist()
    [1.0, 2.0, 3.0]
    """
    return wrap(_fft.irfft(as_operand(x), n=n, axis=axis, norm=norm))


def irfftn(
    x: ArrayLike, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str =
    'backward'
) -> Array:
    """The inverse of `rfftn`: real values from the half of their transform.

    Args:
        x: array of complex dtype; float32 and float64 are made complex.
        s: for every axis, the size of the result: frequencies are taken accordingly, zeros where there are
            fewer; -1 for as many as there are. None for that everywhere; with `axes` only.
        axes: the dimensions, of which the last is the one that is halved; None for all.
        norm: what divides the result: the number of values ("backward"), its square root ("ortho"), or
            nothing ("forward").

    Returns:
        Array of the real dtype of x's precision in whose shape the dimensions have the sizes asked for; the
        last ``2 * (size - 1)`` if nothing is asked.

    Raises:
        DTypeError: x is neither complex nor float32 or float64.
        ArgumentError: s comes without axes or does not fit them, there are no axes, one is out of range or
            repeated, or norm is none of the three.

    >>> import treadle as td
    >>> td.fft.irfftn(td.asarray([[10.0, -2.0], [-4.0, 0.0]])).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    return wrap(_fft.irfftn(as_operand(x), s=s, axes=axes, norm=norm))


def rfft(x: ArrayLike, /, *, n: int | None = None, axis: int = -1, norm: str = 'backward') -> Array:
    """The discrete Fourier transform of real values along one dimension, without the half that repeats it.

    Args:
        x: array of dtype float32 or float64.
        n: how many values to transform: the first n, with zeros after them where there are fewer. None for
            all.
        axis: the dimension.
        norm: what divides the result: nothing ("backward"), sqrt(n) ("ortho") or n ("forward").

    Returns:
        Array of the complex dtype of x's precision in whose shape the dimension has size ``n // 2 + 1``.

    Raises:
        DTypeError: x is not of dtype float32 or float64.
        ArgumentError: n is less than 1, axis is out of range, or norm is none of the three.

    >>> import treadle as td
    >>> td.fft.rfft(td.asarray([1.0, 2.0, 3.0, 4.0])).tolist()
    [(10+0j), (-2+2j), (-2+0j)]
    """
    return wrap(_fft.rfft(as_operand(x), n=n, axis=axis, norm=norm))


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None) -> Array:
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
    return wrap(_frequencies.rfftfreq(n, d=d, dtype=dtype, device=device))


def rfftn(
    x: ArrayLike, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str =
    'backward'
) -> Array:
    """The discrete Fourier transform of real values over several dimensions, without the half that repeats.

    Args:
        x: array of dtype float32 or float64.
        s: for every axis, how many values to transform: the first ones, with zeros after them where there are
            fewer, or -1 for all. None for all; with `axes` only.
        axes: the dimensions, of which the last is the one that is halved; None for all.
        norm: what divides the result: nothing ("backward"), or the square root of the number of values
            ("ortho"), or that number ("forward").

    Returns:
        Array of the complex dtype of x's precision in whose shape the dimensions have the sizes asked for,
        but the last ``s[-1] // 2 + 1``.

    Raises:
        DTypeError: x is not of dtype float32 or float64.
        ArgumentError: s comes without axes or does not fit them, there are no axes, one is out of range or
            repeated, or norm is none of the three.

    >>> import treadle as td
    >>> td.fft.rfftn(td.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[(10+0j), (-2+0j)], [(-4+0j), 0j]]
    """
    return wrap(_fft.rfftn(as_operand(x), s=s, axes=axes, norm=norm))
