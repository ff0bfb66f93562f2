"""Temporary values take the memory of others that end where they begin, where they are read by elements."""

from __future__ import annotations

import numpy as np

import treadle as td
from treadle import nn

SHAPE = (2, 24, 20, 20)
IMAGES = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
NBYTES = IMAGES.nbytes


def test_residuals_take_the_memory_of_what_they_are_added_to():
    td.random.seed(0)
    first, last = nn.Conv(24, 24, 1), nn.Conv(24, 8, 1)
    shrink = [nn.Conv(24, 8, 1) for _ in range(3)]
    grow = [nn.Conv(8, 24, 3, padding=1) for _ in range(3)]

    def blocks(x: td.Array) -> td.Array:
        x = td.relu(first(x))
        for small, large in zip(shrink, grow, strict=True):
            x = td.relu(x + large(td.relu(small(x))))
        return td.sum(last(x), axis=(2, 3))

    with td.debug():
        expected = blocks(td.asarray(IMAGES)).numpy()
    compiled = td.compile(blocks)
    for _ in range(2):
        np.testing.assert_allclose(compiled(IMAGES).numpy(), expected, rtol=2e-4, atol=2e-3)
    # One image of 24 channels and one of 8, not two of 24.
    assert compiled.memory(IMAGES)["arena"] < 1.5 * NBYTES


def test_what_is_read_later_or_elsewhere_keeps_its_memory():
    td.random.seed(0)
    conv, other = nn.Conv(24, 24, 3, padding=1), nn.Conv(24, 24, 1)

    def later(x: td.Array) -> td.Array:
        x = td.tanh(x)
        y = td.relu(x + other(conv(x)))
        return td.sum(y) + td.sum(conv(x) * y)

    def itself(x: td.Array) -> td.Array:
        x = td.tanh(x)
        return td.sum(td.relu(x + conv(x)), axis=1)

    for function in (later, itself):
        with td.debug():
            expected = function(td.asarray(IMAGES)).numpy()
        np.testing.assert_allclose(td.compile(function)(IMAGES).numpy(), expected, rtol=2e-4, atol=2e-3)
