"""Gradients as users take them: by what, to which order, and why not."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.errors import ArgumentError, GradientError, ShapeError


@pytest.fixture
def x():
    return td.asarray([1.0, 2.0, 3.0])


# -- by what


def test_one_x_gives_an_array_and_several_a_list(x):
    y = (x * x).sum()
    assert td.gradients(y, x).tolist() == [2.0, 4.0, 6.0]
    (alone,) = td.gradients(y, [x])
    assert alone.tolist() == [2.0, 4.0, 6.0]


def test_gradients_by_an_intermediate_array(x):
    middle = x * 3
    y = (middle * middle).sum() + x.sum()
    by_middle, by_x = td.gradients(y, [middle, x])
    assert by_middle.tolist() == [6.0, 12.0, 18.0]
    assert by_x.tolist() == [19.0, 37.0, 55.0]


def test_several_ys_are_added_and_weighted(x):
    a, b = x * 2, x * x
    assert td.gradients([a, b], x).tolist() == [4.0, 6.0, 8.0]
    weights = [td.asarray([1.0, 0.0, 0.0]), None]
    assert td.gradients([a, b], x, weights).tolist() == [4.0, 4.0, 6.0]
    assert td.gradients([a, a], x).tolist() == [4.0, 4.0, 4.0]


def test_grad_ys_must_fit(x):
    with pytest.raises(ShapeError, match=r"grad_ys\[0\] has shape \(2,\), ys\[0\] has shape \(3,\)"):
        td.gradients(x * 2, x, td.asarray([1.0, 2.0]))
    with pytest.raises(ArgumentError, match="there are 1 ys and 2 grad_ys"):
        td.gradients(x * 2, x, [None, None])


def test_y_by_itself_is_one(x):
    y = x.sum()
    assert td.gradients(y, y).item() == 1.0
    assert td.gradients(x, x).tolist() == [1.0, 1.0, 1.0]


def test_a_variable_means_the_version_that_ys_read():
    w = td.Variable([1.0, 2.0], name="w")
    before = (w * w).sum()
    w.assign(w * 10)
    assert td.gradients(before, w).tolist() == [2.0, 4.0]
    assert td.gradients((w * w).sum(), w).tolist() == [20.0, 40.0]


def test_two_versions_read_by_ys_are_an_error_with_both_lines():
    w = td.Variable([1.0, 2.0], name="w")
    first = (w * w).sum()
    w.assign(w * 10)
    second = (w * w).sum()
    with pytest.raises(GradientError) as error:
        td.gradients(first + second, w)
    message = str(error.value)
    assert "several versions of w" in message
    assert "first = (w * w).sum()" in message and "second = (w * w).sum()" in message


def test_an_assignment_is_not_differentiated_through():
    w, v = td.Variable(2.0), td.Variable(3.0)
    w.assign(w * v)
    y = w * 5
    assert td.gradients(y, w).item() == 5.0
    with pytest.raises(GradientError, match="do not depend on"):
        td.gradients(y, v)


def test_gradients_with_a_storage_layout_have_the_variables_shape():
    w = td.Variable(np.arange(6, dtype=np.float32).reshape(2, 3), layout=(1, 0))
    slope = td.gradients((w * w).sum(), w)
    np.testing.assert_array_equal(slope.numpy(), 2 * np.arange(6).reshape(2, 3))
    (w * w).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), slope.numpy())


# -- why not


def test_an_unconnected_x_is_an_error_naming_it(x):
    other = td.asarray([1.0])
    with pytest.raises(GradientError) as error:
        td.gradients((x * x).sum(), [x, other])
    message = str(error.value)
    assert "ys do not depend on xs[1], data float32[1]" in message
    assert "other = td.asarray([1.0])" in message and 'unconnected="zero"' in message
    assert td.gradients((x * x).sum(), [x, other], unconnected="zero")[1].tolist() == [0.0]
    with pytest.raises(ArgumentError, match='"error" or "zero"'):
        td.gradients(x.sum(), x, unconnected="none")


def test_a_path_through_integers_is_an_error_at_the_op(x):
    y = (x.astype(td.int32) * 2).astype(td.float32).sum()
    with pytest.raises(GradientError) as error:
        td.gradients(y, x)
    assert "ys depend on xs[0] only through" in str(error.value) and "int32[3]" in str(error.value)
    assert "y = (x.astype(td.int32) * 2)" in str(error.value)


def test_gradients_of_and_by_integers_are_errors(x):
    n = td.asarray([1, 2])
    with pytest.raises(
        GradientError, match=r"ys\[0\] is sum int64\[\].*gradients are of floating-point values"
    ):
        td.gradients((n * 2).sum(), n)
    with pytest.raises(GradientError, match=r"xs\[0\] is data int64\[2\]"):
        td.gradients(n.astype(td.float32).sum(), n)
    with pytest.raises(GradientError, match=r"xs\[1\] is data int64\[2\]"):
        td.gradients(x.sum(), [x, n])


def test_an_op_without_a_gradient_is_named_with_its_reason(x):
    with pytest.raises(GradientError, match="argmax"):
        td.gradients(td.argmax(x).astype(td.float32), x)


def test_stop_gradient_gives_zeros_on_purpose(x):
    assert td.gradients((td.stop_gradient(x) * x).sum(), x).tolist() == [1.0, 2.0, 3.0]
    assert td.gradients(td.stop_gradient(x).sum(), x).tolist() == [0.0, 0.0, 0.0]


# -- functions


def test_grad_and_value_and_grad(x):
    value, slopes = td.value_and_grad(lambda a, b: (a * b).sum(), argument=[0, 1])(x, x * 2)
    assert value.item() == 28.0
    assert [s.tolist() for s in slopes] == [[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]]
    (value, extra), slope = td.value_and_grad(lambda a: ((a * a).sum(), "extra"), has_aux=True)(x)
    assert extra == "extra" and slope.tolist() == [2.0, 4.0, 6.0] and value.item() == 14.0
    with pytest.raises(GradientError, match=r"the function's value has shape \(3,\)"):
        td.grad(lambda a: a * a)(x)
    with pytest.raises(GradientError, match="returns the value, or"):
        td.value_and_grad(lambda a: (a.sum(), 1, 2), has_aux=True)(x)


def test_grad_by_the_same_array_in_two_places_is_apart(x):
    first = td.grad(lambda a, b: (a * a * b).sum())(x, x)
    assert first.tolist() == [2.0, 8.0, 18.0]


def test_grad_by_a_variable():
    w = td.Variable([1.0, 2.0])
    assert td.grad(lambda w: (w * w).sum())(w).tolist() == [2.0, 4.0]


def test_functions_differentiate_inside_no_grad(x):
    with td.no_grad():
        assert td.grad(lambda a: (a * a).sum())(x).tolist() == [2.0, 4.0, 6.0]
        _, pull = td.vjp(lambda a: a * a, x)
        assert pull(td.asarray([1.0, 1.0, 1.0]))[0].tolist() == [2.0, 4.0, 6.0]


def test_no_grad_inside_a_differentiated_function_stops(x):
    def f(a):
        with td.no_grad():
            b = a * a
        return (a * b).sum()

    assert td.grad(f)(x).tolist() == [1.0, 4.0, 9.0]


@pytest.mark.parametrize("demanded", [False, True])
def test_vjp_pulls_back_also_what_was_computed(x, demanded):
    value, pull = td.vjp(lambda a, b: (a * b, a + b), x, x * 2)
    if demanded:
        value[0].numpy(), value[1].numpy()
    one, zero = td.asarray([1.0, 1.0, 1.0]), td.asarray([0.0, 0.0, 0.0])
    assert [g.tolist() for g in pull(one, zero)] == [[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]]
    assert [g.tolist() for g in pull(zero, one)] == [[1.0] * 3, [1.0] * 3]
    with pytest.raises(ArgumentError, match="has 2 values, and 1 cotangents"):
        pull(one)
    with pytest.raises(ShapeError, match=r"cotangents\[0\] has shape \(\)"):
        pull(td.asarray(1.0), zero)


def test_jvp_is_the_directional_derivative(x):
    t = td.asarray([1.0, 0.0, -1.0])
    value, derivative = td.jvp(lambda a: (td.sin(a), a.sum()), [x], [t])
    np.testing.assert_allclose(derivative[0].numpy(), np.cos(x.numpy()) * t.numpy(), rtol=1e-6)
    assert derivative[1].item() == 0.0 and isinstance(value, tuple)
    with pytest.raises(ShapeError, match=r"tangents\[0\] has shape \(2,\)"):
        td.jvp(td.sin, [x], [td.asarray([1.0, 2.0])])


def test_hvp_is_the_hessian_times_a_vector(x):
    v = td.asarray([1.0, 2.0, 3.0])
    (product,) = td.hvp(lambda a: (a * a * a).sum() + a[0] * a[1], [x], [v])
    hessian = np.diag(6 * x.numpy())
    hessian[0, 1] = hessian[1, 0] = 1
    np.testing.assert_allclose(product.numpy(), hessian @ v.numpy(), rtol=1e-6)
    assert td.hvp(lambda a: a.sum(), [x], [v])[0].tolist() == [0.0, 0.0, 0.0]


def test_any_order():
    f = lambda a: a**5.0  # noqa: E731
    expected = 1.0
    power, value = 5, 2.0
    for order in range(1, 5):
        f = td.grad(f)
        expected = np.prod([power - i for i in range(order)]) * value ** (power - order)
        assert f(td.asarray(value)).item() == pytest.approx(expected)


def test_second_order_by_variables_and_in_a_session():
    w = td.Variable([1.0, 2.0])
    x = td.placeholder((2,), name="x")
    first = td.gradients(((w * x) ** 3.0).sum(), w)
    second = td.gradients(first.sum(), w)
    got = td.Session().run(second, {x: [1.0, 2.0]})
    np.testing.assert_allclose(got.numpy(), [6.0, 6 * 2 * 8], rtol=1e-6)


def test_custom_vjp_replaces_the_gradient_in_every_style(x):
    @td.custom_vjp
    def hard(a):
        return (a > 1.5).astype(td.float32)

    with pytest.raises(GradientError, match="hard has no rule yet"):
        hard(x)

    @hard.rule
    def straight_through(g, y, a):
        return (g * 2,)

    assert hard(x).tolist() == [0.0, 1.0, 1.0]
    assert td.grad(lambda a: hard(a).sum())(x).tolist() == [2.0, 2.0, 2.0]
    p = td.placeholder((3,))
    assert td.Session().run(td.gradients(hard(p).sum(), p), {p: x}).tolist() == [2.0] * 3
    assert td.compile(td.grad(lambda a: hard(a).sum()))(x).tolist() == [2.0] * 3
    hard.rule(lambda g, y, a: (g, g))
    with pytest.raises(GradientError, match="gives 2 cotangents for 1 inputs"):
        td.grad(lambda a: hard(a).sum())(x)


def test_custom_vjp_of_two_inputs_and_second_order(x):
    @td.custom_vjp
    def product(a, b):
        return a * b

    product.rule(lambda g, y, a, b: (g * b, None))
    by_a, by_b = td.value_and_grad(lambda a, b: (product(a, b) * b).sum(), argument=[0, 1])(x, x)[1]
    assert by_a.tolist() == [1.0, 4.0, 9.0] and by_b.tolist() == [1.0, 4.0, 9.0]
    again = td.grad(lambda a: td.grad(lambda c: (product(c, c * c)).sum())(a).sum())(x)
    assert again.tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("wrap", [lambda f, *a: f(*a), td.checkpoint])
def test_a_static_graph_adds_up_every_read_of_a_variable(wrap):
    w, x = td.Variable([1.0, 2.0]), td.placeholder((2,), name="x")
    started_before = w * w
    loss = wrap(lambda x: (x * w + started_before + w * 3).sum(), x)
    slope = td.gradients(loss, w)
    assert td.Session().run(slope, {x: [10.0, 20.0]}).tolist() == [15.0, 27.0]
    loss.backward()
    assert td.Session().run(w.grad, {x: [10.0, 20.0]}).tolist() == [15.0, 27.0]


# -- backward


def test_backward_adds_up_until_it_is_reset():
    w = td.Variable([1.0, 2.0])
    assert w.grad is None
    (w * 3).sum().backward()
    (w * w).sum().backward()
    assert w.grad.tolist() == [5.0, 7.0]
    w.grad = None
    (w * w).backward(td.asarray([1.0, 0.0]))
    assert w.grad.tolist() == [2.0, 0.0]


def test_backward_reaches_trainable_variables_and_marked_arrays_only(x):
    trained, fixed = td.Variable([1.0, 1.0, 1.0]), td.Variable([2.0, 2.0, 2.0], trainable=False)
    steps = td.Variable(0)
    marked = x * 1
    marked.requires_grad = True
    (trained * fixed * marked * x * steps.astype(td.float32) + trained).sum().backward()
    assert trained.grad.tolist() == [1.0, 1.0, 1.0] and marked.grad.tolist() == [0.0] * 3
    assert fixed.grad is None and x.grad is None and steps.grad is None


def test_backward_says_what_is_missing(x):
    w = td.Variable([1.0, 2.0])
    with pytest.raises(GradientError, match=r"the array has shape \(2,\): sum it to one number, or pass"):
        (w * 2).backward()
    with pytest.raises(GradientError, match="depends on no variable and on no array marked"):
        x.sum().backward()
    with pytest.raises(GradientError, match="only variables and arrays marked"):
        x.grad = x


# -- checkpoint


def block(a, w):
    for _ in range(4):
        a = td.tanh(a @ w)
    return a


@pytest.mark.parametrize("random", [False, True])
def test_checkpoint_gives_the_same_numbers(random):
    w = td.Variable(np.linspace(-0.3, 0.3, 64, dtype=np.float32).reshape(8, 8))
    start = td.asarray(np.linspace(0, 1, 32, dtype=np.float32).reshape(4, 8))

    def layer(a):
        a = block(a, w)
        return a * td.random.bernoulli(0.5, a.shape).astype(td.float32) if random else a

    def run(apply):
        td.random.seed(5)
        loss = (apply(layer, apply(layer, start)) ** 2.0).sum()
        by_w = td.gradients(loss, w)
        td.evaluate(loss, by_w)
        return loss.item(), by_w.numpy()

    plain, saved = run(lambda f, a: f(a)), run(lambda f, a: td.checkpoint(f, a))
    assert plain[0] == pytest.approx(saved[0], rel=1e-6)
    np.testing.assert_allclose(plain[1], saved[1], rtol=1e-5, atol=1e-7)
    assert np.abs(plain[1]).max() > 0


def test_checkpoint_lowers_the_memory_of_a_step():
    w = td.Variable(np.eye(64, dtype=np.float32))
    x = td.placeholder((256, 64))

    def step(apply):
        a = x
        for _ in range(6):
            a = apply(lambda a: block(a, w), a)
        return td.function([x], td.gradients((a**2.0).sum(), w))

    batch = np.ones((256, 64), np.float32)
    with td.debug(False):
        plain = step(lambda f, a: f(a)).memory(batch)["arena"]
        saved = step(lambda f, a: td.checkpoint(f, a)).memory(batch)["arena"]
    assert saved < 0.6 * plain


def test_checkpoint_keeps_structure_and_second_order(x):
    pair = td.checkpoint(lambda a: (a * a, a + 1), x)
    assert isinstance(pair, tuple) and pair[1].tolist() == [2.0, 3.0, 4.0]
    f = lambda a: td.checkpoint(lambda b: (b * b * b).sum(), a)  # noqa: E731
    assert td.grad(lambda a: td.grad(f)(a).sum())(x).tolist() == [6.0, 12.0, 18.0]


def test_variables_are_not_marked():
    w, n = td.Variable(1.0, name="w"), td.Variable(1)
    w.requires_grad = True
    assert w.requires_grad and not n.requires_grad
    for variable, wanted in ((w, False), (n, True)):
        with pytest.raises(GradientError, match="a mark for arrays"):
            variable.requires_grad = wanted
