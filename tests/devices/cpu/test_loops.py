"""Rendered loop kernels against the NumPy interpreter, between guard pages, on each instruction set of this
machine.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from unittest import mock

import guard
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.compiler.interpret import interpret
from treadle.compiler.kernel import (
    Access,
    Affine,
    Check,
    Fold,
    Gather,
    Guard,
    Instruction,
    LoopKernel,
    Operand,
    Stage,
    Store,
)
from treadle.devices.cpu import jit, loops
from treadle.devices.cpu.loops import render
from treadle.devices.cpu.target import Isa, host_isas

every_isa = pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)


def load(
    operand: int,
    strides: Sequence[int],
    dtype: str = "float32",
    offset: int = 0,
    guards: tuple[Guard, ...] = (),
):
    return Instruction("load", (), dtype, Access(operand, Affine(offset, tuple(strides)), guards))


def op(name: str, *arguments: int, dtype: str = "float32") -> Instruction:
    return Instruction(name, arguments, dtype)


def result(stage: int, fold: int, dtype: str = "float32") -> Instruction:
    return Instruction("result", (), dtype, (stage, fold))


def constant(number: float, dtype: str = "float32") -> Instruction:
    return Instruction("constant", (), dtype, number)


def store(
    operand: int, strides: Sequence[int], value: int, offset: int = 0, guards: tuple[Guard, ...] = ()
) -> Store:
    return Store(Access(operand, Affine(offset, tuple(strides)), guards), value)


def run(kernel: LoopKernel, arrays: Sequence[np.ndarray], isa: Isa, seed: int = 0) -> list[np.ndarray]:
    """The arrays after the kernel has run, temporaries ending at guard pages too."""
    arrays = [array.copy() for array in arrays]
    lowered = render(kernel, isa)
    places = {("in", i): array for i, array in enumerate(arrays)}
    places |= {("temp", i): np.full(nbytes, 0xFF, np.uint8) for i, nbytes in enumerate(lowered.temporaries)}
    for step in lowered.steps:
        guard.run_kernel(step.kernel, [places[place] for place in step.operands], isa, seed)
    return arrays


def check(
    kernel: LoopKernel, arrays: Sequence[np.ndarray], isa: Isa, tolerance: float = 0.0, seed: int = 0
) -> None:
    """The rendered kernel leaves what the interpreter leaves; with a tolerance, relative to the largest
    value.
    """
    expected = [array.copy() for array in arrays]
    interpret(kernel, expected)
    for i, (a, e) in enumerate(zip(run(kernel, arrays, isa, seed), expected, strict=True)):
        if tolerance and e.dtype.kind not in "iub":
            a, e = a.astype(np.float64), e.astype(np.float64)
            finite = np.isfinite(e)
            assert (np.where(finite, 0, a) == np.where(finite, 0, e))[~np.isnan(e)].all(), (isa.name, i)
            assert (np.isnan(a) == np.isnan(e)).all(), (isa.name, i)
            scale = 1 + np.abs(e[finite])
            assert (np.abs(a[finite] - e[finite]) <= tolerance * scale).all(), (isa.name, i)
        elif e.dtype.kind in "iub":
            assert (a == e).all(), (isa.name, i, a, e)
        else:
            np.testing.assert_array_equal(
                a.astype(np.float64), e.astype(np.float64), f"{isa.name}: operand {i}"
            )


def floats(*sizes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(math.prod(sizes)).astype(np.float32)


def elementwise(
    sizes: Sequence[int], operands: list[Operand], body: list[Instruction], stores: list[Store]
) -> LoopKernel:
    return LoopKernel(
        tuple(sizes), len(sizes), tuple(operands), (Stage("row", tuple(body), (), tuple(stores)),)
    )


def f32(size: int, written: bool = False) -> Operand:
    return Operand("float32", size, written)


# -- one feature at a time


@every_isa
@pytest.mark.parametrize("size", [0, 1, 2, 7, 16, 63, 64, 65, 1000, 20011])
def test_elementwise_of_any_size(size: int, isa: Isa) -> None:
    body = [load(0, (1,)), load(1, (1,)), op("add", 0, 1), load(2, (0,)), op("multiply", 2, 3)]
    kernel = elementwise((size,), [f32(size), f32(size), f32(1), f32(size, True)], body, [store(3, (1,), 4)])
    check(kernel, [floats(size), floats(size, seed=1), floats(1), floats(size)], isa)


@every_isa
def test_no_axes_at_all(isa: Isa) -> None:
    kernel = elementwise((), [f32(1), f32(1, True)], [load(0, ()), op("add", 0, 0)], [store(1, (), 1)])
    check(kernel, [floats(1), floats(1)], isa)


@every_isa
def test_broadcast_bias_over_strided_rows(isa: Isa) -> None:
    n, c, h = 3, 5, 37
    body = [load(0, (c * h, h, 1)), load(1, (0, 1, 0)), op("add", 0, 1)]
    kernel = elementwise(
        (n, c, h), [f32(n * c * h), f32(c), f32(n * c * h, True)], body, [store(2, (c * h, h, 1), 2)]
    )
    check(kernel, [floats(n * c * h), floats(c), floats(n * c * h)], isa)


@every_isa
@pytest.mark.parametrize("shape", [(64, 64), (100, 37), (3, 700), (129, 257)])
def test_transpose(shape: tuple[int, int], isa: Isa) -> None:
    m, n = shape
    for dtype in ("float32", "int8", "float64", "bfloat16"):
        x = np.arange(m * n).astype(dtype)
        operands = [Operand(dtype, m * n), Operand(dtype, m * n, True)]
        kernel = elementwise((n, m), operands, [load(0, (1, n), dtype)], [store(1, (m, 1), 0)])
        check(kernel, [x, np.zeros_like(x)], isa)


@every_isa
def test_reverse_and_steps(isa: Isa) -> None:
    size = 101
    body = [load(0, (-1,), offset=size - 1), load(0, (3,)), op("subtract", 0, 1)]
    kernel = elementwise(
        (size,), [f32(3 * size), f32(2 * size, True)], body, [store(1, (-2,), 2, offset=2 * size - 1)]
    )
    check(kernel, [floats(3 * size), floats(2 * size)], isa)


@every_isa
def test_padding_by_guards(isa: Isa) -> None:
    """[5, 30] padded by 2 on each side; one guard varies along vectors, one does not."""
    h, w = 5, 30
    guards = (Guard(Affine(-2, (1, 0)), h), Guard(Affine(-2, (0, 1)), w))
    body = [load(0, (w, 1), offset=-2 * w - 2, guards=guards), constant(1), op("add", 0, 1)]
    sizes = (h + 4, w + 4)
    kernel = elementwise(sizes, [f32(h * w), f32(math.prod(sizes), True)], body, [store(1, (w + 4, 1), 2)])
    check(kernel, [floats(h * w), floats(*sizes)], isa)
    stores = [store(1, (w, 1), 2, offset=-2 * w - 2, guards=guards)]
    body[0] = load(0, (w + 4, 1))
    kernel = elementwise(sizes, [f32(math.prod(sizes)), f32(h * w, True)], body, stores)
    check(kernel, [floats(*sizes), floats(h * w)], isa)


def softmax(rows: int, columns: int) -> LoopKernel:
    x, strides = load(0, (columns, 1)), (columns, 1)
    shifted = [x, result(0, 0), op("subtract", 0, 1), op("exp", 2)]
    stages = (
        Stage("element", (x,), (Fold("maximum", 0, "float32"),)),
        Stage("element", tuple(shifted), (Fold("add", 3, "float32"),)),
        Stage("element", (*shifted, result(1, 0), op("divide", 3, 4)), (), (store(1, strides, 5),)),
    )
    return LoopKernel((rows, columns), 1, (f32(rows * columns), f32(rows * columns, True)), stages, "softmax")


@every_isa
@pytest.mark.parametrize("shape", [(37, 10), (3, 64), (9, 1000), (1, 1), (5, 129), (2, 70000)])
def test_softmax(shape: tuple[int, int], isa: Isa) -> None:
    check(softmax(*shape), [floats(*shape) * 5, floats(*shape)], isa, 3e-6)


def layer_norm(rows: int, columns: int) -> LoopKernel:
    x, strides = load(0, (columns, 1)), (columns, 1)
    mean = [result(0, 0), constant(1 / columns), op("multiply", 0, 1)]
    centred = [*mean, x, op("subtract", 3, 2)]
    stages = (
        Stage("element", (x,), (Fold("add", 0, "float32"),)),
        Stage("element", (*centred, op("square", 4)), (Fold("add", 5, "float32"),)),
        Stage(
            "element",
            (
                *centred,
                result(1, 0),
                op("multiply", 5, 1),
                constant(1e-5),
                op("add", 6, 7),
                op("rsqrt", 8),
                op("multiply", 4, 9),
                load(1, (0, 1)),
                op("multiply", 10, 11),
                load(2, (0, 1)),
                op("add", 12, 13),
            ),
            (),
            (store(3, strides, 14),),
        ),
        Stage("row", (*mean,), (), (store(4, (1, 0), 2),)),
    )
    size = rows * columns
    operands = (f32(size), f32(columns), f32(columns), f32(size, True), f32(rows, True))
    return LoopKernel((rows, columns), 1, operands, stages, "layer norm")


@every_isa
@pytest.mark.parametrize("shape", [(13, 33), (4, 768), (1, 50000)])
def test_layer_norm(shape: tuple[int, int], isa: Isa) -> None:
    rows, columns = shape
    arrays = [
        floats(rows, columns),
        floats(columns),
        floats(columns, seed=1),
        floats(rows, columns),
        floats(rows),
    ]
    check(layer_norm(*shape), arrays, isa, 1e-5)


def fold_kernel(sizes, rows, strides, size, combine, dtype, out=None, position=None, offset=0) -> LoopKernel:
    """One fold of one operand, stored densely by row."""
    out = out or dtype
    body = [load(0, strides, dtype, offset)]
    if position is not None:
        body.append(Instruction("index", (), "int64", Affine(0, tuple(position))))
    fold = Fold(combine, 0, out, None if position is None else 1)
    target, step = [], 1
    for axis in range(rows - 1, -1, -1):
        target.insert(0, step)
        step *= sizes[axis]
    target += [0] * (len(sizes) - rows)
    stages = (
        Stage("element", tuple(body), (fold,)),
        Stage("row", (result(0, 0, out),), (), (store(1, target, 0),)),
    )
    return LoopKernel(tuple(sizes), rows, (Operand(dtype, size), Operand(out, step, True)), stages)


@every_isa
def test_sums_over_any_axes(isa: Isa) -> None:
    a, b, c = 5, 23, 70
    x = floats(a, b, c)
    for rows, order in [
        (1, (0, 1, 2)),
        (2, (0, 1, 2)),
        (1, (2, 0, 1)),
        (1, (1, 0, 2)),
        (2, (0, 2, 1)),
        (0, (0, 1, 2)),
    ]:
        shape, step = (a, b, c), (b * c, c, 1)
        sizes, strides = [shape[i] for i in order], [step[i] for i in order]
        kernel = fold_kernel(sizes, rows, strides, x.size, "add", "float32")
        check(kernel, [x, np.zeros(kernel.operands[1].size, np.float32)], isa, 1e-4)


@every_isa
@pytest.mark.parametrize("inner", [0, 1, 3, 100, 200003])
def test_full_reductions(inner: int, isa: Isa) -> None:
    """With a long axis the fold is cut in chunks, whose number depends on nothing but the size."""
    for combine, dtype, tolerance in [
        ("add", "float32", 1e-3),
        ("maximum", "float32", 0),
        ("minimum", "int8", 0),
        ("multiply", "uint32", 0),
        ("logical_or", "bool", 0),
        ("logical_and", "bool", 0),
        ("add", "bfloat16", 1e-1),
        ("add", "int64", 0),
    ]:
        random = np.random.default_rng(inner)
        x = (
            random.standard_normal(inner).astype(dtype)
            if "float" in dtype
            else random.integers(0, 2, inner).astype(dtype)
        )
        kernel = fold_kernel((inner,), 0, (1,), inner, combine, dtype)
        check(kernel, [x, np.zeros(1, dtype)], isa, tolerance)


@every_isa
def test_nan_reaches_the_maximum(isa: Isa) -> None:
    x = floats(4, 50).reshape(4, 50)
    x[1, 0] = x[2, 49] = np.nan
    x[3, :] = -np.inf
    for rows, strides in ((1, (50, 1)), (1, (1, 4))):
        data = x if strides[0] == 50 else np.ascontiguousarray(x.T)
        for combine in ("maximum", "minimum"):
            kernel = fold_kernel((4, 50), rows, strides, 200, combine, "float32")
            check(kernel, [data.reshape(-1), np.zeros(4, np.float32)], isa)


@every_isa
@pytest.mark.parametrize("columns", [1, 5, 64, 1001, 150000])
def test_argmax_finds_the_first(columns: int, isa: Isa) -> None:
    random = np.random.default_rng(columns)
    for dtype in ("float32", "int16", "float64"):
        x = random.integers(0, 4, (6, columns)).astype(dtype)
        if dtype != "int16":
            x[1, columns // 2 :: 3] = np.nan
            x[2, :] = -np.inf
            x[3, :] = np.inf
        for combine in ("argmax", "argmin"):
            kernel = fold_kernel((6, columns), 1, (columns, 1), x.size, combine, dtype, "int64", (0, 1))
            check(kernel, [x.reshape(-1), np.zeros(6, np.int64)], isa)
            across = fold_kernel((6, columns), 1, (1, 6), x.size, combine, dtype, "int64", (0, 1))
            check(across, [np.ascontiguousarray(x.T).reshape(-1), np.zeros(6, np.int64)], isa)


@every_isa
def test_pooling_windows_with_guards(isa: Isa) -> None:
    """3x3 maximum, stride 2, padding 1, of [2, 9, 11, 20] channels last; the value outside is -inf."""
    n, h, w, c = 2, 9, 11, 20
    ho, wo = (h + 1) // 2, (w + 1) // 2
    guards = (Guard(Affine(-1, (0, 2, 0, 0, 1, 0)), h), Guard(Affine(-1, (0, 0, 2, 0, 0, 1)), w))
    index = (h * w * c, 2 * w * c, 2 * c, 1, w * c, c)
    body = (
        load(0, index, offset=-w * c - c, guards=guards),
        Instruction("inside", (), "bool", guards),
        constant(-math.inf),
        op("where", 1, 0, 2),
    )
    out = (ho * wo * c, wo * c, c, 1, 0, 0)
    stages = (
        Stage("element", body, (Fold("maximum", 3, "float32"),)),
        Stage("row", (result(0, 0),), (), (store(1, out, 0),)),
    )
    operands = (f32(n * h * w * c), f32(n * ho * wo * c, True))
    kernel = LoopKernel((n, ho, wo, c, 3, 3), 4, operands, stages)
    check(kernel, [floats(n, h, w, c) - 3, floats(n, ho, wo, c)], isa)


@every_isa
def test_pooling_rows_of_an_image(isa: Isa) -> None:
    """3x3 sums, stride 2, padding 1, of [2, 9, 41]: lanes are two elements apart, and some are outside."""
    c, h, w = 2, 9, 41
    ho, wo = (h + 1) // 2, (w + 1) // 2
    guards = (Guard(Affine(-1, (0, 2, 0, 1, 0)), h), Guard(Affine(-1, (0, 0, 2, 0, 1)), w))
    body = (load(0, (h * w, 2 * w, 2, w, 1), offset=-w - 1, guards=guards),)
    stages = (
        Stage("element", body, (Fold("add", 0, "float32"),)),
        Stage("row", (result(0, 0),), (), (store(1, (ho * wo, wo, 1, 0, 0), 0),)),
    )
    kernel = LoopKernel((c, ho, wo, 3, 3), 3, (f32(c * h * w), f32(c * ho * wo, True)), stages)
    check(kernel, [floats(c, h, w), floats(c, ho, wo)], isa, 1e-5)


@every_isa
def test_in_place_update_with_hoisted_scalars(isa: Isa) -> None:
    """A momentum step: one buffer is read and written by the same points, the rate is one element."""
    size = 1003
    body = [load(0, (1,)), load(1, (1,)), load(2, (0,)), op("multiply", 1, 2), op("subtract", 0, 3)]
    operands = [f32(size), f32(size), f32(1), f32(size, True)]
    kernel = elementwise((size,), operands, body, [store(3, (1,), 4)])
    kernel = LoopKernel(kernel.sizes, 1, kernel.operands, kernel.stages, "step", ((3, 0),))
    p, g, rate = floats(size), floats(size, seed=1), floats(1)
    expected = p - g * rate
    (step,) = render(kernel, isa).steps
    loaded = jit.load(step.kernel, isa)
    addresses = (ctypes.c_void_p * 4)(*(a.ctypes.data for a in (p, g, rate, p)))
    loaded.entry(ctypes.addressof(addresses), 0, step.kernel.tasks, None)
    assert (p == expected).all()


@every_isa
@pytest.mark.parametrize("dim", [1, 7, 64, 300])
def test_gather_of_table_rows(dim: int, isa: Isa) -> None:
    """Rows of a table by index, as an embedding does; a wrong index reads row 0 and sets the fault."""
    rows, tokens = 11, 9
    gathered = Gather(1, Affine(0, (0, 1)), (dim,), (rows,), 2, 7)
    body = [load(0, (1, 0), "int64"), Instruction("gather", (0,), "float32", gathered)]
    operands = [
        Operand("int64", tokens),
        f32(rows * dim),
        Operand("int32", 1, True),
        f32(tokens * dim, True),
    ]
    kernel = elementwise((tokens, dim), operands, body, [store(3, (dim, 1), 1)])
    table, status = floats(rows, dim), np.zeros(1, np.int32)
    for indices in ([0, 10, 3, 3, 5, 9, 1, 2, 10], [0, 11, 3, -1, 5, 9, 1, 2, 1 << 40]):
        results = run(kernel, [np.array(indices), table, status, floats(tokens, dim)], isa)
        valid = [i if 0 <= i < rows else 0 for i in indices]
        assert (results[3].reshape(tokens, dim) == table.reshape(rows, dim)[valid]).all()
        assert results[2][0] == (0 if valid == indices else 7)


@every_isa
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
@pytest.mark.parametrize("limit", [3, 200])
def test_a_checked_number_is_reported_where_its_guard_holds(dtype: str, limit: int, isa: Isa) -> None:
    size = 37
    check = Check(limit, 1, 7, (Guard(Affine(-1, (1,)), size),))
    body = [load(0, (1,), dtype), Instruction("checked", (0,), dtype, check)]
    operands = [Operand(dtype, size), Operand("int32", 1, True), Operand(dtype, size, True)]
    kernel = elementwise((size,), operands, body, [store(2, (1,), 1)])
    for place, value in ((0, 250), (1, limit - 1), (9, 250), (36, limit), (20, -1)):
        numbers = np.zeros(size, dtype)
        numbers[place] = np.asarray(value).astype(dtype)
        wrong = place > 0 and not 0 <= int(numbers[place]) < limit
        results = run(kernel, [numbers, np.zeros(1, np.int32), np.zeros(size, dtype)], isa)
        assert results[1][0] == 7 * wrong
        assert (results[2] == numbers).all()


@every_isa
def test_values_kept_between_stages(isa: Isa) -> None:
    """The exponentials of a softmax are written to scratch memory once, and not computed again."""
    (step,) = render(softmax(6, 100), isa).steps
    assert step.kernel.scratch_nbytes >= 400
    (longer,) = render(softmax(600, 30000), isa).steps
    assert longer.kernel.scratch_nbytes == 0


def test_tasks_are_the_same_for_every_thread_count() -> None:
    """Large kernels have many tasks, and long folds of few rows are cut into chunks with temporaries."""
    isa = host_isas()[0]
    n = 1 << 20
    (step,) = render(
        elementwise((n,), [f32(n), f32(n, True)], [load(0, (1,))], [store(1, (1,), 0)]), isa
    ).steps
    assert step.kernel.tasks >= 64
    lowered = render(fold_kernel((n,), 0, (1,), n, "add", "float32"), isa)
    assert [s.kernel.tasks > 8 for s in lowered.steps] == [True, False]
    assert len(lowered.temporaries) == 2


def test_large_folds_of_columns_go_through_memory_once() -> None:
    """However many columns there are: each chunk of rows is read whole, and what follows the fold is a kernel
    of its own.
    """
    isa = host_isas()[0]
    columns = fold_kernel((40000, 16), 1, (1, 40000), 640000, "add", "float32")
    assert len(render(columns, isa).steps) == 2
    lines = fold_kernel((40000, 16), 1, (16, 1), 640000, "add", "float32")
    assert len(render(lines, isa).steps) == 1


# -- random kernels


@st.composite
def kernels(draw: st.DrawFn) -> tuple[LoopKernel, list[np.ndarray]]:
    """Random sizes, strides, guards, dtypes, bodies and folds; exact whole numbers, so that any order of
    sums is right.
    """
    axes = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.sampled_from([0, 1, 1, 2, 3, 5, 8, 17, 33, 64]), min_size=axes, max_size=axes))
    if math.prod(sizes) > 40000:
        sizes = [min(size, 8) for size in sizes]
    rows = draw(st.integers(0, axes))
    dtype = draw(
        st.sampled_from(["float32", "float32", "float64", "int32", "int8", "uint16", "bfloat16", "float16"])
    )
    random = np.random.default_rng(draw(st.integers(0, 99)))
    operands: list[Operand] = []
    arrays: list[np.ndarray] = []

    def operand(size: int, written: bool, dtype: str) -> int:
        operands.append(Operand(dtype, size, written))
        arrays.append(random.integers(0, 4, size).astype(dtype))
        return len(operands) - 1

    def extent(affine: Affine, over: Sequence[int]) -> tuple[int, int]:
        ends = [stride * max(size - 1, 0) for stride, size in zip(affine.strides, over, strict=True)]
        return affine.offset + sum(min(e, 0) for e in ends), affine.offset + sum(max(e, 0) for e in ends)

    def dense(order: Sequence[int], over: Sequence[int]) -> Affine:
        strides, step = [0] * axes, 1
        for axis in reversed(order):
            strides[axis] = step
            step *= max(over[axis], 1)
        return Affine(0, tuple(strides))

    def any_load() -> Instruction:
        kind = draw(st.sampled_from(["dense", "permuted", "strides", "guarded"]))
        if kind in ("dense", "permuted"):
            order = list(range(axes)) if kind == "dense" else draw(st.permutations(range(axes)))
            affine = dense(order, sizes)
            return load(operand(math.prod(sizes), False, dtype), affine.strides, dtype)
        strides = tuple(draw(st.integers(-3, 3)) for _ in range(axes))
        low, high = extent(Affine(0, strides), sizes)
        guards: list[Guard] = []
        if kind == "guarded":
            index = Affine(draw(st.integers(-3, 3)), tuple(draw(st.integers(-1, 1)) for _ in range(axes)))
            guards = [Guard(index, draw(st.integers(1, 12)))]
            if draw(st.booleans()):
                # The operand holds only what lies inside.
                size = draw(st.integers(0, 20))
                whole = Affine(draw(st.integers(-3, 3)), strides)
                guards.append(Guard(whole, size))
                return load(operand(size, False, dtype), strides, dtype, whole.offset, tuple(guards))
        return load(operand(high - low + 1, False, dtype), strides, dtype, -low, tuple(guards))

    def body(stage: int, inner: bool) -> list[Instruction]:
        instructions: list[Instruction] = []
        if inner or rows == axes:
            instructions += [any_load() for _ in range(draw(st.integers(1, 3)))]
        for earlier, folds in enumerate(folded):
            instructions += [result(earlier, i, d) for i, d in enumerate(folds) if d == dtype]
        if not instructions:
            instructions.append(constant(3, dtype))
        for _ in range(draw(st.integers(0, 4))):
            pick = st.integers(0, len(instructions) - 1)
            name = draw(st.sampled_from(["add", "maximum", "minimum", "where", "subtract"]))
            if name == "where":
                index = Affine(
                    draw(st.integers(-2, 2)),
                    tuple(draw(st.integers(0, 1)) for _ in range(rows)) + (0,) * (axes - rows),
                )
                instructions.append(
                    Instruction("inside", (), "bool", (Guard(index, draw(st.integers(1, 9))),))
                )
                values = [i for i, made in enumerate(instructions) if made.dtype == dtype]
                chosen = (draw(st.sampled_from(values)), draw(st.sampled_from(values)))
                instructions.append(op("where", len(instructions) - 1, *chosen, dtype=dtype))
            else:
                a, b = draw(pick), draw(pick)
                if instructions[a].dtype == instructions[b].dtype == dtype:
                    instructions.append(op(name, a, b, dtype=dtype))
        return instructions

    def stores(instructions: list[Instruction], inner: bool) -> tuple[Store, ...]:
        value = len(instructions) - 1
        over = [size if inner or axis < rows else 1 for axis, size in enumerate(sizes)]
        used = [axis for axis in range(axes) if inner or axis < rows]
        affine = dense(draw(st.permutations(used)), over)
        guards: tuple[Guard, ...] = ()
        if draw(st.integers(0, 3)) == 0:
            guards = (Guard(Affine(-1, tuple(int(axis in used) for axis in range(axes))), 9),)
        target = operand(math.prod(over), True, dtype)
        return (store(target, affine.strides, value, 0, guards),)

    folded: list[list[str]] = []
    stages: list[Stage] = []
    if rows == axes:
        instructions = body(0, False)
        stages.append(Stage("row", tuple(instructions), (), stores(instructions, False)))
    else:
        for number in range(draw(st.integers(1, 3))):
            instructions = body(number, True)
            last = len(instructions) - 1
            combine = draw(st.sampled_from(["add", "maximum", "minimum", "argmax", "argmin"]))
            if combine.startswith("arg"):
                if math.prod(sizes) == 0:
                    combine = "add"
                else:
                    position = dense(range(rows, axes), sizes)
                    instructions.append(Instruction("index", (), "int64", position))
            arg = combine.startswith("arg")
            fold = Fold(combine, last, "int64" if arg else dtype, len(instructions) - 1 if arg else None)
            if combine in ("maximum", "minimum") and math.prod(sizes[rows:]) == 0:
                fold = Fold("add", last, dtype)
            plain = [*instructions[: last + 1]]
            written = stores(plain, True) if draw(st.integers(0, 2)) == 0 else ()
            stages.append(Stage("element", tuple(instructions), (fold,), written))
            folded.append([fold.dtype])
        final = [result(number, 0, folds[0]) for number, folds in enumerate(folded)]
        targets = [operand(max(math.prod(sizes[:rows]), 0), True, r.dtype) for r in final]
        over = [size if axis < rows else 1 for axis, size in enumerate(sizes)]
        strides = dense(range(rows), over).strides
        stages.append(
            Stage("row", tuple(final), (), tuple(store(t, strides, i) for i, t in enumerate(targets)))
        )
    return LoopKernel(tuple(sizes), rows, tuple(operands), tuple(stages)), arrays


@settings(max_examples=60)
@given(case=kernels(), seed=st.integers(0, 3), task_nbytes=st.sampled_from([200, loops.TASK_NBYTES]))
def test_random_kernels(case: tuple[LoopKernel, list[np.ndarray]], seed: int, task_nbytes: int) -> None:
    """Small tasks make many of them, and cut folds in chunks."""
    kernel, arrays = case
    tolerance = 2e-2 if kernel.operands[-1].dtype in ("bfloat16", "float16") else 1e-5
    with mock.patch.multiple(loops, TASK_NBYTES=task_nbytes, LARGE_NBYTES=4 * task_nbytes):
        for isa in host_isas():
            check(kernel, arrays, isa, tolerance, seed)
