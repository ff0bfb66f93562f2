"""The mathematical functions on every instruction set, against float64: errors, special values, any number
of lanes.
"""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

from treadle.devices.cpu import jit
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import lanes_of, vector
from treadle.devices.cpu.math import EXACT, FLOAT32, FLOAT64
from treadle.devices.cpu.target import ISAS, host_isas

INF, NAN = math.inf, math.nan
BINARY = {
    "pow": np.power,
    "atan2": np.arctan2,
    "hypot": np.hypot,
    "logaddexp": np.logaddexp,
    "copysign": np.copysign,
}
ISA_NAMES = [isa.name for isa in host_isas()]
LIMIT_ULP = 2.0


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


UNARY = {
    **{
        name: getattr(np, name)
        for name in (
            "exp",
            "exp2",
            "expm1",
            "log",
            "log1p",
            "log2",
            "log10",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
        )
    },
    **{"a" + name: getattr(np, "arc" + name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: getattr(np, name) for name in ("sqrt", "floor", "ceil", "trunc", "abs")},
    "round": np.rint,
    "sigmoid": sigmoid,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}
REFERENCES = {**UNARY, **BINARY}


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


def apply(name, isa, *arrays, lanes=None):
    """A function of the tables over arrays of float32 or float64, padded to whole vectors."""
    dtype = arrays[0].dtype
    scalar, table = {"f": ("float", FLOAT32), "d": ("double", FLOAT64)}[dtype.char]
    lanes = lanes or isa.lanes(dtype.itemsize)
    module = module_for(isa)
    f = module.function("map", ["ptr"] * (len(arrays) + 1) + ["i64"])
    *inputs, output, count = f.arguments

    def body(i):
        offset = f.mul(i, dtype.itemsize)
        values = [f.load(vector(scalar, lanes), f.at(pointer, offset)) for pointer in inputs]
        result = table[name](f, *values)
        assert lanes_of(result.type) == lanes
        f.store(result, f.at(output, offset))

    f.loop(0, count, body, step=lanes)
    f.ret()
    library = jit.load_module(module.text(), ("map",), isa)
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(arrays) + 1), ctypes.c_int64)(library["map"])
    size = arrays[0].size
    padded = [np.concatenate([a, np.ones(-size % lanes, dtype)]) for a in arrays]
    result = np.empty_like(padded[0])
    entry(*(a.ctypes.data for a in padded), result.ctypes.data, result.size)
    return result[:size]


def ulps(got, exact):
    """The error of float32 results in units in the last place; infinite for a wrong NaN or a zero of the
    wrong sign.
    """
    _, exponent = np.frexp(exact)
    unit = np.ldexp(1.0, np.clip(exponent, -125, 128) - 24)
    limit = 2.0**128
    error = np.abs(np.clip(got.astype(np.float64), -limit, limit) - np.clip(exact, -limit, limit)) / unit
    wrong = (np.isnan(got) != np.isnan(exact)) | ((got == 0) & (np.signbit(got) != np.signbit(exact)))
    return np.where(wrong, INF, np.where(np.isnan(exact), 0, error))


def assert_close(name, isa, *arguments):
    exact = REFERENCES[name](*(a.astype(np.float64) for a in arguments))
    got = apply(name, isa, *arguments)
    error = ulps(got, exact)
    if name == "logaddexp":
        # Where its two terms cancel, the reference is no better than its own last bits.
        error[np.abs(got - exact) <= 2.0**-50 * np.maximum(*np.abs(arguments))] = 0
    worst = int(np.argmax(error))
    at = ", ".join(float(a[worst]).hex() for a in arguments)
    assert error[worst] <= LIMIT_ULP, (
        f"{name}({at}) on {isa.name} is {got[worst]}, not {exact[worst]}: {error[worst]} ULP"
    )


SPECIAL = np.float32(
    [
        0,
        2**-149,
        2**-126,
        2**-25,
        1e-7,
        0.25,
        0.34,
        0.5,
        0.7,
        0.9,
        1,
        1.5,
        2,
        2.5,
        3,
        3.5,
        3.95,
        9.01,
        10,
        16.7,
        40,
        87.3,
    ]
    + [
        88.0,
        88.72,
        88.73,
        89.4,
        89.42,
        103.9,
        104,
        128,
        126,
        149,
        150,
        151,
        2**15,
        2**15 + 1,
        2**23,
        2**24,
        2**127,
    ]
    + [
        8388607.5,
        16777215,
        3.4028235e38,
        INF,
        NAN,
        np.pi / 2,
        np.pi,
        2 * np.pi,
        103993 * np.pi,
        np.nextafter(np.float32(1), 0),
    ]
)
SPECIAL = np.concatenate([SPECIAL, -SPECIAL])


