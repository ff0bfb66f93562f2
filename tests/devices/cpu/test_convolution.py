"""Convolutions in all directions against sums over kernel offsets in NumPy, between guard pages, on every
instruction set.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from guard import run_lowered
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import Layout, channels_first, channels_last, layouts, random

from treadle.compiler.kernel import Access, Affine, Instruction, Operand
from treadle.devices.cpu import convolution_epilogue, jit
from treadle.devices.cpu.convolution import Convolution, forward, input_gradient, weight_gradient
from treadle.devices.cpu.target import ISAS, Isa, host_isas

DIRECTIONS = {"forward": forward, "input_gradient": input_gradient, "weight_gradient": weight_gradient}


@dataclass(frozen=True)
class Case:
    """A convolution by its sizes and layouts."""

    batch: int
    groups: int
    channels: int
    filters: int
    """Both of one group."""
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    dtype: str = "float32"
    input_layout: Layout | None = None
    weight_layout: Layout | None = None
    output_layout: Layout | None = None

    def __post_init__(self) -> None:
        rank = len(self.kernel)
        for name, default in (
            ("stride", (1,) * rank),
            ("padding", ((0, 0),) * rank),
            ("dilation", (1,) * rank),
        ):
            object.__setattr__(self, name, getattr(self, name) or default)
        for name, default in (
            ("input", channels_last),
            ("weight", channels_first),
            ("output", channels_last),
        ):
            chosen = getattr(self, f"{name}_layout") or default(rank + 2)
            object.__setattr__(self, f"{name}_layout", chosen)

    @property
    def output(self) -> tuple[int, ...]:
        return tuple(
            max(0, (size + low + high - (taps - 1) * dilation - 1) // stride + 1)
            for size, taps, stride, (low, high), dilation in zip(
                self.input, self.kernel, self.stride, self.padding, self.dilation
            )
        )

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the input, the weight and the output."""
        return (
            (self.batch, self.groups * self.channels, *self.input),
            (self.groups * self.filters, self.channels, *self.kernel),
            (self.batch, self.groups * self.filters, *self.output),
        )

    def convolution(self, **settings) -> Convolution:
        x, w, y = self.shapes
        return Convolution(
            self.batch, self.groups, x[1], y[1], self.input, self.kernel, self.output, self.stride,
            self.padding, self.dilation, self.input_layout.strides(x), self.weight_layout.strides(w),
            self.output_layout.strides(y), self.dtype, **settings,
        )  # fmt: skip


def expected(case: Case, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> dict[str, np.ndarray]:
    """Every direction in float64, one kernel offset at a time, then rounded or wrapped to the dtype."""
    groups, out = case.groups, case.output
    type = x.dtype
    x, w, dy = (a.astype(np.float64) for a in (x, w, dy))
    reach = [
        (n - 1) * d + (o - 1) * s + 1 for n, d, o, s in zip(case.kernel, case.dilation, out, case.stride)
    ]
    padded = np.pad(
        x, [(0, 0), (0, 0), *((low, max(high, r)) for (low, high), r in zip(case.padding, reach))]
    )
    y, dw, dx = np.zeros(dy.shape), np.zeros(w.shape), np.zeros(padded.shape)
    dyg = dy.reshape(case.batch, groups, case.filters, *out)
    for offset in itertools.product(*(range(n) for n in case.kernel)):
        window = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s) if o else slice(0)
            for t, d, o, s in zip(offset, case.dilation, out, case.stride)
        )
        at = (slice(None), slice(None), *window)
        part = padded[at].reshape(case.batch, groups, case.channels, *out)
        tap = w[(slice(None), slice(None), *offset)].reshape(groups, case.filters, case.channels)
        y += np.einsum("ngc...,gkc->ngk...", part, tap).reshape(y.shape)
        dx[at] += np.einsum("ngk...,gkc->ngc...", dyg, tap).reshape(dx[at].shape)
        dw[(slice(None), slice(None), *offset)] = np.einsum(
            "ngcp,ngkp->gkc",
            part.reshape(case.batch, groups, case.channels, math.prod(out)),
            dyg.reshape(case.batch, groups, case.filters, math.prod(out)),
        ).reshape(-1, case.channels)
    inside = tuple(slice(low, low + n) for (low, _), n in zip(case.padding, case.input))
    found = {"forward": y, "input_gradient": dx[(slice(None), slice(None), *inside)], "weight_gradient": dw}
    wide = np.int64 if type.kind in "iu" else np.float64
    return {direction: total.astype(wide).astype(type) for direction, total in found.items()}


