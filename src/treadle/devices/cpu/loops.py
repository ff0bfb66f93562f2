"""Renders loop kernels to native code: nested loops over tasks, rows and inner points, vectors along one
axis.

An instruction is computed in the outermost loop that knows all it needs, as a scalar if it is the same in
all lanes. Knows nothing of what instructions do: that is `treadle.devices.cpu.expression`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from treadle.compiler.kernel import Affine, LoopKernel, Stage
from treadle.devices.cpu import folds
from treadle.devices.cpu.arrange import Arranged, arrange, cost, instruction_affines, stage_affines
from treadle.devices.cpu.expression import Site, evaluate, module_for, render_store
from treadle.devices.cpu.ir import Function, Index, Value
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.registers import ITEMSIZE, cast, widen
from treadle.devices.cpu.target import Isa

TASK_NBYTES = 64 * 1024
"""Work of a task, in bytes touched; an instruction counts like half a byte."""


def render(kernel: LoopKernel, isa: Isa) -> Lowered:
    """The kernel as native code; operand i of every step is ``("in", i)``, operand i of the loop kernel."""
    if math.prod(kernel.sizes[: kernel.rows]) == 0:
        return Lowered(())
    native = render_kernel(kernel, isa)
    return Lowered((Step(native, tuple(("in", i) for i in range(len(kernel.operands)))),))


def render_kernel(kernel: LoopKernel, isa: Isa) -> NativeKernel:
    """One loop kernel as one native kernel with the same operands."""
    arranged = arrange(kernel, isa)
    tasks = divide(arranged)
    module = module_for(isa)
    nest = _Nest(arranged, tasks, isa, module.function("kernel", ["ptr", "i64", "i64", "ptr"]))
    nest.write()
    points = math.prod(kernel.sizes)
    flops = sum(cost(stage.body) + len(stage.folds) for stage in arranged.kernel.stages) * points
    nbytes = sum(ITEMSIZE[operand.dtype] * operand.size for operand in kernel.operands)
    return NativeKernel(module.text(), kernel.label, tasks.count, flops=flops, nbytes=nbytes)


@dataclass(frozen=True)
class Tasks:
    """How rows are cut: a task is one point of the axes before `axis`, `piece` points of `axis`, and all of
    the axes after.
    """

    axis: int
    piece: int
    pieces: int
    count: int


def divide(arranged: Arranged) -> Tasks:
    """Cut the rows so that a task touches about `TASK_NBYTES`."""
    kernel = arranged.kernel
    inner = math.prod(kernel.sizes[kernel.rows :])
    work = 0.0
    for stage in kernel.stages:
        touched = sum(ITEMSIZE[i.dtype] for i in stage.body if i.op in ("load", "gather"))
        touched += sum(ITEMSIZE[kernel.operands[s.access.operand].dtype] for s in stage.stores)
        work += (touched + cost(stage.body) / 2) * (inner if stage.per == "element" else 1)
    points = max(1, int(TASK_NBYTES / max(work, 1)))
    axis, beyond = kernel.rows - 1, 1
    while axis > 0 and beyond * kernel.sizes[axis] <= points:
        beyond *= kernel.sizes[axis]
        axis -= 1
    size = kernel.sizes[axis]
    pieces = max(1, -(-size * beyond // max(points, 1)) if points >= beyond else size)
    step = arranged.width if axis == arranged.vector else 1
    piece = -(-size // pieces)
    piece = -(-piece // step) * step
    pieces = -(-size // piece)
    return Tasks(axis, piece, pieces, pieces * math.prod(kernel.sizes[:axis]))


@dataclass(frozen=True)
class _Scope:
    """What is known inside the loops opened so far."""

    sums: dict[tuple[int, ...], Index]
    """For each tuple of strides, its part of the affine maps that belongs to these loops' axes."""
    values: tuple[dict[int, Value], ...]
    """The instructions of each stage that are computed already."""
    lanes: int = 1
    mask: Value | None = None
    results: dict[tuple[int, int], Value] = field(default_factory=dict)


class _LoopSite(Site):
    """A site inside loops, which sum up affine maps as they go."""

    sums: dict[tuple[int, ...], Index]

    def place(self, affine: Affine) -> Index:
        return self.f.add(self.sums[affine.strides], affine.offset)


