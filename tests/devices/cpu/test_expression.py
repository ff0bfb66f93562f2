"""Every elementwise op, for every dtype it is rendered for, on each instruction set of this machine, against
NumPy.
"""

from __future__ import annotations

import guard
import ml_dtypes
import numpy as np
import pytest

from treadle.compiler.interpret import interpret
from treadle.compiler.kernel import (
    Access,
    Affine,
    Gather,
    Guard,
    Instruction,
    LoopKernel,
    Operand,
    Stage,
    Store,
)
from treadle.devices.cpu.expression import Site, Unsupported, module_for, render_body, render_store, supported
from treadle.devices.cpu.loops import render
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import Isa, host_isas

FLOATS = ["float16", "bfloat16", "float32", "float64"]
SIGNED = ["int8", "int16", "int32", "int64"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
DTYPES = ["bool", *SIGNED, *UNSIGNED, *FLOATS]
PREDICATES = """
    equal not_equal less less_equal greater greater_equal isnan isinf isfinite signbit
    logical_and logical_or logical_xor logical_not
""".split()  # noqa: SIM905
UNARY = """
    abs negative positive sign square sqrt reciprocal rsqrt exp expm1 log log1p log2 log10 sin cos tan asin
    acos atan sinh cosh tanh asinh acosh atanh sigmoid erf erfinv floor ceil trunc round isnan isinf isfinite
    signbit logical_not bitwise_invert
""".split()  # noqa: SIM905
BINARY = """
    add subtract multiply divide floor_divide remainder logaddexp atan2 pow hypot copysign nextafter maximum
    minimum equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor
    bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift
""".split()  # noqa: SIM905
APPROXIMATE = {
    "exp": 2, "expm1": 3, "log": 2, "log1p": 3, "log2": 2, "log10": 3, "logaddexp": 4, "sin": 2, "cos": 2,
    "tan": 4, "asin": 3, "acos": 3, "atan": 3, "atan2": 4, "sinh": 4, "cosh": 4, "tanh": 4, "asinh": 4,
    "acosh": 4, "atanh": 4, "sigmoid": 4, "erf": 4, "erfinv": 400, "pow": 4, "hypot": 2, "rsqrt": 1,
}  # fmt: skip
"""Ops that are not exact, and how many units in the last place they may be off."""


def samples(dtype: str, count: int, seed: int) -> np.ndarray:
    """Values of every kind: special ones, small whole ones, and random ones of all magnitudes."""
    random = np.random.default_rng(seed)
    if dtype == "bool":
        return random.integers(0, 2, count).astype(bool)
    if dtype in FLOATS:
        special = [
            0.0,
            -0.0,
            1,
            -1,
            0.5,
            1.5,
            2.5,
            -2.5,
            3,
            -7,
            np.inf,
            -np.inf,
            np.nan,
            1e-40,
            6e-8,
            -1e-5,
            6e4,
        ]
        spread = random.standard_normal(count) * 10.0 ** random.integers(-6, 5, count)
        values = np.where(random.random(count) < 0.4, random.choice(special, count), spread)
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    special = [0, 1, 2, 3, 7, limits.max, limits.min, limits.max - 1] + ([-1, -2, -3] if limits.min else [])
    anything = random.integers(limits.min, limits.max, count, dtype, endpoint=True)
    return np.where(random.random(count) < 0.5, random.choice(np.array(special, dtype), count), anything)


def row_kernel(
    body: list[Instruction], operands: list[Operand], stored: list[tuple[int, int]], size: int
) -> LoopKernel:
    """An elementwise kernel over one axis; `stored` are pairs (operand, instruction)."""
    stores = tuple(Store(Access(operand, Affine(0, (1,))), value) for operand, value in stored)
    return LoopKernel((size,), 1, tuple(operands), (Stage("row", tuple(body), (), stores),))


def load(operand: int, dtype: str) -> Instruction:
    return Instruction("load", (), dtype, Access(operand, Affine(0, (1,))))


def run(kernel: LoopKernel, arrays: list[np.ndarray], isa: Isa) -> list[np.ndarray]:
    """The arrays after the rendered kernel has run, between guard pages."""
    arrays = [array.copy() for array in arrays]
    for step in render(kernel, isa).steps:
        guard.run_kernel(step.kernel, [arrays[i] for _, i in step.operands], isa)
    return arrays


def assert_close(actual: np.ndarray, expected: np.ndarray, ulps: float, what: str) -> None:
    """Equal bit for bit (but for which NaN), or within units in the last place."""
    if actual.dtype.name in FLOATS:
        nan = np.isnan(expected.astype(np.float64))
        assert (np.isnan(actual.astype(np.float64)) == nan).all(), what
        if ulps == 0:
            unsigned = f"u{actual.dtype.itemsize}"
            wrong = (actual.view(unsigned) != expected.view(unsigned)) & ~nan
        else:
            a, e = actual.astype(np.float64), expected.astype(np.float64)
            finite = np.isfinite(e)
            with np.errstate(all="ignore"):
                step = np.abs(np.spacing(np.where(finite, expected, 0).astype(expected.dtype))).astype(
                    np.float64
                )
                far = np.abs(a - e) > ulps * step
            wrong = np.where(finite, far, a != e) & ~nan
    else:
        wrong = actual != expected
    assert not wrong.any(), f"{what}: {actual[wrong][:5]} for {expected[wrong][:5]}"


def expected_dtype(op: str, dtype: str) -> str:
    return "bool" if op in PREDICATES else dtype


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ops_give_numpys_values(dtype: str, isa: Isa) -> None:
    """All ops of a dtype in a few kernels: each op is stored to its own operand."""
    size = 203
    x, y = samples(dtype, size, 1), samples(dtype, size, 2)
    table = [(op, 1) for op in UNARY] + [(op, 2) for op in BINARY]
    rows = [(op, arity) for op, arity in table if supported(op, (dtype,) * arity)]
    assert ("add", 2) in rows and ("equal", 2) in rows
    for first in range(0, len(rows), 12):
        chunk = rows[first : first + 12]
        body = [load(0, dtype), load(1, dtype)]
        operands = [Operand(dtype, size), Operand(dtype, size)]
        arrays, stored = [x, y], []
        for op, arity in chunk:
            body.append(Instruction(op, (0, 1)[:arity], expected_dtype(op, dtype)))
            stored.append((len(operands), len(body) - 1))
            operands.append(Operand(expected_dtype(op, dtype), size, True))
            arrays.append(np.zeros(size, expected_dtype(op, dtype)))
        kernel = row_kernel(body, operands, stored, size)
        expected = [array.copy() for array in arrays]
        interpret(kernel, expected)
        actual = run(kernel, arrays, isa)
        for (op, _), a, e in zip(chunk, actual[2:], expected[2:], strict=True):
            narrow = 1 if dtype in ("float16", "bfloat16") else APPROXIMATE.get(op, 0)
            assert_close(a, e, min(narrow, APPROXIMATE.get(op, 0)), f"{op} of {dtype} on {isa.name}")


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_casts_between_all_dtypes(isa: Isa) -> None:
    size = 117
    for source in DTYPES:
        x = samples(source, size, 3)
        body, operands, arrays, stored = [load(0, source)], [Operand(source, size)], [x], []
        for target in DTYPES:
            body.append(Instruction("cast", (0,), target))
            stored.append((len(operands), len(body) - 1))
            operands.append(Operand(target, size, True))
            arrays.append(np.zeros(size, target))
        kernel = row_kernel(body, operands, stored, size)
        expected = [array.copy() for array in arrays]
        interpret(kernel, expected)
        for target, a, e in zip(DTYPES, run(kernel, arrays, isa)[1:], expected[1:], strict=True):
            assert_close(a, e, 0, f"{source} to {target} on {isa.name}")


def test_casts_agree_with_astype_where_astype_is_defined() -> None:
    values = np.array([0.0, -0.0, 1.5, -1.5, 100.9, -100.9, np.nan, np.inf])
    body = [
        load(0, "float64"),
        *(Instruction("cast", (0,), d) for d in ("int8", "float16", "bfloat16", "bool")),
    ]
    targets = ["int8", "float16", "bfloat16", "bool"]
    operands = [Operand("float64", 8), *(Operand(d, 8, True) for d in targets)]
    kernel = row_kernel(body, operands, [(i + 1, i + 1) for i in range(4)], 8)
    results = run(kernel, [values, *(np.zeros(8, d) for d in targets)], host_isas()[0])
    assert (results[1][:6] == values[:6].astype(np.int8)).all()
    assert results[2].tobytes() == values.astype(np.float16).tobytes()
    assert (results[3][:6] == values[:6].astype(ml_dtypes.bfloat16)).all()
    assert (results[4] == values.astype(bool)).all()


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_where_index_inside_random_and_gather(isa: Isa) -> None:
    size, table = 77, 30
    random = np.random.default_rng(0)
    body = [
        load(0, "float32"),
        Instruction("inside", (), "bool", (Guard(Affine(-5, (1,)), 60),)),
        Instruction("constant", (), "float32", float("-inf")),
        Instruction("where", (1, 0, 2), "float32"),
        Instruction("index", (), "int32", Affine(7, (-3,))),
        Instruction("constant", (), "uint32", 0xDEADBEEF),
        Instruction("constant", (), "uint32", 0x12345678),
        Instruction("index", (), "uint64", Affine((1 << 33) - 4, (1,))),
        Instruction("random", (5, 6, 7), "uint32", (0,)),
        Instruction("random", (5, 6, 7), "uint32", (1,)),
        load(1, "int32"),
        Instruction("gather", (10,), "float32", Gather(2, Affine(1, (0,)), (2,), (table // 2,), 3, 42)),
        Instruction("load", (), "float32", Access(0, Affine(-9, (1,)), (Guard(Affine(-9, (1,)), size),))),
        Instruction("load", (), "float32", Access(0, Affine(size - 1, (-1,)))),
        Instruction("load", (), "float32", Access(4, Affine(0, (3,)))),
    ]
    arrays = [
        random.standard_normal(size).astype("float32"),
        random.integers(0, table // 2, size).astype("int32"),
        random.standard_normal(table).astype("float32"),
        np.zeros(1, "int32"),
        random.standard_normal(3 * size - 2).astype("float32"),
    ]
    operands = [Operand(a.dtype.name, a.size, i == 3) for i, a in enumerate(arrays)]
    stored = []
    for value in (3, 4, 8, 9, 11, 12, 13, 14):
        stored.append((len(operands), value))
        operands.append(Operand(body[value].dtype, size, True))
        arrays.append(np.zeros(size, body[value].dtype))
    kernel = row_kernel(body, operands, stored, size)
    for wrong in (False, True):
        if wrong:
            arrays[1][[3, 76]] = [-1, table // 2]
        expected = [array.copy() for array in arrays]
        interpret(kernel, expected)
        actual = run(kernel, arrays, isa)
        assert actual[3][0] == expected[3][0] == (42 if wrong else 0)
        for i in range(5, len(arrays)):
            if not (wrong and i == 9):
                assert actual[i].tobytes() == expected[i].tobytes(), (isa.name, i)


def test_threefry_known_answers() -> None:
    """The vectors that come with the authors' Random123: zeros, ones, and digits of pi."""
    cases = [
        (0, 0, 0, (0x6B200159, 0x99BA4EFE)),
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, (0x1CB996FC, 0xBB002BE7)),
        (0x13198A2E, 0x03707344, 0x243F6A8885A308D3, (0xC4923A9C, 0x483DF7A0)),
    ]
    for key0, key1, counter, words in cases:
        body = [
            Instruction("constant", (), "uint32", key0),
            Instruction("constant", (), "uint32", key1),
            Instruction("constant", (), "uint64", counter),
            Instruction("random", (0, 1, 2), "uint32", (0,)),
            Instruction("random", (0, 1, 2), "uint32", (1,)),
        ]
        kernel = row_kernel(body, [Operand("uint32", 1, True)] * 2, [(0, 3), (1, 4)], 1)
        first, second = run(kernel, [np.zeros(1, "uint32")] * 2, host_isas()[0])
        assert (first[0], second[0]) == words


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_epilogue_of_an_accumulator(isa: Isa) -> None:
    """``relu(accumulator + bias)`` at a fixed place, as a contraction's generator asks for it."""
    lanes = isa.lanes()
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    operands = [Operand("float32", lanes), Operand("float32", 3), Operand("bfloat16", 3 * lanes, True)]
    pointers = [f.load("ptr", f.at(f.arguments[0], 8 * i)) for i in range(3)]
    body = [
        Instruction("accumulator", (), "float32"),
        Instruction("load", (), "float32", Access(0, Affine(0, (0, 1)))),
        Instruction("load", (), "float32", Access(1, Affine(0, (1, 0)))),
        Instruction("add", (0, 1), "float32"),
        Instruction("multiply", (3, 2), "float32"),
        Instruction("constant", (), "float32", 0),
        Instruction("maximum", (4, 5), "float32"),
        Instruction("cast", (6,), "bfloat16"),
    ]

    def row(m) -> None:
        accumulator = f.load(f"<{lanes} x float>", pointers[0])
        site = Site(f, isa, operands, pointers, (m, 0), lanes, accumulator=accumulator)
        values = render_body(site, body)
        render_store(site, body, Store(Access(2, Affine(0, (lanes, 1))), 7), values)

    f.loop(0, 3, row)
    f.ret()
    bias = np.linspace(-2, 2, lanes, dtype=np.float32)
    scale, out = np.array([1, -0.3, 7], np.float32), np.zeros(3 * lanes, ml_dtypes.bfloat16)
    guard.run_kernel(NativeKernel(module.text(), "epilogue", 1), [bias, scale, out], isa)
    expected = np.maximum((bias + bias) * scale[:, None], np.float32(0)).astype(ml_dtypes.bfloat16)
    assert (out == expected.reshape(-1)).all()


def test_what_is_not_rendered_says_so() -> None:
    assert not supported("add", ("complex64", "complex64"))
    assert not supported("sqrt", ("int32",))
    assert not supported("no_such_op", ("float32",))
    assert supported("cast", ("float32", "int8"))
    assert supported("logical_and", ("float32", "int8"))
    kernel = row_kernel(
        [load(0, "int8"), Instruction("sqrt", (0,), "int8")], [Operand("int8", 4, True)], [(0, 1)], 4
    )
    with pytest.raises(Unsupported, match="sqrt of int8"):
        render(kernel, host_isas()[0])
