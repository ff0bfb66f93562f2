"""Nodes with several results: inference, gradients, text, and every way of running them."""

from __future__ import annotations

import numeric
import numpy as np
import pytest

import treadle as td
from treadle import config
from treadle.array import Array
from treadle.autodiff import checkpoint, gradients
from treadle.compiler.fuse import fuse
from treadle.compiler.verify import verify_fused
from treadle.errors import VerifyError
from treadle.evaluate import planned
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Op, Type, Types, make
from treadle.graph.text import graph_text, parse_graph
from treadle.ops.elementwise import add, equal, multiply, where
from treadle.ops.record import INPUT, OPS, broadcast, results
from treadle.ops.reduction import max as highest
from treadle.ops.reduction import min as lowest
from treadle.ops.reduction import sum as total
from treadle.view.picture import picture
from treadle.view.show import View

ran: list[int] = []


def _infer(x: Type) -> Types:
    return Types([Type(x.shape[:-1], x.dtype), Type(x.shape[:-1], x.dtype), Type((), td.int64)])


def _reference(x):
    ran.append(1)
    return x.min(-1), x.max(-1), x.size


def _vjp(g, y: Node, x: Node):
    """The cotangents of the ends go to where they were found; nothing to the size."""
    assert isinstance(g, tuple) and len(g) == 3 and g[2] is None
    part = None
    for cotangent, end in zip(
        g[:2], (lowest(x, axis=-1, keepdims=True), highest(x, axis=-1, keepdims=True)), strict=True
    ):
        if cotangent is not None:
            spread = make(OPS["reshape"], (cotangent,), (end.shape,))
            here = where(equal(x, broadcast(end, x.shape)), broadcast(spread, x.shape), 0.0)
            part = here if part is None else add(part, here)
    return (part,)


EXTENT = Op("extent", _infer, _reference, _vjp)


@pytest.fixture(autouse=True)
def extent_is_an_op(monkeypatch):
    monkeypatch.setitem(OPS, "extent", EXTENT)
    ran.clear()


def extent(x) -> tuple[Array, ...]:
    return tuple(map(Array, results(make(EXTENT, (x.node,)))))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(params=["small", "compiled", "checked", "debug", "reference"])
def tier(request, monkeypatch):
    """Every way in which a graph of define-by-run is computed."""
    if request.param in ("small", "reference"):
        with td.device("reference" if request.param == "reference" else "cpu"):
            yield request.param
        return
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    with config.configured(check=request.param == "checked", debug=request.param == "debug"):
        yield request.param


def test_types_are_one_object_and_have_no_shape_of_their_own():
    types = _infer(Type((2, 3), td.float32))
    assert types is _infer(Type((2, 3), td.float32)) and isinstance(types, tuple)
    assert repr(types) == "(float32[2], float32[2], int64[])"
    node = make(EXTENT, (td.zeros((2, 3)).node,))
    assert node.types == types and results(node)[2].type is Type((), td.int64)
    assert results(results(node)[0]) == (results(node)[0],)
    for name in ("shape", "dtype", "ndim"):
        with pytest.raises(AssertionError, match="take one of its results"):
            getattr(node, name)


def test_results_are_the_same_nodes_while_somebody_holds_them():
    node = make(EXTENT, (td.zeros((2, 3)).node,))
    first = results(node)
    assert results(node) == first


def test_every_tier_computes_them(tier):
    x = numbers(5, 7)
    low, high, size = extent(td.asarray(x) * 2)
    y = (high - low).reshape((5, 1)) * td.ones((1, 3)) + size.astype(td.float32)
    np.testing.assert_allclose(
        y.numpy(), ((2 * x).max(1) - (2 * x).min(1))[:, None] + 35 + np.zeros(3), rtol=1e-6
    )
    np.testing.assert_array_equal(low.numpy(), (2 * x).min(1))


def test_one_run_computes_all_that_somebody_holds(tier):
    low, high, size = extent(td.asarray(numbers(5, 7)))
    assert low.shape == (5,) and low.numpy().shape == (5,)
    high.numpy(), size.numpy()
    assert len(ran) == 1


def test_what_nobody_needs_is_written_all_the_same(tier):
    x = numbers(4, 3)
    np.testing.assert_array_equal(extent(td.asarray(x))[1].numpy(), x.max(1))


