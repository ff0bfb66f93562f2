"""Which nodes the fusion pass writes as loops, and which have kernels of their own, or none."""

from __future__ import annotations

from collections.abc import Callable, Container

from treadle.compiler.costs import INLINE, REDUCTIONS
from treadle.compiler.indexmap import MOVEMENT
from treadle.graph.node import Node

LOOPED = frozenset(MOVEMENT) | REDUCTIONS | INLINE | {"concat"}
"""Ops that the fusion pass writes as loops, besides elementwise ones."""
SPELLINGS = {"astype": "cast", "relu": "maximum"}
"""Elementwise ops that are instructions of another name."""


def is_apart(node: Node, library: Container[str], supported: Callable[[str, tuple[str, ...]], bool]) -> bool:
    """Whether a node is not for the fusion pass: its op is in a device's `library`, or it runs its reference
    on the host, as sorting does and what users add. `supported` says which instructions a device has for
    which dtypes.
    """
    name = node.op.name
    if node.op.user or name in library or len(node.types) > 1:
        return True
    types = [type for value in (node, *node.inputs) for type in value.types]
    if any(type.dtype.kind == "complex" for type in types):
        return True
    if not node.op.elementwise or name in LOOPED:
        return name not in LOOPED
    dtypes = [child.dtype.name for child in node.inputs] + [node.dtype.name] * (name == "astype")
    return not supported(SPELLINGS.get(name, name), tuple(dtypes))
