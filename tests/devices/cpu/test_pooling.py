"""Pooling and its gradients against loops over windows, between guard pages, on every instruction set."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from guard import run_lowered
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import Layout, channels_first, channels_last, layouts
from ml_dtypes import finfo

from treadle.devices.cpu import pooling_gather
from treadle.devices.cpu.native import Lowered
from treadle.devices.cpu.pooling import (
    AvgPool,
    MaxPool,
    average_pool,
    average_pool_gradient,
    max_pool,
    max_pool_gradient,
    max_pool_select,
)
from treadle.devices.cpu.target import Isa, host_isas
from treadle.dtypes import as_dtype


@dataclass(frozen=True)
class Case:
    """A pooling by its sizes and layouts."""

    batch: int
    channels: int
    input: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    input_layout: Layout
    output_layout: Layout
    dtype: str = "float32"
    count_include_pad: bool = True
    ceil: bool = False

    @property
    def output(self) -> tuple[int, ...]:
        sizes = []
        for size, n, stride, (low, high), dilation in zip(
            self.input, self.window, self.stride, self.padding, self.dilation
        ):
            room = size + low + high - (n - 1) * dilation - 1
            sizes.append(max(0, (room + (stride - 1 if self.ceil else 0)) // stride + 1))
        return tuple(sizes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.batch, self.channels, *self.input), (self.batch, self.channels, *self.output)

    @property
    def strides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        x, y = self.shapes
        return self.input_layout.strides(x), self.output_layout.strides(y)

    def windows(self) -> list[tuple[tuple[int, ...], list[tuple[int, ...]], int]]:
        """(output pixel, input pixels of its window in row-major order, places that are not beyond the
        padding)
        """
        found = []
        for out in itertools.product(*(range(n) for n in self.output)):
            taps = itertools.product(*(range(n) for n in self.window))
            starts = [o * s - low for o, s, (low, _) in zip(out, self.stride, self.padding)]
            places = [tuple(start + t * d for start, t, d in zip(starts, tap, self.dilation)) for tap in taps]
            inside = [p for p in places if all(0 <= i < n for i, n in zip(p, self.input))]
            counted = math.prod(
                min(start + n, size + high) - start
                for start, n, size, (_, high) in zip(starts, self.window, self.input, self.padding)
            )
            found.append((out, inside, counted))
        return found


def run(
    case: Case, lowered: Lowered, inputs: list[tuple[Layout, np.ndarray]], result: int, isa: Isa
) -> np.ndarray:
    """The result of kernels, as a tensor; `result` is 0 for the input's shape, 1 for the output's."""
    layout, shape = (case.input_layout, case.output_layout)[result], case.shapes[result]
    memory = np.empty(layout.size(shape), as_dtype(case.dtype).numpy)
    run_lowered(lowered, [layout.memory(values) for layout, values in inputs], [memory], isa)
    untouched = np.ones(memory.size, bool)
    if memory.size:
        layout.view(untouched, shape)[...] = False
    assert (memory.view(np.uint8).reshape(memory.size, memory.itemsize)[untouched] == 0xFF).all(), (
        "wrote between elements"
    )
    return layout.view(memory, shape) if memory.size else np.zeros(shape)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal; NumPy does not know a NaN of bfloat16."""
    wide = found.dtype if found.dtype.kind in "iu" else np.float64
    np.testing.assert_array_equal(found.astype(wide), expected.astype(wide))


def spec_of(case: Case) -> MaxPool:
    return MaxPool(
        case.batch, case.channels, case.input, case.window, case.output, case.stride, case.padding,
        case.dilation, *case.strides, case.dtype,
    )  # fmt: skip


