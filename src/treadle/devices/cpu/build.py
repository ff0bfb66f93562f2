"""From a graph to the image of its program: the passes, kernels for every call, and a place for every value.

What `program` runs. It is loaded only when something is compiled, or explained.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from treadle.compiler.memory import Span, place
from treadle.compiler.pipeline import Target, run_passes
from treadle.compiler.program import Call, LibraryCall, LoopCall
from treadle.devices.cpu import compilation, jit
from treadle.devices.cpu.image import HostStep, Image, Part, Place
from treadle.devices.cpu.lowering import EPILOGUES, is_library, lower_call
from treadle.devices.cpu.native import LoadedKernel, NativeKernel
from treadle.devices.cpu.target import Isa
from treadle.dtypes import uint8
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type
from treadle.graph.text import graph_text

ARENA = 0
"""The slot of temporary values; leaves and outputs follow."""
TARGET = Target("cpu", is_library, EPILOGUES)
_BYTE_TYPE = Type((), uint8)


class Build:
    """A graph that went through the passes: `image` is what runs, the rest is there to be looked at."""

    def __init__(self, outputs: Sequence[Node], donors: Sequence[int | None], isa: Isa):
        self.outputs = outputs
        self.isa = isa
        began = time.perf_counter()
        self.passes = run_passes(outputs, donors, TARGET, can_fail)
        self.fused = self.passes.fused
        self.calls = self.passes.schedule.calls
        self.leaves = _leaf_types(
            outputs, [info.index for info in self.fused.buffers if info.source == "input"]
        )
        self.lowered = [lower_call(call, isa) for call in self.calls]
        self._place()
        self.kernels: list[NativeKernel] = []
        self._number: dict[tuple[str, int], int] = {}
        segments = self._segments()
        names = [(jit.file_name(kernel.text, isa), kernel.facts) for kernel in self.kernels]
        self.image = Image(
            tuple(names),
            segments,
            1 + len(self.leaves) + len(outputs),
            self.status,
            tuple(self.leaves),
            self.arena_nbytes,
            sum(info.nbytes for info in self.fused.buffers if info.source == "input"),
            tuple([self._output(i, b) for i, b in enumerate(self.fused.outputs)]),
            tuple(self.passes.schedule.donations),
        )
        self.times_ms = {**self.passes.times_ms, "emit": (time.perf_counter() - began) * 1e3}

    def load(self) -> list[LoadedKernel]:
        """The image's kernels, compiled where they are new."""
        return compilation.load_many(self.kernels, self.isa)

    # -- memory

    def _place(self) -> None:
        """Give every buffer a slot and an offset; the arena's size is known from here on."""
        calls, buffers = self.calls, self.fused.buffers
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for step, call in enumerate(calls):
            for buffer in (*call.reads, *call.writes):
                first.setdefault(buffer, step)
                last[buffer] = step
        spans, owners = [], []
        self.slots: dict[Any, Place] = {}
        outputs = 1 + len(self.leaves)
        for b, info in enumerate(buffers):
            if info.source == "input":
                self.slots[b] = (1 + info.index, 0)
            elif info.source == "output":
                self.slots[b] = (outputs + info.index, 0)
            elif info.source == "temporary" and b in first:
                spans.append(Span(info.nbytes, first[b], last[b]))
                owners.append(b)
        for step, lowered in enumerate(self.lowered):
            for i, nbytes in enumerate(lowered.temporaries if lowered else ()):
                spans.append(Span(nbytes, step, step))
                owners.append(("temp", step, i))
        # The word in which kernels report a fault, for the whole run.
        spans.append(Span(4, 0, len(calls)))
        owners.append("status")
        offsets, self.arena_nbytes = place(spans)
        for owner, offset in zip(owners, offsets, strict=True):
            self.slots[owner] = (ARENA, offset)
        self.status = self.slots["status"]
        for b, info in enumerate(buffers):
            if info.source == "status":
                self.slots[b] = self.status

    def _output(self, i: int, buffer: int) -> tuple[int | None, str, int]:
        info = self.fused.buffers[buffer]
        own = info.source == "output" and info.index == i
        return info.nbytes if own else None, info.source, info.index

    # -- steps

    def _segments(self) -> tuple[Part | HostStep, ...]:
        """Native entries, broken by host steps."""
        segments: list[Part | HostStep] = []
        entries: list[tuple[int, tuple[Place, ...]]] = []
        commit = 0
        for i, (call, lowered) in enumerate(zip(self.calls, self.lowered, strict=True)):
            if i == self.passes.schedule.commit:
                commit = len(entries)
            if lowered is None:
                if entries:
                    segments.append(Part(tuple(entries), len(entries)))
                    entries, commit = [], 0
                segments.append(self._host_step(call))
                continue
            for step in lowered.steps:
                operands = tuple(self._operand(call, i, where) for where in step.operands)
                entries.append((self._kernel(step.kernel), operands))
        if self.passes.schedule.commit == len(self.calls):
            commit = len(entries)
        if entries or not segments:
            segments.append(Part(tuple(entries), commit))
        return tuple(segments)

    def _kernel(self, kernel: NativeKernel) -> int:
        """The kernel's number in the image."""
        key = (kernel.text, kernel.tasks)
        if key not in self._number:
            self._number[key] = len(self.kernels)
            self.kernels.append(kernel)
        return self._number[key]

    def _operand(self, call: Call, step: int, where: tuple[str, int]) -> Place:
        """The slot and byte offset of an operand of a lowered call."""
        kind, i = where
        if kind == "temp":
            return self.slots["temp", step, i]
        if kind == "status":
            return self.status
        if isinstance(call, LoopCall):
            return self.slots[call.buffers[i]]
        if kind == "out":
            return self.slots[call.outputs[i]]
        if i >= len(call.inputs):
            return self.slots[call.extra_buffers[i - len(call.inputs)]]
        view = call.inputs[i]
        slot, offset = self.slots[view.buffer]
        return slot, offset + view.offset * self.fused.buffers[view.buffer].type.dtype.itemsize

    def _host_step(self, call: Call) -> HostStep:
        if not isinstance(call, LibraryCall) or call.epilogue:
            raise AssertionError(f"the loop kernel {call!r} has no native form and no reference")
        inputs = []
        for view, child in zip(call.inputs, call.node.inputs, strict=True):
            slot, offset = self.slots[view.buffer]
            itemsize = child.dtype.itemsize
            strides = tuple(s * itemsize for s in view.strides)
            inputs.append((slot, offset + view.offset * itemsize, Type(view.shape, child.dtype), strides))
        outputs = zip(call.outputs, call.node.types, strict=True)
        return HostStep(call.node, tuple(inputs), tuple([(*self.slots[b], type) for b, type in outputs]))

    # -- looking at it

    def largest(self) -> str:
        """The largest values of the program, for a message."""
        largest = sorted(self.fused.buffers, key=lambda info: -info.nbytes)[:3]
        return "; ".join(
            f"{info.type!r}, {info.nbytes / 1e6:.1f} MB, made at {info.node.line}" for info in largest
        )

    def explain(self) -> str:
        """The passes, the calls, and their code."""
        lines = []
        for name, ms, graph in self.passes.graphs:
            lines += [f"== {name}: {ms:.2f} ms", graph_text(graph)]
        for name, ms in self.times_ms.items():
            lines.append(f"== {name}: {ms:.2f} ms")
        lines.append(f"== program: {len(self.calls)} calls, arena {self.arena_nbytes} bytes")
        for i, (call, lowered) in enumerate(zip(self.calls, self.lowered, strict=True)):
            if i == self.passes.schedule.commit:
                lines.append("-- commit: from here on variables are written")
            for step in lowered.steps if lowered else ():
                kernel = step.kernel
                lines.append(
                    f"  {kernel.label}: {kernel.tasks} tasks, {kernel.flops} flops, {kernel.nbytes} bytes"
                )
            if lowered is None:
                assert isinstance(call, LibraryCall)
                lines.append(f"  {call.node.op.name} {call.node.type!r}: reference on the host")
        for kernel in {kernel.text: kernel for kernel in self.kernels}.values():
            lines += [f"== kernel {kernel.label}", kernel.text]
        return "\n".join(lines)


def _leaf_types(outputs: Sequence[Node], used: Sequence[int]) -> list[Type]:
    """The types of the graph's leaves by number; of one that is in no graph, any small one."""
    inputs = {node.attributes[0]: node.type for node in ordered(outputs) if node.op.name == "input"}
    count = 1 + max([*used, *inputs], default=-1)
    return [inputs.get(i, _BYTE_TYPE) for i in range(count)]


def can_fail(call: Call) -> bool:
    """Whether a call may report a failure: it looks values up, or runs on the host."""
    if isinstance(call, LibraryCall):
        return call.node.op.name not in ("matmul", "conv", "conv_input_gradient", "conv_weight_gradient")
    return any(i.op == "gather" for stage in call.kernel.stages for i in stage.body)
