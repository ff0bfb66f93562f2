"""Graphs are written as text that parses back: the same structure, types, and values of leaves."""

from __future__ import annotations

import ast
import base64
import contextlib
import math

import numpy as np
import pytest
import random_graphs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_graphs import RECIPES, Step

import treadle as td
from treadle import dtypes
from treadle.devices.host import allocate, from_array, nbytes_of
from treadle.devices.reference import compute, leaf_array
from treadle.errors import FormatError, TreadleError
from treadle.evaluate import data, leaf_value
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type, bits
from treadle.graph.text import graph_text, parse_graph
from treadle.ops.elementwise import add, multiply
from treadle.ops.record import OPS, constant
from treadle.ops.reduction import sum as total
from treadle.state import late_read


def bind(node: Node, text: str) -> None:
    """Give a leaf what stands in its braces."""
    if node.op.name == "data":
        node.buffer = allocate(nbytes_of(node.type))
        decoded = np.frombuffer(base64.b64decode(text), node.dtype.numpy)
        node.buffer.writable(node.type)[...] = decoded.reshape(node.shape)
    else:
        node.binding = float(text) if text in ("nan", "inf", "-inf") else ast.literal_eval(text)


def again(outputs: list[Node]) -> list[Node]:
    """The graph as it comes back from its text; the text of that is the same."""
    text = graph_text(outputs, elide=False)
    parsed = parse_graph(text, OPS, bind)
    assert graph_text(parsed, elide=False, lines=False) == graph_text(outputs, elide=False, lines=False)
    return parsed


def values(outputs: list[Node]) -> list[np.ndarray]:
    leaves = [node for node in ordered(outputs) if node.op.leaf and node.op.reference is None]
    return compute(outputs, {node: leaf_array(node.type, leaf_value(node)) for node in leaves})


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


@settings(max_examples=60)
@given(RECIPES)
def test_random_graphs_parse_back(recipe: list[Step]):
    outputs, _ = random_graphs.build(recipe)
    parsed = again(outputs)
    for a, b in zip(ordered(outputs), ordered(parsed), strict=True):
        assert (a.op, a.type, bits(a.attributes)) == (b.op, b.type, bits(b.attributes))
    for found, expected in zip(values(parsed), values(outputs), strict=True):
        same_bits(found, expected)


@settings(max_examples=15)
@given(RECIPES)
def test_graphs_of_gradients_parse_back(recipe: list[Step]):
    outputs = random_graphs.with_gradients(recipe)
    assume(outputs)
    for found, expected in zip(values(again(outputs)), values(outputs), strict=True):
        same_bits(found, expected)


REALS = st.floats(width=32) | st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, 3.4028235e38])


@given(REALS, st.sampled_from([dtypes.float32, dtypes.float64, dtypes.bfloat16, dtypes.float16]))
def test_real_constants(number: float, dtype: dtypes.DType):
    with np.errstate(over="ignore"):
        (parsed,) = again([constant(number, dtype)])
        expected = dtype.numpy.type(number)
    value = parsed.attribute("value")
    assert math.isnan(value) if math.isnan(number) else bits(value) == bits(float(expected))


@given(st.builds(complex, REALS, REALS))
def test_complex_constants(number: complex):
    (parsed,) = again([constant(number, dtypes.complex128)])
    value = parsed.attribute("value")
    for part, expected in ((value.real, number.real), (value.imag, number.imag)):
        assert math.isnan(part) if math.isnan(expected) else part == expected
        assert math.isnan(part) or math.copysign(1, part) == math.copysign(1, expected)


@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_integer_constants(number: int):
    (parsed,) = again([constant(number, dtypes.int64)])
    assert bits(parsed.attribute("value")) == bits(number)


def test_booleans_are_not_integers():
    (parsed,) = again([constant(True, dtypes.bool)])
    assert parsed.attribute("value") is True


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_data_of_every_dtype(dtype: dtypes.DType):
    array = np.array([[0, 1, 2], [3, 1, 0]]).astype(dtype.numpy)
    type = Type(array.shape, dtype)
    (parsed,) = again([data(from_array(array, type), type)])
    same_bits(parsed.buffer.view(type), array)


@pytest.mark.parametrize("number", [0.1, -0.0, math.inf, -math.inf, math.nan, 7.5])
def test_numbers_given_at_run_time(number: float):
    y = (td.asarray([1.0, 2.0]) * number).node
    same_bits(values(again([y]))[0], values([y])[0])


def test_random_keys():
    y = td.random.normal((3, 4), key=td.random.key(5)).node
    same_bits(values(again([y]))[0], values([y])[0])


def test_symbolic_sizes():
    x = td.placeholder(("batch", 3), name="x")
    y = total(multiply(x.node, x.node), axis=1)
    names: list[str] = []
    text = graph_text([y])
    (parsed,) = parse_graph(text, OPS, lambda node, text: names.append(text))
    assert parsed.shape == (Dimension(["batch"]),)
    assert graph_text([parsed], lines=False) == graph_text([y], lines=False)


def test_a_variable_read_late_is_named():
    w = late_read(td.Variable([1.0, 2.0], name="weight").cell)
    seen: list[str] = []
    parse_graph(graph_text([add(w, w)]), OPS, lambda node, text: seen.append(text))
    assert seen == ["weight"]


def test_large_data_is_left_out_and_said_to_be():
    x = td.asarray(np.zeros(1000, np.float32))
    assert "4000 bytes" in graph_text([(x + 1).node])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return %0", "line 1: '%0' is not defined"),
        ("%0 = constant[value=1.0, dtype=float32] : float32[]", "no return"),
        ("%0 = nosuchop : float32[]\nreturn %0", "line 1: there is no op 'nosuchop'"),
        ("%0 = constant[value=1.0, dtype=float32] : float99[]", "'float99' is no dtype"),
        ("%0 = add(%1, %1) : float32[]", "line 1: '%1' is not defined before its use"),
        ("some words", "line 1 is no node"),
        ("%0 = constant[value=f(), dtype=float32] : float32[]", "line 1: the attributes"),
        ("%0 = constant[value=__import__('os'), dtype=float32] : float32[]", "line 1: the attributes"),
        (
            "%0 = constant[value=1.0, dtype=float32] : float32[]\n%1 = negative(%0) : float32[3]\nreturn %1",
            r"line 2: negative gives float32\[\], the line says float32\[3\]",
        ),
        ("%0 = constant[number=1.0, dtype=float32] : float32[]\nreturn %0", "has the attributes"),
    ],
)
def test_what_is_no_graph(text: str, message: str):
    with pytest.raises(FormatError, match=message):
        parse_graph(text, OPS, bind)


@settings(max_examples=60)
@given(st.text("%0123= addconst()[]:float32,{}\n.eturn-_", max_size=80))
def test_no_text_breaks_the_parser(text: str):
    with contextlib.suppress(TreadleError):
        parse_graph(text, OPS, bind)
