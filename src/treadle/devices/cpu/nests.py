"""Loops and branches as entries of the table that they are in: no Python between two iterations.

What changes from one iteration to the next is an address: slices of stacks step along, and the carry of an
iteration is read where the one before wrote it. Carries have two places in turn, of which one is their
result's; one that is stacked as it is needs none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Protocol

from treadle.compiler.kernel import Access, Affine, Instruction, LoopKernel, Operand, Stage, Store
from treadle.compiler.memory import ALIGNMENT
from treadle.compiler.program import LibraryCall
from treadle.devices.cpu import loops
from treadle.devices.cpu.copies import copied, row_major
from treadle.devices.cpu.emit import Emitter, Placed
from treadle.devices.cpu.image import Place
from treadle.devices.cpu.native import Step
from treadle.devices.cpu.section import Section
from treadle.devices.cpu.target import Isa
from treadle.graph.closed import Closed
from treadle.graph.node import Type
from treadle.ops.control import COND, LOOP, loop_of

UNKNOWN_TIMES = 1000
"""How often a loop is taken to run that does not say."""


class Nest(Protocol):
    """A call whose graphs are sections of their own; `temporaries` is the size of the one block it needs."""

    label: str
    """What a person reads in an explanation."""
    sections: dict[str, Section]
    temporaries: tuple[int, ...]

    def emit(self, to: Emitter, block: Place, inputs: Sequence[Place], outputs: Sequence[Place]) -> None:
        """Write its entries."""
        ...


def nest(call: LibraryCall, isa: Isa) -> Nest | None:
    """The native form of a loop or branch; None where something inside has none."""
    made = MAKERS[call.node.op.name](call, isa)
    return None if any(section.on_the_host() for section in made.sections.values()) else made


def _nbytes(type: Type) -> int:
    return type.dtype.itemsize * math.prod(type.shape)  # type: ignore[arg-type]


class _Block:
    """Pieces of a block, one after the other."""

    def __init__(self) -> None:
        self.nbytes = 0

    def take(self, nbytes: int) -> int:
        offset, self.nbytes = self.nbytes, self.nbytes + -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
        return offset


class _Inputs:
    """Inputs as sections take them: contiguous. Of others a copy is made, in the block."""

    def __init__(self, call: LibraryCall, isa: Isa, block: _Block, stacks: Collection[int] = ()):
        self.copies: dict[int, tuple[int, Step]] = {}
        self.steps: dict[int, int] = {}
        """Of the inputs that are `stacks`, the bytes between slices; only these have to be contiguous."""
        for i, (view, child) in enumerate(zip(call.inputs, call.node.inputs, strict=True)):
            sizes: tuple[int, ...] = child.shape  # type: ignore[assignment]
            made, count, name = row_major(sizes), math.prod(sizes), child.dtype.name
            first = int(i in stacks)
            pairs = list(zip(sizes, view.strides, made, strict=True))[first:]
            if first:
                self.steps[i] = view.strides[0] * child.dtype.itemsize
            if count and not all(n == 1 or a == b for n, a, b in pairs):
                self.steps[i] = made[0] * child.dtype.itemsize if made else 0
                step = copied(isa, sizes, (("in", 0), view.strides, name), (("out", 0), made, name))
                self.copies[i] = block.take(_nbytes(child.type)), step

    def places(self, to: Emitter, block: Place, inputs: Sequence[Place]) -> list[Place]:
        """Where they are, the copies being written."""
        found = list(inputs)
        for i, (offset, step) in self.copies.items():
            found[i] = block[0], block[1] + offset
            to.kernel(step.kernel, [inputs[i], found[i]])
        return found


def _copy(isa: Isa, type: Type) -> Step | None:
    sizes: tuple[int, ...] = type.shape  # type: ignore[assignment]
    if not math.prod(sizes):
        return None
    strides, name = row_major(sizes), type.dtype.name
    return copied(isa, sizes, (("in", 0), strides, name), (("out", 0), strides, name))


def _fill(isa: Isa, type: Type) -> Step | None:
    """A kernel that makes all of a value zero."""
    count = math.prod(type.shape)  # type: ignore[arg-type]
    if not count:
        return None
    name, kind = type.dtype.name, type.dtype.kind
    zero = False if kind == "bool" else 0 if kind in ("int", "uint") else 0.0
    stage = Stage(
        "row", (Instruction("constant", (), name, zero),), stores=(Store(Access(0, Affine(0, (1,))), 0),)
    )
    kernel = LoopKernel((count,), 1, (Operand(name, count, written=True),), (stage,), f"zeros[{count}]")
    (step,) = loops.render(kernel, isa).steps
    return step


class _Results:
    """Where a section's outputs come to be: in their own place, or where another value is that they equal."""

    def __init__(self, section: Section, isa: Isa):
        self.section = section
        self.copies: dict[int, tuple[str, int, Step]] = {}
        """Outputs that are an input or another output untouched: which, and the copy."""
        for i, buffer in enumerate(section.fused.outputs):
            info = section.fused.buffers[buffer]
            if info.source != "output" or info.index != i:
                step = _copy(isa, section.outputs[i].type)
                if step is not None:
                    self.copies[i] = info.source, info.index, step

    def emit(
        self, to: Emitter, inputs: Sequence[Place], outputs: Sequence[Place], skip: Collection[int] = ()
    ) -> None:
        """Copy what is the same as something else."""
        for i, (source, index, step) in self.copies.items():
            if i not in skip:
                to.kernel(step.kernel, [inputs[index] if source == "input" else outputs[index], outputs[i]])


