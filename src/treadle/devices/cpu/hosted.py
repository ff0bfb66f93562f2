"""Branches and loops in which something has no native form: their graphs are programs of their own, applied
from the host.

Knows the shapes of loops from `ops.control`, and how programs are made as a function that is handed down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.compiler.executable import Executable
from treadle.devices.host import HostBuffer
from treadle.graph.closed import Closed
from treadle.graph.node import Node, Type
from treadle.ops.control import COND, Loop, run_loop
from treadle.ops.record import INPUT

Compile = Callable[[Closed], Executable]
Apply = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


def prepared(node: Node, compile: Compile) -> Apply:
    """A branch or loop as a function of its inputs, its graphs compiled."""
    if node.op is COND:
        branches = [_applied(graph, compile) for graph in node.attributes]
        return lambda arrays: branches[0 if arrays[0] else 1](arrays[1:])
    loop = Loop(*node.attributes)
    body = _applied(loop.body, compile)
    condition = None if loop.condition is None else _applied(loop.condition, compile)

    def holds(values: Sequence[np.ndarray]) -> bool:
        assert condition is not None
        return bool(condition(values)[0])

    return lambda arrays: run_loop(loop, arrays, body, holds)


def _applied(graph: Closed, compile: Compile) -> Apply:
    """A graph as a function of arrays, of a program that takes their memory as it is."""
    program = compile(graph)
    # A program has places for leaves up to the last one that it reads.
    count = 1 + max((node.attributes[0] for node in program.order if node.op is INPUT), default=-1)
    types = [node.type for node in graph.parameters[:count]]
    reuse = [None] * len(graph.outputs)

    def apply(values: Sequence[np.ndarray]) -> list[np.ndarray]:
        leaves = [_lent(value, type) for value, type in zip(values, types, strict=False)]
        found = program.run(leaves, reuse)
        return [buffer.view(type) for buffer, type in zip(found, graph.types, strict=True)]

    return apply


def _lent(value: Any, type: Type) -> HostBuffer:
    array = np.ascontiguousarray(value, type.dtype.numpy)
    return HostBuffer(array, array.ctypes.data, array.nbytes, borrowed=True)
