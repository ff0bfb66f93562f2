"""What loops stack of their carries: no copy in an iteration, and the references' values."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

import treadle as td
from treadle.array import Array
from treadle.compiler.pipeline import GRAPH_PASSES
from treadle.compiler.verify import verify
from treadle.graph.graph import ordered
from treadle.ops.control import LOOP, loop_of


def body(outputs: list[Array]) -> tuple[int, list[str]]:
    """How many results the one loop has after all passes, and the ops of its body."""
    graph = graphs.detached([output.node for output in outputs], [])[0]
    for name, change in GRAPH_PASSES:
        graph = change(graph)
        verify(graph, name)
    (loop,) = [node for node in ordered(graph) if node.op is LOOP]
    return len(loop.types), [node.op.name for node in loop_of(loop).body.order]


X, H = Array(graphs.leaf(0, 5, 3)), Array(graphs.leaf(1, 3))


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_stacked_before_and_after_is_stacked_once(reverse):
    last, (before, after) = td.scan(lambda h, x: (td.tanh(h + x), (h, td.tanh(h + x))), H, X, reverse=reverse)
    count, ops = body([last, before, after])
    assert count == 2 and "copied" not in ops


def test_a_carry_that_is_only_stacked_before_is_stored_by_who_reads_it():
    last, before = td.scan(lambda h, x: (td.tanh(h + x), h), H, X)
    assert "copied" in body([last, before])[1]
    program = td.compile(lambda x, h: td.scan(lambda h, x: (td.tanh(h + x), h), h, x)).program(
        td.asarray(np.ones((50, 64, 64), "float32")), td.asarray(np.ones((64, 64), "float32"))
    )
    loop = program.explain().split("loop of 50")[1]
    calls = [line for line in loop.splitlines()[2:] if line.startswith("      [")]
    assert len(calls) == 1 and "copied" in calls[0]


@pytest.mark.parametrize("reverse", [False, True])
def test_values_and_gradients(reverse):
    numbers = np.random.default_rng(0)
    x, h, c = (numbers.normal(size=shape).astype("float32") for shape in ((9, 4, 3), (4, 3), (4, 3)))
    results = []
    for debug in (False, True):

        @td.compile(debug=debug)
        def step(x, h, c):
            def cell(state, x):
                h, c = state
                after = td.tanh(h * c + x), c * 0.5 + h
                return after, (h, c, after[0], c > 0)

            # The second loop exchanges its carries, both of which are stacked.
            last, stacks = td.scan(cell, (h, c), x, reverse=reverse)
            _, turned = td.scan(lambda s, x: ((s[1], s[0]), s), (h, c), x, reverse=reverse)
            loss = sum(td.sum(td.square(y)) for y in (*last, *stacks[:3], *turned))
            return last, stacks, turned, td.gradients(loss, [x, h, c])

        flat = [y for group in step(*map(td.asarray, (x, h, c))) for y in group]
        results.append([np.asarray(value) for value in flat])
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
