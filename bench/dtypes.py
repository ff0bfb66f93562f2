"""Matrix products of every dtype beside float32, for each instruction set.

    python bench/dtypes.py [--size 512] [--seconds 2]

Thread CPU time of one thread, rounds of all dtypes taking turns; medians. An operation is a multiplication or
an addition.
"""

from __future__ import annotations

import argparse

import numpy as np
from matmul import Prepared, interleaved

from treadle.devices.cpu import threads
from treadle.devices.cpu.contraction import Contraction, lower
from treadle.devices.cpu.target import host_isas
from treadle.dtypes import as_dtype

DTYPES = ("float32", "float64", "bfloat16", "float16", "int8", "int16", "int32", "int64")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    threads.set_num_threads(1)
    n = arguments.size
    isas = host_isas()
    print("Gop/s     ", *(f"{isa.name:>14s}" for isa in isas))
    columns = []
    for isa in isas:
        calls = []
        for dtype in DTYPES:
            a, b = (np.random.default_rng(0).standard_normal((2, n, n)) * 9).astype(as_dtype(dtype).numpy)
            contraction = Contraction((), n, n, n, (n, 1), (n, 1), (n, 1), dtype)
            calls.append(Prepared(lower(contraction, isa), [a, b], [np.empty_like(a)], isa))
        columns.append([2 * n**3 / t / 1e9 for t in interleaved(calls, arguments.seconds)])
    for i, dtype in enumerate(DTYPES):
        cells = [f"{column[i]:7.1f} ({column[i] / column[0]:.2f})" for column in columns]
        print(f"{dtype:10s}", *(f"{cell:>14s}" for cell in cells))


if __name__ == "__main__":
    main()