def test_a_result_may_be_used_twice_and_be_an_output(tier):
    x = numbers(4, 3)
    node = make(EXTENT, ((td.asarray(x) + 0.0).node,))
    # Two projections of the same result, as rewriting makes them.
    a, b = (Array(make(OPS["result"], (node,), (0,))) for _ in range(2))
    outputs = [a, b, a * b]
    td.evaluate(*outputs)
    np.testing.assert_allclose(outputs[2].numpy(), x.min(1) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_empty_results(tier):
    low, high, size = extent(td.asarray(numbers(0, 3)) * 2)
    assert (low + high).numpy().shape == (0,) and size.item() == 0


def test_gradients_to_second_order():
    x = numbers(3, 4)

    def through(*wanted: int):
        def function(x: Node) -> Node:
            found = results(make(EXTENT, (multiply(x, x),)))
            return total(multiply(*[found[i] for i in wanted]))

        return function

    for wanted in ((0, 1), (0, 0), (1, 1)):
        numeric.check_gradients(through(*wanted), x)


def test_gradients_by_a_result_stop_there():
    x = numeric.given(numbers(3, 4).astype(np.float64))
    low, high, size = results(make(EXTENT, (x,)))
    y = total(multiply(low, high))
    by_low, by_x = gradients([y], [low, x])
    np.testing.assert_array_equal(numeric.value(by_low), numeric.value(high))
    assert by_x.shape == x.shape
    with pytest.raises(td.errors.GradientError, match=r"xs\[0\] is result int64\[\]"):
        gradients([y], [size])


def test_a_checkpoint_computes_it_again():
    x = numeric.given(numbers(3, 4).astype(np.float64))
    low, high, _ = results(make(EXTENT, (multiply(x, x),)))
    (y,) = checkpoint([multiply(low, high)], [x])
    (plain,) = gradients([total(multiply(low, high))], [x])
    (again,) = gradients([total(y)], [x])
    np.testing.assert_allclose(numeric.value(again), numeric.value(plain))


def test_doors_run_them():
    x = td.placeholder((None, 3), name="x")
    low, high, size = extent(x * 2)
    value = numbers(4, 3)
    with td.Session() as session:
        found = session.run({"low": low, "spread": (high - low).sum(), "size": size}, {x: value})
    np.testing.assert_array_equal(found["low"].numpy(), (2 * value).min(1))
    assert found["size"].item() == 12
    (slope,) = td.function([x], [td.gradients((high * high).sum(), x)])(value)
    assert slope.shape == (4, 3)
    outside = extent(td.asarray(value))

    @td.compile
    def step(x):
        low, high, _ = extent(x)
        return low + outside[0], high

    np.testing.assert_array_equal(step(value)[0].numpy(), 2 * value.min(1))


def test_a_variable_is_updated_with_one():
    w = td.Variable(numbers(4, 3))
    before = w.numpy().copy()
    low, high, _ = extent(w)
    w.assign(w - (high - low).reshape((4, 1)))
    np.testing.assert_allclose(w.numpy(), before - (before.max(1) - before.min(1))[:, None], rtol=1e-6)


def test_text_says_all_types_and_parses_back():
    x = td.placeholder(("batch", 3), name="x").node
    low, high, size = results(make(EXTENT, (x,)))
    outputs = [add(low, high), size]
    text = graph_text(outputs)
    assert "%1 = extent(%0) : (float32[batch], float32[batch], int64[])" in text
    assert "result(%1)[index=0] : float32[batch]" in text
    parsed = parse_graph(text, OPS, lambda node, bound: None)
    assert graph_text(parsed, lines=False) == graph_text(outputs, lines=False)
    with pytest.raises(td.errors.FormatError, match="extent gives"):
        parse_graph(text.replace("int64[])", "int32[])"), OPS, lambda node, bound: None)


def test_it_can_be_seen(monkeypatch):
    low, high, _ = extent(td.asarray(numbers(4, 3)) * 2)
    assert "(float32[4], float32[4], int64[])" in repr(View(picture([(low + high).node])))
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    said = td.explain(low + high)
    assert "extent (float32[4], float32[4], int64[]): reference on the host" in said


def test_the_program_knows_its_memory(monkeypatch):
    monkeypatch.setattr(config, "SMALL_NODES", 0)
    low = extent(td.asarray(numbers(40, 3)) * 2)[0]
    assert td.memory(low)["outputs"] == 40 * 4
    assert td.memory(low)["arena"] >= 40 * 3 * 4 + 40 * 4 + 8


def test_the_verifier_checks_every_result():
    node = make(EXTENT, (td.graph.node.new(INPUT, (), (0,), Type((4, 3), td.float32)),))
    fused = fuse([results(node)[0]], lambda node: node.op is EXTENT)
    verify_fused(fused, after="fuse")
    (call,) = fused.calls
    call.outputs = (call.outputs[0], call.outputs[2], call.outputs[1])
    with pytest.raises(VerifyError, match="after fuse: extent writes a buffer of another size"):
        verify_fused(fused, after="fuse")


def test_nothing_is_left_of_dead_results():
    node = make(EXTENT, (td.asarray(numbers(4, 3)).node,))
    low, _, _ = results(node)
    assert [n.op.name for n in ordered([low])] == ["data", "extent", "result"]
    assert len(planned([low]).order) == 3
