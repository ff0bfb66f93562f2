"""Two layers and a ReLU as a static graph: the weights live in NumPy and are fed at every step."""

from __future__ import annotations

import numpy as np

import treadle as td

N, D, H = 64, 1000, 100
RATE = 1e-6


def main(steps=50):
    x = td.placeholder((N, D), name="x")
    y = td.placeholder((N, D), name="y")
    w1 = td.placeholder((D, H), name="w1")
    w2 = td.placeholder((H, D), name="w2")

    h = td.relu(x @ w1)
    y_pred = h @ w2
    loss = td.mean(td.sum(td.square(y_pred - y), axis=1))
    grad_w1, grad_w2 = td.gradients(loss, [w1, w2])

    numbers = np.random.RandomState(0)
    values = {
        x: numbers.normal(size=(N, D)).astype(np.float32),
        y: numbers.normal(size=(N, D)).astype(np.float32),
        w1: numbers.normal(size=(D, H)).astype(np.float32),
        w2: numbers.normal(size=(H, D)).astype(np.float32),
    }
    losses = []
    with td.Session() as session:
        for _ in range(steps):
            loss_value, grad_w1_value, grad_w2_value = session.run([loss, grad_w1, grad_w2], values)
            values[w1] -= RATE * grad_w1_value.numpy()
            values[w2] -= RATE * grad_w2_value.numpy()
            losses.append(float(loss_value))
            print(f"{losses[-1]:.6g}")
    return losses


if __name__ == "__main__":
    main()
