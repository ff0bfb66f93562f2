"""Records of convolutions and poolings whose results have the channels last.

They are what the compiler puts in place of the records that users' functions make, whose results are
``[batch, channels, spatial...]``; operands and attributes are the same. So no record but these knows of a
layout. They are made when gradients have been taken, and have none.
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
from treadle.ops.window import CONV, CONV_INPUT_GRADIENT

SUFFIX = "_channels_last"


def _twin(op: Op) -> Op:
    def infer(*types: Type, **attributes: Any) -> Type:
        made = op.infer(*types, **attributes)
        return Type((made.shape[0], *made.shape[2:], made.shape[1]), made.dtype)

    def reference(*arrays: Any, **attributes: Any) -> Any:
        assert op.reference is not None
        return np.moveaxis(op.reference(*arrays, **attributes), 1, -1)

    return register(
        Op(op.name + SUFFIX, infer, reference, attributes=op.attributes,
           no_gradient="gradients are taken before layouts are chosen",
           doc=f"`{op.name}`, its result as [batch, spatial..., channels].")
    )  # fmt: skip


CHANNELS_LAST: dict[str, Op] = {
    op.name: _twin(op)
    for op in (
        CONV, CONV_INPUT_GRADIENT, MAX_POOL, MAX_POOL_GRADIENT, MAX_POOL_SELECT, AVERAGE_POOL,
        AVERAGE_POOL_GRADIENT,
    )
}  # fmt: skip
"""By the name of the record whose result has the channels in dimension 1."""

CHANNELS_FIRST: dict[str, str] = {twin.name: name for name, twin in CHANNELS_LAST.items()}
"""The reverse: names by names."""
