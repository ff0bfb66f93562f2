"""What a program computes once and keeps: the memory, and whether it still belongs to what the leaves hold.

Buffers say when their contents change (`HostBuffer.contents`): a variable that was assigned has another
buffer, or the same one with other contents, where the new value took the old one's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from treadle.compiler.executable import Leaf
from treadle.devices.host import HostBuffer, allocate
from treadle.graph.node import bits


class Values(NamedTuple):
    """Memory, and of which contents of the leaves it was computed. It is never written again."""

    buffer: HostBuffer
    contents: list[Any]


class Retained:
    """The values that a program keeps. Runs at the same time share them; each computes them if none has."""

    def __init__(self, nbytes: int, leaves: Sequence[int]):
        self.nbytes = nbytes
        self.leaves = tuple(leaves)
        self._values: Values | None = None

    def find(self, leaves: Sequence[Leaf]) -> tuple[Values, bool]:
        """The values for what the leaves hold, and whether they are still to be computed: the memory is fresh
        then, and `keep` is for when that is done.
        """
        found = [leaves[i] for i in self.leaves]
        contents = [leaf.contents if type(leaf) is HostBuffer else bits(leaf) for leaf in found]
        values = self._values
        # None is what nobody has asked for yet, or memory that others may write.
        if values is not None and values.contents == contents and None not in contents:
            return values, False
        contents = [contents_of(leaf) for leaf in found]
        # Let go of the old ones first: their memory may serve again.
        self._values = values = None
        return Values(allocate(self.nbytes), contents), True

    def keep(self, values: Values) -> None:
        """Values that have been computed."""
        self._values = values


def contents_of(leaf: Leaf) -> Any:
    """What is equal for leaves that hold the same, as long as one of them is remembered."""
    if type(leaf) is not HostBuffer:
        return bits(leaf)
    if leaf.borrowed:
        # Whoever owns the memory may write it.
        return object()
    if leaf.contents is None:
        leaf.contents = object()
    return leaf.contents
