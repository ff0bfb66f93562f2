"""Convolutions against PyTorch: one thread, thread CPU time, interleaved, medians. ``python
bench/convolution.py [NAME ...]``

Ours run channels last; PyTorch runs both layouts and the quicker one counts. A ratio above 1: ours is faster.
"""

from __future__ import annotations

import ctypes
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from treadle.devices.cpu import jit
from treadle.devices.cpu.convolution import Convolution, forward, input_gradient, weight_gradient
from treadle.devices.cpu.native import Lowered
from treadle.devices.cpu.target import Isa, host_isas

CASES = {
    # name: (batch, channels, size, filters, kernel, stride, padding, groups)
    "lenet1": (64, 1, 28, 32, 5, 1, 2, 1),
    "lenet2": (64, 32, 14, 64, 5, 1, 2, 1),
    "resnet-stem": (8, 3, 224, 64, 7, 2, 3, 1),
    "resnet-64": (8, 64, 56, 64, 3, 1, 1, 1),
    "resnet-128": (8, 128, 28, 128, 3, 1, 1, 1),
    "resnet-256": (8, 256, 14, 256, 3, 1, 1, 1),
    "resnet-512": (8, 512, 7, 512, 3, 1, 1, 1),
    "resnet-down": (8, 128, 56, 128, 3, 2, 1, 1),
    "one-64-256": (8, 64, 56, 256, 1, 1, 0, 1),
    "one-256-64": (8, 256, 56, 64, 1, 1, 0, 1),
    "one-down": (8, 256, 56, 512, 1, 2, 0, 1),
    "resnext": (8, 128, 56, 128, 3, 1, 1, 32),
    "depthwise": (8, 128, 56, 128, 3, 1, 1, 128),
    "depthwise-down": (8, 128, 56, 128, 3, 2, 1, 128),
}


def case(name: str) -> Convolution:
    """The convolution of a name, channels last, weights as PyTorch's channels last."""
    batch, channels, size, filters, kernel, stride, padding, groups = CASES[name]
    out = (size + 2 * padding - kernel) // stride + 1
    last = lambda c, s: (c * s * s, 1, c * s, c)  # noqa: E731
    inner = channels // groups
    return Convolution(
        batch, groups, channels, filters, (size, size), (kernel, kernel), (out, out), (stride, stride),
        ((padding, padding),) * 2, (1, 1), last(channels, size), last(inner, kernel), last(filters, out),
    )  # fmt: skip


def aligned(nbytes: int) -> np.ndarray:
    """Zeroed bytes, 64-byte aligned."""
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def runner(lowered: Lowered, arrays: dict[tuple[str, int], np.ndarray], isa: Isa) -> Callable[[], None]:
    """A call that does all steps on one thread."""
    arrays = arrays | {("temp", i): aligned(n) for i, n in enumerate(lowered.temporaries)}
    calls = []
    for step in lowered.steps:
        loaded = jit.load(step.kernel, isa)
        pointers = (ctypes.c_void_p * len(step.operands))(*(arrays[o].ctypes.data for o in step.operands))
        scratch = aligned(loaded.facts.scratch_nbytes)
        calls.append((loaded, loaded.entry, pointers, step.kernel.tasks, scratch, arrays))

    def run() -> None:
        for _, entry, pointers, tasks, scratch, _ in calls:
            entry(ctypes.addressof(pointers), 0, tasks, scratch.ctypes.data)

    return run


def interleaved(calls: Sequence[Callable[[], object]], seconds: float = 0.02, rounds: int = 7) -> list[float]:
    """Median seconds of each call, taken in turn."""
    counts = []
    for call in calls:
        call()
        start = time.thread_time()
        call()
        counts.append(max(1, int(seconds / max(time.thread_time() - start, 1e-6))))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, count, taken in zip(calls, counts, times, strict=True):
            start = time.thread_time()
            for _ in range(count):
                call()
            taken.append((time.thread_time() - start) / count)
    return [statistics.median(taken) for taken in times]


def measure(name: str, isa: Isa) -> None:
    """Print the three directions of one case."""
    import torch

    torch.set_num_threads(1)
    c = case(name)
    batch, channels, size, filters, kernel, stride, padding, groups = CASES[name]
    out = c.output[0]
    x = torch.randn(batch, channels, size, size)
    w = torch.randn(filters, channels // groups, kernel, kernel) / math.sqrt(
        channels // groups * kernel * kernel
    )
    dy = torch.randn(batch, filters, out, out)
    backward = torch.ops.aten.convolution_backward.default

    def torch_calls(x, w, dy) -> list[Callable[[], object]]:
        settings = (None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups)
        masks = ([True, False, False], [False, True, False])
        return [
            lambda: torch.nn.functional.conv2d(x, w, None, stride, padding, 1, groups),
            *(lambda mask=mask: backward(dy, x, w, *settings, mask) for mask in masks),
        ]

    def raw(tensor) -> np.ndarray:
        values = tensor.permute(0, 2, 3, 1).numpy()
        memory = aligned(values.nbytes).view(np.float32)
        memory[:] = values.ravel()
        return memory

    first = torch_calls(x, w, dy)
    last = torch_calls(*(t.to(memory_format=torch.channels_last) for t in (x, w, dy)))
    wanted = [first[0](), first[1]()[0], first[2]()[1]]
    flops = 2 * dy.numel() * channels // groups * kernel * kernel
    row = f"{name:15s}"
    cases = ((forward, (x, w)), (input_gradient, (dy, w)), (weight_gradient, (x, dy)))
    for which, (direction, inputs) in enumerate(cases):
        start = time.perf_counter()
        lowered = direction(c, isa)
        generated = time.perf_counter()
        result = aligned(4 * wanted[which].numel()).view(np.float32)
        arrays = {("in", i): raw(tensor) for i, tensor in enumerate(inputs)} | {("out", 0): result}
        ours = runner(lowered, arrays, isa)
        compiled = time.perf_counter()
        ours()
        error = float(np.abs(result - raw(wanted[which])).max() / np.abs(wanted[which].numpy()).max())
        assert error < 1e-4, (name, direction, error)
        t_ours, t_first, t_last = interleaved([ours, first[which], last[which]])
        ratio = min(t_first, t_last) / t_ours
        row += (
            f" | {direction.__name__:15s} {ratio:5.2f}x {flops / t_ours / 1e9:5.0f} GFLOP/s"
            f" {t_ours * 1e3:7.2f} ms"
            f" (write {(generated - start) * 1e3:.0f} + compile {(compiled - generated) * 1e3:.0f} ms)"
        )
    print(row, flush=True)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or CASES:
        measure(chosen, host_isas()[0])
