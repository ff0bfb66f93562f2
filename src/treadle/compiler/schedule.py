"""The order of calls: as the graph was walked, which keeps values short-lived, but stores into variables
last, or at least after all that can fail.

A donated output takes the memory of the leaf it replaces. That is decided here: every other reader of the
leaf must come before the store, and nothing that can fail may come after the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from treadle.compiler.epilogue import IN_PLACE
from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Access, Affine, Operand, Stage, Store
from treadle.compiler.lower import in_place_pairs
from treadle.compiler.order import Lifetimes, short_lived
from treadle.compiler.program import Call, Fused, LibraryCall
from treadle.ops.control import COND

SAVING = 0.9
"""Stores come early if the peak is then below so much of what it is otherwise: a run that has begun to store
completes before it heeds an interrupt.
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
    stores = _Stores(needs, can_fail, calls)
    taken: set[int] = set()
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
        if not stores.add(call, [r for r in readers.get(old, []) if r != call]):
            continue
        if over and isinstance(writer := calls[call], LibraryCall):
            if writer.node.op is COND:
                writer.donors[writer.outputs.index(new)] = _input_of(writer, old)
            else:
                writer.in_place = True
        donations[output] = leaf
        taken.add(old)
    order = _ordered(fused, stores)
    commit = next((place for place, i in enumerate(order) if i in stores.before), len(order))
    return Schedule([calls[i] for i in order], commit, donations)


class _Stores:
    """The calls that store into donated memory, and what they wait for."""

    def __init__(self, needs: Sequence[set[int]], can_fail: Callable[[Call], bool], calls: Sequence[Call]):
        self.needs = needs
        self.failing = {i for i, call in enumerate(calls) if can_fail(call)}
        self.before: dict[int, set[int]] = {}
        """By store, the readers of the memory it overwrites."""
        self._followers: dict[int, set[int]] = {}
        """By call, those that need what it writes."""
        self._held: dict[int, set[int]] = {}
        """By call, the stores that wait for it to read."""
        for i, before in enumerate(needs):
            for n in before:
                self._followers.setdefault(n, set()).add(i)

    def add(self, store: int, readers: Sequence[int]) -> bool:
        """Let a call store when `readers` have read. False where that is impossible: they come after it, or
        something after it can fail.
        """
        if self.failing & self._reached(store, (self._followers,)):
            return False
        if self._reached(store, (self._followers, self._held)) & set(readers):
            return False
        self.before.setdefault(store, set()).update(readers)
        for reader in readers:
            self._held.setdefault(reader, set()).add(store)
        return True

    def late(self) -> set[int]:
        """The stores and what needs them."""
        return {i for store in self.before for i in self._reached(store, (self._followers,))}

    def _reached(self, call: int, edges: Sequence[dict[int, set[int]]]) -> set[int]:
        """A call and all that come after it."""
        found, stack = {call}, [call]
        while stack:
            i = stack.pop()
            for follower in (f for edge in edges for f in edge.get(i, ()) if f not in found):
                found.add(follower)
                stack.append(follower)
        return found


def _ordered(fused: Fused, stores: _Stores) -> list[int]:
    """Stores last, so that a run can be interrupted until then; but among the rest, once nothing can fail any
    more, where that saves memory.
    """
    lifetimes, count = Lifetimes(fused), len(fused.calls)
    late = stores.late()
    needs = [stores.needs[i] | stores.before.get(i, set()) for i in range(count)]
    # What only stores need, and is larger than what it is made of, waits until just before: the gradient of
    # a weight with more elements than the activations.
    delayed = set(late)
    followers: dict[int, list[int]] = {}
    for i, before in enumerate(stores.needs):
        for n in before:
            followers.setdefault(n, []).append(i)
    for i in reversed(range(count)):
        after = followers.get(i)
        if after and i not in stores.failing and delayed.issuperset(after) and lifetimes.grown(i) > 0:
            delayed.add(i)
    early = [i for i in range(count) if i not in delayed]
    last = short_lived(lifetimes, needs, [early, sorted(delayed)])
    if not stores.before:
        return last
    for store in stores.before:
        needs[store] = needs[store] | (stores.failing - {store})
    among = short_lived(lifetimes, needs, [range(count)])
    return among if lifetimes.peak(among) < SAVING * lifetimes.peak(last) else last


def _in_place(call: Call, new: int, old: int) -> bool:
    """Whether the call may write `new` into the memory of `old`, which it reads."""
    if isinstance(call, LibraryCall) and call.node.op is COND:
        return _passes_through(call, call.outputs.index(new), old)
    if isinstance(call, LibraryCall) and call.node.op.name not in IN_PLACE:
        return False
    return (new, old) in overwritten(call)


def overwritten(call: Call) -> list[tuple[int, int]]:
    """Pairs of buffers, one that a call writes and one that it reads, which may be one memory if the call's
    kernels read each element of an epilogue's operand just before they store what replaces it.
    """
    if isinstance(call, LibraryCall):
        operands, found = (*call.extra_buffers, *call.outputs), _epilogue_pairs(call)
        elsewhere = [view.buffer for view in call.inputs]
    else:
        operands, found, elsewhere = call.buffers, call.kernel.in_place, []
    pairs = [(operands[w], operands[r]) for w, r in found]
    return [(new, old) for new, old in pairs if operands.count(old) == 1 and old not in elsewhere]


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
    if not call.epilogue:
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
