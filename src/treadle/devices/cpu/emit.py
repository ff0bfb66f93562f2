"""Writes the entries of a program's table: kernels on their operands, and controls between them.

A place is a slot and an offset in bytes. Slots are the arena, inputs and outputs, which stand still, and
registers, which loops move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.compiler.program import Call, LoopCall, View
from treadle.devices.cpu.image import Place
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.section import Section


class Emitter:
    """Entries so far: (number of the kernel, its operands, how often), and (kind, slots, number, operands)
    for controls.
    """

    def __init__(self, status: Place, registers: int):
        self.status = status
        self.slots = registers
        """How many slots there are; registers are new ones."""
        self.entries: list[tuple[Any, ...]] = []
        self.kernels: list[NativeKernel] = []
        self.times = 1
        """How often what is written now will run, roughly."""
        self.origins: list[tuple[Call, ...]] = []
        """Of every entry the call that it belongs to, after those of the loops and branches around it."""
        self.inside: tuple[Call, ...] = ()
        self._number: dict[tuple[str, int], int] = {}

    def register(self) -> int:
        """A new slot."""
        self.slots += 1
        return self.slots - 1

    def kernel(self, kernel: NativeKernel, operands: Sequence[Place]) -> None:
        key = (kernel.text, kernel.tasks)
        if key not in self._number:
            self._number[key] = len(self.kernels)
            self.kernels.append(kernel)
        self.entries.append((self._number[key], tuple(operands), self.times))
        self.origins.append(self.inside)

    def control(
        self, kind: str, slots: Sequence[int] = (), number: int = 0, operands: Sequence[Place] = ()
    ) -> int:
        """Write a control; its position, for `aim`."""
        self.entries.append((kind, tuple(slots), number, tuple(operands)))
        self.origins.append(self.inside)
        return len(self.entries) - 1

    def aim(self, *positions: int) -> None:
        """Let controls that were written before mean what is written next."""
        for position in positions:
            kind, slots, _, operands = self.entries[position]
            self.entries[position] = (kind, slots, len(self.entries), operands)

    def steps(self, steps: Sequence[Step], place: Callable[[tuple[str, int]], Place]) -> None:
        """The kernels of something lowered; `place` says where its operands are."""
        for step in steps:
            self.kernel(step.kernel, [place(operand) for operand in step.operands])


class Placed:
    """A section in its place: the arena block it has, and where its inputs and outputs are."""

    def __init__(
        self,
        section: Section,
        block: Place,
        inputs: Sequence[Place],
        outputs: Sequence[Place],
        kept: int | None = None,
    ):
        self.section = section
        self.block = block
        self.kept = kept
        """The slot of what the section's prologue keeps."""
        self.inputs, self.outputs = inputs, outputs

    def buffer(self, b: int, status: Place) -> Place:
        """Where a buffer is."""
        info = self.section.fused.buffers[b]
        if info.source == "input":
            return self.inputs[info.index]
        if info.source == "output":
            return self.outputs[info.index]
        return status if info.source == "status" else self.at(b)

    def at(self, key: Any) -> Place:
        """Where a temporary value is: in the block, or kept."""
        prologue = self.section.prologue
        if prologue is not None and self.kept is not None and key in prologue.kept:
            return self.kept, prologue.kept[key]
        return self.block[0], self.block[1] + self.section.offsets[key]

    def view(self, view: View, status: Place) -> Place:
        """Where the first element of a view is."""
        slot, offset = self.buffer(view.buffer, status)
        itemsize = self.section.fused.buffers[view.buffer].type.dtype.itemsize
        return slot, offset + view.offset * itemsize

    def operand(self, number: int, where: tuple[str, int], status: Place) -> Place:
        """Where an operand of a lowered call is."""
        call, (kind, i) = self.section.calls[number], where
        if kind == "temp":
            return self.at(("temp", number, i))
        if kind == "status":
            return status
        if isinstance(call, LoopCall):
            return self.buffer(call.buffers[i], status)
        if kind == "out":
            return self.buffer(call.outputs[i], status)
        if i >= len(call.inputs):
            return self.buffer(call.extra_buffers[i - len(call.inputs)], status)
        return self.view(call.inputs[i], status)

    def emit(self, number: int, to: Emitter) -> None:
        """Write one call."""
        lowered, call = self.section.lowered[number], self.section.calls[number]
        around, to.inside = to.inside, (*to.inside, call)
        if isinstance(lowered, Lowered):
            self._emit_steps(number, self.section.steps_of(number), to)
        else:
            assert lowered is not None and not isinstance(call, LoopCall)
            inputs = [self.view(view, to.status) for view in call.inputs]
            outputs = [self.buffer(b, to.status) for b in call.outputs]
            lowered.emit(to, self.at(("temp", number, 0)), inputs, outputs)
        to.inside = around

    def emit_prologue(self, to: Emitter, stale: int) -> None:
        """Write what is left out while what the slot `stale` holds is 0."""
        assert self.section.prologue is not None
        skip = to.control("jump_if_zero", (stale,))
        before, to.times = to.times, 0
        for unit in self.section.prologue.units:
            to.inside = (self.section.calls[unit.call],)
            self._emit_steps(unit.call, unit.steps, to)
        to.times, to.inside = before, ()
        to.aim(skip)

    def _emit_steps(self, number: int, steps: Sequence[Step], to: Emitter) -> None:
        to.steps(steps, lambda where: self.operand(number, where, to.status))

    def emit_all(self, to: Emitter) -> None:
        for number in range(len(self.section.calls)):
            self.emit(number, to)
