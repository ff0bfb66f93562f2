"""Bodies of loops and branches while their functions are traced into graphs.

Everything made while a body is traced belongs to it, but for leaves, which it takes from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle import dtypes
from treadle.errors import Line, user_line
from treadle.graph.node import STATIC, Node, Type, new, surrounded, surroundings
from treadle.ops.random import fold_key
from treadle.ops.record import INPUT


class Body:
    """A block in which a function is traced for `name`, a loop or branch: its parameters, and for a loop, the
    number of the iteration, if it turns out to be needed.
    """

    def __init__(self, name: str, loop: bool = False):
        self.name = name
        self.parent: Body | None = surroundings.body
        self.line: Line | None = user_line()
        self.loop = loop
        self.mapped = surroundings.mapped
        """The calls of `vmap` around it."""
        self.number: Node | None = None

    def __enter__(self) -> Body:
        self._around = surrounded(body=self, inside=(*surroundings.inside, self))
        self._around.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._around.__exit__(None, None, None)

    def parameter(self, type: Type) -> Node:
        """A leaf that stands for a value given to the function."""
        with surrounded(body=self):
            return new(INPUT, (), (-1,), type, STATIC)

    def drawn(self, key: Node) -> Node:
        """A random key as this body uses it: another one in every iteration."""
        if not self.loop:
            return key
        if self.number is None:
            self.number = self.parameter(Type((), dtypes.uint64))
        with surrounded(body=self):
            return fold_key(key, self.number)

    def inside(self, node: Node) -> bool:
        """Whether a node was made while this body was traced."""
        body = node.body
        while body is not None and body is not self:
            body = body.parent
        return body is self


def bodies() -> Sequence[Body]:
    """The bodies that are being traced, outer ones first."""
    found = []
    body = surroundings.body
    while body is not None:
        found.append(body)
        body = body.parent
    return found[::-1]
