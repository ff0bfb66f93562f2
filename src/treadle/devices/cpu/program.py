"""A compiled graph on the CPU: tables of native kernels over one arena, and host steps between them where
an op has none.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from treadle import interrupts
from treadle.compiler.executable import Committed, Executable, Leaf
from treadle.compiler.memory import Span, place
from treadle.compiler.pipeline import Target, run_passes
from treadle.compiler.program import Call, LibraryCall, LoopCall
from treadle.devices.cpu import compilation
from treadle.devices.cpu.lowering import EPILOGUES, is_library, lower_call
from treadle.devices.cpu.runner import Entry, Frame, Table
from treadle.devices.cpu.target import Isa
from treadle.devices.host import HostBuffer, allocate, nbytes_of
from treadle.devices.reference import ReferenceExecutable, apply, leaf_array
from treadle.dtypes import uint8
from treadle.errors import OutOfMemory
from treadle.graph.node import Node, Type
from treadle.graph.text import graph_text

ARENA = 0
SCALAR_NBYTES = 16
TARGET = Target("cpu", is_library, EPILOGUES)


@dataclass(frozen=True)
class HostStep:
    """A library call that runs its reference: where its operands and its results are, as (slot, offset,
    type, strides).
    """

    node: Node
    inputs: tuple[tuple[int, int, Type, tuple[int, ...]], ...]
    outputs: tuple[tuple[int, int, Type], ...]


class _Context:
    """The memory of one run at a time: arena, scalars, addresses, and a frame for each table."""

    def __init__(self, program: CpuExecutable):
        self.arena = allocate(program.arena_nbytes)
        self.scalars = allocate(SCALAR_NBYTES * max(1, len(program.leaf_types)))
        self.scalar_views = []
        raw = self.scalars.writable(Type((SCALAR_NBYTES * max(1, len(program.leaf_types)),), uint8))
        for i, type in enumerate(program.leaf_types):
            size = 1
            for n in type.shape:
                size *= n  # type: ignore[assignment]
            fits = size * type.dtype.itemsize <= SCALAR_NBYTES
            piece = raw[SCALAR_NBYTES * i : SCALAR_NBYTES * i + size * type.dtype.itemsize] if fits else None
            self.scalar_views.append(
                None if piece is None else piece.view(type.dtype.numpy).reshape(type.shape)
            )
        self.frames = [Frame(segment) if isinstance(segment, Table) else None for segment in program.segments]


class CpuExecutable(Executable):
    """A program of generated kernels. Making it compiles them; see `explain` for what it does."""

    def __init__(self, outputs: Sequence[Node], donors: Sequence[int | None], isa: Isa):
        super().__init__(outputs)
        self.isa = isa
        began = time.perf_counter()
        self.passes = run_passes(outputs, donors, TARGET, _can_fail)
        self.fused = self.passes.fused
        self.donations = self.passes.schedule.donations
        leaves = [info for info in self.fused.buffers if info.source == "input"]
        inputs = {node.attributes[0]: node.type for node in self.order if node.op.name == "input"}
        self.leaf_count = 1 + max([info.index for info in leaves] + list(inputs), default=-1)
        self.leaf_types = [inputs.get(i, _BYTE_TYPE) for i in range(self.leaf_count)]
        self.lowered = [lower_call(call, isa) for call in self.passes.schedule.calls]
        self._place()
        self.segments = self._segments()
        self.times_ms = {**self.passes.times_ms, "emit": (time.perf_counter() - began) * 1e3}
        self._free: list[_Context] = []

    # -- memory

    def _place(self) -> None:
        """Give every buffer a slot and an offset; the arena's size is known from here on."""
        calls, buffers = self.passes.schedule.calls, self.fused.buffers
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for step, call in enumerate(calls):
            for buffer in (*call.reads, *call.writes):
                first.setdefault(buffer, step)
                last[buffer] = step
        spans, owners = [], []
        self.slots: dict[Any, tuple[int, int]] = {}
        self.output_slot: list[int | None] = [None] * len(self.outputs)
        outputs = 1 + self.leaf_count
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
        self.slot_count = outputs + len(self.outputs)
        self.output_nbytes = [
            buffers[b].nbytes if buffers[b].source == "output" and buffers[b].index == i else None
            for i, b in enumerate(self.fused.outputs)
        ]
        available = _available_nbytes()
        needed = self.arena_nbytes + sum(n or 0 for n in self.output_nbytes)
        if needed > available:
            largest = sorted(buffers, key=lambda info: -info.nbytes)[:3]
            said = "; ".join(
                f"{info.type!r}, {info.nbytes / 1e6:.1f} MB, made at {info.node.line}" for info in largest
            )
            raise OutOfMemory(
                f"this program needs {needed / 1e6:.0f} MB besides its inputs, {available / 1e6:.0f} MB are "
                f"there; the largest values are: {said}"
            )

    def memory(self) -> dict[str, int]:
        inputs = sum(info.nbytes for info in self.fused.buffers if info.source == "input")
        return {
            "inputs": inputs,
            "outputs": sum(n or 0 for n in self.output_nbytes),
            "arena": self.arena_nbytes,
        }

    # -- code

    def _segments(self) -> list[Table | HostStep]:
        """Tables of native entries, broken by host steps."""
        kernels = [step.kernel for lowered in self.lowered if lowered for step in lowered.steps]
        loaded = dict(zip(kernels, compilation.load_many(kernels, self.isa), strict=True))
        segments: list[Table | HostStep] = []
        entries: list[Entry] = []
        self.entry_calls: list[Call] = []
        commit = 0
        for i, (call, lowered) in enumerate(zip(self.passes.schedule.calls, self.lowered, strict=True)):
            if i == self.passes.schedule.commit:
                commit = len(entries)
            if lowered is None:
                if entries:
                    segments.append(self._table(entries, len(entries)))
                    entries, commit = [], 0
                segments.append(self._host_step(call))
                continue
            for step in lowered.steps:
                operands = tuple(self._operand(call, i, where) for where in step.operands)
                entries.append(Entry(loaded[step.kernel], operands))
                self.entry_calls.append(call)
        if self.passes.schedule.commit == len(self.passes.schedule.calls):
            commit = len(entries)
        if entries or not segments:
            segments.append(self._table(entries, commit))
        return segments

    def _table(self, entries: list[Entry], commit: int) -> Table:
        return Table(entries, commit, self.status, self.slot_count)

    def _operand(self, call: Call, step: int, where: tuple[str, int]) -> tuple[int, int]:
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

    # -- running

    def run(
        self, leaves: Sequence[Leaf], reuse: Sequence[HostBuffer | None], poll: bool = True
    ) -> list[HostBuffer]:
        try:
            context = self._free.pop()
        except IndexError:
            context = _Context(self)
        try:
            return self._run(context, leaves, reuse, False)
        finally:
            self._free.append(context)

    def _run(
        self, context: _Context, leaves: Sequence[Leaf], reuse: Sequence[HostBuffer | None], profile: bool
    ) -> list[HostBuffer]:
        bases = [context.arena.address]
        for i, leaf in enumerate(leaves):
            if type(leaf) is HostBuffer:
                bases.append(leaf.address)
            else:
                context.scalar_views[i][...] = leaf
                bases.append(context.scalars.address + SCALAR_NBYTES * i)
        made: list[HostBuffer | None] = []
        for nbytes, old in zip(self.output_nbytes, reuse, strict=True):
            if nbytes is None:
                made.append(None)
                bases.append(0)
            else:
                buffer = old if old is not None else allocate(nbytes)
                made.append(buffer)
                bases.append(buffer.address)
        for segment, frame in zip(self.segments, context.frames, strict=True):
            if frame is None:
                interrupts.deliver()
                _run_on_host(segment, bases)
                continue
            try:
                code = frame.run(bases, profile)
            except BaseException as interrupt:
                if frame.committed and segment is self.segments[-1]:
                    raise Committed(self._results(made, leaves), interrupt) from None
                raise
            if code:
                self._raise_fault(leaves)
        return self._results(made, leaves)

    def _results(self, made: list[HostBuffer | None], leaves: Sequence[Leaf]) -> list[HostBuffer]:
        """The outputs' buffers: what was written; for an output that is a leaf or another output, that."""
        results: list[HostBuffer] = []
        for i, buffer in enumerate(made):
            if buffer is None:
                info = self.fused.buffers[self.fused.outputs[i]]
                if info.source == "input":
                    leaf = leaves[info.index]
                    buffer = (
                        leaf if type(leaf) is HostBuffer and not leaf.borrowed else _copied(leaf, info.type)
                    )
                else:
                    buffer = made[info.index]
            assert buffer is not None
            results.append(buffer)
        return results

    def _raise_fault(self, leaves: Sequence[Leaf]) -> NoReturn:
        """A kernel met an index that is out of range: the references say which, and where it was
        asked for.
        """
        ReferenceExecutable(self.outputs).run(leaves, [])
        raise AssertionError("a kernel reported a fault that the references do not find")

    # -- looking at it

    def explain(self) -> str:
        """The passes, the calls, and their code."""
        lines = []
        for name, ms, graph in self.passes.graphs:
            lines += [f"== {name}: {ms:.2f} ms", graph_text(graph)]
        for name, ms in self.times_ms.items():
            lines.append(f"== {name}: {ms:.2f} ms")
        lines.append(f"== program: {len(self.passes.schedule.calls)} calls, arena {self.arena_nbytes} bytes")
        for i, (call, lowered) in enumerate(zip(self.passes.schedule.calls, self.lowered, strict=True)):
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
        shown: set[str] = set()
        for lowered in self.lowered:
            for step in lowered.steps if lowered else ():
                if step.kernel.text not in shown:
                    shown.add(step.kernel.text)
                    lines += [f"== kernel {step.kernel.label}", step.kernel.text]
        return "\n".join(lines)


