"""The transforms that users see, over one dimension and over several: the records of `fourier` with their
operands arranged.

Names and meaning are those of the extension `fft` of the Array API standard 2025.12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.errors import ArgumentError
from treadle.graph.node import Node, make
from treadle.ops.elementwise import conj
from treadle.ops.fourier import (
    ADJOINT,
    FFT,
    IRFFT,
    RFFT,
    all_sized,
    axes_and_sizes,
    complex_operand,
    expect_count,
    expect_norm,
    line_of,
    real_operand,
    sized,
    whole_size,
)
from treadle.ops.record import Operand, normal_axis, public_in

# -- one dimension


def _transform(name: str, x: Operand, n: int | None, axis: int, norm: str, inverse: bool) -> Node:
    line, axis = line_of(name, complex_operand(name, x), n, axis)
    return make(FFT, (line,), ((axis,), inverse, expect_norm(name, norm)))


@public_in("fft")
def fft(x: Operand, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
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
    return _transform("fft", x, n, axis, norm, False)


@public_in("fft")
def ifft(x: Operand, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
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
    return _transform("ifft", x, n, axis, norm, True)


@public_in("fft")
def rfft(x: Operand, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
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
    line, axis = line_of("rfft", real_operand("rfft", x), n, axis)
    return make(RFFT, (line,), (axis, expect_norm("rfft", norm)))


@public_in("fft")
def irfft(x: Operand, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
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
    x = complex_operand("irfft", x)
    axis = normal_axis("irfft", axis, x.ndim)
    n = whole_size("irfft", x, axis) if n is None else expect_count("irfft", "n", n)
    return make(IRFFT, (sized("irfft", x, axis, n // 2 + 1),), (n, axis, expect_norm("irfft", norm)))


@public_in("fft")
def hfft(x: Operand, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
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
    x = complex_operand("hfft", x)
    axis = normal_axis("hfft", axis, x.ndim)
    n = whole_size("hfft", x, axis) if n is None else expect_count("hfft", "n", n)
    half = conj(sized("hfft", x, axis, n // 2 + 1))
    return make(IRFFT, (half,), (n, axis, ADJOINT[expect_norm("hfft", norm)]))


@public_in("fft")
def ihfft(x: Operand, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
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
    line, axis = line_of("ihfft", real_operand("ihfft", x), n, axis)
    return conj(make(RFFT, (line,), (axis, ADJOINT[expect_norm("ihfft", norm)])))


# -- several dimensions


def _transform_all(name: str, x: Operand, s: Any, axes: Any, norm: str, inverse: bool) -> Node:
    x = complex_operand(name, x)
    norm = expect_norm(name, norm)
    found, sizes = axes_and_sizes(name, x, s, axes)
    x = all_sized(name, x, found, sizes)
    return make(FFT, (x,), (tuple(found), inverse, norm)) if found else x


@public_in("fft")
def fftn(
    x: Operand,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Node:
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
    return _transform_all("fftn", x, s, axes, norm, False)


@public_in("fft")
def ifftn(
    x: Operand,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Node:
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
    return _transform_all("ifftn", x, s, axes, norm, True)


@public_in("fft")
def rfftn(
    x: Operand,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Node:
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
    x = real_operand("rfftn", x)
    norm = expect_norm("rfftn", norm)
    found, sizes = axes_and_sizes("rfftn", x, s, axes)
    if not found:
        raise ArgumentError("[rfftn] there are no axes to transform: the last one is halved")
    y = make(RFFT, (all_sized("rfftn", x, found, sizes),), (found[-1], norm))
    return make(FFT, (y,), (tuple(found[:-1]), False, norm)) if found[1:] else y


@public_in("fft")
def irfftn(
    x: Operand,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Node:
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
    x = complex_operand("irfftn", x)
    norm = expect_norm("irfftn", norm)
    found, sizes = axes_and_sizes("irfftn", x, s, axes)
    if not found:
        raise ArgumentError("[irfftn] there are no axes to transform: the last one is halved")
    x = all_sized("irfftn", x, found[:-1], sizes[:-1])
    if found[1:]:
        x = make(FFT, (x,), (tuple(found[:-1]), True, norm))
    n = whole_size("irfftn", x, found[-1]) if sizes[-1] is None else sizes[-1]
    return make(IRFFT, (sized("irfftn", x, found[-1], n // 2 + 1),), (n, found[-1], norm))
