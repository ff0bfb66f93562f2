"""What the three doors of define-then-run share: a static graph, run many times on what is fed and what
variables hold then.

Every run first runs what the thread has pending, reads every variable at its value at that moment, and
commits the updates together at the end. Variables are read and written in the order in which they are stored,
which the first door that trains them chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from treadle import config, evaluate, interrupts, packing, state
from treadle.array import Array, borrowed
from treadle.compiler.executable import Committed, Executable, Leaf
from treadle.compiler.storage import storage_orders
from treadle.devices import registry
from treadle.devices.buffer import Buffer
from treadle.devices.reference import fail_at_its_line
from treadle.errors import FeedError, Line, StateError, TreadleError, user_line
from treadle.graph.dimension import Dimension, Size
from treadle.graph.graph import late, ordered, rewrite, with_sizes
from treadle.graph.node import STATIC, WEAK, Node, Op, Type, bits, new, pin
from treadle.ops.record import DATA, INPUT, SCALAR, register
from treadle.state import Cell, Version

PLACEHOLDER = register(
    Op(
        "placeholder",
        infer=lambda name, shape, dtype: Type(shape, dtype),
        reference=None,
        attributes=("name", "shape", "dtype"),
        leaf=True,
        doc="A value to be fed.",
    )
)
KEY_MASK = 0xFFFFFFFF


def placeholder(name: str, shape: tuple[Size, ...], dtype: Any) -> Node:
    """A value to be fed."""
    return new(PLACEHOLDER, (), (name, shape, dtype), Type(shape, dtype), STATIC)


def _given(node: Node) -> bool:
    return node.op.leaf and node.op.reference is None


class Door:
    """Outputs and updates of a static graph, compiled once for each combination of fed sizes; with `debug`
    run node by node by the references.
    """

    def __init__(
        self, outputs: Sequence[Node], updates: Sequence[tuple[Cell, Node]] = (), debug: bool = False
    ):
        self.debug = debug
        nodes = _late([*outputs, *[value for _, value in updates]])
        self.outputs = nodes[: len(outputs)]
        self.updates = dict(zip([cell for cell, _ in updates], nodes[len(outputs) :], strict=True))
        self.order = ordered([*self.outputs, *self.updates.values()], stop=_given)
        for node in self.order:
            if node.op is state.UPDATE:
                self._add_update(node)
        self._add_kept()
        self.outputs = [_updated(node) for node in self.outputs]
        self.targets = list(dict.fromkeys([*self.outputs, *self.updates.values()]))
        self.leaves = [node for node in self.order if _given(node)]
        self.placeholders = [node for node in self.leaves if node.op is PLACEHOLDER]
        self.cells = list(dict.fromkeys([*filter(None, map(state.cell_of, self.leaves)), *self.updates]))
        """What it reads and updates."""
        self._check_versions()
        self.plans: dict[Any, Plan] = {}

    def _add_update(self, node: Node) -> None:
        cell = node.binding
        if cell in self.updates and self.updates[cell] is not node.inputs[0]:
            raise StateError(
                f"{cell.name} is updated twice in one run, the second time at {node.line}", node.line
            )
        self.updates[cell] = node.inputs[0]

    def _add_kept(self) -> None:
        """Let the statistics that the graph moves on be updates: of one variable, in the order in which they
        were asked for, each starting from what the one before gives.
        """
        kept = {node.binding.number: node for node in self.order if node.op is state.KEEP}
        for number in sorted(kept):
            binding, value = kept[number].binding, kept[number].inputs[1]
            earlier = self.updates.get(binding.cell)
            if earlier is not None:
                (value,) = rewrite(
                    [value], lambda node, _, b=binding, e=earlier: e if node is b.before else None
                )
            self.updates[binding.cell] = value
        if kept:
            self.order = ordered([*self.outputs, *self.updates.values()], stop=_given)

    def _check_versions(self) -> None:
        """A run gives a variable one value: a graph that read two versions of it does not say which."""
        seen: dict[Cell, Node] = {}
        for node in self.leaves:
            if isinstance(node.binding, Version):
                other = seen.setdefault(node.binding.cell, node)
                if other.binding.epoch != node.binding.epoch:
                    raise StateError(
                        f"one graph reads two versions of {node.binding.cell.name}, at {other.line} and at "
                        f"{node.line}, with an "
                        f"assignment between them: a run gives it one value; build the graph without "
                        f"assigning in between",
                        node.line,
                    )

    def sizes_of(self, feeds: Mapping[Node, Any]) -> dict[str, int]:
        """The numbers that the fed arrays put in for symbolic sizes."""
        sizes: dict[str, int] = {}
        for node, type in feeds.items():
            for wanted, given in zip(node.shape, type.shape, strict=True):
                if isinstance(wanted, Dimension):
                    name = wanted.symbols[0]
                    if sizes.setdefault(name, given) != given:
                        raise FeedError(
                            f"the size {name!r} is {sizes[name]} in one placeholder and {given} in "
                            f"{node.attributes[0]!r}"
                        )
        return sizes

    def plan(self, feeds: Mapping[Node, Type]) -> Plan:
        """The program for fed types."""
        key = (tuple([feeds[node] for node in self.placeholders]), config.options_key())
        found = self.plans.get(key)
        if found is None or not found.fits():
            if len(self.plans) >= 64:
                self.plans.pop(next(iter(self.plans)))
            found = self.plans[key] = Plan(self, feeds)
        return found

    def check_feeds(self, feeds: Mapping[Node, Any]) -> None:
        """Every placeholder the outputs need must be fed."""
        for node in self.placeholders:
            if node not in feeds:
                raise FeedError(
                    f"the placeholder {node.attributes[0]!r}, {node.type!r}, made at {node.line}, is not fed"
                )

    def run(self, feeds: Mapping[Node, tuple[Type, Leaf]], number: int) -> list[Node]:
        """Run once on fed buffers; the outputs as nodes whose values are there. `number` says which run it is
        of those that draw random numbers one after the other.
        """
        if self.debug and not config.options.debug:
            with config.configured(debug=True):
                return self.run(feeds, number)
        if state.pending.trace is not None:
            raise StateError(
                "a session or function runs inside a compiled function: it would run once, while tracing; "
                "call what it computes "
                "instead, or run it outside"
            )
        try:
            types = tuple([feeds[node][0] for node in self.placeholders])
        except KeyError:
            self.check_feeds(feeds)
            raise
        if state.pending.versions:
            evaluate.run_pending()
        line = user_line()
        done = None
        while done is None:
            plan = self.plans.get((types, config.options_key()))
            if plan is None or not plan.fits():
                plan = self.plan(dict(zip(self.placeholders, types, strict=True)))
            with interrupts.Held() if self.updates else _NOTHING:
                done = self._run_locked(plan, feeds, number, line)
        made, interrupt = done
        if interrupt is not None:
            raise interrupt
        types = plan.types
        return [evaluate.data(made[node], types[node], node.device, line=line) for node in self.outputs]

    def _run_locked(
        self, plan: Plan, feeds: Any, number: int, line: Line | None
    ) -> tuple[dict[Any, Any], BaseException | None] | None:
        """What the plan makes, and an interrupt that came after the commit. None if another thread has chosen
        how a variable is stored since the plan was made.
        """
        # A variable is locked while its memory is looked up: another thread's program may be writing it.
        # Always in one order, and those that are written for the whole run.
        locked: list[Any] = []
        try:
            for lock in plan.locks:
                lock.acquire()
                locked.append(lock)
            if not plan.fits():
                return None
            leaves = plan.fixed.copy()
            for i, cell in plan.read:
                version = cell.current
                buffer = version.buffer if version.layout is cell.layout else packing.pack(cell)
                leaves[i] = state.raise_failure(version) if buffer is None else buffer
            version = buffer = None
            for i, node in plan.fed:
                leaves[i] = feeds[node][1]
            for i, (high, low) in plan.keys:
                # A random key: every run draws anew.
                leaves[i] = high, (low + number) & KEY_MASK
            if not self.updates:
                while locked:
                    locked.pop().release()
            reuse = _free_to_overwrite(plan.donors)
            interrupt = None
            try:
                buffers = plan.executable.run(leaves, reuse)
            except Committed as late:
                buffers, interrupt = late.buffers, late.interrupt
            except TreadleError as failure:
                fail_at_its_line(failure, plan.targets, leaves)
            made = dict(zip(plan.made, buffers, strict=True))
            for cell, value in self.updates.items():
                layout = plan.layouts[cell]
                buffer = made[value if layout is None else cell]
                buffer = registry.placed(buffer, cell.type, cell.device)
                before = state.replace(cell, buffer, line, layout)
                if before is not None:
                    evaluate.end_history(before)
            return made, interrupt
        finally:
            while locked:
                locked.pop().release()


_NOTHING = nullcontext()


def _updated(node: Node) -> Node:
    """What an update stores; any other node itself."""
    while node.op is state.UPDATE:
        node = node.inputs[0]
    return node


class Plan:
    """A door's program for one combination of sizes, and what its leaves are bound to."""

    def __init__(self, door: Door, feeds: Mapping[Node, Type]):
        choose_layouts(door)
        self._fitted = state.layouts_chosen
        self.layouts = {cell: cell.layout for cell in door.cells}
        """How variables were stored when this was made."""
        sizes = door.sizes_of({node: feeds[node] for node in door.placeholders})
        self.bindings: list[Any] = []
        inputs: dict[Any, Node] = {}
        leaves: dict[Node, Node] = {}
        for leaf in door.leaves:
            binding = _binding(leaf)
            if binding not in inputs:
                type = feeds[leaf] if leaf.op is PLACEHOLDER else leaf.type
                layout = self.layouts[binding] if isinstance(binding, Cell) else None
                copy = new(INPUT, (), (len(self.bindings),), packing.stored(type, layout))
                copy.line, copy.scope, copy.device, copy.role = leaf.line, leaf.scope, leaf.device, leaf.role
                copy.binding = evaluate.leaf_name(leaf, layout)
                self.bindings.append(binding)
                inputs[binding] = packing.seen(copy, layout)
            leaves[leaf] = inputs[binding]
        concrete = dict(zip(door.targets, with_sizes(door.targets, sizes, leaves), strict=True))
        self.types = {target: node.type for target, node in concrete.items()}
        stored = [cell if self.layouts[cell] else value for cell, value in door.updates.items()]
        self.made: list[Node | Cell] = list(dict.fromkeys([*door.outputs, *stored]))
        """What a run makes: targets, and the next values of variables in the orders they are stored in."""
        targets = [
            packing.laid(concrete[door.updates[one]], self.layouts[one])
            if isinstance(one, Cell)
            else concrete[one]
            for one in self.made
        ]
        self.targets = targets
        self.fixed: list[Leaf] = []
        """The leaves of every run, None where the following say what they are bound to."""
        self.read: list[tuple[int, Cell]] = []
        self.fed: list[tuple[int, Node]] = []
        self.keys: list[tuple[int, tuple[int, int]]] = []
        for i, binding in enumerate(self.bindings):
            if isinstance(binding, Cell):
                self.read.append((i, binding))
            elif isinstance(binding, Node) and binding.op is PLACEHOLDER:
                self.fed.append((i, binding))
            elif isinstance(binding, Node) and isinstance(binding.binding, tuple):
                self.keys.append((i, binding.binding))
            moves = isinstance(binding, Cell) or (isinstance(binding, Node) and binding.op is PLACEHOLDER)
            value = binding.value if isinstance(binding, _Number) else binding
            self.fixed.append(None if moves else value.binding if isinstance(value, Node) else value)
        place = {binding: i for i, binding in enumerate(self.bindings)}
        cell_of_value = {value: cell for cell, value in door.updates.items() if self.layouts[cell] is None}
        wanted = [place.get(one if isinstance(one, Cell) else cell_of_value.get(one)) for one in self.made]
        # What a run neither is fed, nor draws, nor writes.
        lasting = frozenset(
            i
            for i, binding in enumerate(self.bindings)
            if isinstance(binding, (Buffer, _Number))
            or (isinstance(binding, Cell) and binding not in door.updates)
        )
        structure = evaluate.structure_of(targets, lambda node: False, lambda node: node.op is INPUT)
        order = tuple([leaf.attributes[0] for leaf in structure.leaves])
        devices = tuple([target.device for target in targets])
        options = *config.options_key(), structure.lines()
        key = (*structure.key, order, tuple(wanted), lasting, devices, *options)
        self.executable: Executable = evaluate.programs.get(
            key,
            lambda: registry.compile_graph(targets, wanted, lasting),
            lambda: evaluate.programs.explain_miss(key),
        )
        self.donors: list[Cell | None] = [
            None if leaf is None else self.bindings[leaf] for leaf in self.executable.donations
        ]
        cells = {cell for _, cell in self.read}
        self.locks = [cell.lock for cell in sorted(cells.union(door.updates), key=id)]

    def fits(self) -> bool:
        """Whether the variables are stored as they were when this was made."""
        chosen = state.layouts_chosen
        if self._fitted != chosen:
            if any(cell.layout is not layout for cell, layout in self.layouts.items()):
                return False
            self._fitted = chosen
        return True


