"""Branches and loops of compiled programs: graphs are compiled, and a loop runs once for its gradient."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.devices.cpu import control
from treadle.devices.cpu.image import HostStep


def looped(x, w):
    last, ys = td.scan(lambda h, x: (td.tanh(h @ w + x),) * 2, td.zeros((2, 3)), x)
    return td.sum(last) + td.sum(ys * ys)


def test_a_loop_and_its_gradient_run_forward_once(monkeypatch):
    runs = []
    run_loop = control.run_loop
    monkeypatch.setattr(control, "run_loop", lambda loop, *rest: runs.append(loop) or run_loop(loop, *rest))
    w = td.Variable(np.eye(3, dtype="float32"))
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("float32")

    @td.compile
    def step(x):
        loss = looped(x, w)
        return loss, td.gradients(loss, w)

    loss, slope = step(x)
    assert len(runs) == 2
    h = td.zeros((2, 3))
    total = td.asarray(0.0)
    for t in range(5):
        h = td.tanh(h @ w + x[t])
        total = total + td.sum(h * h)
    total = total + td.sum(h)
    assert float(loss) == pytest.approx(float(total), rel=1e-5)
    np.testing.assert_allclose(slope.numpy(), td.gradients(total, w).numpy(), rtol=1e-4, atol=1e-5)


def test_the_body_is_compiled():
    w = td.Variable(np.eye(3, dtype="float32"))
    program = td.compile(lambda x: looped(x, w)).program(np.ones((5, 2, 3), "float32"))
    (step,) = [segment for segment in program.segments if isinstance(segment, HostStep)]
    assert step.node.op.of_graphs and step.node in program._graphs
