"""Mixed batches: what is drawn, what is mixed, and wrong use."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from treadle.nn.mixup import beta


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_shares_have_the_moments_of_their_distribution(alpha):
    td.random.seed(4)
    drawn = beta(alpha, (40_000,)).numpy().astype(np.float64)
    variance = 1 / (4 * (2 * alpha + 1))
    fourth = 3 * (2 * alpha + 1) / (2 * alpha + 3) * variance**2
    spread = 5 * np.sqrt((fourth - variance**2) / len(drawn)) + 1e-6
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert abs(drawn.mean() - 0.5) < 5 * np.sqrt(variance / len(drawn))
    assert abs(((drawn - 0.5) ** 2).mean() - variance) < spread


def test_a_compiled_step_mixes_anew_in_each_run():
    td.random.seed(1)
    mix = nn.Mixup(3, alpha=1.0)
    x, y = np.arange(8, dtype=np.float32).reshape(4, 2), np.array([0, 1, 2, 0])
    step = td.compile(lambda x, y: mix(x, y))
    shares = []
    for _ in range(3):
        mixed, labels = (part.numpy() for part in step(x, y))
        share = labels[1, 1]
        assert np.allclose(mixed, share * x + (1 - share) * x[::-1], atol=1e-5)
        assert np.allclose(labels, share * np.eye(3)[y] + (1 - share) * np.eye(3)[y[::-1]], atol=1e-6)
        shares.append(float(share))
    assert len(set(shares)) == 3
    mix.eval()
    assert np.array_equal(step(x, y)[1].numpy(), y)


def test_wrong_use():
    with pytest.raises(ArgumentError, match="alpha=0"):
        nn.Mixup(2, 0)
    with pytest.raises(ArgumentError, match="classes=0"):
        nn.Mixup(0)
    with pytest.raises(ShapeError, match=r"x has shape \(2, 1\), labels \(3,\)"):
        nn.Mixup(2)(td.ones((2, 1)), td.asarray([0, 1, 1]))
    with pytest.raises(IndexingError):
        td.evaluate(nn.Mixup(2)(td.ones((2, 1)), td.asarray([0, 2]))[1])
    with pytest.raises(DTypeError, match=r"x is uint8; expected floating: td\.astype"):
        nn.Mixup(2)(td.ones((2, 1), dtype=td.uint8), td.asarray([0, 1]))
