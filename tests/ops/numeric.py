"""Values of graphs by the references, and gradients against finite differences, for the tests of ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.autodiff import gradients
from treadle.dtypes import as_dtype, complex128, float64
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Op, Type, new
from treadle.ops.elementwise import add, cast, multiply
from treadle.ops.record import SCALAR
from treadle.ops.reduction import sum as total

GIVEN = Op("given", infer=lambda: Type((), as_dtype("float32")), reference=None, leaf=True)


def given(array: Any) -> Node:
    """A leaf that stands for an array."""
    array = np.asarray(array)
    node = new(GIVEN, (), (), Type(array.shape, as_dtype(array.dtype)))
    node.binding = array
    return node


def symbolic(shape: Sequence[Any], dtype: str = "float32") -> Node:
    """A leaf of a shape whose sizes need not be known."""
    return new(GIVEN, (), (), Type(shape, as_dtype(dtype)))


def bound(node: Node) -> np.ndarray:
    return np.asarray(node.binding, node.dtype.numpy).reshape(node.shape)


def values(nodes: Sequence[Node], instead: dict[Node, np.ndarray] | None = None) -> list[np.ndarray]:
    """What nodes come to; every op's result must be of the shape and dtype that it inferred."""
    found = dict(instead or {})
    for node in ordered(nodes):
        if node in found:
            continue
        if node.op in (GIVEN, SCALAR) or node.op.name == "key":
            found[node] = bound(node)
            continue
        with np.errstate(all="ignore"):
            result = node.op.reference(*[found[child] for child in node.inputs], **node.keywords())
        several = isinstance(result, tuple)
        parts = tuple(map(np.asarray, result if several else (result,)))
        got = [(part.shape, part.dtype) for part in parts]
        assert got == [(type.shape, type.dtype.numpy) for type in node.types], (node, got)
        found[node] = parts if several else parts[0]
    return [found[node] for node in nodes]


def value(node: Node) -> np.ndarray:
    return values([node])[0]


def check_gradients(
    function: Callable[..., Node], *arrays: Any, order: int = 2, seed: int = 0, tolerance: float = 2e-5
) -> None:
    """Gradients in float64, and gradients of these, against central differences along a random line."""
    generator = np.random.default_rng(seed)
    inputs = [given(np.asarray(array, np.float64)) for array in arrays]
    y = function(*inputs)
    for _ in range(order):
        weights = generator.normal(size=y.shape)
        if y.dtype.kind == "complex":
            # The real part of the sum has the real part of y in it, and its imaginary part.
            weights = weights + 1j * generator.normal(size=y.shape)
        y = cast(total(multiply(y, given(weights))), float64)
        line = [generator.normal(size=x.shape) for x in inputs]
        found = gradients([y], inputs, unconnected="zero")
        slope = np.sum([np.sum(g * d) for g, d in zip(values(found), line, strict=True)])
        step = 1e-5
        ends = [
            values([y], {x: x.binding + sign * step * d for x, d in zip(inputs, line, strict=True)})[0]
            for sign in (1, -1)
        ]
        expected = (ends[0] - ends[1]) / (2 * step)
        assert abs(slope - expected) <= tolerance * max(1.0, abs(expected)), (slope, expected)
        parts = [total(multiply(g, given(generator.normal(size=g.shape)))) for g in found]
        y = parts[0]
        for part in parts[1:]:
            y = add(y, part)


def check_complex_gradients(function: Callable[..., Node], *arrays: Any, **options: Any) -> None:
    """The same by the real and imaginary parts of complex operands."""
    arrays = tuple(np.asarray(array) for array in arrays)
    parts = [part for a in arrays for part in ((a.real, a.imag) if a.dtype.kind == "c" else (a,))]

    def of_parts(*inputs: Node) -> Node:
        left = iter(inputs)
        operands = []
        for array in arrays:
            x = next(left)
            if array.dtype.kind == "c":
                x = add(cast(x, complex128), multiply(cast(next(left), complex128), 1j))
            operands.append(x)
        return function(*operands)

    check_gradients(of_parts, *parts, **options)
