"""From a graph to the image of its program: the passes, kernels for every call, and a place for every value.

What `program` runs. It is loaded only when something is compiled, or explained.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from treadle.compiler.memory import ALIGNMENT
from treadle.compiler.program import BufferInfo, Call, LibraryCall
from treadle.devices.cpu.compilation import Compilers
from treadle.devices.cpu.emit import Emitter, Placed
from treadle.devices.cpu.image import HostStep, Image, Part
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.section import Section, can_fail
from treadle.devices.cpu.target import Isa
from treadle.graph.node import Node, Type
from treadle.graph.text import graph_text

ARENA = 0
"""The slot of temporary values; leaves and outputs follow, then registers."""


class Build:
    """A graph that went through the passes: `image` is what runs, the rest is there to be looked at."""

    def __init__(
        self,
        outputs: Sequence[Node],
        donors: Sequence[int | None],
        isa: Isa,
        lasting: Collection[int] = (),
        compilers: Compilers | None = None,
    ):
        self.outputs = outputs
        self.isa = isa
        began = time.perf_counter()
        self.section = Section(outputs, donors, isa, lasting, None if compilers is None else compilers.add)
        self.passes, self.fused, self.calls = self.section.passes, self.section.fused, self.section.calls
        leaves, first = self.section.leaves, 1 + len(self.section.leaves)
        # The word in which kernels report a fault, for the whole run, comes after all that is temporary.
        self.status = ARENA, -(-self.section.nbytes // ALIGNMENT) * ALIGNMENT
        self.arena_nbytes = self.status[1] + ALIGNMENT
        self.emitter = Emitter(self.status, first + len(outputs))
        prologue = self.section.prologue
        kept = None if prologue is None else self.emitter.register()
        self.placed = Placed(
            self.section,
            (ARENA, 0),
            [(1 + i, 0) for i in range(len(leaves))],
            [(first + i, 0) for i in range(len(outputs))],
            kept,
        )
        self.origins: list[list[tuple[Call, ...]]] = []
        """The calls that entries belong to, of every segment of the image (see `Emitter.origins`)."""
        if prologue is not None:
            self.placed.emit_prologue(self.emitter, self.emitter.register())
        segments = self._segments()
        self.kernels = self.emitter.kernels
        name = (compilers or Compilers(isa)).name
        names = [(name(kernel.text), kernel.facts) for kernel in self.kernels]
        self.image = Image(
            tuple(names),
            segments,
            self.emitter.slots,
            self.status,
            tuple(leaves),
            self.arena_nbytes,
            sum(info.nbytes for info in self.fused.buffers if info.source == "input"),
            tuple([self._output(i, b) for i, b in enumerate(self.fused.outputs)]),
            tuple(self.passes.schedule.donations),
            None if prologue is None else (prologue.nbytes, prologue.leaves),
        )
        self.times_ms = {**self.passes.times_ms, "emit": (time.perf_counter() - began) * 1e3}

    def _output(self, i: int, buffer: int) -> tuple[int | None, str, int]:
        info = self.fused.buffers[buffer]
        own = info.source == "output" and info.index == i
        return info.nbytes if own else None, info.source, info.index

    # -- steps

    def _segments(self) -> tuple[Part | HostStep, ...]:
        """Native entries, broken by host steps."""
        segments: list[Part | HostStep] = []
        to, commit = self.emitter, len(self.emitter.entries)
        for i, lowered in enumerate(self.section.lowered):
            if i == self.passes.schedule.commit:
                commit = len(to.entries)
            if lowered is not None:
                self.placed.emit(i, to)
                continue
            if to.entries:
                segments.append(Part(tuple(to.entries), len(to.entries)))
                self.origins.append(to.origins)
                to.entries, to.origins, commit = [], [], 0
            segments.append(self._host_step(i))
            self.origins.append([(self.calls[i],)])
        if self.passes.schedule.commit == len(self.calls):
            commit = len(to.entries)
        if to.entries or not segments:
            segments.append(Part(tuple(to.entries), commit))
            self.origins.append(to.origins)
        return tuple(segments)

    def _host_step(self, number: int) -> HostStep:
        call = self.calls[number]
        if not isinstance(call, LibraryCall) or call.epilogue:
            raise AssertionError(f"the loop kernel {call!r} has no native form and no reference")
        inputs = []
        for view, child in zip(call.inputs, call.node.inputs, strict=True):
            strides = tuple(s * child.dtype.itemsize for s in view.strides)
            inputs.append((*self.placed.view(view, self.status), Type(view.shape, child.dtype), strides))
        outputs = [
            (*self.placed.buffer(b, self.status), type)
            for b, type in zip(call.outputs, call.node.types, strict=True)
        ]
        return HostStep(call.node, tuple(inputs), tuple(outputs))

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
        for name, ms in self.times_ms.items():
            lines.append(f"== {name}: {ms:.2f} ms")
        lines += self._program()
        for number, kernel in enumerate(self.sources()):
            lines += [f"== kernel {number}: {kernel.label}", kernel.text]
        return "\n".join(lines)

    def summary(self, most: int = 10) -> str:
        """The calls, and the largest values with the lines that made them."""
        lines = [*self._program(), "== largest values"]
        lines += [
            f"  {info.nbytes / 1e6:9.3f} MB  {info.type!r} ({info.source}): {info.node.op.name} at "
            f"{info.node.line}"
            for info in self._by_size()[:most]
        ]
        return "\n".join(lines)

    def sources(self) -> list[NativeKernel]:
        """The kernels, every text once, in the order of the program."""
        return list({kernel.text: kernel for kernel in self.kernels}.values())

    def _by_size(self) -> list[BufferInfo]:
        return sorted(self.fused.buffers, key=lambda info: -info.nbytes)

    def _program(self) -> list[str]:
        numbers = {kernel.text: number for number, kernel in enumerate(self.sources())}
        head = f"== program: {len(self.calls)} calls, arena {self.arena_nbytes} bytes"
        return [head, *_explained(self.section, "  ", numbers, self.passes.schedule.commit)]


def _explained(section: Section, indent: str, numbers: dict[str, int], commit: int = -1) -> list[str]:
    """The calls of a section, those inside loops and branches further in, with their kernels' numbers."""
    lines = []
    for unit in () if section.prologue is None else section.prologue.units:
        lines += [f"{indent}kept: {_step(step, numbers)}" for step in unit.steps]
    for i, (call, lowered) in enumerate(zip(section.calls, section.lowered, strict=True)):
        if i == commit:
            lines.append("-- commit: from here on variables are written")
        if isinstance(lowered, Lowered):
            lines += [indent + _step(step, numbers) for step in section.steps_of(i)]
            continue
        assert isinstance(call, LibraryCall)
        if lowered is None:
            how = "driven from" if call.node.op.of_graphs else "reference on"
            lines.append(f"{indent}{call.node.op.name} {call.node.type!r}: {how} the host")
            continue
        lines.append(f"{indent}{lowered.label}: native, {lowered.temporaries[0]} bytes")
        for name, inner in lowered.sections.items():
            lines.append(f"{indent}  {name}:")
            lines += _explained(inner, indent + "    ", numbers)
    return lines


def _step(step: Step, numbers: dict[str, int]) -> str:
    k = step.kernel
    number = f"[{numbers[k.text]}] " if k.text in numbers else ""
    return f"{number}{k.label}: {k.tasks} tasks, {k.flops} flops, {k.nbytes} bytes"


__all__ = ["Build", "can_fail"]
