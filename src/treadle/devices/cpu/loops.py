"""Renders loop kernels to native code: nested loops over tasks, rows and inner points, vectors along one
axis.

Knows nothing of what instructions do: that is `treadle.devices.cpu.expression`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import accumulate

from treadle.compiler.kernel import LoopKernel
from treadle.devices.cpu import folds
from treadle.devices.cpu.arrange import (
    Arranged,
    arrange,
    cost,
    with_kept_values,
)
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Index, Value
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.registers import ITEMSIZE, cast
from treadle.devices.cpu.rewrite import with_touched_operands
from treadle.devices.cpu.scope import Scope
from treadle.devices.cpu.split import Part, chunking, split
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.transpose import Tiling, fill
from treadle.devices.cpu.walks import Carried, Walks

TASK_NBYTES = 64 * 1024
"""Work of a task: see `row_work`."""
EVEN_TASKS = 32
"""Below so many their number is a power of two: of 11 one thread has 5 and waits for the other."""
FEW_TASKS = 8
"""With fewer, folds over many points are cut in chunks."""
LARGE_NBYTES = 256 * 1024
"""Folds of columns that read more than this are cut in chunks of half as much, whatever their number."""


def render(kernel: LoopKernel, isa: Isa) -> Lowered:
    """The kernel as native code; operand i of the loop kernel is ``("in", i)`` in the steps."""
    if math.prod(kernel.sizes[: kernel.rows]) == 0:
        return Lowered(())
    arranged = arrange(kernel, isa)
    cut = chunking(arranged.kernel, _chunks_wanted(arranged)) if kernel.rows < len(kernel.sizes) else None
    if cut is None:
        places = tuple(("in", i) for i in range(len(kernel.operands)))
        return Lowered((Step(render_arranged(with_kept_values(arranged), isa), places),))
    parts, temporaries = split(arranged.kernel, *cut)
    return Lowered(
        tuple(_step(part, isa, len(kernel.operands)) for part in parts),
        tuple(ITEMSIZE[operand.dtype] * operand.size for operand in temporaries),
    )


def _chunks_wanted(arranged: Arranged) -> int:
    """In how many chunks the inner points would keep many threads busy, and their columns in the caches; 1 if
    rows do, or there is little work.
    """
    tasks = divide(arranged).count
    work = row_work(arranged.kernel) * math.prod(arranged.kernel.sizes[: arranged.kernel.rows])
    if folds_columns(arranged) and work > LARGE_NBYTES:
        return int(work / (LARGE_NBYTES / 2))
    return 1 if tasks >= FEW_TASKS else int(work / (2 * TASK_NBYTES) / tasks)


def folds_columns(arranged: Arranged) -> bool:
    """Whether rows are neighbours in memory and the points of one are not, as in the sum of a matrix's rows:
    one row after the other would read all of memory a few bytes at a time.
    """
    kernel = arranged.kernel
    if arranged.vector >= kernel.rows:
        return False
    inner = range(kernel.rows, len(kernel.sizes))
    strides = [
        [i.attribute.index.strides[axis] for axis in (arranged.vector, *inner)]
        for stage in kernel.stages
        if stage.per == "element"
        for i in stage.body
        if i.op == "load"
    ]
    return any(row == 1 and points and min(map(abs, points)) > 1 for row, *points in strides)


def _step(part: Part, isa: Isa, given: int) -> Step:
    """A part of a kernel, with the operands that it touches."""
    kernel, touched = with_touched_operands(part.kernel)
    native = render_arranged(arrange(kernel, isa, part.limit), isa)
    return Step(native, tuple(("in", i) if i < given else ("temp", i - given) for i in touched))


def render_arranged(arranged: Arranged, isa: Isa) -> NativeKernel:
    """One loop kernel as one native kernel with the same operands."""
    kernel, tasks = arranged.kernel, divide(arranged)
    module = module_for(isa)
    _Nest(arranged, isa, module.function("kernel", ["ptr", "i64", "i64", "ptr"])).write(tasks)
    scratch = arranged.tiling.nbytes if arranged.tiling is not None else kept_places(arranged)[-1]
    flops = sum(cost(stage.body) + len(stage.folds) for stage in kernel.stages) * math.prod(kernel.sizes)
    nbytes = sum(ITEMSIZE[operand.dtype] * operand.size for operand in kernel.operands[: arranged.given])
    return NativeKernel(module.text(), kernel.label, tasks.count, scratch, flops, nbytes)


def kept_places(arranged: Arranged) -> list[int]:
    """Where in scratch memory the operands lie that the caller does not give, and where they end."""
    sizes = [ITEMSIZE[operand.dtype] * operand.size for operand in arranged.kernel.operands[arranged.given :]]
    return list(accumulate((-(-size // 64) * 64 for size in sizes), initial=0))


def row_work(kernel: LoopKernel) -> float:
    """What a row costs, in bytes touched; an instruction counts like half a byte."""
    inner = math.prod(kernel.sizes[kernel.rows :])
    work = 0.0
    for stage in kernel.stages:
        touched = sum(ITEMSIZE[i.dtype] for i in stage.body if i.op in ("load", "gather", "load_moved"))
        touched += sum(ITEMSIZE[kernel.operands[s.access.operand].dtype] for s in stage.stores)
        work += (touched + cost(stage.body) / 2) * (inner if stage.per == "element" else 1)
    return work


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
    points = max(1, int(TASK_NBYTES / max(row_work(kernel), 1)))
    axis, beyond, step = kernel.rows - 1, 1, arranged.width if arranged.vector < kernel.rows else 1
    if arranged.tiling is not None:
        axis, beyond, step = axis - 1, kernel.sizes[axis], arranged.tiling.height
    while axis > 0 and beyond * kernel.sizes[axis] <= points:
        beyond *= kernel.sizes[axis]
        axis -= 1
        step = 1
    size = kernel.sizes[axis]
    pieces = max(1, -(-size * beyond // max(points, 1)) if points >= beyond else size)
    if pieces * math.prod(kernel.sizes[:axis]) < EVEN_TASKS:
        pieces = min(size, 1 << (pieces - 1).bit_length())
    piece = -(-size // pieces)
    piece = -(-piece // step) * step
    pieces = -(-size // piece)
    return Tasks(axis, piece, pieces, pieces * math.prod(kernel.sizes[:axis]))


class _Nest(Walks):
    """Writes the entry function of one kernel."""

    def write(self, tasks: Tasks) -> None:
        """All of it."""
        f = self.f
        arguments, first, last, _ = f.arguments
        given = range(self.arranged.given)
        self.pointers = [f.load("ptr", f.at(arguments, 8 * i), align=8) for i in given]
        self.pointers += [f.at(self.scratch, offset) for offset in kept_places(self.arranged)[:-1]]
        scope = self.outermost()
        f.loop(first, last, lambda task: self.task(scope, tasks, task))
        f.ret()

    # -- rows

    def task(self, scope: Scope, tasks: Tasks, task: Value) -> None:
        """Find the task's place and walk its rows."""
        f, sizes = self.f, self.kernel.sizes
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

    def rows(self, scope: Scope, axis: int, start: Index, stop: Index) -> None:
        """Walk a row axis and those after it."""
        if axis == self.kernel.rows:
            self.stages(scope)
            return
        if self.arranged.tiling is not None and axis == self.arranged.tiling.down:
            self.tiles(scope, self.arranged.tiling, start, stop)
            return
        following = self.kernel.sizes[axis + 1] if axis + 1 < self.kernel.rows else 0

        def visit(place: Index, lanes: int, mask: Value | None, scope: Scope, carried: Carried) -> Carried:
            self.rows(self.enter(scope, axis, place, lanes, mask), axis + 1, 0, following)
            return carried

        if axis == self.arranged.vector:
            self.vectors(scope, axis, start, stop, visit, {})
        else:
            self.walk(start, stop, 1, lambda place, _: visit(place, 1, None, scope, {}), {}, None, 1, axis)

    def tiles(self, scope: Scope, tiling: Tiling, start: Index, stop: Index) -> None:
        """Walk the last two row axes by tiles, whose transposed loads are brought to scratch memory first."""
        f, axis = self.f, tiling.down
        sizes = self.kernel.sizes[axis], self.kernel.sizes[axis + 1]

        def visit(place: Index, lanes: int, mask: Value | None, scope: Scope, carried: Carried) -> Carried:
            self.rows(self.enter(scope, axis + 1, place, lanes, mask), axis + 2, 0, 0)
            return carried

        def tile(first: Index, left: Index) -> None:
            ends = f.min(f.add(first, tiling.height), stop), f.min(f.add(left, tiling.width), sizes[1])
            self.corner = first, left
            for tile in tiling.tiles.values():
                strides = tile.access.index.strides
                start = f.add(scope.sums[strides], tile.access.index.offset)
                source = f.at(self.pointers[tile.access.operand], f.mul(start, ITEMSIZE[tile.dtype]))
                fill(f, tile, self.scratch, source, strides[axis + 1], (first, left), ends, sizes)

            def line(place: Index) -> None:
                self.vectors(self.enter(scope, axis, place), axis + 1, left, ends[1], visit, {})

            f.loop(first, ends[0], line)

        def strip(first: Index) -> None:
            f.loop(0, sizes[1], lambda left: tile(first, left), step=tiling.width)

        f.loop(start, stop, strip, step=tiling.height)

    def stages(self, scope: Scope) -> None:
        """All stages of one row, or of a vector of rows."""
        for number, (stage, plan) in enumerate(zip(self.kernel.stages, self.plans, strict=True)):
            scope = self.compute_listed(scope, number, plan.after_results)
            if stage.per == "row":
                self.store(scope, number)
            else:
                scope = replace(scope, results={**scope.results, **self.fold(scope, number)})

    # -- inner points

    def fold(self, scope: Scope, number: int) -> dict[tuple[int, int], Value]:
        """Walk the inner points of one stage; what its folds give."""
        f, stage, dtypes = self.f, self.kernel.stages[number], self.fold_dtypes(number)
        along_rows = self.arranged.vector < self.kernel.rows
        widths = (scope.lanes,) if along_rows else self.widths()
        empty = math.prod(self.kernel.sizes[self.kernel.rows :]) == 0
        carried = self.fresh(number, widths)
        if not empty:
            carried = self.inner(scope, number, self.kernel.rows, carried)
        accumulators = [self.by_fold(number, carried[width]) for width in widths]
        results = {}
        for position, (fold, dtype) in enumerate(zip(stage.folds, dtypes, strict=True)):
            parts = [accumulator[position] for accumulator in accumulators]
            if not along_rows:
                parts = [folds.fold_lanes(f, fold, dtype, part) for part in parts]
            whole = reduce(partial(folds.merge, f, fold, dtype), parts)
            result = folds.finish(f, self.isa, fold, whole)
            # The sum of nothing is 0, not the -0 that sums start from.
            results[number, position] = (
                f.constant(result.type, 0) if empty and fold.combine == "add" else result
            )
        return results

    def inner(self, scope: Scope, number: int, axis: int, carried: Carried) -> Carried:
        """Walk an inner axis and those after it; `carried` are the accumulators of each width."""
        if axis == len(self.kernel.sizes):
            self.store(scope, number)
            return {**carried, scope.lanes: self.take(scope, number, carried[scope.lanes])}
        size = self.kernel.sizes[axis]

        def visit(place: Index, lanes: int, mask: Value | None, scope: Scope, carried: Carried) -> Carried:
            return self.inner(self.enter(scope, axis, place, lanes, mask, number), number, axis + 1, carried)

        limit, stop = self.arranged.limit, size
        if limit is not None and axis == limit.axis:
            before = scope.sums[limit.guard.index.strides]
            stop = self.f.min(self.f.sub(limit.guard.size, before), size)
        if axis == self.arranged.vector:
            return self.vectors(scope, axis, 0, stop, visit, carried, number)
        below = math.prod(self.kernel.sizes[axis + 1 :])
        below = -(-below // self.arranged.width) if axis < self.arranged.vector else below
        return self.walk(
            0,
            stop,
            1,
            lambda place, carried: visit(place, 1, None, scope, carried),
            carried,
            number,
            below,
            axis,
        )

    def take(self, scope: Scope, number: int, carried: list[Value]) -> list[Value]:
        """The accumulators after one more point."""
        f, stage, values = self.f, self.kernel.stages[number], scope.values[number]
        mask = scope.mask if self.arranged.vector >= self.kernel.rows else None

        def value(i: int, dtype: str) -> Value:
            return cast(f, self.isa, values[i], stage.body[i].dtype, dtype)

        after: list[Value] = []
        accumulators = zip(stage.folds, self.fold_dtypes(number), self.by_fold(number, carried), strict=True)
        for fold, dtype, accumulator in accumulators:
            taken = [value(fold.value, dtype)]
            if fold.position is not None:
                taken.append(value(fold.position, "int64"))
            after += folds.take(f, fold, dtype, accumulator, taken, mask)
        return after
