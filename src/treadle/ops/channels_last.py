"""Records of convolutions and poolings whose results have the channels last, and of gradients of weights that
have the filters last.

They are what the compiler puts in place of the records that users' functions make, whose results are
``[batch, channels, spatial...]``, or ``[filters, channels, spatial...]`` for weights; operands and attributes
are the same. So no record but these knows of a layout. They are made when gradients have been taken, and have
none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.graph.node import Op, Type
from treadle.ops.pooling import (
    AVERAGE_POOL,
    AVERAGE_POOL_GRADIENT,
    MAX_POOL,
    MAX_POOL_GRADIENT,
    MAX_POOL_SELECT,
)
from treadle.ops.record import register
from treadle.ops.window import CONV, CONV_INPUT_GRADIENT, CONV_WEIGHT_GRADIENT

SUFFIX = "_channels_last"


def channels_last(ndim: int) -> tuple[int, ...]:
    """[batch, channels, spatial...] as [batch, spatial..., channels]."""
    return (0, *range(2, ndim), 1)


def filters_last(ndim: int) -> tuple[int, ...]:
    """[filters, channels, spatial...] as [spatial..., channels, filters]."""
    return (*range(2, ndim), 1, 0)


def order_of(name: str, ndim: int) -> tuple[int, ...]:
    """The dimensions of a record's result in the order in which its twin gives them."""
    return (filters_last if name == CONV_WEIGHT_GRADIENT.name else channels_last)(ndim)


def _twin(op: Op) -> Op:
    def infer(*types: Type, **attributes: Any) -> Type:
        made = op.infer(*types, **attributes)
        return Type([made.shape[axis] for axis in order_of(op.name, len(made.shape))], made.dtype)

    def reference(*arrays: Any, **attributes: Any) -> Any:
        assert op.reference is not None
        made = op.reference(*arrays, **attributes)
        return np.transpose(made, order_of(op.name, made.ndim))

    last = "spatial..., channels, filters" if op is CONV_WEIGHT_GRADIENT else "batch, spatial..., channels"
    return register(
        Op(op.name + SUFFIX, infer, reference, attributes=op.attributes,
           no_gradient="gradients are taken before layouts are chosen",
           doc=f"`{op.name}`, its result as [{last}].")
    )  # fmt: skip


CHANNELS_LAST: dict[str, Op] = {
    op.name: _twin(op)
    for op in (
        CONV, CONV_INPUT_GRADIENT, CONV_WEIGHT_GRADIENT, MAX_POOL, MAX_POOL_GRADIENT, MAX_POOL_SELECT,
        AVERAGE_POOL, AVERAGE_POOL_GRADIENT,
    )
}  # fmt: skip
"""By the name of the record whose result has the channels in dimension 1."""

CHANNELS_FIRST: dict[str, str] = {twin.name: name for name, twin in CHANNELS_LAST.items()}
"""The reverse: names by names."""
