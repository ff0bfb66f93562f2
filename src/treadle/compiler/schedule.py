"""The order of calls: as the graph was walked, which keeps values short-lived, but stores into variables
last, or at least after all that can fail.

A donated output takes the memory of the leaf it replaces. That is decided here: every other reader of the
leaf must come before the store, and nothing that can fail may come after the first of them.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from treadle.compiler.epilogue import IN_PLACE
from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Access, Affine, Operand, Stage, Store
from treadle.compiler.lower import in_place_pairs
from treadle.compiler.program import Call, Fused, LibraryCall
from treadle.ops.control import COND

LITTLE_NBYTES = 1024
"""What a call may take more than it frees to run as soon as it can: the few numbers that updates wait for."""
MUCH_LESS = 0.9
"""A lower peak of memory for which stores come before what could be computed first. From the first store on a
run is not interrupted any more, so it is not done for nothing.
"""


@dataclass
class Schedule:
    """Calls in order; those from `commit` on store into donated memory, or need what was stored there.
    `donations[i]` is the leaf whose buffer output i may take.
    """

    calls: list[Call]
    commit: int
    donations: list[int | None]


def schedule(fused: Fused, donors: Sequence[int | None], can_fail: Callable[[Call], bool]) -> Schedule:
    """Order the calls of a program and settle which donations are possible."""
    calls = fused.calls
    needs = _needs(calls)
    writers: dict[int, list[int]] = {}
    for i, call in enumerate(calls):
        for buffer in call.writes:
            writers.setdefault(buffer, []).append(i)
    readers: dict[int, list[int]] = {}
    for i, call in enumerate(calls):
        for buffer in set(call.reads):
            readers.setdefault(buffer, []).append(i)
    leaf_buffer = {info.index: b for b, info in enumerate(fused.buffers) if info.source == "input"}
    donations: list[int | None] = [None] * len(donors)
    late: set[int] = set()
    # What must come before each late call, besides what it needs: the readers of the memory it overwrites.
    taken: set[int] = set()
    order = _later(needs, late, {})
    before: dict[int, set[int]] = {}
    for output, leaf in enumerate(donors):
        if leaf is None or leaf not in leaf_buffer:
            continue
        new, old = fused.outputs[output], leaf_buffer[leaf]
        call = writers.get(new, [-1])[0]
        if (
            len(writers.get(new, ())) != 1
            or old in taken
            or fused.buffers[new].source != "output"
            or fused.buffers[new].type is not fused.buffers[old].type
        ):
            continue
        if fused.outputs.count(new) > 1 or old in fused.outputs:
            continue
        over = old in calls[call].reads
        if over and not _in_place(calls[call], new, old):
            continue
        wanted = {**before, call: before.get(call, set()) | {r for r in readers.get(old, []) if r != call}}
        trial = _later(needs, late | {call}, wanted)
        if trial is None or any(can_fail(calls[i]) for i in trial[1]):
            continue
        if over and isinstance(writer := calls[call], LibraryCall):
            if writer.node.op is COND:
                writer.donors[writer.outputs.index(new)] = _input_of(writer, old)
            else:
                writer.in_place = True
        late.add(call)
        before, order = wanted, trial
        donations[output] = leaf
        taken.add(old)
    assert order is not None
    early, last = order
    made = [*_short_lived(fused, needs, early, last), *last]
    # Stores as soon as nothing can fail any more, before the rest: what they read is then let go earlier.
    failing = {i for i in early if can_fail(calls[i])}
    waiting = [n | before.get(i, set()) | (failing if i in late else set()) for i, n in enumerate(needs)]
    sooner = _short_lived(fused, waiting, [*early, *last], [])
    if _peak(fused, sooner) < MUCH_LESS * _peak(fused, made):
        made = sooner
    commit = next((p for p, i in enumerate(made) if i in late), len(made))
    return Schedule([calls[i] for i in made], commit, donations)


def _peak(fused: Fused, order: Sequence[int]) -> int:
    """The most bytes of temporary values that are alive together."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, i in enumerate(order):
        for buffer in (*fused.calls[i].reads, *fused.calls[i].writes):
            if fused.buffers[buffer].source == "temporary":
                first.setdefault(buffer, step)
                last[buffer] = step
    change = [0] * (len(order) + 1)
    for buffer, step in first.items():
        change[step] += fused.buffers[buffer].nbytes
        change[last[buffer] + 1] -= fused.buffers[buffer].nbytes
    return max(itertools.accumulate(change))


def _in_place(call: Call, new: int, old: int) -> bool:
    """Whether the call may write `new` into the memory of `old`, which it reads."""
    if isinstance(call, LibraryCall) and call.node.op is COND:
        return _passes_through(call, call.outputs.index(new), old)
    if isinstance(call, LibraryCall):
        operands, found = (*call.extra_buffers, *call.outputs), _epilogue_pairs(call)
        if any(view.buffer == old for view in call.inputs):
            return False
    else:
        operands, found = call.buffers, call.kernel.in_place
    pairs = {(operands[w], operands[r]) for w, r in found}
    return (new, old) in pairs and operands.count(old) == 1


