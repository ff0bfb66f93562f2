"""Checks where values are scattered to before they are: nothing that stores into a variable then waits for a
scatter, such as an embedding's gradient, which comes last of all. The check costs nothing beside the gather
that looks the same indices up.
"""

from __future__ import annotations

from treadle.graph.graph import rewrite
from treadle.graph.node import Node, make
from treadle.ops.gather import CLASS_NUMBER, SCATTER_ADD, SCATTER_SET

SCATTERS = SCATTER_ADD, SCATTER_SET


def check_early(outputs: list[Node]) -> list[Node]:
    """Let scatters take checked indices."""

    def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op not in SCATTERS or is_checked(node):
            return None
        x, values, *indices = inputs
        sizes = [x.shape[axis] for axis in node.attribute("axes")]
        checked = [make(CLASS_NUMBER, (i,), (size,)) for i, size in zip(indices, sizes, strict=True)]
        return make(node.op, (x, values, *checked), node.attributes)

    return rewrite(outputs, change)


def is_checked(node: Node) -> bool:
    """Whether a scatter's indices are known to be in range when it runs."""
    sizes = [node.shape[axis] for axis in node.attribute("axes")]
    return all(
        i.op is CLASS_NUMBER and i.attribute("classes") == size
        for i, size in zip(node.inputs[2:], sizes, strict=True)
    )
