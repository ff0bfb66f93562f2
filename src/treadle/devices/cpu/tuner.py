"""Measures the schedules of a program's products and convolutions, each call by itself, with all threads.

Operands are memory of the calls' sizes, filled with ones. What is found goes into the table of `tuning`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from treadle.compiler.program import LibraryCall
from treadle.devices.cpu import compilation, tuning
from treadle.devices.cpu.lowering import lower_call
from treadle.devices.cpu.native import LoadedKernel, Lowered
from treadle.devices.cpu.runner import Entry, Table
from treadle.devices.cpu.section import Section
from treadle.devices.cpu.target import Isa
from treadle.devices.host import HostBuffer, allocate
from treadle.devices.tuned import Tuned
from treadle.dtypes import float32
from treadle.graph.node import Type

ROUNDS = 9
"""Times each schedule is run, in turn with the others; the least counts, which others disturb the least."""
LEAST_GAIN = 0.97
"""A schedule must take so much of the first one's time or less to be preferred."""


def tune(section: Section, isa: Isa) -> list[Tuned]:
    """Measure the calls of a section, those in loops and branches too, and keep what is best."""
    rows: list[Tuned] = []
    done: set[str] = set()
    chosen: dict[str, str] = {}
    for where, call in _calls(section):
        with tuning.asking({}) as problems:
            lower_call(call, isa)
        for problem, schedules in problems.items():
            if problem in done or len(schedules) < 2:
                continue
            done.add(problem)
            times = _times(where, call, problem, schedules, isa)
            if not times:
                continue
            best = min(times, key=times.__getitem__)
            if times[best] > LEAST_GAIN * times[schedules[0]]:
                best = schedules[0]
            chosen[problem] = best
            rows.append(Tuned(_label(call, isa), times[schedules[0]] * 1e3, times[best] * 1e3, len(times)))
    tuning.choose(chosen, isa)
    return rows


def _calls(section: Section) -> Iterator[tuple[Section, LibraryCall]]:
    for call, lowered in zip(section.calls, section.lowered, strict=True):
        if isinstance(lowered, Lowered):
            if isinstance(call, LibraryCall):
                yield section, call
        elif lowered is not None:
            for inner in lowered.sections.values():
                yield from _calls(inner)


def _label(call: LibraryCall, isa: Isa) -> str:
    lowered = lower_call(call, isa)
    assert lowered is not None
    return max(lowered.steps, key=lambda step: step.kernel.flops).kernel.label


def _times(
    section: Section, call: LibraryCall, problem: str, schedules: list[str], isa: Isa
) -> dict[str, float]:
    """Seconds of the call with each schedule of a problem."""
    lowered = {}
    for schedule in schedules:
        with tuning.asking({problem: schedule}):
            found = lower_call(call, isa)
        if found is not None and found.steps:
            lowered[schedule] = found
    kernels = [step.kernel for found in lowered.values() for step in found.steps]
    loaded = iter(compilation.load_many(kernels, isa))
    memory = _Memory(section, call)
    tables = {
        schedule: memory.table(found, [next(loaded) for _ in found.steps])
        for schedule, found in lowered.items()
    }
    times: dict[str, list[float]] = {schedule: [] for schedule in tables}
    for _ in range(ROUNDS):
        for schedule, (table, bases) in tables.items():
            began = time.perf_counter()
            table.run(bases)
            times[schedule].append(time.perf_counter() - began)
    return {schedule: min(found) for schedule, found in times.items()}


class _Memory:
    """Memory for the operands of a call."""

    def __init__(self, section: Section, call: LibraryCall):
        self.section, self.call = section, call
        self.held: dict[object, HostBuffer] = {}

    def of(self, key: object, nbytes: int) -> int:
        """The address of an operand's memory."""
        held = self.held.get(key)
        if held is None or held.nbytes < nbytes:
            held = self.held[key] = allocate(max(64, -(-nbytes // 4) * 4))
            held.writable(Type((held.nbytes // 4,), float32)).fill(1.0)
        return held.address

    def place(self, found: Lowered, operand: tuple[str, int]) -> int:
        """The address of an operand of a lowered call."""
        kind, i = operand
        call, buffers = self.call, self.section.fused.buffers
        if kind == "temp":
            return self.of(operand, found.temporaries[i])
        if kind == "status":
            return self.of("status", 64)
        if kind == "out":
            return self.of(operand, buffers[call.outputs[i]].nbytes)
        if i >= len(call.inputs):
            return self.of(operand, buffers[call.extra_buffers[i - len(call.inputs)]].nbytes)
        view = call.inputs[i]
        itemsize = buffers[view.buffer].type.dtype.itemsize
        return self.of(("buffer", view.buffer), buffers[view.buffer].nbytes) + view.offset * itemsize

    def table(self, found: Lowered, loaded: list[LoadedKernel]) -> tuple[Table, list[int]]:
        """A table that runs the call's kernels, and what its slots stand for."""
        bases: list[int] = []
        entries = []
        for step, kernel in zip(found.steps, loaded, strict=True):
            places = []
            for operand in step.operands:
                places.append((len(bases), 0))
                bases.append(self.place(found, operand))
            entries.append(Entry(kernel, tuple(places)))
        return Table(entries), bases
