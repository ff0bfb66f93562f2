"""Twenty steps of every optimizer against PyTorch's numbers, kept in pytorch.npz by make_pytorch.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import treadle as td
from treadle import optim

W = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)
X = np.cos(np.arange(24, dtype="float32")).reshape(8, 3)
Y = np.sin(np.arange(32, dtype="float32")).reshape(8, 4)
MAKERS = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "decayed": lambda p: optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "adagrad": lambda p: optim.AdaGrad(p, 0.1),
    "rmsprop": lambda p: optim.RMSProp(p, 0.01),
    "centered": lambda p: optim.RMSProp(p, 0.01, momentum=0.9, centered=True),
    "adam": lambda p: optim.Adam(p, 0.05, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, 0.05),
}


@pytest.mark.parametrize("name", MAKERS)
def test_twenty_steps(name):
    expected = np.load(Path(__file__).with_name("pytorch.npz"))
    w, b = td.Variable(W), td.Variable(np.zeros(4, "float32"))
    optimizer = MAKERS[name]([w, b])

    @td.compile
    def step(x, y):
        loss = td.mean(td.square(x @ w + b - y))
        optimizer.step(td.gradients(loss, [w, b]))
        return loss

    for _ in range(20):
        step(X, Y)
    np.testing.assert_allclose(w.numpy(), expected[f"{name}.w"], rtol=2e-4, atol=2e-6)
    np.testing.assert_allclose(b.numpy(), expected[f"{name}.b"], rtol=2e-4, atol=2e-6)
