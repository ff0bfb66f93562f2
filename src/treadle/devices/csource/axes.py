"""The axes of loop kernels: changing the affine maps over them, and joining those that are walked as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from treadle.compiler.kernel import Affine, LoopKernel, Stage, with_affines
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
        with_affines(stage, note)
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
    return with_affines(stage, lambda a: Affine(a.offset, tuple([a.strides[group[-1]] for group in groups])))
