"""Variables' memory: cells that outlive graphs, their versions, and the assignments a thread has pending.

Reading a cell makes a node `read` of one version; assigning makes the next version, pending until `evaluate`
runs it. What runs, and when, is not decided here.
"""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from treadle.dtypes import float32
from treadle.errors import Line, StateError, TreadleError, user_line
from treadle.graph.node import (
    LOCATED,
    MAPPED,
    STATIC,
    TRACKED,
    Node,
    Op,
    Type,
    located,
    make,
    make_static,
    new,
    surrounded,
    surroundings,
)
from treadle.ops.record import register

READ = register(
    Op(
        "read",
        infer=lambda *value: value[0] if value else Type((), float32),
        reference=None,
        leaf=True,
        doc="The value of a variable at one version.",
    )
)
UPDATE = register(
    Op(
        "update",
        lambda value: value,
        lambda value: value,
        lambda g, y, value: (g,),
        identity=True,
        effect=True,
        doc="The value, which becomes the variable's when a door runs the graph.",
    )
)

KEEP = register(
    Op(
        "keep",
        lambda x, value: x,
        lambda x, value: x,
        lambda g, y, x, value: (g, None),
        identity=True,
        effect=True,
        doc="x; a door that computes it also gives a variable the value.",
    )
)

mode_changes = 0
"""Another number whenever some module's mode has changed: until then nobody need look at modes again."""
_changes = itertools.count(1)


def note_mode_change() -> None:
    """Say that a module's mode is another now."""
    global mode_changes
    mode_changes = next(_changes)


layouts_chosen = 0
"""How many cells have been given a layout: until it changes nobody need look at layouts again."""

Layout = tuple[int, ...] | None
"""The order in which dimensions lie in memory; None: that of the shape."""

_names = itertools.count()
_kept_in_order = itertools.count()


class Version:
    """One value of a cell: `buffer` once there, in the order `layout`; `value` (a node) while pending;
    `failure` if it never came to be.
    """

    __slots__ = (
        "_prune_at",
        "base",
        "buffer",
        "cell",
        "dependents",
        "epoch",
        "failure",
        "late_node",
        "layout",
        "line",
        "number",
        "read_node",
        "value",
    )

    def __init__(
        self,
        cell: Cell,
        number: int,
        buffer: Any = None,
        value: Node | None = None,
        line: Line | None = None,
        layout: Layout = None,
    ):
        self.cell = cell
        self.number = number
        self.buffer = buffer
        self.layout = layout
        self.value = value
        self.base = (pending.versions.get(cell) or cell.current) if value is not None else None
        """The version that this one replaces: what the assigning code saw."""
        self.epoch = 0 if self.base is None else self.base.epoch + 1
        """How many assignments came before; updates by a door's run do not count, since static graphs read
        late.
        """
        self.failure: BaseException | None = None
        self.line: Line | None = line or user_line()
        self.read_node: weakref.ref[Node] | None = None
        self.late_node: weakref.ref[Node] | None = None
        self.dependents: list[weakref.ref[Node]] = []
        """Computed nodes that keep their history until this version is replaced."""
        self._prune_at = 64

    def keeps(self, node: Node) -> None:
        """Note a computed node that keeps its history until this version is replaced."""
        if len(self.dependents) >= self._prune_at:
            self.dependents = [reference for reference in self.dependents if reference() is not None]
            self._prune_at = max(64, 2 * len(self.dependents))
        self.dependents.append(weakref.ref(node))