def _run_on_host(step: Any, bases: Sequence[int]) -> None:
    """Run a host step's reference on the program's memory."""
    arrays = [_seen(bases[slot] + offset, type, strides) for slot, offset, type, strides in step.inputs]
    results = apply(step.node, arrays)
    for (slot, offset, type), value in zip(
        step.outputs, results if isinstance(results, tuple) else (results,), strict=True
    ):
        _seen(bases[slot] + offset, type, None)[...] = value


def _seen(address: int, type: Type, strides: tuple[int, ...] | None) -> np.ndarray:
    """Memory of the program as an array."""
    low = high = 0
    for size, stride in zip(type.shape, strides or (), strict=False):
        low, high = low + min(0, stride * (size - 1)), high + max(0, stride * (size - 1))  # type: ignore[operator]
    if strides is None:
        high = type.dtype.itemsize
        for size in type.shape:
            high *= size  # type: ignore[assignment]
        high -= type.dtype.itemsize
    nbytes = max(0, high - low + type.dtype.itemsize)
    memory: Any = (ctypes.c_char * nbytes).from_address(address + low)
    return np.ndarray(type.shape, type.dtype.numpy, memory, -low, strides)


def _copied(leaf: Leaf, type: Type) -> HostBuffer:
    buffer = allocate(nbytes_of(type))
    buffer.writable(type)[...] = leaf_array(type, leaf)
    return buffer


def _can_fail(call: Call) -> bool:
    """Whether a call may report a failure: it looks values up, or runs on the host."""
    if isinstance(call, LibraryCall):
        return call.node.op.name not in ("matmul", "conv", "conv_input_gradient", "conv_weight_gradient")
    return any(i.op == "gather" for stage in call.kernel.stages for i in stage.body)


def _available_nbytes() -> int:
    """Memory that this process may still take."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 1 << 62


_BYTE_TYPE = Type((), uint8)
