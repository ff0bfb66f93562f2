"""Matrix products against NumPy's BLAS and PyTorch's (where it is installed), interleaved in one
process.

Prints, for each shape, our time and speed and the ratio of each peer's time to ours (above 1: ours is
faster). With one thread that is thread CPU time, which does not count what other processes took. Run with
``src`` on the path::

    python bench/matmul.py                                  # the standard shapes
    python bench/matmul.py 512x512x512:TN 64x1000x100       # m x k x n, with A or B transposed
    python bench/matmul.py --dtype float64 --isa avx2
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence

# NumPy's BLAS reads its setting when it is loaded.
threads_given = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "1"
os.environ.setdefault("OPENBLAS_NUM_THREADS", threads_given)

import numpy as np  # noqa: E402

from treadle.devices.cpu import jit, threads  # noqa: E402
from treadle.devices.cpu.contraction import Contraction, lower  # noqa: E402
from treadle.devices.cpu.native import Lowered  # noqa: E402
from treadle.devices.cpu.runner import Entry, Table  # noqa: E402
from treadle.devices.cpu.target import ISAS, Isa, host_isas  # noqa: E402

try:
    import torch
except ImportError:
    torch = None

STANDARD = """
512x512x512:NN 512x512x512:TN 512x512x512:NT 1024x1024x1024:NN 1024x1024x1024:TN 1024x1024x1024:NT
2048x2048x2048:NN 64x1000x100 1000x64x100:TN 64x100x1000:NT 64x100x1000 64x1000x100:NT 100x64x1000:TN
64x100x10 100x64x10:TN 64x10x100:NT 256x256x256 10x8192x100:TN
64x1000x1 1000x1000x1:NN 1000x1000x1:TN 1x1000x1000 1x1000x1000:NT 4x1000x1000:NT
"""


class Prepared:
    """The steps of a lowered op as a program, bound to arrays: a call is one run."""

    def __init__(
        self, lowered: Lowered, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], isa: Isa
    ):
        self.kept = [*inputs, *outputs, *(np.zeros(nbytes + 64, np.uint8) for nbytes in lowered.temporaries)]
        names = [("in", i) for i in range(len(inputs))] + [("out", i) for i in range(len(outputs))]
        names += [("temp", i) for i in range(len(lowered.temporaries))]
        slots = {name: (slot, 0) for slot, name in enumerate(names)}
        self.bases = [
            -(-x.ctypes.data // 64) * 64 if x.dtype == np.uint8 else x.ctypes.data for x in self.kept
        ]
        entries = [
            Entry(jit.load(step.kernel, isa), tuple(slots[operand] for operand in step.operands))
            for step in lowered.steps
        ]
        self.table = Table(entries, slots=len(names))

    def __call__(self) -> None:
        self.table.run(self.bases)


def interleaved(
    calls: Sequence[Callable[[], object]], seconds: float, clock: Callable[[], float] = time.thread_time
) -> list[float]:
    """The median time of each call, rounds of all calls taking turns."""
    times: list[list[float]] = [[] for _ in calls]
    repeats = []
    for call in calls:
        call()
        begin = clock()
        call()
        repeats.append(max(1, int(2e-4 / max(clock() - begin, 1e-7))))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for call, count, taken in zip(calls, repeats, times, strict=True):
            begin = clock()
            for _ in range(count):
                call()
            taken.append((clock() - begin) / count)
    return [sorted(taken)[len(taken) // 2] for taken in times]


def matrices(
    m: int, k: int, n: int, layout: str, dtype: str
) -> tuple[list[np.ndarray], np.ndarray, Contraction]:
    """Random operands as they are stored, c, and the contraction they make."""
    generator = np.random.default_rng(0)
    a = generator.standard_normal((k, m) if layout[0] == "T" else (m, k)).astype(dtype)
    b = generator.standard_normal((n, k) if layout[1] == "T" else (k, n)).astype(dtype)
    a_strides = (1, m) if layout[0] == "T" else (k, 1)
    b_strides = (1, k) if layout[1] == "T" else (n, 1)
    return [a, b], np.zeros((m, n), dtype), Contraction((), m, n, k, a_strides, b_strides, (n, 1), dtype)


def measure(shape: str, dtype: str, isa: Isa, seconds: float, count: int) -> dict[str, float]:
    """Seconds per call of each of ours, numpy and torch, after checking that they agree."""
    sizes, _, layout = shape.partition(":")
    layout = layout or "NN"
    m, k, n = (int(size) for size in sizes.split("x"))
    (a, b), c, contraction = matrices(m, k, n, layout, dtype)
    threads.set_num_threads(count)
    clock = time.thread_time if count == 1 else time.perf_counter
    ours = Prepared(lower(contraction, isa), [a, b], [c], isa)
    left, right = (x.T if t == "T" else x for x, t in zip((a, b), layout, strict=True))
    d = np.zeros_like(c)
    calls = {"ours": ours, "numpy": lambda: np.matmul(left, right, out=d)}
    if torch is not None:
        torch.set_num_threads(count)
        operands = [
            torch.from_numpy(x).t() if t == "T" else torch.from_numpy(x) for x, t in zip((a, b), layout)
        ]
        out = torch.zeros(m, n, dtype=operands[0].dtype)
        calls["torch"] = lambda: torch.mm(*operands, out=out)
    ours()
    np.testing.assert_allclose(c, left @ right, rtol=0, atol=1e-3 if dtype == "float32" else 1e-9)
    return dict(zip(calls, interleaved(list(calls.values()), seconds, clock), strict=True)) | {
        "flops": 2.0 * m * k * n
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shapes", nargs="*", default=STANDARD.split())
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--isa", default=host_isas()[0].name, choices=list(ISAS))
    parser.add_argument("--seconds", type=float, default=0.5, help="of measuring per shape")
    parser.add_argument("--threads", type=int, default=1, help="above 1, wall time is measured")
    arguments = parser.parse_args()
    for shape in arguments.shapes:
        row = measure(shape, arguments.dtype, ISAS[arguments.isa], arguments.seconds, arguments.threads)
        peers = "  ".join(
            f"{peer} {row[peer] / row['ours']:.2f}" for peer in ("numpy", "torch") if peer in row
        )
        speed = row["flops"] / row["ours"] / 1e9
        print(f"{shape:22} {row['ours'] * 1e6:10.1f} us {speed:7.1f} GFLOP/s  {peers}")


if __name__ == "__main__":
    main()
