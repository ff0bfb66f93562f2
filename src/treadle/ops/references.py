"""Runs nodes by their references in NumPy: what every op means, and the meaning of graphs inside graphs.

Knows no device and no memory but NumPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import interrupts
from treadle.errors import ShapeError, TreadleError
from treadle.graph.closed import Closed
from treadle.graph.dimension import Dimension
from treadle.graph.graph import ordered
from treadle.graph.node import Node, Type, Types
from treadle.ops.record import CONSTANT


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
        if node.op.of_graphs:
            # A node inside is named already.
            raise
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


def run_closed(closed: Closed, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a closed graph for the values of its parameters."""
    count = len(closed.parameters)
    values: dict[Node, Any] = dict(zip(closed.parameters, arrays, strict=True))
    for node in closed.order[count:]:
        interrupts.deliver()
        values[node] = apply(node, [values[child] for child in node.inputs])
    return [values[output] for output in closed.outputs]