def every_exponent(count, seed=0):
    """Floats of both signs and each exponent, with `count` random mantissas each."""
    bits = np.arange(512, dtype=np.uint32).repeat(count) << 23
    return (bits | np.random.default_rng(seed).integers(0, 1 << 23, bits.size, dtype=np.uint32)).view(
        np.float32
    )


@pytest.mark.parametrize("isa_name", ISA_NAMES)
@pytest.mark.parametrize("name", UNARY)
def test_error_is_at_most_two_units_in_the_last_place(name, isa_name):
    random = np.random.default_rng(1).standard_normal(1 << 15).astype(np.float32)
    x = np.concatenate(
        [SPECIAL, np.nextafter(SPECIAL, np.float32(0)), every_exponent(64), random, 10 * random]
    )
    assert_close(name, ISAS[isa_name], x)


@pytest.mark.parametrize("isa_name", ISA_NAMES)
@pytest.mark.parametrize(
    "name, x",
    [
        ("tanh", 0.5499),
        ("tanh", 0.5501),
        ("sigmoid", -0.0011445293),
        ("sin", float.fromhex("0x1.de76ap+33")),
        ("sin", float.fromhex("0x1.e95874p+40")),
        ("sin", float.fromhex("0x1.8d834p+65")),
        ("sin", float.fromhex("0x1.91d4a4p+77")),
        ("cos", float.fromhex("0x1.1a507ep-1")),
        ("cos", float.fromhex("0x1.e6dbbap+61")),
        ("cos", float.fromhex("0x1.e230f4p+50")),
        ("cos", float.fromhex("0x1.d4d122p+100")),
        ("tan", float.fromhex("0x1.e759ccp+39")),
        ("asin", 0.84052145),
        ("asin", 0.5007),
        ("expm1", 0.38448554),
    ],
)
def test_error_around_the_worst_arguments(name, x, isa_name):
    near = (np.float32(x).view(np.int32) + np.arange(-4096, 4096, dtype=np.int32)).view(np.float32)
    assert_close(name, ISAS[isa_name], near)


def ordinary_pairs(name, count=1 << 14):
    """Arguments of which many give ordinary results, near cancellation too."""
    generator = np.random.default_rng(2)
    x = generator.standard_normal(count) * 2.0 ** generator.uniform(-24, 6, count)
    if name == "pow":
        x = np.abs(1 + x).astype(np.float32)
        y = generator.uniform(-150, 129, count) / np.where(x == 1, 1, np.log2(x, dtype=np.float64))
        y[::4] = generator.integers(-40, 40, len(y[::4]))
        x[::8] *= -1
    elif name == "logaddexp":
        # Half of the sums of exponentials are nearly 1, so that their logarithm nearly vanishes.
        y = np.where(
            np.arange(count) % 2, x + generator.standard_normal(count), np.log(-np.expm1(-np.abs(x)))
        )
        x = np.where(np.arange(count) % 2, x, -np.abs(x))
    else:
        y = x * 2.0 ** generator.uniform(-12, 12, count) * generator.choice((-1, 1), count)
    return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize("isa_name", ISA_NAMES)
@pytest.mark.parametrize("name", BINARY)
def test_error_of_functions_of_two_arguments(name, isa_name):
    x, y = (grid.ravel() for grid in np.meshgrid(SPECIAL, SPECIAL))
    any_x, any_y = (
        every_exponent(16, seed=3),
        np.random.default_rng(4).permutation(every_exponent(16, seed=5)),
    )
    ordinary = ordinary_pairs(name)
    pairs = [np.concatenate(parts) for parts in zip((x, y), (any_x, any_y), ordinary, strict=True)]
    assert_close(name, ISAS[isa_name], *pairs)


