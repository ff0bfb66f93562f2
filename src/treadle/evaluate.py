"""From a pending graph to values: structure to program, program to run, run to committed variables.

Demanding any value also runs every pending assignment of the thread in the same program. Nothing here knows
of arrays as users hold them, nor of any particular device.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from treadle import config, interrupts, packing, state
from treadle.compiler import recording
from treadle.compiler.executable import Committed, Executable, Leaf
from treadle.devices import registry
from treadle.devices.buffer import Buffer
from treadle.devices.host import allocate
from treadle.devices.reference import compute, fail_at_its_line, leaf_array
from treadle.dtypes import float32
from treadle.errors import Place, PlaceholderError, TreadleError
from treadle.graph.closed import graphs_of
from treadle.graph.graph import ordered, rebuild
from treadle.graph.node import (
    MAPPED,
    PINNED,
    STATIC,
    TRACKED,
    Node,
    Type,
    Types,
    bits,
    located,
    new,
    surroundings,
)
from treadle.ops.record import DATA, INPUT, SCALAR, held_results
from treadle.program_cache import programs
from treadle.state import READ, Cell, Layout, Version, pending

# -- leaves: what a program is given


def data(
    buffer: Any, type: Type, device: str | None = None, tracked: bool = False, line: Place | None = None
) -> Node:
    """A node whose value is there."""
    node = new(DATA, (), (), type, line=line)
    node.buffer = buffer
    if device is not None:
        node.device = device
    node.flags = located(type, node.device) | (TRACKED if tracked else 0)
    return node


def _stops(node: Node) -> bool:
    return node.buffer is not None or (node.op.leaf and not node.inputs)


def _is_given(node: Node) -> bool:
    """Whether a node of a walked graph is an input of the program, not something to compute."""
    return node.buffer is not None or (node.op.leaf and node.op.reference is None and not node.inputs)


def leaf_value(node: Node) -> Leaf:
    """What a given node is bound to."""
    if node.buffer is not None:
        return node.buffer
    binding = node.binding
    if isinstance(binding, Version):
        if binding.buffer is None:
            state.raise_failure(binding)
        return binding.buffer
    if binding is None:
        raise TreadleError(f"{node.op.name} {node.type!r} has no value", node.line)
    return binding


# -- structure


@dataclass
class Structure:
    """A graph apart from what its leaves are bound to: `key` is equal for graphs that one program serves."""

    key: tuple[Any, ...]
    order: list[Node]
    index: dict[Node, int]
    leaves: list[Node]
    packed: dict[Node, tuple[Layout, Any]]
    """Of leaves whose memory is in another order, that order and the memory."""

    def lines(self) -> tuple[Any, ...]:
        """The users' lines of the nodes, where programs are told apart by them."""
        return tuple([node.line for node in self.order]) if config.options.numerics else ()


def structure_of(
    outputs: Sequence[Node], stop: Callable[[Node], bool], given: Callable[[Node], bool], extra: Any = ()
) -> Structure:
    """The structure of the graph below `outputs`. A pending read counts as the value it will have."""
    order = ordered(outputs, stop)
    index: dict[Node, int] = {}
    leaves: list[Node] = []
    packed: dict[Node, tuple[Layout, Any]] = {}
    key: list[Any] = [extra]
    for position, node in enumerate(order):
        if given(node):
            index[node] = position
            leaves.append(node)
            held = packing.held(node) if node.op is READ else None
            if held is not None:
                packed[node] = held
            key.append(node.type if held is None else (node.type, held[0]))
        elif node.op is READ:
            index[node] = index[node.inputs[0]]
            key.append(None)
        else:
            index[node] = position
            attributes = node.attributes
            key.append(
                (node.op, bits(attributes) if attributes else (), *[index[child] for child in node.inputs])
            )
    key.append(tuple([index[output] for output in outputs]))
    return Structure(tuple(key), order, index, leaves, packed)


