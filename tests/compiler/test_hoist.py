"""Work moved out of loops: what stays in the body, and the same values for random loops, their gradients and
what `vmap` makes of them.
"""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle import dtypes
from treadle.array import Array
from treadle.compiler import hoist
from treadle.compiler.pipeline import GRAPH_PASSES
from treadle.compiler.verify import verify
from treadle.graph.graph import ordered
from treadle.graph.node import Node
from treadle.ops.control import LOOP, loop_of


def leaf(index: int, *shape: int, dtype=dtypes.float64) -> Array:
    return Array(graphs.leaf(index, *shape, dtype=dtype))


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def passed(outputs: list[Node]) -> list[Node]:
    """A graph after all passes, each checked."""
    for name, change in GRAPH_PASSES:
        outputs = change(outputs)
        verify(outputs, name)
    return outputs


def loops(outputs: list[Node]) -> list[Node]:
    return [node for node in ordered(outputs) if node.op is LOOP]


def body(loop: Node) -> list[str]:
    return [node.op.name for node in loop_of(loop).body.order]


def products(outputs: list[Node]) -> list[tuple[int, ...]]:
    """The shapes of the products that are in no loop."""
    return [node.shape for node in ordered(outputs) if node.op.name == "matmul"]


def through(arrays: list[Array]) -> list[Node]:
    """The graph of arrays after all passes."""
    return passed(graphs.detached([array.node for array in arrays], [])[0])


# -- what moves

X, H, W, U, V = leaf(0, 6, 4, 3), leaf(1, 4, 5), leaf(2, 3, 5), leaf(3, 5, 5), leaf(4, 5, 2)
LENGTH = 6


def test_a_product_of_slices_is_one_before_the_loop():
    h, hs = td.scan(lambda h, x: (td.tanh(x @ W + h @ U), h), H, X)
    graph = through([h, hs])
    (loop,) = loops(graph)
    assert body(loop).count("matmul") == 1
    assert products(graph) == [(LENGTH * 4, 5)]


def test_what_is_worked_on_element_by_element_goes_with_it():
    h, _ = td.scan(lambda h, x: (td.tanh(td.exp(x @ W + 1) * h @ U), None), H, X)
    (loop,) = loops(through([h]))
    assert "exp" not in body(loop) and body(loop).count("matmul") == 1


def test_a_product_of_what_is_stacked_is_one_after_the_loop():
    h, ys = td.scan(lambda h, x: (td.tanh(h @ U), td.exp(h @ V)), H, length=LENGTH)
    graph = through([h, ys])
    (loop,) = loops(graph)
    assert body(loop).count("matmul") == 1 and "exp" not in body(loop)
    assert products(graph) == [(LENGTH * 4, 2)]


def test_the_gradients_of_weights_are_products_after_the_loop():
    _, hs = td.scan(lambda h, x: ((h := td.tanh(x @ W + h @ U)), h), H, X)
    graph = through(td.gradients((hs * hs).sum(), [X, W, U]))
    forward, backward = loops(graph)
    assert body(forward).count("matmul") == body(backward).count("matmul") == 1
    assert loop_of(backward).carries == 1
    assert sorted(products(graph)) == [(3, 5), (5, 5), (LENGTH * 4, 3), (LENGTH * 4, 5)]


def test_the_gradient_of_a_bias_is_a_sum_after_the_loop():
    """Of what is stacked for the weight's gradient anyway: the bias of the inputs has the same one."""
    b, c = leaf(5, 5), leaf(6, 5)
    _, hs = td.scan(lambda h, x: ((h := td.tanh(x @ W + b + (h @ U + c))), h), H, X)
    graph = through(td.gradients((hs * hs).sum(), [U, b, c]))
    _, backward = loops(graph)
    assert "sum" not in body(backward) and loop_of(backward).carries == 1
    assert graph[1] is graph[2]


def test_what_is_the_same_in_every_iteration_is_computed_once():
    h, _ = td.scan(lambda h, x: (h @ (U @ U) + td.exp(W).sum() * x.sum(), None), H, X)
    graph = through([h])
    (loop,) = loops(graph)
    assert body(loop).count("matmul") == 1 and "exp" not in body(loop)
    assert products(graph) == [(5, 5)]


