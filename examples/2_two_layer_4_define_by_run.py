"""Two layers and a ReLU, define-by-run: plain Python, a new graph each step, `backward` for the gradients."""

from __future__ import annotations

import numpy as np

import treadle as td

N, D, H = 64, 1000, 100
RATE = 1e-6


def main(steps=50):
    numbers = np.random.RandomState(0)
    x = td.asarray(numbers.normal(size=(N, D)), dtype=td.float32)
    y = td.asarray(numbers.normal(size=(N, D)), dtype=td.float32)
    w1 = td.Variable(numbers.normal(size=(D, H)), name="w1", dtype=td.float32)
    w2 = td.Variable(numbers.normal(size=(H, D)), name="w2", dtype=td.float32)

    losses = []
    for _ in range(steps):
        h = td.relu(x @ w1)
        y_pred = h @ w2
        loss = td.mean(td.sum(td.square(y_pred - y), axis=1))
        loss.backward()

        for w in (w1, w2):
            w -= RATE * w.grad
            w.grad = None
        losses.append(float(loss))
        print(f"{losses[-1]:.6g}")
    return losses


if __name__ == "__main__":
    main()
