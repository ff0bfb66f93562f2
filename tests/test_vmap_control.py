"""Branches and loops under `vmap`, against one example after the other: values, gradients in and around them,
in either tier; random numbers in loops in mappings.
"""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 1.2, size=shape).astype(np.float32)


def flat(result):
    """The arrays of a result as NumPy's."""
    if isinstance(result, (tuple, list)):
        return [array for item in result for array in flat(item)]
    return [] if result is None else [np.asarray(result)]


def agree(function, *arguments, in_axes=0, tolerance=1e-5):
    """All examples at once, in define-by-run and compiled, give what one after the other gives."""
    axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(arguments)
    count = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    rows = []
    for i in range(count):
        row = [a if axis is None else np.take(a, i, axis) for a, axis in zip(arguments, axes, strict=True)]
        rows.append(flat(function(*map(td.asarray, row))))
    expected = [np.stack(values) for values in zip(*rows, strict=True)]
    mapped = td.vmap(function, axes)
    for call in (mapped, td.compile(mapped)):
        found = flat(call(*map(td.asarray, arguments)))
        assert len(found) == len(expected)
        for value, wanted in zip(found, expected, strict=True):
            assert value.dtype == wanted.dtype
            np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance)


def with_gradients(function, *arguments, by=0, in_axes=0):
    """The same of the function, of its gradient for each example, and of the gradient of all together."""
    agree(function, *arguments, in_axes=in_axes)
    loss = lambda *a: td.sum(td.sin(function(*a)))  # noqa: E731
    agree(td.grad(loss, by), *arguments, in_axes=in_axes, tolerance=1e-4)
    whole = td.grad(lambda *a: td.vmap(loss, in_axes)(*a).sum(), by)(*map(td.asarray, arguments))
    each = td.vmap(td.grad(loss, by), in_axes)(*map(td.asarray, arguments)).numpy()
    axis = in_axes[by] if isinstance(in_axes, tuple) else in_axes
    wanted = each.sum(0) if axis is None else np.moveaxis(each, 0, axis)
    np.testing.assert_allclose(whole.numpy(), wanted, rtol=1e-4, atol=1e-5)


# -- scan and map

W = numbers(3, 3, seed=5) - 0.5


def recurrent(w, h, xs, reverse=False):
    def step(h, x):
        h = td.tanh(h @ w + x)
        return h, h * 2

    last, stacked = td.scan(step, h, xs, reverse=reverse)
    return td.concat([last[None], stacked])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "in_axes", [(None, 0, 0), (None, 0, None), (None, None, 1), (0, None, None), (0, 0, 0)]
)
def test_a_scan_over_what_differs_between_examples(in_axes, reverse):
    shapes = ((3, 3), (3,), (5, 3))
    arrays = [
        numbers(*shape, seed=i) if axis is None else numbers(*shape[:axis], 4, *shape[axis:], seed=i)
        for i, (shape, axis) in enumerate(zip(shapes, in_axes, strict=True))
    ]
    by = next(i for i, axis in enumerate(in_axes) if axis is not None)
    with_gradients(lambda w, h, xs: recurrent(w, h, xs, reverse), *arrays, by=by, in_axes=in_axes)


def test_per_example_gradients_of_a_recurrent_net_are_one_loop():
    each = td.vmap(td.grad(lambda *a: recurrent(*a).sum()), (None, 0, 0))
    text = td.explain(each(*map(td.asarray, (W, numbers(4, 3), numbers(4, 5, 3)))))
    assert "loop(" in text and "looped" not in text
    with_gradients(recurrent, W, numbers(4, 3), numbers(4, 5, 3, seed=1), by=0, in_axes=(None, 0, 0))


def test_carries_and_stacks_that_are_the_same_for_all_stay_so():
    def f(x):
        return td.scan(lambda c, i: ((c[0] + i, c[1] * x), (c[0] * 2, c[1])), (0.0, 1.0), td.arange(3.0))

    agree(f, numbers(4))
    made = td.vmap(f, out_axes=((None, 0), (None, 0)))(td.asarray(numbers(4)))
    assert made[0][0].item() == 3.0 and made[1][0].tolist() == [0.0, 0.0, 2.0]


def test_a_map_and_a_map_of_a_mapping():
    agree(lambda xs: td.map(lambda x: td.sort(x) * x.sum(), xs), numbers(4, 5, 3))
    agree(lambda xs: td.map(lambda x: td.vmap(lambda a: a * x.sum())(x), xs), numbers(4, 5, 3))
    with_gradients(lambda xs: td.map(td.vmap(lambda a: a * a), xs), numbers(4, 5, 3))


