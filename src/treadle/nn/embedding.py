"""Rows of a table by number."""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle.errors import ArgumentError, DTypeError
from treadle.nn import initial
from treadle.nn.initial import First
from treadle.nn.inputs import check_counts
from treadle.nn.module import Module, Parameter

STANDARD_NORMAL = initial.normal(1.0)


class Embedding(Module):
    """Row ``indices[...]`` of a learned table.

    Args:
        count: how many rows.
        size: how long they are.
        first: first values of the table, ``[count, size]``.
        dtype: of the table.

    Raises:
        ArgumentError: count or size is not positive.
        DTypeError: the indices are no integers.
        IndexingError: one is out of range, when it is computed.

    >>> import treadle as td
    >>> td.nn.Embedding(10, 4)(td.asarray([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, count: int, size: int, *, first: First = STANDARD_NORMAL, dtype: Any = td.float32):
        check_counts("Embedding", count=count, size=size)
        if min(count, size) < 1:
            raise ArgumentError(f"[Embedding] count={count}, size={size}: expected positive integers")
        self.weight = Parameter((count, size), first, dtype, "weight")

    def forward(self, indices: td.Array) -> td.Array:
        if indices.dtype.kind not in ("int", "uint"):
            raise DTypeError(f"[Embedding] indices are {indices.dtype}; expected integers")
        rows = td.take(self.weight, td.reshape(indices, (-1,)), axis=0)
        return td.reshape(rows, (*indices.shape, self.weight.shape[1]))

    def _summary(self) -> str:
        return f"Embedding({self.weight.shape[0]} x {self.weight.shape[1]})"
