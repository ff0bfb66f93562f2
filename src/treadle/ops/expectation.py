"""What a graph expects of sizes that are not known before it runs: said when they are."""

from __future__ import annotations

from treadle.errors import ShapeError
from treadle.graph.dimension import Size
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import first
from treadle.ops.record import register


def _infer(x: Type, size: Size, least: int, message: str) -> Type:
    if isinstance(size, int) and size < least:
        raise ShapeError(message)
    return x


EXPECT_SIZE = register(
    Op(
        "expect_size",
        _infer,
        lambda x, size, least, message: x,
        lambda g, y, x, size, least, message: (g,),
        ("size", "least", "message"),
        identity=True,
        view=True,
        batch=first,
        doc="x itself; an error with a message where a size turns out less than it must be.",
    )
)


def expect_at_least(x: Node, size: Size, least: int, message: str) -> Node:
    """x, from a graph in which a size is at least so much.

    Raises:
        ShapeError: it is known to be less; where it is not known yet, whoever runs the graph raises it.
    """
    checked = make(EXPECT_SIZE, (x,), (size, least, message))
    return x if isinstance(size, int) else checked
