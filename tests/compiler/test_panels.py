"""What loops multiply by, laid in panels: which products, and that the results are the same."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

import treadle as td
from treadle import dtypes
from treadle.array import Array
from treadle.compiler.pipeline import GRAPH_PASSES
from treadle.compiler.verify import verify
from treadle.graph.graph import ordered
from treadle.ops.control import LOOP, loop_of


def leaf(index: int, *shape: int, dtype=dtypes.float32) -> Array:
    return Array(graphs.leaf(index, *shape, dtype=dtype))


def products(outputs: list[Array]) -> list[tuple[int, ...]]:
    """The shapes of the products in loops, after all passes."""
    graph = graphs.detached([output.node for output in outputs], [])[0]
    for name, change in GRAPH_PASSES:
        graph = change(graph)
        verify(graph, name)
    loops = [node for node in ordered(graph) if node.op is LOOP]
    inside = [node for loop in loops for node in loop_of(loop).body.order]
    return [node.shape for node in inside if node.op.name == "matmul"]


@pytest.mark.parametrize(
    ("rows", "columns", "length", "dtype", "shape"),
    [
        (20, 320, 9, dtypes.float32, (10, 20, 32)),
        (20, 320, 9, dtypes.float64, (20, 20, 16)),
        (20, 320, 2, dtypes.float32, (20, 320)),
        (20, 128, 9, dtypes.float32, (20, 128)),
        (20, 330, 9, dtypes.float32, (20, 330)),
        (3, 320, 9, dtypes.float32, (3, 320)),
        (300, 320, 9, dtypes.float32, (300, 320)),
    ],
)
def test_which_products_multiply_by_panels(rows, columns, length, dtype, shape):
    start, w = leaf(0, rows, columns, dtype=dtype), leaf(1, columns, columns, dtype=dtype)
    h, _ = td.scan(lambda h, _: (td.tanh(h @ w), None), start, length=length)
    assert products([h]) == [shape]


def test_a_recurrent_net_with_its_gradients():
    """As the references compute it, the second factor being turned around backwards."""
    numbers = np.random.default_rng(0)
    x, w, u = (
        numbers.normal(size=shape).astype("float32") * 0.1 for shape in ((6, 17, 5), (5, 512), (256, 512))
    )
    results = []
    for debug in (False, True):

        @td.compile(debug=debug)
        def step(x, w, u):
            def cell(h, x):
                gates = td.reshape(x @ w + h @ u, (17, 2, 256))
                h = td.sigmoid(gates[:, 0]) * td.tanh(gates[:, 1]) + h
                return h, h

            _, hs = td.scan(cell, td.zeros((17, 256)), x)
            return hs, *td.gradients(td.sum(td.square(hs)), [x, w, u])

        results.append([np.asarray(value) for value in step(*map(td.asarray, (x, w, u)))])
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)
