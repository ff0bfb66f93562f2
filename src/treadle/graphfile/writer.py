"""From signatures to the document of a file, plain JSON values.

The document holds everything but the tensors, which it names: their types and the SHA-256 of their bytes
stand here. Nodes are in order, inputs before consumers, and name their inputs by number. Lines of the user's
program are kept as text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import treadle
from treadle import packing, state
from treadle.autodiff import CUSTOM
from treadle.devices import registry
from treadle.door import PLACEHOLDER
from treadle.errors import ArgumentError
from treadle.graph.graph import ordered
from treadle.graph.node import DETACHED, WEAK, Node, Type
from treadle.graphfile.container import digest
from treadle.graphfile.signature import Rule, Signature, rule_of
from treadle.graphfile.upgrades import KIND, VERSION
from treadle.graphfile.values import write_tree, write_type, write_types, write_value
from treadle.ops.random import KEY
from treadle.ops.record import DATA, SCALAR
from treadle.state import READ, Cell


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
        bound = BOUND.get(node.op.name)
        if bound is not None:
            found.update(bound(self, node))
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
        return packing.values(cell.current)


# -- what leaves, and users' rules, are bound to


def _write_data(writer: Writer, node: Node) -> dict[str, Any]:
    array = registry.find(node.device).copy_out(node.buffer, node.type)
    return {"tensor": writer.constant(id(node.buffer), node.type, array)}


def _write_read(writer: Writer, node: Node) -> dict[str, Any]:
    cell = state.cell_of(node)
    assert cell is not None
    if not writer.freeze:
        return {"variable": writer.variable(cell)}
    return {"op": "data", "tensor": writer.constant(id(cell), cell.type, value_of(cell))}


def _write_placeholder(writer: Writer, node: Node) -> dict[str, Any]:
    return {"weak": True} if node.flags & WEAK else {}


def _write_rule(writer: Writer, node: Node) -> dict[str, Any]:
    rule = writer.rules[node]
    parts = [None if part is None else writer.index[part] for part in rule.parts]
    return {"rule": {"given": [writer.index[leaf] for leaf in rule.given], "parts": parts}}


BOUND: dict[str, Callable[[Writer, Node], dict[str, Any]]] = {
    DATA.name: _write_data,
    READ.name: _write_read,
    SCALAR.name: lambda writer, node: {"value": write_value(node.binding)},
    KEY.name: lambda writer, node: {"value": write_value(tuple(node.binding))},
    PLACEHOLDER.name: _write_placeholder,
    CUSTOM.name: _write_rule,
}
