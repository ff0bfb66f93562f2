"""Means and variances of columns: shapes that fill neither vectors nor chunks, and far from zero."""

from __future__ import annotations

import numpy as np
import pytest
from guard import run_lowered

from treadle.devices.cpu.moments import Moments, moments
from treadle.devices.cpu.target import Isa, host_isas


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "rows, columns", [(1, 1), (3, 5), (700, 16), (1031, 33), (257, 150), (5, 4099), (40000, 1)]
)
def test_mean_and_variance_of_columns(rows: int, columns: int, dtype: str, isa: Isa) -> None:
    x = (np.random.default_rng(rows).standard_normal((rows, columns)) + 1000).astype(dtype)
    mean, variance = np.zeros(columns, dtype), np.zeros(columns, dtype)
    run_lowered(moments(Moments(rows, columns, dtype), isa), [x], [mean, variance], isa)
    wide = x.astype(np.float64)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(mean, wide.mean(0), rtol=tolerance)
    np.testing.assert_allclose(variance, wide.var(0), rtol=200 * tolerance, atol=tolerance**2)


def test_chunks_do_not_depend_on_threads_and_fill_them() -> None:
    steps = moments(Moments(100352, 64, "float32"), host_isas()[0]).steps
    assert [step.kernel.tasks for step in steps] == [196, 1]
