"""Attention on the CPU: from shapes and strides to kernels; forward, and the gradients of queries, keys and
values.

Which tasks there are is a function of the shapes. Queries, keys and values may lie anywhere in memory; what
the gradients of keys and values are summed from has to have its features side by side, and is copied where
it has not.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from treadle.devices.cpu.attention_forward import forward_kernel
from treadle.devices.cpu.attention_gradient import gradient_kernel
from treadle.devices.cpu.attention_problem import Attention
from treadle.devices.cpu.copies import Place, Strides, copied, row_major
from treadle.devices.cpu.native import Lowered, Step
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa

WHOLE_HEADS = 4
"""From so many heads of a batch on, one task has all of a head, and computes its weights once for the three
gradients; with fewer, the gradient of the queries is a kernel of its own, of tasks along the queries.
"""


def forward(a: Attention, isa: Isa) -> Lowered:
    """Operands: query, key, value and the mask, if there is one, ``("in", 0)`` to ``("in", 3)``; the result
    and the normalizer ``("out", 0)`` and ``("out", 1)``.
    """
    given = tuple(("in", i) for i in range(3 + (a.mask is not None)))
    return Lowered((Step(forward_kernel(a, isa), (*given, ("out", 0), ("out", 1))),))


def gradient(a: Attention, isa: Isa) -> Lowered:
    """Operands: the result's gradient, what rows are worth, the normalizer, query, key, value, mask: ``("in",
    0)`` to ``("in", 6)``; the gradients of query, key and value ``("out", 0)`` to ``("out", 2)``.
    """
    steps: list[Step] = []
    sizes: list[int] = []

    def beside(place: Place, strides: Strides, places: int, features: int) -> tuple[Place, Strides]:
        """Where the same lies with its features side by side."""
        if strides[-1] == 1 or features == 1:
            return place, (*strides[:-1], 1)
        shape = (*a.batch, places, features)
        there, made = ("temp", len(sizes)), row_major(shape)
        steps.append(copied(isa, shape, (place, strides, a.dtype), (there, made, a.dtype)))
        sizes.append(prod(shape) * ITEMSIZE[a.dtype])
        return there, made

    g, result = beside(("in", 0), a.result, a.targets, a.features)
    query, strides = beside(("in", 3), a.query, a.targets, a.size)
    a = replace(a, result=result, query=strides)
    read = g, ("in", 1), ("in", 2), query, *(("in", i) for i in range(4, 6 + (a.mask is not None)))
    parts = ("query", "key and value") if prod(a.batch) < WHOLE_HEADS else ("query, key and value",)
    for part in parts:
        outputs = [("out", i) for i, name in enumerate(("query", "key", "value")) if name in part]
        steps.append(Step(gradient_kernel(a, part, isa), (*read, *outputs)))
    return Lowered(tuple(steps), tuple(sizes))