def detached(structure: Structure, outputs: Sequence[Node]) -> list[Node]:
    """A copy of the graph whose leaves are `input` nodes, so that a cached program holds no buffer and no
    user's array.
    """
    copies: dict[Node, Node] = {}
    for i, leaf in enumerate(structure.leaves):
        layout, _ = structure.packed.get(leaf, (None, None))
        copy = new(INPUT, (), (i,), packing.stored(leaf.type, layout))
        copy.line, copy.scope, copy.device, copy.role = leaf.line, leaf.scope, leaf.device, leaf.role
        copy.binding = leaf_name(leaf, layout)
        copies[leaf] = packing.seen(copy, layout)
    for node in structure.order:
        if node in copies:
            continue
        if node.op is READ:
            copies[node] = copies[node.inputs[0]]
        else:
            copies[node] = rebuild(node, tuple(copies[child] for child in node.inputs))
            copies[node].flags = 0
            # A user's gradient rule is nothing to a program, and would be kept alive by it.
            copies[node].binding = None
    return [copies[output] for output in outputs]


def leaf_name(leaf: Node, layout: Layout = None) -> str:
    """What a person calls a leaf: a variable's or placeholder's name, or what kind it is."""
    cell = state.cell_of(leaf)
    if cell is not None:
        return cell.name if layout is None else f"{cell.name} stored as {list(layout)}"
    return leaf.attributes[0] if leaf.op.name == "placeholder" else leaf.op.name


# -- demanding values


def small(order: Sequence[Node]) -> bool:
    """Whether a graph is below what is worth compiling: few element operations, decided by the
    graph alone.
    """
    if len(order) > config.SMALL_NODES:
        return False
    work = 0
    for node in order:
        if node.op is READ:
            return False
        size = sum(_elements(type) for type in node.types)
        if node.op.of_graphs:
            # As often as it runs; how often a loop without a bound does is not known.
            steps = node.attribute("length") if "length" in node.op.attributes else 1
            inside = [inner for closed in graphs_of(node) for inner in closed.order]
            if steps is None or steps * len(inside) > config.SMALL_NODES or not small(inside):
                return False
            size += steps * sum(_elements(type) for inner in inside for type in inner.types)
        # A product or convolution takes a long sum for every element.
        depth = (
            max((max(child.type.shape, default=1) for child in node.inputs), default=1)
            if node.op.name in _DEEP
            else 1
        )
        work += size * depth
    return work <= config.SMALL_ELEMENTS


def _elements(type: Type) -> int:
    count = 1
    for n in type.shape:
        count *= n
    return count


_DEEP = ("matmul", "conv", "conv_input_gradient", "conv_weight_gradient")


