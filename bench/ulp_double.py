"""The error of the vectorised float64 functions in units in the last place, over samples of every kind.

    python bench/ulp_double.py [FUNCTION ...] [--samples 4194304] [--isa avx2]

The reference is NumPy's 80-bit long double, which costs a few thousandths of a unit; so this needs x86. That
of erf is the C library in double precision: what is shown may be a unit more than the error. For logaddexp
the unit is that of the larger of the result and the arguments.
Samples are any bits, ordinary numbers around 0 and 1, ranges in which results overflow, and the neighbours of
multiples of pi / 2.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import numpy as np
from ulp import BINARY, compiled

from treadle.devices.cpu.math import FLOAT64
from treadle.devices.cpu.target import Isa, host_isas

CHUNK = 1 << 16


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


REFERENCES = {
    **{name: getattr(np, name) for name in ("exp", "exp2", "expm1", "sinh", "cosh", "tanh")},
    **{name: getattr(np, name) for name in ("log", "log1p", "log2", "log10", "sin", "cos", "tan")},
    **{
        "a" + name: getattr(np, "arc" + name)
        for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")
    },
    "pow": np.power,
    "hypot": np.hypot,
    "logaddexp": np.logaddexp,
    "erf": np.vectorize(lambda x: math.erf(float(x)), otypes=[np.longdouble]),
    "sigmoid": sigmoid,
}
SPECIAL = np.array(
    [0.0, np.inf, np.nan, 1, 2, 0.5, 5e-324, 2.0**-1022, np.finfo(float).max, 709.782712893384]
    + [709.7827128933841]
    + [
        710.475860073944,
        710.4758600739439,
        745.13,
        745.2,
        1022.5,
        1024,
        1074,
        1075,
        2.0**20,
        1e22,
        0.5625,
        22,
    ]
)


def samples(count: int) -> list[np.ndarray]:
    """Chunks of arguments; the first has special values in front."""
    generator, chunks = np.random.default_rng(0), []
    pi_multiples = np.arange(-CHUNK // 2, CHUNK // 2) * 19 * (np.pi / 2)
    kinds = (
        lambda: generator.integers(0, 1 << 64, CHUNK, dtype=np.uint64).view(np.float64),
        lambda: generator.standard_normal(CHUNK) * 2.0 ** generator.uniform(-30, 10, CHUNK),
        lambda: generator.uniform(-1.2, 1.2, CHUNK),
        lambda: generator.uniform(-30, 30, CHUNK),
        lambda: generator.uniform(0, 4, CHUNK),
        lambda: generator.uniform(-750, 750, CHUNK),
        lambda: pi_multiples * (1 + generator.integers(-3, 4, CHUNK) * 2.0**-52),
        lambda: 1 + generator.standard_normal(CHUNK) * 2.0 ** generator.uniform(-50, -1, CHUNK),
    )
    for chunk in range(max(len(kinds), count // CHUNK)):
        chunks.append(kinds[chunk % len(kinds)]())
    chunks[0][: 2 * SPECIAL.size] = np.concatenate([SPECIAL, -SPECIAL])
    return chunks


def ulps(got: np.ndarray, exact: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The error in units in the last place of `scale`; overflow counts as 2**1024, a wrong NaN or a wrong
    sign of what is exactly zero as infinite.
    """
    wide = exact.dtype.type
    unit = np.ldexp(wide(1), np.clip(np.frexp(scale)[1] - 53, -1074, 971))
    limit = wide(2) ** 1024
    error = np.abs(np.clip(got.astype(wide), -limit, limit) - np.clip(exact, -limit, limit)) / unit
    error[np.isnan(exact)] = 0
    error[np.isnan(got) != np.isnan(exact)] = np.inf
    error[(got == 0) & (exact == 0) & (np.signbit(got) != np.signbit(exact))] = np.inf
    return error


def pairs(name: str, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of pairs; the first has all pairs of special values in front."""
    generator, chunks = np.random.default_rng(1), samples(count)
    special = np.concatenate([SPECIAL, -SPECIAL])
    for number, x in enumerate(chunks):
        y = generator.permutation(chunks[(7 * number + 3) % len(chunks)])
        if number == 0:
            x[: special.size**2], y[: special.size**2] = (
                np.repeat(special, special.size),
                np.tile(special, special.size),
            )
        elif number % 3 == 1:
            y = x * generator.uniform(-2, 2, CHUNK)
        elif number % 3 == 2 and name == "pow":
            x = np.abs(x)
            log = np.log(x)
            y = generator.uniform(-760, 760, CHUNK) / np.where(log == 0, 1, log)
        yield x, y


def measure(name: str, isa: Isa, count: int) -> tuple[float, tuple[float, ...]]:
    """The largest error and its arguments."""
    arity = 2 if name in BINARY else 1
    function, worst = compiled(FLOAT64[name], isa, arity, np.float64), (0.0, (0.0,))
    for arguments in pairs(name, count) if arity == 2 else ((x,) for x in samples(count)):
        exact = REFERENCES[name](*(x.astype(np.longdouble) for x in arguments))
        scale = np.maximum(np.abs(exact), np.maximum(*np.abs(arguments))) if name == "logaddexp" else exact
        error = ulps(function(*arguments), exact, scale)
        place = int(np.argmax(error))
        worst = max(worst, (float(error[place]), tuple(float(x[place]) for x in arguments)))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", default=[])
    parser.add_argument("--isa", action="append", help="only this instruction set (may be repeated)")
    parser.add_argument("--samples", type=int, default=1 << 22)
    chosen = parser.parse_args()
    np.seterr(all="ignore")
    for name in chosen.functions or REFERENCES:
        for isa in host_isas():
            if not chosen.isa or isa.name in chosen.isa:
                error, arguments = measure(name, isa, chosen.samples)
                at = ", ".join(x.hex() for x in arguments)
                print(f"{name:10s} {isa.name:8s} {error:8.3f}  at {at}", flush=True)


if __name__ == "__main__":
    main()