def test_a_weight_from_the_left_is_one_product_too():
    x, w = leaf(0, 6, 3), leaf(1, 5, 3)
    h, _ = td.scan(lambda h, x: (td.tanh(w @ x + h), None), td.zeros(5, dtype="float64"), x)
    graph = through([h])
    assert products(graph) == [(6, 5)]
    assert "matmul" not in body(loops(graph)[0])


def test_nothing_is_left_of_a_loop_that_only_adds_up():
    total, _ = td.scan(lambda s, x: (s + x.mT @ x, None), leaf(1, 3, 3), X)
    graph = through([total])
    assert not loops(graph) and products(graph) == [(3, 3)]


def test_a_factor_that_lies_transposed_is_copied_once():
    for rows, turned in ((4, False), (16, True)):
        h, _ = td.scan(lambda h, _: (td.tanh(h @ U.mT), None), leaf(0, rows, 5), length=LENGTH)
        (loop,) = loops(through([h]))
        assert ("permute_dims" not in body(loop)) is turned


def test_results_that_nobody_takes_are_not_computed():
    def step(carry, x):
        h, n, s = carry
        return (td.tanh(h), n + 1, s + td.sin(h)), (h, td.cos(x))

    (h, *_), _ = td.scan(step, (H, 0, H), X)
    (loop,) = loops(through([h]))
    assert body(loop) == ["input", "tanh"]

    def either(carry):
        (h, s), n = carry
        return (td.tanh(h), s + H), n + 1

    (h, _), _ = td.while_loop(lambda c: c[1] < 3, either, ((H, H), 0))
    (loop,) = loops(through([h]))
    assert loop_of(loop).carries == 2 and "add" in body(loop)


# -- what stays


def test_maps_random_numbers_and_loops_that_end_early_stay_as_they_are():
    stays = {
        "a map": td.map(lambda x: x @ W, X),
        "a loop that may end": td.while_loop(
            lambda c: c.sum() < 9, lambda c: c + td.exp(H @ U), H, max_steps=5
        ),
        "random numbers": td.scan(lambda h, x: (td.tanh(h + td.random.normal((4, 3)) @ W), None), H, X)[0],
        "one iteration": td.scan(lambda h, x: (td.tanh(h + x @ W), None), H, X[:1])[0],
    }
    for name, array in stays.items():
        (loop,) = loops(through([array]))
        assert body(loop).count("matmul") == 1, name


def test_products_stay_where_their_stacks_have_no_room(monkeypatch):
    monkeypatch.setattr(hoist, "ROOM", 0)
    x, w = leaf(0, 40, 4, 2), leaf(1, 2, 50)

    def step(h, x):
        return h + td.tanh(x @ w).sum(), None

    (loop,) = loops(through([td.scan(step, leaf(2), x)[0]]))
    assert body(loop).count("matmul") == 1
    (loop,) = loops(through([td.scan(lambda h, x: (h + td.tanh(x @ w[:, :1]).sum(), None), leaf(2), x)[0]]))
    assert "matmul" not in body(loop)


def test_a_carry_that_is_looked_at_is_not_only_added_up():
    def step(carry, x):
        s, h = carry
        return (s + x.mT @ x, td.tanh(h @ s)), s

    (s, h), ss = td.scan(step, (leaf(1, 3, 3), leaf(2, 3)), X)
    (loop,) = loops(through([s, h, ss]))
    assert loop_of(loop).carries == 2 and body(loop).count("matmul") == 2


def test_an_inner_loop_hands_its_work_out_to_the_outer_one_and_on():
    def outer(h, rows):
        inner, _ = td.scan(lambda h, x: (td.tanh(x @ W + h @ U), None), h, rows)
        return inner, None

    xs = leaf(0, 2, 6, 4, 3)
    graph = through([td.scan(outer, H, xs)[0]])
    (loop,) = loops(graph)
    (inner,) = [node for node in loop_of(loop).body.order if node.op is LOOP]
    assert body(inner).count("matmul") == 1
    assert "matmul" not in body(loop) and products(graph) == [(2 * 6 * 4, 5)]


# -- the same values

