"""The five programs side by side: the same losses, and times of every step."""

from __future__ import annotations

import numpy as np
import pytest

from treadle.errors import ArgumentError
from treadle.lecture import two_layer
from treadle.lecture.two_layer import Run


def test_all_programs_give_the_same_losses():
    started = []
    runs = two_layer.run_all(50, started.append)
    assert started == [run.name for run in runs] == list(two_layer.PROGRAMS)
    assert all(len(run.losses) == len(run.times_ms) == 50 for run in runs)
    found = two_layer.differences(runs)
    assert found[0] == 0
    assert max(found) <= two_layer.TOLERANCE
    assert runs[0].losses[-1] < 0.1 * runs[0].losses[0]


def test_steps_are_timed_without_the_first():
    run = Run("five steps", [], [100.0, 3.0, 1.0, 2.0, 9.0])
    assert (run.step_ms, run.first_ms) == (2.5, 100.0)
    assert Run("one step", [], [7.0]).step_ms == 7.0


def test_the_largest_difference_is_relative_and_of_any_step():
    runs = [Run("a", [200.0, 100.0], []), Run("b", [200.0, 101.0], []), Run("c", [150.0, 100.0], [])]
    np.testing.assert_allclose(two_layer.differences(runs), [0, 0.01, 0.25])


def test_no_steps_is_an_error():
    with pytest.raises(ArgumentError, match="steps=0: there must be at least one"):
        two_layer.run_all(0)