@np.errstate(over="ignore")
def check_max(case: Case, isa: Isa, seed: int = 0) -> None:
    """Inputs have ties, NaN and infinities; gradients are small integers, whose sums are exact."""
    generator = np.random.default_rng(seed)
    type = as_dtype(case.dtype).numpy
    x = generator.integers(-2, 3, case.shapes[0]).astype(type)
    lowest = np.iinfo(type).min if type.kind in "iu" else -np.inf
    if type.kind not in "iu":
        x[generator.random(x.shape) < 0.05] = np.nan
    x[generator.random(x.shape) < 0.2] = lowest
    values = (5 * generator.standard_normal(x.shape)).astype(np.int8).astype(type)
    gradient = generator.integers(-9, 10, case.shapes[1]).astype(type)
    largest, picked, dx = np.full(gradient.shape, lowest, type), np.zeros(gradient.shape), np.zeros(x.shape)
    picked, dx = picked.astype(type), dx.astype(type)
    for out, pixels, _ in case.windows():
        if not pixels:
            continue
        for n, c in itertools.product(range(case.batch), range(case.channels)):
            window = [x[(n, c, *p)] for p in pixels]
            # NumPy's argmax is the first NaN if there is one, else the first of the largest.
            best = pixels[int(np.argmax(np.array(window, np.float64)))]
            largest[(n, c, *out)], picked[(n, c, *out)] = x[(n, c, *best)], values[(n, c, *best)]
            dx[(n, c, *best)] = dx[(n, c, *best)] + gradient[(n, c, *out)]
    spec = spec_of(case)
    of_x, of_y = case.input_layout, case.output_layout
    same(run(case, max_pool(spec, isa), [(of_x, x)], 1, isa), largest)
    got = run(case, max_pool_select(spec, isa), [(of_x, x), (of_x, values)], 1, isa)
    same(got, picked)
    got = run(case, max_pool_gradient(spec, isa), [(of_x, x), (of_y, gradient)], 0, isa)
    same(got, dx)


def check_average(case: Case, isa: Isa, seed: int = 0) -> None:
    generator = np.random.default_rng(seed)
    type = as_dtype(case.dtype).numpy
    rounded = 0.501 * float(finfo(type).eps) if case.dtype in ("bfloat16", "float16") else 0.0
    x = generator.integers(-9, 10, case.shapes[0]).astype(type)
    gradient = generator.integers(-9, 10, case.shapes[1]).astype(type)
    wide_x, wide = x.astype(np.float64), gradient.astype(np.float64)
    mean, dx = np.full(gradient.shape, np.nan), np.zeros(x.shape)
    for out, pixels, counted in case.windows():
        count = counted if case.count_include_pad else len(pixels)
        if count:
            mean[(slice(None), slice(None), *out)] = sum(
                wide_x[(slice(None), slice(None), *p)] for p in pixels
            )
            mean[(slice(None), slice(None), *out)] /= count
            for p in pixels:
                dx[(slice(None), slice(None), *p)] += wide[(slice(None), slice(None), *out)] / count
    spec = AvgPool(
        case.batch, case.channels, case.input, case.window, case.output, case.stride, case.padding,
        *case.strides, case.dtype, case.count_include_pad,
    )  # fmt: skip
    got = run(case, average_pool(spec, isa), [(case.input_layout, x)], 1, isa)
    np.testing.assert_allclose(got.astype(np.float64), mean, rtol=rounded + 1e-6)
    got = run(case, average_pool_gradient(spec, isa), [(case.output_layout, gradient)], 0, isa)
    np.testing.assert_allclose(got.astype(np.float64), dx, rtol=rounded + 1e-5, atol=1e-5)