class Cell:
    """A named place for a value of one type on one device.

    Programs of doors store it in the order `layout`, once that has been chosen; a version that comes from
    elsewhere is in the order of the shape until one of them reads it.
    """

    __slots__ = (
        "__weakref__",
        "current",
        "device",
        "gradient",
        "layout",
        "lock",
        "name",
        "trainable",
        "type",
    )

    def __init__(
        self,
        name: str | None,
        type: Type,
        device: str,
        buffer: Any,
        trainable: bool = True,
        layout: Layout = None,
    ):
        self.name = name or f"variable{next(_names)}"
        self.type = type
        self.device = device
        self.trainable = trainable
        self.layout = layout or None
        self.gradient: Any = None
        self.lock = threading.RLock()
        self.current = Version(self, 0, buffer, layout=self.layout)

    def __repr__(self) -> str:
        return f"{self.name} {self.type!r}"

    def choose(self, layout: tuple[int, ...]) -> None:
        """Store it in that order from now on, if no order was chosen before."""
        global layouts_chosen
        with self.lock:
            if self.layout is None:
                self.layout = layout
                layouts_chosen += 1


class Pending(threading.local):
    """The assignments this thread has made and not run, in order, and the open `assignments()` groups."""

    def __init__(self) -> None:
        self.versions: dict[Cell, Version] = {}
        self.groups: list[dict[Cell, Version]] = []
        self.trace: Any = None


pending = Pending()


class Trace:
    """What a function being traced has read and assigned. Like a version outside, a read after an assignment
    is a node of its own, so that gradients by the variable stop there; `finished` takes these reads out.
    """

    def __init__(self) -> None:
        self.reads: dict[Cell, Node] = {}
        self.updates: dict[Cell, Version] = {}
        self.modes: dict[Any, bool] = {}
        """The modules whose mode the function looked at, and what it was."""
        self.computed: dict[Any, Any] = {}
        """The modules that the function called, and the dtypes in which they compute."""
        self.gradients: dict[Any, Any] = {}
        """What every place of a gradient that the function touched held before."""

    def read(self, cell: Cell) -> Node:
        """The value that the traced code sees."""
        if cell not in self.reads:
            self.reads[cell] = late_read(cell)
        return self.reads[cell]

    def assign(self, version: Version) -> None:
        """Let what is traced from now on see a new value."""
        cell = version.cell
        assert version.value is not None
        self.updates[cell] = version
        node = self.reads[cell] = new(READ, (version.value,), (), cell.type, STATIC | _of_read(cell))
        node.binding = version
        node.device = cell.device


@contextmanager
def tracing() -> Iterator[Trace]:
    """A block in which a function is traced: all nodes made in it are static, and assignments go to the
    trace.
    """
    trace = Trace()
    groups, pending.groups = pending.groups, []
    pending.trace = trace
    try:
        with surrounded(flags=STATIC, tracking=True, inside=(*surroundings.inside, trace)):
            yield trace
    finally:
        pending.trace = None
        pending.groups = groups
        for place, gradient in trace.gradients.items():
            place.gradient = gradient


def _of_read(cell: Cell) -> int:
    """The flags of a node that reads the cell."""
    return TRACKED | located(cell.type, cell.device)


def late_read(cell: Cell) -> Node:
    """A read bound to whatever version is current when a door runs."""
    node = new(READ, (), (), cell.type, STATIC | _of_read(cell))
    node.binding = cell
    node.device = cell.device
    return node


def read(cell: Cell) -> Node:
    """The read node of the version that the running code sees: one node a version."""
    trace: Trace | None = pending.trace
    if trace is not None:
        return trace.read(cell)
    with cell.lock:
        return _read_version(cell, pending.versions.get(cell) or cell.current)


def _read_version(cell: Cell, version: Version) -> Node:
    node = version.read_node() if version.read_node is not None else None
    if node is None:
        node = new(READ, () if version.value is None else (version.value,), (), cell.type, _of_read(cell))
        node.binding = version
        node.device = cell.device
        node.buffer = version.buffer if version.layout is None else None
        version.read_node = weakref.ref(node)
    return node


def late_twin(node: Node) -> Node:
    """The read of a version as a static graph takes it: of the same version, but without holding
    its memory.
    """
    version = node.binding
    if not isinstance(version, Version):
        return node
    twin = version.late_node() if version.late_node is not None else None
    if twin is None:
        twin = new(READ, (), (), node.type, node.flags & (TRACKED | LOCATED))
        twin.binding, twin.line, twin.device = version, node.line, node.device
        version.late_node = weakref.ref(twin)
    return twin


