"""The graph that the tests of pictures draw."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import treadle as td


@pytest.fixture
def net() -> SimpleNamespace:
    """The two-layer net with its gradients and in-graph updates, in scopes."""
    x, y = td.placeholder((4, 5), name="x"), td.placeholder((4, 3), name="y")
    w1, w2 = td.Variable(td.zeros((5, 6)), name="w1"), td.Variable(td.zeros((6, 3)), name="w2")
    with td.scope("layer1"):
        h = td.maximum(x @ w1, 0)
    with td.scope("layer2"):
        predicted = h @ w2
    with td.scope("loss"):
        loss = ((predicted - y) ** 2).sum()
    g1, g2 = td.gradients(loss, [w1, w2])
    with td.scope("sgd"):
        updates = [td.update(w1, w1 - 0.25 * g1), td.update(w2, w2 - 0.25 * g2)]
    return SimpleNamespace(x=x, y=y, w1=w1, w2=w2, h=h, loss=loss, gradients=[g1, g2], updates=updates)
