"""Pooling with the channels last, one kernel and one thread at a time: CPU time and bytes a second.

python bench/pooling.py
"""

from __future__ import annotations

import ctypes
import time

import numpy as np

from treadle.devices.cpu import jit, pooling
from treadle.devices.cpu.device import chosen_isa
from treadle.devices.cpu.native import Lowered
from treadle.devices.cpu.threads import Scratch
from treadle.devices.host import allocate

CASES = {
    # batch, channels, height and width, window, stride, padding
    "ResNet's": (8, 64, 112, 3, 2, 1),
    "Inception's": (8, 192, 28, 3, 1, 1),
    "LeNet's": (64, 32, 28, 2, 2, 0),
    "VGG's first": (4, 64, 224, 2, 2, 0),
}
REPEATS = 7


def main() -> None:
    for name, (batch, channels, size, window, stride, padding) in CASES.items():
        out = (size + 2 * padding - window) // stride + 1
        strides = [(n * n * channels, 1, n * channels, channels) for n in (size, out)]
        pads = ((padding, padding),) * 2
        shape = batch, channels, (size,) * 2, (window,) * 2, (out,) * 2, (stride,) * 2, pads
        largest = pooling.MaxPool(*shape, (1, 1), *strides)
        mean = pooling.AvgPool(*shape, *strides)
        given, made = batch * channels * size * size, batch * channels * out * out
        print(f"{name}: {batch} x {channels} x {size} x {size}, {window}x{window}, stride {stride}")
        isa = chosen_isa()
        show("maximum", pooling.max_pool(largest, isa), [given, made])
        show("its gradient", pooling.max_pool_gradient(largest, isa), [given, made, given])
        show("average", pooling.average_pool(mean, isa), [given, made])
        show("its gradient", pooling.average_pool_gradient(mean, isa), [made, given])


def show(name: str, lowered: Lowered, sizes: list[int]) -> None:
    (step,) = lowered.steps
    kernel = jit.load(step.kernel)
    buffers = [allocate(4 * size) for size in sizes]
    for buffer in buffers:
        numbers = np.random.default_rng(0).standard_normal(buffer.raw.size // 4, np.float32)
        buffer.raw[: 4 * numbers.size] = numbers.view(np.uint8)
    arguments = (ctypes.c_int64 * len(buffers))(*[buffer.address for buffer in buffers])
    scratch = Scratch(kernel.facts.scratch_nbytes + 64)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.thread_time()
        kernel.entry(ctypes.addressof(arguments), 0, kernel.facts.tasks, scratch.address)
        best = min(best, time.thread_time() - began)
    print(f"  {name:<14}{1e3 * best:8.3f} ms  {kernel.facts.nbytes / best / 1e9:6.1f} GB/s")


if __name__ == "__main__":
    main()
