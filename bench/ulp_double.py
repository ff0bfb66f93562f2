"""The error of the vectorised float64 functions in units in the last place, over samples of every kind.

    python bench/ulp_double.py [FUNCTION ...] [--samples 4194304] [--isa avx2]

The reference is NumPy's 80-bit long double, which costs a few thousandths of a unit; so this needs x86.
Samples are any bits, ordinary numbers around 0 and 1, ranges in which results overflow, and the neighbours of
multiples of pi / 2.
"""

from __future__ import annotations

import argparse

import numpy as np
from ulp import compiled

from treadle.devices.cpu.math import FLOAT64
from treadle.devices.cpu.target import Isa, host_isas

CHUNK = 1 << 16


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


REFERENCES = {
    **{name: getattr(np, name) for name in ("exp", "exp2", "expm1", "sinh", "cosh", "tanh")},
    **{name: getattr(np, name) for name in ("log", "log1p", "log2", "log10", "sin", "cos", "tan")},
    "atan": np.arctan,
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


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The error in units of the exact result; overflow counts as 2**1024, a wrong NaN or sign of zero as
    infinite.
    """
    wide = exact.dtype.type
    unit = np.ldexp(wide(1), np.clip(np.frexp(exact)[1] - 53, -1074, 971))
    limit = wide(2) ** 1024
    error = np.abs(np.clip(got.astype(wide), -limit, limit) - np.clip(exact, -limit, limit)) / unit
    error[np.isnan(exact)] = 0
    error[np.isnan(got) != np.isnan(exact)] = np.inf
    error[(got == 0) & (np.signbit(got) != np.signbit(exact))] = np.inf
    return error


def measure(name: str, isa: Isa, count: int) -> tuple[float, float]:
    """The largest error and its argument."""
    function, worst = compiled(FLOAT64[name], isa, 1, np.float64), (0.0, 0.0)
    for x in samples(count):
        error = ulps(function(x), REFERENCES[name](x.astype(np.longdouble)))
        place = int(np.argmax(error))
        worst = max(worst, (float(error[place]), float(x[place])))
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
                error, x = measure(name, isa, chosen.samples)
                print(f"{name:10s} {isa.name:8s} {error:8.3f}  at {x.hex()}", flush=True)


if __name__ == "__main__":
    main()
