"""The error of every float32 function in units in the last place, over all 2**32 inputs.

    python bench/ulp.py                        # every function of one argument; hours
    python bench/ulp.py exp tanh --isa avx2
    python bench/ulp.py pow --samples 100000000

The reference is NumPy in float64, for erf the C library. A unit is the distance between the two floats around
the exact result, of the smallest floats below 2**-126; an overflow counts as 2**128. A NaN too many or too
few, or a zero of the wrong sign, counts as infinitely many units. Functions of two arguments are sampled.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable, Iterator

import numpy as np

from treadle.devices.cpu import jit
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import vector
from treadle.devices.cpu.math import FLOAT32, FLOAT64, Writer
from treadle.devices.cpu.target import Isa, host_isas

CHUNK = 1 << 16

Compiled = Callable[..., np.ndarray]


def compiled(write: Writer, isa: Isa, arity: int, dtype: type = np.float32, passes: int = 1) -> Compiled:
    """A function of NumPy arrays that runs the generated code; their length is a multiple of the lanes.

    It goes over them `passes` times.
    """
    scalar, nbytes = ("float", 4) if dtype is np.float32 else ("double", 8)
    lanes = isa.lanes(nbytes)
    module = module_for(isa)
    f = module.function("map", ["ptr"] * (arity + 1) + ["i64"])
    *inputs, output, count = f.arguments

    def body(i):
        offset = f.mul(i, nbytes)
        values = [f.load(vector(scalar, lanes), f.at(pointer, offset)) for pointer in inputs]
        f.store(write(f, *values), f.at(output, offset))

    f.loop(0, passes, lambda _: f.loop(0, count, body, step=lanes))
    f.ret()
    library = jit.load_module(module.text(), ("map",), isa)
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (arity + 1), ctypes.c_int64)(library["map"])

    def call(*arrays: np.ndarray) -> np.ndarray:
        result = np.empty_like(arrays[0])
        entry(*(array.ctypes.data for array in arrays), result.ctypes.data, result.size)
        return result

    call.library = library  # type: ignore[attr-defined]  # the code lives as long as the function
    return call


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    **{name: getattr(np, name) for name in ("exp", "exp2", "expm1", "log", "log1p", "log2", "log10")},
    **{
        name: getattr(np, name)
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "hypot", "logaddexp")
    },
    **{
        "a" + name: getattr(np, "arc" + name)
        for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")
    },
    "pow": np.power,
    "sigmoid": sigmoid,
    "erf": compiled(FLOAT64["erf"], host_isas()[-1], 1, np.float64),
}
BINARY = ("pow", "atan2", "hypot", "logaddexp")


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The error of float32 results against float64 ones, in units in the last place."""
    exponent = exact.view(np.int64) >> 52 & 0x7FF
    np.clip(exponent, 1023 - 126, 1023 + 127, out=exponent)
    unit = (exponent - 23 << 52).view(np.float64)
    error = np.abs(got - exact)
    if not np.isfinite(error).all() or exponent.max() == 1023 + 127:
        limit = 2.0**128
        error = np.abs(np.clip(got.astype(np.float64), -limit, limit) - np.clip(exact, -limit, limit))
        error[np.isnan(exact)] = 0
        error[np.isnan(got) != np.isnan(exact)] = np.inf
    if not got.all():
        error[(got == 0) & (np.signbit(got) != np.signbit(exact))] = np.inf
    error /= unit
    return error


def all_floats() -> Iterator[tuple[np.ndarray]]:
    """Every float32, in chunks."""
    for start in range(0, 1 << 32, CHUNK):
        yield (np.arange(start, start + CHUNK, dtype=np.uint32).view(np.float32),)


def pairs(name: str, samples: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of arguments: half of them any bits, half of them such that the result is an ordinary number."""
    generator = np.random.default_rng(0)
    for chunk in range(-(-samples // CHUNK)):
        x, y = generator.integers(0, 1 << 32, (2, CHUNK), dtype=np.uint32).view(np.float32)
        if chunk % 2:
            scale = 2.0 ** generator.uniform(-24, 6, CHUNK)
            if name == "pow":
                x = np.abs(1 + generator.standard_normal(CHUNK) * scale).astype(np.float32)
                y = generator.uniform(-150, 129, CHUNK) / np.log2(x, where=x != 1, out=np.ones(CHUNK))
            else:
                x = generator.standard_normal(CHUNK) * scale
                y = x * 2.0 ** generator.uniform(-12, 12, CHUNK) * generator.choice((-1, 1), CHUNK)
        yield x.astype(np.float32), y.astype(np.float32)


def measure(name: str, isas: list[Isa], samples: int) -> list[tuple[float, tuple[float, ...]]]:
    """For each instruction set, the largest error and the arguments that have it."""
    arity = 2 if name in BINARY else 1
    functions = [compiled(FLOAT32[name], isa, arity) for isa in isas]
    worst: list[tuple[float, tuple[float, ...]]] = [(0.0, ())] * len(isas)
    for arguments in pairs(name, samples) if arity == 2 else all_floats():
        exact = REFERENCES[name](*(a.astype(np.float64) for a in arguments))
        error, measured = np.empty(0), np.empty(0, np.int32)
        for row, function in enumerate(functions):
            got = function(*arguments)
            if not np.array_equal(got.view(np.int32), measured):
                error, measured = ulps(got, exact), got.view(np.int32)
            place = int(np.argmax(error))
            if error[place] > worst[row][0]:
                worst[row] = float(error[place]), tuple(float(a[place]) for a in arguments)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", default=[])
    parser.add_argument("--isa", action="append", help="only this instruction set (may be repeated)")
    parser.add_argument("--samples", type=int, default=1 << 28, help="pairs, for functions of two arguments")
    chosen = parser.parse_args()
    isas = [isa for isa in host_isas() if not chosen.isa or isa.name in chosen.isa]
    names = chosen.functions or [name for name in FLOAT32 if name in REFERENCES]
    np.seterr(all="ignore")
    for name in names:
        start = time.thread_time()
        for isa, (error, arguments) in zip(isas, measure(name, isas, chosen.samples), strict=True):
            place = ", ".join(float(a).hex() for a in arguments)
            print(f"{name:10s} {isa.name:8s} {error:8.3f}  at {place}", flush=True)
        print(f"{name:10s} {time.thread_time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