EXACT_VALUES = {
    "exp": [(-INF, 0.0), (INF, INF), (-0.0, 1.0), (NAN, NAN), (89.0, INF), (-104.0, 0.0)],
    "expm1": [(-INF, -1.0), (INF, INF), (-0.0, -0.0), (0.0, 0.0), (NAN, NAN), (2.0**-149, 2.0**-149)],
    "log": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (-1.0, NAN), (-INF, NAN), (INF, INF), (NAN, NAN)],
    "log1p": [(-1.0, -INF), (-0.0, -0.0), (0.0, 0.0), (-1.5, NAN), (-INF, NAN), (INF, INF), (NAN, NAN)],
    "log2": [(2.0**-149, -149.0), (8.0, 3.0), (0.0, -INF), (1.0, 0.0), (-1.0, NAN), (INF, INF)],
    "log10": [(1000.0, 3.0), (0.0, -INF), (1.0, 0.0), (-1.0, NAN), (INF, INF)],
    "tanh": [(-INF, -1.0), (INF, 1.0), (-0.0, -0.0), (NAN, NAN), (2.0**-149, 2.0**-149)],
    "sigmoid": [(-INF, 0.0), (INF, 1.0), (0.0, 0.5), (NAN, NAN)],
    "erf": [(-INF, -1.0), (INF, 1.0), (-0.0, -0.0), (NAN, NAN)],
    "sin": [(-0.0, -0.0), (0.0, 0.0), (INF, NAN), (-INF, NAN), (NAN, NAN), (2.0**-149, 2.0**-149)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "tan": [(-0.0, -0.0), (INF, NAN), (NAN, NAN)],
    "asin": [(-0.0, -0.0), (1.0000001, NAN), (-1.0000001, NAN), (NAN, NAN)],
    "acos": [(1.0, 0.0), (1.0000001, NAN), (-1.0000001, NAN), (NAN, NAN)],
    "sinh": [(-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)],
    "cosh": [(0.0, 1.0), (INF, INF), (-INF, INF), (NAN, NAN)],
    "asinh": [(-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)],
    "acosh": [(1.0, 0.0), (0.99999994, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)],
    "atanh": [(-0.0, -0.0), (1.0, INF), (-1.0, -INF), (1.0000001, NAN), (INF, NAN), (NAN, NAN)],
}


@pytest.mark.parametrize("isa_name", ISA_NAMES)
@pytest.mark.parametrize("name", EXACT_VALUES)
def test_special_values_of_the_array_api(name, isa_name):
    arguments, expected = np.float32(EXACT_VALUES[name]).T
    got = apply(name, ISAS[isa_name], np.ascontiguousarray(arguments))
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[expected == 0]), np.signbit(expected[expected == 0]))


def test_pow_of_special_values():
    rows = [
        *[
            (1.0, NAN, 1.0),
            (NAN, 0.0, 1.0),
            (NAN, -0.0, 1.0),
            (-1.0, INF, 1.0),
            (-1.0, -INF, 1.0),
            (NAN, 1.0, NAN),
        ],
        *[
            (1.5, INF, INF),
            (1.5, -INF, 0.0),
            (0.5, INF, 0.0),
            (0.5, -INF, INF),
            (-2.0, 3.0, -8.0),
            (-2.0, 2.0, 4.0),
        ],
        *[
            (0.0, 3.0, 0.0),
            (-0.0, 3.0, -0.0),
            (-0.0, 2.0, 0.0),
            (0.0, -3.0, INF),
            (-0.0, -3.0, -INF),
            (-0.0, -2.0, INF),
        ],
        *[
            (-INF, 3.0, -INF),
            (-INF, 2.0, INF),
            (-INF, -3.0, -0.0),
            (-INF, 0.5, INF),
            (INF, -1.0, 0.0),
            (-8.0, 1 / 3, NAN),
        ],
    ]
    x, y, expected = (np.ascontiguousarray(column) for column in np.float32(rows).T)
    for isa in host_isas():
        got = apply("pow", isa, x, y)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(np.signbit(got[expected == 0]), np.signbit(expected[expected == 0]))


def test_sine_and_cosine_stay_between_minus_one_and_one():
    x = np.concatenate([every_exponent(64), (np.arange(-5000, 5000) * (np.pi / 2)).astype(np.float32)])
    x = x[np.isfinite(x)]
    for isa in host_isas():
        assert np.abs(apply("sin", isa, x)).max() == 1 and np.abs(apply("cos", isa, x)).max() == 1


@pytest.mark.parametrize("lanes", [1, 2, 32])
@pytest.mark.parametrize("name", FLOAT32)
def test_bits_do_not_depend_on_the_number_of_lanes(name, lanes):
    x = (np.random.default_rng(6).standard_normal(64) * 2.0 ** np.linspace(-20, 20, 64)).astype(np.float32)
    arrays = (x, np.roll(x, 1)) if name in BINARY else (x,)
    isa = host_isas()[0]
    np.testing.assert_array_equal(apply(name, isa, *arrays, lanes=lanes), apply(name, isa, *arrays))


@pytest.mark.parametrize("name", FLOAT64)
def test_double_functions(name):
    x = np.concatenate([np.linspace(-3, 3, 61), [INF, -INF, NAN, 0.0, 1e300]])
    arrays = (x, np.roll(x, 1)) if name in BINARY else (x,)
    for isa in host_isas():
        np.testing.assert_allclose(apply(name, isa, *arrays), REFERENCES[name](*arrays), rtol=1e-14)


VECTORISED = [name for name in FLOAT64 if name not in EXACT]
OVERFLOWS = [
    709.782712893384,
    709.7827128933841,
    710.4758600739439,
    710.475860073944,
    745.13,
    745.2,
    1024,
    1075,
]
DOUBLES = [0.0, INF, NAN, 1, 2, 0.5, 5e-324, 2.0**-1022, 1.7976931348623157e308, 2.0**20, 1e22, 0.5625, 22]


