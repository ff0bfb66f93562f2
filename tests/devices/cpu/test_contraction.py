"""Matrix products: any sizes, strides and schedule against NumPy in float64, between guard pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from guard import run_lowered
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import finfo

from treadle.compiler.kernel import Access, Affine, Instruction, Operand
from treadle.devices.cpu import jit
from treadle.devices.cpu.contraction import Contraction, is_stack, lower, product_of, simplify
from treadle.devices.cpu.elements import fuses
from treadle.devices.cpu.target import ISAS, Isa, host_isas
from treadle.devices.cpu.tiling import PACKED_ROWS, RANGED_NBYTES, Schedule, choose, choose_stack
from treadle.dtypes import as_dtype

TARGETS = [(isa, dtype) for isa in host_isas() for dtype in ("float32", "float64")]
WIDENED = [
    *((isa, dtype) for isa in host_isas() for dtype in ("bfloat16", "float16")),
    *((isa, dtype) for isa in host_isas() for dtype in ("int8", "int32")),
    *((host_isas()[0], dtype) for dtype in ("uint8", "int16", "uint16", "uint32", "int64", "uint64")),
]


def parametrized(targets):
    ids = [f"{isa.name}-{dtype}" for isa, dtype in targets]
    return pytest.mark.parametrize(("isa", "dtype"), targets, ids=ids)


targets = parametrized(TARGETS)
every_target = parametrized(TARGETS + WIDENED)


def numbers(shape: Sequence[int], dtype: str, seed: int) -> np.ndarray:
    """Normal numbers, or integers of the whole range."""
    generator, type = np.random.default_rng(seed), as_dtype(dtype).numpy
    if type.kind in "iu":
        return generator.integers(np.iinfo(type).min, np.iinfo(type).max, shape, type, endpoint=True)
    return generator.standard_normal(shape).astype(type)


class Layout:
    """An array as it is stored, and a view of it with the axes of the contraction."""

    def __init__(
        self, shape: Sequence[int], dtype: str, order: Sequence[int] | None = None, repeat=(), gap: int = 1
    ):
        """`order` is the order of the axes in memory, `repeat` the axes of stride 0, `gap` the last stored
        axis' stride.
        """
        order = list(range(len(shape))) if order is None else list(order)
        stored = [1 if axis in repeat else shape[axis] for axis in order]
        stored[-1] *= gap
        self.stored = numbers(stored, dtype, len(shape) + sum(shape))
        view = self.stored[..., ::gap].transpose(np.argsort(order))
        self.view = np.broadcast_to(view, shape) if repeat else view

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(stride // self.stored.itemsize for stride in self.view.strides)


def contraction_of(a: Layout, b: Layout, c: Layout, **more) -> Contraction:
    *batch, m, k = a.view.shape
    dtype = a.stored.dtype.name
    n = b.view.shape[-1]
    return Contraction(tuple(batch), m, n, k, a.strides, b.strides, c.strides, dtype, **more)


def check(
    a: Layout,
    b: Layout,
    c: Layout,
    isa: Isa,
    schedule: Schedule | None = None,
    expected=lambda total: total,
    read: Sequence[np.ndarray] = (),
    **more,
) -> np.ndarray:
    """Run, compare with `expected` of the sum, and return the result."""
    lowered = lower(contraction_of(a, b, c, **more), isa, schedule)
    over = [2] if more.get("in_place") else []
    run_lowered(lowered, [a.stored, b.stored, *read], [c.stored], isa, over=over)
    if a.stored.dtype.kind in "iu":
        assert np.array_equal(c.view, expected(a.view @ b.view))
        return c.view
    wide_a, wide_b = a.view.astype(np.float64), b.view.astype(np.float64)
    steps = 4 + a.view.shape[-1] ** 0.5
    # What is widened is summed in float32 and rounded once: half a unit of its last place.
    kept = finfo(a.stored.dtype)
    summed, once = (kept.eps, 0) if kept.bits > 16 else (2**-23, 0.5001 * float(kept.eps))
    atol = 2 * summed * steps * (1 + (abs(wide_a) @ abs(wide_b)).max(initial=0)) + float(kept.tiny) * once
    wanted = expected(wide_a @ wide_b)
    np.testing.assert_allclose(c.view.astype(np.float64), wanted, rtol=once, atol=atol)
    return c.view


def plain(m: int, n: int, k: int, dtype: str, layout: str = "NNN") -> tuple[Layout, Layout, Layout]:
    """A, B and C, each transposed in memory where the layout says T."""
    a, b, c = (
        Layout(shape, dtype, (1, 0) if t == "T" else None)
        for shape, t in zip(((m, k), (k, n), (m, n)), layout, strict=True)
    )
    return a, b, c


SIZES = st.one_of(st.integers(1, 5), st.integers(1, 70), st.sampled_from([16, 32, 64, 130]))


@st.composite
def operands(draw, dtype: str) -> tuple[Layout, Layout, Layout]:
    """Layouts of any kind for A, B and C: axes in any order, broadcast batch axes, gaps."""
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    m, n, k = draw(SIZES), draw(SIZES), draw(st.one_of(SIZES, st.sampled_from([0, 300])))
    axes = len(batch) + 2

    def layout(shape: list[int], may_repeat: bool) -> Layout:
        order = draw(st.permutations(range(axes)))
        repeat = draw(st.sets(st.integers(0, len(batch) - 1))) if may_repeat and batch else ()
        return Layout(shape, dtype, order, repeat, draw(st.sampled_from([1, 1, 1, 2])))

    return layout([*batch, m, k], True), layout([*batch, k, n], True), layout([*batch, m, n], False)


@every_target
def test_any_sizes_and_strides(isa: Isa, dtype: str) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(operands(dtype))
    def run(layouts: tuple[Layout, Layout, Layout]) -> None:
        check(*layouts, isa)

    run()


@every_target
@pytest.mark.parametrize("layout", ["NNN", "TNN", "NTN", "TTT"])
def test_packed_and_blocked(isa: Isa, dtype: str, layout: str) -> None:
    check(*plain(150, 300, 1100, dtype, layout), isa)


@every_target
@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 333, 70), (333, 1, 70), (3, 77, 400), (1, 1, 1000), (64, 10, 100)]
)
@pytest.mark.parametrize("layout", ["NNN", "TTN", "NTT"])
def test_skinny(isa: Isa, dtype: str, m: int, n: int, k: int, layout: str) -> None:
    check(*plain(m, n, k, dtype, layout), isa)


@every_target
@pytest.mark.parametrize("layout", ["NTN", "NTT"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 9), (7, 23)])
def test_dot_products(isa: Isa, dtype: str, layout: str, m: int, n: int) -> None:
    """Few rows, everything contiguous along k: nothing is packed."""
    layouts = plain(m, n, 331, dtype, layout)
    check(*layouts, isa)
    if (isa, dtype) in WIDENED:
        return  # An epilogue rounds once more.
    bias = np.random.default_rng(4).standard_normal(n).astype(dtype)
    epilogue = body(("load", (), LOAD_ROW), ("add", (0, 1), None), dtype=dtype)
    more = {"epilogue": epilogue, "extra": (Operand(dtype, n),)}
    check(*layouts, isa, None, lambda t: t + bias.astype(np.float64), [bias], **more)


@every_target
def test_split_k(isa: Isa, dtype: str) -> None:
    """Few elements of C and a long k: ranges of k are summed apart."""
    a, b, c = plain(6, 7, 8192, dtype, "TNN")
    assert schedule_of(a, b, c, isa).splits > 1
    check(a, b, c, isa)


@targets
@pytest.mark.parametrize("layout", ["NNN", "NTN"])
def test_halves_of_k(isa: Isa, dtype: str, layout: str) -> None:
    """Much to read for each element of C: two ranges of k, so that two threads read different memory."""
    a, b, c = plain(40, 61, 901, dtype, layout)
    assert schedule_of(a, b, c, isa).splits == 2
    check(a, b, c, isa)


def schedule_of(a: Layout, b: Layout, c: Layout, isa: Isa) -> Schedule:
    p = product_of(simplify(contraction_of(a, b, c))[0])
    return choose(prod(p.batch), p.m, p.n, p.k, p.a[-2:], p.b[-2:], p.itemsize, isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_what_is_bound_by_memory(isa: Isa, dtype: str) -> None:
    """A b that is far: few rows of it at a time, or packed for few rows of a. A short k: whole rows of c."""
    small = as_dtype(dtype).itemsize // 4
    a, b, c = plain(7, 2053, 520 // small, dtype)
    assert schedule_of(a, b, c, isa).k_block == 32 and schedule_of(a, b, c, isa).splits > 1
    check(a, b, c, isa)
    a, b, c = plain(33, 2053, 520 // small, dtype, "TNN")
    assert schedule_of(a, b, c, isa).pack_b
    check(a, b, c, isa)
    for m, k, layout in (
        (520, 1, "NNN"),
        (520, 5, "TNN"),
        (520, 64, "TNN"),
        (97, 110, "NNN"),
        (97, 30, "TNN"),
    ):
        a, b, c = plain(m, 517, k, dtype, layout)
        assert schedule_of(a, b, c, isa).k_block == k and not schedule_of(a, b, c, isa).pack_b
        check(a, b, c, isa)


@targets
@pytest.mark.parametrize(("m", "n"), [(131, 530), (525, 129), (371, 411)])
def test_ranges_of_a_long_k(isa: Isa, dtype: str, m: int, n: int) -> None:
    """The gradient of a weight of many examples: each range of k packs its parts of both factors."""
    a, b, c = plain(m, n, 1029, dtype, "TNN")
    assert schedule_of(a, b, c, isa).splits == 4 or c.stored.nbytes > RANGED_NBYTES
    check(a, b, c, isa)


@every_target
def test_long_rows_of_b(isa: Isa, dtype: str) -> None:
    """One row of a and a large b: a few rows of b at a time."""
    a, b, c = plain(1, 1030, 523, dtype)
    assert schedule_of(a, b, c, isa).k_block < 10
    check(a, b, c, isa)


@targets
@pytest.mark.parametrize(("batch", "m", "k"), [(5, 32, 40), (3, 17, 300), (2, 61, 7)])
def test_a_stack_divided_by_rows(isa: Isa, dtype: str, batch: int, m: int, k: int) -> None:
    """One matrix by every panel of another, as a loop multiplies: tasks are rows of all panels."""
    n = 128 // as_dtype(dtype).itemsize
    a, b = Layout((batch, m, k), dtype, repeat=(0,)), Layout((batch, k, n), dtype)
    c = Layout((batch, m, n), dtype, (1, 0, 2))
    p = product_of(simplify(contraction_of(a, b, c))[0])
    schedule = choose_stack(batch, p.m, p.n, p.k, p.b[-2:], as_dtype(dtype).itemsize, isa)
    assert is_stack(p) and schedule is not None and schedule.rows_first and schedule.grid[0] % 2 == 0
    by_rows = check(a, b, c, isa)
    by_panels = check(a, b, c, isa, replace(schedule, rows_first=False, grid=(1, 1)))
    np.testing.assert_array_equal(by_rows, by_panels)


@targets
@pytest.mark.parametrize("layout", ["NNN", "TTN"])
def test_bits_do_not_depend_on_the_cut(isa: Isa, dtype: str, layout: str) -> None:
    """Tasks, tiles and packing may be cut in any way; only blocks and ranges of k decide the order of a
    sum.
    """
    layouts = plain(61, 67, 90, dtype, layout)
    base = Schedule(rows=4, vectors=2, unroll=1, k_block=40, splits=1, grid=(1, 1), pack_a=0, pack_b=True)
    expected = check(*layouts, isa, base).copy()
    for change in (
        {"grid": (3, 2)},
        {"grid": (16, 1), "unroll": 4},
        {"rows": 3, "vectors": 1},
        {"rows": 6, "pack_a": 2},
        {"rows": 5, "pack_a": 20, "grid": (2, 3)},
        {"pack_b": layout[1] == "T", "grid": (5, 1)},
    ):
        assert np.array_equal(check(*layouts, isa, replace(base, **change)), expected), change


@targets
@pytest.mark.parametrize("layout", ["NNN", "NTN"])
def test_tasks_of_all_columns(isa: Isa, dtype: str, layout: str) -> None:
    """Many rows by a matrix that is packed whole, once for all tasks that are done together."""
    layouts = plain(2 * PACKED_ROWS + 37, 259, 70, dtype, layout)
    schedule = schedule_of(*layouts, isa)
    assert schedule.pack_b and schedule.grid == (2, 1)
    expected = check(*layouts, isa).copy()
    for grid in ((1, 1), (9, 1), (3, 2)):
        assert np.array_equal(check(*layouts, isa, replace(schedule, grid=grid)), expected), grid


LOAD_ROW = Access(0, Affine(0, (0, 1)))
LOAD_COLUMN = Access(0, Affine(0, (1, 0)))
N = 37
LOAD_RESIDUAL = Access(0, Affine(0, (N, 1)))


def body(*rows: tuple, dtype: str) -> tuple[Instruction, ...]:
    """Instructions from (op, arguments, attribute), the accumulator first."""
    first = Instruction("accumulator", (), dtype)
    return (first, *(Instruction(op, arguments, dtype, attribute) for op, arguments, attribute in rows))


EPILOGUES = {
    "bias by column": ([("load", (), LOAD_ROW), ("add", (0, 1), None)], lambda t, x: t + x[: t.shape[1]]),
    "bias by row": (
        [("load", (), LOAD_COLUMN), ("add", (0, 1), None)],
        lambda t, x: t + x[: t.shape[0], None],
    ),
    "bias and relu": (
        [
            ("load", (), LOAD_ROW),
            ("add", (0, 1), None),
            ("constant", (), 0.0),
            ("maximum", (2, 3), None),
        ],
        lambda t, x: np.maximum(t + x[: t.shape[1]], 0),
    ),
    "scaled residual": (
        [
            ("constant", (), 0.5),
            ("multiply", (0, 1), None),
            ("load", (), LOAD_RESIDUAL),
            ("add", (2, 3), None),
        ],
        lambda t, x: 0.5 * t + x[: t.size].reshape(t.shape),
    ),
    "divided by a number": (
        [
            ("load", (), Access(0, Affine(2, (0, 0)))),
            ("reciprocal", (1,), None),
            ("multiply", (0, 2), None),
        ],
        lambda t, x: t / x[2],
    ),
    "tanh": (
        [("load", (), LOAD_ROW), ("add", (0, 1), None), ("tanh", (2,), None), ("multiply", (2, 3), None)],
        lambda t, x: (t + x[: t.shape[1]]) * np.tanh(t + x[: t.shape[1]]),
    ),
}


@pytest.mark.parametrize(
    ("isa", "dtype"),
    [(isa, dtype) for isa, dtype in TARGETS if dtype == "float32" or isa is host_isas()[0]],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("way", ["one block", "blocks", "ranges", "nothing to sum"])
def test_epilogue(isa: Isa, dtype: str, name: str, way: str) -> None:
    rows, expected = EPILOGUES[name]
    k = {"nothing to sum": 0, "one block": 25}.get(way, 100)
    a, b, c = plain(18, N, k, dtype, "NNT" if way == "one block" else "NNN")
    schedule = Schedule(4, 2, 2, 30, 3 if way == "ranges" else 1, (2, 2), 0, b.strides[-1] != 1)
    extra = np.random.default_rng(1).standard_normal(18 * N).astype(dtype)
    more = {"epilogue": body(*rows, dtype=dtype), "extra": (Operand(dtype, extra.size),)}
    choice = schedule if way in ("blocks", "ranges") else None
    check(a, b, c, isa, choice, lambda t: expected(t, extra.astype(np.float64)), [extra], **more)


HALF = [("constant", (), 0.5), ("multiply", (0, 1), None), ("load", (), LOAD_RESIDUAL), ("add", (2, 3), None)]
IN_PLACE = {
    "cheap": (HALF, lambda t: t / 2),
    "costly": ([("tanh", (0,), None), ("load", (), LOAD_RESIDUAL), ("add", (1, 2), None)], np.tanh),
}


@targets
@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("way", ["one block", "blocks", "ranges", "dot products", "nothing to sum"])
def test_epilogue_over_what_it_reads(isa: Isa, dtype: str, name: str, way: str) -> None:
    """c takes the memory of a residual, as a parameter's next value does."""
    rows, change = IN_PLACE[name]
    m, k = (3 if way == "dot products" else 18), {"nothing to sum": 0, "dot products": 331}.get(way, 100)
    a, b, c = plain(m, N, k, dtype, "NTN" if way == "dot products" else "TNN")
    schedule = Schedule(
        4, 2, 2, 100 if way == "one block" else 30, 3 if way == "ranges" else 1, (2, 2), 0, True
    )
    old = np.random.default_rng(1).standard_normal((m, N)).astype(dtype)
    more = {"epilogue": body(*rows, dtype=dtype), "extra": (Operand(dtype, old.size),), "in_place": True}
    choice = schedule if way in ("one block", "blocks", "ranges") else None
    check(a, b, c, isa, choice, lambda t: change(t) + old, [old], **more)


