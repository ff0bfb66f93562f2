"""What the programs of a thread did while somebody looks: which kernels ran, when, and for how long.

Devices write it, profiles read it. Nothing is written unless a block `recorded` asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.errors import Place, StateError

if TYPE_CHECKING:
    from treadle.graph.node import Node


class Work(NamedTuple):
    """What a kernel, or a step on the host, is: a row of a profile."""

    label: str
    kind: str
    """The op, or "elementwise", "reduction", "movement" for a loop kernel, "references"."""
    tasks: int
    flops: int
    nbytes: int
    lines: tuple[Place, ...]
    """The users' lines that asked for it, the most important one first."""
    scope: tuple[str, ...]
    role: str
    loops: int = 0
    """In how many loops and branches it is."""
    itemsize: int = 4
    """The bytes of one of its values."""


EVENTS_MOST = 1 << 18
"""How many events a recorder keeps: of a long program the first."""


class Time(NamedTuple):
    """How often something ran, for how long, and how much CPU time its threads took, all of them together.
    `alone` is whether one thread did it.
    """

    count: int
    total_ns: int
    busy_ns: int
    alone: bool


@dataclass
class Run:
    """One run of a program. `times` are by row; `events` are (row, began, ended) in order, of a long run the
    first ones; `native_ns` is the time in native code, `between_ns` what of it was
    no kernel's; `inner_ns` is that of programs which ran inside of it,
    each a run of its own.
    """

    key: Hashable
    source: Any
    """What `works` is asked of: an object with a method of that name."""
    began_ns: int = 0
    ended_ns: int = 0
    native_ns: int = 0
    between_ns: int = 0
    inner_ns: int = 0
    times: list[Time] = field(default_factory=list)
    events: list[tuple[int, int, int]] = field(default_factory=list)

    def whole(self, now_ns: int) -> None:
        """Let all of it so far be one row."""
        self.times = [Time(1, now_ns - self.began_ns, now_ns - self.began_ns, True)]
        self.events = [(0, self.began_ns, now_ns)]


class Recorder:
    """The runs of a thread, in the order in which they ended, and the time that compiling took."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.compiling_ns = 0
        self.room = EVENTS_MOST
        """How many more events are kept."""
        self.inner_ns = 0
        """Of the runs that ended inside of the one under way."""

    @contextmanager
    def run(self, key: Hashable, source: Any, clock: Any) -> Iterator[Run]:
        """A block that is one run."""
        run, outer = Run(key, source), self.inner_ns
        self.inner_ns = 0
        run.began_ns = clock()
        try:
            yield run
        finally:
            run.ended_ns = clock()
            run.inner_ns, self.inner_ns = self.inner_ns, outer + run.ended_ns - run.began_ns
            self.runs.append(run)


class _Local(threading.local):
    recorder: Recorder | None = None


local = _Local()
"""Of this thread, whoever looks."""


@contextmanager
def recorded() -> Iterator[Recorder]:
    """A block in which the programs of this thread say what they do.

    Raises:
        StateError: inside such a block.
    """
    if local.recorder is not None:
        raise StateError("[profile] is called by what is being profiled: profile the inner or the outer one")
    local.recorder = Recorder()
    try:
        yield local.recorder
    finally:
        local.recorder = None


def work_of(
    nodes: Sequence[Node],
    label: str,
    kind: str,
    tasks: int = 1,
    flops: int = 0,
    nbytes: int = 0,
    loops: int = 0,
) -> Work:
    """What is known of nodes that one kernel computes, the most important one first."""
    first = next((node for node in nodes if node.scope), nodes[0] if nodes else None)
    return Work(
        label,
        kind,
        tasks,
        flops,
        nbytes,
        tuple(dict.fromkeys(_lines(nodes))),
        first.scope if first is not None else (),
        first.role if first is not None else "",
        loops,
        first.types[0].dtype.itemsize if first is not None and first.types else 4,
    )


def by_references(order: Sequence[Node]) -> Work:
    """A graph that its references compute, node by node."""
    made = [node for node in reversed(order) if node.inputs]
    names = list(dict.fromkeys(node.op.name for node in made))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return work_of(made, f"{len(made)} nodes by references: {', '.join(names[:3])}{more}", "references")


def _lines(nodes: Iterable[Node]) -> Iterator[Place]:
    for node in nodes:
        if node.line is not None:
            yield node.line
