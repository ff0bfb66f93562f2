"""CSV files: rows and targets, and what is said of those that are broken."""

from __future__ import annotations

import numpy as np
import pytest

from treadle import data
from treadle.errors import ArgumentError, FormatError


def test_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,"b, c",y\n1,2.5,3\n\n4,-5e1,6\n')
    rows, labels = data.csv(path, target="y").batch(2)[0]
    assert rows.tolist() == [[1, 2.5], [4, -50]] and rows.dtype == np.float32
    assert labels.tolist() == [3, 6] and labels.dtype == np.int64
    assert data.csv(path)[1].tolist() == [4, -50, 6]
    assert data.csv(path, target="b, c")[0][1].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("a,y\n1,2\n3\n", FormatError, "line 3: 1 values, the header names 2"),
        ("a,y\n1,cat\n", FormatError, "line 2, column 'y': 'cat' is no number"),
        ('a,y\n1,"2\n', FormatError, "no CSV file"),
        ("a,b\n1,2\n", ArgumentError, "has no column 'y', it has"),
        ("a,y\n", ArgumentError, "the data set is empty"),
    ],
)
def test_broken_csv(tmp_path, text, error, says):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(error, match=says):
        data.csv(path, target="y")
