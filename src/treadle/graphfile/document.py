"""A graph with its signatures as one JSON document, in both directions.

The document holds everything but the tensors, which it names: their types and the SHA-256 of their bytes
stand here. Nodes are in order, inputs before consumers, and name their inputs by number. Lines of the user's
program are kept as text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import treadle
from treadle import state
from treadle.array import Variable
from treadle.autodiff import CUSTOM, DUMMY
from treadle.devices import registry
from treadle.door import PLACEHOLDER
from treadle.dtypes import DType, float64
from treadle.errors import ArgumentError, SavedLine, TreadleError
from treadle.evaluate import data
from treadle.graph.dimension import Dimension
from treadle.graph.graph import late, ordered, rewrite
from treadle.graph.node import DETACHED, STATIC, WEAK, Node, Op, Type, make, new, surrounded
from treadle.graphfile.container import bytes_of
from treadle.graphfile.upgrades import KIND, VERSION
from treadle.graphfile.values import (
    Damage,
    expect,
    field,
    read_tree,
    read_type,
    read_types,
    read_value,
    said,
    write_tree,
    write_type,
    write_types,
    write_value,
)
from treadle.ops.random import KEY
from treadle.ops.record import DATA, OPS, SCALAR
from treadle.state import READ, Cell
from treadle.structure import SLOT


@dataclass
class Signature:
    """A static graph and how it is called.

    `parameters` are the names of the positional arguments. `arguments` (positional, by keyword) and `result`
    have `SLOT` where an array stands; the arrays are, in order, the placeholders `inputs` and the values
    `outputs`. `updates` are what variables are given at the end, in the order in which they are stored.
    """

    parameters: tuple[str, ...]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    inputs: list[Node]
    result: Any
    outputs: list[Node]
    updates: dict[Cell, Node]

    def values(self) -> list[Node]:
        """All that a call computes."""
        return [*self.outputs, *self.updates.values()]

    def __str__(self) -> str:
        """``(x: float32[batch, 3], training: True) -> float32[batch]``."""
        types = iter(["float" if node.flags & WEAK else repr(node.type) for node in self.inputs])
        positional, keywords = self.arguments
        names = [*self.parameters, *[""] * len(positional)]
        parts = [
            f"{name}: " * bool(name) + _shown(a, types) for name, a in zip(names, positional, strict=False)
        ]
        parts += [f"{name}: {_shown(value, types)}" for name, value in keywords.items()]
        result = _shown(self.result, iter([repr(node.type) for node in self.outputs]))
        changed = ", ".join(cell.name for cell in self.updates)
        return f"({', '.join(parts)}) -> {result}" + (f", updating {changed}" if changed else "")


def _shown(tree: Any, types: Any) -> str:
    if tree is SLOT:
        return next(types)
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {_shown(item, types)}" for key, item in tree.items()) + "}"
    if isinstance(tree, tuple):
        return "(" + ", ".join(_shown(item, types) for item in tree) + "," * (len(tree) == 1) + ")"
    if isinstance(tree, list):
        return "[" + ", ".join(_shown(item, types) for item in tree) + "]"
    return tree.name if isinstance(tree, Variable) else repr(tree)


def digest(array: np.ndarray) -> str:
    """The SHA-256 of a tensor's bytes."""
    return hashlib.sha256(bytes_of(array)).hexdigest()


# -- rules that users gave


class Rule:
    """A user's gradient rule as a graph: the cotangents `parts` (None where there is none) as functions of
    `given`, which stand for the cotangent of the value, the value, and the inputs.
    """

    def __init__(self, given: Sequence[Node], parts: Sequence[Node | None]):
        self.given = tuple(given)
        self.parts = tuple(parts)

    def __call__(self, *values: Node) -> list[Node | None]:
        put = dict(zip(self.given, values, strict=True))
        found = iter(rewrite(self.wanted(), lambda node, inputs: put.get(node)))
        return [None if part is None else next(found) for part in self.parts]

    def wanted(self) -> list[Node]:
        """What the rule computes."""
        return [part for part in self.parts if part is not None]


