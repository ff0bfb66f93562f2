"""Checks what passes promise to leave behind, and names the pass that broke it. Slow; for tests and
debugging.

`verify` is for graphs, `verify_fused` for programs. Nothing here repairs anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from treadle.compiler.kernel import Access, Affine, Gather, Guard, Operand, Stage
from treadle.compiler.lower import in_place_pairs
from treadle.compiler.program import Fused, LibraryCall, LoopCall
from treadle.errors import VerifyError
from treadle.graph.graph import ordered
from treadle.graph.node import Node
from treadle.ops.record import OPS

LEAVES = ("input", "constant")
MOST_POINTS = 1 << 20
"""Places under guards are looked at point by point up to so many points; beyond, only their bounds count."""


# -- graphs


def verify(outputs: Sequence[Node], after: str) -> None:
    """Check a graph that is being compiled: no cycles, known ops, legal leaves, attributes and types.

    Raises:
        VerifyError: it names `after`, the pass that made the graph.
    """
    position = {node: i for i, node in enumerate(ordered(outputs))}
    for node, place in position.items():
        for child in node.inputs:
            _expect(position[child] < place, after, f"{node!r} needs itself", node)
        op = node.op
        _expect(OPS.get(op.name) is op, after, f"{node!r} is of an op that is not registered", node)
        _expect(len(node.attributes) == len(op.attributes), after, f"{node!r} lacks an attribute", node)
        try:
            hash(node.attributes)
        except TypeError:
            _expect(False, after, f"{node!r} has attributes that cannot be compared: {node.attributes}", node)
        if op.leaf:
            _expect(op.name in LEAVES and not node.inputs, after, f"{node!r} is no leaf of a program", node)
        else:
            inferred = op.infer(*[child.type for child in node.inputs], **node.keywords())
            _expect(inferred is node.type, after, f"{node!r} is inferred as {inferred!r}", node)
        known = all(type(size) is int and size >= 0 for result in node.types for size in result.shape)
        _expect(known, after, f"{node!r} has a size that is not known", node)


def _expect(holds: bool, after: str, message: str, node: Node | None = None) -> None:
    if not holds:
        raise VerifyError(f"after {after}: {message}", None if node is None else node.line)


# -- programs


def verify_fused(fused: Fused, after: str) -> None:
    """Check a program: what is read was written before, once; nothing is touched outside its buffer; in-place
    pairs are safe; outputs are there.

    Raises:
        VerifyError: it names `after`, the pass that made the program.
    """
    written = _Written(fused, after)
    for call in fused.calls:
        if isinstance(call, LoopCall):
            _verify_kernel(fused, call, after)
        else:
            _verify_library(fused, call, after)
        for buffer in call.reads:
            written.expect(buffer, call)
        written.note(call)
    for number, buffer in enumerate(fused.outputs):
        source = fused.buffers[buffer].source
        _expect(source in ("input", "output"), after, f"output {number} lies in a {source} buffer")
        written.expect(buffer, None)


class _Written:
    """Which elements of every buffer have been written."""

    def __init__(self, fused: Fused, after: str):
        self.fused, self.after = fused, after
        self.sizes = [math.prod(info.type.shape) for info in fused.buffers]  # type: ignore[arg-type]
        self.elements: dict[int, np.ndarray] = {}
        self.once: dict[int, np.ndarray] = {}

    def expect(self, buffer: int, call: object) -> None:
        """All of it must be there."""
        if self.fused.buffers[buffer].source in ("input", "status") or not self.sizes[buffer]:
            return
        there = self.elements.get(buffer)
        complete = there is not None and bool(there.all())
        what = "when the program ends" if call is None else f"when {_name(call)} reads it"
        _expect(
            complete, self.after, f"buffer {buffer} is not written {what}", self.fused.buffers[buffer].node
        )

    def note(self, call: LoopCall | LibraryCall) -> None:
        """Remember what a call writes."""
        if isinstance(call, LibraryCall):
            for output in call.outputs:
                self.put(call, output, np.arange(self.sizes[output]))
            return
        kernel = call.kernel
        if math.prod(kernel.sizes[: kernel.rows]) == 0:
            return
        for stage in kernel.stages:
            for store in stage.stores:
                inner = len(kernel.sizes) - kernel.rows if stage.per == "row" else 0
                sizes = kernel.sizes[: len(kernel.sizes) - inner] + (1,) * inner
                if math.prod(sizes):
                    places = _places(store.access.index, sizes)
                    holds = _holding(store.access.guards, sizes)
                    places, holds = np.broadcast_arrays(places, holds)
                    self.put(call, call.buffers[store.access.operand], places[holds])

    def put(self, call: LoopCall | LibraryCall, buffer: int, places: np.ndarray) -> None:
        source = self.fused.buffers[buffer].source
        _expect(
            source in ("output", "temporary"),
            self.after,
            f"{_name(call)} writes the {source} buffer {buffer}",
        )
        count = np.bincount(places.ravel(), minlength=self.sizes[buffer])
        _expect(
            bool((count <= 1).all()), self.after, f"{_name(call)} writes an element of buffer {buffer} twice"
        )
        before = self.elements.setdefault(buffer, np.zeros(self.sizes[buffer], bool))
        again = before & (count > 0)
        # One call may fill a buffer for others to put elements into; each of those is written once more.
        filled = bool(before.all()) and not (count > 0).all()
        twice = self.once.setdefault(buffer, np.zeros(self.sizes[buffer], bool))
        allowed = not again.any() or (filled and not (again & twice).any())
        _expect(allowed, self.after, f"buffer {buffer} is written before {_name(call)} writes it")
        twice |= again
        before |= count > 0


def _name(call: object) -> str:
    return call.kernel.label if isinstance(call, LoopCall) else call.node.op.name  # type: ignore[attr-defined]


def _verify_library(fused: Fused, call: LibraryCall, after: str) -> None:
    for view in call.inputs:
        _expect(len(view.shape) == len(view.strides), after, f"{_name(call)} sees a view without all strides")
        size = math.prod(fused.buffers[view.buffer].type.shape)  # type: ignore[arg-type]
        low, high = _bounds(Affine(view.offset, view.strides), view.shape)  # type: ignore[arg-type]
        inside = not math.prod(view.shape) or (low >= 0 and high < size)  # type: ignore[arg-type]
        _expect(
            inside, after, f"{_name(call)} sees elements {low} to {high} of a buffer of {size}", call.node
        )
    written = [fused.buffers[output].nbytes for output in call.outputs]
    types = list(call.node.types) * (len(call.stores) if call.epilogue else 1)
    _expect(
        written == [type.dtype.itemsize * math.prod(type.shape) for type in types],  # type: ignore[arg-type]
        after, f"{_name(call)} writes a buffer of another size", call.node,
    )  # fmt: skip
    if call.strides:
        low, high = _bounds(Affine(0, call.strides), call.node.shape)  # type: ignore[arg-type]
        inside = low == 0 and high == math.prod(call.node.shape) - 1  # type: ignore[arg-type]
        _expect(inside, after, f"{_name(call)} does not write all of its result", call.node)
    _expect(len(call.inputs) == len(call.node.inputs), after, f"{_name(call)} lacks an operand", call.node)
    if call.epilogue:
        sizes: tuple[int, ...] = call.node.shape  # type: ignore[assignment]
        stage = Stage("row", call.epilogue)
        _verify_operands(fused, call.extra, call.extra_buffers, after, _name(call))
        _verify_body(stage, 0, (), sizes, call.extra, after, _name(call))
        there = all(0 <= value < len(call.epilogue) for value in call.stores)
        _expect(there, after, f"the epilogue of {_name(call)} stores what is not there", call.node)
        for value, output in zip(call.stores, call.outputs, strict=True):
            _expect(
                call.epilogue[value].dtype == fused.buffers[output].type.dtype.name,
                after, f"the epilogue of {_name(call)} gives another dtype", call.node,
            )  # fmt: skip


def _verify_kernel(fused: Fused, call: LoopCall, after: str) -> None:
    kernel, name = call.kernel, call.kernel.label
    _expect(0 <= kernel.rows <= len(kernel.sizes), after, f"{name} has more rows than axes")
    _verify_operands(fused, kernel.operands, call.buffers, after, name)
    rows = kernel.sizes[: kernel.rows] + (1,) * (len(kernel.sizes) - kernel.rows)
    for number, stage in enumerate(kernel.stages):
        sizes = kernel.sizes if stage.per == "element" else rows
        _expect(stage.per in ("element", "row"), after, f"{name} has a stage per {stage.per}")
        _expect(stage.per == "element" or not stage.folds, after, f"{name} folds in a stage per row")
        _verify_body(stage, number, kernel.stages, sizes, kernel.operands, after, name)
        for fold in stage.folds:
            positions = (fold.value,) if fold.position is None else (fold.value, fold.position)
            there = all(0 <= p < len(stage.body) for p in positions)
            _expect(there, after, f"a fold of {name} takes a value that is not there")
        for store in stage.stores:
            _expect(
                0 <= store.value < len(stage.body),
                after,
                f"a store of {name} takes a value that is not there",
            )
            operand = kernel.operands[store.access.operand]
            _expect(operand.written, after, f"{name} stores to an operand that is only read")
            _verify_place(store.access, sizes, operand, after, name)
            if stage.per == "row":
                moves = any(store.access.index.strides[kernel.rows :])
                _expect(not moves, after, f"{name} stores once per row at a place that depends on inner axes")
    legal = in_place_pairs(kernel.operands, kernel.stages)
    _expect(
        set(kernel.in_place) <= set(legal),
        after,
        f"{name} has an in-place pair that is read elsewhere or later",
    )


def _verify_operands(
    fused: Fused, operands: Sequence[Operand], buffers: Sequence[int], after: str, name: str
) -> None:
    _expect(len(operands) == len(buffers), after, f"{name} has as many buffers as operands")
    for operand, buffer in zip(operands, buffers, strict=True):
        info = fused.buffers[buffer]
        size = math.prod(info.type.shape)  # type: ignore[arg-type]
        same = (operand.dtype, operand.size) == (info.type.dtype.name, size)
        _expect(same, after, f"an operand of {name}, {operand}, is not its buffer, {info.type!r}", info.node)


def _verify_body(
    stage: Stage,
    number: int,
    stages: Sequence[Stage],
    sizes: Sequence[int],
    operands: Sequence[Operand],
    after: str,
    name: str,
) -> None:
    for place, instruction in enumerate(stage.body):
        op, attribute = instruction.op, instruction.attribute
        _expect(
            all(0 <= a < place for a in instruction.arguments),
            after,
            f"{name} uses a value before it is there",
        )
        if op in ("load", "gather"):
            there = 0 <= attribute.operand < len(operands)
            _expect(there, after, f"{name} has no operand {attribute.operand}")
            operand = operands[attribute.operand]
            _expect(not operand.written, after, f"{name} loads from an operand it writes")
            _expect(
                operand.dtype == instruction.dtype,
                after,
                f"{name} loads {operand.dtype} as {instruction.dtype}",
            )
            _verify_place(attribute, sizes, operand, after, name)
        elif op == "result":
            earlier, fold = attribute
            there = 0 <= earlier < number and fold < len(stages[earlier].folds)
            _expect(there, after, f"{name} takes the result of a fold that has not run")


def _verify_place(
    access: Access | Gather, sizes: Sequence[int], operand: Operand, after: str, name: str
) -> None:
    """No point may touch an element outside its operand."""
    if not math.prod(sizes):
        return
    low, high = _bounds(access.index, sizes)
    if isinstance(access, Gather):
        high += sum(
            stride * (limit - 1)
            for stride, limit in zip(access.strides, access.limits, strict=True)
            if stride > 0
        )
        low += sum(
            stride * (limit - 1)
            for stride, limit in zip(access.strides, access.limits, strict=True)
            if stride < 0
        )
        if 0 in access.limits:
            return
    if low >= 0 and high < operand.size:
        return
    reach = f"elements {low} to {high} of {operand.size}"
    if access.guards:
        axes = {
            a for i in (access.index, *(g.index for g in access.guards)) for a, s in enumerate(i.strides) if s
        }
        seen = tuple(size if axis in axes else 1 for axis, size in enumerate(sizes))
        if math.prod(seen) > MOST_POINTS:
            return
        places, holds = np.broadcast_arrays(_places(access.index, seen), _holding(access.guards, seen))
        inside = (places >= 0) & (places < operand.size)
        if isinstance(access, Gather) or bool((inside | ~holds).all()):
            return
    _expect(False, after, f"{name} touches {reach}")


def _bounds(index: Affine, sizes: Sequence[int]) -> tuple[int, int]:
    ends = [stride * (size - 1) for stride, size in zip(index.strides, sizes, strict=True)]
    return index.offset + sum(e for e in ends if e < 0), index.offset + sum(e for e in ends if e > 0)


def _places(index: Affine, sizes: Sequence[int]) -> np.ndarray:
    """The value of an affine map at every point, of length 1 along axes that it does not depend on."""
    total = np.full((1,) * len(sizes), index.offset, np.int64)
    for axis, (stride, size) in enumerate(zip(index.strides, sizes, strict=True)):
        shape = [1] * len(sizes)
        shape[axis] = size
        total = total + stride * np.arange(size).reshape(shape)
    return total


def _holding(guards: Iterable[Guard], sizes: Sequence[int]) -> np.ndarray:
    holds = np.ones((1,) * len(sizes), bool)
    for guard in guards:
        index = _places(guard.index, sizes)
        holds = holds & (index >= 0) & (index < guard.size)
    return holds
