"""Nodes: types, what is remembered, what is not confused, and walks over graphs."""

from __future__ import annotations

import pickle

import pytest

import treadle as td
from treadle.errors import ShapeError
from treadle.graph.graph import consumers, depending, late, ordered, rebuild, rewrite, with_sizes
from treadle.graph.node import DETACHED, LOCATED, PINNED, STATIC, TRACKED, Type, bits, make
from treadle.ops.record import OPS


def test_equal_types_are_one_object():
    assert Type((2, 3), td.float32) is Type([2, 3], td.float32)
    assert Type((2, 3), td.float32) is not Type((2, 3), td.float64)
    assert pickle.loads(pickle.dumps(Type((2,), td.int8))) is Type((2,), td.int8)
    assert repr(Type((2, 3), td.bfloat16)) == "bfloat16[2, 3]"


def test_attributes_are_told_apart_by_type_and_bits():
    values = [
        0.0,
        -0.0,
        0,
        False,
        1,
        True,
        1.0,
        "1",
        None,
        (1,),
        (1.0,),
        (),
        0j,
        -0j,
        float("nan"),
        td.float32,
    ]
    keys = [bits(value) for value in values]
    assert len(set(keys)) == len(keys)
    assert bits(float("nan")) == bits(float("nan"))
    assert bits((1, (2.0, None))) == bits((1, (2.0, None)))


def test_inference_is_remembered_and_errors_are_not():
    x = td.asarray([[1.0, 2.0]]).node
    for _ in range(2):
        with pytest.raises(ShapeError):
            make(OPS["reshape"], (x,), ((3,),))
    assert make(OPS["reshape"], (x,), ((2,),)).type is Type((2,), td.float32)


def test_a_node_knows_its_line_scope_role_and_device():
    with td.scope("block"), td.scope("inner"), td.device("reference"):
        node = (td.asarray([1.0]) * 2).node
    assert node.scope == ("block", "inner") and node.device == "reference" and node.role == "forward"
    assert "test_node.py" in str(node.line) and "node = (td.asarray([1.0]) * 2).node" in str(node.line)
    w = td.Variable(1.0)
    assert td.gradients(w * w, w).node.role == "gradient"
    assert td.update(w, w + 1).node.role == "update"
    with pytest.raises(TypeError, match="no truth value"):
        bool(node)
    assert node.attribute is not None and OPS["sum"].attributes


def test_a_gradients_line_is_that_of_the_forward_operation():
    w = td.Variable([1.0])
    y = td.exp(w)
    z = y * 3
    slope = td.gradients(z, w)
    assert "y = td.exp(w)" in str(slope.node.line)


def test_flags_spread():
    w, x, p = td.Variable([1.0]), td.asarray([1.0]), td.placeholder((1,))
    before = x * 2
    with td.no_grad():
        cut = w * 2
    assert (w * x).node.flags & TRACKED and not (x * x).node.flags & TRACKED
    assert cut.node.flags == DETACHED | LOCATED and not (cut * x).node.flags & TRACKED
    static = before * p
    assert static.node.flags & STATIC and before.node.flags & PINNED
    assert not x.node.flags & STATIC


def test_a_static_graph_reads_a_version_through_one_node_that_holds_no_memory():
    w, p = td.Variable([1.0]), td.placeholder((1,))
    y = (p * w + w) * w
    reads = [node for node in ordered([y.node]) if node.op.name == "read"]
    assert len(reads) == 1 and reads[0].buffer is None


def test_walks():
    a, b = td.asarray([1.0]).node, td.asarray([2.0]).node
    c = make(OPS["add"], (a, b))
    d = make(OPS["multiply"], (c, c))
    e = make(OPS["add"], (d, a))
    order = ordered([e])
    assert order == [a, b, c, d, e] and ordered([e, d, a]) == order
    assert ordered([e], stop=lambda node: node is c) == [c, d, a, e]
    assert consumers(order)[c] == [d, d] and consumers(order)[a] == [c, e]
    assert depending(order, [b]) == {b, c, d, e}
    deep = a
    for _ in range(20_000):
        deep = make(OPS["add"], (deep, b))
    assert len(ordered([deep])) == 20_002


def test_rewriting_keeps_what_does_not_change():
    a, b = td.asarray([1.0]).node, td.asarray([2.0]).node
    c = make(OPS["add"], (a, b))
    d = make(OPS["negative"], (a,))
    e = make(OPS["multiply"], (c, d))
    (new,) = rewrite([e], lambda node, inputs: a if node is b else None)
    assert new is not e and new.inputs[0].inputs == (a, a) and new.inputs[1] is d
    assert rewrite([e], lambda node, inputs: None) == [e]
    assert new.line == e.line


def test_rebuilding_keeps_line_scope_role_binding_and_detachment():
    w = td.Variable([1.0])
    with td.no_grad(), td.scope("cut"):
        y = (w * 2).node
    copy = rebuild(y, y.inputs)
    assert (copy.line, copy.scope, copy.role, copy.flags) == (y.line, y.scope, y.role, y.flags)


def test_sizes_are_put_in_for_symbols():
    x = td.placeholder(("batch", 3), name="x")
    y = td.mean(x.reshape((-1,)) * 2)
    leaf = td.asarray([[1.0, 2.0, 3.0]] * 4).node
    (concrete,) = with_sizes([y.node], {"batch": 4}, {x.node: leaf})
    assert concrete.type is Type((), td.float32)
    assert any(node.type.shape == (12,) for node in ordered([concrete]))
    assert float(td.Array(concrete)) == 4.0


def test_late_graphs_share_one_read():
    w = td.Variable([1.0])
    one, two = (w * 2).node, (w + 1).node
    first, second = late([one, two])
    assert first.inputs[0] is second.inputs[0] is not one.inputs[0]
    assert late([first]) == [first]
