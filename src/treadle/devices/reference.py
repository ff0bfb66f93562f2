"""The reference device: every op by its NumPy reference, node by node. Slow, obvious, always right.

It is the oracle of the tests, what runs under ``debug=True``, and the tier for graphs too small to compile.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from treadle.compiler import recording
from treadle.compiler.executable import Executable, Leaf
from treadle.devices.buffer import Buffer
from treadle.devices.host import allocate, from_array, nbytes_of
from treadle.errors import OutOfMemory, TreadleError
from treadle.graph.node import Node, Type
from treadle.ops.record import INPUT
from treadle.ops.references import apply, compute


def leaf_array(type: Type, leaf: Leaf) -> np.ndarray:
    """What a leaf is bound to, as an array."""
    if isinstance(leaf, Buffer):
        return leaf.view(type)
    return np.asarray(leaf, dtype=type.dtype.numpy).reshape(type.shape)


class ReferenceExecutable(Executable):
    """A graph that is walked anew in every run."""

    def __init__(self, outputs: Sequence[Node]):
        super().__init__(outputs)

    def run(self, leaves: Sequence[Leaf], reuse: Sequence[Buffer | None], poll: bool = True) -> list[Buffer]:
        recorder = recording.local.recorder
        if recorder is None:
            return self._run(leaves)
        with recorder.run(self, self, time.monotonic_ns) as run:
            buffers = self._run(leaves)
            run.whole(time.monotonic_ns())
        return buffers

    def works(self) -> list[recording.Work | None]:
        """What the one row of a recorded run is."""
        return [recording.by_references(self.order)]

    def _run(self, leaves: Sequence[Leaf]) -> list[Buffer]:
        values = {
            node: leaf_array(node.type, leaves[node.attributes[0]]) for node in self.order if node.op is INPUT
        }
        results = compute(self.outputs, values)
        buffers: list[Buffer] = []
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
