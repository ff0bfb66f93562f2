"""Arranges the axes of a loop kernel for a CPU: drops, reorders and merges them, and chooses the one that
vectors lie along.

The kernel that comes out computes the same; its vector axis is the last of the rows or the last of the inner
axes. Everything is a function of the kernel and the instruction set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from treadle.compiler.kernel import Affine, Guard, Instruction, LoopKernel, Stage
from treadle.devices.cpu.access import has_masks
from treadle.devices.cpu.kept import keep
from treadle.devices.cpu.registers import FLOATS, ITEMSIZE, NARROW, Unsupported
from treadle.devices.cpu.rewrite import affines, checked_apart, drop_guards, extend, instruction_affines, live
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.transpose import Tiling, contiguous_axis, tiling

SIMPLE = frozenset(
    """
    add subtract multiply negative positive square abs floor ceil trunc round copysign sign maximum minimum
    where cast equal not_equal less less_equal greater greater_equal isnan isinf isfinite signbit logical_and
    logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_invert bitwise_left_shift
    bitwise_right_shift load constant index inside result accumulator gather checked_offset load_moved
    """.split()  # noqa: SIM905
)
"""Ops of a few instructions each; the others count for `HEAVY`."""
HEAVY = 12
MOST_VECTORS = 4
"""Registers of one value that are computed together."""
FAR = 1 << 62
"""The stride of a place that depends on values."""


@dataclass(frozen=True)
class Limit:
    """An inner axis whose last points do not exist in every row: it is walked while `guard` holds, which has
    stride 1 along it.
    """

    axis: int
    guard: Guard


@dataclass(frozen=True)
class Arranged:
    """A kernel ready to be rendered: vectors of `lanes` elements, up to `width` of them at a time, lie along
    axis `vector`.
    """

    kernel: LoopKernel
    vector: int
    lanes: int
    width: int
    masks: bool
    """Whether an incomplete vector is a masked one; else it is done one element at a time."""
    given: int
    """How many operands the caller gives; those after are in scratch memory."""
    limit: Limit | None = None
    tiling: Tiling | None = None


def arrange(kernel: LoopKernel, isa: Isa, limit: Limit | None = None) -> Arranged:
    """See the module's docstring."""
    for operand in kernel.operands:
        if operand.dtype not in ITEMSIZE:
            raise Unsupported(f"dtype {operand.dtype}")
    kernel = drop_guards(checked_apart(live(kernel)))
    lanes = preferred_lanes(kernel, isa)
    masks = all(has_masks(isa, itemsize) for itemsize in {ITEMSIZE[o.dtype] for o in kernel.operands})
    strides = {affine.strides for affine in affines(kernel)} | (
        {limit.guard.index.strides} if limit else set()
    )
    columns = list(zip(*strides, strict=True))
    if not columns:
        columns = [()] * len(kernel.sizes)
    groups = _groups(kernel, columns)
    rows = sum(kind == "row" for kind, _ in groups)
    chosen = _choose(kernel, groups, rows, lanes, masks)
    group = groups.pop(chosen)
    groups.insert(rows - 1 if group[0] == "row" else len(groups), group)
    vector = rows - 1 if group[0] == "row" else len(groups) - 1
    regrouped = [axes for _, axes in groups]
    kernel = _regroup(kernel, regrouped, rows)
    if limit is not None:
        guard = Guard(_regrouped(limit.guard.index, regrouped), limit.guard.size)
        limit = Limit(next(g for g, axes in enumerate(regrouped) if limit.axis in axes), guard)
    tiles = None
    if rows == len(groups):
        kernel, tiles = _tiled(kernel, isa, MOST_VECTORS * lanes)
    width = _width(kernel, isa, vector, lanes, masks, tiles is not None)
    return Arranged(kernel, vector, lanes, width, masks, len(kernel.operands), limit, tiles)


# -- the order of axes


