"""Scales and shifts by channel go into the weights of the convolution before them, where all of them last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import treadle as td
from treadle.compiler.folding import fold_scales
from treadle.compiler.simplify import simplify
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type, new
from treadle.ops.record import INPUT
from treadle.ops.references import compute

X, W, A, B, C = range(5)
ALL = frozenset((W, A, B, C))


def leaf(index: int, *shape: int) -> td.Array:
    return td.Array(new(INPUT, (), (index,), Type(shape, td.float32)))


def nodes(channels: int = 6, groups: int = 1) -> tuple[td.Array, ...]:
    """A convolution and three vectors over its channels."""
    x, w = leaf(X, 2, 4, 7, 7), leaf(W, channels, 4 // groups, 3, 3)
    vectors = [leaf(i, channels) for i in (A, B, C)]
    return td.conv(x, w, padding=1, groups=groups), *vectors


def spread(v: td.Array) -> td.Array:
    return td.reshape(v, (1, -1, 1, 1))


def check(y: td.Array, lasting: frozenset[int] = ALL) -> list[Node]:
    """The folded graph, which gives what the graph gives."""
    outputs = simplify([y.node])
    folded = fold_scales(outputs, lasting)
    rng = np.random.default_rng(0)
    leaves = [node for node in ordered(outputs) if node.op is INPUT]
    values: dict[Node, Any] = {n: rng.uniform(0.5, 2, n.shape).astype(np.float32) for n in leaves}  # type: ignore[arg-type]
    np.testing.assert_allclose(compute(folded, values)[0], compute(outputs, values)[0], rtol=3e-5, atol=3e-5)
    return folded


def applied_to_images(folded: list[Node]) -> list[str]:
    """The elementwise ops that are left on the way from the convolution."""
    return [n.op.name for n in ordered(folded) if n.op.elementwise and n.ndim == 4 and n.shape[0] == 2]


def test_a_batch_norm_becomes_one_addition():
    y, mean, scale, shift = nodes()
    folded = check((y - spread(mean)) * spread(scale) + spread(shift))
    assert applied_to_images(folded) == ["add"]


def test_other_orders_of_dimensions_and_other_orders_of_steps():
    y, a, b, c = nodes()
    last = td.permute_dims(y, (0, 2, 3, 1))
    assert applied_to_images(check((last / a + b) * c)) == ["add"]
    assert applied_to_images(check(c * (b + last))) == ["add"]
    assert (
        applied_to_images(check(td.permute_dims(last * a, (3, 0, 1, 2)) - td.reshape(b, (-1, 1, 1, 1)))) == []
    )
    assert applied_to_images(check(y * spread(a) * leaf(B))) == []


def test_groups_and_one_channel():
    y, a, b, _ = nodes(channels=8, groups=4)
    assert applied_to_images(check(y * spread(a) + spread(b))) == ["add"]
    y, a, b, _ = nodes(channels=1)
    assert applied_to_images(check(y * spread(a) + spread(b))) == ["add"]


@pytest.mark.parametrize(
    "lasting", [frozenset((A, B, C)), frozenset((W, B, C)), frozenset((W,)), frozenset()]
)
def test_what_does_not_last_stays(lasting: frozenset[int]):
    y, a, b, _ = nodes()
    assert applied_to_images(check(y * spread(a) + spread(b), lasting)) == ["multiply", "add"]


def test_what_others_read_or_changes_along_other_dimensions_stays():
    y, a, b, _ = nodes()
    assert applied_to_images(check(y * spread(a) + y)) == ["multiply", "add"]
    assert applied_to_images(check(y * leaf(A, 7))) == ["multiply"]
    assert applied_to_images(check(spread(a) / y)) == ["divide"]
    # Shifts alone are no reason.
    assert applied_to_images(check(y + spread(a))) == ["add"]
    scaled = y * spread(a)
    outputs = simplify([scaled.node, td.relu(scaled + spread(b)).node])
    assert applied_to_images(fold_scales(outputs, ALL)) == ["add", "relu"]
