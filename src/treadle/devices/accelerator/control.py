"""Loops and branches on an accelerator, driven from the host: their graphs are programs of their own, which
run on the memory of the program around.

Slices of stacks are parts of their memory, so that nothing is copied to take one or to keep one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.devices.accelerator.device import Accelerator, DeviceBuffer
from treadle.devices.host import nbytes_of
from treadle.graph.closed import Closed
from treadle.graph.node import Node
from treadle.ops.control import COND, Loop, iterations
from treadle.ops.record import INPUT

Compile = Callable[[Sequence[Node], Sequence[int | None], Accelerator], Any]


class Graphs:
    """The compiled graphs of a branch or loop."""

    def __init__(self, node: Node, device: Accelerator, compile: Compile):
        self.device, self.node = device, node
        self.types = node.types
        if node.op is COND:
            self.programs = [_Program(graph, device, compile) for graph in node.attributes]
            return
        self.loop = Loop(*node.attributes)
        self.body = _Program(self.loop.body, device, compile)
        condition = self.loop.condition
        self.condition = None if condition is None else _Program(condition, device, compile)

    def run(
        self, inputs: Sequence[DeviceBuffer], outputs: Sequence[DeviceBuffer], status: DeviceBuffer
    ) -> None:
        """Apply it to values, and put the results where they belong."""
        if self.node.op is COND:
            chosen = self.programs[0 if self._number(inputs[0], np.uint8) else 1]
            # A result that takes an operand's memory waits elsewhere: the branch may read that to its end.
            taken = {(buffer.memory, buffer.start) for buffer in inputs[1:]}
            waits = [(buffer.memory, buffer.start) in taken for buffer in outputs]
            given = [None if wait else buffer for buffer, wait in zip(outputs, waits, strict=True)]
            found = chosen.run(inputs[1:], given, status)
            for buffer, result, wait in zip(found, outputs, waits, strict=True):
                if wait:
                    moved(self.device, buffer, result)
        else:
            self._loop(inputs, outputs, status)

    def _loop(
        self, inputs: Sequence[DeviceBuffer], outputs: Sequence[DeviceBuffer], status: DeviceBuffer
    ) -> None:
        loop, device = self.loop, self.device
        count, carried, stacked, captured = loop.split(inputs)
        results = list(outputs[: loop.carries])
        stacks = list(outputs[loop.carries : loop.carries + loop.stacks])
        sizes = [nbytes_of(type) for type in loop.body.types]
        slices = [
            nbytes_of(node.type) for node in loop.body.parameters[loop.carries : loop.carries + loop.slices]
        ]
        if loop.condition is not None or loop.counted:
            for stack in stacks:
                if stack.nbytes:
                    device.fill_zeros(stack)
        number = None if count is None else self._number(count, np.int64)
        # A carry has two places in turn.
        places = [
            [DeviceBuffer(device, device.reserve(max(n, 1)), 0, n) for _ in range(2)]
            for n in sizes[: loop.carries]
        ]
        done = 0
        for i in iterations(loop, number):
            if self.condition is not None:
                (holds,) = self.condition.run([*carried, *captured], [None], status)
                if not self._number(holds, np.uint8):
                    break
            taken = [stack.part(i * n, n) for stack, n in zip(stacked, slices, strict=True)]
            wanted = [place[done % 2] for place in places]
            kept = [stack.part(i * n, n) for stack, n in zip(stacks, sizes[loop.carries :], strict=True)]
            found = self.body.run([*carried, *taken, *captured], [*wanted, *kept], status)
            carried = found[: loop.carries]
            done += 1
        for value, result in zip(carried, results, strict=True):
            moved(device, value, result)
        if loop.condition is not None:
            device.write(outputs[-1], np.array(done, np.int64))

    def _number(self, buffer: DeviceBuffer, dtype: Any) -> int:
        found = np.zeros((), dtype)
        self.device.read(buffer, found)
        return int(found)


def moved(device: Accelerator, buffer: DeviceBuffer, wanted: DeviceBuffer) -> DeviceBuffer:
    """Where a value is wanted, copied there if it is elsewhere."""
    elsewhere = buffer.memory is not wanted.memory or buffer.start != wanted.start
    if elsewhere and wanted.nbytes:
        device.copy(buffer, wanted, wanted.nbytes)
    return wanted


class _Program:
    """A graph as a function of buffers."""

    def __init__(self, graph: Closed, device: Accelerator, compile: Compile):
        self.device = device
        self.program = compile(graph.outputs, [None] * len(graph.outputs), device)
        self.count = 1 + max(
            (node.attributes[0] for node in self.program.order if node.op is INPUT), default=-1
        )

    def run(
        self, inputs: Sequence[DeviceBuffer], outputs: Sequence[DeviceBuffer | None], status: DeviceBuffer
    ) -> list[DeviceBuffer]:
        """Apply it; results go to `outputs` where given, also what is one of the inputs or another result."""
        found = self.program.run_on(inputs[: self.count], outputs, status)
        results = []
        for buffer, wanted in zip(found, outputs, strict=True):
            if wanted is not None:
                buffer = moved(self.device, buffer, wanted)
            results.append(buffer)
        return results