def _check_static(nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.flags & (STATIC | MAPPED):
            raise PlaceholderError(f"the value of {node.op.name} {node.type!r} {_why_static(node)}")


def _why_static(node: Node) -> str:
    if node.flags & MAPPED:
        if not surroundings.mapped:
            return (
                "is that of one example, made while td.vmap called its function: it has no value outside; "
                "return it from the function"
            )
        return (
            "is not known while td.vmap calls its function, once for all examples: choose with td.where, or "
            "return it and look at it outside"
        )
    if surroundings.body is not None:
        return (
            f"is not known while {surroundings.body.name} calls its function, once, to see what it does: "
            f"choose with td.cond or td.where, or return it"
        )
    if pending.trace is not None:
        return (
            "is not known while a compiled function is traced: return it, choose with td.where, or "
            "compute it outside and pass "
            "it as an argument"
        )
    for found in ordered([node]):
        if found.body is not None and found.op is INPUT:
            return (
                f"was made inside a function that {found.body.name} called, at {found.body.line}: it has no "
                f"value outside; return it from the function"
            )
        if found.op.name == "placeholder":
            return (
                f"depends on the placeholder {found.attributes[0]!r}, made at {found.line}: run it with "
                f"td.Session().run(fetches, feed_dict) or td.function"
            )
        if found.op is state.UPDATE:
            return (
                f"depends on the update of {found.binding.name}, made at {found.line}, which only a "
                f"session or function performs: "
                f"run it with td.Session().run(fetches), or use assign"
            )
    return (
        "was made while a compiled function was traced: it has no value outside; return it from the function"
    )


def run_pending() -> None:
    """Run the thread's pending assignments, if there are any."""
    if pending.versions:
        evaluate([])


def evaluate(nodes: Sequence[Node]) -> None:
    """Fill the buffers of nodes; everything pending in this thread runs along, in the same program.

    Raises:
        PlaceholderError: a node depends on a placeholder.
        StateError: a node reads a variable's version that never came to be, or another thread has replaced
            one.
    """
    unpack(nodes)
    targets = [node for node in nodes if node.buffer is None]
    if nodes and not targets:
        return
    _check_static(targets)
    versions = pending.versions
    if not targets and not versions:
        return
    try:
        # Taken away: a finaliser that demands a value while this runs must not run them a second time.
        pending.versions = {}
        _run(targets, versions)
    except BaseException as failure:
        state.discard({c: v for c, v in versions.items() if v is not c.current}, failure)
        raise


def unpack(nodes: Iterable[Node]) -> None:
    """Give those that read a version in another order their values in that of the shape."""
    for node in nodes:
        if packing.is_packed(node):
            packing.unpack(node)


def _run(targets: list[Node], versions: dict[Cell, Version]) -> None:
    values = [version.value for version in versions.values() if version.value is not None]
    unpack(values)
    outputs = list(dict.fromkeys([*targets, *values]))
    structure = structure_of(outputs, _stops, _is_given)
    beside = _results_beside(structure)
    if beside:
        outputs += beside
        structure = structure_of(outputs, _stops, _is_given)
    if not versions and small(structure.order) and not config.options.numerics:
        recorder = recording.local.recorder
        if recorder is None:
            _run_small(outputs, structure)
        else:
            # Not the nodes themselves, which must be held by nobody else.
            small_graph = _Small(recording.by_references(structure.order))
            with recorder.run(structure.key, small_graph, time.monotonic_ns) as run:
                _run_small(outputs, structure)
                run.whole(time.monotonic_ns())
        return
    held = _held_outside(structure)
    kept = _worth_keeping(structure, outputs, held, bool(versions))
    outputs += kept
    donors = _donors(versions, outputs, structure)
    kept_key = tuple([structure.index[node] for node in kept])
    lasting = _lasting(structure, versions)
    key = _program_key(structure, outputs, kept_key, donors, lasting)
    executable = programs.get(
        key,
        lambda: _compile(structure, outputs, donors, lasting),
        lambda: programs.explain_miss(key),
    )
    with ExitStack() as locks:
        if versions:
            locks.enter_context(interrupts.Held())
        for cell in sorted(versions, key=id):
            locks.enter_context(cell.lock)
        state.check_bases(versions)
        if versions:
            # Counted again: until the locks were taken another thread could read what is about to be
            # overwritten.
            held = _held_outside(structure)
        reuse = [
            None if leaf is None else _free_to_overwrite(structure.leaves[leaf], held)
            for leaf in executable.donations
        ]
        leaves = [
            structure.packed[leaf][1] if leaf in structure.packed else leaf_value(leaf)
            for leaf in structure.leaves
        ]
        interrupt = None
        try:
            buffers = executable.run(leaves, reuse)
        except Committed as late:
            buffers, interrupt = late.buffers, late.interrupt
        except TreadleError as failure:
            fail_at_its_line(failure, detached(structure, outputs), leaves)
        for node, buffer in zip(outputs, buffers, strict=True):
            node.buffer = buffer
        superseded = []
        for version in versions.values():
            assert version.value is not None and version.base is not None
            version.buffer = registry.placed(version.value.buffer, version.cell.type, version.cell.device)
            superseded.append(version.base)
        state.commit(versions)
        _forget_overwritten(executable, reuse, structure)
        _release(outputs, structure, superseded, executable.reads)
    if interrupt is not None:
        raise interrupt


def _program_key(
    structure: Structure,
    outputs: Sequence[Node],
    kept: tuple[int, ...],
    donors: Sequence[int | None],
    lasting: frozenset[int],
) -> tuple[Any, ...]:
    """What is equal for graphs that one program serves, with all that decides how it is compiled."""
    devices = tuple([output.device for output in outputs])
    return (*structure.key, kept, tuple(donors), lasting, devices, *config.options_key(), structure.lines())


def _lasting(structure: Structure, versions: Collection[Cell]) -> frozenset[int]:
    """The leaves that are variables which the program does not assign, and numbers."""
    return frozenset(
        i
        for i, leaf in enumerate(structure.leaves)
        if leaf.op is SCALAR or (leaf.op is READ and leaf.binding.cell not in versions)
    )


def _compile(
    structure: Structure,
    outputs: list[Node],
    donors: list[int | None],
    lasting: Collection[int],
) -> Executable:
    executable = registry.compile_graph(detached(structure, outputs), donors, lasting)
    executable.reads = _leaves_below(structure, outputs)
    return executable


class _Small(NamedTuple):
    """What ran by its references, for a profile."""

    work: recording.Work

    def works(self) -> list[recording.Work | None]:
        return [self.work]


def _run_small(outputs: list[Node], structure: Structure) -> None:
    """Run a graph by its references; the results are where they belong."""
    values = {leaf: leaf_array(leaf.type, leaf_value(leaf)) for leaf in structure.leaves}
    leaves = _leaves_below(structure, outputs)
    for node, result in zip(outputs, compute(outputs, values), strict=True):
        node.buffer = registry.find(node.device).copy_in(result, node.type)
    _release(outputs, structure, [], leaves)


# -- who holds what: decided by reference count, so the expected counts are measured on nodes that nobody
# holds


def _references(order: list[Node]) -> list[int]:
    """How many references every node of an order has, those of the order itself included."""
    return [sys.getrefcount(node) for node in order]


def _held_outside(structure: Structure) -> set[Node]:
    """Nodes that something outside this program holds: an array of the user, or another graph."""
    # Numbers by position: while references are counted, nothing here may hold a node.
    expected = _expected(structure)
    counts = _references(structure.order)
    return {node for node, count, most in zip(structure.order, counts, expected, strict=True) if count > most}


def _expected(structure: Structure) -> list[int]:
    """The references that nodes have from the program itself."""
    position = {node: i for i, node in enumerate(structure.order)}
    expected = [_ALONE] * len(position)
    for node in structure.order:
        if node.buffer is None:
            for child in node.inputs:
                expected[position[child]] += 1
    for leaf in structure.leaves:
        expected[position[leaf]] += 1
    return expected


def _worth_keeping(structure: Structure, outputs: list[Node], held: set[Node], assigning: bool) -> list[Node]:
    """Values that are computed anyway and held by someone: made outputs, so that they are not computed again,
    and do not hold on to the versions they read. Views are cheap to repeat: they count only where a version
    is about to be replaced.
    """
    done = set(outputs)
    return [
        node
        for node in structure.order
        if node in held
        and node not in done
        and node.buffer is None
        and node.inputs
        and node.op is not READ
        and type(node.type) is not Types
        and (assigning or not node.op.view)
    ]


def _results_beside(structure: Structure) -> list[Node]:
    """Results that somebody holds of nodes that are computed for the sake of others of their results."""
    return [
        value
        for node in structure.order
        if type(node.type) is Types
        for value in held_results(node)
        if value not in structure.index and value.buffer is None
    ]


def _donors(versions: dict[Cell, Version], outputs: list[Node], structure: Structure) -> list[int | None]:
    """For every output, the leaf whose variable's next version it is: its buffer may be written over. Not
    where it is in another order.
    """
    position = {leaf: i for i, leaf in enumerate(structure.leaves)}
    becomes: dict[Node, int | None] = {}
    for version in versions.values():
        base = version.base
        node = base.read_node() if base is not None and base.read_node is not None else None
        if version.value is not None and version.value not in becomes and version.value.buffer is None:
            known = node is not None and node not in structure.packed
            becomes[version.value] = position.get(node) if node is not None and known else None
    return [becomes.get(output) for output in outputs]


def holders(buffer: Buffer) -> int:
    """How many references a buffer has; compare with the calibrated counts."""
    return sys.getrefcount(buffer)


def _free_to_overwrite(leaf: Node, held: set[Node]) -> Buffer | None:
    """The leaf's buffer if only its variable's current version holds it, else None."""
    version = leaf.binding
    if leaf in held or version.cell.current is not version or version.layout is not None:
        return None
    if version.buffer.held_by_views():
        return None
    return version.buffer if holders(version.buffer) <= _HELD_BY_VERSION_AND_NODE else None


def _forget_overwritten(executable: Executable, reuse: list[Buffer | None], structure: Structure) -> None:
    """Versions whose memory the new ones took have no value any more."""
    for leaf, buffer in zip(executable.donations, reuse, strict=True):
        if leaf is not None and buffer is not None:
            structure.leaves[leaf].buffer = None


class _Holder:
    """A holder of a buffer, as a version and its read node are."""

    buffer: Any


def _calibrate() -> tuple[int, int, int]:
    order = [new(DATA, (), (), Type((), float32))]
    alone = _references(order)[0] + 1  # and the index of the structure
    version, node = _Holder(), _Holder()
    version.buffer = allocate(1)
    node.buffer = version.buffer
    two = holders(version.buffer)
    name = version.buffer
    return alone, two, holders(name)


_ALONE, _HELD_BY_VERSION_AND_NODE, HELD_BY_THREE = _calibrate()


# -- history


_kept: weakref.WeakKeyDictionary[Node, tuple[Version, ...]] = weakref.WeakKeyDictionary()
"""Computed nodes that keep their history: because of these versions, and of marked arrays if there are none.
"""


def _leaves_below(structure: Structure, outputs: Sequence[Node]) -> list[tuple[int, ...]]:
    """For every output, the positions in the order of the leaves it depends on."""
    below: dict[Node, frozenset[int]] = {}
    nothing: frozenset[int] = frozenset()
    for position, node in enumerate(structure.order):
        if node.op is READ or _is_given(node):
            below[node] = frozenset((position,))
        else:
            below[node] = nothing.union(*[below[child] for child in node.inputs])
    return [tuple(sorted(below[output])) for output in outputs]


def _release(
    outputs: list[Node], structure: Structure, superseded: list[Version], leaves: list[tuple[int, ...]]
) -> None:
    """Make leaves of what has been computed and whose history is not needed, or has ended."""
    order = structure.order
    for node, positions in zip(outputs, leaves, strict=True):
        if node.flags & PINNED or node.op is READ or node.op is DATA:
            continue
        if not node.flags & TRACKED:
            release(node)
            continue
        versions: dict[Version, None] = {}
        ended: Cell | None = None
        marked = False
        for p in positions:
            leaf = order[p]
            if not leaf.flags & TRACKED:
                continue
            if leaf.op is READ:
                versions[leaf.binding] = None
            elif leaf.op is not DATA:
                earlier = _kept.get(leaf, ())
                marked = marked or not earlier
                versions.update(dict.fromkeys(earlier))
            elif isinstance(leaf.binding, Cell):
                ended = leaf.binding
            else:
                marked = True
        gone = next((version for version in versions if version.cell.current is not version), None)
        if gone is not None or (not versions and not marked):
            release(node, ended if gone is None else gone.cell)
        else:
            _kept[node] = tuple(versions)
            for version in versions:
                version.keeps(node)
    for version in superseded:
        end_history(version)


def end_history(version: Version) -> None:
    """A version has been replaced: computed nodes that depend on it become leaves."""
    for reference in version.dependents:
        node = reference()
        if node is not None and node.op is not DATA and not node.flags & PINNED:
            release(node, version.cell)
    version.dependents = []


def release(node: Node, ended: Cell | None = None) -> None:
    """Make a computed node a leaf. `ended` is the variable whose assignment ended its history."""
    node.op = DATA
    node.inputs = ()
    node.attributes = ()
    node.binding = ended
    if ended is None:
        node.flags &= ~TRACKED
    else:
        _kept.pop(node, None)


def planned(nodes: Sequence[Node]) -> Executable:
    """The program that evaluating nodes would run, compiled if it is new, and not run."""
    _check_static(nodes)
    outputs = list(dict.fromkeys(node for node in nodes if node.buffer is None))
    structure = structure_of(outputs, _stops, _is_given)
    donors: list[int | None] = [None] * len(outputs)
    lasting = _lasting(structure, ())
    key = _program_key(structure, outputs, (), donors, lasting)
    return programs.get(
        key,
        lambda: _compile(structure, outputs, donors, lasting),
        lambda: programs.explain_miss(key),
    )
