"""Writes groups as calls: loop kernels with their stages, and library calls with their epilogues.

What is computed where is settled (`grouping`); here it is put into instructions, one body a stage. Equal
instructions of a body are one. Knows no device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from treadle.compiler.groups import Folded, Group, Groups, Target
from treadle.compiler.indexmap import MOVEMENT, Inside, Map, Place, Split, identity, linear
from treadle.compiler.kernel import (
    Access,
    Affine,
    Check,
    Fold,
    Gather,
    Guard,
    Instruction,
    LoopKernel,
    Operand,
    Stage,
    Store,
)
from treadle.compiler.program import LibraryCall, LoopCall, View
from treadle.graph.node import Node

COMBINE = {
    "sum": "add",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
    "argmax": "argmax",
    "argmin": "argmin",
}
UNNAMED = frozenset(MOVEMENT) | {"constant", "astype", "iota"}
"""Ops that are in no label."""
MOST_NAMES = 5

Item = tuple[Node, Place]
Key = tuple[str, tuple[int, ...], str, object]


class Body:
    """The instructions of one stage as they are written."""

    def __init__(self):
        self.instructions: list[Instruction] = []
        self.known: dict[Key, int] = {}
        self.values: dict[Item, int] = {}

    def put(self, op: str, arguments: tuple[int, ...], dtype: str, attribute: object = None) -> int:
        """The position of an instruction, written now if it is new."""
        # 0.0 and -0.0, 1 and True are equal, and not the same constant.
        key = (op, arguments, dtype, repr(attribute) if op == "constant" else attribute)
        position = self.known.get(key)
        if position is None:
            position = self.known[key] = len(self.instructions)
            self.instructions.append(Instruction(op, arguments, dtype, attribute))
        return position


class Writer:
    """Writes one group. `buffers` are the buffers of what is in memory, `status` and `faults` those of the
    program.
    """

    def __init__(self, groups: Groups, group: Group, buffers: dict[Node, int], report: Callable[[Node], int]):
        self.groups = groups
        self.group = group
        self.buffers = buffers
        self.report = report
        self.columns = {axis: column for column, axis in enumerate(group.axes)}
        self.operands: list[Operand] = []
        self.operand_buffers: list[int] = []
        self.numbers: dict[tuple[int, bool], int] = {}
        self.affines: dict[Map, Affine] = {}
        self.below: dict[Item, list[Item]] = {}
        self.folds: dict[Node, tuple[int, int]] = {}

    # -- calls

    def loop(self, status: int) -> LoopCall:
        """The group as a loop kernel."""
        group, self.status = self.group, status
        sizes = tuple([group.sizes[axis] for axis in group.axes])
        inner = set(group.inner)
        by_row = [t for t in group.targets if inner.isdisjoint([axis for axis, _ in t.address[1]])]
        by_element = [t for t in group.targets if t not in by_row]
        depths = self.depths()
        stages: list[Stage] = []
        if group.inner:
            levels: list[tuple[list[tuple[Node, Folded]], list[Target]]] = []
            for node, folded in sorted(group.folds.items(), key=lambda item: self.groups.position[item[0]]):
                source = (self.groups.inputs[node][0], folded.source)
                self.at_level(levels, depths[source])[0].append((node, folded))
            for target in by_element:
                self.at_level(levels, depths[target.node, target.place])[1].append(target)
            for folds, targets in levels:
                stages.append(self.stage("element", len(stages), folds, targets))
        if by_row:
            stages.append(self.stage("row", len(stages), [], by_row))
        kernel = LoopKernel(
            sizes,
            len(group.rows),
            tuple(self.operands),
            tuple(stages),
            self.label(),
            in_place_pairs(self.operands, stages),
        )
        return LoopCall(kernel, tuple(self.operand_buffers), self.nodes())

    def library(self) -> LibraryCall:
        """The group as a call of its library op."""
        group = self.group
        node = group.library
        assert node is not None
        views = []
        for child, (base, (offset, terms)) in zip(self.groups.inputs[node], group.views, strict=True):
            strides = dict(terms)
            views.append(
                View(
                    self.buffers[base],
                    child.shape,
                    offset,
                    tuple([strides.get(a, 0) for a in range(child.ndim)]),
                )
            )
        call = LibraryCall(node, tuple(views), (), nodes=(node, *[n for n in self.nodes() if n is not node]))
        if not group.targets:
            call.outputs = tuple([self.buffers[result] for result in self.groups.results_of(node)])
            return call
        body = Body()
        stores = self.write(body, [(target.node, target.place) for target in group.targets])
        if len(stores) > 1 or body.instructions[stores[0]].op != "accumulator":
            call.epilogue, call.stores = tuple(body.instructions[: max(stores) + 1]), tuple(stores)
        call.outputs = tuple([self.buffers[target.owner] for target in group.targets])
        address = group.targets[0].address
        if address != linear(identity(node.shape), node.shape):
            strides = dict(address[1])
            call.strides = tuple([strides.get(axis, 0) for axis in range(node.ndim)])
        call.extra, call.extra_buffers = tuple(self.operands), tuple(self.operand_buffers)
        return call

    def at_level(self, levels: list, depth: int) -> tuple[list, list]:
        while len(levels) <= depth:
            levels.append(([], []))
        return levels[depth]

    def stage(
        self, per: str, number: int, folds: Sequence[tuple[Node, Folded]], targets: Sequence[Target]
    ) -> Stage:
        """One stage: what it folds, then what it stores."""
        body = Body()
        items = [(self.groups.inputs[node][0], folded.source) for node, folded in folds]
        values = self.write(body, items + [(target.node, target.place) for target in targets])
        written: list[Fold] = []
        for (node, folded), value in zip(folds, values, strict=False):
            position = None
            if node.op.name in ("argmax", "argmin"):
                index = folded.source.maps[node.attribute("axis")]
                position = body.put("index", (), "int64", self.affine(index))
            written.append(Fold(COMBINE[node.op.name], value, node.dtype.name, position))
            self.folds[node] = (number, len(written) - 1)
        stores = []
        for target, value in zip(targets, values[len(folds) :], strict=True):
            operand = self.operand(self.buffers[target.owner], target.owner, True)
            stores.append(Store(Access(operand, self.affine(target.address)), value))
        return Stage(per, tuple(body.instructions), tuple(written), tuple(stores))

    def nodes(self) -> tuple[Node, ...]:
        """What the call computes, in the order of the graph."""
        nodes = {node for node in self.group.local if node.op.name != "constant"}
        nodes |= {target.owner for target in self.group.targets}
        return tuple(sorted(nodes, key=self.groups.position.__getitem__))

    def label(self) -> str:
        """The ops in a few words, and the sizes."""
        nodes = self.nodes()
        names = list(dict.fromkeys(node.op.name for node in nodes if node.op.name not in UNNAMED))
        if len(names) > MOST_NAMES:
            names = [*names[: MOST_NAMES - 1], names[-1]]
        names = names or list(dict.fromkeys(node.op.name for node in nodes))[-1:] or ["copy"]
        folds = list(self.group.folds)
        shape = self.groups.inputs[folds[0]][0].shape if folds else self.group.targets[0].node.shape
        return f"{'_'.join(names)}[{', '.join(map(str, shape))}]"

    # -- what is computed from what

    def parts(self, item: Item) -> list[Item]:
        """What a value is computed from in this group; nothing for what is loaded or known."""
        found = self.below.get(item)
        if found is None:
            node, place = item
            found = []
            if node in self.group.local and node not in self.group.folds:
                sources = self.groups.sources_at(node, place, self.group.sizes)
                assert sources is not None and not isinstance(sources, Split), (node, place)
                found = sources
            self.below[item] = found
        return found

    def ordered(self, roots: Iterable[Item], through_folds: bool = False) -> list[Item]:
        """Everything the roots are computed from, parts first."""
        order: list[Item] = []
        done: set[Item] = set()
        stack = [(root, False) for root in reversed(list(roots))]
        while stack:
            item, expanded = stack.pop()
            if expanded:
                order.append(item)
                continue
            if item in done:
                continue
            done.add(item)
            stack.append((item, True))
            for part in reversed(self.reaching(item) if through_folds else self.parts(item)):
                if part not in done:
                    stack.append((part, False))
        return order

    def reaching(self, item: Item) -> list[Item]:
        """The parts of an item; of a reduction, what it folds."""
        folded = self.group.folds.get(item[0])
        return self.parts(item) if folded is None else [(self.groups.inputs[item[0]][0], folded.source)]

    def depths(self) -> dict[Item, int]:
        """How many folds, one after another, lie below every value."""
        depths: dict[Item, int] = {}
        for item in self.ordered([(t.node, t.place) for t in self.group.targets], through_folds=True):
            below = max([depths[part] for part in self.reaching(item)], default=0)
            depths[item] = below + (item[0] in self.group.folds)
        return depths

    # -- instructions

    def write(self, body: Body, roots: Sequence[Item]) -> list[int]:
        """Write what the roots need; their positions."""
        for item in self.ordered(roots):
            body.values[item] = self.instruction(body, item)
        return [body.values[root] for root in roots]

    def instruction(self, body: Body, item: Item) -> int:
        """Write one value, its parts being there."""
        node, place = item
        dtype, name = node.dtype.name, node.op.name
        if node in self.folds and node in self.group.folds:
            return body.put("result", (), dtype, self.folds[node])
        if name == "constant":
            return body.put("constant", (), dtype, node.attribute("value"))
        if node not in self.group.local:
            if node is self.group.library:
                return body.put("accumulator", (), dtype)
            return body.put("load", (), dtype, self.access(node, place))
        parts = self.parts(item)
        arguments = tuple([body.values[part] for part in parts])
        if name in SPECIAL:
            return SPECIAL[name](self, body, item, parts, arguments)
        if name in MOVEMENT:
            return arguments[0]
        return body.put(name, arguments, dtype)

    def access(self, node: Node, place: Place) -> Access:
        operand = self.operand(self.buffers[node], node, False)
        return Access(operand, self.affine(linear(place, node.shape)), self.guards(place.guards))

    def operand(self, buffer: int, node: Node, written: bool) -> int:
        """The number of an operand."""
        number = self.numbers.get((buffer, written))
        if number is None:
            number = self.numbers[buffer, written] = len(self.operands)
            self.operands.append(Operand(node.dtype.name, self.groups.size[node], written))
            self.operand_buffers.append(buffer)
        return number

    def status_operand(self) -> int:
        """The operand that faults are reported to."""
        number = self.numbers.get((self.status, True))
        if number is None:
            number = self.numbers[self.status, True] = len(self.operands)
            self.operands.append(Operand("int32", 1, True))
            self.operand_buffers.append(self.status)
        return number

    def affine(self, index: Map) -> Affine:
        """A map over all axes, in order."""
        found = self.affines.get(index)
        if found is None:
            strides = [0] * len(self.columns)
            for axis, stride in index[1]:
                strides[self.columns[axis]] = stride
            found = self.affines[index] = Affine(index[0], tuple(strides))
        return found

    def guards(self, guards: Iterable[Inside]) -> tuple[Guard, ...]:
        return tuple([Guard(self.affine(index), size) for index, size in guards])


# -- ops that are not one instruction of their own name


def _cast(w: Writer, body: Body, item: Item, parts: list[Item], arguments: tuple[int, ...]) -> int:
    return body.put("cast", arguments, item[0].dtype.name)


def _relu(w: Writer, body: Body, item: Item, parts: list[Item], arguments: tuple[int, ...]) -> int:
    dtype = item[0].dtype
    zero = body.put("constant", (), dtype.name, 0.0 if dtype.kind == "float" else 0)
    return body.put("maximum", (arguments[0], zero), dtype.name)


def _iota(w: Writer, body: Body, item: Item, parts: list[Item], arguments: tuple[int, ...]) -> int:
    dtype, (node, place) = item[0].dtype, item
    whole = dtype.kind in ("int", "uint")
    index = body.put("index", (), dtype.name if whole else "int64", w.affine(linear(place, node.shape)))
    return index if whole else body.put("cast", (index,), dtype.name)


def _random(w: Writer, body: Body, item: Item, parts: list[Item], arguments: tuple[int, ...]) -> int:
    node, place = item
    counter = body.put("index", (), "uint64", w.affine(linear(place, node.shape)))
    return body.put("random", (*arguments, counter), "uint32", (node.attribute("word"),))


def _random_at(w: Writer, body: Body, item: Item, parts: list[Item], arguments: tuple[int, ...]) -> int:
    return body.put("random", arguments, "uint32", (item[0].attribute("word"),))


def _gather(w: Writer, body: Body, item: Item, parts: list[Item], arguments: tuple[int, ...]) -> int:
    node, place = item
    table, (_, terms) = w.groups.tables[node]
    strides = dict(terms)
    axes = node.attribute("axes")
    shape = w.groups.inputs[node][0].shape
    gather = Gather(
        w.operand(w.buffers[table], table, False),
        w.affine(parts[0][1].maps[0]),
        tuple([strides.get(axis, 0) for axis in axes]),
        tuple([shape[axis] for axis in axes]),
        w.status_operand(),
        w.report(node),
        w.guards(place.guards),
    )
    return body.put("gather", arguments[1:], node.dtype.name, gather)


def _class_number(w: Writer, body: Body, item: Item, parts: list[Item], arguments: tuple[int, ...]) -> int:
    node, place = item
    check = Check(node.attribute("classes"), w.status_operand(), w.report(node), w.guards(place.guards))
    return body.put("checked", arguments, node.dtype.name, check)


def _pad(w: Writer, body: Body, item: Item, parts: list[Item], arguments: tuple[int, ...]) -> int:
    if len(parts) == 1:
        return arguments[0]
    (_, place), (_, source) = item, parts[0]
    inside = [guard for guard in source.guards if guard not in place.guards]
    x, value = arguments
    if not inside:
        return x
    fill = body.instructions[value]
    if (
        body.instructions[x].op == "load"
        and fill.op == "constant"
        and repr(fill.attribute) in ("0", "0.0", "False")
    ):
        return x
    holds = body.put("inside", (), "bool", w.guards(inside))
    return body.put("where", (holds, x, value), item[0].dtype.name)


SPECIAL: dict[str, Callable[[Writer, Body, Item, list[Item], tuple[int, ...]], int]] = {
    "astype": _cast,
    "relu": _relu,
    "iota": _iota,
    "random_bits": _random,
    "random_at": _random_at,
    "gather": _gather,
    "class_number": _class_number,
    "pad": _pad,
}


def in_place_pairs(operands: Sequence[Operand], stages: Sequence[Stage]) -> tuple[tuple[int, int], ...]:
    """Operands (written, read) of one type that every point touches at the same element, the read one not
    after the write. Of several for one operand any one may be chosen.
    """
    loads: dict[int, set[Access]] = {}
    gathered: set[int] = set()
    latest: dict[int, int] = {}
    stores: dict[int, list[tuple[int, Access]]] = {}
    for number, stage in enumerate(stages):
        for instruction in stage.body:
            if instruction.op == "load":
                loads.setdefault(instruction.attribute.operand, set()).add(instruction.attribute)
                latest[instruction.attribute.operand] = number
            elif instruction.op == "gather":
                gathered.add(instruction.attribute.operand)
        for store in stage.stores:
            stores.setdefault(store.access.operand, []).append((number, store.access))
    pairs = []
    for written, places in stores.items():
        (number, access), *others = places
        if others:
            continue
        for read, accesses in loads.items():
            alike = (
                operands[read].dtype == operands[written].dtype
                and operands[read].size == operands[written].size
            )
            if alike and read not in gathered and len(accesses) == 1 and latest[read] <= number:
                (load,) = accesses
                if load.index == access.index and not load.guards:
                    pairs.append((written, read))
    return tuple(pairs)
