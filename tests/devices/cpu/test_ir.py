"""The IR builder: what it writes, run at every width of this machine."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from guard import run_kernel

from treadle.devices.cpu import ir
from treadle.devices.cpu.ir import Function, Value, vector
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import Isa, host_isas

NAN, INFINITY = float("nan"), float("inf")
FLOATS = {"half": np.float16, "bfloat": ml_dtypes.bfloat16, "float": np.float32, "double": np.float64}
INTEGERS = {"i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64}

every_width = pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)


def run(write, *arrays: np.ndarray, isa: Isa | None = None) -> None:
    """Run the body that `write(f, *pointers)` writes, once, on the arrays."""
    isa = isa or host_isas()[0]
    module = ir.Module(isa.attributes)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    write(f, *(f.load("ptr", f.at(f.arguments[0], 8 * i), 8) for i in range(len(arrays))))
    f.ret()
    run_kernel(NativeKernel(module.text(), "test", 1), list(arrays), isa)


def bits(array: np.ndarray) -> np.ndarray:
    """The bits of floats, every NaN the same."""
    whole = np.where(np.isnan(array), array.dtype.type(NAN), array)
    return whole.view(f"u{array.dtype.itemsize}")


# -- types and literals


def test_types():
    assert vector("float", 16) == "<16 x float>"
    assert vector("i1", 1) == "i1"
    for type in ("<16 x float>", "<2 x i1>", "double"):
        assert vector(ir.scalar_of(type), ir.lanes_of(type)) == type
    assert [ir.mangle(t) for t in ("<8 x bfloat>", "half", "ptr", "<4 x i32>", "double")] == [
        "v8bf16", "f16", "p0", "v4i32", "f64",
    ]  # fmt: skip


SPECIAL = [0.0, -0.0, 1.0, -2.5, 1 / 3, 0.1, 1e-3, 65504.0, NAN, INFINITY, -INFINITY]
SMALL = {
    "half": [6e-8, 6.1e-5, 2e-8],
    "bfloat": [1e-40, 1e-38],
    "float": [1e-45, 1e-40, 1.17e-38],
    "double": [5e-324, 1e-310],
}


@pytest.mark.parametrize("type", FLOATS)
def test_float_literals_are_exact(type):
    dtype = FLOATS[type]
    values = SPECIAL + SMALL[type] + ([3.4e38, 1e38] if type != "half" else [])
    expected = np.array(values).astype(dtype)
    stored, table = np.zeros(len(values), dtype), np.zeros(len(values), dtype)
    itemsize = stored.itemsize

    def write(f: Function, stored: Value, table: Value) -> None:
        constants = f.module.table(type, values)
        for i, value in enumerate(values):
            f.store(f.constant(type, value), f.at(stored, itemsize * i))
        f.loop(0, len(values), lambda i: f.store(
            f.load(type, f.at(constants, f.mul(i, itemsize))), f.at(table, f.mul(i, itemsize))
        ))  # fmt: skip

    run(write, stored, table)
    np.testing.assert_array_equal(bits(stored), bits(expected))
    np.testing.assert_array_equal(bits(table), bits(expected))


def test_a_literal_beyond_the_type_is_infinite():
    out = np.zeros(4, np.float32)
    narrow = np.zeros(4, np.float16)

    def write(f: Function, out: Value, narrow: Value) -> None:
        f.store(f.constants("<4 x float>", [1e39, -1e39, 3.4028235e38, 3.4028236e38]), out)
        f.store(f.constants("<4 x half>", [1e39, -7e4, 65504, 65519]), narrow)

    run(write, out, narrow)
    np.testing.assert_array_equal(narrow, np.array([INFINITY, -INFINITY, 65504, 65504], np.float16))
    np.testing.assert_array_equal(out, np.array([INFINITY, -INFINITY, 3.4028235e38, INFINITY], np.float32))


@pytest.mark.parametrize("type", INTEGERS)
def test_integer_literals(type):
    limits = np.iinfo(INTEGERS[type])
    values = [0, 1, -1, limits.min, limits.max]
    out = np.zeros(len(values), INTEGERS[type])

    def write(f: Function, out: Value) -> None:
        for i, value in enumerate(values):
            f.store(f.constant(type, value), f.at(out, out_nbytes * i))

    out_nbytes = out.itemsize
    run(write, out)
    np.testing.assert_array_equal(out, np.array(values, INTEGERS[type]))


CONVERTING = [isa for isa in host_isas() if "f16c" in isa.features or isa.name == "neon"]


@pytest.mark.parametrize("isa", CONVERTING, ids=lambda isa: isa.name)
def test_halves_convert_as_numpy_does(isa):
    wide = np.array(
        [0, -0.0, 1, 1 + 2**-11, 1 + 3 * 2**-11, 1 / 3, 1e-7, 6e-8, 1e5, -1e30, INFINITY, NAN], np.float32
    )
    wide = np.resize(wide, 4 * isa.lanes())
    narrowed, widened = np.zeros(len(wide), np.float16), np.zeros(len(wide), np.float32)

    def write(f: Function, wide: Value, narrowed: Value, widened: Value) -> None:
        lanes = isa.lanes()
        for i in range(4):
            x = f.load(vector("float", lanes), f.at(wide, 4 * lanes * i))
            y = f.cast("fptrunc", x, vector("half", lanes))
            f.store(y, f.at(narrowed, 2 * lanes * i))
            f.store(f.cast("fpext", y, vector("float", lanes)), f.at(widened, 4 * lanes * i))

    run(write, wide, narrowed, widened, isa=isa)
    with np.errstate(over="ignore"):
        expected = wide.astype(np.float16)
    np.testing.assert_array_equal(bits(narrowed), bits(expected))
    np.testing.assert_array_equal(bits(widened), bits(expected.astype(np.float32)))


# -- loops


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (5, 4), (2, 3), (0, 10), (3, 17)])
@pytest.mark.parametrize("known", ["both", "start", "stop", "neither"])
def test_loops_are_pythons_ranges(start, stop, step, known):
    limits = np.array([start, stop], np.int64)
    out = np.zeros(4, np.int64)

    def write(f: Function, limits: Value, out: Value) -> None:
        first = start if known in ("both", "start") else f.load("i64", limits)
        last = stop if known in ("both", "stop") else f.load("i64", f.at(limits, 8))

        def body(i, count, total, weighted):
            count, total = f.add(count, 1), f.add(total, i)
            return [f.i64(count), f.i64(total), f.i64(f.add(weighted, f.mul(count, i)))]

        zero = f.constant("i64", 0)
        for k, value in enumerate(f.loop(first, last, body, [zero, zero, zero], step)):
            f.store(value, f.at(out, 8 * k))

    run(write, limits, out)
    numbers = range(start, stop, step)
    assert list(out[:3]) == [len(numbers), sum(numbers), sum((k + 1) * i for k, i in enumerate(numbers))]


def test_short_known_loops_are_not_written_as_loops():
    module = ir.Module()
    f = module.function("kernel", ["ptr"])
    seen = []
    f.loop(4, 5, seen.append)
    f.loop(7, 7, seen.append)
    assert seen == [4] and f.lines == []


def test_carried_values_keep_their_types_and_may_swap():
    out = np.zeros(3)

    def write(f: Function, out: Value) -> None:
        one, two, count = f.constant("double", 1), f.constant("double", 2), f.constant("i32", 5)
        a, b, count = f.loop(
            0, 7, lambda i, a, b, n: [b, a, f.op("add", n, f.constant("i32", 1))], [one, two, count]
        )
        for k, value in enumerate((a, b, f.cast("sitofp", count, "double"))):
            f.store(value, f.at(out, 8 * k))

    run(write, out)
    assert list(out) == [2, 1, 12]
    f = ir.Module().function("wrong", ["ptr"])
    with pytest.raises(AssertionError, match="carries"):
        f.loop(0, 3, lambda i, x: [i], [f.constant("double", 0)])


def test_nested_loops_with_branches():
    limit = np.array([5], np.int64)
    out = np.zeros(1, np.int64)

    def write(f: Function, limit: Value, out: Value) -> None:
        n = f.load("i64", limit)

        def inner(j, total):
            return [f.op("add", total, j)]

        def outer(i, total):
            with f.when(f.compare("icmp eq", i, f.constant("i64", 3))):
                f.store(f.op("add", f.load("i64", out), f.constant("i64", 1000)), out)
            return f.loop(i, n, inner, [total])

        (total,) = f.loop(0, n, outer, [f.constant("i64", 0)])
        f.store(f.op("add", f.load("i64", out), total), out)

    run(write, limit, out)
    assert out[0] == 1000 + sum(j for i in range(5) for j in range(i, 5))


def test_do_while_runs_at_least_once():
    out = np.zeros(2, np.int64)

    def write(f: Function, out: Value) -> None:
        def halve(x, turns):
            x, turns = f.op("lshr", x, f.constant("i64", 1)), f.op("add", turns, f.constant("i64", 1))
            return f.compare("icmp sgt", x, f.constant("i64", 0)), [x, turns]

        for k, start in enumerate((0, 1000)):
            _, turns = f.do_while(halve, [f.constant("i64", start), f.constant("i64", 0)])
            f.store(turns, f.at(out, 8 * k))

    run(write, out)
    assert list(out) == [1, 10]


# -- indices


def test_indices_fold_and_agree_when_they_do_not():
    given = np.array([17, 5], np.int64)
    out = np.zeros(12, np.int64)

    def results(f: Function, a, b) -> list:
        quotient, remainder = f.divmod(a, 6)
        return [f.add(a, b), f.sub(a, b), f.mul(a, b), quotient, remainder, f.min(a, b)]

    def write(f: Function, given: Value, out: Value) -> None:
        folded = results(f, 17, 5)
        assert folded == [22, 12, 85, 2, 5, 5]
        loaded = results(f, f.load("i64", given), f.load("i64", f.at(given, 8)))
        for k, value in enumerate([*folded, *loaded]):
            f.store(f.i64(value), f.at(out, 8 * k))

    run(write, given, out)
    assert list(out[:6]) == list(out[6:])


def test_neutral_operands_write_nothing():
    f = ir.Module().function("kernel", ["ptr", "i64"])
    pointer, i = f.arguments
    assert f.add(i, 0) is i and f.add(0, i) is i and f.sub(i, 0) is i
    assert f.mul(i, 1) is i and f.mul(1, i) is i and f.mul(i, 0) == 0 and f.mul(0, i) == 0
    assert f.divmod(i, 1) == (i, 0) and f.at(pointer, 0) is pointer
    assert f.lines == []


# -- vectors


@every_width
@pytest.mark.parametrize("type", ["float", "double", "i32", "i64"])
def test_masks_touch_only_their_lanes(isa, type):
    """The arrays are no longer than the active lanes: the lanes beyond lie in the guard page."""
    dtype = np.dtype((FLOATS | INTEGERS)[type])
    lanes = isa.lanes(dtype.itemsize)
    for active in range(lanes + 1):
        for known in (True, False):
            x = np.arange(1, active + 1).astype(dtype)
            y, spread = np.zeros(active, dtype), np.full(lanes, 7, dtype)
            count = np.array([active], np.int64)

            def write(f: Function, x, y, spread, count, active=active, known=known):
                mask = f.tail_mask(lanes, active if known else f.load("i64", count))
                loaded = f.masked_load(vector(type, lanes), x, mask)
                f.masked_store(loaded, y, mask)
                f.store(loaded, spread)

            run(write, x, y, spread, count, isa=isa)
            np.testing.assert_array_equal(y, x)
            np.testing.assert_array_equal(spread, np.pad(x, (0, lanes - active)))


@every_width
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
def test_fold_lanes_is_a_tree_of_halves(isa, lanes):
    x = np.random.default_rng(lanes).uniform(-1, 1, lanes).astype(np.float32)
    out = np.zeros(2, np.float32)

    def write(f: Function, x: Value, out: Value) -> None:
        value = f.load(vector("float", lanes), x)
        f.store(f.fold_lanes(value, lambda a, b: f.op("fadd", a, b)), out)
        f.store(f.fold_lanes(value, lambda a, b: f.intrinsic("maximum", a, b)), f.at(out, 4))

    run(write, x, out, isa=isa)
    tree = x.copy()
    while len(tree) > 1:
        tree = tree[: len(tree) // 2] + tree[len(tree) // 2 :]
    assert out[0] == tree[0] and out[1] == x.max()


@every_width
def test_vector_instructions(isa):
    lanes = isa.lanes()
    x = np.random.default_rng(0).uniform(-4, 4, lanes).astype(np.float32)
    scalar = np.array([1.5], np.float32)
    out = np.zeros((9, lanes), np.float32)
    type = vector("float", lanes)

    def write(f: Function, x: Value, scalar: Value, out: Value) -> None:
        v, s = f.load(type, x), f.load("float", scalar)
        iota = f.constants(type, range(lanes))
        positive = f.compare("fcmp ogt", v, f.constant(type, 0))
        rows = [
            f.splat(s, lanes),
            f.broadcast("float", scalar, lanes),
            f.shuffle(v, iota, [*range(0, 2 * lanes, 2)]),
            f.select(positive, v, iota),
            f.fneg(v),
            f.fma(v, v, iota),
            f.intrinsic("fabs", v),
            f.splat(f.extract(v, lanes - 1), lanes),
            f.cast("sitofp", f.cast("fptosi", v, vector("i32", lanes)), type),
        ]
        for k, row in enumerate(rows):
            f.store(row, f.at(out, 4 * lanes * k))
        f.prefetch(x)
        assert f.cast("bitcast", v, type) is v

    run(write, x, scalar, out, isa=isa)
    iota = np.arange(lanes, dtype=np.float32)
    expected = [
        np.full(lanes, 1.5),
        np.full(lanes, 1.5),
        np.concatenate([x, iota])[::2],
        np.where(x > 0, x, iota),
        -x,
        (x.astype(np.float64) * x + iota).astype(np.float32),
        np.abs(x),
        np.full(lanes, x[-1]),
        np.trunc(x),
    ]
    np.testing.assert_array_equal(out, np.array(expected, np.float32))


# -- modules


def test_functions_call_each_other_and_declare_what_is_elsewhere():
    out = np.zeros(2)

    def write(f: Function, out: Value) -> None:
        square = f.module.function("square", ["double"], result="double", internal=True)
        square.ret(square.op("fmul", square.arguments[0], square.arguments[0]))
        f.store(f.call("double", "square", f.constant("double", 3)), out)
        f.store(f.call("double", "fmin", f.constant("double", 3), f.constant("double", 2)), f.at(out, 8))
        assert list(f.module.declarations) == ["fmin"]

    run(write, out)
    assert list(out) == [9, 2]


def test_noalias_and_attributes_are_written():
    module = ir.Module("nounwind willreturn")
    f = module.function("kernel", ["ptr", "i64"], noalias=True, attributes="noinline")
    f.ret()
    assert "define void @kernel(ptr noalias %a0, i64 %a1) noinline #0 {" in module.text()
    assert "attributes #0 = { nounwind willreturn }" in module.text()
