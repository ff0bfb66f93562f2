"""A graph as a readable program, one line a node, and back.

::

    %0 = placeholder[name='x', shape=(3,), dtype=float32] : float32[3]
    %1 = constant[value=2, dtype=float32] : float32[]
    %2 = broadcast_to(%1)[shape=(3,)] : float32[3]
    %3 = multiply(%0, %2) : float32[3]                                # example.py:4
    return %3

A node with several results says the types of all, ``(float32[3], int64[])``, and others take one of them with
``result``. The graphs of loops and branches stand in front, under names, inner ones first::

    graph0:
        %0 = input[index=0] : float32[]
        %1 = multiply(%0, %0) : float32[]
        return %1

What a leaf is bound to stands in braces: the bytes of data in base64, a number, a random key, a variable's
name; so does a gradient rule of a user, as the name of its graph and what is made of it. Behind the type of a
node that keeps no history stands ``detached``. Parsing binds through a function of the caller, since what
values live in, and what rules are, is not known here.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from treadle.dtypes import BY_NAME, DType
from treadle.errors import FormatError
from treadle.graph.closed import Closed, graphs_of
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered
from treadle.graph.node import DETACHED, Node, Op, Type, Types, make, new, surrounded

LINE_COLUMN = 66
ELIDED_NBYTES = 256


def attribute_text(value: Any, graphs: Mapping[Closed, str] | _Names | None = None) -> str:
    """An attribute as it is written: a Python literal, a dtype's name, ``dim('2*batch')``, or the name of a
    graph.
    """
    if isinstance(value, Closed) and graphs is not None:
        return graphs[value]
    if isinstance(value, DType):
        return value.name
    if isinstance(value, Dimension):
        return f"dim({str(value)!r})"
    if isinstance(value, complex):
        # Python's own spelling as a sum loses the sign of a zero.
        return f"complex({value.real!r}, {value.imag!r})"
    if type(value) is tuple:
        return "(" + ", ".join(map(attribute_text, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def binding_text(node: Node, elide: bool) -> str:
    """What a leaf stands for."""
    if node.buffer is not None:
        data = node.buffer.view(node.type).tobytes()
        return (
            f"{len(data)} bytes" if elide and len(data) > ELIDED_NBYTES else base64.b64encode(data).decode()
        )
    binding = node.binding
    cell = getattr(binding, "cell", binding)
    if hasattr(cell, "name"):
        return cell.name
    return "" if binding is None else repr(binding)


def graph_text(outputs: Sequence[Node], elide: bool = True, lines: bool = True) -> str:
    """The graph below outputs as text. With `elide` the bytes of large data are left out, and the text does
    not parse back.
    """
    return _text(ordered(outputs, stop=lambda node: node.op.name == "data"), outputs, elide, lines)


Bound = Callable[[Node], tuple[Closed, str] | None]
"""The graph that a node is bound to, and what to say of it."""


def closed_text(closed: Closed, bound: Bound | None = None) -> str:
    """A closed graph as text that says all of it, but for users' lines; of gradient rules, what `bound`
    gives.
    """
    return _text(closed.order, closed.outputs, False, False, bound)


def _text(
    order: Sequence[Node], outputs: Sequence[Node], elide: bool, lines: bool, bound: Bound | None = None
) -> str:
    names = _Names(bound)
    text = []
    for closed in names.graphs(order):
        text.append(f"{names[closed]}:")
        text += ["    " + line for line in _lines(closed.order, closed.outputs, names, elide, lines)]
    return "\n".join(text + _lines(order, outputs, names, elide, lines))


class _Names:
    """The names of graphs, ``graph0`` and so on. Equal ones have one, unless they may be bound to others."""

    def __init__(self, bound: Bound | None):
        self.bound = bound or (lambda node: None)
        self.key: Callable[[Closed], Any] = (lambda closed: closed) if bound is None else id
        self.names: dict[Any, str] = {}

    def __getitem__(self, closed: Closed) -> str:
        return self.names[self.key(closed)]

    def graphs(self, order: Sequence[Node]) -> Iterator[Closed]:
        """Those that nodes refer to, at any depth, inner ones first; they have names then."""
        for node in order:
            rule = self.bound(node)
            for closed in graphs_of(node) if rule is None else [*graphs_of(node), rule[0]]:
                if self.key(closed) not in self.names:
                    yield from self.graphs(closed.order)
                    self.names[self.key(closed)] = f"graph{len(self.names)}"
                    yield closed


def _lines(
    order: Sequence[Node], outputs: Sequence[Node], graphs: _Names, elide: bool, lines: bool
) -> list[str]:
    names = {node: f"%{i}" for i, node in enumerate(order)}
    text = []
    for node in order:
        line = f"{names[node]} = {node.op.name}"
        if node.inputs:
            line += "(" + ", ".join(names[child] for child in node.inputs) + ")"
        if node.op.attributes and node.attributes:
            pairs = zip(node.op.attributes, node.attributes, strict=True)
            line += "[" + ", ".join(f"{name}={attribute_text(value, graphs)}" for name, value in pairs) + "]"
        if node.op.leaf and not node.inputs and node.op.reference is None:
            value = binding_text(node, elide)
            line += f"{{{value}}}" if value else ""
        rule = graphs.bound(node)
        if rule is not None:
            line += f"{{{graphs[rule[0]]} {rule[1]}}}"
        line += f" : {node.type!r}" + " detached" * bool(node.flags & DETACHED)
        if lines and node.line is not None:
            place = str(node.line).split(": ")[0]
            line = f"{line:<{LINE_COLUMN}} # {place}"
        text.append(line)
    text.append("return " + ", ".join(names[output] for output in outputs))
    return text


_LINE = re.compile(
    r"%(?P<name>\d+) = "
    r"(?P<op>\w+)(\((?P<inputs>[^)]*)\))?(\[(?P<attributes>.*)\])?(\{(?P<binding>[^}]*)\})? : "
    r"(?P<type>\([^)#]*\)|\w+\[[^\]]*\])(?P<detached> detached)?\s*(#.*)?$"
)
_HEAD = re.compile(r"(?P<name>graph\d+):$")
_TYPE = re.compile(r"(?P<dtype>\w+)\[(?P<shape>[^\]]*)\]")


def parse_graph(text: str, ops: dict[str, Op], bind: Callable[[Node, str], None]) -> list[Node]:
    """The outputs of a graph from its text. `bind(node, text)` gives a leaf what stands in its braces.

    Raises:
        FormatError: a line is not of the grammar, names an unknown op, or its stated type is not what
            inference finds.
    """
    return _parse(text, ops, bind)[1]


def parse_closed(
    text: str,
    ops: dict[str, Op],
    rule: Callable[[Node, Closed | None, str], None] = lambda node, closed, said: None,
) -> Closed:
    """A closed graph from its text. `rule(node, closed, said)` is told of every node that is no leaf to which
    graph it is bound, if to one, and what is said of it.

    Raises:
        FormatError: as `parse_graph`.
    """
    with surrounded(flags=0, body=None):
        return Closed(*_parse(text, ops, lambda node, text: None, rule))


def _parse(
    text: str,
    ops: dict[str, Op],
    bind: Callable[[Node, str], None],
    rule: Any = lambda node, closed, said: None,
) -> tuple[list[Node], list[Node]]:
    """The leaves and the outputs of a graph."""
    graphs: dict[str, Closed] = {}
    nodes: dict[str, Node] = {}
    name = ""
    for number, line in enumerate(text.strip().splitlines(), 1):
        line = line.strip()
        head = _HEAD.match(line)
        if head is not None:
            name, nodes = head["name"], {}
        elif line.startswith("return"):
            try:
                outputs = [nodes[name.strip()] for name in line[len("return") :].split(",") if name.strip()]
            except KeyError as missing:
                raise FormatError(f"line {number}: {missing} is not defined") from None
            parameters = [node for node in nodes.values() if node.op.leaf and node.op.reference is None]
            if not name:
                return parameters, outputs
            graphs[name] = Closed(parameters, outputs)
            name, nodes = "", {}
        elif line:
            key, node, bound = _parsed(line, number, ops, nodes, graphs)
            if node.inputs:
                graph, _, said = bound.partition(" ")
                if graph and graph not in graphs:
                    raise FormatError(f"line {number}: {graph!r} is not defined before its use")
                rule(node, graphs.get(graph), said)
            elif node.op.leaf and node.op.reference is None and not name:
                bind(node, bound)
            nodes[key] = node
    raise FormatError("the text has no return")


def _parsed(
    line: str, number: int, ops: dict[str, Op], nodes: dict[str, Node], graphs: dict[str, Closed]
) -> tuple[str, Node, str]:
    """The name and the node of one line, and what stands in its braces."""
    found = _LINE.match(line)
    if found is None:
        raise FormatError(f"line {number} is no node: {line!r}")
    op = ops.get(found["op"])
    if op is None:
        raise FormatError(f"line {number}: there is no op {found['op']!r}")
    type = _type(found["type"], number)
    attributes = _attributes(found["attributes"] or "", number, graphs)
    if tuple(attributes) != op.attributes and attributes:
        raise FormatError(
            f"line {number}: {op.name} has the attributes {op.attributes}, not {tuple(attributes)}"
        )
    try:
        inputs = tuple(nodes[name.strip()] for name in (found["inputs"] or "").split(",") if name.strip())
    except KeyError as missing:
        raise FormatError(f"line {number}: {missing} is not defined before its use") from None
    detached = found["detached"] is not None
    if op.leaf and not inputs:
        node = new(op, (), tuple(attributes.values()), type, DETACHED * detached)
    else:
        with surrounded(tracking=not detached):
            node = make(op, inputs, tuple(attributes.values()))
    if node.type is not type:
        raise FormatError(f"line {number}: {op.name} gives {node.type!r}, the line says {type!r}")
    return f"%{found['name']}", node, found["binding"] or ""


def _type(text: str, number: int) -> Type | Types:
    """A type as it is written; several in parentheses."""
    types = []
    for found in _TYPE.finditer(text):
        if found["dtype"] not in BY_NAME:
            raise FormatError(f"line {number}: {found['dtype']!r} is no dtype")
        shape = tuple(_size(size) for size in found["shape"].split(",") if size.strip())
        types.append(Type(shape, BY_NAME[found["dtype"]]))
    return Types(types) if text.startswith("(") else types[0]


def _size(text: str) -> int | Dimension:
    """A size as it is written in a type: a number, or names and a number with stars between."""
    text = text.strip()
    if text.isdigit():
        return int(text)
    factors = text.split("*")
    coefficient = int(factors.pop(0)) if factors[0].isdigit() else 1
    return Dimension(factors, coefficient)


def _attributes(text: str, number: int, graphs: Mapping[str, Closed] = {}) -> dict[str, Any]:
    """``name=value, ...`` as a dict."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        return {
            str(k.arg): graphs[k.value.id]
            if isinstance(k.value, ast.Name) and k.value.id in graphs
            else _value(k.value)
            for k in call.keywords
        }
    except (SyntaxError, ValueError, KeyError) as error:
        raise FormatError(f"line {number}: the attributes [{text}] do not parse: {error}") from None


def _value(tree: ast.expr) -> Any:
    """An attribute's value from its syntax: literals, dtypes, dimensions, nan and inf; nothing is
    evaluated.
    """
    if isinstance(tree, ast.Constant):
        return tree.value
    if isinstance(tree, ast.Tuple):
        return tuple(map(_value, tree.elts))
    if isinstance(tree, ast.Name):
        return float(tree.id) if tree.id in ("nan", "inf") else BY_NAME[tree.id]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_value(tree.operand)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "complex":
        real, imaginary = map(_value, tree.args)
        return complex(real, imaginary)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "dim":
        return _size(_value(tree.args[0]))
    raise ValueError(f"{ast.unparse(tree)} is no attribute value")