def rule_of(node: Node) -> Rule:
    """The rule of a `custom_vjp` node as a graph.

    Raises:
        ArgumentError: the rule cannot be run without values.
    """
    if isinstance(node.binding, Rule):
        return node.binding
    given = [new(DUMMY, (), (), other.type, STATIC) for other in (node, *node.inputs)]
    try:
        with surrounded(role="gradient", scope=node.scope):
            parts = node.binding(*given)
    except TreadleError as error:
        raise ArgumentError(
            f"[save] the gradient rule of the custom_vjp made at {node.line} cannot be written as a graph: "
            f"{error.message}"
        ) from error
    wanted = [part for part in parts if part is not None]
    found = iter(late(rewrite(wanted, _without_own_reads)))
    return Rule(given, [None if part is None else next(found) for part in parts])


def _without_own_reads(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    """A read of what the same function assigned is what it assigned; an update is the value it stores."""
    return inputs[0] if inputs and node.op in (READ, state.UPDATE) else None


# -- writing


class Writer:
    """Writes signatures as a document; `tensors` are what it names. With `freeze` variables are constants."""

    def __init__(self, functions: dict[str, list[Signature]], freeze: bool):
        self.freeze = freeze
        self.tensors: dict[str, np.ndarray] = {}
        self.names: dict[Cell, str] = {}
        self.constants: dict[int, str] = {}
        self.lines: dict[str, int] = {}
        self.rules: dict[Node, Rule] = {}
        self.described: dict[str, dict[str, Any]] = {"variables": {}, "constants": {}}
        signatures = [signature for several in functions.values() for signature in several]
        targets = [node for s in signatures for node in (*s.inputs, *s.values())]
        order = self._ordered(targets)
        self.index = {node: i for i, node in enumerate(order)}
        for signature in signatures:
            self._check(signature)
        self.document = {
            "kind": KIND,
            "version": VERSION,
            "treadle": treadle.__version__,
            "functions": {
                name: [self._signature(signature) for signature in several]
                for name, several in functions.items()
            },
            "nodes": [self._node(node) for node in order],
            **self.described,
            "lines": list(self.lines),
        }

    def _ordered(self, targets: list[Node]) -> list[Node]:
        """Every node, those of rules among them: a rule's graph may hold nodes with rules again."""
        while True:
            order = ordered(targets)
            rules = [node for node in order if node.op is CUSTOM and node not in self.rules]
            if not rules:
                return order
            for node in rules:
                rule = self.rules[node] = rule_of(node)
                # In front, so that a rule is complete where its node is read.
                targets = [*rule.given, *rule.wanted(), *targets]

    def _check(self, signature: Signature) -> None:
        if self.freeze and signature.updates:
            names = ", ".join(cell.name for cell in signature.updates)
            raise ArgumentError(
                f"[save] freeze=True, but the function updates {names}: a constant keeps its value"
            )

    def _signature(self, signature: Signature) -> dict[str, Any]:
        number = self.index.__getitem__
        positional, keywords = signature.arguments
        return {
            "parameters": list(signature.parameters),
            "positional": write_tree(positional, self.variable),
            "keywords": write_tree(keywords, self.variable),
            "inputs": [number(node) for node in signature.inputs],
            "result": write_tree(signature.result, self.variable),
            "outputs": [number(node) for node in signature.outputs],
            "updates": [[self.variable(cell), number(value)] for cell, value in signature.updates.items()],
        }

    def variable(self, cell: Cell) -> str:
        """The name under which a variable is kept: its own, with a number if another has it too."""
        name = self.names.get(cell)
        if name is None:
            name, number = cell.name, 2
            while name in self.tensors:
                name, number = f"{cell.name}.{number}", number + 1
            self.names[cell] = name
            array = value_of(cell)
            self.tensors[name] = array
            self.described["variables"][name] = {
                "name": cell.name,
                "type": write_type(cell.type),
                "trainable": cell.trainable,
                "layout": None if cell.layout is None else list(cell.layout),
                "sha256": digest(array),
            }
        return name

    def constant(self, key: int, type: Type, array: np.ndarray) -> str:
        """The name under which a value is kept."""
        name = self.constants.get(key)
        if name is None:
            number = len(self.constants)
            while (name := f"constant.{number}") in self.tensors:
                number += 1
            self.constants[key] = name
            self.tensors[name] = array
            self.described["constants"][name] = {"type": write_type(type), "sha256": digest(array)}
        return name

    def _node(self, node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {"op": node.op.name}
        if node.inputs:
            found["inputs"] = [self.index[child] for child in node.inputs]
        if node.op.attributes and node.attributes:
            found["attributes"] = {name: write_value(value) for name, value in node.keywords().items()}
        found["type"] = write_types(node.type)
        bound = BINDINGS.get(node.op.name)
        if bound is not None:
            found.update(bound[0](self, node))
        if node.line is not None:
            found["line"] = self.lines.setdefault(str(node.line), len(self.lines))
        if node.scope:
            found["scope"] = list(node.scope)
        if node.role != "forward":
            found["role"] = node.role
        if node.flags & DETACHED:
            found["detached"] = True
        return found


def value_of(cell: Cell) -> np.ndarray:
    """A variable's value in the order of its shape."""
    with cell.lock:
        array = registry.find(cell.device).copy_out(cell.current.buffer, cell.stored)
    return array if cell.layout is None else np.transpose(array, np.argsort(cell.layout))


# -- reading


class Reader:
    """Reads a document: `functions` by name, and `variables`. `tensor(name, type)` gives the values that are
    named.
    """

    def __init__(self, document: dict[str, Any], tensor: Callable[[str, Type], np.ndarray], device: str):
        self.tensor = tensor
        self.device = device
        self.document = document
        self.lines = [SavedLine(line) for line in field(document, "lines", list) if _is_text(line)]
        self.constants = {
            name: self._constant(name, claim) for name, claim in field(document, "constants", dict).items()
        }
        self.variables = {
            name: self._variable(name, claim) for name, claim in field(document, "variables", dict).items()
        }
        self.nodes: list[Node] = []
        self.known = frozenset(OPS)
        for i, claim in enumerate(field(document, "nodes", list)):
            op = claim.get("op") if isinstance(claim, dict) else None
            with _where(f"node {i}" + (f", {op}" if isinstance(op, str) else "")):
                self.nodes.append(self._node(claim))
        self.functions: dict[str, list[Signature]] = {}
        for name, several in field(document, "functions", dict).items():
            with _where(f"function {name!r}"):
                expect(isinstance(several, list) and several, "it has no signature")
                self.functions[name] = [self._signature(claim) for claim in several]
        expect(self.functions, "there is no function in it")

    def _checked(self, name: str, claim: Any, type: Type) -> np.ndarray:
        expect(
            all(isinstance(n, int) for n in type.shape), f"{name!r} is {type!r}: its sizes must be numbers"
        )
        array = self.tensor(name, type)
        expect(
            digest(array) == field(claim, "sha256", str),
            f"the tensor {name!r} is damaged: its bytes are not those that were written (SHA-256)",
        )
        return array

    def _constant(self, name: str, claim: Any) -> Node:
        type = read_type(field(claim, "type", list))
        array = self._checked(name, claim, type)
        return data(registry.find(self.device).copy_in(array, type), type, self.device)

    def _variable(self, name: str, claim: Any) -> Variable:
        type = read_type(field(claim, "type", list))
        layout = claim.get("layout")
        in_order = layout is None or (
            isinstance(layout, list)
            and all(isinstance(axis, int) for axis in layout)
            and sorted(layout) == list(range(len(type.shape)))
        )
        expect(in_order, f"variable {name!r}: layout {said(layout)} is no order of its dimensions")
        array = self._checked(name, claim, type)
        with surrounded(device=self.device):
            return Variable(
                array, field(claim, "name", str), trainable=field(claim, "trainable", bool), layout=layout
            )

    def node(self, number: Any) -> Node:
        """A node by its number; those that come later are not there yet."""
        expect(
            type(number) is int and 0 <= number < len(self.nodes), f"there is no node {said(number)} before"
        )
        return self.nodes[number]

    def _node(self, claim: Any) -> Node:
        name = field(claim, "op", str)
        op = OPS.get(name)
        if op is None:
            raise Damage(
                f"there is no op {name!r}: if it is one of yours, import the module that registers it before "
                f"td.load; else a newer Treadle may have it"
            )
        inputs = tuple([self.node(number) for number in field(claim, "inputs", list, [])])
        written = field(claim, "attributes", dict, {})
        expect(
            tuple(written) == op.attributes, f"its attributes are {tuple(written)}; expected {op.attributes}"
        )
        attributes = tuple([read_value(value) for value in written.values()])
        type = read_types(claim.get("type"))
        line = claim.get("line")
        expect(
            line is None or (isinstance(line, int) and 0 <= line < len(self.lines)), "there is no such line"
        )
        scope = field(claim, "scope", list, [])
        expect(all(isinstance(part, str) for part in scope), f"its scope is {said(scope)}")
        detached, role = field(claim, "detached", bool, False), field(claim, "role", str, "forward")
        place = None if line is None else self.lines[line]
        with surrounded(device=self.device, scope=tuple(scope), role=role, tracking=not detached, line=place):
            node = self._made(op, inputs, attributes, type, claim)
        node.line = place
        expect(node.type is type, f"it gives {node.type!r}, the file says {type!r}")
        return node

    def _made(self, op: Op, inputs: Any, attributes: Any, type: Any, claim: Any) -> Node:
        bound = BINDINGS.get(op.name)
        if op.leaf:
            expect(not inputs, "a leaf has no inputs")
            expect(bound is not None or op.name == "constant", "it stands for nothing in a saved graph")
            # A leaf's type is its own to say; `infer` checks the attributes of those that have some.
            if op.attributes:
                expect(_inferred(op, (), attributes) is type, f"it is no {type!r}")
        if bound is not None:
            return bound[1](self, op, inputs, attributes, type, claim)
        if op.leaf:
            _check_constant(*attributes)
            return new(op, (), attributes, type)
        _inferred(op, inputs, attributes)
        return make(op, inputs, attributes)

    def _signature(self, claim: Any) -> Signature:
        parameters = field(claim, "parameters", list)
        expect(all(isinstance(name, str) for name in parameters), f"its parameters are {said(parameters)}")
        positional = read_tree(claim.get("positional"), self.variables)
        keywords = read_tree(claim.get("keywords"), self.variables)
        expect(type(positional) is tuple and type(keywords) is dict, "its arguments are no arguments")
        inputs = [self.node(number) for number in field(claim, "inputs", list)]
        expect(all(node.op is PLACEHOLDER for node in inputs), "an input is no placeholder")
        expect(len(set(inputs)) == len(inputs), "an input is there twice")
        outputs = [self.node(number) for number in field(claim, "outputs", list)]
        result = read_tree(claim.get("result"), self.variables)
        expect(_slots([positional, keywords]) == len(inputs), "it has not as many inputs as arrays")
        expect(_slots(result) == len(outputs), "it has not as many outputs as arrays")
        updates: dict[Cell, Node] = {}
        for pair in field(claim, "updates", list):
            expect(isinstance(pair, list) and len(pair) == 2, f"{said(pair)} is no update")
            name, value = pair[0], self.node(pair[1])
            expect(isinstance(name, str) and name in self.variables, f"there is no variable {said(name)}")
            cell = self.variables[name].cell
            expect(value.type is cell.stored, f"{name!r} is {cell.stored!r} and updated with {value.type!r}")
            updates[cell] = value
        signature = Signature(tuple(parameters), (positional, keywords), inputs, result, outputs, updates)
        needed = [node for node in ordered(signature.values()) if node.op is PLACEHOLDER]
        expect(set(needed) <= set(inputs), "it needs a placeholder that is none of its inputs")
        return signature


def _is_text(line: Any) -> bool:
    expect(isinstance(line, str), f"{said(line)} is no line")
    return True


def _inferred(op: Op, inputs: tuple[Node, ...], attributes: tuple[Any, ...]) -> Any:
    """The type that the op gives; whatever is wrong with what it is given is the file's fault."""
    try:
        return op.infer(*[node.type for node in inputs], **dict(zip(op.attributes, attributes, strict=True)))
    except TreadleError as error:
        raise Damage(error.message) from None
    except Exception as error:
        raise Damage(
            f"it does not take these inputs and attributes ({type(error).__name__}: {error})"
        ) from None


def _check_constant(value: Any, dtype: DType) -> None:
    """Refuse what is no number of a constant's dtype."""
    try:
        right = isinstance(value, Dimension) or np.can_cast(dtype.numpy.type(value), dtype.numpy)
    except (TypeError, ValueError, OverflowError):
        right = False
    expect(right and not isinstance(value, (str, tuple)), f"{said(value)} is no {dtype}")


class _where:
    """Says where damage was found."""

    def __init__(self, place: str):
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Damage):
            raise Damage(f"{self.place}: {error}") from None


def _slots(tree: Any) -> int:
    if isinstance(tree, dict):
        return sum(map(_slots, tree.values()))
    if isinstance(tree, (list, tuple)):
        return sum(map(_slots, tree))
    return int(tree is SLOT)


# -- what leaves, and users' rules, are bound to: (written, read) by op


def _write_data(writer: Writer, node: Node) -> dict[str, Any]:
    array = registry.find(node.device).copy_out(node.buffer, node.type)
    return {"tensor": writer.constant(id(node.buffer), node.type, array)}


def _read_data(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    name = field(claim, "tensor", str)
    expect(name in reader.constants, f"there is no constant {name!r}")
    constant = reader.constants[name]
    expect(constant.type is stated, f"the constant {name!r} is {constant.type!r}, the node {stated!r}")
    return data(constant.buffer, stated, reader.device)


def _write_read(writer: Writer, node: Node) -> dict[str, Any]:
    cell = state.cell_of(node)
    assert cell is not None
    if not writer.freeze:
        return {"variable": writer.variable(cell)}
    array = registry.find(cell.device).copy_out(cell.current.buffer, cell.stored)
    return {"op": "data", "tensor": writer.constant(id(cell), cell.stored, array)}


def _read_read(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    name = field(claim, "variable", str)
    expect(name in reader.variables, f"there is no variable {name!r}")
    return state.late_read(reader.variables[name].cell)


def _read_scalar(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    value = read_value(claim.get("value"))
    expect(isinstance(value, (bool, int, float, complex)), f"{said(value)} is no number")
    expect(type(stated) is Type and stated.shape == (), f"a number is no {stated!r}")
    node = new(op, (), (), stated)
    node.binding = value
    return node


def _read_key(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    words = read_value(claim.get("value"))
    fits = type(words) is tuple and len(words) == 2
    expect(
        fits and all(type(w) is int and 0 <= w < 1 << 32 for w in words), f"{said(words)} is no random key"
    )
    expect(stated is op.infer(), f"a random key is no {stated!r}")
    node = new(op, (), (), stated)
    node.binding = words
    return node


def _write_placeholder(writer: Writer, node: Node) -> dict[str, Any]:
    return {"weak": True} if node.flags & WEAK else {}


def _read_placeholder(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    weak = field(claim, "weak", bool, False)
    expect(not weak or stated is Type((), float64), f"a Python float is no {stated!r}")
    return new(op, (), attributes, stated, STATIC | WEAK * weak)


def _read_dummy(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    return new(op, (), (), stated, STATIC)


def _write_rule(writer: Writer, node: Node) -> dict[str, Any]:
    rule = writer.rules[node]
    parts = [None if part is None else writer.index[part] for part in rule.parts]
    return {"rule": {"given": [writer.index[leaf] for leaf in rule.given], "parts": parts}}


def _read_rule(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    rule = field(claim, "rule", dict)
    given = [reader.node(number) for number in field(rule, "given", list)]
    expect(all(leaf.op is DUMMY for leaf in given), "its rule is given what is no dummy")
    expect(
        [leaf.type for leaf in given] == [stated, *[node.type for node in inputs]], "its rule does not fit"
    )
    parts = [None if number is None else reader.node(number) for number in field(rule, "parts", list)]
    expect(len(parts) == len(inputs) - 1, "its rule has not as many cotangents as inputs")
    for part, node in zip(parts, inputs[1:], strict=True):
        expect(part is None or part.type is node.type, "its rule has a cotangent of a wrong type")
    _inferred(op, inputs, attributes)
    node = make(op, inputs, attributes)
    node.binding = Rule(given, parts)
    return node


def _nothing(writer: Writer, node: Node) -> dict[str, Any]:
    return {}


BINDINGS: dict[str, tuple[Callable[[Writer, Node], dict[str, Any]], Callable[..., Node]]] = {
    DATA.name: (_write_data, _read_data),
    READ.name: (_write_read, _read_read),
    SCALAR.name: (lambda writer, node: {"value": write_value(node.binding)}, _read_scalar),
    KEY.name: (lambda writer, node: {"value": write_value(tuple(node.binding))}, _read_key),
    PLACEHOLDER.name: (_write_placeholder, _read_placeholder),
    DUMMY.name: (_nothing, _read_dummy),
    CUSTOM.name: (_write_rule, _read_rule),
}