LOAD_OLD = [Access(i, Affine(0, (N, 1))) for i in range(3)]
SEVERAL = {
    "momentum": (
        [
            ("load", (), LOAD_OLD[1]), ("add", (0, 1), None), ("load", (), LOAD_OLD[0]),
            ("constant", (), 0.5), ("multiply", (2, 4), None), ("subtract", (3, 5), None),
        ],
        (6, 2),
        lambda t, w, v: (w - 0.5 * (t + v), t + v),
    ),
    "costly": (
        [
            ("load", (), LOAD_OLD[1]), ("add", (0, 1), None), ("load", (), LOAD_OLD[2]),
            ("square", (0,), None), ("add", (3, 4), None), ("sqrt", (5,), None), ("divide", (2, 6), None),
            ("load", (), LOAD_OLD[0]), ("subtract", (8, 7), None),
        ],
        (9, 2, 5),
        lambda t, w, v, s: (w - (t + v) / np.sqrt(s + t * t), t + v, s + t * t),
    ),
}  # fmt: skip


@targets
@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("way", ["one block", "blocks", "ranges", "dot products", "nothing to sum"])
@pytest.mark.parametrize("layout", ["TNN", "NNT"])
def test_several_results(isa: Isa, dtype: str, name: str, way: str, layout: str) -> None:
    """A parameter and what its optimizer remembers, each over the old value or beside it."""
    rows, values, change = SEVERAL[name]
    m, k = (3 if way == "dot products" else 18), {"nothing to sum": 0, "dot products": 331}.get(way, 100)
    a, b, c = plain(m, N, k, dtype, "NT" + layout[2] if way == "dot products" else layout)
    schedule = Schedule(
        4, 2, 2, 100 if way == "one block" else 30, 3 if way == "ranges" else 1, (2, 2), 0, True
    )
    place = Affine(0, c.strides)
    lines = [(op, arguments, Access(at.operand, place) if op == "load" else at) for op, arguments, at in rows]
    extra = [Operand(dtype, m * N)] * len(values)
    more = {"epilogue": body(*lines, dtype=dtype), "extra": tuple(extra), "stores": values}
    old = [np.abs(Layout((m, N), dtype).stored) + i for i in range(len(values))]
    if layout[2] == "T":
        old = [np.ascontiguousarray(value.T) for value in old]
    seen = [value.T if layout[2] == "T" else value for value in old]
    wanted = change(a.view.astype(np.float64) @ b.view, *[value.astype(np.float64) for value in seen])
    results = []
    for in_place in (False, True):
        contraction = contraction_of(a, b, c, in_place=in_place, **more)
        choice = schedule if way in ("one block", "blocks", "ranges") else None
        lowered = lower(contraction, isa, choice)
        found = [np.empty_like(c.stored) for _ in values]
        over = [2 + i for i in range(len(values))] if in_place else []
        run_lowered(lowered, [a.stored, b.stored, *old], found, isa, over=over)
        for value, want in zip(found, wanted, strict=True):
            value = value.T if layout[2] == "T" else value
            np.testing.assert_allclose(value, want, rtol=1e-3 if dtype == "float32" else 1e-10, atol=1e-4)
        results.append(found)
    for beside, over in zip(*results, strict=True):
        assert np.array_equal(beside, over)


