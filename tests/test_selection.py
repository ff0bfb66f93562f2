"""Operations whose result shape depends on values."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.errors import PlaceholderError, ShapeError


def test_nonzero_names_places_in_row_major_order():
    x = np.array([[0, 2], [3, 0], [0, 0]])
    rows, columns = td.nonzero(td.asarray(x))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    assert rows.dtype is td.int64
    with pytest.raises(ShapeError, match="0-d"):
        td.nonzero(td.asarray(1.0))


def test_unique_values_are_sorted_and_keep_each_nan():
    assert td.unique_values(td.asarray([3.0, 1.0, 3.0])).tolist() == [1.0, 3.0]
    assert len(td.unique_values(td.asarray([float("nan"), float("nan")]))) == 2


def test_static_graphs_have_no_such_shapes():
    x = td.placeholder((3,), name="x")
    for function in (td.nonzero, td.unique_values):
        with pytest.raises(PlaceholderError, match="'x'"):
            function(x)


def test_result_type_takes_arrays_numbers_and_dtypes():
    assert td.result_type(td.ones(1, dtype=td.int8), td.int16) is td.int16
    assert td.result_type(td.ones(1, dtype=td.float16), 2.5) is td.float16
    assert td.result_type(td.ones(1, dtype=td.int32), 2.5) is td.float32
    assert td.result_type(1, 2) is td.int64
    assert td.result_type(td.bfloat16, td.float16) is td.float32
