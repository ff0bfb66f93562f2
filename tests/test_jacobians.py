"""Jacobians and Hessians against finite differences and against each other, in both modes."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.errors import ArgumentError, GradientError

MIX = np.random.default_rng(0).normal(size=(3, 4))


def difference_quotients(function, x, step=1e-6):
    """The Jacobian by central differences."""
    columns = []
    for i in range(x.size):
        e = np.zeros(x.size)
        e[i] = step
        ends = [function(td.asarray(x + sign * e.reshape(x.shape))).numpy() for sign in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * step))
    return np.stack(columns, axis=-1).reshape(*columns[0].shape, *x.shape)


def wide(x):
    return td.tanh(x @ td.asarray(MIX)) * td.sum(x * x)


def narrow(x):
    return td.logsumexp(x, axis=0) + x[0, 0]


@pytest.mark.parametrize("mode", [None, "forward", "reverse"])
@pytest.mark.parametrize("function", [wide, narrow, td.sum, lambda x: td.sort(x, axis=0)[::2] * x[1]])
def test_against_finite_differences(function, mode):
    x = np.random.default_rng(1).normal(size=(2, 3))
    found = td.jacobian(function, mode=mode)(td.asarray(x))
    assert found.shape == (*function(td.asarray(x)).shape, 2, 3)
    np.testing.assert_allclose(found.numpy(), difference_quotients(function, x), rtol=1e-6, atol=1e-7)


def test_what_is_less_is_computed():
    x = td.zeros((2, 3))
    tall, long = td.jacobian(lambda x: td.stack([x] * 4)), td.jacobian(lambda x: x[0])
    sizes = [{node.shape for node in _below(f(x).node)} for f in (tall, long)]
    assert not any(shape[:1] == (24,) for shape in sizes[0])
    assert not any(shape[:1] == (6,) for shape in sizes[1])


def _below(node):
    from treadle.graph.graph import ordered

    return ordered([node])


def test_several_arguments_and_values():
    a, b = td.asarray([1.0, 2.0]), td.asarray([3.0, 4.0, 5.0])
    f = lambda a, b: (a * b[:2], (a.sum() * b).sum())  # noqa: E731
    product, total = td.jacobian(f, argument=(0, 1))(a, b)
    assert [part.tolist() for part in product] == [
        [[3.0, 0.0], [0.0, 4.0]],
        [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]],
    ]
    assert [part.tolist() for part in total] == [[12.0, 12.0], [3.0, 3.0, 3.0]]
    assert td.jacobian(f, argument=1)(a, b)[1].tolist() == [3.0, 3.0, 3.0]
    assert td.jacobian(lambda a, b: a, argument=1)(a, b).tolist() == [[0.0] * 3] * 2


def test_a_hessian_against_finite_differences_of_the_gradient():
    x = np.random.default_rng(2).normal(size=(2, 3))
    f = lambda x: (wide(x) ** 2.0).sum()  # noqa: E731
    found = td.hessian(f)(td.asarray(x)).numpy()
    np.testing.assert_allclose(found, difference_quotients(td.grad(f), x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, found.transpose(2, 3, 0, 1), rtol=1e-9)


def test_hessians_by_several_arguments():
    a, b = td.asarray([1.0, 2.0]), td.asarray(3.0)
    rows = td.hessian(lambda a, b: (a * a).sum() * b * b, argument=(0, 1))(a, b)
    assert [[block.tolist() for block in row] for row in rows] == [
        [[[18.0, 0.0], [0.0, 18.0]], [12.0, 24.0]],
        [[12.0, 24.0], 10.0],
    ]


def test_in_every_style_and_mapped():
    w = td.Variable(MIX.astype(np.float32))
    x = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    f = lambda x: td.tanh(x @ w)  # noqa: E731
    expected = np.stack([difference_quotients(f, row, 1e-2) for row in x])
    mapped = td.vmap(td.jacobian(f))(x).numpy()
    np.testing.assert_allclose(mapped, expected, rtol=1e-2, atol=1e-3)
    compiled = td.compile(td.jacobian(f))(x[0]).numpy()
    np.testing.assert_allclose(compiled, mapped[0], rtol=1e-5, atol=1e-6)
    p = td.placeholder(("n",), name="p")
    by_p = td.jacobian(lambda p: p * p)(p)
    assert td.Session().run(by_p, {p: [1.0, 2.0]}).tolist() == [[2.0, 0.0], [0.0, 4.0]]
    by_w = td.jacobian(lambda w: td.asarray(x[0]) @ w)(w)
    np.testing.assert_allclose(by_w.numpy(), np.einsum("i,jk->jik", x[0], np.eye(4)), rtol=1e-6)
    third = td.jacobian(td.hessian(lambda x: (x**3.0).sum()))(td.asarray([1.0, 2.0])).numpy()
    assert third.shape == (2, 2, 2) and third[1, 1, 1] == 6.0 and third.sum() == 12.0


def test_what_it_refuses():
    x = td.ones((2,))
    with pytest.raises(ArgumentError, match="mode='sideways'; it is"):
        td.jacobian(lambda x: x, mode="sideways")
    with pytest.raises(GradientError, match=r"ys\[0\] is .*int64.*floating-point"):
        td.jacobian(lambda x: td.argmax(x))(x)
    with pytest.raises(GradientError, match=r"the function's value has shape \(2,\)"):
        td.hessian(lambda x: x * x)(x)
    with td.no_grad():
        assert td.jacobian(lambda x: x * x)(x).tolist() == [[2.0, 0.0], [0.0, 2.0]]
