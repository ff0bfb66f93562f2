"""Random numbers: counter-based, seeded, splittable; the same on every device and for any number of threads.

Every function draws a fresh key from the thread's generator when it is called, in program order, or takes
one as `key`. A session or compiled function that is run again draws anew in every run, and the body of a loop
in every iteration.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.array import Array, ArrayLike, as_node, as_operand
from treadle.dtypes import as_dtype
from treadle.errors import ArgumentError
from treadle.graph.node import surroundings
from treadle.ops import random as ops
from treadle.ops.movement import as_shape
from treadle.ops.tracing import bodies

Key = tuple[int, int]
"""A random key: two 32-bit numbers. Equal keys give equal numbers."""


class _Generator(threading.local):
    """A thread's source of keys: the seed, and how many have been drawn. Threads that set no seed have one
    each, in the order in which they first draw.
    """

    threads = itertools.count()

    def __init__(self) -> None:
        self.key: Key = (0, next(self.threads))
        self.drawn = 0


_generator = _Generator()


def seed(value: int) -> None:
    """Start this thread's generator anew from a seed.

    Args:
        value: any integer from 0 to 2**64 - 1.

    >>> import treadle as td
    >>> td.random.seed(1)
    >>> a = td.random.uniform((3,)).tolist()
    >>> td.random.seed(1)
    >>> a == td.random.uniform((3,)).tolist()
    True
    """
    _generator.key = key(value)
    _generator.drawn = 0


def get_state() -> tuple[Key, int]:
    """Where this thread's generator stands; give it to `set_state` to draw the same numbers again."""
    return _generator.key, _generator.drawn


def set_state(state: tuple[Key, int]) -> None:
    """Continue as the generator stood when `get_state` was called."""
    _generator.key, _generator.drawn = state


def key(value: int) -> Key:
    """The key of a seed."""
    if not 0 <= value < 2**64:
        raise ArgumentError(f"[random.key] {value} is not between 0 and 2**64 - 1")
    return value >> 32, value & 0xFFFFFFFF


def split(key: Key, count: int = 2) -> list[Key]:
    """Keys that are independent of each other and of the one they come from."""
    return ops.split(key, count)


def fold_in(key: Key, data: int) -> Key:
    """The key of an integer under a key: another integer, another key."""
    return ops.fold_in(key, data)


def _key_node(key: Key | None) -> Any:
    drawn = key is None
    if key is None:
        key = ops.fold_in(_generator.key, _generator.drawn)
        _generator.drawn += 1
    node = ops.key_node(*key)
    # A loop in a mapping, or a mapping in a loop: from the outermost in.
    mappings = surroundings.mapped if drawn else ()
    passed = 0
    for body in bodies():
        for mapping in mappings[passed : len(body.mapped)]:
            node = mapping.key(node)
        passed = len(body.mapped)
        node = body.drawn(node)
    for mapping in mappings[passed:]:
        node = mapping.key(node)
    return node


def host_generator() -> np.random.Generator:
    """A generator of NumPy's for values that are made once, on the host: its key is the thread's next one."""
    k0, k1 = ops.fold_in(_generator.key, _generator.drawn)
    _generator.drawn += 1
    return np.random.Generator(np.random.Philox(key=k0 << 32 | k1))


def _shape(name: str, shape: Any) -> tuple[Any, ...]:
    return as_shape(name, shape)


def uniform(
    shape: Sequence[int] | int = (),
    *,
    low: float = 0.0,
    high: float = 1.0,
    dtype: Any = dtypes.float32,
    key: Key | None = None,
) -> Array:
    """Numbers uniform in [low, high).

    Args:
        shape: of the result.
        low: lower bound, included.
        high: upper bound, excluded.
        dtype: a real floating dtype.
        key: the key to use; None draws one.
    """
    return Array(ops.uniform(_key_node(key), _shape("uniform", shape), low, high, as_dtype(dtype)))


def normal(
    shape: Sequence[int] | int = (),
    *,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: Any = dtypes.float32,
    key: Key | None = None,
) -> Array:
    """Normally distributed numbers.

    Args:
        shape: of the result.
        mean: of the distribution.
        std: standard deviation.
        dtype: a real floating dtype.
        key: the key to use; None draws one.
    """
    drawn = Array(ops.normal(_key_node(key), _shape("normal", shape), as_dtype(dtype)))
    if std != 1.0:
        drawn = drawn * std
    return drawn + mean if mean != 0.0 else drawn


def bernoulli(
    p: ArrayLike = 0.5, shape: Sequence[int] | int | None = None, *, key: Key | None = None
) -> Array:
    """True with probability p.

    Args:
        p: the probability, a number or an array.
        shape: of the result; None for p's.
        key: the key to use; None draws one.
    """
    wanted = tuple(getattr(p, "shape", ())) if shape is None else _shape("bernoulli", shape)
    return Array(ops.bernoulli(_key_node(key), as_operand(p), wanted))


def categorical(logits: ArrayLike, *, axis: int = -1, key: Key | None = None) -> Array:
    """Indices drawn with probability softmax(logits) along a dimension.

    Args:
        logits: array of real floating dtype: unnormalised log-probabilities.
        axis: the dimension of the classes, which the result does not have.
        key: the key to use; None draws one.
    """
    return Array(ops.categorical(_key_node(key), as_node(logits), axis))


def permutation(x: ArrayLike | int, *, key: Key | None = None) -> Array:
    """The numbers 0 to x - 1 in random order, or an array's rows in random order.

    Args:
        x: how many, or an array of at least one dimension.
        key: the key to use; None draws one.
    """
    return Array(ops.permutation(_key_node(key), x if isinstance(x, int) else as_node(x)))


def randint(
    low: int, high: int, shape: Sequence[int] | int = (), *, dtype: Any = dtypes.int64, key: Key | None = None
) -> Array:
    """Integers uniform in [low, high).

    Args:
        low: lower bound, included.
        high: upper bound, excluded.
        shape: of the result.
        dtype: an integer dtype.
        key: the key to use; None draws one.
    """
    return Array(ops.randint(_key_node(key), low, high, _shape("randint", shape), as_dtype(dtype)))
