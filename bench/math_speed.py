"""Nanoseconds an element of every mathematical function takes, for each instruction set, with data in the
first cache.

    python bench/math_speed.py [FUNCTION ...]

Thread CPU time of one thread: the smallest of 15 runs of 2000 passes over 2048 normally distributed numbers
(their magnitudes for logarithms and powers), load and store included.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from ulp import BINARY, REFERENCES, Compiled, compiled

from treadle.devices.cpu.math import FLOAT32
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


def main() -> None:
    generator = np.random.default_rng(0)
    isas = host_isas()
    print("function  ", *(f"{isa.name:>8s}" for isa in isas))
    for name in sys.argv[1:] or [name for name in FLOAT32 if name in REFERENCES]:
        arrays = list(generator.standard_normal((1 + (name in BINARY), ELEMENTS)).astype(np.float32))
        if name == "pow" or name.startswith("log"):
            arrays[0] = np.abs(arrays[0])
        runs = [compiled(FLOAT32[name], isa, len(arrays), passes=PASSES) for isa in isas]
        print(f"{name:10s}", *(f"{ns_per_element(run, arrays):8.3f}" for run in runs), flush=True)


if __name__ == "__main__":
    main()
