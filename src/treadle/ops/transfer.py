"""Copies between devices: the record `to`, which the value of its input does not notice."""

from __future__ import annotations

from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import first
from treadle.ops.record import register


def _infer(x: Type, device: str) -> Type:
    return x


TO = register(
    Op(
        "to",
        _infer,
        lambda x, device: x,
        lambda g, y, x, device: (to(g, x.device),),
        ("device",),
        identity=True,
        moves=True,
        batch=first,
        doc="x in the memory of another device.",
    )
)


def to(x: Node, device: str) -> Node:
    """x on a device; itself if it is there."""
    return x if x.device == device else make(TO, (x,), (device,))