def run(case: Case, direction: str, isa: Isa, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What the kernels of a direction give, and what is expected."""
    generator = np.random.default_rng(seed)
    x, w, dy = (random(generator, shape, case.dtype) for shape in case.shapes)
    layouts = case.input_layout, case.weight_layout, case.output_layout
    memories = [layout.memory(values) for layout, values in zip(layouts, (x, w, dy))]
    result = {"forward": 2, "input_gradient": 0, "weight_gradient": 1}[direction]
    inputs = {"forward": (0, 1), "input_gradient": (2, 1), "weight_gradient": (0, 2)}[direction]
    lowered = DIRECTIONS[direction](case.convolution(exact=True), isa)
    memory = np.empty_like(memories[result])
    run_lowered(lowered, [memories[i] for i in inputs], [memory], isa, seed)
    shape = case.shapes[result]
    got = layouts[result].view(memory, shape) if math.prod(shape) else np.zeros(shape)
    untouched = np.ones(memory.size, bool)
    if math.prod(shape):
        layouts[result].view(untouched, shape)[...] = False
    assert (memory.view(np.uint8).reshape(memory.size, memory.itemsize)[untouched] == 0xFF).all(), (
        "wrote between elements"
    )
    return got, expected(case, x, w, dy)[direction]


def check(case: Case, isa: Isa) -> None:
    for direction in DIRECTIONS:
        got, wanted = run(case, direction, isa)
        np.testing.assert_array_equal(got, wanted, err_msg=f"{direction} of {case}")


last, first = channels_last(4), channels_first(4)
CASES = {
    "first layer": Case(3, 1, 1, 32, (28, 28), (5, 5), (1, 1), ((2, 2), (2, 2))),
    "second layer": Case(2, 1, 32, 64, (14, 14), (5, 5), (1, 1), ((2, 2), (2, 2))),
    "three planes": Case(
        2, 1, 3, 32, (9, 39), (3, 3), (2, 2), ((1, 1), (1, 1)), input_layout=first, output_layout=last
    ),
    "four planes": Case(1, 1, 4, 17, (5, 70), (3, 3), (1, 2), ((1, 1), (4, 1)), input_layout=first),
    "channels first": Case(
        2, 1, 20, 40, (14, 14), (3, 3), (1, 1), ((1, 1), (1, 1)), input_layout=first, output_layout=first
    ),
    "weights channels last": Case(2, 1, 32, 48, (6, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), weight_layout=last),
    "1x1": Case(2, 1, 40, 70, (9, 9), (1, 1)),
    "1x1 of many channels": Case(2, 1, 100, 90, (9, 7), (1, 1)),
    "1x1 as a product, double": Case(1, 1, 90, 100, (6, 5), (1, 1), dtype="float64", weight_layout=last),
    "1x1 of many channels, strided": Case(2, 1, 90, 100, (9, 7), (1, 1), (2, 2)),
    "tails of channels": Case(2, 1, 19, 37, (7, 7), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "strided, asymmetric padding": Case(2, 1, 18, 35, (15, 18), (3, 3), (2, 2), ((1, 0), (0, 2))),
    "stride beyond the kernel": Case(2, 1, 5, 6, (11, 13), (2, 1), (3, 4)),
    "dilated and strided": Case(2, 1, 6, 9, (15, 18), (3, 2), (2, 3), ((1, 0), (0, 2)), (2, 3)),
    "common factors": Case(1, 1, 4, 4, (13, 14), (3, 3), (2, 4), ((2, 1), (1, 3)), (2, 6)),
    "kernel beyond the input": Case(5, 1, 3, 7, (2, 2), (5, 3), (1, 1), ((3, 3), (3, 3)), dtype="float64"),
    "padding beyond the kernel": Case(2, 1, 3, 4, (5, 4), (2, 1), (2, 1), ((4, 3), (2, 2))),
    "blocks of channels": Case(1, 1, 300, 24, (4, 5), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "many filters": Case(1, 1, 16, 300, (5, 5), (1, 1)),
    "whole input": Case(20, 1, 5, 33, (4, 4), (4, 4)),
    "one dimension": Case(2, 1, 8, 16, (300,), (7,), (2,), ((3, 2),)),
    "three dimensions": Case(2, 1, 5, 18, (5, 6, 7), (3, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (1, 1))),
    "groups": Case(2, 3, 4, 6, (9, 9), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "groups of many": Case(1, 2, 36, 40, (7, 7), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "depthwise": Case(2, 48, 1, 1, (9, 11), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "depthwise, tail, no padding": Case(2, 21, 1, 1, (9, 11), (3, 3)),
    "depthwise, strided, tail": Case(2, 70, 1, 1, (9, 11), (5, 3), (2, 2), ((2, 2), (1, 1))),
    "depthwise, long rows": Case(1, 32, 1, 1, (6, 37), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "depthwise, strided": Case(2, 40, 1, 1, (14, 29), (3, 3), (2, 2), ((0, 1), (0, 1))),
    "depthwise, more padding than taps": Case(1, 19, 1, 1, (4, 3), (3, 2), (1, 2), ((4, 3), (3, 5))),
    "depthwise, dilated": Case(1, 17, 1, 1, (9, 20), (3, 3), (2, 1), ((2, 2), (3, 1)), (2, 3)),
    "depthwise, many taps": Case(1, 24, 1, 1, (12, 18), (7, 7), (1, 1), ((3, 3), (3, 3))),
    "depthwise, one dimension": Case(3, 35, 1, 1, (33,), (5,), (1,), ((2, 2),)),
    "depthwise, one pixel": Case(2, 16, 1, 1, (1, 1), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "depthwise, channels first": Case(
        2, 21, 1, 1, (9, 20), (3, 3), (1, 1), ((1, 1), (1, 1)), input_layout=first, output_layout=first
    ),
    "depthwise with a multiplier": Case(2, 6, 1, 3, (9, 11), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "wide depthwise": Case(1, 8, 1, 1, (3, 40), (1, 35), (1, 1), ((0, 0), (17, 17))),
    "double": Case(2, 1, 9, 17, (8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), dtype="float64"),
    "few rows for many taps": Case(2, 1, 9, 17, (8, 7), (5, 5)),
    "few pixels for dilated taps": Case(1, 1, 8, 9, (6, 7), (3, 3), (1, 1), ((2, 2), (4, 4)), (2, 3)),
    "more taps than pixels": Case(2, 1, 8, 16, (5,), (7,), (2,), ((5, 4),)),
    "few planes for many taps": Case(1, 1, 9, 8, (3, 4, 5), (3, 3, 4), (1, 1, 2), ((2, 2), (2, 1), (3, 3))),
    "no batch": Case(0, 1, 4, 5, (6, 6), (3, 3)),
    "no output": Case(2, 1, 4, 5, (2, 6), (3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("name", CASES)
def test_cases(name: str, isa: Isa) -> None:
    check(CASES[name], isa)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "int32", "uint16", "int64"])
@pytest.mark.parametrize(
    "name",
    [
        "three planes",
        "channels first",
        "1x1",
        "tails of channels",
        "three dimensions",
        "groups",
        "depthwise, strided, tail",
    ],
)
def test_other_dtypes(name: str, dtype: str, isa: Isa) -> None:
    """What is widened as it is packed, and rounded once; integers wrap."""
    check(replace(CASES[name], dtype=dtype), isa)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small convolutions of every kind."""
    rank = draw(st.sampled_from((1, 2, 2, 2, 3)))
    depthwise = draw(st.integers(0, 5)) == 0
    channels = st.sampled_from((1, 2, 3, 8, 16, 17, 33)) if rank < 3 else st.sampled_from((1, 3, 8))

    def per_axis(strategy: st.SearchStrategy) -> tuple:
        return tuple(draw(strategy) for _ in range(rank))

    kernel = per_axis(st.integers(1, 4))
    return Case(
        draw(st.sampled_from((1, 2, 3))),
        draw(st.sampled_from((5, 16, 33))) if depthwise else draw(st.sampled_from((1, 1, 2, 3))),
        1 if depthwise else draw(channels),
        1 if depthwise else draw(channels),
        per_axis(st.integers(1, 12 if rank < 3 else 6)),
        kernel,
        per_axis(st.integers(1, 3)),
        tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank)),
        per_axis(st.integers(1, 2)),
        draw(st.sampled_from(("float32", "float32", "float64", "bfloat16", "float16", "int16"))),
        draw(layouts(rank + 2)),
        draw(layouts(rank + 2)),
        draw(layouts(rank + 2)),
    )