def test_as_many_examples_as_a_run_says():
    x = td.placeholder(("batch", 5, 3), name="x")
    y = td.vmap(lambda xs: recurrent(td.asarray(W), td.zeros(3), xs))(x)
    value = numbers(4, 5, 3)
    found = td.Session().run(y, {x: value}).numpy()
    for i in range(4):
        wanted = recurrent(td.asarray(W), td.zeros(3), td.asarray(value[i])).numpy()
        np.testing.assert_allclose(found[i], wanted, rtol=1e-5, atol=1e-6)


# -- cond


def test_a_branch_that_is_the_same_for_all_stays_one():
    def f(x, yes):
        return td.cond(yes, lambda x: td.sin(x) * x, lambda x: td.exp(x) + 1, x)

    for yes in (True, False):
        with_gradients(f, numbers(4, 3), np.array(yes), in_axes=(0, None))
    y = td.vmap(f, (0, None))(td.asarray(numbers(4, 3)), td.asarray(True))
    assert "cond" in td.explain(y)


def test_a_branch_of_which_one_side_differs():
    shared = td.asarray(numbers(3))

    def f(x, yes):
        return td.cond(yes, lambda: (x * 2, shared), lambda: (shared, shared + 1))

    for yes in (True, False):
        agree(f, numbers(4, 3), np.array(yes), in_axes=(0, None))


def test_a_predicate_that_differs_chooses_between_both_sides():
    def f(x):
        return td.cond(x.sum() > 2, lambda x: td.sqrt(x) * x, lambda x: td.exp(-x), x)

    x = numbers(6, 3)
    assert len({bool(row.sum() > 2) for row in x}) == 2
    with_gradients(f, x)
    agree(lambda x: td.vmap(f)(x), numbers(3, 4, 3))
    agree(lambda yes: td.cond(yes, lambda: 1.0, lambda: 2.0), np.array([True, False]))


# -- while_loop


def doubled(x, limit):
    return td.while_loop(lambda c: c[0].sum() < limit, lambda c: (c[0] * 1.5, c[1] + 1), (x, 0))


def test_a_loop_ends_for_each_example_at_its_time():
    x = np.array([[1.0, 2.0], [100.0, 1.0], [0.1, 0.1], [3.0, 0.5]], np.float32)
    agree(doubled, x, np.float32(50.0), in_axes=(0, None))
    agree(doubled, x[0], np.array([1.0, 50.0, 500.0], np.float32), in_axes=(None, 0))
    agree(lambda rows: td.vmap(lambda r: doubled(r, 40.0))(rows), np.stack([x, x[::-1] * 2]))


def test_a_loop_that_ends_for_all_at_once_keeps_its_condition():
    def f(x):
        return td.while_loop(lambda c: c[1] < 4, lambda c: (td.sin(c[0]) + x, c[1] + 1), (x * 2, 0))

    agree(f, numbers(4, 3))
    _, count = td.vmap(f, out_axes=(0, None))(td.asarray(numbers(4, 3)))
    assert count.item() == 4


@pytest.mark.parametrize("max_steps", [3, 20])
def test_gradients_of_loops_of_different_lengths(max_steps):
    def f(x):
        return td.while_loop(lambda c: c.sum() < 9, lambda c: c * c + x, x, max_steps=max_steps)

    x = np.array([[1.0, 2.0], [10.0, 1.0], [0.5, 0.9], [0.3, 1.1]], np.float32)
    with_gradients(f, x)


# -- random numbers


def walk(steps):
    return lambda x: td.scan(lambda c, _: (c, c + td.random.uniform(())), x, length=steps)[1]


def test_every_example_and_every_iteration_draws_its_own():
    drawn = td.vmap(walk(5))(td.zeros(4)).numpy()
    assert drawn.shape == (4, 5) and len(np.unique(drawn)) == 20
    inner = td.vmap(
        lambda x: td.scan(lambda c, _: (c, td.vmap(lambda v: v + td.random.uniform())(x)), 0.0, length=3)[1]
    )
    assert len(np.unique(inner(td.zeros((4, 2))).numpy())) == 24
    outer = td.scan(lambda c, _: (c, td.vmap(walk(2))(td.zeros(3))), 0.0, length=4)[1].numpy()
    assert outer.shape == (4, 3, 2) and len(np.unique(outer)) == 24
    twice = td.compile(td.vmap(walk(5)))
    assert len(np.unique([twice(td.zeros(4)).numpy() for _ in range(2)])) == 40


def test_loops_that_end_apart_draw_too():
    def f(limit):
        start = (td.zeros(()), td.zeros(3))

        def step(c):
            i = td.astype(c[0], td.int64)
            return c[0] + 1, td.where(td.arange(3) == i, td.random.uniform(()), c[1])

        return td.while_loop(lambda c: c[0] < limit, step, start)[1]

    drawn = td.vmap(f)(td.asarray([3.0, 1.0, 2.0])).numpy()
    assert (drawn > 0).tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert len(np.unique(drawn[drawn > 0])) == 6
