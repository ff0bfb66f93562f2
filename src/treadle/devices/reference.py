"""The reference device: every op by its NumPy reference, node by node. Slow, obvious, always right.

It is the oracle of the tests, what runs under ``debug=True``, and the tier for graphs too small to compile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from treadle import interrupts
from treadle.compiler.executable import Executable, Leaf
from treadle.devices.host import HostBuffer, allocate, from_array, nbytes_of
from treadle.errors import OutOfMemory, ShapeError, TreadleError
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type, Types
from treadle.ops.record import CONSTANT, INPUT


def apply(node: Node, arrays: Sequence[Any]) -> Any:
    """One op by its reference, as an array of exactly the node's shape and dtype; a tuple of them if it has
    several results.
    """
    if node.op is CONSTANT and isinstance(node.attributes[0], Dimension):
        raise TreadleError(f"the size {node.attributes[0]} has no value here", node.line)
    reference = node.op.reference
    if reference is None:
        raise TreadleError(f"{node.op.name} has no reference: it cannot run", node.line)
    try:
        with np.errstate(all="ignore"):
            result = reference(*arrays, **node.keywords())
    except TreadleError as error:
        # Raised while running: the line to name is the one that made the node.
        raise type(error)(error.message, node.line) from None
    except Exception as error:
        error.add_note(f"in the reference of {node.op.name} {node.type!r}, made at {node.line}")
        raise
    if type(node.type) is Types:
        return tuple([_exactly(node, value, type) for value, type in zip(result, node.type, strict=True)])
    return _exactly(node, result, node.type)


def _exactly(node: Node, value: Any, type: Type) -> np.ndarray:
    """A reference's result as an array of the dtype that is promised, its shape checked."""
    value = np.asarray(value)
    if value.dtype != type.dtype.numpy:
        value = value.astype(type.dtype.numpy)
    if value.shape != type.shape:
        raise ShapeError(
            f"[{node.op.name}] its reference gives an array of shape {value.shape}, infer says {type.shape}",
            node.line,
        )
    return value


def compute(outputs: Sequence[Node], given: dict[Node, np.ndarray], watch: Any = None) -> list[np.ndarray]:
    """The values of outputs, given those of some nodes. `watch(node, array)` sees every value as it comes."""
    values: dict[Node, Any] = dict(given)
    order = ordered(outputs, stop=lambda node: node in values)
    last = {child: node for node in order for child in node.inputs}
    wanted = set(outputs)
    for node in order:
        if node in values:
            continue
        interrupts.deliver()
        values[node] = apply(node, [values[child] for child in node.inputs])
        if watch is not None:
            watch(node, values[node])
        for child in set(node.inputs):
            if last[child] is node and child not in wanted:
                del values[child]
    return [values[output] for output in outputs]


def leaf_array(type: Type, leaf: Leaf) -> np.ndarray:
    """What a leaf is bound to, as an array."""
    if isinstance(leaf, HostBuffer):
        return leaf.view(type)
    return np.asarray(leaf, dtype=type.dtype.numpy).reshape(type.shape)


class ReferenceExecutable(Executable):
    """A graph that is walked anew in every run."""

    def __init__(self, outputs: Sequence[Node]):
        super().__init__(outputs)

    def run(
        self, leaves: Sequence[Leaf], reuse: Sequence[HostBuffer | None], poll: bool = True
    ) -> list[HostBuffer]:
        values = {
            node: leaf_array(node.type, leaves[node.attributes[0]]) for node in self.order if node.op is INPUT
        }
        results = compute(self.outputs, values)
        buffers = []
        for node, result in zip(self.outputs, results, strict=True):
            buffer = allocate(nbytes_of(node.type))
            buffer.writable(node.type)[...] = result
            buffers.append(buffer)
        return buffers


def fail_at_its_line(failure: TreadleError, outputs: Sequence[Node], leaves: Sequence[Leaf]) -> NoReturn:
    """Raise what failed in a program at the line of this graph that asked for it: a program from the cache
    has the lines of the graph that it was compiled for.
    """
    if not isinstance(failure, OutOfMemory):
        ReferenceExecutable(outputs).run(leaves, [])
    raise failure


__all__ = ["ReferenceExecutable", "apply", "compute", "fail_at_its_line", "from_array", "leaf_array"]
