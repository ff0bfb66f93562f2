"""A peer that imports nothing heavy: it reads our losses off, or does what its variant says."""

from __future__ import annotations

import os
import sys
import time

import numpy as np


def prepare(job):
    assert job["batch"]["x"].shape == tuple(job["workload"]["x"])
    with np.load(job["values"]) as values:
        weights = {name: values[name] for name in values}
    w1, w2 = weights["hidden.weight"], weights["output.weight"]
    memory = [np.zeros_like(w1), np.zeros_like(w2)]
    x, y = job["batch"]["x"], job["batch"]["y"]
    variant = job["variant"]
    steps = 0

    def step():
        nonlocal steps
        steps += 1
        if variant == "dies" and steps == 2:
            print("out of paper", file=sys.stderr)
            os._exit(3)
        if variant == "hangs" and steps == 4:
            time.sleep(600)
        h = np.maximum(x @ w1.T, 0)
        difference = h @ w2.T - y
        loss = np.mean(np.square(difference))
        grad = difference * (2 / difference.size)
        grads = (((grad @ w2) * (h > 0)).T @ x, grad.T @ h)
        for w, v, g in zip((w1, w2), memory, grads, strict=True):
            v *= 0.9
            v += g
            w -= job["workload"]["rate"] * v
        return loss + (variant == "wrong")

    return step, np.asarray
