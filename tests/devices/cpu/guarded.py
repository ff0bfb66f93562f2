"""Run whole programs where every wrong access shows: each value of a program between guard pages of its own.

Inside `guarded()` every program that runs on the CPU is run three times: twice by a walker of its table in
Python, with every value, every input, every output and each kernel's scratch memory against an inaccessible
page (`guard.GuardedBuffer`), all that is undefined poisoned, and tasks cut at random; then as ever, in an
arena full of poison. What the three give must be the same bits: a value that is read too late, before it was
written, or by a task of another kernel, differs.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from guard import PADDING, PAGE, POISON, GuardedBuffer, ranges

from treadle.compiler.executable import Leaf
from treadle.compiler.memory import Span
from treadle.devices.cpu import build, compilation, hosted, nests, program, runner, section
from treadle.devices.cpu.image import HostStep
from treadle.devices.cpu.native import LoadedKernel, Lowered
from treadle.devices.cpu.program import CpuExecutable
from treadle.devices.cpu.runner import Control, Entry
from treadle.devices.cpu.section import Section
from treadle.devices.cpu.target import Isa
from treadle.devices.host import HostBuffer, nbytes_of
from treadle.errors import TreadleError
from treadle.graph.closed import Closed
from treadle.graph.node import Type

EDGES = "end", "begin"
ALIGN = 64
"""What kernels may count on of temporary values, and of nothing else."""


@contextmanager
def guarded() -> Iterator[list[str]]:
    """A block in which programs run under guard; the labels of the kernels that did, in order."""
    labels: list[str] = []
    made: WeakKeyDictionary[CpuExecutable, list[_Guarded]] = WeakKeyDictionary()
    run, lock = CpuExecutable.run, threading.RLock()

    def checked(
        self: CpuExecutable, leaves: Sequence[Leaf], reuse: Sequence[HostBuffer | None], poll: bool = True
    ) -> list[HostBuffer]:
        with lock:
            both = made.get(self) or made.setdefault(self, [_Guarded(self, edge) for edge in EDGES])
            found = [one.run(leaves, reuse, labels if one.edge == "end" else []) for one in both]
            _poison(self)
            buffers = run(self, leaves, reuse, poll)
        for i, (buffer, *others) in enumerate(zip(buffers, *found, strict=True)):
            whole = ctypes.string_at(buffer.address, buffer.nbytes)
            for edge, other in zip(EDGES, others, strict=True):
                assert whole[: len(other)] == other, f"output {i} has other bits where values {edge} a page"
        return buffers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CpuExecutable, "run", checked)
        yield labels


class _Guarded:
    """A program whose values lie at one `edge` of pages ("end" or "begin")."""

    def __init__(self, executable: CpuExecutable, edge: str):
        self.edge = edge
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Section, "_place", functools.partialmethod(_place, edge=edge))
            patch.setattr(nests._Block, "take", functools.partialmethod(_take, edge=edge))
            made = build.Build(executable.outputs, executable._donors, executable.isa, executable._lasting)
        self.image = made.image
        kernels = compilation.load_many(made.kernels, executable.isa)
        self.segments = [
            segment if isinstance(segment, HostStep) else [_entry(e, kernels) for e in segment.entries]
            for segment in self.image.segments
        ]
        self.graphs = {
            segment.node: hosted.prepared(segment.node, functools.partial(_compiled, executable.isa))
            for segment in self.image.segments
            if isinstance(segment, HostStep) and segment.node.op.of_graphs
        }
        status = [(self.image.status[1], 4)]
        self.arena = Arena(self.image.arena_nbytes, [*_pieces(made.section, 0), *status])
        self.seed = 0

    def run(
        self, leaves: Sequence[Leaf], reuse: Sequence[HostBuffer | None], labels: list[str]
    ) -> list[bytes]:
        """The outputs' bytes, none if the program fails; none of the leaves' own memory is written."""
        self.seed += 1
        memory: dict[int, GuardedBuffer] = {}
        inputs = []
        for leaf, type in zip(leaves, self.image.leaves, strict=False):
            buffer = memory.get(id(leaf)) or self._copied(leaf, type)
            if isinstance(leaf, HostBuffer):
                memory[id(leaf)] = buffer
            inputs.append(buffer)
        before = [buffer.contents.tobytes() for buffer in inputs]
        outputs = []
        for (nbytes, source, index), old in zip(self.image.outputs, reuse, strict=True):
            if nbytes is None:
                outputs.append(inputs[index] if source == "input" else outputs[index])
            else:
                taken = memory.get(id(old)) if old is not None else None
                outputs.append(GuardedBuffer(nbytes, self.edge) if taken is None else taken)
        self.arena.poison()
        kept = [] if self.image.kept is None else [GuardedBuffer(self.image.kept[0], self.edge, ALIGN)]
        bases = [self.arena.address, *[buffer.address for buffer in inputs]]
        bases += [0 if size is None else o.address for (size, _, _), o in zip(self.image.outputs, outputs)]
        bases += [buffer.address for buffer in kept] + [1] * len(kept)
        bases += [0] * (self.image.slots - len(bases))
        generator = np.random.default_rng(self.seed) if self.edge == "end" else None
        status = ctypes.c_int32.from_address(self.arena.address + self.image.status[1])
        for segment in self.segments:
            if isinstance(segment, HostStep):
                try:
                    program._apply_in_place(segment, bases, self.graphs.get(segment.node))
                except TreadleError:
                    return []
                continue
            status.value = 0
            self._walk(segment, bases, generator, labels)
            if status.value:
                return []
        self.arena.check()
        for i, (buffer, old) in enumerate(zip(inputs, before, strict=True)):
            buffer.check_padding(f"input {i}")
            given = any(buffer is output for output in outputs)
            assert given or buffer.contents.tobytes() == old, f"input {i} was written"
        for i, buffer in enumerate((*outputs, *kept)):
            buffer.check_padding(f"output {i}")
        return [buffer.contents.tobytes() for buffer in outputs]

    def _copied(self, leaf: Leaf, type: Type) -> GuardedBuffer:
        if isinstance(leaf, HostBuffer):
            buffer = GuardedBuffer(leaf.nbytes, self.edge)
            ctypes.memmove(buffer.address, leaf.address, leaf.nbytes)
        else:
            buffer = GuardedBuffer(nbytes_of(type), self.edge)
            buffer.contents.view(type.dtype.numpy).reshape(type.shape)[...] = leaf
        return buffer

    def _walk(
        self,
        entries: Sequence[Entry | Control],
        slots: list[int],
        generator: np.random.Generator | None,
        labels: list[str],
    ) -> None:
        """What the runner does with a table (see `runner.Control`)."""

        def resolved(entry: Entry | Control) -> list[int]:
            return [slots[slot] + offset for slot, offset in entry.operands]

        operands = [resolved(entry) for entry in entries]
        status = ctypes.c_int32.from_address(self.arena.address + self.image.status[1])
        i = 0
        while i < len(entries):
            entry, given, following = entries[i], operands[i], i + 1
            if isinstance(entry, Entry):
                labels.append(entry.kernel.facts.label)
                call(entry.kernel, given, self.edge, generator)
                i = following
                continue
            kind, (first, second, *_), n = entry.kind, (*entry.slots, 0, 0), entry.number
            if kind == "set":
                slots[first] = n
            elif kind == "move":
                slots[first] = slots[second] + n
            elif kind == "add":
                slots[first] += n
            elif kind == "xor":
                slots[first] ^= slots[second]
            elif kind == "scale":
                slots[first] += slots[second] * n
            elif kind == "load_byte":
                slots[first] = ctypes.c_uint8.from_address(given[0]).value
            elif kind == "load_word":
                slots[first] = ctypes.c_int64.from_address(given[0]).value
            elif kind == "store_word":
                ctypes.c_int64.from_address(given[0]).value = slots[first]
            elif kind == "resolve":
                operands[i:n] = [resolved(entry) for entry in entries[i:n]]
            else:
                jumps = {"jump": True, "jump_if_zero": slots[first] == 0, "jump_if_fault": status.value != 0}
                following = n if jumps[kind] else following
            i = following


def _entry(row: tuple[Any, ...], kernels: Sequence[LoadedKernel]) -> Entry | Control:
    return Control(*row) if isinstance(row[0], str) else Entry(kernels[row[0]], *row[1:])


def call(
    kernel: LoadedKernel, operands: Sequence[int], edge: str, generator: np.random.Generator | None
) -> None:
    """Do all tasks of a kernel, with fresh poison in the scratch memory before each range."""
    scratch = _scratch(kernel.facts.scratch_nbytes, edge)
    arguments = GuardedBuffer(8 * len(operands), edge)
    arguments.contents.view(np.int64)[:] = operands
    entry = kernel.entry
    for first, last in ranges(kernel.facts.tasks, generator):
        scratch.contents[:] = POISON
        entry(arguments.address, first, last, scratch.address)
    scratch.check_padding(f"{kernel.facts.label}: scratch")


@functools.lru_cache(maxsize=64)
def _scratch(nbytes: int, edge: str) -> GuardedBuffer:
    return GuardedBuffer(nbytes, edge, ALIGN)


def _compiled(isa: Isa, graph: Closed) -> CpuExecutable:
    return CpuExecutable(graph.outputs, [None] * len(graph.outputs), isa)


def _poison(executable: CpuExecutable) -> None:
    """Fill the memory of temporary values, and all scratch memory there is, with NaN, -1 and True."""
    if not executable._free:
        executable._free.append(program._Context(executable))
    for context in executable._free:
        ctypes.memset(context.arena.address, POISON, context.arena.nbytes)
    own = getattr(runner._local, "scratch", None)
    for scratch in [own] if own is not None else []:
        ctypes.memset(scratch.address, POISON, scratch.nbytes)


# -- where values are


def _place(self: Section, edge: str) -> None:
    """Instead of `Section._place`: pages of its own for each value, and one before and after them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(section, "place", _apart)
        _PLACE(self)
    if edge == "end":
        for key, offset in self.offsets.items():
            # Only what lowered calls have among themselves is aligned.
            align = ALIGN if isinstance(key, tuple) else 1
            self.offsets[key] = offset + _room(_nbytes(self, key), align)