def _groups(kernel: LoopKernel, columns: list[tuple[int, ...]]) -> list[tuple[str, list[int]]]:
    """The new axes, each a run of old ones that merge into it (outermost first): rows, then inner axes."""
    ordered = any(fold.position is not None for stage in kernel.stages for fold in stage.folds)
    stores = {s.access.index.strides for stage in kernel.stages for s in stage.stores}
    loads = {a.strides for a in affines(kernel)} - stores
    groups: list[tuple[str, list[int]]] = []
    for kind, axes in (("row", range(kernel.rows)), ("inner", range(kernel.rows, len(kernel.sizes)))):
        kept = [axis for axis in axes if kernel.sizes[axis] != 1]
        if kind == "row" or not ordered:

            def step(axis: int) -> tuple[int, int]:
                return -sum(abs(s[axis]) for s in stores), -sum(abs(s[axis]) for s in loads)

            kept.sort(key=step)
        merged: list[list[int]] = []
        for axis in kept:
            if merged and all(
                outer == kernel.sizes[axis] * inner
                for outer, inner in zip(columns[merged[-1][-1]], columns[axis], strict=True)
            ):
                merged[-1].append(axis)
            else:
                merged.append([axis])
        if not merged and (kind == "row" or kernel.rows < len(kernel.sizes)):
            merged.append([])
        groups += [(kind, group) for group in merged]
    return groups


def _regroup(kernel: LoopKernel, groups: list[list[int]], rows: int) -> LoopKernel:
    """The kernel over the new axes."""
    sizes = tuple(math.prod(kernel.sizes[axis] for axis in group) for group in groups)
    if groups == [[axis] for axis in range(len(kernel.sizes))]:
        return kernel

    stages = tuple(extend(stage, partial(_regrouped, groups=groups)) for stage in kernel.stages)
    return replace(kernel, stages=stages, sizes=sizes, rows=rows)


def _regrouped(affine: Affine, groups: list[list[int]]) -> Affine:
    return Affine(affine.offset, tuple(affine.strides[group[-1]] if group else 0 for group in groups))


def with_kept_values(arranged: Arranged) -> Arranged:
    """The same, but for costly values that several stages need: see `treadle.devices.cpu.kept`."""
    if arranged.vector < arranged.kernel.rows:
        return arranged
    return replace(arranged, kernel=live(keep(arranged.kernel, lambda op: op not in SIMPLE)))


def _tiled(kernel: LoopKernel, isa: Isa, width: int) -> tuple[LoopKernel, Tiling | None]:
    """An elementwise kernel with the axis along which its other loads are contiguous moved before the vector
    axis.
    """
    last = kernel.rows - 1
    down = contiguous_axis(kernel, last)
    if down is None:
        return kernel, None
    order = [axis for axis in range(last) if axis != down] + [down, last]
    moved = _regroup(kernel, [[axis] for axis in order], kernel.rows)
    tiles = tiling(moved, last, width, isa)
    return (kernel, None) if tiles is None else (moved, tiles)


# -- the vector axis


def preferred_lanes(kernel: LoopKernel, isa: Isa) -> int:
    """How many elements one vector register holds of the widest type that is computed with.

    Wide integers do not count beside floats: they are places and positions.
    """
    dtypes = {i.dtype for stage in kernel.stages for i in stage.body if i.op not in ("constant", "index")}
    dtypes |= {o.dtype for o in kernel.operands if o.written}
    floats = [4 if dtype in NARROW else ITEMSIZE[dtype] for dtype in dtypes if dtype in FLOATS]
    itemsize = max(floats or [ITEMSIZE.get(dtype, 8) for dtype in dtypes] or [4])
    return isa.lanes(itemsize)


def cost(body: Sequence[Instruction]) -> int:
    """About how many instructions a body is, loads and constants aside."""
    free = ("load", "constant", "result")
    return sum(0 if i.op in free else 1 if i.op in SIMPLE else HEAVY for i in body)