class _Nest:
    """Writes the entry function of one kernel."""

    def __init__(self, arranged: Arranged, tasks: Tasks, isa: Isa, f: Function):
        self.arranged = arranged
        self.kernel = arranged.kernel
        self.tasks = tasks
        self.isa = isa
        self.f = f
        self.plans = [_Plan(stage, self.kernel.rows, len(self.kernel.sizes)) for stage in self.kernel.stages]
        self.pointers: list[Value] = []

    def write(self) -> None:
        f, kernel = self.f, self.kernel
        arguments, first, last, _ = f.arguments
        self.pointers = [f.load("ptr", f.at(arguments, 8 * i), align=8) for i in range(len(kernel.operands))]
        strides = {affine.strides for stage in kernel.stages for affine in stage_affines(stage)}
        scope = _Scope(dict.fromkeys(strides, 0), tuple({} for _ in kernel.stages))
        scope = self.compute(scope, 0)
        f.loop(first, last, lambda task: self.task(scope, task))
        f.ret()

    # -- rows

    def task(self, scope: _Scope, task: Value) -> None:
        """Find the task's place and walk its rows."""
        f, tasks, sizes = self.f, self.tasks, self.kernel.sizes
        outer, piece = f.divmod(task, tasks.pieces)
        places: list[Index] = []
        for axis in range(tasks.axis - 1, -1, -1):
            outer, place = f.divmod(outer, sizes[axis]) if axis else (0, outer)
            places.insert(0, place)
        for axis, place in enumerate(places):
            scope = self.enter(scope, axis, place)
        start = f.mul(piece, tasks.piece) if tasks.pieces > 1 else 0
        stop = f.min(f.add(start, tasks.piece), sizes[tasks.axis]) if tasks.pieces > 1 else sizes[tasks.axis]
        self.rows(scope, tasks.axis, start, stop)

    def rows(self, scope: _Scope, axis: int, start: Index, stop: Index) -> None:
        """Walk a row axis and those after it."""
        if axis == self.kernel.rows:
            self.stages(scope)
            return
        following = self.kernel.sizes[axis + 1] if axis + 1 < self.kernel.rows else 0

        def visit(place: Index, lanes: int, mask: Value | None, scope: _Scope, *_: Value) -> list[Value]:
            self.rows(self.enter(scope, axis, place, lanes, mask), axis + 1, 0, following)
            return []

        if axis == self.arranged.vector:
            self.vectors(scope, axis, start, stop, visit, {})
        else:
            self.f.loop(start, stop, lambda place: visit(place, 1, None, scope))

    def stages(self, scope: _Scope) -> None:
        """All stages of one row, or of a vector of rows."""
        for number, (stage, plan) in enumerate(zip(self.kernel.stages, self.plans, strict=True)):
            scope = self.compute_listed(scope, number, plan.after_results)
            if stage.per == "row":
                self.store(scope, number)
                continue
            results = self.fold(scope, number)
            scope = replace(scope, results={**scope.results, **results})

    # -- inner points

    def fold(self, scope: _Scope, number: int) -> dict[tuple[int, int], Value]:
        """Walk the inner points of one stage."""
        f, stage = self.f, self.kernel.stages[number]
        along_rows = self.arranged.vector < self.kernel.rows
        widths = (scope.lanes,) if along_rows else self.widths()
        empty = math.prod(self.kernel.sizes[self.kernel.rows :]) == 0
        dtypes = self.dtypes(stage)
        carried = {
            width: [
                v
                for fold, dtype in zip(stage.folds, dtypes, strict=True)
                for v in folds.start(f, fold, dtype, width)
            ]
            for width in widths
        }
        if not empty:
            carried = self.inner(scope, number, self.kernel.rows, carried)
        results = {}
        taken = 0
        for position, (fold, dtype) in enumerate(zip(stage.folds, dtypes, strict=True)):
            count = 1 if fold.position is None else 2
            accumulators = [carried[width][taken : taken + count] for width in widths]
            taken += count
            if not along_rows:
                accumulators = [folds.fold_lanes(f, fold, dtype, a) for a in accumulators]
            merged = accumulators[0]
            for accumulator in accumulators[1:]:
                merged = folds.merge(f, fold, dtype, merged, accumulator)
            result = folds.finish(f, self.isa, fold, merged)
            if empty and fold.combine == "add":
                result = f.constant(result.type, 0)
            results[number, position] = result
        return results

    def dtypes(self, stage: Stage) -> list[str]:
        """What each fold accumulates values as."""
        return [fold.dtype if fold.position is None else stage.body[fold.value].dtype for fold in stage.folds]

    def inner(
        self, scope: _Scope, number: int, axis: int, carried: dict[int, list[Value]]
    ) -> dict[int, list[Value]]:
        """Walk an inner axis and those after it; `carried` are the accumulators of each width."""
        if axis == len(self.kernel.sizes):
            width = scope.lanes
            self.store(scope, number)
            return {**carried, width: self.take(scope, number, carried[width])}
        if axis == self.arranged.vector:

            def visit(
                place: Index, lanes: int, mask: Value | None, scope: _Scope, *values: Value
            ) -> list[Value]:
                scope = self.enter(scope, axis, place, lanes, mask, number)
                return self.inner(scope, number, axis + 1, {lanes: list(values)})[lanes]

            return self.vectors(scope, axis, 0, self.kernel.sizes[axis], visit, carried, number)

        def body(place: Index, *values: Value) -> list[Value]:
            inside = self.inner(
                self.enter(scope, axis, place, 0, None, number), number, axis + 1, _unflatten(carried, values)
            )
            return _flatten(inside)

        return _unflatten(carried, self.f.loop(0, self.kernel.sizes[axis], body, _flatten(carried)))

    def take(self, scope: _Scope, number: int, carried: list[Value]) -> list[Value]:
        """The accumulators after one more point."""
        f, stage, values = self.f, self.kernel.stages[number], scope.values[number]
        mask = scope.mask if self.arranged.vector >= self.kernel.rows else None
        after: list[Value] = []
        for fold, dtype in zip(stage.folds, self.dtypes(stage), strict=True):
            taken = [cast(f, self.isa, values[fold.value], stage.body[fold.value].dtype, dtype)]
            if fold.position is not None:
                taken.append(
                    cast(f, self.isa, values[fold.position], stage.body[fold.position].dtype, "int64")
                )
            accumulator = carried[len(after) : len(after) + len(taken)]
            after += folds.take(f, fold, dtype, accumulator, taken, mask)
        return after

    def store(self, scope: _Scope, number: int) -> None:
        stage = self.kernel.stages[number]
        site = self.site(scope, number)
        for store in stage.stores:
            render_store(site, stage.body, store, scope.values[number])

    # -- vectors

    def widths(self) -> tuple[int, ...]:
        """The numbers of lanes in which the vector axis is walked, in order."""
        width, lanes = self.arranged.width, self.arranged.lanes
        size = self.kernel.sizes[self.arranged.vector]
        if self.arranged.masks or size % width == 0:
            return (width,)
        return (width, lanes, 1) if width > lanes and size % width >= lanes else (width, 1)

    def vectors(
        self,
        scope: _Scope,
        axis: int,
        start: Index,
        stop: Index,
        visit: Callable[..., list[Value]],
        carried: dict[int, list[Value]],
        number: int | None = None,
    ) -> dict[int, list[Value]]:
        """Walk the vector axis, as wide as it goes first; what is left is one masked vector, or narrower
        steps.
        """
        f, size = self.f, self.kernel.sizes[axis]
        widths = self.widths()
        rest = size % widths[0]
        done = {width: list(carried.get(width, [])) for width in widths}
        for width in widths:
            end = stop if size % width == 0 else f.sub(stop, f.divmod(stop, width)[1])
            wide = self.widened(scope, axis, width, number)
            done[width] = f.loop(
                start,
                end,
                lambda place, *values, width=width, wide=wide: visit(place, width, None, wide, *values),
                done[width],
                step=width,
            )
            start = end
            if self.arranged.masks and rest:
                mask = f.mask(width, rest)
                done[width] = f.loop(
                    end,
                    stop,
                    lambda place, *values, width=width, wide=wide, mask=mask: visit(
                        place, width, mask, wide, *values
                    ),
                    done[width],
                    step=width,
                )
        return done

    def widened(self, scope: _Scope, axis: int, width: int, number: int | None) -> _Scope:
        """The scope with the scalars that the vector loop will need, spread before the loop."""
        if width == 1:
            return scope
        spread = list(scope.values)
        for n, plan in enumerate(self.plans):
            if number is None or n == number:
                spread[n] = {
                    i: widen(self.f, value, width)
                    if i in plan.needed_after[axis] and value.name[0] == "%"
                    else value
                    for i, value in scope.values[n].items()
                }
        return replace(scope, values=tuple(spread))

    # -- scopes

    def enter(
        self,
        scope: _Scope,
        axis: int,
        place: Index,
        lanes: int = 0,
        mask: Value | None = None,
        number: int | None = None,
    ) -> _Scope:
        """The scope inside the loop of an axis, with all that this axis completes computed; of one stage
        where `number` says so.
        """
        f = self.f
        sums = {
            strides: f.add(total, f.mul(place, strides[axis])) if strides[axis] else total
            for strides, total in scope.sums.items()
            if number is None or strides in self.plans[number].strides
        }
        inside = replace(scope, sums=sums)
        if axis == self.arranged.vector:
            inside = replace(inside, lanes=lanes, mask=mask)
        return self.compute(inside, axis + 1, number)

    def compute(self, scope: _Scope, level: int, number: int | None = None) -> _Scope:
        """Compute what needs the first `level` axes and no more."""
        for n, plan in enumerate(self.plans):
            if number is None or n == number:
                scope = self.compute_listed(scope, n, plan.at_level[level])
        return scope

    def compute_listed(self, scope: _Scope, number: int, listed: Sequence[int]) -> _Scope:
        """Compute some instructions of a stage."""
        if not listed:
            return scope
        body, values = self.kernel.stages[number].body, dict(scope.values[number])
        site = self.site(scope, number)
        for i in listed:
            arguments = body[i].arguments
            values[i] = evaluate(
                site, body[i], tuple(body[a].dtype for a in arguments), [values[a] for a in arguments]
            )
        return replace(scope, values=(*scope.values[:number], values, *scope.values[number + 1 :]))

    def site(self, scope: _Scope, number: int) -> _LoopSite:
        site = _LoopSite(
            self.f,
            self.isa,
            self.kernel.operands,
            self.pointers,
            (),
            scope.lanes,
            self.arranged.vector,
            scope.mask,
            results=scope.results,
        )
        site.sums = scope.sums
        return site