_PLACE = Section._place


def _apart(spans: Sequence[Span]) -> tuple[list[int], int]:
    offsets, total = [], PAGE
    for span in spans:
        offsets.append(total)
        total += _pages(span.nbytes) + PAGE
    return offsets, total


def _take(self: Any, nbytes: int, edge: str) -> int:
    """The same for the pieces of a loop's block."""
    offset = self.nbytes + PAGE
    self.nbytes = offset + _pages(nbytes) + PAGE
    return offset + (_room(nbytes, 1) if edge == "end" else 0)


def _nbytes(made: Section, key: Any) -> int:
    if not isinstance(key, tuple):
        return made.fused.buffers[key].nbytes
    _, number, i = key
    return made.lowered[number].temporaries[i]


def _room(nbytes: int, align: int) -> int:
    """What is left of the pages of a value."""
    return (_pages(nbytes) - max(nbytes, 1)) // align * align


def _pages(nbytes: int) -> int:
    return -(-max(nbytes, 1) // PAGE) * PAGE


def _pieces(made: Section, base: int) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of every value of a section, of those inside its loops and branches too."""
    for key, offset in made.offsets.items():
        if isinstance(key, tuple) and not isinstance(made.lowered[key[1]], Lowered):
            yield from _inside(made.calls[key[1]], made.lowered[key[1]], base + offset)
        else:
            yield base + offset, _nbytes(made, key)


def _inside(loop: Any, nest: Any, base: int) -> Iterator[tuple[int, int]]:
    for i, (offset, _) in nest.inputs.copies.items():
        yield base + offset, nbytes_of(loop.node.inputs[i].type)
    for way in getattr(nest, "ways", {}).values():
        for i, (offset, _) in way.waits.items():
            yield base + offset, nbytes_of(way.section.outputs[i].type)
    for j, offset in getattr(nest, "turns", {}).items():
        yield base + offset, nbytes_of(nest.types[j])
    if hasattr(nest, "predicate"):
        yield base + nest.predicate, 1
    for inner in nest.sections.values():
        yield from _pieces(inner, base + nest.block)


class Arena:
    """Memory of which all pages without a piece are inaccessible."""

    def __init__(self, nbytes: int, pieces: Sequence[tuple[int, int]]):
        self.memory = GuardedBuffer(_pages(nbytes), "begin")
        self.address = self.memory.address
        used = np.zeros(len(self.memory.contents) // PAGE, bool)
        self.inside = np.zeros(len(self.memory.contents), bool)
        for offset, size in pieces:
            used[offset // PAGE : (offset + max(size, 1) - 1) // PAGE + 1] = True
            self.inside[offset : offset + size] = True
        self.inside = self.inside.reshape(-1, PAGE)[used]
        edges = np.flatnonzero(np.diff(used.astype(np.int8), prepend=0, append=0)) * PAGE
        self.runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
        for a, b in itertools.pairwise([0, *[place for run in self.runs for place in run], len(used) * PAGE]):
            if used[a // PAGE : b // PAGE].any() or a == b:
                continue
            protected = ctypes.CDLL(None).mprotect(
                ctypes.c_void_p(self.address + a), ctypes.c_size_t(b - a), 0
            )
            assert protected == 0

    def poison(self) -> None:
        done = 0
        for a, b in self.runs:
            inside = self.inside[done : done + (b - a) // PAGE].reshape(-1)
            self.memory.contents[a:b] = np.where(inside, POISON, PADDING)
            done += (b - a) // PAGE

    def check(self) -> None:
        done = 0
        for a, b in self.runs:
            inside = self.inside[done : done + (b - a) // PAGE].reshape(-1)
            padding = self.memory.contents[a:b][~inside]
            assert (padding == PADDING).all(), f"bytes beside the values at {a} to {b} were written"
            done += (b - a) // PAGE