last, first = channels_last(4), channels_first(4)
none, one = ((0, 0), (0, 0)), ((1, 1), (1, 1))
CASES = {
    "halves": Case(3, 32, (8, 8), (2, 2), (2, 2), none, (1, 1), last, last),
    "halves, channels first": Case(2, 3, (8, 40), (2, 2), (2, 2), none, (1, 1), first, first),
    "overlapping, tail": Case(2, 21, (9, 7), (3, 3), (2, 2), one, (1, 1), last, last),
    "overlapping, channels first": Case(2, 3, (9, 37), (3, 3), (2, 2), one, (1, 1), first, first),
    "last to first": Case(1, 20, (6, 9), (2, 3), (1, 2), one, (1, 1), last, first),
    "gaps between windows": Case(1, 5, (9, 20), (2, 2), (3, 4), none, (1, 1), first, last),
    "beyond the padding": Case(2, 5, (7, 6), (3, 2), (2, 2), one, (1, 1), last, last, ceil=True),
    "elements alone": Case(2, 5, (7, 20), (3, 2), (2, 2), one, (1, 1), first, first, "float64", False, True),
    "global": Case(2, 70, (7, 7), (7, 7), (1, 1), none, (1, 1), last, last),
    "one dimension": Case(2, 3, (50,), (3,), (2,), ((1, 0),), (1,), channels_first(3), channels_first(3)),
    "three dimensions": Case(
        1, 9, (4, 5, 6), (2, 2, 3), (2, 1, 2), ((0, 1), (1, 0), (1, 1)), (1, 1, 1), channels_last(5),
        channels_last(5),
    ),
    "windows in the padding": Case(
        1, 9, (1, 1), (3, 3), (2, 2), ((2, 2), (2, 2)), (1, 1), last, last, count_include_pad=False
    ),
    "no batch": Case(0, 4, (6, 6), (2, 2), (2, 2), none, (1, 1), last, last),
    "no output": Case(2, 4, (1, 6), (2, 2), (2, 2), none, (1, 1), last, last),
}  # fmt: skip


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("name", CASES)
def test_cases(name: str, isa: Isa) -> None:
    check_max(CASES[name], isa)
    check_average(CASES[name], isa)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_rows_and_channels_in_parts(isa: Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling_gather, "SCRATCH_NBYTES", 1)
    case = Case(2, 37, (23, 5), (3, 3), (2, 2), one, (1, 1), last, last)
    assert max_pool_gradient(spec_of(case), isa).steps[0].kernel.tasks == 2 * 3 * 3
    check_max(case, isa)
    check_average(case, isa)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "uint16", "int32", "int64"])
@pytest.mark.parametrize(
    "name", ["halves", "overlapping, tail", "overlapping, channels first", "three dimensions"]
)
def test_other_dtypes(name: str, dtype: str, isa: Isa) -> None:
    case = replace(CASES[name], dtype=dtype)
    check_max(case, isa)
    if "float" in dtype:
        check_average(case, isa)


@st.composite
def cases(draw: st.DrawFn, dilated: bool) -> Case:
    rank = draw(st.sampled_from((1, 2, 2, 3)))

    def per_axis(strategy: st.SearchStrategy) -> tuple:
        return tuple(draw(strategy) for _ in range(rank))

    window = per_axis(st.integers(1, 3))
    return Case(
        draw(st.sampled_from((1, 2))),
        draw(st.sampled_from((1, 3, 8, 18))),
        per_axis(st.integers(1, 10 if rank < 3 else 5)),
        window,
        per_axis(st.integers(1, 3)),
        tuple((draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))) for n in window),
        per_axis(st.integers(1, 2)) if dilated else (1,) * rank,
        draw(layouts(rank + 2)),
        draw(layouts(rank + 2)),
        draw(st.sampled_from(("float32", "float64", "bfloat16"))),
        draw(st.booleans()),
    )


@settings(max_examples=25, deadline=None)
@given(cases(dilated=True), st.sampled_from(host_isas()))
def test_any_maximum(case: Case, isa: Isa) -> None:
    check_max(case, isa)


@settings(max_examples=25, deadline=None)
@given(cases(dilated=False), st.sampled_from(host_isas()))
def test_any_average(case: Case, isa: Isa) -> None:
    check_average(case, isa)


def test_other_dtypes_are_refused() -> None:
    spec = MaxPool(1, 1, (4,), (2,), (2,), (2,), ((0, 0),), (1,), (4, 4, 1), (2, 2, 1), "complex64")
    with pytest.raises(NotImplementedError, match="pooling of complex64"):
        max_pool(spec, host_isas()[0])