class CondNest:
    """A branch: one of two sections, which share a block."""

    def __init__(self, call: LibraryCall, isa: Isa):
        node, block = call.node, _Block()
        self.label = "cond"
        self.inputs = _Inputs(call, isa, block)
        # Operands are counted without the predicate.
        donors = {result: number - 1 for result, number in call.donors.items()}
        self.ways = {name: _Way(node.attribute(name), donors, isa, block) for name in ("true", "false")}
        self.sections = {name: way.section for name, way in self.ways.items()}
        self.block = block.take(max(section.nbytes for section in self.sections.values()))
        self.temporaries = (block.nbytes,)

    def emit(self, to: Emitter, block: Place, inputs: Sequence[Place], outputs: Sequence[Place]) -> None:
        predicate, *operands = self.inputs.places(to, block, inputs)
        holds = to.register()
        to.control("load_byte", (holds,), operands=[predicate])
        other = to.control("jump_if_zero", (holds,))
        self.ways["true"].emit(to, block, self.block, operands, outputs)
        end = to.control("jump")
        to.aim(other)
        self.ways["false"].emit(to, block, self.block, operands, outputs)
        to.aim(end)


class _Way:
    """One way of a branch. Results in `donors` may be in the memory of the operand that is named there, which
    turns out when it runs. One that is that operand untouched is copied only where they are apart; one that
    cannot be written while the operand is still needed waits in the block.
    """

    def __init__(self, graph: Closed, donors: dict[int, int], isa: Isa, block: _Block):
        wanted = [
            None if donors.get(i) is None or node is graph.parameters[donors[i]] else donors[i]
            for i, node in enumerate(graph.outputs)
        ]
        section = self.section = Section(graph.outputs, wanted, isa)
        self.results = _Results(section, isa)
        copies = self.results.copies
        self.stays = {i for i, j in donors.items() if i in copies and copies[i][:2] == ("input", j)}
        self.waits: dict[int, tuple[int, Step]] = {}
        for i, j in donors.items():
            taken = i not in copies and section.passes.schedule.donations[i] == j
            copy = _copy(isa, graph.outputs[i].type)
            if i not in self.stays and not taken and copy is not None:
                self.waits[i] = block.take(_nbytes(graph.outputs[i].type)), copy

    def emit(
        self, to: Emitter, block: Place, offset: int, operands: Sequence[Place], outputs: Sequence[Place]
    ) -> None:
        """Write its entries; temporary values are in the block from `offset` on."""
        written = list(outputs)
        for i, (place, _) in self.waits.items():
            written[i] = block[0], block[1] + place
        Placed(self.section, (block[0], block[1] + offset), operands, written).emit_all(to)
        self.results.emit(to, operands, written, self.stays)
        for i in self.stays:
            _, index, step = self.results.copies[i]
            apart, there = to.register(), to.register()
            for register, (slot, nbytes) in ((apart, operands[index]), (there, outputs[i])):
                to.control("move", (register, slot), nbytes)
            to.control("xor", (apart, there))
            same = to.control("jump_if_zero", (apart,))
            to.kernel(step.kernel, [operands[index], outputs[i]])
            to.aim(same)
        for i, (_, step) in self.waits.items():
            to.kernel(step.kernel, [written[i], outputs[i]])


