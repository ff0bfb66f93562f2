"""3x3 convolutions and their input gradients by Winograd's algorithm: against float64 and against sums as
they are written, between guard pages, on every instruction set.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from guard import run_lowered
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import channels_first, channels_last, layouts
from test_convolution import Case, epilogue, expected

import treadle as td
from treadle.compiler.kernel import Operand
from treadle.devices.cpu import jit, winograd
from treadle.devices.cpu.convolution import forward, forward_correlation, input_gradient
from treadle.devices.cpu.convolution_data import input_correlations
from treadle.devices.cpu.native import Lowered
from treadle.devices.cpu.target import ISAS, Isa, host_isas
from treadle.devices.cpu.tiling import EvenCut
from treadle.devices.cpu.winograd_cut import Cut, channel_blocks
from treadle.devices.cpu.winograd_filters import Weights
from treadle.devices.cpu.winograd_tiles import grid_of

DIRECTIONS = ("forward", "input_gradient")
FIRST, LAST = channels_first(4), channels_last(4)


def lowered(case: Case, direction: str, isa: Isa, cut=None, **settings) -> Lowered:
    """Winograd's kernels, whether they pay or not; `cut` divides the work of (tiles, filter tiles)."""
    c = case.convolution(**settings)
    out, into, *taps = c.weight_strides
    if direction == "forward":
        correlation, weights = forward_correlation(c), Weights(0, out, into, tuple(taps))
    else:
        (correlation,) = input_correlations(c)
        weights = Weights(2 * sum(taps), into, out, tuple(-stride for stride in taps))
    assert winograd.applies(correlation)
    factors = winograd.factors_of(correlation, isa)
    grid = grid_of(correlation)
    return winograd.lower(correlation, weights, isa, "Winograd", cut and cut(grid.size, factors))


