"""Two layers and a ReLU as a static graph that holds its weights: a step updates them inside the graph."""

from __future__ import annotations

import numpy as np

import treadle as td

N, D, H = 64, 1000, 100
RATE = 1e-6


def main(steps=50):
    numbers = np.random.RandomState(0)
    x_values = numbers.normal(size=(N, D)).astype(np.float32)
    y_values = numbers.normal(size=(N, D)).astype(np.float32)

    x = td.placeholder((N, D), name="x")
    y = td.placeholder((N, D), name="y")
    w1 = td.Variable(numbers.normal(size=(D, H)), name="w1", dtype=td.float32)
    w2 = td.Variable(numbers.normal(size=(H, D)), name="w2", dtype=td.float32)

    h = td.relu(x @ w1)
    y_pred = h @ w2
    loss = td.mean(td.sum(td.square(y_pred - y), axis=1))
    grad_w1, grad_w2 = td.gradients(loss, [w1, w2])
    updates = [td.update(w1, w1 - RATE * grad_w1), td.update(w2, w2 - RATE * grad_w2)]

    losses = []
    with td.Session() as session:
        for _ in range(steps):
            loss_value, _ = session.run([loss, updates], {x: x_values, y: y_values})
            losses.append(float(loss_value))
            print(f"{losses[-1]:.6g}")
    return losses


if __name__ == "__main__":
    main()
