"""Random graphs, fused and by the references, as they are and simplified."""

from __future__ import annotations

import numpy as np
from graphs import check, leaf
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle import dtypes
from treadle.graph.node import Node, make
from treadle.ops import contraction, creation, movement, reduction
from treadle.ops import elementwise as ew
from treadle.ops.record import OPS, broadcast, constant

MOST = 256
"""Elements of the largest value."""

UNARY = (ew.tanh, ew.negative, ew.abs, ew.square, ew.relu, ew.sigmoid, ew.floor, ew.sin)
BINARY = (ew.add, ew.subtract, ew.multiply, ew.maximum, ew.minimum)


@st.composite
def graphs(draw) -> list[Node]:
    """A few outputs of a graph of up to 16 operations on three leaves."""
    nodes = [leaf(0, 4, 6), leaf(1, 6), leaf(2)]

    def pick() -> Node:
        return draw(st.sampled_from(nodes))

    for _ in range(draw(st.integers(1, 16))):
        node = draw(st.sampled_from(STEPS))(draw, pick)
        if node is not None and 0 < np.prod(node.shape, initial=1) <= MOST:
            nodes.append(node)
    made = nodes[3:] or nodes
    return draw(st.lists(st.sampled_from(made), min_size=1, max_size=3)) + made[-1:]


def unary(draw, pick):
    return draw(st.sampled_from(UNARY))(pick())


def binary(draw, pick):
    """Of two values that broadcast together, or of one and a number."""
    x, y = pick(), pick()
    function = draw(st.sampled_from(BINARY))
    for a, b in zip(x.shape[::-1], y.shape[::-1], strict=False):
        if a != b and 1 not in (a, b):
            return function(x, draw(st.sampled_from([0, 1, 2, 0.5])))
    return function(x, y)


def normalize(draw, pick):
    x = pick()
    if not x.ndim:
        return None
    axis = draw(st.integers(0, x.ndim - 1))
    return draw(st.sampled_from([reduction.softmax, centered]))(x, axis=axis)


def centered(x, axis):
    return ew.subtract(x, reduction.mean(x, axis=axis, keepdims=True))


def reduce(draw, pick):
    x = pick()
    axes = draw(st.lists(st.integers(0, x.ndim - 1), unique=True, max_size=x.ndim)) if x.ndim else []
    function = draw(st.sampled_from([reduction.mean, reduction.max, reduction.sum]))
    return function(x, axis=tuple(axes), keepdims=draw(st.booleans()))


def position(draw, pick):
    x = pick()
    if not x.ndim:
        return None
    # What is compared must not depend on the order of additions.
    found = reduction.argmax(ew.floor(ew.multiply(x, 4.0)), axis=draw(st.integers(0, x.ndim - 1)))
    return ew.multiply(ew.astype(found, dtypes.float32), 0.0)


def permute(draw, pick):
    x = pick()
    return movement.permute_dims(x, draw(st.permutations(range(x.ndim)))) if x.ndim else None


def reshape(draw, pick):
    """Some factorization of the number of elements."""
    x = pick()
    rest, shape = int(np.prod(x.shape, initial=1)), []
    for factor in draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), max_size=3)):
        if rest % factor == 0:
            rest //= factor
            shape.append(factor)
    shape.insert(draw(st.integers(0, len(shape))), rest)
    return movement.reshape(x, tuple(shape))


def slice_some(draw, pick):
    x = pick()
    starts = [draw(st.integers(0, n - 1)) for n in x.shape]
    stops = [draw(st.integers(a + 1, n)) for a, n in zip(starts, x.shape, strict=True)]
    steps = [draw(st.integers(1, 3)) for _ in x.shape]
    return movement.take_slice(x, starts, stops, steps)


def flip(draw, pick):
    x = pick()
    return movement.flip(x, axis=draw(st.integers(0, x.ndim - 1))) if x.ndim else None


def pad(draw, pick):
    x = pick()
    if not x.ndim:
        return None
    ends = st.integers(-1, 2)
    widths = tuple((draw(ends), draw(ends), draw(st.integers(0, 2))) for _ in x.shape)
    value = constant(draw(st.sampled_from([0.0, 2.0, -0.0])), dtypes.float32)
    sizes = [n + a + b + c * (n - 1) for n, (a, b, c) in zip(x.shape, widths, strict=True)]
    if min(sizes) < 1 or not any(map(any, widths)):
        return None
    return make(OPS["pad"], (x, value), (widths,))


def spread(draw, pick):
    x = pick()
    return broadcast(x, (draw(st.integers(1, 3)), *x.shape)) if x.ndim < 4 else None


def concat(draw, pick):
    x = pick()
    if not x.ndim:
        return None
    axis = draw(st.integers(0, x.ndim - 1))
    return movement.concat([x, draw(st.sampled_from(UNARY))(x), x], axis=axis)


def matmul(draw, pick):
    x, y = pick(), pick()
    if x.ndim == 2 and y.ndim == 2 and x.shape[1] == y.shape[0]:
        return ew.tanh(contraction.matmul(x, y))
    return None


def gather(draw, pick):
    x = pick()
    if not x.ndim:
        return None
    axis = draw(st.integers(0, x.ndim - 1))
    count = creation.iota(draw(st.integers(1, 4)), dtypes.int64)
    index = ew.remainder(ew.multiply(count, 3), x.shape[axis])
    return make(OPS["gather"], (x, index), ((axis,),))


def class_number(draw, pick):
    x = pick()
    if not x.ndim:
        return None
    number = ew.remainder(creation.iota(x.shape[-1], dtypes.int64), 3)
    return ew.where(ew.equal(make(OPS["class_number"], (number,), (3,)), 1), x, 0.5)


STEPS = (
    unary, unary, binary, binary, binary, normalize, reduce, reduce, position, permute, reshape, reshape,
    slice_some, flip, pad, spread, concat, matmul, gather,
    class_number,
)  # fmt: skip
ARRAYS = [np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6), np.linspace(1, -1, 6, dtype=np.float32),
          np.array(0.75, np.float32)]  # fmt: skip


@settings(max_examples=100)
@given(graphs())
def test_fused_graphs_compute_what_the_references_do(outputs):
    check(outputs, ARRAYS, rtol=1e-3, atol=1e-3)


@settings(max_examples=80)
@given(graphs())
def test_simplified_and_fused_graphs_too(outputs):
    check(outputs, ARRAYS, simplified=True, rtol=1e-3, atol=1e-3)