READ.late = late_twin


def cell_of(node: Node) -> Cell | None:
    """The variable a read node reads."""
    if node.op is not READ:
        return None
    return node.binding.cell if isinstance(node.binding, Version) else node.binding


def is_static(values: Iterable[Node]) -> bool:
    """Whether values can be stored only when a door runs: one depends on a placeholder, and no function is
    traced.
    """
    return pending.trace is None and any(value.flags & STATIC for value in values)


def check_assignable(cell: Cell, value: Node) -> None:
    """Refuse what cannot become the cell's value."""
    if value.type is not cell.type:
        raise StateError(
            f"[assign] {cell.name} is {cell.type!r}, the value is {value.type!r}: shape and dtype of a "
            f"variable do not change"
        )
    body = surroundings.body
    if body is not None:
        raise StateError(
            f"[assign] {cell.name} is assigned inside a function that {body.name} runs, perhaps many times "
            f"or not at all: return the value (from a loop, in its carry), and assign it outside"
        )
    if value.flags & MAPPED:
        raise StateError(
            f"[assign] the value for {cell.name} is that of one example: td.vmap calls its function once for "
            f"all of them; return the value, and assign what is made of all examples (a module that keeps "
            f"statistics: put it in eval mode)"
        )


def assign(cell: Cell, value: Node, run_pending: Callable[[], None]) -> None:
    """Make the value the cell's next version, pending. `run_pending` runs what is pending, if the cell is
    among it.
    """
    check_assignable(cell, value)
    trace: Trace | None = pending.trace
    if trace is None and value.flags & STATIC:
        raise StateError(
            f"[assign] the value for {cell.name} depends on a placeholder, so it is not known here: "
            f"pass td.update({cell.name}, value) among the fetches, or updates= of td.function"
        )
    if pending.groups:
        _join(pending.groups[-1], Version(cell, 0, value=value))
        return
    if trace is not None:
        trace.assign(Version(cell, 0, value=value))
        return
    if cell in pending.versions:
        run_pending()
    pending.versions[cell] = Version(cell, cell.current.number + 1, value=value)


def _join(group: dict[Cell, Version], version: Version) -> None:
    """Add an assignment to a group."""
    other = group.setdefault(version.cell, version)
    if other is not version:
        raise StateError(
            f"[assign] {version.cell.name} is assigned twice in one group of assignments, first at "
            f"{other.line}: the variables of "
            f"a group keep their values until its end, so the first would be lost",
            version.line,
        )


@contextmanager
def assignments(run_pending: Callable[[], None]) -> Iterator[None]:
    """A group of assignments: all of them or none. Reads inside see the values from before."""
    group: dict[Cell, Version] = {}
    pending.groups.append(group)
    try:
        yield
    finally:
        pending.groups.pop()
    if pending.groups:
        for version in group.values():
            _join(pending.groups[-1], version)
        return
    if pending.trace is not None:
        for version in group.values():
            pending.trace.assign(version)
        return
    if any(cell in pending.versions for cell in group):
        run_pending()
    for cell, version in group.items():
        version.number = cell.current.number + 1
    pending.versions.update(group)


def replace(cell: Cell, buffer: Any, line: Line | None, layout: Layout) -> Version | None:
    """Give a cell a new current version, from a door's run at `line`; returns the one before, unless nobody
    knew it: it is then the new one itself. The caller holds the cell's lock.
    """
    before = cell.current
    if sys.getrefcount(before) <= _KNOWN_TO_CELL:
        before.number += 1
        before.buffer, before.layout, before.line = buffer, layout, line or user_line()
        before.read_node = before.late_node = None
        if before.dependents:
            before.dependents = []
        return None
    cell.current = Version(cell, before.number + 1, buffer, line=line, layout=layout)
    cell.current.epoch = before.epoch
    if not is_read(before):
        before.buffer = None
    return before


