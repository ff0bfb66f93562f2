"""Two layers and a ReLU in NumPy: forward pass, gradients worked out by hand, gradient descent."""

from __future__ import annotations

import numpy as np

N, D, H = 64, 1000, 100
RATE = 1e-6


def main(steps=50):
    numbers = np.random.RandomState(0)
    x = numbers.normal(size=(N, D)).astype(np.float32)
    y = numbers.normal(size=(N, D)).astype(np.float32)
    w1 = numbers.normal(size=(D, H)).astype(np.float32)
    w2 = numbers.normal(size=(H, D)).astype(np.float32)

    losses = []
    for _ in range(steps):
        h = x @ w1
        h_relu = np.maximum(h, 0)
        y_pred = h_relu @ w2
        difference = y_pred - y
        loss = np.mean(np.sum(difference**2, axis=1))

        grad_y_pred = 2 / N * difference
        grad_w2 = h_relu.T @ grad_y_pred
        grad_h = (grad_y_pred @ w2.T) * (h > 0)
        grad_w1 = x.T @ grad_h

        w1 -= RATE * grad_w1
        w2 -= RATE * grad_w2
        losses.append(float(loss))
        print(f"{losses[-1]:.6g}")
    return losses


if __name__ == "__main__":
    main()
