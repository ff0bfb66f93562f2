"""Training steps of random networks come to what the references say, and to the same bits in guarded
memory.
"""

from __future__ import annotations

import numpy as np
import random_networks
from guarded import guarded
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle import config
from treadle.devices.cpu.target import host_isas


@settings(max_examples=20)
@given(random_networks.RECIPES)
def test_steps_agree_with_the_references(recipe):
    found = random_networks.trained(recipe, td.float64, 2)
    expected = random_networks.trained(recipe, td.float64, 2, debug=True)
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-9)


@settings(max_examples=10)
@given(random_networks.RECIPES, st.sampled_from(host_isas()))
def test_no_value_is_read_or_written_beside_its_place(recipe, isa):
    with config.configured(isa=isa.name), guarded() as kernels:
        found = random_networks.trained(recipe, td.float32, 2)
    assert kernels and all(np.isfinite(value).all() for value in found)
    (loss, *_) = random_networks.trained(recipe, td.float64, 1, debug=True)
    np.testing.assert_allclose(found[0], loss, rtol=1e-3, atol=1e-4)
