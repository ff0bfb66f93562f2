"""What a graph's JSON says of single things, in both directions: sizes, types, attributes, nested arguments.

Plain JSON values stand for themselves; everything else is an object with one telling key. Reading raises
`Damage`; whoever reads says where.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

from treadle.array import Variable
from treadle.autodiff import CUSTOM
from treadle.dtypes import BY_NAME, DType
from treadle.errors import ArgumentError, FormatError
from treadle.graph.closed import Closed, close, nested
from treadle.graph.dimension import Dimension, Size
from treadle.graph.graph import rewrite
from treadle.graph.node import Node, Type, Types
from treadle.graph.text import closed_text, parse_closed
from treadle.graphfile.signature import Rule, rule_of
from treadle.ops.record import INPUT, OPS, SCALAR, constant
from treadle.state import Cell
from treadle.structure import SLOT


class Damage(Exception):
    """What is wrong with a file; where is added on the way up."""


def expect(holds: Any, what: str) -> None:
    """Refuse a file."""
    if not holds:
        raise Damage(what)


def field(found: Any, name: str, kind: type, default: Any = None) -> Any:
    """A field of an object, of that kind; missing, the default if there is one."""
    expect(isinstance(found, dict), f"expected an object with {name!r}, found {said(found)}")
    value = found.get(name, default)
    # A bool is an int to Python, and none here.
    right = type(value) is kind if kind is int else isinstance(value, kind)
    expect(
        right,
        f"{name!r} is {said(value)}; expected {_KINDS[kind]}" if name in found else f"there is no {name!r}",
    )
    return value


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    bool: "a bool",
}


def said(value: Any) -> str:
    """A value in a message: its beginning."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# -- sizes and types


def write_size(size: Size) -> Any:
    """A number; ``{"size": "batch"}``; ``{"size": [2, "batch", "batch"]}`` for a product."""
    if not isinstance(size, Dimension):
        return int(size)
    if size.coefficient == 1 and len(size.symbols) == 1:
        return {"size": size.symbols[0]}
    return {"size": [size.coefficient, *size.symbols]}


def read_size(found: Any) -> Size:
    if type(found) is int:
        expect(0 <= found < 1 << 62, f"{found} is no size")
        return found
    expect(isinstance(found, dict) and set(found) == {"size"}, f"{said(found)} is no size")
    factors = found["size"]
    if isinstance(factors, str):
        return Dimension([factors])
    expect(isinstance(factors, list) and len(factors) > 1, f"{said(found)} is no size")
    times, *symbols = factors
    expect(
        type(times) is int and times > 0 and all(isinstance(s, str) for s in symbols),
        f"{said(found)} is no size",
    )
    return Dimension(symbols, times)


def write_type(type: Type) -> Any:
    """``["float32", [3, 4]]``."""
    return [type.dtype.name, [write_size(size) for size in type.shape]]


def read_type(found: Any) -> Type:
    expect(
        isinstance(found, list) and len(found) == 2 and isinstance(found[1], list),
        f"{said(found)} is no type",
    )
    dtype, shape = found
    return Type([read_size(size) for size in shape], read_dtype(dtype))


def read_dtype(found: Any) -> DType:
    expect(isinstance(found, str) and found in BY_NAME, f"{said(found)} is no dtype")
    return BY_NAME[found]


def write_types(type: Type | Types) -> Any:
    """A type, or ``{"types": [...]}`` of a node with several results."""
    return {"types": [write_type(t) for t in type]} if isinstance(type, Types) else write_type(type)


def read_types(found: Any) -> Type | Types:
    if isinstance(found, dict):
        return Types([read_type(t) for t in field(found, "types", list)])
    return read_type(found)


# -- attributes, and what leaves are bound to


