"""Indices of scatters are checked before anything is stored, and the scatters then wait for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle.compiler.program import LibraryCall
from treadle.devices.cpu.section import can_fail
from treadle.errors import IndexingError


def trained():
    """Two weights, and a step that looks a table up and takes a part of what it finds."""
    numbers = np.random.default_rng(0)
    table = td.Variable(numbers.normal(size=(9, 40)).astype("float32"))
    w = td.Variable(numbers.normal(size=(16, 30)).astype("float32"))

    @td.compile
    def step(indices):
        found = table[indices][..., :16]
        loss = td.sum(td.square(td.tanh(found @ w)))
        for x, g in zip((table, w), td.gradients(loss, [table, w]), strict=True):
            x.assign(x - 0.1 * g)
        return loss

    return table, w, step


def test_the_scatter_of_an_embeddings_gradient_cannot_fail():
    _, _, step = trained()
    executable: Any = step.program(td.asarray(np.arange(50) % 9))
    calls = executable.build.section.passes.schedule.calls
    (scatter,) = [c for c in calls if isinstance(c, LibraryCall) and c.node.op.name == "scatter_add"]
    assert not can_fail(scatter) and any(map(can_fail, calls))
    assert None not in executable.donations[1:]


@pytest.mark.parametrize("wrong", [9, -10])
def test_an_index_out_of_range_leaves_every_variable_as_it_was(wrong):
    """Though the part of the table that is taken is of other places."""
    table, w, step = trained()
    good = np.arange(50) % 9
    step(td.asarray(good))
    before = [np.array(x) for x in (table, w)]
    bad = good.copy()
    bad[7] = wrong
    with pytest.raises(IndexingError, match=f"index {wrong} is out of range"):
        step(td.asarray(bad))
    for x, value in zip((table, w), before, strict=True):
        np.testing.assert_array_equal(np.asarray(x), value)
    assert np.isfinite(step(td.asarray(good)).item())


def test_only_the_places_that_are_taken_are_looked_up_but_all_are_checked():
    table = td.Variable(np.zeros((4, 3), "float32"))

    @td.compile
    def step(indices):
        taken = table[indices][:2]
        (g,) = td.gradients(td.sum(taken * 2), [table])
        table.assign(table + g)
        return td.sum(taken)

    step(td.asarray([0, 1, 2, 3]))
    before = np.array(table)
    np.testing.assert_array_equal(before.sum(axis=1), [6, 6, 0, 0])
    with pytest.raises(IndexingError):
        step(td.asarray([0, 1, 2, 4]))
    np.testing.assert_array_equal(np.asarray(table), before)