def test_epilogue_of_a_batch_and_another_dtype() -> None:
    """A comparison by bias per batch and row, stored as bool, transposed."""
    isa = host_isas()[0]
    a, b = Layout((2, 3, 5, 7), "float32"), Layout((2, 3, 7, 9), "float32", repeat=(1,))
    c = Layout((2, 3, 5, 9), "bool", (2, 0, 3, 1))
    bias = np.random.default_rng(3).standard_normal((2, 3, 5)).astype("float32")
    epilogue = (
        Instruction("accumulator", (), "float32"),
        Instruction("load", (), "float32", Access(0, Affine(0, (15, 5, 1, 0)))),
        Instruction("less", (0, 1), "bool"),
    )
    contraction = contraction_of(a, b, c, epilogue=epilogue, extra=(Operand("float32", bias.size),))
    run_lowered(lower(contraction, isa), [a.stored, b.stored, bias], [c.stored], isa)
    total = a.view.astype(np.float64) @ b.view
    assert np.array_equal(c.view, total < bias[..., None])


def test_epilogue_that_counts_elements() -> None:
    """``index`` sees the axes as they were before rows were merged and exchanged."""
    isa = host_isas()[0]
    a, b, c = (
        Layout((4, 6, 5), "float32"),
        Layout((4, 5, 1), "float32", repeat=(0,)),
        Layout((4, 6, 1), "float32"),
    )
    epilogue = (
        Instruction("accumulator", (), "float32"),
        Instruction("index", (), "int32", Affine(3, (600, 100, 7))),
        Instruction("cast", (1,), "float32"),
        Instruction("add", (0, 2), "float32"),
    )
    numbers = 3 + 600 * np.arange(4)[:, None, None] + 100 * np.arange(6)[:, None]
    run_lowered(lower(contraction_of(a, b, c, epilogue=epilogue), isa), [a.stored, b.stored], [c.stored], isa)
    np.testing.assert_allclose(c.view, a.view @ b.view + numbers, rtol=1e-5)


