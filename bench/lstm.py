"""A training step of an LSTM (128 -> 256, 50 steps, batch 32) as a scan over a cell, and as PyTorch fuses it.

python bench/lstm.py            # milliseconds a step, forward and backward; run with PyTorch for its own
"""

from __future__ import annotations

import importlib.util
import statistics
import time

import numpy as np

STEPS, BATCH, INPUTS, WIDTH = 50, 32, 128, 256


def median_ms(step, seconds: float = 4.0) -> float:
    for _ in range(3):
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def ours():
    import treadle as td

    numbers = np.random.default_rng(0)
    xs = numbers.normal(size=(STEPS, BATCH, INPUTS)).astype("float32")
    wx, wh = (
        td.Variable(numbers.normal(size=(n, 4 * WIDTH)).astype("float32") * 0.05) for n in (INPUTS, WIDTH)
    )
    b = td.Variable(np.zeros(4 * WIDTH, "float32"))

    def cell(carry, x):
        h, c = carry
        gates = td.reshape(x @ wx + h @ wh + b, (BATCH, 4, WIDTH))
        i, f, g, o = (gates[:, k] for k in range(4))
        c = td.sigmoid(f) * c + td.sigmoid(i) * td.tanh(g)
        h = td.sigmoid(o) * td.tanh(c)
        return (h, c), h

    @td.compile
    def step(xs):
        start = (td.zeros((BATCH, WIDTH)), td.zeros((BATCH, WIDTH)))
        _, hs = td.scan(cell, start, xs)
        loss = td.mean(td.square(hs))
        return loss, *td.gradients(loss, [wx, wh, b])

    return lambda: float(step(xs)[0])


def pytorch():
    import torch

    net = torch.nn.LSTM(INPUTS, WIDTH)
    xs = torch.randn(STEPS, BATCH, INPUTS)

    def step():
        net.zero_grad()
        loss = net(xs)[0].square().mean()
        loss.backward()
        return float(loss)

    return step


if __name__ == "__main__":
    if importlib.util.find_spec("treadle"):
        print(f"treadle {median_ms(ours()):.2f} ms")
    if importlib.util.find_spec("torch"):
        print(f"PyTorch {median_ms(pytorch()):.2f} ms")
