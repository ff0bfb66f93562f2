"""Tensors in any memory layout, for tests of kernels that take strides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from treadle.dtypes import as_dtype


@dataclass(frozen=True)
class Layout:
    """The order of a tensor's axes in memory, outermost first, and elements left unused after each run of an
    axis.
    """

    order: tuple[int, ...]
    gaps: tuple[int, ...]

    def strides(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Elements from one index to the next, per axis."""
        strides, step = [0] * len(shape), 1
        for axis in reversed(self.order):
            strides[axis] = step
            step *= shape[axis] + self.gaps[axis]
        return tuple(strides)

    def size(self, shape: tuple[int, ...]) -> int:
        """Elements from the tensor's first to behind its last."""
        if 0 in shape:
            return 0
        return 1 + sum((n - 1) * stride for n, stride in zip(shape, self.strides(shape)))

    def view(self, memory: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor in flat `memory`."""
        strides = tuple(stride * memory.itemsize for stride in self.strides(shape))
        return np.lib.stride_tricks.as_strided(memory, shape, strides)

    def memory(self, values: np.ndarray) -> np.ndarray:
        """Flat memory that holds a tensor; NaN, or a number that would be seen, between its elements."""
        between = 77 if values.dtype.kind in "iu" else np.nan
        memory = np.full(self.size(values.shape), between, values.dtype)
        if values.size:
            self.view(memory, values.shape)[...] = values
        return memory


def channels_first(rank: int) -> Layout:
    return Layout(tuple(range(rank)), (0,) * rank)


def channels_last(rank: int) -> Layout:
    return Layout((0, *range(2, rank), 1), (0,) * rank)


@st.composite
def layouts(draw: st.DrawFn, rank: int) -> Layout:
    """The two usual layouts most of the time, else any order, sometimes with gaps."""
    kind = draw(st.sampled_from(("first", "last", "last", "any")))
    if kind != "any":
        return channels_first(rank) if kind == "first" else channels_last(rank)
    gaps = tuple(draw(st.sampled_from((0, 0, 1))) for _ in range(rank))
    return Layout(tuple(draw(st.permutations(range(rank)))), gaps)


def random(generator: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Small integers: their products and sums are exact, so that results are compared exactly."""
    type = as_dtype(dtype).numpy
    return generator.integers(-3, 4, shape).astype(type) if math.prod(shape) else np.zeros(shape, type)