def test_shared_b_makes_one_product() -> None:
    """[batch, rows, k] @ [k, n] is one product of batch * rows rows."""
    a, b = Layout((4, 6, 5), "float32"), Layout((4, 5, 8), "float32", repeat=(0,))
    simple, swapped = simplify(contraction_of(a, b, Layout((4, 6, 8), "float32")))
    assert (simple.batch, simple.m, swapped) == ((), 24, False)


def test_empty_result_has_no_steps() -> None:
    for m, n, batch in ((0, 3, ()), (3, 0, ()), (2, 2, (0,))):
        strides = (1,) * (len(batch) + 2)
        assert lower(Contraction(batch, m, n, 4, strides, strides, strides), host_isas()[0]).steps == ()


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="complex64"):
        lower(Contraction((), 2, 2, 2, (2, 1), (2, 1), (2, 1), "complex64"), host_isas()[0])


def test_no_call_of_libm() -> None:
    """``llvm.fma`` is a call where the instruction set has none."""
    for isa in host_isas():
        step = lower(contraction_of(*plain(8, 8, 8, "float32")), isa).steps[0]
        assembly = jit.assembly(step.kernel, isa)
        assert "fmaf" not in assembly
        assert ("vfmadd" in assembly) == fuses(isa)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_16_bit_products_are_float32_products_rounded_once(isa: Isa, dtype: str) -> None:
    """The bits of the float32 kernel for the widened operands, where both sum in one block of k."""
    for m, n, k, layout in (
        (65, 70, 333, "NNN"),
        (31, 45, 90, "TTN"),
        (3, 20, 500, "NTN"),
        (1, 9, 40, "NNT"),
    ):
        a, b, c = plain(m, n, k, dtype, layout)
        check(a, b, c, isa)
        wide_a, wide_b, wide_c = plain(m, n, k, "float32", layout)
        wide_a.view[...], wide_b.view[...] = a.view, b.view
        check(wide_a, wide_b, wide_c, isa)
        assert np.array_equal(wide_c.view.astype(c.stored.dtype).view(np.uint16), c.view.view(np.uint16))