SHAPE = (2, 3)
KINDS = [
    lambda a, b, w, wide: a @ w,
    lambda a, b, w, wide: b @ w.mT,
    lambda a, b, w, wide: td.tanh(a),
    lambda a, b, w, wide: a + b,
    lambda a, b, w, wide: a * b,
    lambda a, b, w, wide: td.flip(a, axis=1) - b,
    lambda a, b, w, wide: (a @ wide)[:, 1:4] + b,
    lambda a, b, w, wide: a.sum(axis=0) * 0.3 + b,
    lambda a, b, w, wide: (w[:2, :2] @ a) * 0.5,
    lambda a, b, w, wide: td.random.uniform(SHAPE, dtype="float64") + a,
    lambda a, b, w, wide: td.scan(lambda c, r: (td.sin(c + r @ w), c), a[0], b)[1],
    lambda a, b, w, wide: td.cond(a.sum() > b.sum(), lambda: a @ w, lambda: td.cos(b)),
    lambda a, b, w, wide: a @ (w @ w),
    lambda a, b, w, wide: td.where(a > b, a, b @ w),
    lambda a, b, w, wide: td.exp(-a * a),
]
STEPS = st.lists(st.tuples(st.integers(0, len(KINDS) - 1), *[st.integers(0, 7)] * 2), min_size=1, max_size=8)


def body_of(steps, w, wide):
    """A body of random steps over arrays of one shape: a carry that is used, and two that only add up."""

    def step(carry, slices):
        (h, total, gram), (x, z) = carry, slices
        pool, ys = [h, x, z, w[:2]], []
        for kind, i, j in steps:
            a, b = pool[-1 - i % len(pool)], pool[-1 - j % len(pool)]
            pool.append(KINDS[kind](a, b, w, wide))
            if j % 3 == 0:
                ys.append(pool[-1])
        last, other = pool[-1], pool[-1 - steps[0][1] % len(pool)]
        follows = [td.tanh(last), h, td.sin(h + other)][steps[-1][2] % 3]
        added = [other, last @ w, other * last][steps[0][2] % 3]
        return (follows, total + added, gram + other.mT @ last), (ys, h)

    return step


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([0, 1, 2, 5]), st.booleans(), st.integers(0, 3), st.integers(0, 1))
def test_random_loops_are_the_same_after_it(steps, length, reverse, taken, order):
    shapes = [(length, *SHAPE), (length, *SHAPE), SHAPE, (3, 3), (3, 5)]
    arrays = [0.5 * numbers(*shape, seed=i) for i, shape in enumerate(shapes)]
    x, z, h, w, wide = [leaf(i, *shape) for i, shape in enumerate(shapes)]
    start = (h, td.zeros(SHAPE, dtype="float64"), w)
    (last, total, gram), (ys, hs) = td.scan(body_of(steps, w, wide), start, (x, z), reverse=reverse)
    found = [[last, total, gram, *ys, hs], [total, *ys], [gram], [last, hs]][taken]
    if order:
        loss = sum((td.sum(y * y) for y in found), start=td.zeros((), dtype="float64"))
        found += td.gradients(loss, [x, h, w, wide], unconnected="zero")
    outputs, values = graphs.detached([array.node for array in found], arrays)
    expected = graphs.by_references(outputs, values)
    for a, b in zip(graphs.by_references(passed(outputs), values), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
        assert a.shape == b.shape


@pytest.mark.parametrize("seed", range(3))
def test_mapped_loops_and_second_order_are_the_same_after_it(seed):
    picks = np.random.default_rng(seed)
    steps = [(k, *map(int, picks.integers(0, 8, 2))) for k in (0, 2, 8, 6, 3)]
    w, wide = leaf(1, 3, 3), leaf(2, 3, 5)

    def one(x):
        start = (x[0], td.zeros(SHAPE, dtype="float64"), w)
        (last, total, gram), (ys, _) = td.scan(body_of(steps, w, wide), start, (x, td.sin(x)))
        return td.sum(last * last) + td.sum(total * total) + td.sum(gram) + sum(td.sum(y) for y in ys)

    x = leaf(0, 4, 3, *SHAPE)
    slopes = td.gradients(td.sum(td.vmap(one)(x)), [x, w])
    second = td.gradients(td.sum(slopes[0] * slopes[0]) + td.sum(slopes[1] * slopes[1]), [x, w])
    outputs, values = graphs.detached(
        [a.node for a in (*slopes, *second)], [numbers(4, 3, *SHAPE), numbers(3, 3), numbers(3, 5)]
    )
    expected = graphs.by_references(outputs, values)
    for a, b in zip(graphs.by_references(passed(outputs), values), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7 * np.abs(b).max())