def is_read(version: Version) -> bool:
    """Whether somebody who read a version needs the version's memory. A read's node has it itself, but where
    it is in another order: then it is looked up in the version.
    """
    node = version.read_node() if version.read_node is not None else None
    return version.layout is not None and node is not None and node.buffer is None


def _calibrate() -> int:
    """How many references `replace` sees of a version that its cell alone knows."""
    cell = Cell.__new__(Cell)
    cell.current = object()  # type: ignore[assignment]

    def count(cell: Cell) -> int:
        before = cell.current
        return sys.getrefcount(before)

    return count(cell)


_KNOWN_TO_CELL = _calibrate()


def discard(versions: dict[Cell, Version], failure: BaseException) -> None:
    """Drop pending assignments whose program failed: arrays that read them will say so."""
    for version in versions.values():
        version.failure = failure
        version.value = None
        node = version.read_node() if version.read_node is not None else None
        if node is not None and node.buffer is None:
            node.inputs = ()


def commit(versions: dict[Cell, Version]) -> None:
    """Make pending versions, whose buffers are there, current. The caller holds the cells' locks and has
    checked the bases.
    """
    for cell, version in versions.items():
        version.value = version.base = None
        if not is_read(cell.current):
            cell.current.buffer = None
        cell.current = version
        node = version.read_node() if version.read_node is not None else None
        if node is not None:
            node.buffer = version.buffer
            node.inputs = ()


def check_bases(versions: dict[Cell, Version]) -> None:
    """Refuse to commit over a version that another thread has replaced."""
    for cell, version in versions.items():
        if version.base is not cell.current:
            raise StateError(
                f"{cell.name} was given another value at {cell.current.line}, by another thread or a run "
                f"of a static graph, after "
                f"this assignment of it was made: the assignment is dropped",
                version.line,
            )


def raise_failure(version: Version) -> NoReturn:
    """The error for reading a version that never came to be, or that is gone."""
    cause = version.failure
    if cause is None and version is version.cell.current:
        raise StateError(f"{version.cell.name} has no value yet: load one, or assign it")
    if cause is None:
        raise StateError(
            f"version {version.number} of {version.cell.name} was replaced by the assignment at "
            f"{version.cell.current.line}"
        )
    raise StateError(
        f"the assignment of {version.cell.name} did not happen: the program that computed it failed with "
        f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}",
        version.line,
    ) from (cause if isinstance(cause, TreadleError) else None)


class Kept:
    """What a `keep` node is bound to: the variable, the read that stands for its value before, and a number
    that says which of several comes first.
    """

    __slots__ = ("before", "cell", "number")

    def __init__(self, cell: Cell, before: Node):
        self.cell = cell
        self.before = before
        self.number = next(_kept_in_order)


def keep(cell: Cell, x: Node, next_value: Callable[[Node], Node]) -> Node:
    """x, whose computation also moves a statistic on: `next_value` gives the cell's next value from the one
    before.

    Several in one program chain: the second starts from what the first gives. In define-by-run and in a
    traced function this is an assignment; in a static graph whoever runs a door that computes the node
    performs it, once.
    """
    trace: Trace | None = pending.trace
    if trace is None and x.flags & STATIC:
        before = late_read(cell)
        value = next_value(before)
        check_assignable(cell, value)
        node = make(KEEP, (x, value))
        node.binding = Kept(cell, before)
        return node
    value = next_value(read(cell))
    check_assignable(cell, value)
    if trace is not None:
        trace.assign(Version(cell, 0, value=value))
        return x
    earlier = pending.versions.get(cell)
    version = Version(cell, cell.current.number + 1, value=value)
    if earlier is not None:
        # The one before never becomes current: what replaces it replaces what it would have replaced.
        version.base, version.epoch = earlier.base, earlier.epoch
    pending.versions[cell] = version
    return x


def update(cell: Cell, value: Node) -> Node:
    """A node that stores the value into the cell when a door computes it."""
    check_assignable(cell, value)
    node = make(UPDATE, (value,))
    make_static(node)
    node.binding = cell
    node.role = "update"
    return node
