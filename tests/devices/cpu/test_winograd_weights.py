"""Weight gradients by Winograd's algorithm: every division of the work, between guard pages, on every
instruction set.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from guard import run_lowered
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import Layout, channels_first, channels_last, layouts
from test_convolution import Case, expected

from treadle.devices.cpu import jit
from treadle.devices.cpu.convolution import forward_correlation, weight_gradient
from treadle.devices.cpu.native import Lowered
from treadle.devices.cpu.target import ISAS, Isa, host_isas
from treadle.devices.cpu.tiling import EvenCut
from treadle.devices.cpu.winograd_sums import WinogradSums, choose_winograd_sums, suits, undivided
from treadle.devices.cpu.winograd_weights import winograd_gradient


def case(
    batch: int,
    channels: int,
    filters: int,
    input: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]] = ((1, 1), (1, 1)),
    **layouts: Layout,
) -> Case:
    return Case(batch, 1, channels, filters, input, (3, 3), (1, 1), padding, (1, 1), "float32", **layouts)


def divided(base: WinogradSums, units: int, chunks: int, parts: tuple[int, int] | None) -> WinogradSums:
    """In blocks of so many units, and so many chunks of them or tasks of so many panels and filter tiles."""
    blocks = EvenCut(base.grid.units, units)
    if parts is not None:
        cuts = EvenCut(base.panels, parts[0]), EvenCut(base.filter_tiles, parts[1])
        return replace(base, blocks=blocks, parts=cuts)
    return replace(base, blocks=blocks, chunks=EvenCut(blocks.parts, -(-blocks.parts // chunks)))


def lowered(case: Case, isa: Isa, units: int = 4, chunks: int = 1, parts=None, **settings) -> Lowered:
    """The kernels of one division, whether or not it is one to choose."""
    convolution = case.convolution()
    correlation = forward_correlation(convolution)
    assert suits(correlation)
    sums = replace(divided(undivided(correlation, isa), units, chunks, parts), **settings)
    return winograd_gradient(sums, isa, convolution.weight_strides, "weights")


def run(case: Case, kernels: Lowered, isa: Isa, x: np.ndarray, dy: np.ndarray, seed: int = 0) -> np.ndarray:
    """The gradient, from normal numbers between guard pages."""
    shape = case.shapes[1]
    memory = np.empty(case.weight_layout.size(shape), np.float32)
    inputs = [case.input_layout.memory(x), case.output_layout.memory(dy)]
    run_lowered(kernels, inputs, [memory], isa, seed)
    untouched = np.ones(memory.size, bool)
    case.weight_layout.view(untouched, shape)[...] = False
    assert (memory.view(np.uint32)[untouched] == 0xFFFFFFFF).all(), "wrote between elements"
    return case.weight_layout.view(memory, shape)


def operands(case: Case, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x, _, dy = case.shapes
    return tuple(generator.standard_normal(shape).astype(np.float32) for shape in (x, dy))


def check(case: Case, isa: Isa, seed: int = 0, **division) -> None:
    x, dy = operands(case, seed)
    got = run(case, lowered(case, isa, **division), isa, x, dy, seed)
    wanted = expected(case, x, np.zeros(case.shapes[1], np.float32), dy)["weight_gradient"]
    # Each error is of the size of the products that a sum has, whatever is left of it.
    scale = math.sqrt(case.batch * math.prod(case.output))
    assert np.abs(got - wanted).max() <= 1e-5 * scale, (case, division)


last, first = channels_last(4), channels_first(4)
CASES = {
    "one tile": (case(1, 16, 16, (4, 4)), {}),
    "one pixel": (case(1, 3, 5, (1, 1)), {}),
    "partial tiles": (case(2, 16, 32, (9, 7)), {}),
    "no padding": (case(1, 16, 16, (14, 11), ((0, 0), (0, 0))), {}),
    "far outside": (case(1, 16, 16, (5, 6), ((6, 2), (0, 7))), {"units": 2, "chunks": 2}),
    "chunks": (case(3, 32, 48, (8, 9)), {"units": 2, "chunks": 3}),
    "parts": (case(2, 144, 70, (7, 7)), {"units": 1, "parts": (2, 1)}),
    "parts, one block": (case(1, 80, 33, (7, 7)), {"parts": (1, 2)}),
    "tails": (case(2, 37, 19, (6, 10)), {}),
    "tails, chunks": (case(2, 70, 33, (6, 10)), {"units": 1, "chunks": 4}),
    "channels first": (case(2, 20, 40, (9, 21), input_layout=first, output_layout=first), {"chunks": 2}),
    "channels first, parts": (
        case(1, 70, 33, (10, 19), input_layout=first, output_layout=first), {"parts": (1, 1)},
    ),
    "weights channels last": (case(1, 70, 33, (6, 6), weight_layout=last), {}),
    "weights channels last, parts": (case(1, 80, 48, (6, 6), weight_layout=last), {"parts": (1, 1)}),
    "weights filters last": (
        case(1, 21, 35, (6, 6), weight_layout=Layout((2, 3, 1, 0), (0,) * 4)), {"parts": (1, 1)},
    ),
    "blocks of channels": (case(1, 260, 16, (4, 5)), {"units": 1, "chunks": 2}),
    "a wide row": (case(1, 16, 16, (3, 400)), {"units": 2}),
    "a wide row, channels first": (case(1, 8, 8, (3, 300), input_layout=first, output_layout=first), {}),
}  # fmt: skip


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("name", CASES)
def test_cases(name: str, isa: Isa) -> None:
    case, division = CASES[name]
    check(case, isa, **division)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, dict]:
    size, channels = st.integers(3, 33), st.one_of(st.integers(1, 70), st.sampled_from((16, 32, 64)))
    chosen = case(
        draw(st.integers(1, 3)), draw(channels), draw(channels), (draw(size), draw(size)),
        tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2)),
        input_layout=draw(layouts(4)), weight_layout=draw(layouts(4)), output_layout=draw(layouts(4)),
    )  # fmt: skip
    parts = draw(st.sampled_from((None, None, (1, 1), (2, 2))))
    return chosen, {"units": draw(st.integers(1, 6)), "chunks": draw(st.integers(1, 3)), "parts": parts}


@settings(max_examples=15, deadline=None)
@given(cases(), st.sampled_from(host_isas()))
def test_any(chosen: tuple[Case, dict], isa: Isa) -> None:
    check(chosen[0], isa, **chosen[1])


@pytest.mark.parametrize("layer", [case(4, 64, 48, (28, 28)), case(8, 128, 96, (14, 14))], ids=("28", "14"))
def test_error_is_near_that_of_direct_sums(layer: Case) -> None:
    isa = host_isas()[0]
    x, dy = operands(layer)
    wanted = expected(layer, x.astype(np.float64), np.zeros(layer.shapes[1]), dy.astype(np.float64))
    direct = weight_gradient(layer.convolution(exact=True), isa)
    winograd = weight_gradient(layer.convolution(), isa)
    assert direct.steps[0].kernel != winograd.steps[0].kernel
    errors = [
        np.sqrt(np.mean((run(layer, kernels, isa, x, dy) - wanted["weight_gradient"]) ** 2))
        for kernels in (direct, winograd)
    ]
    assert errors[1] < 3 * errors[0]


def names(case: Case, **settings) -> str:
    return " ".join(
        s.kernel.label for s in weight_gradient(case.convolution(**settings), ISAS["avx512"]).steps
    )


def test_is_chosen_where_it_is_quicker() -> None:
    layer = case(8, 64, 64, (56, 56))
    assert "Winograd" in names(layer)
    assert "Winograd" not in names(layer, exact=True)
    for other in (
        case(8, 3, 32, (32, 32)),
        replace(layer, dtype="float64"),
        replace(layer, dtype="bfloat16"),
        replace(layer, stride=(2, 1)),
        replace(layer, dilation=(1, 2)),
        replace(layer, groups=2),
        replace(layer, kernel=(3, 2)),
    ):
        assert "Winograd" not in names(other), other


def test_order_depends_on_the_shape_alone() -> None:
    """Real layers are divided for several threads, whatever number there is."""
    for batch, channels, size in ((8, 64, 56), (8, 128, 28), (8, 256, 14), (8, 512, 7)):
        layer = case(batch, channels, channels, (size, size))
        cycles, sums = choose_winograd_sums(forward_correlation(layer.convolution()), ISAS["avx512"])
        tasks = math.prod(cut.parts for cut in sums.parts) if sums.parts else sums.chunks.parts
        assert tasks >= 4 and cycles > 0, layer


@pytest.mark.parametrize(("units", "parts"), [(1, None), (4, (1, 1))])
def test_neon_compiles(units: int, parts: tuple[int, int] | None) -> None:
    layer = case(1, 8, 8, (6, 6))
    steps = lowered(layer, ISAS["neon"], units, parts=parts).steps
    assembly = [jit.assembly(step.kernel, ISAS["neon"]) for step in steps]
    assert any("fmla" in text for text in assembly)


def test_images_may_be_read_where_they_lie() -> None:
    """Gaps between the pixels of rows and between the rows change nothing."""
    for gaps in itertools.product((0, 1), repeat=2):
        layout = Layout((0, 2, 3, 1), (0, gaps[0] * 16, 0, gaps[1]))
        check(case(2, 16, 16, (9, 8), input_layout=layout, output_layout=layout), host_isas()[0])
