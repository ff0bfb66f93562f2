"""A graph whose values are on several devices: programs for each of them, run one after the other, with
copies between them where the graph has a `to`.

None writes over a variable, since what comes after it may fail; so all variables are replaced or none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.compiler.executable import Executable, Leaf
from treadle.devices.base import Device
from treadle.devices.buffer import Buffer
from treadle.devices.host import from_array
from treadle.graph.graph import ordered, rewrite
from treadle.graph.node import Node, Type, new
from treadle.ops.record import INPUT
from treadle.ops.transfer import TO

Placed = Callable[[Buffer, Type, str], Buffer]


def without_idle_copies(outputs: Sequence[Node]) -> list[Node]:
    """The graph without copies to where a value is already."""
    if not any(node.op is TO for node in ordered(outputs)):
        return list(outputs)
    return rewrite(
        outputs,
        lambda node, inputs: inputs[0] if node.op is TO and inputs[0].device == node.device else None,
    )


def is_apart(outputs: Sequence[Node]) -> bool:
    """Whether a graph needs more than one device."""
    return len({output.device for output in outputs}) > 1 or any(node.op is TO for node in ordered(outputs))


class SeveralDevices(Executable):
    """Programs of several devices as one. `find` gives a device by its name, `placed` a value's memory on
    one.
    """

    def __init__(self, outputs: Sequence[Node], find: Callable[[str], Device], placed: Placed):
        super().__init__(outputs)
        self.placed = placed
        copied = [node.inputs[0] for node in self.order if node.op is TO]
        depth: dict[Node, int] = {}
        for node in self.order:
            below = max([depth[child] for child in node.inputs], default=0)
            depth[node] = below + 1 if node.op is TO else below
        parts: dict[tuple[int, str], list[Node]] = {}
        for node in dict.fromkeys([*outputs, *copied]):
            if node.op is not TO and node.op is not INPUT:
                parts.setdefault((depth[node], node.device), []).append(node)
        self.parts = [_Part(nodes, find(device)) for (_, device), nodes in sorted(parts.items(), key=_first)]

    def run(self, leaves: Sequence[Leaf], reuse: Sequence[Any], poll: bool = True) -> list[Any]:
        values: dict[Node, Any] = {}

        def value(node: Node) -> Any:
            """What is known of a node: of a leaf, of what a part computed, of a copy of either."""
            if node not in values:
                if node.op is INPUT:
                    values[node] = leaves[node.attributes[0]]
                else:
                    found = value(node.inputs[0])
                    here = isinstance(found, Buffer)
                    values[node] = self.placed(found, node.type, node.device) if here else found  # type: ignore[arg-type]
            return values[node]

        for part in self.parts:
            given = [value(node) for node in part.given]
            found = part.program.run(given, [None] * len(part.nodes), poll)
            values.update(zip(part.nodes, found, strict=True))
        results = []
        for node in self.outputs:
            found = value(node)
            if not isinstance(found, Buffer):  # a number, as it was given
                array = np.asarray(found, node.type.dtype.numpy).reshape(node.type.shape)
                found = self.placed(from_array(array, node.type), node.type, node.device)
            results.append(found)
        return results

    def memory(self) -> dict[str, int]:
        found = super().memory()
        for part in self.parts:
            for kind, nbytes in part.program.memory().items():
                found[kind] += nbytes
        return found

    def explain(self) -> str:
        return "\n".join([f"==== on {part.device.name}\n{part.program.explain()}" for part in self.parts])

    def summary(self) -> str:
        return "\n".join([f"==== on {part.device.name}\n{part.program.summary()}" for part in self.parts])

    def sources(self) -> list[tuple[str, str]]:
        return [source for part in self.parts for source in part.program.sources()]


def _first(item: tuple[tuple[int, str], list[Node]]) -> int:
    return item[0][0]


class _Part:
    """What is computed on one device at once: `nodes`, of what is `given`, leaves and copies."""

    def __init__(self, nodes: Sequence[Node], device: Device):
        self.device, self.nodes = device, list(nodes)
        self.given = [node for node in ordered(nodes, _is_given) if _is_given(node)]
        places = {node: i for i, node in enumerate(self.given)}

        def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
            if node not in places:
                return None
            leaf = new(INPUT, (), (places[node],), node.type)
            leaf.line, leaf.scope, leaf.device, leaf.role = node.line, node.scope, node.device, node.role
            leaf.binding = node.binding
            return leaf

        self.program = device.compile_graph(rewrite(nodes, change, _is_given), [None] * len(nodes))


def _is_given(node: Node) -> bool:
    return node.op is TO or node.op is INPUT