NEON = {
    "bfloat16": ("fmla", "shl"),
    "float16": ("fmla", "fcvtl", "fcvtn"),
    "float64": ("fmla",),
    "int8": ("mla", "xtn"),
    "int32": ("mla",),
    "int64": ("mul",),
}
"""Vector instructions that a product of each dtype is made of."""


@pytest.mark.parametrize("dtype", NEON)
def test_other_dtypes_compile_for_neon(dtype: str) -> None:
    for layout in ("NNN", "TTN"):
        steps = lower(contraction_of(*plain(70, 45, 33, dtype, layout)), ISAS["neon"]).steps
        assembly = "".join(jit.assembly(step.kernel, ISAS["neon"]) for step in steps)
        assert [word for word in NEON[dtype] if word not in assembly] == []
        assert "\tbl\t__" not in assembly  # No conversion is a call of the compiler's library.


def test_compiles_for_neon() -> None:
    for layout in ("NNN", "TTN"):
        for step in lower(contraction_of(*plain(70, 45, 33, "float32", layout)), ISAS["neon"]).steps:
            assert "fmla" in jit.assembly(step.kernel, ISAS["neon"])


def test_what_a_profile_shows() -> None:
    step, combine = lower(contraction_of(*plain(64, 100, 1000, "float32")), host_isas()[0]).steps
    assert (step.kernel.label, combine.kernel.label) == ("matmul 64x1000x100", "combine matmul 64x1000x100")
    assert step.kernel.flops == 2 * 64 * 100 * 1000
    assert step.kernel.nbytes == 4 * (64 * 1000 + 1000 * 100 + 64 * 100)
    assert 8 <= step.kernel.tasks <= 64
    (tiny,) = lower(contraction_of(*plain(4, 10, 10, "float32")), host_isas()[0]).steps
    assert tiny.kernel.tasks == 1
