"""Every rule of simplification by its before and after, what must not change, and equal values merged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from graphs import by_references, leaf

from treadle import dtypes
from treadle.compiler.rules import RULES
from treadle.compiler.simplify import simplify
from treadle.compiler.verify import verify
from treadle.graph.graph import ordered
from treadle.graph.node import make, new
from treadle.ops import contraction, movement, reduction
from treadle.ops import elementwise as ew
from treadle.ops.record import OPS, Type, broadcast, constant

X, Y = leaf(0, 3, 4), leaf(1, 3, 4)
WHOLE = leaf(2, 3, 4, dtype=dtypes.int32)
TRUTH = leaf(3, 3, 4, dtype=dtypes.bool)
NARROW = leaf(4, 3, 4, dtype=dtypes.float16)
ROW, NUMBER = leaf(5, 4), leaf(6)
ONE = leaf(7, 1, 4, 1)
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, 1e30, -1e30, 1e-40, 0.3], np.float32)
ARRAYS = [
    SPECIAL.reshape(3, 4),
    SPECIAL[::-1].reshape(3, 4).copy(),
    np.arange(-6, 6, dtype=np.int32).reshape(3, 4),
    np.arange(12).reshape(3, 4) % 3 == 0,
    np.clip(SPECIAL, -6e4, 6e4).reshape(3, 4).astype(np.float16),
    np.array([1, -2, 3, -4], np.float32),
    np.array(1.5, np.float32),
    np.array([0.5, 1, 2, -3], np.float32).reshape(1, 4, 1),
]


def like(value, x=X):
    return broadcast(constant(value, x.dtype), x.shape)


def text(node):
    """A graph as an expression: names of ops, leaves and numbers; broadcasts of numbers are the numbers."""
    if node.op.name == "input":
        return f"x{node.attribute('index')}"
    if node.op.name == "constant":
        return repr(node.attribute("value"))
    if node.op.name == "broadcast_to" and node.inputs[0].op.name == "constant":
        return text(node.inputs[0])
    return f"{node.op.name}({', '.join(map(text, node.inputs))})"


def axes_of(x, *axes):
    return movement.permute_dims(x, axes)


def padded(begin, end):
    """Some columns of exp(x0), in their place."""
    columns = movement.take_slice(X, (0, begin), (3, end), (1, 1))
    return movement.pad(ew.exp(columns), ((0, 0), (begin, 4 - end)))


EXACT = {
    "nothing_done": (lambda: ew.stop_gradient(ew.positive(X)), "x0"),
    "real_conjugate": (lambda: make(OPS["conj"], (X,)), "x0"),
    "add_zero": (lambda: ew.add(0, WHOLE), "x2"),
    "subtract_zero": (lambda: ew.subtract(X, 0), "x0"),
    "multiply_by_one": (lambda: ew.multiply(1, ew.multiply(X, -1)), "negative(x0)"),
    "divide_by_power_of_two": (lambda: ew.divide(ew.divide(X, 2), 1), "multiply(x0, 0.5)"),
    "one_over": (lambda: ew.divide(1, X), "reciprocal(x0)"),
    "negative_negative": (lambda: ew.negative(ew.negative(X)), "x0"),
    "add_negative": (lambda: ew.add(ew.negative(X), Y), "subtract(x1, x0)"),
    "subtract_negative": (lambda: ew.subtract(X, ew.negative(Y)), "add(x0, x1)"),
    "negative_twice": (lambda: ew.divide(ew.negative(X), ew.negative(Y)), "divide(x0, x1)"),
    "multiply_by_itself": (lambda: ew.multiply(X, X), "square(x0)"),
    "sign_ignored": (lambda: ew.square(ew.abs(ew.negative(X))), "square(x0)"),
    "small_power": (lambda: ew.pow(ew.pow(ew.pow(X, 2), 1), -1), "reciprocal(square(x0))"),
    "same_choice": (lambda: ew.where(like(True, TRUTH), ew.where(TRUTH, X, X), Y), "x0"),
    "where_not": (lambda: ew.where(ew.logical_not(TRUTH), X, Y), "where(x3, x1, x0)"),
    "with_itself": (lambda: ew.maximum(X, ew.minimum(X, X)), "x0"),
    "not_not": (lambda: ew.logical_not(ew.logical_not(TRUTH)), "x3"),
    "and_true": (lambda: ew.logical_or(ew.logical_and(TRUTH, True), False), "x3"),
    "outer_product": (
        lambda: contraction.matmul(movement.reshape(X, (12, 1)), movement.reshape(Y, (1, 12))),
        "add(multiply(broadcast_to(reshape(x0)), broadcast_to(reshape(x1))), 0.0)",
    ),
    "no_change": (lambda: make(OPS["reshape"], (X,), ((3, 4),)), "x0"),
    "permute_nothing": (lambda: axes_of(ONE, 1, 0, 2), "reshape(x7)"),
    "slice_all": (lambda: make(OPS["slice"], (X,), ((0, 0), (3, 4), (1, 1))), "x0"),
    "flip_nothing": (lambda: movement.flip(ONE, axis=(0, 2)), "x7"),
    "pad_nothing": (lambda: make(OPS["pad"], (X, NUMBER), (((0, 0, 0), (0, 0, 0)),)), "x0"),
    "add_parts": (
        lambda: ew.add(ew.add(padded(1, 3), padded(0, 1)), padded(3, 4)),
        "concat(add(exp(slice(x0)), 0.0), add(exp(slice(x0)), 0.0), add(exp(slice(x0)), 0.0))",
    ),
    "concat_one": (lambda: movement.concat([leaf(9, 0, 4), X]), "x0"),
    "reshape_reshape": (lambda: movement.reshape(movement.reshape(X, (12,)), (2, 6)), "reshape(x0)"),
    "broadcast_broadcast": (lambda: broadcast(broadcast(ROW, (3, 4)), (2, 3, 4)), "broadcast_to(x5)"),
    "broadcast_leading": (lambda: broadcast(movement.reshape(ROW, (1, 4)), (3, 4)), "broadcast_to(x5)"),
    "reshape_number": (lambda: movement.reshape(broadcast(NUMBER, (2, 3)), (6,)), "broadcast_to(x6)"),
    "permute_permute": (
        lambda: axes_of(axes_of(leaf(8, 2, 3, 4), 1, 2, 0), 1, 0, 2),
        "permute_dims(x8)",
    ),
    "slice_slice": (
        lambda: movement.take_slice(movement.take_slice(X, (0, 1), (3, 4), (2, 1)), (1, 0), (2, 3), (1, 2)),
        "slice(x0)",
    ),
    "flip_flip": (lambda: movement.flip(movement.flip(X, axis=(0, 1)), axis=0), "flip(x0)"),
    "move_number": (
        lambda: movement.flip(axes_of(broadcast(NUMBER, (2, 3)), 1, 0), axis=0),
        "broadcast_to(x6)",
    ),
    "cast_cast": (lambda: ew.astype(ew.astype(NARROW, dtypes.float32), dtypes.float16), "x4"),
    "constant_result": (lambda: ew.add(X, ew.multiply(like(2.0), like(-1.0))), "add(x0, -2.0)"),
    "compute_then_repeat": (
        lambda: ew.exp(ew.multiply(broadcast(ROW, (3, 4)), 2)),
        "broadcast_to(exp(multiply(x5, 2.0)))",
    ),
    "sum_of_number": (lambda: reduction.sum(like(0.5), axis=1), "2.0"),
    "extreme_of_number": (lambda: reduction.max(like(0.5), axis=1), "0.5"),
}  # fmt: skip
"""By rule: a graph, and what it becomes. The values stay the same to the last bit."""

STABLER = {
    "log_exp": (lambda: ew.log(ew.exp(X)), "x0"),
    "log_one_plus": (lambda: ew.log(ew.add(1, ew.tanh(X))), "log1p(tanh(x0))"),
    "softplus": (lambda: ew.log(ew.add(ew.exp(X), 1)), "logaddexp(x0, 0.0)"),
    "exp_minus_one": (lambda: ew.subtract(ew.exp(X), 1), "expm1(x0)"),
    "logistic": (lambda: ew.divide(1, ew.add(1, ew.exp(ew.negative(X)))), "sigmoid(x0)"),
    "log_sigmoid": (lambda: ew.log(ew.sigmoid(X)), "negative(logaddexp(negative(x0), 0.0))"),
    "log_of_exp_over": (lambda: ew.log(ew.divide(ew.exp(X), Y)), "subtract(x0, log(x1))"),
    "log_of_exp_times_reciprocal": (
        lambda: ew.log(ew.multiply(ew.exp(X), ew.reciprocal(Y))),
        "subtract(x0, log(x1))",
    ),
}
"""By rule: a graph, and what it becomes. The values are at least as good."""
FEWER = {
    "sum_of_negative": (lambda: reduction.sum(ew.negative(X), axis=1), "negative(sum(x0))"),
    "sum_of_scaled": (
        lambda: reduction.sum(ew.multiply(X, broadcast(reduction.sum(Y, axis=0), (3, 4))), axis=0),
        "multiply(sum(x0), sum(x1))",
    ),
}
"""The same; the values differ by rounding."""


@pytest.mark.parametrize("name", EXACT)
def test_exact_rules(name):
    before, after = EXACT[name]
    node = before()
    (simple,) = simplify([node])
    verify([simple], "simplify")
    assert text(simple) == after
    arrays = [*ARRAYS, np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.zeros((0, 4), np.float32)]
    (wanted,), (found,) = by_references([node], arrays), by_references([simple], arrays)
    np.testing.assert_array_equal(found, wanted)
    if wanted.dtype.kind == "f":
        zeros = wanted == 0
        np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(wanted[zeros]))


@pytest.mark.parametrize("name", [*STABLER, *FEWER])
def test_rules_that_round_elsewhere(name):
    before, after = {**STABLER, **FEWER}[name]
    node = before()
    (simple,) = simplify([node])
    assert text(simple) == after
    values = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    arrays = [values, np.abs(values) + 1]
    (wanted,), (found,) = by_references([node], arrays), by_references([simple], arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_every_rule_has_a_test_and_a_line():
    rules = {rule.name: rule for rules in RULES.values() for rule in rules}
    assert set(rules) == {*EXACT, *STABLER, *FEWER, "log_sum_exp"}
    assert all(rule.doc for rule in rules.values())


def test_log_sum_exp_does_not_overflow():
    (simple,) = simplify([ew.log(reduction.sum(ew.exp(X), axis=1))])
    large = np.array([[1000, 1001, 999, 0], [-1000, -1001, -2000, -1000], [-np.inf] * 4], np.float32)
    (found,) = by_references([simple], [large])
    np.testing.assert_allclose(found, np.logaddexp.reduce(large.astype(np.float64), axis=1), rtol=1e-6)
    assert found[2] == -np.inf


def test_log_of_softmax_becomes_log_softmax():
    simple = simplify([ew.log(reduction.softmax(X)), reduction.log_softmax(X)])
    assert text(simple[0]) == text(simple[1])
    arrays = [np.array([[1000, 0, -1000, 5]] * 3, np.float32)]
    assert np.isfinite(by_references(simple, arrays)[0]).all()


def test_a_sum_that_is_shifted_already_is_left():
    (simple,) = simplify([reduction.log_softmax(X)])
    assert [node.op.name for node in ordered([simple])].count("max") == 1


LEFT = [
    ew.add(X, 0), ew.multiply(X, 0), ew.subtract(0, X), ew.subtract(X, X), ew.divide(X, X), ew.pow(X, 0.5),
    ew.subtract(X, like(-0.0)), ew.divide(X, like(3.0)), ew.maximum(X, Y),
    ew.astype(ew.astype(X, dtypes.float16), dtypes.float32),
    ew.astype(ew.astype(WHOLE, dtypes.float32), dtypes.int32),
]  # fmt: skip


@pytest.mark.parametrize("node", LEFT, ids=text)
def test_what_would_change_a_value_is_left(node):
    assert simplify([node]) == [node]


def test_parts_that_overlap_or_leave_a_gap_are_added():
    for parts in (((0, 1), (2, 4)), ((0, 2), (1, 4)), ((0, 2), (1, 4), (2, 4))):
        node = padded(*parts[0])
        for part in parts[1:]:
            node = ew.add(node, padded(*part))
        assert "concat" not in text(simplify([node])[0])


def test_constants_fold_as_their_dtype_does():
    small = constant(100, dtypes.int8)
    (simple,) = simplify([reduction.sum(broadcast(small, (3,)), axis=0, dtype=dtypes.int8)])
    assert text(simple) == "44"
    (simple,) = simplify([ew.divide(like(1.0), like(0.0))])
    assert simple.inputs[0].attribute("value") == math.inf
    (simple,) = simplify([ew.astype(like(2.0, NARROW), dtypes.bfloat16)])
    assert simple.inputs[0].attribute("value") == 2.0 and simple.dtype is dtypes.bfloat16


def test_negative_zero_and_zero_stay_apart():
    first, second = simplify([like(0.0), like(-0.0)])
    assert first is not second


def test_equal_values_are_one_node():
    outputs = simplify([ew.exp(ew.add(X, Y)), ew.sin(ew.add(X, Y)), ew.exp(ew.add(leaf(0, 3, 4), Y))])
    assert outputs[0] is outputs[2]
    assert len(ordered(outputs)) == 5


def test_attributes_keep_values_apart():
    outputs = simplify([reduction.sum(X, axis=0), reduction.sum(X, axis=1), reduction.sum(X, axis=0)])
    assert outputs[0] is outputs[2] and outputs[0] is not outputs[1]


def test_effects_and_leaves_of_their_own_are_never_merged():
    from treadle.state import UPDATE

    outputs = simplify([make(UPDATE, (X,)), make(UPDATE, (X,))])
    assert outputs[0] is not outputs[1]
    scalars = [new(OPS["scalar"], (), (), Type((), dtypes.float32)) for _ in range(2)]
    assert simplify(scalars) == scalars


def test_replacements_keep_the_users_line():
    node = ew.log(ew.add(1, ew.tanh(X)))
    (simple,) = simplify([node])
    assert simple.line == node.line and simple is not node


def test_products_are_left_alone():
    product = contraction.matmul(X, movement.permute_dims(Y, (1, 0)))
    assert simplify([product]) == [product]