def choose_layouts(door: Door) -> None:
    """Let a door's variables be stored as its kernels want them, where that was not chosen before."""
    if any(cell.layout is None for cell in door.updates):
        found = storage_orders(
            door.order,
            door.updates,
            state.cell_of,
            lambda node: registry.find(node.device).weights_order(node),
            lambda cell: cell.layout,
        )
        for cell, layout in found.items():
            cell.choose(layout)


def _late(nodes: list[Node]) -> list[Node]:
    """A graph that reads late. What it keeps of the graph it came from is pinned: computing it elsewhere does
    not make it a constant.
    """
    nodes = late(nodes)
    pin(nodes)
    return nodes


class _Number(NamedTuple):
    """What a Python number in a graph stands for; equal ones are one leaf."""

    bits: Any
    type: Type
    value: Any


def _binding(leaf: Node) -> Any:
    """What a leaf stands for: equal for leaves that get the same value in every run."""
    cell = state.cell_of(leaf)
    if cell is not None:
        return cell
    if leaf.op is SCALAR:
        return _Number(bits(leaf.binding), leaf.type, leaf.binding)
    if leaf.op is DATA:
        return leaf.buffer
    return leaf


def _free_to_overwrite(cells: Sequence[Cell | None]) -> list[Buffer | None]:
    """Of each variable the buffer, if nothing but its current version and one leaf of the run holds it."""
    free: list[Buffer | None] = []
    for cell in cells:
        buffer = None
        if cell is not None:
            version = cell.current
            buffer = version.buffer
            node = None if version.read_node is None else version.read_node()
            # Held by the version, by `leaves` and by the name above; one less in a version of Python that
            # counts no names.
            if (
                (node is not None and (node.buffer is None) is (version.layout is not None))
                or evaluate.holders(buffer) > evaluate.HELD_BY_THREE
                or buffer.held_by_views()
            ):
                buffer = None
        free.append(buffer)
    return free


def feed_buffer(node: Node, value: Any) -> tuple[Type, Leaf]:
    """A fed value checked against its placeholder.

    Raises:
        FeedError: its shape or dtype does not fit.
    """
    if node.flags & WEAK and type(value) is float:
        return node.type, value
    if not isinstance(value, Array):
        value = borrowed(value, node.dtype)
    given = value.node
    buffer: Any = given.buffer
    if given.type is node.type and buffer is not None:
        return given.type, buffer
    name = node.attributes[0]
    if given.flags & STATIC:
        raise FeedError(f"[feed] the value for {name!r} depends on a placeholder itself")
    if given.dtype is not node.dtype:
        raise FeedError(
            f"[feed] {name!r} takes {node.type!r}, made at {node.line}; it was fed {given.type!r}: convert "
            f"it with astype"
        )
    fits = len(given.shape) == len(node.shape) and all(
        isinstance(wanted, Dimension) or wanted == size
        for wanted, size in zip(node.shape, given.shape, strict=True)
    )
    if not fits:
        raise FeedError(
            f"[feed] {name!r} takes {node.type!r}, made at {node.line}; it was fed {given.type!r}"
        )
    evaluate.evaluate([given])
    buffer = given.buffer
    return given.type, buffer