def write_value(value: Any) -> Any:
    """An attribute as JSON. Raises ArgumentError for what is no plain value."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _write_float(value)
    if isinstance(value, complex):
        return {"complex": [_write_float(value.real), _write_float(value.imag)]}
    if isinstance(value, DType):
        return {"dtype": value.name}
    if isinstance(value, Dimension):
        return write_size(value)
    if isinstance(value, (Type, Types)):
        return {"type": write_types(value)}
    if type(value) is tuple:
        return [write_value(item) for item in value]
    if isinstance(value, Closed):
        return {"graph": _write_graph(value)}
    raise ArgumentError(f"[save] a {type(value).__name__} cannot be written to a file: {said(value)}")


def _write_graph(closed: Closed) -> str:
    known: dict[Node, tuple[Closed, str] | None] = {}
    if all(node.binding is None for graph in (closed, *nested(closed.order)) for node in graph.order):
        return closed_text(closed)

    def bound(node: Node) -> tuple[Closed, str] | None:
        if node not in known:
            known[node] = None if node.binding is None else _closed_rule(node)
        return known[node]

    return closed_text(closed, bound)


def _closed_rule(node: Node) -> tuple[Closed, str]:
    """A user's rule in a loop or branch as a graph, and which of its outputs each input's cotangent is."""
    rule = rule_of(node)
    # Numbers that a session could change stand for themselves here.
    wanted = rewrite(
        rule.wanted(),
        lambda node, inputs: constant(node.binding, node.dtype) if node.op is SCALAR else None,
    )
    (graph,), captured = close(INPUT, [(rule.given, wanted)])
    if captured:
        raise ArgumentError(
            f"[save] the gradient rule of the custom_vjp made at {node.line}, inside a loop or branch, takes "
            f"{captured[0].op.name} from outside: that is not kept in files; give it to the function as an "
            "argument"
        )
    places = iter(range(len(wanted)))
    return graph, " ".join("-" if part is None else str(next(places)) for part in rule.parts)


def _read_graph(found: Any) -> Closed:
    expect(isinstance(found, str), f"{said(found)} is no graph")
    try:
        return parse_closed(found, OPS, _read_closed_rule)
    except FormatError as error:
        raise Damage(f"a graph in it: {error.message}") from None


def _read_closed_rule(node: Node, graph: Closed | None, places: str) -> None:
    expect((graph is not None) == (node.op is CUSTOM), f"{node.op.name} has a rule, or custom_vjp has none")
    if graph is None:
        return
    found = places.split()
    right = all(place == "-" or (place.isdecimal() and int(place) < len(graph.outputs)) for place in found)
    expect(right and found, f"{said(places)} are no outputs of a rule")
    node.binding = checked_rule(
        node, graph.parameters, [None if place == "-" else graph.outputs[int(place)] for place in found]
    )


def checked_rule(node: Node, given: Sequence[Node], parts: Sequence[Node | None]) -> Rule:
    """A rule that fits its node."""
    types = [leaf.type for leaf in given]
    expect(types == [node.type, *[other.type for other in node.inputs]], "its rule does not fit")
    expect(len(parts) == len(node.inputs) - 1, "its rule has not as many cotangents as inputs")
    for part, other in zip(parts, node.inputs[1:], strict=True):
        expect(part is None or part.type is other.type, "its rule has a cotangent of a wrong type")
    return Rule(given, parts)


def _write_float(value: float) -> Any:
    # JSON has no infinities, and NaNs differ in their bits.
    return float(value) if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}


def read_value(found: Any) -> Any:
    if found is None or isinstance(found, (bool, str, int, float)):
        return found
    if isinstance(found, list):
        return tuple([read_value(item) for item in found])
    expect(isinstance(found, dict) and len(found) == 1, f"{said(found)} is no attribute")
    ((kind, value),) = found.items()
    expect(kind in _READERS, f"{said(found)} is no attribute")
    return _READERS[kind](value)


def _read_float(value: Any) -> float:
    expect(isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16}", value), f"{said(value)} is no float")
    return struct.unpack(">d", bytes.fromhex(value))[0]


def _read_complex(value: Any) -> complex:
    expect(isinstance(value, list) and len(value) == 2, f"{said(value)} is no complex number")
    real, imaginary = map(read_value, value)
    expect(type(real) is float and type(imaginary) is float, f"{said(value)} is no complex number")
    return complex(real, imaginary)


_READERS: dict[str, Callable[[Any], Any]] = {
    "float": _read_float,
    "complex": _read_complex,
    "dtype": read_dtype,
    "size": lambda value: read_size({"size": value}),
    "type": read_types,
    "graph": _read_graph,
}


# -- nested arguments and results


def write_tree(tree: Any, name_of: Callable[[Cell], str]) -> Any:
    """Nested lists, tuples and dicts with ``{"array": true}`` where an array stands.

    A named tuple is a tuple to who loads it. Raises ArgumentError for a static value that is not plain.
    """
    if tree is SLOT:
        return {"array": True}
    if isinstance(tree, Variable):
        return {"variable": name_of(tree.cell)}
    if isinstance(tree, dict):
        if not all(isinstance(key, str) for key in tree):
            raise ArgumentError(f"[save] the keys of a dict must be strings; this one has {said(list(tree))}")
        return {"dict": {key: write_tree(item, name_of) for key, item in tree.items()}}
    if isinstance(tree, (list, tuple)):
        kind = "tuple" if isinstance(tree, tuple) else "list"
        return {kind: [write_tree(item, name_of) for item in tree]}
    return {"static": write_value(tree)}


def read_tree(found: Any, variables: dict[str, Variable]) -> Any:
    expect(isinstance(found, dict) and len(found) == 1, f"{said(found)} is no argument")
    ((kind, value),) = found.items()
    if kind == "array":
        return SLOT
    if kind == "variable":
        expect(isinstance(value, str) and value in variables, f"there is no variable {said(value)}")
        return variables[value]
    if kind == "dict":
        expect(isinstance(value, dict), f"{said(value)} is no object")
        return {key: read_tree(item, variables) for key, item in value.items()}
    if kind in ("list", "tuple"):
        expect(isinstance(value, list), f"{said(value)} is no list")
        items = [read_tree(item, variables) for item in value]
        return tuple(items) if kind == "tuple" else items
    expect(kind == "static", f"{said(found)} is no argument")
    return read_value(value)
