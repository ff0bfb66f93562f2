"""First values of parameters, drawn on the host from the thread's generator of random numbers.

A rule is a function of a NumPy generator and a shape. `fan_in` and `fan_out` of a weight are the sums'
lengths: of ``[inputs, outputs]`` its sizes, of a convolution's ``[out_channels, in_channels, window...]`` the
channels times the window.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from treadle import random
from treadle.dtypes import as_dtype
from treadle.errors import ArgumentError, ShapeError

Rule = Callable[[np.random.Generator, tuple[int, ...]], Any]
First = Rule | float | int | np.ndarray | Any
"""What first values are given as: a rule, one number, or an array."""


class _Drawing(threading.local):
    """Whether this thread's parameters get first values."""

    on = True


drawing = _Drawing()


@contextmanager
def without_values() -> Iterator[None]:
    """A block in which parameters and statistics get no first values: for a network whose values are loaded,
    or that is only looked at. Reading one before it has a value is an error.

    >>> import treadle as td
    >>> with td.nn.without_values():
    ...     layer = td.nn.Dense(100_000, 100_000)  # 40 GB, if it had values
    >>> layer(td.placeholder((8, 100_000))).shape
    (8, 100000)
    """
    before, drawing.on = drawing.on, False
    try:
        yield
    finally:
        drawing.on = before


def checked_sizes(shape: Sequence[int]) -> tuple[int, ...]:
    """The sizes of a parameter. Raises ShapeError if one is no integer."""
    if not all(hasattr(type(size), "__index__") and not isinstance(size, bool) for size in shape):
        raise ShapeError(f"a parameter of shape {tuple(shape)}: sizes are positive integers")
    return tuple(shape)


def first_value(first: First, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """The values that `first` stands for, as an array of a shape and dtype."""
    shape, numpy_dtype = tuple(shape), as_dtype(dtype).numpy
    if isinstance(first, str):
        raise ArgumentError(f"first={first!r} is text: give a rule such as nn.initial.xavier_normal")
    if callable(first) and not hasattr(first, "shape"):
        values = np.asarray(first(random.host_generator(), shape))
    elif isinstance(first, (int, float)):
        return np.full(shape, first, numpy_dtype)
    else:
        values = np.asarray(first)
    if values.shape != shape:
        raise ShapeError(f"the first values have shape {values.shape}; the parameter has {shape}")
    return values.astype(numpy_dtype)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """fan_in and fan_out of a weight of a shape."""
    if len(shape) < 2:
        raise ShapeError(f"a parameter of shape {tuple(shape)} has no fan_in: give its first values")
    if min(shape) < 1:
        raise ShapeError(f"a parameter of shape {tuple(shape)}: sizes are positive integers")
    if len(shape) == 2:
        return shape[0], shape[1]
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def normal(std: float = 0.01, mean: float = 0.0) -> Rule:
    """Normal with a standard deviation."""
    return lambda generator, shape: generator.normal(mean, std, shape)


def uniform(low: float, high: float) -> Rule:
    """Uniform in [low, high)."""
    return lambda generator, shape: generator.uniform(low, high, shape)


def he_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal of variance 2 / fan_in, for layers before a ReLU (He et al. 2015, arXiv:1502.01852)."""
    return generator.normal(0.0, math.sqrt(2 / fans(shape)[0]), shape)


def he_normal_out(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal of variance 2 / fan_out, which keeps gradients' size (He et al. 2015, arXiv:1502.01852)."""
    return generator.normal(0.0, math.sqrt(2 / fans(shape)[1]), shape)


def he_uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform of variance 2 / fan_in (He et al. 2015, arXiv:1502.01852)."""
    bound = math.sqrt(6 / fans(shape)[0])
    return generator.uniform(-bound, bound, shape)


def xavier_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    return generator.normal(0.0, math.sqrt(2 / sum(fans(shape))), shape)


def xavier_uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    bound = math.sqrt(6 / sum(fans(shape)))
    return generator.uniform(-bound, bound, shape)


def lecun_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal of variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp")."""
    return generator.normal(0.0, math.sqrt(1 / fans(shape)[0]), shape)


def orthogonal(gain: float = 1.0) -> Rule:
    """A (semi-)orthogonal matrix of the first dimension by the rest (Saxe et al. 2014, arXiv:1312.6120)."""

    def rule(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) < 2:
            raise ArgumentError(f"[orthogonal] shape {shape}: expected two dimensions or more")
        rows, columns = shape[0], math.prod(shape[1:])
        q, r = np.linalg.qr(generator.normal(size=(max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diagonal(r))  # without this the distribution is not uniform
        return gain * (q if rows >= columns else q.T).reshape(shape)

    return rule


def truncated_normal(std: float = 0.02, limit: float = 2.0) -> Rule:
    """Normal with a standard deviation, drawn anew beyond `limit` of them."""

    def rule(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = generator.normal(size=shape)
        while (beyond := np.abs(values) > limit).any():
            values[beyond] = generator.normal(size=int(beyond.sum()))
        return std * values

    return rule
