"""Products and convolutions on OpenCL: GFLOP/s of the generated kernels, and of the CPU's own beside them.

python bench/opencl.py [device] [--plain]

With ``--plain`` a work item computes one sum, and not a tile of them.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import treadle as td
from treadle.devices import registry
from treadle.devices.accelerator.device import Accelerator
from treadle.devices.csource import tiles


def timed(run, flops: float, seconds: float = 1.0) -> float:
    """The best of repeated runs, in GFLOP/s."""
    run()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return flops / best / 1e9


def main() -> None:
    names = [word for word in sys.argv[1:] if word != "--plain"]
    name = names[0] if names else "opencl"
    if "--plain" in sys.argv:
        tiles.LEAST = sys.maxsize
    numbers = np.random.default_rng(0)

    def given(*shape: int) -> td.Array:
        return td.asarray(numbers.normal(size=shape).astype(np.float32))

    def conv(x, w):
        return td.conv(x, w, padding=1)

    def by_input(x, w, g):
        return td.gradients(conv(x, w), [x], [g])[0]

    def by_weight(x, w, g):
        return td.gradients(conv(x, w), [w], [g])[0]

    image, weight = (4, 64, 56, 56), (64, 64, 3, 3)
    flops = 2.0 * 4 * 64 * 64 * 9 * 56 * 56
    rows = [
        ("matmul 512 x 512 x 512", lambda a, b: a @ b, [(512, 512), (512, 512)], 2.0 * 512**3),
        ("conv 3x3, 64 channels, 4 x 56 x 56", conv, [image, weight], flops),
        ("  gradient by the input", by_input, [image, weight, image], flops),
        ("  gradient by the weights", by_weight, [image, weight, image], flops),
    ]
    for label, function, shapes, work in rows:
        found = []
        for device in (name, "cpu"):
            with td.device(device):
                operands = [given(*shape) for shape in shapes]
                compiled = td.compile(function)
                place = registry.find(device)

                def run(compiled=compiled, operands=operands, place=place):
                    compiled(*operands)
                    if isinstance(place, Accelerator):
                        place.synchronize()

                found.append(timed(run, work))
        print(f"{label:40s} {name} {found[0]:8.1f} GFLOP/s   cpu {found[1]:8.1f} GFLOP/s", flush=True)


if __name__ == "__main__":
    main()
