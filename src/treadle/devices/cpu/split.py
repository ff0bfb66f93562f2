"""Cuts loop kernels with few rows and many inner points into several, so that there is work for many threads.

Each fold becomes two steps: chunks of the inner points are folded to partial results in a temporary, then
those are folded. A stage that folds nothing becomes a kernel of rows. How many chunks there are is a
function of the kernel and the instruction set alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from treadle.compiler.kernel import (
    Access,
    Affine,
    Fold,
    Guard,
    Instruction,
    LoopKernel,
    Operand,
    Stage,
    Store,
)
from treadle.devices.cpu.arrange import Limit
from treadle.devices.cpu.registers import NARROW
from treadle.devices.cpu.rewrite import extend

CHUNKS = 64
"""At most so many partial results for each row."""
MULTIPLE = 256
"""Chunks of a long axis are multiples of this, which every number of lanes divides."""


@dataclass(frozen=True)
class Part:
    """One of the kernels: its operands are those of the whole kernel, then the temporaries."""

    kernel: LoopKernel
    limit: Limit | None = None


@dataclass
class _Split:
    """The parts made so far, and where earlier results lie."""

    kernel: LoopKernel
    chunk: int
    axis: int
    chunks: int
    parts: list[Part] = field(default_factory=list)
    temporaries: list[Operand] = field(default_factory=list)
    places: dict[tuple[int, int], int] = field(default_factory=dict)


def chunking(kernel: LoopKernel, wanted: int) -> tuple[int, int, int] | None:
    """The inner axis to cut in about `wanted` chunks, the chunks' length and their number; None if it cannot
    be done.
    """
    inner = range(kernel.rows, len(kernel.sizes))
    ordered = any(fold.position is not None for stage in kernel.stages for fold in stage.folds)
    axis = kernel.rows if ordered else max(inner, key=lambda a: kernel.sizes[a])
    size = kernel.sizes[axis]
    wanted = min(wanted, CHUNKS)
    if wanted < 2:
        return None
    if size >= 16 * MULTIPLE:
        length = math.ceil(size / (wanted * MULTIPLE)) * MULTIPLE
        return (axis, length, -(-size // length)) if length < size else None
    chunks = max(c for c in range(1, wanted + 1) if size % c == 0)
    return (axis, size // chunks, chunks) if chunks > 1 else None


def split(kernel: LoopKernel, axis: int, length: int, chunks: int) -> tuple[list[Part], list[Operand]]:
    """The kernel as parts to run in order, and the temporaries that they share; inner axis `axis` is cut."""
    state = _Split(kernel, length, axis, chunks)
    stages = list(enumerate(kernel.stages))
    while stages:
        number, stage = stages.pop(0)
        if stage.per == "row":
            _add_rows(state, [stage, *_take_rows(stages)])
        elif not stage.folds:
            _add_elements(state, stage)
        else:
            partial = _add_partial(state, number, stage)
            _add_combining(state, number, stage, partial, _take_rows(stages))
    return state.parts, state.temporaries


def _take_rows(stages: list[tuple[int, Stage]]) -> list[Stage]:
    """The stages at the front that run once per row."""
    taken = []
    while stages and stages[0][1].per == "row":
        taken.append(stages.pop(0)[1])
    return taken


def _temporary(state: _Split, dtype: str, size: int) -> int:
    """A new operand."""
    state.temporaries.append(Operand(dtype, size, written=True))
    return len(state.kernel.operands) + len(state.temporaries) - 1


def _row_strides(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def _fetched(state: _Split, stage: Stage, axes: Callable[[Affine], Affine]) -> Stage:
    """A stage that reads earlier results from their temporaries, its affine maps over other axes."""

    def fetch(instruction: Instruction) -> Instruction:
        if instruction.op != "result" or instruction.attribute not in state.places:
            return instruction
        strides = _row_strides(state.kernel.sizes[: state.kernel.rows])
        strides += (0,) * (len(state.kernel.sizes) - state.kernel.rows)
        access = Access(state.places[instruction.attribute], axes(Affine(0, strides)))
        return replace(instruction, op="load", attribute=access)

    stage = extend(stage, axes)
    return replace(stage, body=tuple(fetch(instruction) for instruction in stage.body))


def _add(
    state: _Split, sizes: tuple[int, ...], rows: int, stages: list[Stage], limit: Limit | None = None
) -> None:
    operands = (*state.kernel.operands, *state.temporaries)
    state.parts.append(Part(LoopKernel(sizes, rows, operands, tuple(stages), state.kernel.label), limit))


def _add_rows(state: _Split, stages: list[Stage]) -> None:
    """Stages once per row, after no fold."""
    rows = state.kernel.rows
    drop = _kept(range(rows))
    fetched = [_fetched(state, stage, drop) for stage in stages]
    _add(state, state.kernel.sizes[:rows], rows, fetched)


def _add_elements(state: _Split, stage: Stage) -> None:
    """A stage without folds: every point is a row."""
    whole = _kept(range(len(state.kernel.sizes)))
    fetched = replace(_fetched(state, stage, whole), per="row")
    _add(state, state.kernel.sizes, len(state.kernel.sizes), [fetched])


def _add_partial(state: _Split, number: int, stage: Stage) -> list[tuple[Fold, list[int]]]:
    """The folds of chunks; each fold of the combining kernel, and the operands of what it folds."""
    kernel, rows, axis = state.kernel, state.kernel.rows, state.axis

    def axes(affine: Affine) -> Affine:
        old = affine.strides
        return Affine(affine.offset, (*old[:rows], old[axis] * state.chunk, *old[rows:]))

    fetched = _fetched(state, stage, axes)
    count = math.prod(kernel.sizes[:rows]) * state.chunks
    strides = (*(s for s in _row_strides(kernel.sizes[:rows])), math.prod(kernel.sizes[:rows]))
    strides += (0,) * (len(kernel.sizes) - rows)
    folds: list[Fold] = []
    combining: list[tuple[Fold, list[int]]] = []
    for fold in stage.folds:
        dtype = "float32" if fold.dtype in NARROW else fold.dtype
        if fold.position is None:
            combining.append((replace(fold, value=0), [_temporary(state, dtype, count)]))
            folds.append(replace(fold, dtype=dtype))
        else:
            extreme = stage.body[fold.value].dtype
            combine = "maximum" if fold.combine == "argmax" else "minimum"
            places = [_temporary(state, extreme, count), _temporary(state, "int64", count)]
            combining.append((replace(fold, value=0, position=1), places))
            folds += [Fold(combine, fold.value, extreme), fold]
    targets = [place for _, places in combining for place in places]
    body = tuple(Instruction("result", (), fold.dtype, (0, i)) for i, fold in enumerate(folds))
    stores = tuple(Store(Access(target, Affine(0, strides)), i) for i, target in enumerate(targets))
    sizes = (*kernel.sizes[:rows], state.chunks, *kernel.sizes[rows:])
    sizes = (*sizes[: axis + 1], state.chunk, *sizes[axis + 2 :])
    limit = None
    if state.chunk * state.chunks != kernel.sizes[axis]:
        walked = tuple(state.chunk if a == rows else int(a == axis + 1) for a in range(len(sizes)))
        limit = Limit(axis + 1, Guard(Affine(0, walked), kernel.sizes[axis]))
    stages = [replace(fetched, folds=tuple(folds)), Stage("row", body, (), stores)]
    _add(state, sizes, rows + 1, stages, limit)
    return combining


def _add_combining(
    state: _Split, number: int, stage: Stage, partial: list[tuple[Fold, list[int]]], following: list[Stage]
) -> None:
    """The fold of the partial results, which are kept for later parts, and the stages once per row that
    follow.
    """
    kernel, rows = state.kernel, state.kernel.rows
    count = math.prod(kernel.sizes[:rows])
    strides = (*_row_strides(kernel.sizes[:rows]), count)
    body: list[Instruction] = []
    folds: list[Fold] = []
    for fold, places in partial:
        first = len(body)
        for place in places:
            dtype = state.temporaries[place - len(kernel.operands)].dtype
            body.append(Instruction("load", (), dtype, Access(place, Affine(0, strides))))
        position = None if fold.position is None else first + 1
        folds.append(replace(fold, value=first, position=position))
    targets = [_temporary(state, fold.dtype, count) for fold in folds]
    results = tuple(Instruction("result", (), fold.dtype, (0, i)) for i, fold in enumerate(folds))
    row = Affine(0, (*strides[:-1], 0))
    keep = Stage("row", results, (), tuple(Store(Access(target, row), i) for i, target in enumerate(targets)))
    drop = _kept(range(rows), 1)
    fetched = [_renumbered(_fetched(state, s, drop), number) for s in following]
    _add(
        state,
        (*kernel.sizes[:rows], state.chunks),
        rows,
        [Stage("element", tuple(body), tuple(folds)), keep, *fetched],
    )
    state.places |= {(number, i): target for i, target in enumerate(targets)}


def _kept(axes: range, appended: int = 0) -> Callable[[Affine], Affine]:
    """Affine maps over the first axes, with axes of stride 0 after them."""
    return lambda affine: Affine(affine.offset, affine.strides[: len(axes)] + (0,) * appended)


def _renumbered(stage: Stage, number: int) -> Stage:
    """A stage whose results of stage `number` are those of the first stage of its new kernel."""

    def renumber(instruction: Instruction) -> Instruction:
        if instruction.op == "result" and instruction.attribute[0] == number:
            return replace(instruction, attribute=(0, instruction.attribute[1]))
        return instruction

    return replace(stage, body=tuple(renumber(instruction) for instruction in stage.body))