class _Plan:
    """Where each instruction of a stage is computed."""

    def __init__(self, stage: Stage, rows: int, axes: int):
        self.strides = {affine.strides for affine in stage_affines(stage)}
        levels: list[int] = []
        waits: list[bool] = []
        for instruction in stage.body:
            level = max([_level(affine) for affine in instruction_affines(instruction)], default=0)
            level = max([level, *(levels[a] for a in instruction.arguments)])
            wait = instruction.op == "result" or any(waits[a] for a in instruction.arguments)
            levels.append(max(level, rows) if wait else level)
            waits.append(wait)
        numbered = range(len(stage.body))
        self.at_level = [
            [i for i in numbered if levels[i] == n and not (waits[i] and n <= rows)] for n in range(axes + 1)
        ]
        self.after_results = [i for i in numbered if waits[i] and levels[i] <= rows]
        stored = {store.value for store in stage.stores} | {fold.value for fold in stage.folds}
        stored |= {fold.position for fold in stage.folds if fold.position is not None}
        self.needed_after = [
            stored | {a for i in numbered if levels[i] > axis or waits[i] for a in stage.body[i].arguments}
            for axis in range(axes)
        ]


def _level(affine: Affine) -> int:
    """How many axes, from the outermost, must be known to evaluate an affine map."""
    return max((axis + 1 for axis, stride in enumerate(affine.strides) if stride), default=0)


def _flatten(carried: dict[int, list[Value]]) -> list[Value]:
    return [value for values in carried.values() for value in values]


def _unflatten(like: dict[int, list[Value]], values: Sequence[Value]) -> dict[int, list[Value]]:
    remaining = iter(values)
    return {width: [next(remaining) for _ in old] for width, old in like.items()}
