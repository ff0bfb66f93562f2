"""Batching rules that families of ops share: what `vmap` makes of an op, given to its record as `batch`.

A rule gets the node for one example, the number of examples, and the inputs, of which those that are batched
have the dimension of the examples in front. It returns a node that has it in front too; or one that has not,
and so is the same for every example. Rules that only one family needs stand there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.graph.dimension import Size
from treadle.graph.node import Node, Types, make
from treadle.ops.record import broadcast, reshaped, results

Flags = Sequence[bool]

AXES = ("axis", "axes")
"""Attributes that name dimensions, counted from the front."""


def in_front(x: Node, size: Size, batched: bool) -> Node:
    """The input with the dimension of the examples in front; one that is not batched is repeated."""
    return x if batched else broadcast(x, (size, *x.shape))


def everywhere(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Any:
    """The same op on all examples at once: elementwise ops, and those that act on the last dimensions."""
    given = tuple([in_front(x, size, b) for x, b in zip(inputs, batched, strict=True)])
    made = make(y.op, given, y.attributes)
    return results(made) if type(made.type) is Types else made


def shifted(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Any:
    """The same op along the same dimensions, which come one later: reductions, sorting, running sums."""

    def moved(value: Any) -> Any:
        return value + 1 if isinstance(value, int) else tuple([axis + 1 for axis in value])

    attributes = tuple(
        [moved(v) if name in AXES else v for name, v in zip(y.op.attributes, y.attributes, strict=True)]
    )
    given = tuple([in_front(x, size, b) for x, b in zip(inputs, batched, strict=True)])
    made = make(y.op, given, attributes)
    return results(made) if type(made.type) is Types else made


def folded(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node:
    """One larger batch, for ops whose first dimension is a batch already."""
    given = [in_front(x, size, b) for x, b in zip(inputs, batched, strict=True)]
    joined = tuple([reshaped(x, (size * x.shape[1], *x.shape[2:])) for x in given])
    return reshaped(make(y.op, joined, y.attributes), (size, *y.shape))


def first(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node:
    """The same op on what is there: for ops whose value is their first input's."""
    return make(y.op, tuple(inputs), y.attributes)