def _passes_through(call: LibraryCall, result: int, old: int) -> bool:
    """Whether one way of a branch leaves the value in a buffer as it is, as a result: where both are one
    memory there is nothing to do. What the other way does is settled where it is compiled.
    """
    if [view.buffer for view in call.inputs].count(old) != 1:
        return False
    number = _input_of(call, old)
    view, type = call.inputs[number], call.node.inputs[number].type
    strides = [s for s, n in zip(view.strides, view.shape, strict=True) if n != 1]
    if view.offset or strides != [
        s for s, n in zip(row_major(type.shape), type.shape, strict=True) if n != 1
    ]:
        return False
    ways = [call.node.attribute(name) for name in ("true", "false")]
    return number > 0 and any(way.outputs[result] is way.parameters[number - 1] for way in ways)


def _input_of(call: LibraryCall, buffer: int) -> int:
    """Which of a call's inputs is in a buffer."""
    return [view.buffer for view in call.inputs].index(buffer)


def _epilogue_pairs(call: LibraryCall) -> tuple[tuple[int, int], ...]:
    """Of a library call's extra operands, the results coming after them: the pairs (result, read) that may be
    one memory.
    """
    if call.node.op.name not in IN_PLACE or not call.epilogue:
        return ()
    sizes: tuple[int, ...] = call.node.shape  # type: ignore[assignment]
    made = call.strides or row_major(sizes)
    strides = [stride if size != 1 else 0 for stride, size in zip(made, sizes, strict=True)]
    place, size = Affine(0, tuple(strides)), math.prod(sizes)
    results = [Operand(call.epilogue[value].dtype, size, written=True) for value in call.stores]
    stores = tuple([Store(Access(i, place), value) for i, value in enumerate(call.stores, len(call.extra))])
    return in_place_pairs((*call.extra, *results), [Stage("row", call.epilogue, stores=stores)])


def _needs(calls: Sequence[Call]) -> list[set[int]]:
    """For every call, the earlier ones that write what it touches: a buffer may be written in parts."""
    writers: dict[int, list[int]] = {}
    needs: list[set[int]] = []
    for i, call in enumerate(calls):
        needs.append({w for buffer in (*call.reads, *call.writes) for w in writers.get(buffer, ())})
        for buffer in call.writes:
            writers.setdefault(buffer, []).append(i)
    return needs


def _later(
    needs: Sequence[set[int]], late: set[int], before: dict[int, set[int]]
) -> tuple[list[int], list[int]] | None:
    """The calls, early ones first: late ones and what needs them come after, each after those in `before`.
    None if that is impossible: two stores that each need what the other overwrites.
    """
    is_late = [False] * len(needs)
    for i in range(len(needs)):
        is_late[i] = i in late or any(is_late[n] for n in needs[i])
    early = [i for i in range(len(needs)) if not is_late[i]]
    waiting = [i for i in range(len(needs)) if is_late[i]]
    last: list[int] = []
    done = set(early)
    while waiting:
        ready = next((i for i in waiting if needs[i] <= done and before.get(i, set()) <= done), None)
        if ready is None:
            return None
        waiting.remove(ready)
        last.append(ready)
        done.add(ready)
    return early, last


def _short_lived(fused: Fused, needs: Sequence[set[int]], early: list[int], last: list[int]) -> list[int]:
    """The early calls in an order that keeps little alive: whatever frees at least as much as it takes runs
    as soon as it can, such as the gradient of a weight, which ends the life of a cotangent; the rest keeps
    its order.
    """
    calls = fused.calls
    nbytes = [info.nbytes if info.source == "temporary" else 0 for info in fused.buffers]
    reads = {i: set(calls[i].reads) for i in (*early, *last)}
    readers: dict[int, int] = {}
    for i in (*early, *last):
        for buffer in reads[i]:
            readers[buffer] = readers.get(buffer, 0) + 1
    waiting = {i: set(needs[i]) for i in early}
    after: dict[int, list[int]] = {}
    for i in early:
        for n in needs[i]:
            after.setdefault(n, []).append(i)
    place = {i: p for p, i in enumerate(early)}
    ready = sorted((i for i in early if not waiting[i]), key=place.__getitem__)
    order: list[int] = []

    def grows(i: int) -> int:
        taken = sum(nbytes[b] for b in calls[i].writes)
        return taken - sum(nbytes[b] for b in reads[i] if readers[b] == 1)

    while ready:
        i = next((i for i in ready if grows(i) <= LITTLE_NBYTES), ready[0])
        ready.remove(i)
        order.append(i)
        for buffer in reads[i]:
            readers[buffer] -= 1
        for follower in after.get(i, ()):
            waiting[follower].discard(i)
            if not waiting[follower]:
                bisect.insort(ready, follower, key=place.__getitem__)
    return order
