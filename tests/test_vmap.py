"""`vmap` as users call it: axes, nesting, gradients in and around it, random numbers, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import autodiff, nn, state
from treadle.batching import Batching
from treadle.errors import ArgumentError, GradientError, PlaceholderError, ShapeError, StateError
from treadle.graph.node import Op, Type, make
from treadle.ops import random
from treadle.ops.record import OPS


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(
        np.asarray(found.numpy() if hasattr(found, "numpy") else found),
        expected,
        rtol=tolerance,
        atol=tolerance,
    )


# -- axes


def test_an_axis_for_each_argument_and_for_the_result():
    x, w = numbers(3, 5, 4), numbers(4, 2)
    f = td.vmap(lambda x, w: td.tanh(x @ w), in_axes=(1, None))
    expected = np.stack([np.tanh(x[:, i] @ w) for i in range(5)])
    close(f(x, w), expected)
    close(
        td.vmap(lambda x, w: td.tanh(x @ w), in_axes=(-2, None), out_axes=-1)(x, w),
        np.moveaxis(expected, 0, -1),
    )
    close(td.vmap(lambda x, w: td.tanh(x @ w), (None, 1))(x[:, 0], w), np.tanh(x[:, 0] @ w).T)


def test_structures_of_arguments_and_results():
    state = {"w": numbers(3, 2), "b": [numbers(2), numbers(3, 2, 2)]}

    def f(state, x, scale):
        y = state["w"] * x + state["b"][0]
        return {"y": y, "more": (state["b"][1] @ y * scale, 2.0, "text")}

    axes = ({"w": 0, "b": (None, 0)}, None, None)
    found = td.vmap(f, axes, out_axes={"y": 1, "more": 0})(state, td.asarray(numbers(2, seed=1)), 3.0)
    y = state["w"] * numbers(2, seed=1) + state["b"][0]
    close(found["y"], y.T)
    close(found["more"][0], np.einsum("bij,bj->bi", state["b"][1], y) * 3.0)
    assert found["more"][1].tolist() == [2.0] * 3 and found["more"][2] == "text"


def test_what_is_the_same_for_all():
    x = td.asarray(numbers(3, 2))
    shared = td.asarray([1.0, 2.0])
    first, second = td.vmap(lambda a: (shared * 2, a), out_axes=(None, 0))(x)
    assert first.tolist() == [2.0, 4.0] and second.tolist() == x.tolist()
    assert td.vmap(lambda a: shared * 2)(x).tolist() == [[2.0, 4.0]] * 3
    with pytest.raises(ArgumentError, match=r"out_axes is None for the result, of shape \(2,\)"):
        td.vmap(lambda a: a, out_axes=None)(x)


def test_unknown_are_the_same_for_all():
    x = td.asarray(numbers(3, 2))
    assert td.vmap(lambda a, *, b: a + b)(x, b=x[0]).tolist() == (x + x[0]).tolist()


def test_nested_maps():
    x, y = numbers(3, 2), numbers(4, 2, seed=1)
    pairs = td.vmap(lambda a: td.vmap(lambda b: td.tanh(a * b).sum())(td.asarray(y)))(td.asarray(x))
    close(pairs, np.tanh(x[:, None] * y).sum(-1))
    table = td.vmap(td.vmap(td.multiply, in_axes=(None, 0)), in_axes=(0, None), out_axes=1)(x[:, 0], y[:, 0])
    close(table, np.outer(y[:, 0], x[:, 0]))
    inner = td.vmap(lambda a: td.vmap(lambda b: b * 2 + x.sum())(a))(td.asarray(x))
    close(inner, x * 2 + x.sum())


def test_one_example_and_none():
    assert td.vmap(lambda a: (a * 2).sum())(td.ones((1, 3))).tolist() == [6.0]
    empty = td.vmap(lambda a: td.sort(a) @ td.ones((3, 2)))(td.ones((0, 3)))
    assert empty.shape == (0, 2) and empty.numpy().size == 0


# -- in every style


@pytest.mark.parametrize("sizes", [("batch", 3), (5, 3)])
def test_on_placeholders(sizes):
    w = td.Variable(numbers(3, 2))
    x = td.placeholder(sizes, name="x")

    def f(a):
        return td.softmax(a @ w)[1] + td.concat([a, a]).max() + td.pad(a, 1).sum()

    y = td.vmap(f)(x)
    slope = td.gradients(y.sum(), w)
    value, by_w = td.Session().run([y, slope], {x: numbers(5, 3)})
    loop = [f(td.asarray(row)) for row in numbers(5, 3)]
    close(value, np.stack([a.numpy() for a in loop]))
    close(by_w, sum(td.gradients(a, w).numpy() for a in loop))


def test_a_convolution_of_unknown_batch_with_a_filter_for_each():
    x, w = td.placeholder(("batch", 2, 4, 5), name="x"), td.placeholder(("batch", 6, 1, 3, 3), name="w")
    y = td.vmap(lambda x, w: td.conv(x[None], w, groups=2)[0])(x, w)
    slope = td.gradients((y * y).sum(), w)
    feeds = {x: numbers(3, 2, 4, 5), w: numbers(3, 6, 1, 3, 3, seed=1)}
    found = td.Session().run([y, slope], feeds)
    for i in range(3):
        a, b = (td.asarray(value[i]) for value in feeds.values())
        one = td.conv(a[None], b, groups=2)[0]
        by_b = td.gradients((one * one).sum(), b)
        close(found[0].numpy()[i], one.numpy())
        close(found[1].numpy()[i], by_b.numpy(), 1e-4)


def test_inside_and_around_compile():
    w = td.Variable(numbers(3))
    x = numbers(4, 3)

    @td.compile
    def outer(x):
        return td.vmap(lambda a: td.tanh(a * w).sum())(x)

    @td.compile
    def inner(a):
        return td.tanh(a * w).sum()

    expected = np.tanh(x * w.numpy()).sum(-1)
    close(outer(x), expected)
    close(td.vmap(inner)(x), expected)
    w.assign(w * 2)
    close(outer(x), np.tanh(x * w.numpy()).sum(-1))


def test_it_is_lazy_and_keeps_the_variables_version():
    w = td.Variable([1.0, 2.0])
    y = td.vmap(lambda a: (a * w).sum())(td.ones((3, 2)))
    w.assign(w * 10)
    assert y.tolist() == [3.0] * 3
    assert td.vmap(lambda a: (a * w).sum())(td.ones((3, 2))).tolist() == [30.0] * 3


def test_arrays_inside_can_be_printed():
    shown = []
    td.vmap(lambda a: shown.append((repr(a), str(a * 2))) or a)(td.ones((3, 2)))
    assert shown == [
        ("Array(example, float32[2], of one example)", "Array(multiply, float32[2], of one example)")
    ]


# -- gradients in and around it


def loss(first, second, x, y):
    logits = td.log_softmax(td.tanh(x @ first) @ second)
    return -(logits * td.one_hot(y, 3)).sum()


@pytest.mark.parametrize("kind", [td.asarray, td.Variable])
def test_per_example_gradients(kind):
    first, second = kind(numbers(4, 5)), kind(numbers(5, 3, seed=1))
    x, y = numbers(6, 4, seed=2), np.array([0, 1, 2, 2, 1, 0])
    f = td.value_and_grad(loss, argument=(0, 1))
    values, found = td.vmap(f, in_axes=(None, None, 0, 0))(first, second, x, y)
    for i in range(6):
        value, slopes = f(first, second, td.asarray(x[i]), td.asarray(y[i]))
        close(values[i], value.numpy())
        for slope, expected in zip(found, slopes, strict=True):
            close(slope[i], expected.numpy())


def test_per_example_gradients_by_a_variable_closed_over():
    w = td.Variable(numbers(3))
    x = td.asarray(numbers(4, 3))
    found = td.vmap(lambda a: td.gradients(td.sin(a * w).sum(), w))(x)
    close(found, np.cos(x.numpy() * w.numpy()) * x.numpy())


def test_per_example_gradients_of_a_convolutional_network():
    w = {"conv": td.Variable(numbers(4, 2, 3, 3)), "dense": td.Variable(numbers(16, 3, seed=1))}
    x, y = td.asarray(numbers(5, 2, 6, 6, seed=2)), td.asarray([0, 1, 2, 0, 1])

    def loss(kernel, dense, x, y):
        maps = td.max_pool(td.relu(td.conv(x[None], kernel)), 2)
        return -td.log_softmax(td.reshape(maps, (-1,)) @ dense)[y]

    f = td.grad(loss, argument=(0, 1))
    found = td.vmap(f, in_axes=(None, None, 0, 0))(w["conv"], w["dense"], x, y)
    td.evaluate(*found)
    for i in range(5):
        for slope, expected in zip(found, f(w["conv"], w["dense"], x[i], y[i]), strict=True):
            close(slope[i], expected.numpy(), 1e-4)


def test_gradients_through_it_and_of_any_order():
    x = numbers(4, 3)
    w = td.Variable(numbers(3, seed=1))
    y = td.vmap(lambda a: td.exp(a * w).sum())(td.asarray(x))
    close(td.gradients(y.sum(), w), (np.exp(x * w.numpy()) * x).sum(0))
    third = td.vmap(td.grad(td.grad(td.grad(lambda a: a**4.0))))
    close(third(td.asarray(x[:, 0])), 24 * x[:, 0])
    outside = td.grad(lambda a: td.vmap(td.grad(lambda b: b**3.0))(a).sum())
    close(outside(td.asarray(x[0])), 6 * x[0])
    inside_out = td.vmap(td.grad(lambda row: td.vmap(lambda b: b**3.0)(row).sum()))
    close(inside_out(td.asarray(x)), 3 * x**2)


def test_vjp_jvp_and_hvp_inside_and_mapped():
    x, t = numbers(4, 3), numbers(4, 3, seed=1)
    f = lambda a: (td.sin(a).sum() * a).sum()  # noqa: E731
    one = [td.asarray(row) for row in x]
    directions = [td.asarray(row) for row in t]
    close(
        td.vmap(lambda a, d: td.jvp(f, [a], [d])[1])(x, t),
        [td.jvp(f, [a], [d])[1].item() for a, d in zip(one, directions, strict=True)],
    )
    close(
        td.vmap(lambda a, d: td.hvp(f, [a], [d])[0])(x, t),
        np.stack([td.hvp(f, [a], [d])[0].numpy() for a, d in zip(one, directions, strict=True)]),
        1e-4,
    )
    _, pull = td.vjp(lambda a: td.tanh(a) * a[0], one[0])
    (rows,) = td.vmap(pull)(td.eye(3))
    close(rows, np.stack([pull(row)[0].numpy() for row in td.eye(3)]))


def test_gradients_with_rules_of_their_own():
    @td.custom_vjp
    def scaled(a, w):
        return a * w

    scaled.rule(lambda g, y, a, w: (g * w * 10, (g * y).sum() + a.sum() * 0))
    x, w = td.asarray(numbers(4, 3)), td.asarray(2.0)
    f = lambda a, w: scaled(td.sin(a), w).sum()  # noqa: E731
    by_a, by_w = td.vmap(td.grad(f, argument=(0, 1)), in_axes=(0, None))(x, w)
    one = [td.grad(f, argument=(0, 1))(row, w) for row in x]
    close(by_a, np.stack([slopes[0].numpy() for slopes in one]))
    close(by_w, [slopes[1].item() for slopes in one])
    whole = lambda x, w: td.vmap(f, in_axes=(0, None))(x, w).sum()  # noqa: E731
    by_a, by_w = td.grad(whole, argument=(0, 1))(x, w)
    close(by_a, np.stack([slopes[0].numpy() for slopes in one]))
    close(by_w, sum(slopes[1].item() for slopes in one))
    twice = td.vmap(lambda row: td.vmap(td.grad(lambda b: f(b, w)))(row))(td.reshape(x, (2, 2, 3)))
    close(td.reshape(twice, (4, 3)), by_a.numpy())


def test_a_gradient_rule_that_ignores_an_input_and_closes_over_another():
    @td.custom_vjp
    def half(a):
        return a * 0.5

    def f(a, b):
        half.rule(lambda g, y, a: (None,) if b is None else (g * b,))
        return (half(a) * a).sum()

    x = td.asarray(numbers(3, 2))
    close(td.vmap(td.grad(f))(x, x * 3), 0.5 * x.numpy() + x.numpy() * 3 * x.numpy())
    close(td.vmap(td.grad(f), (0, None))(x, None), 0.5 * x.numpy())


@pytest.mark.parametrize("random", [False, True])
def test_recomputation_inside(random):
    w = td.Variable(numbers(3, 3) / 2)

    def layer(a):
        for _ in range(2):
            a = td.tanh(a @ w)
        return a * td.random.bernoulli(0.5, a.shape).astype(td.float32) if random else a

    def run(apply):
        td.random.seed(3)
        f = lambda a: (apply(layer, apply(layer, a)) ** 2.0).sum()  # noqa: E731
        y = td.vmap(f)(td.asarray(numbers(4, 3, seed=1)))
        each = td.vmap(td.grad(f))(td.asarray(numbers(4, 3, seed=1)))
        return y.numpy(), td.gradients(y.sum(), w).numpy(), each.numpy()

    for plain, saved in zip(run(lambda f, a: f(a)), run(td.checkpoint), strict=True):
        close(saved, plain)
        assert np.abs(plain).max() > 0


def test_stopped_and_untracked_parts_stay_so():
    x = td.asarray(numbers(4, 3))

    def f(a):
        with td.no_grad():
            b = a * 2
        return (a * b + td.stop_gradient(a) * a).sum()

    close(td.vmap(td.grad(f))(x), 3 * x.numpy())
    close(td.grad(lambda x: td.vmap(f)(x).sum())(x), 3 * x.numpy())


# -- random numbers


def test_every_example_draws_its_own_numbers_unless_a_key_is_given():
    x = td.zeros((4, 3))
    drawn = td.vmap(lambda a: a + td.random.uniform((3,)))(x).numpy()
    assert len(np.unique(drawn)) == 12
    again = td.vmap(lambda a: td.vmap(lambda b: b + td.random.normal())(a) + td.random.uniform())(x).numpy()
    assert len(np.unique(again)) == 12
    key = td.random.key(5)
    same = td.vmap(lambda a: a + td.random.uniform((3,), key=key))(x).numpy()
    np.testing.assert_array_equal(same, np.broadcast_to(td.random.uniform((3,), key=key).numpy(), (4, 3)))
    outside = td.random.uniform((3,))
    np.testing.assert_array_equal(
        td.vmap(lambda a: a + outside)(x).numpy(), np.broadcast_to(outside.numpy(), (4, 3))
    )


def test_random_numbers_inside_an_inner_map_only_differ_where_they_are_drawn():
    rows = td.vmap(lambda a: td.vmap(lambda b, r: b + r, in_axes=(0, None))(a, td.random.uniform()))(
        td.zeros((4, 3))
    ).numpy()
    assert len(np.unique(rows)) == 4 and (rows == rows[:, :1]).all()


def test_random_numbers_repeat_from_a_seed_and_differ_between_runs():
    def draw():
        td.random.seed(7)
        return td.vmap(lambda a: td.random.permutation(a))(td.ones((3, 2)) * td.arange(2)).numpy()

    np.testing.assert_array_equal(draw(), draw())
    f = td.compile(lambda x: td.vmap(lambda a: a + td.random.uniform())(x))
    assert len(np.unique([f(np.zeros(3, np.float32)).numpy() for _ in range(2)])) == 6


def test_keys_that_go_through_other_ops_differ_between_examples():
    mapping = Batching(3)
    key = autodiff.start(mapping.key(random.key_node(1, 2)))
    bits = make(random.RANDOM_BITS, (key,), ((4,), 0))
    (drawn,) = mapping.nodes([bits])
    assert drawn.shape == (3, 4) and len(np.unique(td.Array(drawn).numpy())) == 12


# -- ops without a rule


@pytest.fixture
def third_difference(monkeypatch):
    def infer(x):
        return Type((x.shape[0] - 3,), x.dtype)

    op = Op(
        "third_difference",
        infer,
        lambda x: np.diff(x, 3),
        lambda g, y, x: (_transposed(g, x),),
    )
    monkeypatch.setitem(OPS, op.name, op)
    return lambda x: td.Array(make(op, (x.node,)))


def _transposed(g, x):
    rows = np.zeros((x.shape[0] - 3, x.shape[0]), np.float32)
    for i, row in enumerate(rows):
        row[i : i + 4] = (-1, 3, -3, 1)
    return (td.Array(g) @ td.asarray(rows)).node


def test_an_op_without_a_rule_is_looped_over_and_says_so(third_difference):
    x = numbers(4, 8)
    y = td.vmap(lambda a: third_difference(a * 2) * 3)(td.asarray(x))
    assert "vmap: looped over third_difference" in td.explain(y)
    assert "looped" not in td.explain(td.vmap(lambda a: td.sort(a) @ a)(td.asarray(x)))
    close(y, 6 * np.diff(x, 3), 1e-4)
    f = lambda a: (third_difference(a) ** 2.0).sum()  # noqa: E731
    each = td.vmap(td.grad(f))(td.asarray(x))
    close(each, np.stack([td.grad(f)(td.asarray(row)).numpy() for row in x]), 1e-4)
    close(td.grad(lambda x: td.vmap(f)(x).sum())(td.asarray(x)), each.numpy(), 1e-4)
    assert td.vmap(third_difference)(td.zeros((0, 8))).shape == (0, 5)
    with pytest.raises(
        ShapeError, match=r"third_difference has no batching rule.*batch, a number that is not"
    ):
        td.vmap(third_difference)(td.placeholder(("batch", 8)))


# -- what it refuses


def test_values_of_examples_are_not_known_inside():
    x = td.ones((3, 2))
    for demand in (float, int, bool):
        with pytest.raises(PlaceholderError, match=r"td\.vmap"):
            td.vmap(lambda a, demand=demand: demand(a.sum()))(x)
    with pytest.raises(PlaceholderError, match=r"choose with td\.where"):
        td.vmap(lambda a: a[a > 0])(x)
    with pytest.raises(PlaceholderError, match=r"td\.where, or compare outside"):
        td.vmap(lambda a: a if a[0] > 0 else -a)(x)
    kept = []
    td.vmap(lambda a: kept.append(a * 2) or a)(x)
    with pytest.raises(PlaceholderError, match="it has no value outside; return it"):
        kept[0].numpy()


def test_arrays_from_outside_are_not_changed_to_one_examples_value():
    shared, x = td.zeros((2,)), td.ones((3, 2))

    def f(a):
        own = td.zeros((2,))
        own[0] = a[1]
        own += td.vmap(lambda b: b * 2)(a)
        return own

    assert td.vmap(f)(x).tolist() == [[3.0, 2.0]] * 3
    for change in (lambda a: shared.__setitem__(0, a[0]), lambda a: shared.__iadd__(a)):
        with pytest.raises(
            StateError, match=r"changed in place inside td\.vmap, to the value of one example"
        ):
            td.vmap(change)(x)
    with pytest.raises(StateError, match=r"changed in place inside td\.vmap"):
        td.vmap(lambda a: td.vmap(lambda b: a.__setitem__(0, b) or b)(a))(x)
    assert shared.tolist() == [0.0, 0.0]
    td.vmap(lambda a: shared.__iadd__(1.0))(x)
    assert shared.tolist() == [1.0, 1.0]


def test_nothing_is_stored_for_one_example():
    w = td.Variable(0.0, name="w")
    with pytest.raises(StateError, match=r"the value for w is that of one example"):
        td.vmap(lambda a: w.assign(a) or a)(td.ones((3,)))
    with pytest.raises(StateError, match=r"the value for w is that of one example"):
        td.vmap(lambda a: td.update(w, a))(td.ones((3,)))
    with pytest.raises(GradientError, match=r"the array is one example's, inside td\.vmap"):
        td.vmap(lambda a: (a * w).backward() or a)(td.ones((3,)))
    td.vmap(lambda a: w.assign(5.0) or a)(td.ones((3,)))
    assert float(w) == 5.0


def test_modules_that_keep_statistics():
    norm = nn.BatchNorm(2)
    x = td.asarray(numbers(4, 3, 2))
    with pytest.raises(StateError, match=r"that of one example.*put it in eval mode"):
        td.vmap(norm)(x)
    assert norm.running_mean.tolist() == [0.0, 0.0]
    norm.eval()
    close(td.vmap(norm)(x), norm(td.reshape(x, (12, 2))).numpy().reshape(4, 3, 2))


def test_what_is_stored_in_passing_is_the_same_for_all():
    n, x = td.Variable(0.0), td.placeholder((3,))
    y = td.vmap(
        lambda a: td.Array(state.keep(n.cell, (a * 2).node, lambda before: (td.Array(before) + 1).node))
    )(x)
    assert td.Session().run(y, {x: [1.0, 2.0, 3.0]}).tolist() == [2.0, 4.0, 6.0] and float(n) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: td.vmap(td.add)(x, x[1:]),
            r"x1 has 3 examples, in dimension 0 of shape \(3, 2\), and x2 has 2",
        ),
        (lambda x: td.vmap(lambda a, b: a, (0, 1))(x, x), r"a has 3 examples.* and b has 2, in dimension 1"),
        (lambda x: td.vmap(lambda a: a, 2)(x), r"in_axes is 2 for a, which has shape \(3, 2\)"),
        (lambda x: td.vmap(lambda a: a[0], -3)([x]), r"in_axes is -3 for a\[0\], which has shape \(3, 2\)"),
        (
            lambda x: td.vmap(lambda a, b: a)(x, 2.0),
            r"in_axes is 0 for b, which is 2.0: a number has no axis",
        ),
        (lambda x: td.vmap(lambda a, b: a, (0,))(x, x), "in_axes=\\(0,\\) has 1 entries, and 2 positional"),
        (lambda x: td.vmap(lambda a: a, None)(x), "no argument is mapped over"),
        (lambda x: td.vmap(lambda a: a, 1.5)(x), "in_axes=1.5 for a: an axis is an integer, or None"),
        (lambda x: td.vmap(lambda a: a, ((0, 0),))([x]), r"in_axes=\(0, 0\) does not fit a, a list of 1"),
        (lambda x: td.vmap(lambda a: a, out_axes=2.5)(x), "out_axes=2.5 for the result"),
        (lambda x: td.vmap(lambda a: a, out_axes=2)(x), "out_axes=2 is out of range"),
        (lambda x: td.vmap(lambda a: (a, a), out_axes=(0,))(x), "out_axes=\\(0,\\) does not fit the result"),
        (
            lambda x: td.vmap(lambda *rest: rest[0])(x, x[0]),
            r"rest\[0\] has 3 examples.* and rest\[1\] has 2",
        ),
    ],
)
def test_axes_that_do_not_fit(call, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        call(td.ones((3, 2)))