def run(
    case: Case, direction: str, isa: Isa, lowered: Lowered, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """What the kernels give for normal random numbers, and the same in float64."""
    generator = np.random.default_rng(seed)
    x, w, dy = (generator.standard_normal(shape).astype(np.float32) for shape in case.shapes)
    used = case.input_layout, case.weight_layout, case.output_layout
    memories = [layout.memory(values) for layout, values in zip(used, (x, w, dy), strict=True)]
    source, result = (0, 2) if direction == "forward" else (2, 0)
    memory = np.empty_like(memories[result])
    run_lowered(lowered, [memories[source], memories[1]], [memory], isa, seed)
    got = used[result].view(memory, case.shapes[result])
    untouched = np.ones(memory.size, bool)
    used[result].view(untouched, case.shapes[result])[...] = False
    assert (memory.view(np.uint32)[untouched] == 0xFFFFFFFF).all(), "wrote between elements"
    wide = expected(replace(case, dtype="float64"), *(a.astype(np.float64) for a in (x, w, dy)))
    return got, wide[direction]


def check(case: Case, isa: Isa, cut=None) -> None:
    for direction in DIRECTIONS:
        got, wanted = run(case, direction, isa, lowered(case, direction, isa, cut))
        terms = 9 * (case.channels if direction == "forward" else case.filters)
        np.testing.assert_allclose(
            got, wanted, rtol=0, atol=1e-5 * math.sqrt(terms) + 1e-5, err_msg=f"{direction} of {case}"
        )


def square(batch, channels, size, filters, padding=1, **settings) -> Case:
    size = size if isinstance(size, tuple) else (size, size)
    pad = ((padding, padding),) * 2
    return Case(batch, 1, channels, filters, size, (3, 3), (1, 1), pad, **settings)


def weights_first(tiles: int, parts: int, chunk: int):
    """A cut whose weights are transformed by a step before."""
    return lambda size, factors: Cut(
        EvenCut(size, tiles), EvenCut(factors.tiles, -(-factors.tiles // parts)), chunk
    )


def patches_first(tiles: int, parts: int, chunk: int):
    """A cut whose patches are transformed by a step before."""
    return lambda size, factors: replace(
        weights_first(tiles, parts, chunk)(size, factors),
        patches_first=True,
        channel_block=(*channel_blocks(factors.channels, factors.lanes), 0)[0],
    )


def both_first(tiles: int, parts: int, chunk: int):
    """A cut whose weights and patches are transformed by steps before."""
    return lambda size, factors: replace(
        weights_first(tiles, parts, chunk)(size, factors), patches_first=True
    )


CUTS = (
    weights_first(5, 2, 1),
    weights_first(40, 1, 3),
    patches_first(7, 2, 1),
    patches_first(99, 3, 2),
    both_first(7, 2, 1),
)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize(
    "case",
    [
        square(2, 16, 8, 32),
        square(3, 19, (7, 10), 37),
        square(1, 33, (5, 13), 16, 2, weight_layout=LAST),
        square(2, 32, (6, 3), 48, 0, weight_layout=FIRST),
        square(2, 20, 9, 24, input_layout=FIRST, output_layout=FIRST),
        square(1, 160, (4, 6), 40),
    ],
    ids=lambda case: f"{case.channels}-{case.filters}",
)
def test_cases(case: Case, isa: Isa) -> None:
    """Whole and partial tiles, tails of channels, every layout, however the work is cut."""
    for cut in (None, *CUTS):
        check(case, isa, cut)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = draw(st.integers(3, 33)), draw(st.integers(3, 20))
    side = st.integers(0, 2)
    return Case(
        draw(st.integers(1, 3)), 1, draw(st.integers(1, 70)), draw(st.integers(1, 70)), size, (3, 3), (1, 1),
        tuple((draw(side), draw(side)) for _ in range(2)),
        input_layout=draw(layouts(4)), weight_layout=draw(layouts(4)), output_layout=draw(layouts(4)),
    )  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(cases(), st.sampled_from(host_isas()), st.sampled_from((None, *CUTS)))
def test_any(case: Case, isa: Isa, cut) -> None:
    check(case, isa, cut)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_division_of_the_work_leaves_the_bits(isa: Isa) -> None:
    case = square(2, 32, (10, 9), 48)
    results = [run(case, "forward", isa, lowered(case, "forward", isa, cut))[0] for cut in (None, *CUTS)]
    assert all(result.tobytes() == results[0].tobytes() for result in results)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("layout", [FIRST, LAST], ids=["first", "last"])
def test_epilogue(layout, isa: Isa) -> None:
    case = square(2, 16, (7, 6), 37, input_layout=layout, output_layout=layout)
    x_shape, w_shape, y_shape = case.shapes
    generator = np.random.default_rng(1)
    x, w, residual = (generator.standard_normal(s).astype(np.float32) for s in (x_shape, w_shape, y_shape))
    bias = generator.standard_normal(y_shape[1]).astype(np.float32)
    extra = (Operand("float32", bias.size), Operand("float32", residual.size))
    body = epilogue(extra, [(0, 1, 0, 0), FIRST.strides(y_shape)])
    inputs = [case.input_layout.memory(x), case.weight_layout.memory(w), bias, residual.ravel()]
    y = expected(case, x, w, np.zeros(y_shape))["forward"]
    wanted = np.maximum(y + bias[:, None, None], 0) * residual
    for cut in CUTS:
        memory = np.empty(case.output_layout.size(y_shape), np.float32)
        run_lowered(lowered(case, "forward", isa, cut, epilogue=body, extra=extra), inputs, [memory], isa)
        np.testing.assert_allclose(case.output_layout.view(memory, y_shape), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("channels", [64, 256])
def test_error_is_that_of_direct_sums(channels: int, isa: Isa) -> None:
    """Near twice the direct kernel's at most, as the mean square goes; 1.7 to 1.8 times on larger images."""
    case = square(1, channels, 16, 64)
    for direction, lower in zip(DIRECTIONS, (forward, input_gradient), strict=True):
        got, wanted = run(case, direction, isa, lowered(case, direction, isa))
        direct, _ = run(case, direction, isa, lower(case.convolution(exact=True), isa))
        ours, theirs = (np.sqrt(np.mean((a - wanted) ** 2)) for a in (got, direct))
        assert ours < 2.1 * theirs, (direction, ours / theirs)


def uses(case: Case, isa: Isa, **settings) -> list[bool]:
    """Whether each direction runs by Winograd's algorithm."""
    c = case.convolution(**settings)
    return ["Winograd" in lower(c, isa).steps[-1].kernel.label for lower in (forward, input_gradient)]


def test_choice() -> None:
    """Layers of the usual nets run by it; what it cannot compute or does not pay for, directly."""
    isa = ISAS["avx512"]
    for n, c, size, k in ((8, 64, 56, 64), (8, 128, 28, 128), (8, 256, 14, 256), (8, 512, 7, 512)):
        assert uses(square(n, c, size, k), isa) == [True, True], (c, size)
        assert uses(square(n, c, size, k), isa, exact=True) == [False, False], (c, size)
    assert uses(square(8, 3, 224, 64), isa) == [False, False]
    assert uses(replace(square(8, 64, 56, 64), stride=(2, 2)), isa) == [False, False]
    assert uses(replace(square(8, 64, 56, 64), dilation=(2, 2)), isa) == [False, False]
    assert uses(replace(square(8, 64, 56, 64), dtype="float64"), isa) == [False, False]
    assert uses(replace(square(8, 64, 56, 64), dtype="bfloat16"), isa) == [False, False]


def test_neon_compiles() -> None:
    case = square(2, 19, (7, 10), 37)
    for direction in DIRECTIONS:
        for cut in CUTS[1:3]:
            for step in lowered(case, direction, ISAS["neon"], cut).steps:
                assert "fmla" in jit.assembly(step.kernel, ISAS["neon"]), step.kernel.label


def test_precision_is_part_of_a_program() -> None:
    """`exact` sums as written, in every door; programs of both settings live side by side."""
    generator = np.random.default_rng(0)
    x = td.asarray(generator.standard_normal((2, 64, 24, 24)).astype(np.float32))
    w = td.asarray(generator.standard_normal((64, 64, 3, 3)).astype(np.float32))

    @td.compile
    def compiled(x):
        return td.conv(x, w, padding=1)

    fast, exact = td.conv(x, w, padding=1).numpy(), None
    with td.precision("exact"):
        exact = td.conv(x, w, padding=1).numpy()
        assert "Winograd" not in td.explain(compiled, x)
        assert compiled(x).numpy().tobytes() == exact.tobytes()
    assert "Winograd" in td.explain(compiled, x)
    assert compiled(x).numpy().tobytes() == fast.tobytes() != exact.tobytes()
    assert td.conv(x, w, padding=1).numpy().tobytes() == fast.tobytes()
    with pytest.raises(ValueError, match=r"precision.*'exakt'.*'fast', 'exact'"):
        td.precision("exakt")
