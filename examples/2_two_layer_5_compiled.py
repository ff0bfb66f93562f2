"""Two layers and a ReLU, compiled: the step is a plain function, traced once and then run as one program."""

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

    @td.compile
    def step(x, y):
        h = td.relu(x @ w1)
        y_pred = h @ w2
        loss = td.mean(td.sum(td.square(y_pred - y), axis=1))
        grad_w1, grad_w2 = td.gradients(loss, [w1, w2])
        w1.assign(w1 - RATE * grad_w1)
        w2.assign(w2 - RATE * grad_w2)
        return loss

    losses = []
    for _ in range(steps):
        losses.append(float(step(x, y)))
        print(f"{losses[-1]:.6g}")
    return losses


if __name__ == "__main__":
    main()
