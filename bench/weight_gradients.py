"""Weight gradients of convolutions against direct sums and PyTorch: interleaved, medians.
``python bench/weight_gradients.py [--threads 2] [NAME ...]``

Activations are channels last everywhere, weights in the usual order here and channels last in PyTorch, which
is its quickest. One thread counts its CPU time, several the clock. Ratios above 1: ours is faster.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from convolution import aligned

from treadle.devices.cpu import jit
from treadle.devices.cpu.convolution import Convolution, weight_gradient
from treadle.devices.cpu.native import Lowered
from treadle.devices.cpu.target import host_isas

CASES = {
    # name: (batch, channels, size, filters, kernel, stride)
    "64x56": (8, 64, 56, 64, 3, 1),
    "128x28": (8, 128, 28, 128, 3, 1),
    "256x14": (8, 256, 14, 256, 3, 1),
    "512x7": (8, 512, 7, 512, 3, 1),
    "64x224": (4, 64, 224, 64, 3, 1),
    "256x56": (8, 256, 56, 256, 3, 1),
    "512x28": (8, 512, 28, 512, 3, 1),
}


def case(name: str) -> Convolution:
    batch, channels, size, filters, kernel, stride = CASES[name]
    padding = kernel // 2
    out = (size + 2 * padding - kernel) // stride + 1
    last = lambda c, s: (c * s * s, 1, c * s, c)  # noqa: E731
    return Convolution(
        batch, 1, channels, filters, (size, size), (kernel, kernel), (out, out), (stride, stride),
        ((padding, padding),) * 2, (1, 1), last(channels, size),
        (channels * kernel * kernel, kernel * kernel, kernel, 1), last(filters, out),
    )  # fmt: skip


def runner(
    lowered: Lowered, arrays: dict[tuple[str, int], np.ndarray], pool: ThreadPoolExecutor | None, threads: int
) -> Callable[[], None]:
    """A call that does all steps, an even part of the tasks on each thread."""
    arrays = arrays | {("temp", i): aligned(n) for i, n in enumerate(lowered.temporaries)}
    calls = []
    for step in lowered.steps:
        loaded = jit.load(step.kernel)
        pointers = (ctypes.c_void_p * len(step.operands))(*(arrays[o].ctypes.data for o in step.operands))
        tasks = step.kernel.tasks
        cuts = [tasks * i // threads for i in range(threads + 1)]
        scratch = [aligned(step.kernel.scratch_nbytes) for _ in range(threads)]
        parts = [
            (ctypes.addressof(pointers), first, last, memory.ctypes.data)
            for first, last, memory in zip(cuts, cuts[1:], scratch, strict=False)
        ]
        calls.append((loaded.entry, parts, (loaded, pointers, scratch, arrays)))

    def run() -> None:
        for entry, parts, _ in calls:
            if pool is None:
                entry(*parts[0])
            else:
                list(pool.map(lambda part, entry=entry: entry(*part), parts))

    return run


def interleaved(
    calls: Sequence[Callable[[], object]], clock: Callable[[], float], rounds: int
) -> list[float]:
    """Median seconds of each call, taken in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for call, taken in zip(calls, times, strict=True):
            start = clock()
            call()
            taken.append(clock() - start)
    return [statistics.median(taken) for taken in times]


def measure(name: str, threads: int, rounds: int) -> None:
    """Print the line of one case."""
    import torch

    torch.set_num_threads(threads)
    c = case(name)
    batch, channels, size, filters, kernel, stride = CASES[name]
    generator = np.random.default_rng(0)
    x, dy = (
        generator.standard_normal((batch, extent, extent, n), np.float32)
        for extent, n in ((size, channels), (c.output[0], filters))
    )
    pool = ThreadPoolExecutor(threads) if threads > 1 else None
    calls, results, compile_ms = [], [], []
    for exact in (False, True):
        result = aligned(4 * filters * channels * kernel * kernel).view(np.float32)
        arrays = {("in", 0): x, ("in", 1): dy, ("out", 0): result}
        start = time.thread_time()
        lowered = weight_gradient(replace(c, exact=exact), host_isas()[0])
        calls.append(runner(lowered, arrays, pool, threads))
        compile_ms.append(1e3 * (time.thread_time() - start))
        results.append(result)
    inputs = [torch.from_numpy(a).permute(0, 3, 1, 2) for a in (dy, x)]
    weight = torch.zeros(filters, channels, kernel, kernel).to(memory_format=torch.channels_last)
    padding = [kernel // 2] * 2
    settings = (None, [stride] * 2, padding, [1, 1], False, [0, 0], 1, [False, True, False])
    calls.append(lambda: torch.ops.aten.convolution_backward.default(*inputs, weight, *settings))
    ours, direct, theirs = interleaved(calls, time.thread_time if threads == 1 else time.perf_counter, rounds)
    expected = calls[-1]()[1].contiguous().numpy().ravel()
    error = float(np.abs(results[0] - expected).max() / np.abs(expected).max())
    assert error < 1e-4, (name, error)
    flops = 2 * batch * math.prod(c.output) * channels * filters * kernel * kernel
    print(
        f"{name:14s} {ours * 1e3:7.2f} ms {flops / ours / 1e9:5.0f} GFLOP/s   direct {direct / ours:5.2f}x"
        f"   PyTorch {theirs / ours:5.2f}x   written and compiled in {compile_ms[0]:.0f} ms",
        flush=True,
    )


if __name__ == "__main__":
    # PyTorch's threads would spin on the cores that ours need.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    for chosen in arguments.names or CASES:
        measure(chosen, arguments.threads, arguments.rounds)
