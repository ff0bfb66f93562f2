"""From the document of a file to signatures and variables, every claim checked: types are inferred again, and
what does not fit is `Damage` that says where.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from treadle import state
from treadle.array import Variable
from treadle.autodiff import CUSTOM, DUMMY
from treadle.devices import registry
from treadle.door import PLACEHOLDER
from treadle.dtypes import DType, float64
from treadle.errors import SavedLine, TreadleError
from treadle.evaluate import data
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered
from treadle.graph.node import STATIC, WEAK, Node, Op, Type, make, new, surrounded
from treadle.graphfile.container import digest
from treadle.graphfile.signature import Signature
from treadle.graphfile.values import (
    Damage,
    checked_rule,
    expect,
    field,
    read_tree,
    read_type,
    read_types,
    read_value,
    said,
)
from treadle.ops.random import KEY
from treadle.ops.record import DATA, OPS, SCALAR
from treadle.state import READ, Cell
from treadle.structure import SLOT


class Reader:
    """Reads a document: `functions` by name, and `variables`. `tensor(name, type)` gives the values that are
    named.
    """

    def __init__(self, document: dict[str, Any], tensor: Callable[[str, Type], np.ndarray], device: str):
        self.tensor = tensor
        self.device = device
        self.lines = [SavedLine(line) for line in field(document, "lines", list) if _is_text(line)]
        self.constants = {
            name: self._constant(name, claim) for name, claim in field(document, "constants", dict).items()
        }
        self.variables = {
            name: self._variable(name, claim) for name, claim in field(document, "variables", dict).items()
        }
        self.nodes: list[Node] = []
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
        bound = BOUND.get(op.name)
        if op.leaf:
            expect(not inputs, "a leaf has no inputs")
            expect(bound is not None or op.name == "constant", "it stands for nothing in a saved graph")
            # A leaf's type is its own to say; `infer` checks the attributes of those that have some.
            if op.attributes:
                expect(_inferred(op, (), attributes) is type, f"it is no {type!r}")
        if bound is not None:
            return bound(self, op, inputs, attributes, type, claim)
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
            expect(value.type is cell.type, f"{name!r} is {cell.type!r} and updated with {value.type!r}")
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


# -- what leaves, and users' rules, are bound to


def _read_data(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    name = field(claim, "tensor", str)
    expect(name in reader.constants, f"there is no constant {name!r}")
    constant = reader.constants[name]
    expect(constant.type is stated, f"the constant {name!r} is {constant.type!r}, the node {stated!r}")
    return data(constant.buffer, stated, reader.device)


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


def _read_placeholder(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    weak = field(claim, "weak", bool, False)
    expect(not weak or stated is Type((), float64), f"a Python float is no {stated!r}")
    return new(op, (), attributes, stated, STATIC | WEAK * weak)


def _read_dummy(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    return new(op, (), (), stated, STATIC)


def _read_rule(reader: Reader, op: Op, inputs: Any, attributes: Any, stated: Any, claim: Any) -> Node:
    rule = field(claim, "rule", dict)
    given = [reader.node(number) for number in field(rule, "given", list)]
    expect(all(leaf.op is DUMMY for leaf in given), "its rule is given what is no dummy")
    parts = [None if number is None else reader.node(number) for number in field(rule, "parts", list)]
    _inferred(op, inputs, attributes)
    node = make(op, inputs, attributes)
    node.binding = checked_rule(node, given, parts)
    return node


BOUND: dict[str, Callable[..., Node]] = {
    DATA.name: _read_data,
    READ.name: _read_read,
    SCALAR.name: _read_scalar,
    KEY.name: _read_key,
    PLACEHOLDER.name: _read_placeholder,
    DUMMY.name: _read_dummy,
    CUSTOM.name: _read_rule,
}
