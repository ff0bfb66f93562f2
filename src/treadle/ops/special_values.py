"""NumPy references that are made to follow the Array API standard 2025.12 where NumPy departs from it.

The departures are special values (infinities, NaN, zeros with signs) and digits lost near zero. These
functions take and return NumPy arrays, and know nothing of nodes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def power(a: Any, b: Any) -> Any:
    """Integers to negative powers are truncated towards zero, as native code does; NumPy refuses them.

    For one exponent of 1/2 NumPy takes the square root, which has other values at -0.0 and -inf.
    """
    if a.dtype.kind == "i":
        small = np.where(np.abs(a) == 1, np.power(a, np.abs(b) % 2), 0)
        return np.where(b < 0, small, np.power(a, np.maximum(b, 0))).astype(a.dtype)
    if a.dtype.kind != "c":
        a = np.where((b == 0.5) & ((a == 0) | (a == -np.inf)), np.abs(a), a)
    return np.power(a, b)


def floor_divide(a: Any, b: Any) -> Any:
    """With an infinity the floor of the quotient, which for NumPy is NaN or -1."""
    if a.dtype.kind in "iu":
        return np.floor_divide(a, b)
    finite = np.isfinite(a) & np.isfinite(b) & (b != 0)
    return np.where(finite, np.floor_divide(a, b), np.floor(np.divide(a, b))).astype(a.dtype)


def sign(x: Any) -> Any:
    """A complex number has the sign x / |x|, taken of x scaled so that |x| neither overflows nor vanishes."""
    if x.dtype.kind != "c":
        return np.sign(x)
    part = x.real.dtype.type
    largest = np.maximum(np.abs(x.real), np.abs(x.imag))
    usual = np.isfinite(largest) & (largest > 0)
    exponent = -np.frexp(np.where(usual, largest, 1))[1]
    scaled = joined(np.ldexp(x.real, exponent), np.ldexp(x.imag, exponent))
    modulus = np.where(usual, np.abs(scaled), part(1))
    ratio = joined(scaled.real / modulus, scaled.imag / modulus)
    return np.where(usual, ratio, np.where(largest == 0, 0, np.sign(x))).astype(x.dtype)


def expm1(x: Any) -> Any:
    """Complex: exp(a) cis(b) - 1, by expm1(a) cos(b) - 2 sin(b/2)**2 where that does not overflow."""
    if x.dtype.kind != "c":
        return np.expm1(x)
    a, b = x.real, x.imag
    exponential = np.exp(x)
    near = np.expm1(a) * np.cos(b) - 2 * np.square(np.sin(b / 2)) + 0.0
    real = np.where(np.abs(a) < 1, near, exponential.real - 1)
    imaginary = np.where((a == 0) & (b == 0), b, exponential.imag)
    return joined(real, imaginary)


def tanh(x: Any) -> Any:
    """Complex: 1 + 0j where the real part is infinite, with the signs of x's parts; C takes sin(2b)'s."""
    y = np.tanh(x)
    if x.dtype.kind != "c":
        return y
    return joined(y.real, np.where(np.isinf(x.real), np.copysign(0.0, x.imag), y.imag))


def tan(x: Any) -> Any:
    """Complex: -1j tanh(1j x)."""
    if x.dtype.kind != "c":
        return np.tan(x)
    y = tanh(joined(-x.imag, x.real))
    return joined(y.imag, -y.real)


def log1p(x: Any) -> Any:
    """Complex: log(|1 + x|) from what |1 + x|**2 differs from 1 by where x is small."""
    if x.dtype.kind != "c":
        return np.log1p(x)
    a, b = x.real, x.imag
    whole = np.log(joined(1 + a, b))
    small = (np.abs(a) < 0.5) & (np.abs(b) < 0.5)
    near = np.log1p(np.where(small, a * (2 + a) + b * b, 0)) / 2
    return joined(np.where(small, near, whole.real), whole.imag)


def log2(x: Any) -> Any:
    return _logarithm(x, np.log2, 2)


def log10(x: Any) -> Any:
    return _logarithm(x, np.log10, 10)


def _logarithm(x: Any, real_function: Any, base: int) -> Any:
    """A complex logarithm to a base: both parts of the natural one, divided by the base's."""
    if x.dtype.kind != "c":
        return real_function(x)
    natural = np.log(x)
    scale = natural.real.dtype.type(math.log(base))
    return joined(natural.real / scale, natural.imag / scale)


def joined(real: Any, imaginary: Any) -> Any:
    """The complex array of two real ones; ``real + 1j * imaginary`` would spread NaN and lose signs."""
    parts = np.asarray(real)
    result = np.empty(parts.shape, np.complex64 if parts.dtype == np.float32 else np.complex128)
    result.real, result.imag = parts, imaginary
    return result
