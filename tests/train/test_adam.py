"""Adam against its definition, written out in NumPy."""

from __future__ import annotations

import numpy as np

import treadle as td
from treadle.train import adam

RATE = 0.01


def test_five_steps_are_those_of_the_paper():
    numbers = np.random.RandomState(0)
    start = [numbers.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,))]
    grads = [[numbers.normal(size=a.shape).astype(np.float32) for a in start] for _ in range(5)]
    variables = [td.Variable(a) for a in start]
    moments = adam.zero_moments(variables)
    for step_grads in grads:
        adam.step(variables, [td.asarray(g) for g in step_grads], moments, RATE)
    for i, w in enumerate(start):
        w, m, v = w.astype(np.float64), 0.0, 0.0
        for t, step_grads in enumerate(grads, start=1):
            g = step_grads[i]
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g**2
            # The form at the end of the paper's section 2, whose epsilon is not corrected for bias.
            w = w - RATE * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)
        np.testing.assert_allclose(variables[i].numpy(), w, rtol=2e-5)
    assert float(moments.steps) == 5


def test_a_changing_rate_is_no_new_trace():
    w = td.Variable([1.0, 2.0])
    moments = adam.zero_moments([w])

    @td.compile
    def step(rate):
        adam.step([w], [2 * w], moments, rate)
        return td.sum(w)

    sums = [float(step(rate)) for rate in (0.1, 0.05, 0.025)]
    assert len(step.traces) == 1
    np.testing.assert_allclose(sums, [2.8, 2.7, 2.65], atol=0.01)
