"""A filter on the spectrum, trained: one weight a frequency, so that noisy signals come out clean.

The weights that minimise the squared error are Wiener's: of each frequency the share that is signal.
"""

from __future__ import annotations

import numpy as np

import treadle as td

SIZE = 64
RATE = 0.8


def signals(count, rng):
    """Clean ones, of the frequencies 1 to 5, and the same with noise."""
    waves = np.arange(1, 6)[:, None] * np.arange(SIZE) * (2 * np.pi / SIZE)
    parts = rng.normal(size=(2, count, 5))
    clean = parts[0] @ np.sin(waves) + parts[1] @ np.cos(waves)
    return clean.astype(np.float32), (clean + rng.normal(size=clean.shape)).astype(np.float32)


def main(steps=200):
    rng = np.random.default_rng(0)
    clean, noisy = signals(256, rng)
    weights = td.Variable(td.ones(SIZE // 2 + 1), name="weights")

    @td.compile
    def step(noisy, clean):
        filtered = td.fft.irfft(td.fft.rfft(noisy) * weights, n=SIZE)
        loss = td.mean(td.square(filtered - clean))
        weights.assign(weights - RATE * td.gradients(loss, weights))
        return loss

    losses = []
    for i in range(steps):
        losses.append(float(step(noisy, clean)))
        if i % 50 == 0 or i == steps - 1:
            print(f"step {i:3}   loss {losses[-1]:.4f}")
    print("passes ", " ".join(f"{w:.2f}" for w in weights.tolist()[:8]))
    return losses, weights.numpy()


if __name__ == "__main__":
    main()
