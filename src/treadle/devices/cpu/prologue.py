"""What of a section is computed once and kept: the calls, and the steps that only prepare operands, which
depend on lasting leaves alone.

Their results lie in a block that outlives the run; what only they read is in the arena. Decides which, and in
which order; where the block is, and when it is out of date, is for others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from treadle.compiler.lasting import lasting_calls
from treadle.compiler.memory import ALIGNMENT
from treadle.compiler.program import Call, Fused, LibraryCall
from treadle.devices.cpu.native import Lowered, Step

Key = int | tuple[str, int, int]
"""A buffer of the section, or ("temp", call, i)."""


class Unit(NamedTuple):
    """Steps of one call that are done before all that changes from run to run."""

    call: int
    steps: tuple[Step, ...]
    buffers: frozenset[int]
    """What they read and write."""
    whole: bool = False
    """Whether these are all steps of the call."""


class Prologue(NamedTuple):
    """See the module's docstring."""

    units: tuple[Unit, ...]
    leaves: tuple[int, ...]
    """The leaves that what is kept depends on."""
    kept: dict[Key, int]
    """Where in the block each value is."""
    nbytes: int
    rest: tuple[tuple[Step, ...] | None, ...]
    """For every call the steps that are left to do in each run; None where these are all of them."""


def prologue(
    fused: Fused,
    calls: Sequence[Call],
    lowered: Sequence[object],
    leaves: Collection[int],
    can_fail: Sequence[bool],
) -> Prologue | None:
    """What to keep of a section's calls as they are lowered; None if there is nothing."""

    def usable(i: int) -> bool:
        return isinstance(lowered[i], Lowered) and not can_fail[i]

    whole, lasting = lasting_calls(fused, calls, leaves, usable)
    written: dict[int, int] = {}
    for i, call in enumerate(calls):
        if whole[i]:
            written.update(dict.fromkeys(call.writes, i))
    units: list[Unit] = []
    rest: list[tuple[Step, ...] | None] = [None] * len(calls)
    waiting: list[tuple[set[int], Unit]] = []
    kept_temporaries: list[tuple[Key, int]] = []

    def release(done: int) -> None:
        for unit in [unit for needs, unit in waiting if max(needs, default=-1) <= done]:
            units.append(unit)
        waiting[:] = [(needs, unit) for needs, unit in waiting if max(needs, default=-1) > done]

    for i, call in enumerate(calls):
        found = lowered[i]
        if whole[i] or not isinstance(found, Lowered) or not isinstance(call, LibraryCall):
            continue
        steps, spoiled = [], set()
        for number, step in enumerate(found.steps[: found.prepared]):
            if _reads(call, step) <= lasting and spoiled.isdisjoint(step.operands):
                steps.append(number)
            else:
                spoiled.update(operand for operand in step.operands if operand[0] == "temp")
        if steps:
            early = tuple([found.steps[number] for number in steps])
            rest[i] = tuple([step for number, step in enumerate(found.steps) if number not in steps])
            reads = frozenset().union(*[_reads(call, step) for step in early])
            waiting.append(({written[b] for b in reads if b in written}, Unit(i, early, reads)))
            temporaries = {t for step in early for kind, t in step.operands if kind == "temp"}
            kept_temporaries += [(("temp", i, t), found.temporaries[t]) for t in sorted(temporaries)]
    release(-1)
    for i, call in enumerate(calls):
        found = lowered[i]
        if whole[i] and isinstance(found, Lowered):
            units.append(Unit(i, found.steps, frozenset((*call.reads, *call.writes)), True))
            rest[i] = ()
            release(i)
    if not units:
        return None
    used = {b for i, call in enumerate(calls) if not whole[i] for b in _still_read(call, rest[i])}
    kept: dict[Key, int] = {}
    nbytes = 0
    wanted = [(b, fused.buffers[b].nbytes) for b in sorted(written) if b in used]
    for key, size in (*wanted, *kept_temporaries):
        kept[key] = nbytes
        nbytes += -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    touched = [fused.buffers[b] for unit in units for b in unit.buffers]
    needed = {info.index for info in touched if info.source == "input"}
    return Prologue(tuple(units), tuple(sorted(needed)), kept, nbytes, tuple(rest))


def _reads(call: LibraryCall, step: Step) -> frozenset[int]:
    """The buffers of a call that one of its steps reads or writes."""
    found = set()
    for kind, i in step.operands:
        if kind == "in":
            inputs = len(call.inputs)
            found.add(call.inputs[i].buffer if i < inputs else call.extra_buffers[i - inputs])
        elif kind != "temp":
            found.add(-1)  # Nothing that lasts.
    return frozenset(found)


def _still_read(call: Call, rest: tuple[Step, ...] | None) -> Collection[int]:
    """The buffers that a call touches in every run."""
    if rest is None or not isinstance(call, LibraryCall):
        return call.reads
    return frozenset().union(*[_reads(call, step) for step in rest])
