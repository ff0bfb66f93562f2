"""Nanoseconds an element of every mathematical function takes, for each instruction set, with data in the
first cache.

    python bench/math_speed.py [--double] [FUNCTION ...]

Thread CPU time of one thread: the smallest of 15 runs of 2000 passes over 2048 normally distributed numbers
(their magnitudes for logarithms and powers), load and store included. With ``--double`` of float64, and the
last column is NumPy's.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from ulp import BINARY, REFERENCES, Compiled, compiled

from treadle.devices.cpu.math import FLOAT32, FLOAT64
from treadle.devices.cpu.target import host_isas

ELEMENTS, PASSES, RUNS = 2048, 2000, 15


def ns_per_element(run: Compiled, arrays: list[np.ndarray]) -> float:
    """The smallest time of `RUNS` runs."""
    times = []
    for _ in range(RUNS):
        start = time.thread_time()
        run(*arrays)
        times.append(time.thread_time() - start)
    return min(times) / PASSES / ELEMENTS * 1e9


def many_times(function: Callable[..., np.ndarray], *arguments: np.ndarray) -> np.ndarray:
    """As often as the generated code goes over its arguments."""
    for _ in range(PASSES - 1):
        function(*arguments)
    return function(*arguments)


def main() -> None:
    np.seterr(all="ignore")
    generator = np.random.default_rng(0)
    isas, double = host_isas(), "--double" in sys.argv
    table, dtype = (FLOAT64, np.float64) if double else (FLOAT32, np.float32)
    chosen = [name for name in sys.argv[1:] if name != "--double"]
    print("function  ", *(f"{isa.name:>8s}" for isa in isas), "   numpy" * double)
    for name in chosen or [name for name in table if name in REFERENCES]:
        arrays = list(generator.standard_normal((1 + (name in BINARY), ELEMENTS)).astype(dtype))
        if name == "pow" or name.startswith("log"):
            arrays[0] = np.abs(arrays[0])
        runs = [compiled(table[name], isa, len(arrays), dtype, passes=PASSES) for isa in isas]
        if double:
            reference = np.vectorize(math.erf, otypes=[float]) if name == "erf" else REFERENCES[name]
            runs.append(partial(many_times, reference))
        print(f"{name:10s}", *(f"{ns_per_element(run, arrays):8.3f}" for run in runs), flush=True)


if __name__ == "__main__":
    main()