@settings(max_examples=30, deadline=None)
@given(cases(), st.sampled_from(host_isas()))
def test_any(case: Case, isa: Isa) -> None:
    check(case, isa)


def epilogue(operands: tuple[Operand, ...], strides: list[tuple[int, ...]]) -> tuple[Instruction, ...]:
    """relu(accumulator + bias) * residual"""
    return (
        Instruction("accumulator", (), "float32"),
        Instruction("load", (), "float32", Access(0, Affine(0, strides[0]))),
        Instruction("add", (0, 1), "float32"),
        Instruction("constant", (), "float32", 0.0),
        Instruction("maximum", (2, 3), "float32"),
        Instruction("load", (), "float32", Access(1, Affine(0, strides[1]))),
        Instruction("multiply", (4, 5), "float32"),
    )


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize(
    "name",
    ["tails of channels", "channels first", "depthwise, strided, tail", "depthwise, long rows", "groups"],
)
def test_epilogue(name: str, isa: Isa) -> None:
    case = CASES[name]
    x_shape, w_shape, y_shape = case.shapes
    generator = np.random.default_rng(1)
    x, w = random(generator, x_shape, "float32"), random(generator, w_shape, "float32")
    bias, residual = random(generator, (y_shape[1],), "float32"), random(generator, y_shape, "float32")
    extra = (Operand("float32", bias.size), Operand("float32", residual.size))
    body = epilogue(extra, [(0, 1, 0, 0), channels_first(4).strides(y_shape)])
    lowered = forward(case.convolution(epilogue=body, extra=extra, exact=True), isa)
    memory = np.empty(case.output_layout.size(y_shape), np.float32)
    inputs = [case.input_layout.memory(x), case.weight_layout.memory(w), bias, residual.ravel()]
    run_lowered(lowered, inputs, [memory], isa)
    y = expected(case, x, w, np.zeros(y_shape))["forward"]
    wanted = np.maximum(y + bias[:, None, None], 0) * residual
    np.testing.assert_array_equal(case.output_layout.view(memory, y_shape), wanted)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize(
    "name",
    ["tails of channels", "channels first", "depthwise, strided, tail", "groups", "weights channels last"],
)
def test_residual_in_the_memory_of_the_result(name: str, isa: Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each element is read before it is replaced, and nothing is computed twice: the bits are the same."""
    monkeypatch.setattr(convolution_epilogue, "FETCHED_NBYTES", 0)
    case = CASES[name]
    x_shape, w_shape, y_shape = case.shapes
    generator = np.random.default_rng(2)
    x, w = random(generator, x_shape, "float32"), random(generator, w_shape, "float32")
    bias, residual = random(generator, (y_shape[1],), "float32"), random(generator, y_shape, "float32")
    old = case.output_layout.memory(residual)
    extra = (Operand("float32", bias.size), Operand("float32", old.size))
    body = epilogue(extra, [(0, 1, 0, 0), case.output_layout.strides(y_shape)])
    lowered = forward(case.convolution(epilogue=body, extra=extra), isa)
    assert lowered.in_place
    inputs = [case.input_layout.memory(x), case.weight_layout.memory(w), bias, old]
    apart, over = np.empty_like(old), np.empty_like(old)
    run_lowered(lowered, inputs, [apart], isa)
    run_lowered(lowered, inputs, [over], isa, over=[3])
    np.testing.assert_array_equal(over, apart)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize(
    "name", ["tails of channels", "channels first", "depthwise, strided, tail", "groups"]
)
def test_epilogue_of_the_gradient_by_the_input(name: str, isa: Isa) -> None:
    case = CASES[name]
    x_shape, w_shape, y_shape = case.shapes
    generator = np.random.default_rng(1)
    g, w = random(generator, y_shape, "float32"), random(generator, w_shape, "float32")
    bias, mask = random(generator, (x_shape[1],), "float32"), random(generator, x_shape, "float32")
    extra = (Operand("float32", bias.size), Operand("float32", mask.size))
    body = epilogue(extra, [(0, 1, 0, 0), channels_first(4).strides(x_shape)])
    lowered = input_gradient(case.convolution(epilogue=body, extra=extra, exact=True), isa)
    memory = np.empty(case.input_layout.size(x_shape), np.float32)
    inputs = [case.output_layout.memory(g), case.weight_layout.memory(w), bias, mask.ravel()]
    run_lowered(lowered, inputs, [memory], isa)
    x = expected(case, np.zeros(x_shape), w, g)["input_gradient"]
    wanted = np.maximum(x + bias[:, None, None], 0) * mask
    np.testing.assert_array_equal(case.input_layout.view(memory, x_shape), wanted)


def test_rounding_is_small() -> None:
    """Sums of many products of random numbers are as exact as float32 allows."""
    case = Case(4, 1, 64, 48, (14, 14), (3, 3), (1, 1), ((1, 1), (1, 1)))
    generator = np.random.default_rng(0)
    x, w, dy = (generator.standard_normal(shape).astype(np.float32) for shape in case.shapes)
    wanted = expected(case, x, w, dy)
    inputs = {"forward": (x, w), "input_gradient": (dy, w), "weight_gradient": (x, dy)}
    layouts = {"forward": last, "input_gradient": last, "weight_gradient": first}
    for direction, arrays in inputs.items():
        memory = np.empty(wanted[direction].size, np.float32)
        memories = [(first if a is w else last).memory(a) for a in arrays]
        run_lowered(DIRECTIONS[direction](case.convolution(exact=True), host_isas()[0]), memories, [memory])
        got = layouts[direction].view(memory, wanted[direction].shape)
        scale = np.abs(wanted[direction]).max()
        assert np.abs(got - wanted[direction]).max() < 3e-6 * scale, direction


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_neon_compiles(direction: str) -> None:
    case = replace(CASES["tails of channels"], batch=1)
    for step in DIRECTIONS[direction](case.convolution(exact=True), ISAS["neon"]).steps:
        assert (
            "fmla" in jit.assembly(step.kernel, ISAS["neon"])
            or "convolution" not in step.kernel.label.split()[0]
        )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("dtype", "words"), [("bfloat16", ("fmla", "shl")), ("float16", ("fmla", "fcvtl")), ("int32", ("mla",))]
)
def test_other_dtypes_compile_for_neon(dtype: str, words: tuple[str, ...], direction: str) -> None:
    case = replace(CASES["tails of channels"], batch=1, dtype=dtype)
    steps = DIRECTIONS[direction](case.convolution(), ISAS["neon"]).steps
    assembly = "".join(jit.assembly(step.kernel, ISAS["neon"]) for step in steps)
    assert [word for word in words if word not in assembly] == []


def test_tasks_suit_many_threads() -> None:
    """Real layers have tasks for 16 threads, in every direction; Winograd, who has less to do, for half."""
    for case in (
        Case(64, 1, 1, 32, (28, 28), (5, 5), (1, 1), ((2, 2), (2, 2))),
        Case(64, 1, 32, 64, (14, 14), (5, 5), (1, 1), ((2, 2), (2, 2))),
        Case(8, 1, 512, 512, (7, 7), (3, 3), (1, 1), ((1, 1), (1, 1))),
        Case(1, 1, 64, 64, (56, 56), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ):
        for direction in DIRECTIONS.values():
            steps = direction(case.convolution(), ISAS["avx512"]).steps
            kernel = max(steps, key=lambda step: step.kernel.flops).kernel
            wanted = 7 if "Winograd" in kernel.label else 14
            assert kernel.tasks >= wanted, (case, direction, kernel.tasks)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"groups": 3}, ValueError, "do not divide into 3 groups"),
        ({"stride": (1,)}, ValueError, "stride has 1 axes"),
        ({"dtype": "complex64"}, NotImplementedError, "convolution of complex64"),
        ({"input_strides": (1, 1)}, ValueError, "input_strides has 2 axes"),
    ],
)
def test_mistakes(change: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        replace(CASES["1x1"].convolution(), **change)
