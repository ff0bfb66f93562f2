"""Keeps what one stage computes for the stages after it: a softmax does not take every exponential twice.

The values of a row go to scratch memory, as a further operand that the caller does not see. Only for costly
values of short rows, where reading back from the first or second cache is cheaper than computing again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from treadle.compiler.kernel import Access, Affine, Instruction, LoopKernel, Operand, Stage, Store
from treadle.devices.cpu.registers import FLOATS, ITEMSIZE

ROW_NBYTES = 64 * 1024
"""The most that a kept row may take."""


def keep(kernel: LoopKernel, costly: Callable[[str], bool]) -> LoopKernel:
    """The kernel with costly values that are computed in two stages kept from the first; new operands come
    after its own.
    """
    inner = kernel.sizes[kernel.rows :]
    points = math.prod(inner)
    strides = (0,) * kernel.rows + tuple(math.prod(inner[axis + 1 :]) for axis in range(len(inner)))
    access = Affine(0, strides)
    stages, operands = list(kernel.stages), list(kernel.operands)
    names: dict[tuple, int] = {}
    named = [_names(stage, names) for stage in stages]
    for later in range(1, len(stages)):
        earlier = later - 1
        before, after = stages[earlier], stages[later]
        if before.per != "element" or after.per != "element" or before.stores:
            continue
        places = {name: i for i, name in enumerate(named[earlier])}
        heavy = _heavy(after, costly, kernel.rows)
        covered: set[int] = set()
        for i in range(len(after.body) - 1, -1, -1):
            if i in covered:
                covered.update(after.body[i].arguments)
                continue
            dtype = after.body[i].dtype
            fits = points * ITEMSIZE.get(dtype, 8) <= ROW_NBYTES
            if not (heavy[i] and named[later][i] in places and dtype in FLOATS and fits):
                continue
            covered.update(after.body[i].arguments)
            operands.append(Operand(dtype, points, written=True))
            kept = Access(len(operands) - 1, access)
            before = replace(before, stores=(*before.stores, Store(kept, places[named[later][i]])))
            body = list(after.body)
            body[i] = Instruction("load", (), dtype, kept)
            after = replace(after, body=tuple(body))
        stages[earlier], stages[later] = before, after
    return replace(kernel, stages=tuple(stages), operands=tuple(operands))


def _names(stage: Stage, names: dict[tuple, int]) -> list[int]:
    """A number for each instruction, the same for what computes the same."""
    numbers: list[int] = []
    for instruction in stage.body:
        key = (instruction.op, instruction.dtype, repr(instruction.attribute))
        key += tuple(numbers[a] for a in instruction.arguments)
        numbers.append(names.setdefault(key, len(names)))
    return numbers


def _heavy(stage: Stage, costly: Callable[[str], bool], rows: int) -> list[bool]:
    """Which instructions take a costly one that differs between the inner points."""
    varies: list[bool] = []
    heavy: list[bool] = []
    for instruction in stage.body:
        attribute = instruction.attribute
        affine = attribute if isinstance(attribute, Affine) else getattr(attribute, "index", None)
        moves = isinstance(affine, Affine) and any(affine.strides[rows:])
        varies.append(moves or any(varies[a] for a in instruction.arguments))
        own = costly(instruction.op) and varies[-1]
        heavy.append(own or any(heavy[a] for a in instruction.arguments))
    return heavy
