"""`debug=True` runs any door node by node, and `explain` and `memory` say what a run will do before
it runs.
"""

from __future__ import annotations

import pytest

import treadle as td
from treadle.devices.reference import ReferenceExecutable
from treadle.errors import IndexingError


def test_every_door_runs_by_the_references():
    x = td.placeholder((3,), name="x")
    y = td.exp(x).sum()
    assert td.Session(debug=True).run(y, {x: [0.0, 0.0, 0.0]}).item() == 3.0
    doubled = td.function([x], x * 2, debug=True)
    assert doubled([1.0, 2.0, 3.0]).tolist() == [2.0, 4.0, 6.0]

    @td.compile(debug=True)
    def step(z):
        return z * 3.0

    assert step(td.ones(2)).tolist() == [3.0, 3.0]
    with td.debug():
        assert isinstance(doubled.program([1.0, 2.0, 3.0]), ReferenceExecutable)


def test_an_index_out_of_range_names_the_line_that_asked():
    table, places = td.placeholder((5, 2), name="table"), td.placeholder((3,), dtype=td.int64, name="places")
    rows = td.take(table, places, axis=0)  # the line to be named
    for debug in (False, True):
        with pytest.raises(IndexingError, match="the line to be named"):
            td.function([table, places], rows, debug=debug)(td.zeros((5, 2)), [0, 7, 1])


def test_explain_and_memory_take_a_call_of_a_function():
    w = td.Variable(td.zeros((64, 64)))

    @td.compile
    def step(x):
        loss = td.square(x @ w).sum()
        w.assign(w - 0.1 * td.gradients(loss, w))
        return loss

    x = td.ones((8, 64))
    text = td.explain(step, x)
    for part in ("as written", "simplify", "fuse", "commit", "matmul 8x64x64", "define void @kernel"):
        assert part in text
    assert td.memory(step, x)["inputs"] == 4 * (64 * 64 + 8 * 64) + 4
    assert float(w.sum()) == 0.0
