"""A graph whose outputs are on several devices: a program for each of them, run one after the other.

None writes over a variable, since what comes after it may fail; so all variables are replaced or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.compiler.executable import Executable, Leaf
from treadle.devices.base import Device
from treadle.graph.graph import ordered, rewrite
from treadle.graph.node import Node, new
from treadle.ops.record import INPUT


class SeveralDevices(Executable):
    """Programs of several devices as one."""

    def __init__(self, outputs: Sequence[Node], devices: Mapping[str, Device]):
        super().__init__(outputs)
        self.parts = [_Part(outputs, device) for device in devices.values()]

    def run(self, leaves: Sequence[Leaf], reuse: Sequence[Any], poll: bool = True) -> list[Any]:
        buffers: list[Any] = [None] * len(self.outputs)
        for part in self.parts:
            given = [leaves[i] for i in part.leaves]
            found = part.program.run(given, [None] * len(part.numbers), poll)
            for number, buffer in zip(part.numbers, found, strict=True):
                buffers[number] = buffer
        return buffers

    def memory(self) -> dict[str, int]:
        sizes = [part.program.memory() for part in self.parts]
        return {kind: sum([size[kind] for size in sizes]) for kind in sizes[0]}

    def explain(self) -> str:
        return "\n".join([f"==== on {part.device.name}\n{part.program.explain()}" for part in self.parts])

    def summary(self) -> str:
        return "\n".join([f"==== on {part.device.name}\n{part.program.summary()}" for part in self.parts])

    def sources(self) -> list[tuple[str, str]]:
        return [source for part in self.parts for source in part.program.sources()]


class _Part:
    """The outputs on one device. `numbers` are theirs in the whole, `leaves` the leaves they need."""

    def __init__(self, outputs: Sequence[Node], device: Device):
        self.device = device
        self.numbers = [i for i, output in enumerate(outputs) if output.device == device.name]
        own = [outputs[i] for i in self.numbers]
        self.leaves = sorted({node.attributes[0] for node in ordered(own) if node.op is INPUT})
        places = {number: i for i, number in enumerate(self.leaves)}

        def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
            if node.op is not INPUT:
                return None
            leaf = new(INPUT, (), (places[node.attributes[0]],), node.type)
            leaf.line, leaf.scope, leaf.device, leaf.role = node.line, node.scope, node.device, node.role
            leaf.binding = node.binding
            return leaf

        self.program = device.compile_graph(rewrite(own, change), [None] * len(own))
