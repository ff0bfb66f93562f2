"""How many nodes are alive: what a training loop must not make grow."""

from __future__ import annotations

import gc

from treadle.graph.node import Node


def alive() -> int:
    """The number of nodes that something still holds."""
    gc.collect()
    return sum(type(item) is Node for item in gc.get_objects())