def _choose(
    kernel: LoopKernel, groups: list[tuple[str, list[int]]], rows: int, lanes: int, masks: bool
) -> int:
    """The group along which vectors cost least. An inner axis that folds must keep in order is a candidate
    only if it is the last.
    """
    ordered = any(fold.position is not None for stage in kernel.stages for fold in stage.folds)
    candidates = [
        g for g, (kind, _) in enumerate(groups) if kind == "row" or not ordered or g == len(groups) - 1
    ]
    if len(candidates) == 1:
        return candidates[0]

    def price(g: int) -> tuple[float, int]:
        return _price(kernel, groups[g], lanes, masks), -g

    return min(candidates, key=price)


def load_strides(stage: Stage, axis: int | None) -> list[int]:
    """How far each load and gather of a stage moves along an axis; a gather whose indices move has a stride
    of its own.
    """
    reads = ("load", "gather", "load_moved")
    if axis is None:
        return [0 for i in stage.body if i.op in reads]
    moves = moving(stage, axis, False)
    return [
        FAR if any(moves[a] for a in i.arguments) else i.attribute.index.strides[axis]
        for i in stage.body
        if i.op in reads
    ]


def moving(stage: Stage, axis: int, results: bool) -> list[bool]:
    """Which instructions differ from point to point along an axis; whether what was folded does is
    `results`.
    """
    moves: list[bool] = []
    for i in stage.body:
        own = results if i.op == "result" else any(affine.strides[axis] for affine in instruction_affines(i))
        moves.append(own or any(moves[a] for a in i.arguments))
    return moves


def _price(kernel: LoopKernel, group: tuple[str, list[int]], lanes: int, masks: bool) -> float:
    """Instructions per point if vectors lie along a group of axes."""
    kind, axes = group
    size = math.prod(kernel.sizes[axis] for axis in axes)
    inner = max(1, math.prod(kernel.sizes[kernel.rows :]))
    trips = (-(-size // lanes) if masks else size // lanes + size % lanes) / max(size, 1)
    total = 0.0
    for stage in kernel.stages:
        weight = 1.0 if stage.per == "element" else 1 / inner
        scalar = kind == "inner" and stage.per == "row"
        axis = axes[-1] if axes else None
        steps = cost(stage.body) + 2 * len(stage.folds)
        steps += sum(
            {0: 0.25, 1: 1.0, -1: 1.5, 2: 3.0}.get(stride, 1.2 * lanes)
            for stride in load_strides(stage, axis)
        )
        for store in stage.stores:
            steps += 1.0 if axis is not None and store.access.index.strides[axis] == 1 else 2.0 * lanes
        total += weight * steps * (1 if scalar else trips)
        if kind == "inner":
            total += 10 * len(stage.folds) / inner
    return total


def _width(kernel: LoopKernel, isa: Isa, axis: int, lanes: int, masks: bool, tiled: bool) -> int:
    """Elements done at a time: several vectors where bodies are short, so that their latencies overlap;
    fewer for a short axis.
    """
    size = kernel.sizes[axis]
    longest = 0
    stages = [stage for stage in kernel.stages if stage.per == "element"]
    for stage in stages or kernel.stages:
        moves = moving(stage, axis, axis < kernel.rows)
        vectors = [i for i, moved in zip(stage.body, moves, strict=True) if moved]
        longest = max(longest, cost(vectors) + 3 * len(stage.folds))
    room = 24 if isa.registers == 32 else 12
    vectors = MOST_VECTORS if longest * MOST_VECTORS <= room else 2 if longest * 2 <= room else 1
    positions = any(f.position is not None for stage in kernel.stages for f in stage.folds)
    far = not tiled and any(abs(s) > 2 for stage in kernel.stages for s in load_strides(stage, axis))
    if positions or far:
        vectors = 1
    width = lanes * vectors
    while width > lanes and (-(-size // width) * width if masks else size + 3 * (size % width)) > 1.15 * size:
        width //= 2
    while width > 1 and (width // 2 >= size if masks else width > size):
        width //= 2
    return width
