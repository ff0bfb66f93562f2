"""What a loop kernel consists of, and rewriting it: without dead code or needless guards, over other axes,
with other operands.

Everything here gives a kernel that computes the same. Knows nothing of instruction sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from treadle.compiler.kernel import Access, Affine, Check, Gather, Guard, Instruction, LoopKernel, Stage


def affines(kernel: LoopKernel) -> Iterator[Affine]:
    """All affine maps of a kernel."""
    for stage in kernel.stages:
        yield from stage_affines(stage)


def stage_affines(stage: Stage) -> Iterator[Affine]:
    """All affine maps of a stage."""
    for instruction in stage.body:
        yield from instruction_affines(instruction)
    for store in stage.stores:
        yield store.access.index
        yield from (guard.index for guard in store.access.guards)


def instruction_affines(instruction: Instruction) -> Iterator[Affine]:
    """The affine maps of an instruction."""
    attribute = instruction.attribute
    if instruction.op == "checked_offset":
        return
    if isinstance(attribute, (Access, Gather)):
        yield attribute.index
        yield from (guard.index for guard in attribute.guards)
    elif isinstance(attribute, Affine):
        yield attribute
    elif isinstance(attribute, Check):
        yield from (guard.index for guard in attribute.guards)
    elif instruction.op == "inside":
        yield from (guard.index for guard in attribute)


def checked_apart(kernel: LoopKernel) -> LoopKernel:
    """With gathers that have no guards as two instructions, so that indices are checked in the loop that
    knows them.
    """
    if not any(i.op == "gather" for stage in kernel.stages for i in stage.body):
        return kernel
    return replace(kernel, stages=tuple(_checked_apart(stage) for stage in kernel.stages))


def _checked_apart(stage: Stage) -> Stage:
    body: list[Instruction] = []
    place: dict[int, int] = {}
    for i, instruction in enumerate(stage.body):
        moved = replace(instruction, arguments=tuple(place[a] for a in instruction.arguments))
        if moved.op == "gather" and not moved.attribute.guards:
            body.append(Instruction("checked_offset", moved.arguments, "int64", moved.attribute))
            moved = replace(moved, op="load_moved", arguments=(len(body) - 1,))
        place[i] = len(body)
        body.append(moved)
    folds = tuple(
        replace(
            fold, value=place[fold.value], position=None if fold.position is None else place[fold.position]
        )
        for fold in stage.folds
    )
    stores = tuple(replace(store, value=place[store.value]) for store in stage.stores)
    return replace(stage, body=tuple(body), folds=folds, stores=stores)


def live(kernel: LoopKernel) -> LoopKernel:
    """Without the instructions that nothing uses."""
    return replace(kernel, stages=tuple(_live_stage(stage) for stage in kernel.stages))


def _live_stage(stage: Stage) -> Stage:
    used = {store.value for store in stage.stores} | {fold.value for fold in stage.folds}
    used |= {fold.position for fold in stage.folds if fold.position is not None}
    for number in range(len(stage.body) - 1, -1, -1):
        if number in used:
            used.update(stage.body[number].arguments)
    if len(used) == len(stage.body):
        return stage
    place = {old: new for new, old in enumerate(sorted(used))}
    body = tuple(
        replace(stage.body[old], arguments=tuple(place[a] for a in stage.body[old].arguments))
        for old in place
    )
    folds = tuple(
        replace(
            fold, value=place[fold.value], position=None if fold.position is None else place[fold.position]
        )
        for fold in stage.folds
    )
    stores = tuple(replace(store, value=place[store.value]) for store in stage.stores)
    return replace(stage, body=body, folds=folds, stores=stores)


def extend(stage: Stage, affine: Callable[[Affine], Affine]) -> Stage:
    """The stage with its affine maps replaced, as when the axes are others."""

    def guards(old: Sequence[Guard]) -> tuple[Guard, ...]:
        return tuple(Guard(affine(guard.index), guard.size) for guard in old)

    return rewrite(stage, affine, guards)


def rewrite(
    stage: Stage,
    affine: Callable[[Affine], Affine],
    guards: Callable[[Sequence[Guard]], tuple[Guard, ...]],
) -> Stage:
    """The stage with its affine maps and its lists of guards replaced."""

    def access(old: Any) -> Any:
        return replace(old, index=affine(old.index), guards=guards(old.guards))

    def instruction(old: Instruction) -> Instruction:
        attribute = old.attribute
        if isinstance(attribute, (Access, Gather)):
            return replace(old, attribute=access(attribute))
        if isinstance(attribute, Affine):
            return replace(old, attribute=affine(attribute))
        if isinstance(attribute, Check):
            return replace(old, attribute=replace(attribute, guards=guards(attribute.guards)))
        return replace(old, attribute=guards(attribute)) if old.op == "inside" else old

    return replace(
        stage,
        body=tuple(instruction(old) for old in stage.body),
        stores=tuple(replace(store, access=access(store.access)) for store in stage.stores),
    )


def drop_guards(kernel: LoopKernel) -> LoopKernel:
    """Without the guards that hold at every point."""

    def kept(guards: Sequence[Guard]) -> tuple[Guard, ...]:
        return tuple(guard for guard in guards if not _always(guard, kernel.sizes)) if guards else ()

    if not any(_has_guards(stage) for stage in kernel.stages):
        return kernel
    stages = tuple(rewrite(stage, lambda affine: affine, kept) for stage in kernel.stages)
    return replace(kernel, stages=stages)


def _has_guards(stage: Stage) -> bool:
    return any(
        instruction.op == "inside" or getattr(instruction.attribute, "guards", ())
        for instruction in stage.body
    ) or any(store.access.guards for store in stage.stores)


def _always(guard: Guard, sizes: Sequence[int]) -> bool:
    low, high = bounds(guard.index, sizes)
    return low >= 0 and high < guard.size


def bounds(affine: Affine, sizes: Sequence[int]) -> tuple[int, int]:
    """The least and the greatest value of an affine map over the points of a space."""
    ends = [stride * (size - 1) for stride, size in zip(affine.strides, sizes, strict=True)]
    low = affine.offset + sum(end for end in ends if end < 0)
    return low, affine.offset + sum(end for end in ends if end > 0)


def with_touched_operands(kernel: LoopKernel) -> tuple[LoopKernel, list[int]]:
    """The kernel with only the operands that it touches, and which those are."""
    touched: set[int] = set()
    for stage in kernel.stages:
        touched |= {store.access.operand for store in stage.stores}
        for instruction in stage.body:
            if isinstance(instruction.attribute, (Access, Gather)):
                touched.add(instruction.attribute.operand)
            if isinstance(instruction.attribute, (Gather, Check)):
                touched.add(instruction.attribute.status)
    kept = sorted(touched)
    place = {old: new for new, old in enumerate(kept)}

    def renamed(old: Any) -> Any:
        if isinstance(old, Gather):
            return replace(old, operand=place[old.operand], status=place[old.status])
        if isinstance(old, Check):
            return replace(old, status=place[old.status])
        return replace(old, operand=place[old.operand]) if isinstance(old, Access) else old

    stages = tuple(
        replace(
            stage,
            body=tuple(replace(i, attribute=renamed(i.attribute)) for i in stage.body),
            stores=tuple(replace(store, access=renamed(store.access)) for store in stage.stores),
        )
        for stage in kernel.stages
    )
    return replace(kernel, stages=stages, operands=tuple(kernel.operands[i] for i in kept)), kept
