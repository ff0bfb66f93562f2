"""From a graph to what an accelerator does: the passes, launches for every call, a place for every value."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.compiler.memory import Span, place
from treadle.compiler.pipeline import run_passes
from treadle.compiler.program import BufferInfo, Call, LibraryCall, View
from treadle.devices.csource.copies import contiguous, copied
from treadle.devices.csource.kernel import Kernel, product
from treadle.devices.csource.lowering import Generator
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type
from treadle.graph.text import graph_text

ALIGNMENT = 256
Where = tuple[str, int]
"""Where a value is: ("arena", offset in bytes), ("leaf", i), ("output", i) or ("status", 0)."""


@dataclass(frozen=True)
class LaunchStep:
    """A kernel, by its number, on values."""

    kernel: int
    operands: tuple[tuple[Where, int], ...]
    """Each with its size in bytes."""


@dataclass(frozen=True)
class Seen:
    """A value as a call on the host, or a graph, sees it: strides in elements; None: it is contiguous."""

    where: Where
    type: Type
    offset: int = 0
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class NodeStep:
    """A node that has no kernels: its reference runs on the host, or its graphs are programs of their own."""

    node: Node
    inputs: tuple[Seen, ...]
    outputs: tuple[Seen, ...]


Step = LaunchStep | NodeStep


class Build:
    """A graph that went through the passes: `steps` are what runs, the rest is there to be looked at."""

    def __init__(self, outputs: Sequence[Node], donors: Sequence[int | None], generator: Generator):
        self.outputs = outputs
        self.passes = run_passes(outputs, donors, generator.target, generator.can_fail)
        began = time.perf_counter()
        self.fused, self.calls = self.passes.fused, self.passes.schedule.calls
        self.facts = generator.facts
        self.lowered = [generator.lower(call) for call in self.calls]
        self.fails = any(info.source == "status" for info in self.fused.buffers) or any(
            generator.can_fail(call)
            for call, lowered in zip(self.calls, self.lowered, strict=True)
            if isinstance(call, LibraryCall) and (call.node.op.of_graphs or lowered is not None)
        )
        """Whether something may be reported in the status word."""
        self.leaves = _leaf_types(outputs)
        self._place()
        self.kernels: list[Kernel] = []
        self.steps: list[Step] = []
        self.origins: list[Call] = []
        """The call that each step belongs to."""
        self.commit = 0
        """The first step that may store into a variable."""
        numbers: dict[Kernel, int] = {}
        for i, call in enumerate(self.calls):
            if i == self.passes.schedule.commit:
                self.commit = len(self.steps)
            for step in self._steps(i, call, numbers):
                self.steps.append(step)
                self.origins.append(call)
        if self.passes.schedule.commit >= len(self.calls):
            self.commit = len(self.steps)
        self.kernels = list(numbers)
        self.times_ms = {**self.passes.times_ms, "emit": (time.perf_counter() - began) * 1e3}

    def _place(self) -> None:
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for i, call in enumerate(self.calls):
            for buffer in (*call.reads, *call.writes):
                first.setdefault(buffer, i)
                last[buffer] = i
        spans: list[Span] = []
        owners: list[object] = []
        for b, info in enumerate(self.fused.buffers):
            if info.source == "temporary" and b in first:
                spans.append(Span(_aligned(info.nbytes), first[b], last[b]))
                owners.append(b)
        for i, lowered in enumerate(self.lowered):
            for n, nbytes in enumerate(lowered.temporaries if lowered is not None else ()):
                spans.append(Span(_aligned(nbytes), i, i))
                owners.append(("temp", i, n))
            if lowered is None:
                for n, view, type in self._moved(self.calls[i]):
                    spans.append(Span(_aligned(type.dtype.itemsize * product(view.shape)), i, i))
                    owners.append(("copy", i, n))
        offsets, self.arena_nbytes = place(spans)
        self.offsets = dict(zip(owners, offsets, strict=True))

    def _moved(self, call: Call) -> list[tuple[int, View, Type]]:
        """The inputs of a call's graphs that are copied first, since graphs take whole values."""
        if not isinstance(call, LibraryCall) or not call.node.op.of_graphs:
            return []
        types = [child.type for child in call.node.inputs]
        return [
            (n, view, type)
            for n, (view, type) in enumerate(zip(call.inputs, types, strict=True))
            if not contiguous(view)
        ]

    def where(self, buffer: int) -> Where:
        """Where a buffer of the program is."""
        info = self.fused.buffers[buffer]
        match info.source:
            case "input":
                return "leaf", info.index
            case "output":
                return "output", info.index
            case "status":
                return "status", 0
        return "arena", self.offsets[buffer]

    def _steps(self, number: int, call: Call, numbers: dict[Kernel, int]) -> list[Step]:
        lowered = self.lowered[number]
        if lowered is None:
            assert isinstance(call, LibraryCall), call
            assert not call.epilogue, call
            inputs = tuple(
                [
                    self._seen(view, Type(view.shape, child.dtype))
                    for view, child in zip(call.inputs, call.node.inputs, strict=True)
                ]
            )
            steps: list[Step] = []
            for n, view, type in self._moved(call):
                launch = copied(view, type.dtype.name, ("in", 0), ("temp", 0), self.facts)
                target: Where = "arena", self.offsets["copy", number, n]
                nbytes = type.dtype.itemsize * product(view.shape)
                operands = (self.where(view.buffer), self.fused.buffers[view.buffer].nbytes), (target, nbytes)
                steps.append(LaunchStep(numbers.setdefault(launch.kernel, len(numbers)), operands))
                inputs = (*inputs[:n], Seen(target, type), *inputs[n + 1 :])
            made = [Seen(self.where(b), type) for b, type in zip(call.outputs, call.node.types, strict=True)]
            return [*steps, NodeStep(call.node, inputs, tuple(made))]
        steps = []
        for launch in lowered.launches:
            kernel = numbers.setdefault(launch.kernel, len(numbers))
            operands = []
            for name, i in launch.operands:
                if name == "status":
                    found = ("status", 0), 4
                elif name == "temp":
                    found = ("arena", self.offsets["temp", number, i]), lowered.temporaries[i]
                else:
                    buffer = self._buffer(call, name, i)
                    found = self.where(buffer), self.fused.buffers[buffer].nbytes
                operands.append(found)
            steps.append(LaunchStep(kernel, tuple(operands)))
        return steps

    def _buffer(self, call: Call, name: str, i: int) -> int:
        if not isinstance(call, LibraryCall):
            return call.buffers[i]
        if name == "in":
            return call.inputs[i].buffer
        return call.outputs[i] if name == "out" else call.extra_buffers[i]

    def _seen(self, view: View, type: Type) -> Seen:
        return Seen(self.where(view.buffer), type, view.offset, view.strides)

    # -- looking at it

    def largest(self) -> str:
        """The largest values of the program, for a message."""
        return "; ".join(
            f"{info.type!r}, {info.nbytes / 1e6:.1f} MB, made at {info.node.line}"
            for info in self._by_size()[:3]
        )

    def explain(self) -> str:
        """The passes, the calls, and their code."""
        lines = []
        for name, ms, graph in self.passes.graphs:
            lines += [f"== {name}: {ms:.2f} ms", graph_text(graph)]
        lines += [f"== {name}: {ms:.2f} ms" for name, ms in self.times_ms.items()]
        lines += self._program()
        for number, kernel in enumerate(self.kernels):
            lines += [f"== kernel {number}: {kernel.label}", kernel.text]
        return "\n".join(lines)

    def summary(self, most: int = 10) -> str:
        """The steps, and the largest values with the lines that made them."""
        lines = [*self._program(), "== largest values"]
        lines += [
            f"  {info.nbytes / 1e6:9.3f} MB  {info.type!r} ({info.source}): {info.node.op.name} at "
            f"{info.node.line}"
            for info in self._by_size()[:most]
        ]
        return "\n".join(lines)

    def _by_size(self) -> list[BufferInfo]:
        return sorted(self.fused.buffers, key=lambda info: -info.nbytes)

    def _program(self) -> list[str]:
        lines = [f"== program: {len(self.calls)} calls, arena {self.arena_nbytes} bytes"]
        for i, step in enumerate(self.steps):
            if i == self.commit:
                lines.append("-- commit: from here on variables are written")
            if isinstance(step, LaunchStep):
                k = self.kernels[step.kernel]
                lines.append(f"  [{step.kernel}] {k.label}: {k.work}, {k.flops} flops, {k.nbytes} bytes")
            else:
                how = "driven from" if step.node.op.of_graphs else "reference on"
                lines.append(f"  {step.node.op.name} {step.node.type!r}: {how} the host")
        return lines


def _aligned(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT


def _leaf_types(outputs: Sequence[Node]) -> list[Type | None]:
    """The types of the graph's leaves by number; None for one that is in no graph."""
    inputs = {node.attributes[0]: node.type for node in ordered(outputs) if node.op.name == "input"}
    return [inputs.get(i) for i in range(1 + max(inputs, default=-1))]  # type: ignore[misc]
