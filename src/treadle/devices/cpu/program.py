"""A compiled graph on the CPU: tables of native kernels over one arena, and host steps between them where
an op has none.

The program comes from the disk, if some process has compiled the same graph before; the compiler is loaded
only if it must be.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from treadle import config, interrupts
from treadle.compiler import recording
from treadle.compiler.executable import Committed, Executable, Leaf
from treadle.devices.buffer import Buffer
from treadle.devices.cpu import image, servers
from treadle.devices.cpu.hosted import Apply, prepared
from treadle.devices.cpu.image import HostStep
from treadle.devices.cpu.retained import Retained
from treadle.devices.cpu.runner import Control, Entry, Frame, Table
from treadle.devices.cpu.target import Isa
from treadle.devices.host import (
    HostBuffer,
    allocate,
    available_nbytes,
    from_array,
    make_room,
    nbytes_of,
)
from treadle.devices.reference import ReferenceExecutable, apply, leaf_array
from treadle.dtypes import uint8
from treadle.errors import OutOfMemory, TreadleError
from treadle.graph.closed import Closed
from treadle.graph.node import Node, Type

if TYPE_CHECKING:
    from treadle.devices.cpu.build import Build
    from treadle.devices.cpu.native import LoadedKernel

SCALAR_NBYTES = 16


class _Context:
    """The memory of one run at a time: arena, scalars, addresses, and a frame for each table."""

    def __init__(self, program: CpuExecutable):
        # What was freed while a network was made is of other sizes, and a step asks for nothing of them.
        make_room(program.image.arena_nbytes)
        self.arena = allocate(program.image.arena_nbytes)
        self.scalars = allocate(SCALAR_NBYTES * max(1, len(program.image.leaves)))
        self.scalar_views = []
        self.given: list[Leaf] = [None] * len(program.image.leaves)
        """What the scalars were set to last."""
        raw = self.scalars.writable(Type((SCALAR_NBYTES * max(1, len(program.image.leaves)),), uint8))
        for i, type in enumerate(program.image.leaves):
            size = 1
            for n in type.shape:
                size *= n  # type: ignore[assignment]
            fits = size * type.dtype.itemsize <= SCALAR_NBYTES
            piece = raw[SCALAR_NBYTES * i : SCALAR_NBYTES * i + size * type.dtype.itemsize] if fits else None
            self.scalar_views.append(
                None if piece is None else piece.view(type.dtype.numpy).reshape(type.shape)
            )
        self.steps = [Frame(s) if isinstance(s, Table) else s for s in program.segments]


class CpuExecutable(Executable):
    """A program of generated kernels. Making it compiles them; see `explain` for what it does."""

    def __init__(
        self,
        outputs: Sequence[Node],
        donors: Sequence[int | None],
        isa: Isa,
        lasting: Collection[int] = (),
    ):
        super().__init__(outputs)
        self.isa = isa
        self._donors, self._lasting = donors, lasting
        self._build: Build | None = None
        name = image.name_of(self.order, self.outputs, donors, lasting, isa)
        # What is verified must be there to be verified.
        found = image.find(name) if name is not None and not config.options.check else None
        if found is None:
            kernels = self._compile()
            if name is not None:
                image.keep(name, self.image)
        else:
            self.image, kernels = found
            self._check_memory()
        self.donations = list(self.image.donations)
        self._graphs = {
            segment.node: prepared(segment.node, self._compiled)
            for segment in self.image.segments
            if isinstance(segment, HostStep) and segment.node.op.of_graphs
        }
        """Branches and loops that are driven from the host, ready to be applied."""
        self.segments: list[Table | HostStep] = []
        for segment in self.image.segments:
            if not isinstance(segment, HostStep):
                entries = [
                    Control(*entry) if isinstance(entry[0], str) else Entry(kernels[entry[0]], *entry[1:])
                    for entry in segment.entries
                ]
                segment = Table(entries, segment.commit, self.image.status, self.image.slots)
            self.segments.append(segment)
        self._free: list[_Context] = []
        self._retained = None if self.image.kept is None else Retained(*self.image.kept)

    def _compiled(self, graph: Closed) -> CpuExecutable:
        return CpuExecutable(graph.outputs, [None] * len(graph.outputs), self.isa)

    def _compile(self) -> list[LoadedKernel]:
        """Make the image, and its kernels."""
        started = servers.early(self.order)
        from treadle.devices.cpu.build import Build
        from treadle.devices.cpu.compilation import Compilers

        with Compilers(self.isa, started) as compilers:
            self._build = Build(self.outputs, self._donors, self.isa, self._lasting, compilers)
            self.image = self.build.image
            self._check_memory()
            return compilers.load(self.build.kernels)

    @property
    def build(self) -> Build:
        """How the graph became this program, compiled for the occasion if it came from the disk."""
        # A cached_property of Python 3.11 would let only one thread in the process compile at a time.
        if self._build is None:
            from treadle.devices.cpu.build import Build

            self._build = Build(self.outputs, self._donors, self.isa, self._lasting)
        return self._build

    def _check_memory(self) -> None:
        available = available_nbytes()
        needed = (
            self.image.arena_nbytes
            + self._kept_nbytes
            + sum(nbytes or 0 for nbytes, _, _ in self.image.outputs)
        )
        if needed > available:
            raise OutOfMemory(
                f"this program needs {needed / 1e6:.0f} MB besides its inputs, {available / 1e6:.0f} MB are "
                f"there; the largest values are: {self.build.largest()}"
            )

    @property
    def _kept_nbytes(self) -> int:
        return 0 if self.image.kept is None else self.image.kept[0]

    def memory(self) -> dict[str, int]:
        return {
            "inputs": self.image.inputs_nbytes,
            "outputs": sum(nbytes or 0 for nbytes, _, _ in self.image.outputs),
            "arena": self.image.arena_nbytes,
            "kept": self._kept_nbytes,
        }

    def explain(self) -> str:
        """The passes, the calls, and their code."""
        return self.build.explain()

    def summary(self) -> str:
        """The calls, and the largest values."""
        return self.build.summary()

    def tune(self) -> list[Any]:
        from treadle.devices.cpu.tuner import tune

        return tune(self.build.section, self.isa)

    def sources(self) -> list[tuple[str, str]]:
        return [(kernel.label, kernel.text) for kernel in self.build.sources()]

    # -- running

    def run(
        self, leaves: Sequence[Leaf], reuse: Sequence[HostBuffer | None], poll: bool = True
    ) -> list[HostBuffer]:
        try:
            context = self._free.pop()
        except IndexError:
            context = _Context(self)
        recorder = recording.local.recorder
        try:
            if recorder is None:
                return self._run(context, leaves, reuse, None)
            with recorder.run(self, self, time.monotonic_ns) as run:
                return self._run(context, leaves, reuse, run)
        finally:
            self._free.append(context)

    def works(self) -> list[recording.Work | None]:
        """What the rows of a recorded run are (see `compiler.recording`)."""
        from treadle.devices.cpu.account import works

        return works(self.build)

    def _run(
        self,
        context: _Context,
        leaves: Sequence[Leaf],
        reuse: Sequence[HostBuffer | None],
        run: recording.Run | None,
    ) -> list[HostBuffer]:
        bases, brought = [context.arena.address], []
        for i, leaf in enumerate(leaves):
            if type(leaf) is HostBuffer:
                bases.append(leaf.address)
            elif isinstance(leaf, Buffer):
                # Of another device: what is fed, and constants.
                brought.append(from_array(leaf.view(self.image.leaves[i]), self.image.leaves[i]))
                bases.append(brought[-1].address)
            else:
                if context.given[i] is not leaf:
                    context.scalar_views[i][...] = context.given[i] = leaf
                bases.append(context.scalars.address + SCALAR_NBYTES * i)
        made: list[HostBuffer | None] = []
        for (nbytes, _, _), buffer in zip(self.image.outputs, reuse, strict=True):
            if buffer is not None:
                buffer.contents = None
            elif nbytes is not None:
                buffer = allocate(nbytes)
            made.append(buffer)
            bases.append(0 if buffer is None else buffer.address)
        values, stale = None, False
        if self._retained is not None:
            values, stale = self._retained.find(leaves)
            bases += [values.buffer.address, int(stale)]
        # The registers of loops.
        bases += [0] * (self.image.slots - len(bases))
        for step in context.steps:
            if isinstance(step, HostStep):
                interrupts.deliver()
                if run is None:
                    self._run_on_host(step, bases, leaves)
                else:
                    self._record_on_host(step, bases, leaves, run)
                continue
            try:
                if run is None:
                    code = step.run(bases)
                else:
                    code = _record(step, bases, run)
            except BaseException as interrupt:
                if step.committed and step is context.steps[-1]:
                    raise Committed(self._results(made, leaves), interrupt) from None
                raise
            if code:
                self._raise_fault(leaves)
        if stale:
            assert self._retained is not None and values is not None
            self._retained.keep(values)
        return self._results(made, leaves)

    def _results(self, made: list[HostBuffer | None], leaves: Sequence[Leaf]) -> list[HostBuffer]:
        """The outputs' buffers: what was written; for an output that is a leaf or another output, that."""
        results: list[HostBuffer] = []
        for buffer, (_, source, index) in zip(made, self.image.outputs, strict=True):
            if buffer is None and source == "input":
                leaf = leaves[index]
                whole = type(leaf) is HostBuffer and not leaf.borrowed
                buffer = leaf if whole else _copied(leaf, self.image.leaves[index])
            elif buffer is None:
                buffer = made[index]
            assert buffer is not None
            results.append(buffer)
        return results

    def _run_on_host(self, step: HostStep, bases: Sequence[int], leaves: Sequence[Leaf]) -> None:
        """Run a host step's reference on the program's memory."""
        try:
            _apply_in_place(step, bases, self._graphs.get(step.node))
        except TreadleError:
            if step.node.line is None:
                # From the disk, which keeps no lines: the references say where it was asked for.
                ReferenceExecutable(self.outputs).run(leaves, [])
            raise

    def _record_on_host(
        self, step: HostStep, bases: Sequence[int], leaves: Sequence[Leaf], run: recording.Run
    ) -> None:
        recorder, began = recording.local.recorder, time.monotonic_ns()
        assert recorder is not None
        before = recorder.inner_ns
        self._run_on_host(step, bases, leaves)
        ended = time.monotonic_ns()
        own = ended - began - (recorder.inner_ns - before)
        run.events.append((len(run.times), began, ended))
        run.times.append(recording.Time(1, own, own, True))

    def _raise_fault(self, leaves: Sequence[Leaf]) -> NoReturn:
        """A kernel met an index that is out of range: the references say which, and where it was
        asked for.
        """
        ReferenceExecutable(self.outputs).run(leaves, [])
        raise AssertionError("a kernel reported a fault that the references do not find")


def _record(frame: Frame, bases: Sequence[int], run: recording.Run) -> int:
    """Run a table, and note what its entries did."""
    began = time.monotonic_ns()
    code = frame.run(bases, profile=True)
    took, first, timings = time.monotonic_ns() - began, len(run.times), frame.timings()
    run.native_ns += took
    run.between_ns += took - sum([timing.total_ns for timing in timings])
    run.times += [recording.Time(t.count, t.total_ns, t.busy_ns, t.alone) for t in timings]
    recorder = recording.local.recorder
    if recorder is not None and recorder.room > 0:
        run.events += [(first + i, began, ended) for i, began, ended in frame.events()]
        recorder.room -= len(run.events)
    return code


def _apply_in_place(step: HostStep, bases: Sequence[int], prepared: Apply | None) -> None:
    arrays = [_seen(bases[slot] + offset, type, strides) for slot, offset, type, strides in step.inputs]
    results = apply(step.node, arrays) if prepared is None else tuple(prepared(arrays))
    results = results if isinstance(results, tuple) else (results,)
    for (slot, offset, type), value in zip(step.outputs, results, strict=True):
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
