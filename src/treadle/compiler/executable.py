"""What compiling a graph for a device gives: something that can be run, and asked what it will need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from treadle.graph.graph import ordered
from treadle.graph.node import Node
from treadle.graph.text import graph_text

if TYPE_CHECKING:
    from treadle.devices.buffer import Buffer

Leaf = Any
"""What a leaf is bound to: a buffer, a Python number, or a random key (two integers)."""


class Executable:
    """A graph whose leaves are `input` nodes, ready to run.

    `donations[i]` is the leaf whose buffer output i may be written into, or None: the device has made sure
    that the leaf is read no more when that output is stored. `reads` belongs to whoever caches the program.
    """

    def __init__(self, outputs: Sequence[Node]):
        self.outputs = list(outputs)
        self.order = ordered(self.outputs)
        self.donations: list[int | None] = [None] * len(self.outputs)
        self.reads: list[tuple[int, ...]] = []

    def run(self, leaves: Sequence[Leaf], reuse: Sequence[Buffer | None], poll: bool = True) -> list[Buffer]:
        """Run on what the leaves are bound to. `reuse[i]`, where given, is the donated buffer to write
        output i into.

        All that can fail or be interrupted comes before the first store into a donated buffer.
        """
        raise NotImplementedError

    def memory(self) -> dict[str, int]:
        """Bytes by kind: inputs, outputs, the arena of temporary values, and what is kept from run to run."""
        return {"inputs": 0, "outputs": 0, "arena": 0, "kept": 0}

    def explain(self) -> str:
        """What it does, for a person to read: here the graph, which is walked node by node."""
        return graph_text(self.outputs)

    def summary(self) -> str:
        """The same in short: what is called, without the graphs of the passes and without code."""
        return self.explain()

    def tune(self) -> list[Any]:
        """Measure what could be done in several ways with the same bits, and choose for programs to come."""
        return []

    def sources(self) -> list[tuple[str, str]]:
        """The code of its kernels, (label, text) each, by the numbers that `summary` gives them."""
        return []

    def _repr_html_(self) -> str:
        # A display may look upwards: nothing else here knows of pictures.
        from treadle.view import program_html

        return program_html(self)


class Committed(BaseException):
    """An interrupt that came after the program's first store into a variable: the run is complete, then it
    is raised.
    """

    def __init__(self, buffers: Sequence[Buffer], interrupt: BaseException):
        super().__init__()
        self.buffers = buffers
        self.interrupt = interrupt
