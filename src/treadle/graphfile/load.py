"""`load`: a file of graphs as functions that make nodes, so that they compute, differentiate and compile like
any others.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from treadle import state
from treadle.array import Array, Variable, asarray
from treadle.autodiff import BARRIER, CUSTOM, DUMMY
from treadle.devices import registry
from treadle.door import KEY_MASK, PLACEHOLDER
from treadle.errors import ArgumentError, FeedError, FormatError, StateError
from treadle.evaluate import run_pending
from treadle.graph.dimension import Size, solve, substitute
from treadle.graph.graph import ordered
from treadle.graph.node import DETACHED, STATIC, WEAK, Node, Type, make, new, surroundings
from treadle.graph.text import graph_text
from treadle.graphfile import container
from treadle.graphfile.reader import Reader
from treadle.graphfile.signature import Rule, Signature
from treadle.graphfile.upgrades import KIND, upgraded
from treadle.graphfile.values import Damage, expect, said
from treadle.ops.random import KEY
from treadle.ops.record import cast
from treadle.state import READ
from treadle.structure import SLOT, fill


def load(path: str | os.PathLike[str], *, device: str | None = None) -> LoadedGraph:
    """Read a file of `save`: functions that run without the code that made them.

    Args:
        path: the file.
        device: where its variables and constants are put; None for the current device.

    Returns:
        LoadedGraph: call it (or ``graph["name"]``, where there are several functions) as the function that
        was saved: on arrays, on placeholders, inside compiled functions. `.variables` are its variables by
        name, to differentiate by and to train on.

    Raises:
        FormatError: the file is foreign, damaged, of a newer version, or uses an op that is not registered;
            the message says where and what. Nothing is loaded then.
        OSError: the file cannot be read.

    >>> import treadle as td
    >>> w = td.Variable(2.0, name="w")
    >>> td.save("doubled.treadle", lambda x: x * w, td.ones(3))
    >>> doubled = td.load("doubled.treadle")
    >>> td.gradients(doubled([1.0, 2.0, 3.0]).sum(), doubled.variables["w"]).item()
    6.0
    """
    if state.pending.trace is not None:
        raise StateError(
            "[load] inside a compiled function: its variables would be made anew for every trace"
        )
    where = Path(path)
    device = device or surroundings.device
    registry.find(device)
    with open(where, "rb") as file:
        opened = container.Container(where, file)
        text = opened.metadata.get(container.DOCUMENT)
        if opened.metadata.get("format") != KIND or text is None:
            raise FormatError(
                f"{where} is a safetensors file, but none of td.save: its metadata hold no {KIND!r}"
            )
        try:
            expect(
                container.text_digest(text) == opened.metadata.get(container.HASH),
                "the graph is damaged: its text is not what was written (SHA-256)",
            )
            reader = Reader(upgraded(_parsed(text)), opened.read, device)
            unknown = set(opened.entries) - set(reader.variables) - set(reader.constants)
            expect(not unknown, f"the tensors {said(sorted(unknown))} belong to nothing in the graph")
        except (Damage, RecursionError) as damage:
            said_of = damage if isinstance(damage, Damage) else "it is nested too deeply"
            raise FormatError(f"{where}: {said_of}") from None
    return LoadedGraph(reader.functions, reader.variables)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Damage(f"the graph is no JSON, at character {error.pos}: {error.msg}") from None
    except ValueError as error:
        raise Damage(f"the graph is no JSON: {error}") from None


class LoadedGraph:
    """What `load` gives: functions by name, and the variables that they share, by name.

    Calling it calls its function, if there is one; ``graph["name"]`` is one of several.
    """

    def __init__(self, functions: dict[str, list[Signature]], variables: dict[str, Variable]):
        self.variables = variables
        self.functions = {name: LoadedFunction(name, signatures) for name, signatures in functions.items()}

    def __getitem__(self, name: str) -> LoadedFunction:
        if name not in self.functions:
            raise ArgumentError(
                f"[load] there is no function {name!r}; there are {', '.join(self.functions)}"
            )
        return self.functions[name]

    def only(self) -> LoadedFunction:
        """The only function.

        Raises:
            ArgumentError: there are several.
        """
        if len(self.functions) > 1:
            names = ", ".join(self.functions)
            raise ArgumentError(
                f"[load] the file holds several functions: {names}; choose one: graph['name']"
            )
        return next(iter(self.functions.values()))

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.only()(*args, **keywords)

    def __repr__(self) -> str:
        shown = [str(function) for function in self.functions.values()]
        shown += [f"{name}: {variable.node.type!r}" for name, variable in self.variables.items()]
        return "\n".join(["LoadedGraph", *(f"    {line}" for text in shown for line in text.splitlines())])


class LoadedFunction:
    """A function of a file: its graph is put where it is called, as if its code were there.

    `signatures` are the ways in which it can be called, `text()` its graph.
    """

    def __init__(self, name: str, signatures: list[Signature]):
        self.__name__ = name
        self.signatures = signatures
        self._templates = [_Template(signature) for signature in signatures]
        self._calls = itertools.count()

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        reasons = []
        for template in self._templates:
            found = template.match(args, keywords)
            if not isinstance(found, str):
                return template.put(*found, next(self._calls))
            reasons.append(found)
        if len(reasons) == 1:
            raise FeedError(f"[{self.__name__}] {reasons[0]}; it takes {self.signatures[0]}")
        tried = "".join(
            f"\n  {signature}: {reason}" for signature, reason in zip(self.signatures, reasons, strict=True)
        )
        raise FeedError(f"[{self.__name__}] the arguments fit none of its signatures:{tried}")

    def text(self) -> str:
        """The graphs of its signatures as readable programs."""
        return "\n".join(
            f"{self.__name__}{signature}\n{graph_text(signature.values())}" for signature in self.signatures
        )

    def __str__(self) -> str:
        return "\n".join(f"{self.__name__}{signature}" for signature in self.signatures)

    __repr__ = __str__


class _Template:
    """A signature, and its graph in the order in which it is copied."""

    def __init__(self, signature: Signature):
        self.signature = signature
        rules: dict[Node, Rule] = {}
        targets = signature.values()
        while True:
            self.order = ordered(targets)
            found = {node: node.binding for node in self.order if node.op is CUSTOM and node not in rules}
            if not found:
                break
            rules.update(found)
            targets = [node for rule in found.values() for node in (*rule.given, *rule.wanted())] + targets

    # -- arguments

    def match(
        self, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[list[Node], dict[str, Size]] | str:
        """The nodes of a call's arrays and the sizes they put in for symbols; or why it does not fit."""
        positional, by_keyword = self.signature.arguments
        names = self.signature.parameters
        rest = dict(keywords)
        args = (*args, *(rest.pop(name) for name in names[len(args) : len(positional)] if name in rest))
        nodes: list[Node] = []
        sizes: dict[str, Size] = {}
        if len(args) != len(positional):
            return f"it takes {len(positional)} arguments, got {len(args)}"
        for i, (wanted, given) in enumerate(zip(positional, args, strict=True)):
            name = names[i] if i < len(names) else f"argument {i}"
            if reason := self._take(wanted, given, name, nodes, sizes):
                return reason
        return self._take(by_keyword, dict(sorted(rest.items())), "the keywords", nodes, sizes) or (
            nodes,
            sizes,
        )

    def _take(self, wanted: Any, given: Any, name: str, nodes: list[Node], sizes: dict[str, Size]) -> str:
        """Take the arrays out of an argument; why that cannot be done, or nothing."""
        if wanted is SLOT:
            place = self.signature.inputs[len(nodes)]
            expected = place.type
            if not isinstance(given, Array):
                dtype = None if hasattr(given, "dtype") else expected.dtype
                given = asarray(given, dtype=dtype, device=place.device)
            node = given.node
            if place.flags & WEAK and node.dtype.kind == "float":
                node = cast(node, expected.dtype)
            fits = node.dtype is expected.dtype and node.ndim == len(expected.shape)
            before = dict(sizes)
            if not fits or not solve(expected.shape, node.shape, sizes):
                put = "".join(f", {name} = {size}" for name, size in before.items())
                return f"{name} is {expected!r}{put}; it was given {node.type!r}"
            nodes.append(node)
            return ""
        if isinstance(wanted, dict):
            if not isinstance(given, dict) or set(given) != set(wanted):
                return f"{name} has the keys {list(wanted)}; it was given {said(given)}"
            parts = [(item, given[key], f"{name}[{key!r}]") for key, item in wanted.items()]
        elif isinstance(wanted, (list, tuple)):
            if not isinstance(given, type(wanted)) or len(given) != len(wanted):
                return f"{name} is a {type(wanted).__name__} of {len(wanted)}; it was given {said(given)}"
            parts = [(w, g, f"{name}[{i}]") for i, (w, g) in enumerate(zip(wanted, given, strict=True))]
        elif isinstance(wanted, Variable):
            return "" if wanted is given else f"{name} is the variable {wanted.name} of the file"
        else:
            same = type(wanted) is type(given) and wanted == given
            return "" if same else f"{name} is {wanted!r}; it was given {said(given)}"
        for part in parts:
            if reason := self._take(*part, nodes, sizes):
                return reason
        return ""

    # -- the graph

    def put(self, inputs: Sequence[Node], sizes: dict[str, Size], number: int) -> Any:
        """Copy the graph to where it is called, perform its updates, and give its result. `number` says which
        call it is of those that draw random numbers one after the other.
        """
        signature = self.signature
        copies = dict(zip(signature.inputs, inputs, strict=True))
        before = (surroundings.line, surroundings.scope, surroundings.role, surroundings.tracking)
        _, scope, _, tracking = before
        device = surroundings.device
        try:
            for node in self.order:
                if node in copies:
                    continue
                if node.op.leaf:
                    copies[node] = _leaf(node, sizes, number)
                    continue
                surroundings.line, surroundings.role, surroundings.device = node.line, node.role, node.device
                surroundings.scope = (*scope, *node.scope) if node.scope else scope
                surroundings.tracking = tracking and not node.flags & DETACHED
                attributes = substitute(node.attributes, sizes) if sizes else node.attributes
                copy = make(node.op, tuple([copies[child] for child in node.inputs]), attributes)  # type: ignore[arg-type]
                if node.op is CUSTOM:
                    rule = node.binding
                    parts = [None if part is None else copies[part] for part in rule.parts]
                    copy.binding = Rule([copies[leaf] for leaf in rule.given], parts)
                copies[node] = copy
        finally:
            surroundings.line, surroundings.scope, surroundings.role, surroundings.tracking = before
            surroundings.device = device
        outputs = [copies[node] for node in signature.outputs]
        if signature.updates:
            outputs = self._updated(outputs, copies)
        return fill(signature.result, iter([Array(node) for node in outputs]))

    def _updated(self, outputs: list[Node], copies: dict[Node, Node]) -> list[Node]:
        """Assign what the function assigns. Where the values are not known yet the outputs carry the updates:
        a door that computes one of them performs them, once.
        """
        values = {cell: copies[value] for cell, value in self.signature.updates.items()}
        if state.is_static(values.values()):
            stores = [state.update(cell, value) for cell, value in values.items()]
            for store in stores:
                outputs = [make(BARRIER, (output, store)) for output in outputs]
            return outputs
        with state.assignments(run_pending):
            for cell, value in values.items():
                state.assign(cell, value, run_pending)
        return outputs


def _leaf(node: Node, sizes: dict[str, Size], number: int) -> Node:
    """A leaf as the running code sees it: a variable's value, another random key; others as they are."""
    if node.op is READ:
        return state.read(node.binding)
    if node.op is KEY:
        high, low = node.binding
        copy = new(KEY, (), (), node.type)
        copy.binding = (high, (low + number) & KEY_MASK)
        return copy
    if node.op is DUMMY and sizes:
        shape: Any = substitute(node.shape, sizes)
        return new(DUMMY, (), (), Type(shape, node.dtype), STATIC)
    attributes = (
        substitute(node.attributes, sizes) if sizes and node.op is not PLACEHOLDER else node.attributes
    )
    return node if attributes == node.attributes else new(node.op, (), attributes, node.type)  # type: ignore[arg-type]
