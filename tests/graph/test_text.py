"""Graphs as text: readable, and the same graph when read back."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from treadle.devices.host import from_array
from treadle.errors import FormatError
from treadle.graph.graph import ordered
from treadle.graph.node import Type, bits, make, new
from treadle.graph.text import attribute_text, graph_text, parse_graph
from treadle.ops.record import OPS, constant


def bind(node, text):
    """Give a leaf what stands in its braces: data its bytes, a number its value."""
    if node.op.name == "data":
        values = np.frombuffer(base64.b64decode(text), node.dtype.numpy).reshape(node.shape)
        node.buffer = from_array(values, node.type)
    elif node.op.name in ("scalar", "key"):
        node.binding = __import__("ast").literal_eval(text)


def same(a, b):
    """Whether two graphs are the same operations on the same leaves."""
    one, two = ordered(a), ordered(b)
    place, other = {node: i for i, node in enumerate(one)}, {node: i for i, node in enumerate(two)}
    for x, y in zip(one, two, strict=True):
        assert x.op is y.op and x.type is y.type and bits(x.attributes) == bits(y.attributes)
        assert [place[child] for child in x.inputs] == [other[child] for child in y.inputs]
        if x.op.name == "data":
            assert x.buffer.view(x.type).tobytes() == y.buffer.view(y.type).tobytes()
        if x.op.name in ("scalar", "key"):
            assert bits(x.binding) == bits(y.binding)
    return [place[node] for node in a] == [other[node] for node in b]


def test_a_graph_reads_like_a_program():
    x = td.placeholder(("batch", 3), name="x")
    y = td.sum(x * 2, axis=1)
    text = graph_text([y.node], lines=False)
    assert text.splitlines() == [
        "%0 = placeholder[name='x', shape=(dim('batch'), 3), dtype=float32] : float32[batch, 3]",
        "%1 = constant[value=2.0, dtype=float32] : float32[]",
        "%2 = broadcast_to(%1)[shape=(dim('batch'), 3)] : float32[batch, 3]",
        "%3 = multiply(%0, %2) : float32[batch, 3]",
        "%4 = sum(%3)[axes=(1,)] : float32[batch]",
        "return %4",
    ]
    assert "# " in graph_text([y.node]) and "test_text.py:" in graph_text([y.node])
    assert same([y.node], parse_graph(graph_text([y.node]), OPS, bind))


def test_large_data_is_left_out_unless_asked_for():
    x = td.asarray(np.arange(1000, dtype=np.float32))
    assert "{4000 bytes}" in graph_text([x.node])
    assert same([x.node], parse_graph(graph_text([x.node], elide=False), OPS, bind))


def test_variables_are_shown_by_name():
    w = td.Variable([1.0, 2.0, 3.0], name="weights")
    assert "read{weights}" in graph_text(parse_free(w))


def parse_free(w):
    x = td.placeholder((3,))
    return [(x * w).node]


UNARY = ["negative", "exp", "abs", "stop_gradient", "sqrt"]
BINARY = ["add", "multiply", "subtract", "maximum", "less"]
FLOATS = st.one_of(st.floats(allow_nan=False, width=32), st.just(math.nan))
COMPLEX = st.builds(complex, FLOATS, FLOATS)


@st.composite
def graphs(draw):
    """Random graphs over placeholders, data, numbers and constants."""
    shape = draw(st.sampled_from([(), (3,), (2, 3), (0,)]))
    type = Type(shape, td.float32)
    nodes = [td.placeholder(shape, name=draw(st.sampled_from(["x", "it's", 'a "b"', "] : {", "#"]))).node]
    values = draw(st.lists(st.floats(width=32), min_size=math.prod(shape), max_size=math.prod(shape)))
    nodes.append(td.asarray(np.array(values, np.float32).reshape(shape)).node)
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.integers(0, 5))
        one, two = draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))
        if kind == 0:
            made = make(OPS[draw(st.sampled_from(UNARY))], (one,))
        elif kind == 1:
            made = make(OPS[draw(st.sampled_from(BINARY))], (one, two))
            if made.dtype is td.bool:
                made = make(OPS["astype"], (made,), (td.float32,))
        elif kind == 2:
            made = make(OPS["broadcast_to"], (constant(draw(FLOATS), td.float32),), (shape,))
        elif kind == 3:
            number = new(OPS["scalar"], (), (), Type((), td.float32))
            number.binding = draw(FLOATS.filter(math.isfinite))
            made = make(OPS["broadcast_to"], (number,), (shape,))
        elif kind == 4:
            value = complex(draw(FLOATS), draw(FLOATS))
            cast = make(OPS["astype"], (constant(value, td.complex64),), (td.float32,))
            made = make(OPS["broadcast_to"], (cast,), (shape,))
        else:
            made = make(OPS["where"], (make(OPS["less"], (one, two)), two, one))
        assert made.type is type
        nodes.append(made)
    return nodes[-draw(st.integers(1, 3)) :]


@given(graphs())
def test_the_text_of_a_random_graph_parses_back(outputs):
    text = graph_text(outputs, elide=False)
    parsed = parse_graph(text, OPS, bind)
    assert same(outputs, parsed)
    assert graph_text(parsed, elide=False, lines=False) == graph_text(outputs, elide=False, lines=False)


ATTRIBUTES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), FLOATS, COMPLEX, st.text(max_size=5),
        st.sampled_from([td.float32, td.bfloat16, td.bool]),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)  # fmt: skip


@given(ATTRIBUTES)
def test_every_attribute_is_written_so_that_it_is_read_back(value):
    from treadle.graph.text import _attributes

    (found,) = _attributes(f"a={attribute_text(value)}", 1).values()
    assert bits(found) == bits(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%0 = nothing : float32[]\nreturn %0", "line 1: there is no op 'nothing'"),
        ("what is this\nreturn %0", "line 1 is no node"),
        ("%0 = scalar{1.0} : float31[]\nreturn %0", "'float31' is no dtype"),
        ("%0 = negative(%1) : float32[]\nreturn %0", "line 1: '%1' is not defined before its use"),
        ("%0 = scalar{1.0} : float32[]\nreturn %1", "line 2: '%1' is not defined"),
        ("%0 = scalar{1.0} : float32[]", "the text has no return"),
        (
            "%0 = scalar{1.0} : float32[]\n%1 = negative(%0) : float32[2]\nreturn %1",
            r"line 2: negative gives float32\[\], the line says float32\[2\]",
        ),
        ("%0 = constant[value=2.0] : float32[]\nreturn %0", "line 1: constant has the attributes"),
        (
            "%0 = constant[value=f(), dtype=float32] : float32[]\nreturn %0",
            "line 1: .* do not parse",
        ),
        ("%0 = constant[value=__import__('os'), dtype=float32] : float32[]\nreturn %0", "do not parse"),
    ],
)
def test_text_that_is_no_graph_is_an_error_with_its_line(text, message):
    with pytest.raises(FormatError, match=message):
        parse_graph(text, OPS, bind)