def double_samples(generator) -> np.ndarray:
    """Any bits, ordinary numbers, what overflows, neighbours of multiples of pi / 2, special values."""
    special = np.array(OVERFLOWS + DOUBLES)
    turns = np.round(generator.uniform(-6e5, 6e5, 4096)) * (np.pi / 2)
    return np.concatenate([
        special, -special, generator.integers(0, 1 << 64, 4096, dtype=np.uint64).view(np.float64),
        generator.standard_normal(8192) * 2.0 ** generator.uniform(-30, 10, 8192),
        generator.uniform(-1.2, 1.2, 8192), generator.uniform(-40, 40, 8192),
        generator.uniform(-750, 750, 4096),
        turns * (1 + generator.integers(-3, 4, 4096) * 2.0**-52),
        1 + generator.standard_normal(4096) * 2.0 ** generator.uniform(-50, -1, 4096),
    ])  # fmt: skip


def double_arguments(name: str, generator) -> tuple[np.ndarray, ...]:
    x = double_samples(generator)
    if name not in BINARY:
        return (x,)
    special = np.array([*DOUBLES, -1.5, 3, -3, *(-n for n in DOUBLES)])
    y = np.concatenate(
        [generator.permutation(x), x * generator.uniform(-2, 2, x.size), np.tile(special, special.size)]
    )
    x = np.concatenate([x, x, np.repeat(special, special.size)])
    if name == "pow":
        # Also ordinary results of ordinary bases, and of those near 1.
        base = np.abs(double_samples(generator))
        log = np.log(base)
        x = np.concatenate([x, base])
        y = np.concatenate([y, generator.uniform(-760, 760, base.size) / np.where(log == 0, 1, log)])
    return x, y


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no wider format to compare with")
@pytest.mark.parametrize("name", VECTORISED)
def test_double_functions_are_within_two_units(name):
    arguments = double_arguments(name, np.random.default_rng(1))
    wide = np.longdouble
    # There is no erf of a wider format: the error of the C library's adds to ours.
    exact = REFERENCES[name](*(arguments if name == "erf" else (x.astype(wide) for x in arguments)))
    exact = exact.astype(wide)
    # Where the terms of logaddexp cancel, what is left is good to the last bits of the larger argument.
    scale = np.maximum(np.abs(exact), np.maximum(*np.abs(arguments))) if name == "logaddexp" else exact
    unit = np.ldexp(wide(1), np.clip(np.frexp(scale)[1] - 53, -1074, 971))
    limit = wide(2) ** 1024
    for isa in host_isas():
        got = apply(name, isa, *arguments)
        error = np.abs(np.clip(got.astype(wide), -limit, limit) - np.clip(exact, -limit, limit)) / unit
        assert np.array_equal(np.isnan(got), np.isnan(exact))
        assert np.nanmax(error) < (3 if name == "logaddexp" else 2), (
            isa.name,
            [x[np.nanargmax(error)] for x in arguments],
        )
        zero = (got == 0) & (exact == 0)
        assert np.array_equal(np.signbit(got[zero]), np.signbit(exact[zero]))


@pytest.mark.parametrize("lanes", [1, 2, 16])
@pytest.mark.parametrize("name", VECTORISED)
def test_bits_of_doubles_do_not_depend_on_the_number_of_lanes(name, lanes):
    arguments = [x[::61] for x in double_arguments(name, np.random.default_rng(2))]
    arguments = [x[: x.size // 16 * 16] for x in arguments]
    isa = host_isas()[0]
    np.testing.assert_array_equal(apply(name, isa, *arguments, lanes=lanes), apply(name, isa, *arguments))


@pytest.mark.parametrize("name", VECTORISED)
def test_double_functions_are_generated_for_neon(name):
    isa = ISAS["neon"]
    module = module_for(isa)
    f = module.function("map", ["<2 x double>"] * (1 + (name in BINARY)), "<2 x double>")
    f.ret(FLOAT64[name](f, *f.arguments))
    assembly = jit.assembly(module.text(), isa)
    assert "fmla\tv" in assembly and ".2d" in assembly
    calls = {line.split()[-1] for line in assembly.splitlines() if "\tbl\t" in line}
    assert calls <= ({name} if name in ("sin", "cos", "tan") else set()), "a call in place of an instruction"


@pytest.mark.parametrize("name", FLOAT32)
def test_generated_for_neon(name):
    isa = ISAS["neon"]
    module = module_for(isa)
    arity = 2 if name in BINARY else 1
    f = module.function("map", ["<4 x float>"] * arity, "<4 x float>")
    f.ret(FLOAT32[name](f, *f.arguments))
    assembly = jit.assembly(module.text(), isa)
    assert ".4s" in assembly
    assert "\tbl\t" not in assembly, "a call in place of an instruction"
