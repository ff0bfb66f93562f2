"""The function door: `function(inputs, outputs, updates=, givens=)`, as in Theano."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from treadle import state
from treadle.array import Array, ArrayLike, Variable, as_node
from treadle.compiler.executable import Executable
from treadle.door import PLACEHOLDER, Door, feed_buffer
from treadle.errors import ArgumentError, FeedError
from treadle.graph.graph import rewrite
from treadle.graph.node import Node
from treadle.ops.record import cast

Pairs = Mapping[Any, ArrayLike] | Sequence[tuple[Any, ArrayLike]]


def function(
    inputs: Sequence[Array],
    outputs: Any = (),
    *,
    updates: Pairs = (),
    givens: Pairs = (),
    debug: bool = False,
) -> Function:
    """A static graph as a callable: feeds in order, values out, variables updated together at the end.

    Args:
        inputs: placeholders, in the order in which they will be given.
        outputs: an array or a list of arrays.
        updates: pairs (variable, its next value), or a dict.
        givens: pairs (array of the graph, what stands in its place), or a dict.
        debug: run node by node by the references, so that an error names the node's line.

    Returns:
        Function taking one value an input; it returns an array, or a list if outputs is one.

    Raises:
        ArgumentError: an input is no placeholder, or an update no variable.
        FeedError: the graph needs a placeholder that is not among the inputs.

    >>> import treadle as td
    >>> x, total = td.placeholder((), name="x"), td.Variable(0.0)
    >>> add = td.function([x], total + x, updates=[(total, total + x)])
    >>> add(2.0).item(), add(3.0).item(), float(total)
    (2.0, 5.0, 5.0)
    """
    return Function(inputs, outputs, updates, givens, debug)


class Function:
    """What `function` makes; `memory(*values)` gives the bytes a call will need."""

    def __init__(
        self, inputs: Sequence[Array], outputs: Any, updates: Pairs, givens: Pairs, debug: bool = False
    ):
        self.inputs = [as_node(x) for x in inputs]
        for i, node in enumerate(self.inputs):
            if node.op is not PLACEHOLDER:
                raise ArgumentError(
                    f"[function] inputs[{i}] is {node.op.name} {node.type!r}; inputs are placeholders"
                )
        self._runs = itertools.count()
        self.many = isinstance(outputs, (list, tuple))
        targets = [as_node(y) for y in (outputs if self.many else [outputs])]
        cells, values = [], []
        for variable, value in _pairs(updates):
            if not isinstance(variable, Variable):
                raise ArgumentError(
                    f"[function] updates are of variables; this is a {type(variable).__name__}"
                )
            node = variable.value_node(value)
            state.check_assignable(variable.cell, node)
            cells.append(variable.cell)
            values.append(node)
        nodes = _substituted([*targets, *values], givens)
        changes = list(zip(cells, nodes[len(targets) :], strict=True))
        self.door = Door(nodes[: len(targets)], changes, debug)
        for node in self.door.placeholders:
            if node not in self.inputs:
                raise FeedError(
                    f"[function] the graph needs the placeholder {node.attributes[0]!r}, which is not "
                    f"among the inputs",
                    node.line,
                )

    def _feeds(self, values: Sequence[ArrayLike]) -> dict[Node, Any]:
        if len(values) != len(self.inputs):
            names = ", ".join(node.attributes[0] for node in self.inputs)
            raise FeedError(f"[function] takes {len(self.inputs)} values ({names}), got {len(values)}")
        return {node: feed_buffer(node, value) for node, value in zip(self.inputs, values, strict=True)}

    def __call__(self, *values: ArrayLike) -> Any:
        found = [Array(node) for node in self.door.run(self._feeds(values), next(self._runs))]
        return found if self.many else found[0]

    def program(self, *values: ArrayLike) -> Executable:
        """The program that a call runs, compiled if it is new, and not run."""
        return self.door.plan({node: type for node, (type, _) in self._feeds(values).items()}).executable

    def memory(self, *values: ArrayLike) -> dict[str, int]:
        """The bytes a call will need, by kind (inputs, outputs, arena), before it runs."""
        return self.program(*values).memory()


def _pairs(pairs: Pairs) -> list[tuple[Any, ArrayLike]]:
    return list(pairs.items()) if isinstance(pairs, Mapping) else list(pairs)


def _substituted(nodes: list[Node], givens: Pairs) -> list[Node]:
    """The graph with others in place of given nodes."""
    replacement = {}
    for old, value in _pairs(givens):
        node = as_node(value)
        target = as_node(old)
        node = cast(node, target.dtype)
        if node.type is not target.type:
            raise ArgumentError(f"[function] a given is {node.type!r}, what it stands for is {target.type!r}")
        cell = state.cell_of(target)
        replacement[cell or target] = node
    if not replacement:
        return nodes
    return rewrite(nodes, lambda node, inputs: replacement.get(state.cell_of(node) or node))
