"""A training step in float32 and in mixed precision: the memory of its temporary values, and its time on one
thread, in turns.

    python bench/mixed.py [--seconds 4]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from interleave import interleaved, ratio

import treadle as td
from treadle import nn, optim

DTYPES = ("float32", "bfloat16", "float16")


def perceptron() -> tuple[nn.Module, np.ndarray]:
    widths = (512, 1024, 1024, 1024, 10)
    layers = [part for pair in pairwise(widths) for part in (nn.Dense(*pair), td.relu)]
    return nn.Sequential(*layers[:-1]), np.ones((1024, 512), np.float32)


def convolutions() -> tuple[nn.Module, np.ndarray]:
    def block(inputs: int, outputs: int) -> list[Any]:
        return [nn.Conv(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm(outputs), td.relu]

    layers = [*block(3, 32), *block(32, 32), nn.MaxPool(2), *block(32, 64), *block(64, 64)]
    net = nn.Sequential(*layers, nn.GlobalAveragePool(), nn.Dense(64, 10))
    return net, np.random.default_rng(0).normal(size=(32, 3, 32, 32)).astype("float32")


def step_of(make: Callable[[], tuple[nn.Module, np.ndarray]], dtype: str) -> tuple[Callable[[], Any], int]:
    """A step to call, and the bytes of its temporary values."""
    net, images = make()
    net.compute_dtype = dtype
    scale = optim.LossScale() if dtype == "float16" else None
    opt = optim.SGD(net.parameters(), 1e-3, momentum=0.9, loss_scale=scale)

    @td.compile
    def step(x: td.Array, y: td.Array) -> td.Array:
        loss = nn.cross_entropy(net(x), y)
        opt.step(td.gradients(opt.scaled(loss), net.parameters()))
        return loss

    x, y = td.asarray(images), td.asarray(np.arange(len(images)) % 10)
    step(x, y)
    return lambda: step(x, y), step.memory(x, y)["arena"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring per network")
    arguments = parser.parse_args()
    td.set_num_threads(1)
    for make in (perceptron, convolutions):
        made = {dtype: step_of(make, dtype) for dtype in DTYPES}
        times = interleaved(
            {dtype: call for dtype, (call, _) in made.items()}, arguments.seconds, time.thread_time
        )
        for dtype in DTYPES:
            ms, mb = 1e3 * times[dtype].median, made[dtype][1] / 1e6
            quicker = ratio(times, "float32", dtype)
            print(f"{make.__name__:14s} {dtype:10s} {ms:8.2f} ms ({quicker:.2f}x)  {mb:7.2f} MB")


if __name__ == "__main__":
    main()