class LoopNest:
    """A loop: its body, and its condition if it has one."""

    def __init__(self, call: LibraryCall, isa: Isa):
        node = call.node
        loop = self.loop = loop_of(node)
        self.types = node.types
        most = "" if loop.length is None else f" of {'at most ' * (loop.condition is not None)}{loop.length}"
        self.label = f"{'loop' if loop.condition is None else 'while loop'}{most}"
        block = _Block()
        first = int(loop.counted) + loop.carries
        stacks = range(first, first + loop.slices)
        self.inputs = _Inputs(call, isa, block, stacks)
        self.slice_steps = [self.inputs.steps[i] for i in stacks]
        self.sections = {"body": _section(loop.body, isa)}
        if loop.condition is not None:
            self.sections["condition"] = _section(loop.condition, isa)
            self.tested = _Results(self.sections["condition"], isa)
        self.results = _Results(self.sections["body"], isa)
        self.stacked = self._stacked()
        known = loop.condition is None and not loop.counted
        self.length: int | None = loop.length if known else None  # type: ignore[assignment]
        carried = self.types[: loop.carries]
        self.turns = {
            j: block.take(_nbytes(type))
            for j, type in enumerate(carried)
            if j not in self.stacked and self.length not in (0, 1)
        }
        self.copies = [_copy(isa, type) for type in carried]
        self.fills = [
            None if known else _fill(isa, type)
            for type in self.types[loop.carries : loop.carries + loop.stacks]
        ]
        self.steps = [_nbytes(type) for type in loop.body.types[loop.carries :]]
        self.predicate = block.take(1)
        self.block = block.take(max(section.nbytes for section in self.sections.values()))
        self.temporaries = (block.nbytes,)

    def _stacked(self) -> dict[int, int]:
        """The carries that are stacked as they come out: they are written to the stack alone."""
        carries = self.loop.carries
        found: dict[int, int] = {}
        for i, (source, index, _) in self.results.copies.items():
            own = index not in self.results.copies and index not in found
            if i >= carries and source == "output" and index < carries and own:
                found[index] = i - carries
        return found

    def emit(self, to: Emitter, block: Place, inputs: Sequence[Place], outputs: Sequence[Place]) -> None:
        loop, carries = self.loop, self.loop.carries
        places = self.inputs.places(to, block, inputs)
        count, starts, stacks, captured = loop.split(places)
        made = outputs[carries : carries + loop.stacks]
        for step, place in zip(self.fills, made, strict=True):
            if step is not None:
                to.kernel(step.kernel, [place])
        left = self._left(to, count)
        now = [self._moved(to, place) for place in starts]
        following: list[int] = []
        masks: dict[int, int] = {}
        slices = [self._first(to, p, step, left) for p, step in zip(stacks, self.slice_steps, strict=True)]
        rows = [self._first(to, p, step, left) for p, step in zip(made, self.steps, strict=True)]
        for j in range(carries):
            if j in self.stacked:
                following.append(rows[self.stacked[j]])
                continue
            # So that the last iteration of a loop of known length writes the result.
            first = outputs[j]
            if j in self.turns:
                turn = block[0], block[1] + self.turns[j]
                if self.length is not None and self.length % 2 == 0:
                    first = turn
                masks[j], other = self._moved(to, outputs[j]), self._moved(to, turn)
                to.control("xor", (masks[j], other))
            following.append(self._moved(to, first))
        done = None
        if loop.condition is not None:
            done = to.register()
            to.control("set", (done,), 0)
        before, to.times = to.times, to.times * self._times()
        begin = len(to.entries)
        ends = [] if left is None else [to.control("jump_if_zero", (left,))]
        resolve = to.control("resolve")
        given = [*[(slot, 0) for slot in now], *[(slot, 0) for slot in slices], *captured]
        place = block[0], block[1] + self.block
        if loop.condition is not None:
            seen = [*given[:carries], *captured]
            predicate = block[0], block[1] + self.predicate
            Placed(self.sections["condition"], place, seen, [predicate]).emit_all(to)
            self.tested.emit(to, seen, [predicate])
            holds = to.register()
            to.control("load_byte", (holds,), operands=[predicate])
            # What a failed kernel gave must not keep the loop going.
            ends += [to.control("jump_if_zero", (holds,)), to.control("jump_if_fault")]
        written = [(slot, 0) for slot in (*following, *rows)]
        Placed(self.sections["body"], place, given, written).emit_all(to)
        self.results.emit(to, given, written, [carries + k for k in self.stacked.values()])
        for j in range(carries):
            to.control("move", (now[j], following[j]))
            if j in masks:
                to.control("xor", (following[j], masks[j]))
        sign = -1 if loop.reverse else 1
        for slot, step in zip((*slices, *rows), (*self.slice_steps, *self.steps), strict=True):
            to.control("add", (slot,), sign * step)
        if left is not None:
            to.control("add", (left,), -1)
        if done is not None:
            to.control("add", (done,), 1)
        to.control("jump", (), begin)
        to.aim(resolve, *ends)
        to.times = before
        self._end(to, now, outputs)
        if done is not None:
            to.control("store_word", (done,), operands=[outputs[-1]])

    def _end(self, to: Emitter, now: Sequence[int], outputs: Sequence[Place]) -> None:
        """Bring the last carries to where the results are, if they are not there."""
        known = self.length is not None and self.length > 0
        resolve = to.control("resolve")
        for j, step in enumerate(self.copies):
            if step is not None and not (known and j not in self.stacked):
                to.kernel(step.kernel, [(now[j], 0), outputs[j]])
        to.aim(resolve)

    def _times(self) -> int:
        length = self.loop.length
        return max(1, length if isinstance(length, int) else UNKNOWN_TIMES)

    def _left(self, to: Emitter, count: Place | None) -> int | None:
        """A register with the number of iterations that are left; None if there is no bound."""
        if self.loop.length is None:
            return None
        left = to.register()
        if count is None:
            to.control("set", (left,), self.loop.length)  # type: ignore[arg-type]
        else:
            to.control("load_word", (left,), operands=[count])
        return left

    def _moved(self, to: Emitter, place: Place) -> int:
        """A register that holds the address of a place."""
        register = to.register()
        to.control("move", (register, place[0]), place[1])
        return register

    def _first(self, to: Emitter, place: Place, nbytes: int, left: int | None) -> int:
        """A register at the first slice of a stack."""
        register = self._moved(to, place)
        if self.loop.reverse:
            assert left is not None
            to.control("scale", (register, left), nbytes)
            to.control("add", (register,), -nbytes)
        return register


def _section(closed: Closed, isa: Isa) -> Section:
    return Section(closed.outputs, [None] * len(closed.outputs), isa)


MAKERS = {COND.name: CondNest, LOOP.name: LoopNest}
