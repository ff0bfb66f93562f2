"""Waves through noisy points: their coefficients by QR, their frequency by gradients through it.

Variable projection (Golub and Pereyra, 1973): whatever the frequency, the best coefficients are a linear
least-squares problem; what is minimised is what remains of it.
"""

from __future__ import annotations

import numpy as np

import treadle as td

RATE = 0.3


def main(steps=60):
    rng = np.random.default_rng(0)
    times = np.linspace(0, 4, 80)
    points = 1.5 * np.sin(2.0 * times) - 0.5 * np.cos(2.0 * times) + 0.3 + 0.05 * rng.normal(size=80)
    t, y = td.asarray(times), td.asarray(points)
    frequency = td.Variable(1.6, name="frequency", dtype=td.float64)

    @td.compile
    def step(t, y):
        waves = td.stack([td.sin(frequency * t), td.cos(frequency * t), td.ones_like(t)], axis=1)
        q, r = td.linalg.qr(waves)
        coefficients = td.linalg.solve(r, q.mT @ y)
        loss = td.mean(td.square(waves @ coefficients - y))
        frequency.assign(frequency - RATE * td.gradients(loss, frequency))
        return loss, coefficients

    losses, coefficients = [], None
    for i in range(steps):
        loss, coefficients = step(t, y)
        losses.append(float(loss))
        if i % 20 == 0 or i == steps - 1:
            print(f"step {i:3}   loss {losses[-1]:.5f}   frequency {float(frequency):.4f}")
    assert coefficients is not None
    print("coefficients", " ".join(f"{c:.3f}" for c in coefficients.tolist()))
    return losses, float(frequency), coefficients.tolist()


if __name__ == "__main__":
    main()
