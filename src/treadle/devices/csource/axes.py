"""The axes of loop kernels: changing the affine maps over them, and joining those that are walked as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from treadle.compiler.kernel import Access, Affine, Instruction, LoopKernel, Stage, Store
from treadle.devices.csource.kernel import product


def coalesced(kernel: LoopKernel) -> LoopKernel:
    """The same kernel, its axes of one point left out, and those that every index walks as one made one.
    Folds keep an inner axis.
    """
    kept = [axis for axis, size in enumerate(kernel.sizes) if size != 1]
    if kernel.rows < len(kernel.sizes) and not any(axis >= kernel.rows for axis in kept):
        kept.append(len(kernel.sizes) - 1)
    sizes, rows = [kernel.sizes[axis] for axis in kept], sum([axis < kernel.rows for axis in kept])
    stages = [_changed(stage, [[axis] for axis in kept]) for stage in kernel.stages]
    seen: list[Affine] = []

    def note(affine: Affine) -> Affine:
        seen.append(affine)
        return affine

    for stage in stages:
        moved(stage, note)
    groups: list[list[int]] = []
    for axis in range(len(sizes)):
        before = axis - 1
        joins = groups and axis != rows
        if joins and all(a.strides[before] == a.strides[axis] * sizes[axis] for a in seen):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    rows = sum([group[0] < rows for group in groups])
    whole = tuple([product([sizes[axis] for axis in group]) for group in groups])
    return replace(
        kernel, sizes=whole, rows=rows, stages=tuple([_changed(stage, groups) for stage in stages])
    )


def _changed(stage: Stage, groups: Sequence[Sequence[int]]) -> Stage:
    """A stage over groups of axes, each walked by its last."""
    return moved(stage, lambda a: Affine(a.offset, tuple([a.strides[group[-1]] for group in groups])))


def moved(stage: Stage, change: Callable[[Affine], Affine]) -> Stage:
    """A stage whose affine maps are changed."""

    def access(a: Access) -> Access:
        return Access(
            a.operand, change(a.index), tuple([replace(g, index=change(g.index)) for g in a.guards])
        )

    def attribute(i: Instruction) -> Any:
        found = i.attribute
        if isinstance(found, Access):
            return access(found)
        if isinstance(found, Affine):
            return change(found)
        if i.op == "inside":
            return tuple([replace(g, index=change(g.index)) for g in found])
        if i.op == "gather":
            guards = tuple([replace(g, index=change(g.index)) for g in found.guards])
            return replace(found, index=change(found.index), guards=guards)
        if i.op == "checked":
            return replace(found, guards=tuple([replace(g, index=change(g.index)) for g in found.guards]))
        return found

    body = tuple([replace(i, attribute=attribute(i)) for i in stage.body])
    return replace(stage, body=body, stores=tuple([Store(access(s.access), s.value) for s in stage.stores]))
