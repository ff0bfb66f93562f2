"""A compiled graph on an accelerator: launches over one arena, and between them host steps where an op has no
kernel, and loops and branches, whose graphs are programs of their own.

A run returns when everything is launched; who wants bytes waits. Faults are looked at before the first store
into a variable, or at the end where nothing is stored.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from treadle import interrupts
from treadle.compiler import recording
from treadle.compiler.executable import Committed, Executable, Leaf
from treadle.devices.accelerator.build import Build, LaunchStep, NodeStep, Seen, Where
from treadle.devices.accelerator.control import Graphs
from treadle.devices.accelerator.device import Accelerator, DeviceBuffer
from treadle.devices.buffer import Buffer
from treadle.devices.host import nbytes_of
from treadle.devices.reference import ReferenceExecutable, apply
from treadle.devices.tuned import Tuned
from treadle.errors import DeviceError, OutOfMemory
from treadle.graph.node import Node

MOST_PLANS = 8
"""How many combinations of addresses are kept of a stretch."""
SCALAR_NBYTES = 256
"""The room of a leaf that is a number: what a device wants an address to be a multiple of."""


class OnHost(Executable):
    """A program of the host for values that are on a device: `debug` runs references so."""

    def __init__(self, program: Executable, device: Accelerator):
        super().__init__(program.outputs)
        self.program, self.device = program, device

    def run(self, leaves: Sequence[Leaf], reuse: Sequence[Any], poll: bool = True) -> list[Any]:
        types = {node.attributes[0]: node.type for node in self.order if node.op.name == "input"}
        given = [
            leaf.view(types[i]) if isinstance(leaf, Buffer) and i in types else leaf
            for i, leaf in enumerate(leaves)
        ]
        found = self.program.run(given, [None] * len(self.outputs), poll)
        return [
            self.device.copy_in(buffer.view(node.type), node.type)
            for node, buffer in zip(self.outputs, found, strict=True)
        ]


class _Context:
    """The memory of one run at a time."""

    def __init__(self, program: AcceleratorExecutable):
        device, build = program.device, program.build
        self.arena = DeviceBuffer(device, device.reserve(max(build.arena_nbytes, 1)), 0, build.arena_nbytes)
        self.status = DeviceBuffer(device, device.reserve(4), 0, 4)
        count = max(1, len(build.leaves))
        self.staged = np.zeros(SCALAR_NBYTES * count, np.uint8)
        self.scalars = DeviceBuffer(device, device.reserve(self.staged.nbytes), 0, self.staged.nbytes)
        self.sent: bytes | None = None
        self.parts: dict[tuple[int, int], DeviceBuffer] = {}
        self.plans: dict[int, dict[Any, Any]] = {}
        """By the first step of a stretch and the addresses it works on, what does it as one; None: seen once.
        """

    def part(self, offset: int, nbytes: int) -> DeviceBuffer:
        """A place of the arena."""
        found = self.parts.get((offset, nbytes))
        if found is None:
            found = self.parts[offset, nbytes] = self.arena.part(offset, nbytes)
        return found


class AcceleratorExecutable(Executable):
    """A program of generated kernels. Making it compiles them; see `explain` for what it does."""

    def __init__(self, outputs: Sequence[Node], donors: Sequence[int | None], device: Accelerator):
        super().__init__(outputs)
        self.device = device
        self._check_dtypes()
        self.build = Build(outputs, donors, device.generator)
        self._check_memory()
        self.kernels = device.compile(self.build.kernels)
        self.donations = list(self.build.passes.schedule.donations)
        self.graphs = {
            step.node: Graphs(step.node, device, AcceleratorExecutable)
            for step in self.build.steps
            if isinstance(step, NodeStep) and step.node.op.of_graphs
        }
        self._outputs = [self._made(i, b) for i, b in enumerate(self.build.fused.outputs)]
        self._free: list[_Context] = []
        self._stretches = self._divided()

    def _divided(self) -> list[tuple[int, int]]:
        """The steps in stretches, first and last: launches that follow each other, where a device can do them
        as one; nothing else with another.
        """
        steps, stretches = self.build.steps, []
        for i, step in enumerate(steps):
            joins = (
                self.device.plans
                and i not in (0, self.build.commit)
                and isinstance(step, LaunchStep)
                and isinstance(steps[i - 1], LaunchStep)
            )
            stretches.append((stretches.pop()[0] if joins else i, i + 1))
        return stretches

    def _made(self, i: int, buffer: int) -> tuple[bool, str, int]:
        """Whether an output has memory of its own, and otherwise whose it has."""
        info = self.build.fused.buffers[buffer]
        return info.source == "output" and info.index == i, info.source, info.index

    def _check_dtypes(self) -> None:
        """Refuse dtypes that the device has not."""
        for node in self.order:
            for type in node.types:
                reason = self.device.unsupported(type.dtype.name)
                if reason is not None:
                    raise DeviceError(
                        f"[{node.op.name}] {type!r} on {self.device.name!r}: {reason}", node.line
                    )

    def _check_memory(self) -> None:
        sizes = self.memory()
        needed, there = sizes["arena"] + sizes["outputs"], self.device.memory()[0]
        if needed > there:
            raise OutOfMemory(
                f"this program needs {needed / 1e6:.0f} MB besides its inputs on {self.device.name!r}, "
                f"{there / 1e6:.0f} MB are there; the largest values are: {self.build.largest()}"
            )

    def memory(self) -> dict[str, int]:
        infos = self.build.fused.buffers
        return {
            "inputs": sum([info.nbytes for info in infos if info.source == "input"]),
            "outputs": sum([info.nbytes for info in infos if info.source == "output"]),
            "arena": self.build.arena_nbytes,
            "kept": 0,
        }

    def explain(self) -> str:
        return self.build.explain()

    def summary(self) -> str:
        return self.build.summary()

    def sources(self) -> list[tuple[str, str]]:
        return [(kernel.label, kernel.text) for kernel in self.build.kernels]

    def tune(self) -> list[Tuned]:
        """Measure the libraries' kernels that can run in several ways, and choose for programs to come."""
        rows: list[Tuned] = []
        done: set[int] = set()
        for step in self.build.steps:
            if not isinstance(step, LaunchStep) or step.kernel in done:
                continue
            done.add(step.kernel)
            ready = self.kernels[step.kernel]
            if hasattr(ready, "tune"):
                sizes = [nbytes for _, nbytes in step.operands]
                buffers = [
                    DeviceBuffer(self.device, self.device.reserve(nbytes), 0, nbytes) for nbytes in sizes
                ]
                for buffer in buffers:
                    self.device.fill_zeros(buffer)
                rows.append(ready.tune(buffers))
        return rows

    def works(self) -> list[recording.Work | None]:
        """What the rows of a recorded run are (see `compiler.recording`)."""
        return [
            recording.work_of(self.order, f"{len(self.build.steps)} steps on {self.device.name}", "program")
        ]

    # -- running

    def run(self, leaves: Sequence[Leaf], reuse: Sequence[Any], poll: bool = True) -> list[Any]:
        recorder = recording.local.recorder
        if recorder is None:
            return self.run_on(leaves, reuse, None)
        with recorder.run(self, self, time.monotonic_ns) as run:
            found = self.run_on(leaves, reuse, None)
            self.device.synchronize()
            run.whole(time.monotonic_ns())
        return found

    def run_on(
        self, leaves: Sequence[Leaf], reuse: Sequence[Any], status: DeviceBuffer | None
    ) -> list[DeviceBuffer]:
        """Run, reporting faults in a status word of somebody else's; None: look at them here."""
        with self.device.lock:
            try:
                context = self._free.pop()
            except IndexError:
                context = _Context(self)
            try:
                return self._run(context, leaves, reuse, status)
            except OutOfMemory as error:
                raise OutOfMemory(
                    f"{error.message}; the largest values of the program are: {self.build.largest()}"
                ) from None
            finally:
                self._free.append(context)

    def _run(
        self, context: _Context, leaves: Sequence[Leaf], reuse: Sequence[Any], status: DeviceBuffer | None
    ) -> list[DeviceBuffer]:
        build, device = self.build, self.device
        given = self._given(context, leaves)
        made: list[DeviceBuffer | None] = []
        for node, (own, _, _), old in zip(self.outputs, self._outputs, reuse, strict=True):
            if old is not None:
                old.contents = None
            made.append((old if old is not None else device.allocate(node.type)) if own else None)
        word = status or context.status
        if build.fails and status is None:
            device.fill_zeros(word)
        spaces: dict[str, Any] = {"leaf": given, "output": made, "status": [word]}

        def at(where: Where, nbytes: int) -> DeviceBuffer:
            space, index = where
            return context.part(index, nbytes) if space == "arena" else spaces[space][index]

        checked = not build.fails or status is not None
        for first, last in self._stretches:
            if first == build.commit and not checked:
                checked = True
                self._check(word, leaves)
            try:
                interrupts.deliver()
            except BaseException as interrupt:
                if first <= build.commit:
                    raise
                # Something has been stored: the rest follows, then it is raised.
                for number in range(first, len(build.steps)):
                    self._step(build.steps[number], at, word, leaves)
                raise Committed(self._results(made, given), interrupt) from None
            if last - first > 1:
                self._stretch(context, first, last, at)
            else:
                self._step(build.steps[first], at, word, leaves)
        if not checked:
            self._check(word, leaves)
        return self._results(made, given)

    def _stretch(self, context: _Context, first: int, last: int, at: Any) -> None:
        """Launches that follow each other: as one piece of work, if they have come with the same memory
        before.
        """
        launches = []
        for step in self.build.steps[first:last]:
            assert isinstance(step, LaunchStep)
            launches.append(
                (self.kernels[step.kernel], [at(where, nbytes) for where, nbytes in step.operands])
            )
        plans = context.plans.setdefault(first, {})
        # By addresses, which are this run's own: whose memory they were before is no matter.
        key = tuple([self.device.address(buffer) for _, buffers in launches for buffer in buffers])
        plan = plans.get(key)
        if plan is None and key in plans:
            plan = plans[key] = self.device.plan(launches)
        elif plan is None:
            if len(plans) >= MOST_PLANS:
                del plans[next(iter(plans))]
            plans[key] = None
        if plan is not None:
            plan()
            return
        for kernel, buffers in launches:
            self.device.launch(kernel, buffers)

    def _step(self, step: Any, at: Any, word: DeviceBuffer, leaves: Sequence[Leaf]) -> None:
        if isinstance(step, LaunchStep):
            self.device.launch(
                self.kernels[step.kernel], [at(where, nbytes) for where, nbytes in step.operands]
            )
        elif step.node.op.of_graphs:
            found = [self._buffer(seen, at) for seen in step.inputs]
            self.graphs[step.node].run(
                found, [at(seen.where, nbytes_of(seen.type)) for seen in step.outputs], word
            )
        else:
            self._on_host(step, at)

    def _given(self, context: _Context, leaves: Sequence[Leaf]) -> list[DeviceBuffer | None]:
        """What leaves are bound to, on the device: numbers go there together."""
        found: list[DeviceBuffer | None] = []
        numbers = False
        for i, (leaf, type) in enumerate(zip(leaves, self.build.leaves, strict=False)):
            if isinstance(leaf, DeviceBuffer) and leaf.device is self.device:
                found.append(leaf)
            elif type is None:
                found.append(None)
            elif isinstance(leaf, Buffer):
                # Of the host: what is fed, and constants.
                found.append(self.device.copy_in(leaf.view(type), type))
            elif nbytes_of(type) > SCALAR_NBYTES:
                found.append(self.device.copy_in(np.asarray(leaf, type.dtype.numpy), type))
            else:
                start, nbytes = SCALAR_NBYTES * i, nbytes_of(type)
                piece = context.staged[start : start + nbytes].view(type.dtype.numpy).reshape(type.shape)
                piece[...] = leaf
                found.append(context.scalars.part(start, nbytes))
                numbers = True
        if numbers and context.staged.tobytes() != context.sent:
            self.device.write(context.scalars, context.staged)
            context.sent = context.staged.tobytes()
        return found

    def _results(
        self, made: Sequence[DeviceBuffer | None], given: Sequence[DeviceBuffer | None]
    ) -> list[DeviceBuffer]:
        results = []
        for i, (own, source, index) in enumerate(self._outputs):
            buffer = made[i] if own else given[index] if source == "input" else made[index]
            assert buffer is not None
            results.append(buffer)
        return results

    def _buffer(self, seen: Seen, at: Any) -> DeviceBuffer:
        """A value that a graph is given, contiguous."""
        nbytes = nbytes_of(seen.type)
        whole = at(seen.where, self._reach(seen))
        return whole.part(seen.offset * seen.type.dtype.itemsize, nbytes) if seen.offset else whole

    def _reach(self, seen: Seen) -> int:
        """The bytes of a buffer up to the end of what is seen of it."""
        if seen.strides is None:
            return nbytes_of(seen.type)
        most = sum([max(0, s) * (int(n) - 1) for s, n in zip(seen.strides, seen.type.shape, strict=True)])
        return (seen.offset + most + 1) * seen.type.dtype.itemsize

    def _on_host(self, step: NodeStep, at: Any) -> None:
        """Run a node's reference on copies."""
        arrays = [self._array(seen, at) for seen in step.inputs]
        results = apply(step.node, arrays)
        results = results if isinstance(results, tuple) else (results,)
        for seen, value in zip(step.outputs, results, strict=True):
            if nbytes_of(seen.type):
                self.device.write(
                    at(seen.where, nbytes_of(seen.type)), np.ascontiguousarray(value, seen.type.dtype.numpy)
                )

    def _array(self, seen: Seen, at: Any) -> np.ndarray:
        """A value on the host."""
        type, item = seen.type, seen.type.dtype.itemsize
        if not nbytes_of(type):
            return np.empty(type.shape, type.dtype.numpy)
        if seen.strides is None:
            return at(seen.where, nbytes_of(type)).view(type)
        nbytes = self._reach(seen)
        raw = np.empty(nbytes, np.uint8)
        self.device.read(at(seen.where, nbytes), raw)
        strides = tuple([stride * item for stride in seen.strides])
        return np.ndarray(type.shape, type.dtype.numpy, raw, seen.offset * item, strides)

    def _check(self, word: DeviceBuffer, leaves: Sequence[Leaf]) -> None:
        """Raise what kernels have reported."""
        code = np.zeros(1, np.int32)
        self.device.read(word, code)
        if code[0]:
            self._raise_fault(leaves)

    def _raise_fault(self, leaves: Sequence[Leaf]) -> NoReturn:
        """A kernel met an index out of range: the references say which, and where it was asked for."""
        ReferenceExecutable(self.outputs).run(leaves, [])
        raise AssertionError("a kernel reported a fault that the references do not find")
