"""Where the instructions of a loop kernel are computed: in the outermost loop that knows all they need.

What is the same in all lanes is computed as a scalar, and spread before the loop over vectors that uses it.
Knows what loops have been opened, not how they are walked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from treadle.compiler.kernel import Affine, Stage
from treadle.devices.cpu.arrange import Arranged
from treadle.devices.cpu.expression import Site, evaluate, render_store
from treadle.devices.cpu.ir import Function, Index, Value
from treadle.devices.cpu.registers import ITEMSIZE, cast, from_storage, storage_type, widen
from treadle.devices.cpu.rewrite import instruction_affines, stage_affines
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.transpose import Tile


@dataclass(frozen=True)
class Scope:
    """What is known inside the loops opened so far."""

    sums: dict[tuple[int, ...], Index]
    """For each tuple of strides, its part of the affine maps that belongs to these loops' axes."""
    values: tuple[dict[int, Value], ...]
    """The instructions of each stage that are computed already."""
    lanes: int = 1
    mask: Value | None = None
    results: dict[tuple[int, int], Value] = field(default_factory=dict)
    places: dict[int, Index] = field(default_factory=dict)
    """The indices of these loops' axes."""


class _LoopSite(Site):
    """A site inside loops, which sum up affine maps as they go."""

    sums: dict[tuple[int, ...], Index]

    def place(self, affine: Affine) -> Index:
        return self.f.add(self.sums[affine.strides], affine.offset)


class Scopes:
    """Opens scopes, one inside the other, and computes in them."""

    def __init__(self, arranged: Arranged, isa: Isa, f: Function):
        self.arranged = arranged
        self.kernel = arranged.kernel
        self.isa = isa
        self.f = f
        self.plans = [Plan(stage, self.kernel.rows, len(self.kernel.sizes)) for stage in self.kernel.stages]
        self.pointers: list[Value] = []
        self.scratch = f.arguments[3]
        self.corner: tuple[Index, Index] = (0, 0)
        """Where the tiles that are in scratch memory begin: see `treadle.devices.cpu.transpose`."""

    def outermost(self) -> Scope:
        """The scope outside all loops."""
        strides = {affine.strides for stage in self.kernel.stages for affine in stage_affines(stage)}
        if self.arranged.limit is not None:
            strides.add(self.arranged.limit.guard.index.strides)
        return self.compute(Scope(dict.fromkeys(strides, 0), tuple({} for _ in self.kernel.stages)), 0)

    def enter(
        self,
        scope: Scope,
        axis: int,
        place: Index,
        lanes: int = 0,
        mask: Value | None = None,
        number: int | None = None,
    ) -> Scope:
        """The scope inside the loop of an axis, with all that this axis completes computed; of one stage
        where `number` says so.
        """
        f = self.f
        sums = {
            strides: f.add(total, f.mul(place, strides[axis])) if strides[axis] else total
            for strides, total in scope.sums.items()
            if number is None or strides in self.plans[number].strides
        }
        inside = replace(scope, sums=sums, places={**scope.places, axis: place})
        if axis == self.arranged.vector:
            inside = replace(inside, lanes=lanes, mask=mask)
        return self.compute(inside, axis + 1, number)

    def compute(self, scope: Scope, level: int, number: int | None = None) -> Scope:
        """Compute what needs the first `level` axes and no more."""
        for n, plan in enumerate(self.plans):
            if number is None or n == number:
                scope = self.compute_listed(scope, n, plan.at_level[level])
        return scope

    def compute_listed(self, scope: Scope, number: int, listed: Sequence[int]) -> Scope:
        """Compute some instructions of a stage; none if it visits no point, whose operands may have no
        elements.
        """
        inner = self.kernel.sizes[self.kernel.rows :]
        if not listed or (self.kernel.stages[number].per == "element" and 0 in inner):
            return scope
        body, values = self.kernel.stages[number].body, dict(scope.values[number])
        site = self.site(scope, number)
        for i in listed:
            tile = self.arranged.tiling and self.arranged.tiling.tiles.get((number, i))
            if tile is not None:
                values[i] = self.from_tile(scope, tile, body[i].dtype)
                continue
            arguments = body[i].arguments
            values[i] = evaluate(
                site, body[i], tuple(body[a].dtype for a in arguments), [values[a] for a in arguments]
            )
        return replace(scope, values=(*scope.values[:number], values, *scope.values[number + 1 :]))

    def from_tile(self, scope: Scope, tile: Tile, dtype: str) -> Value:
        """A load from a row of a tile; lanes beyond its end read what is of no matter."""
        f, vector_axis = self.f, self.arranged.vector
        down = f.sub(scope.places[vector_axis - 1], self.corner[0])
        across = f.sub(scope.places[vector_axis], self.corner[1])
        row = f.mul(f.add(down, tile.block_down), tile.row)
        element = f.add(row, f.add(across, tile.block_across))
        pointer = f.at(f.at(self.scratch, f.mul(element, ITEMSIZE[tile.dtype])), tile.offset)
        raw = f.load(storage_type(tile.dtype, scope.lanes), pointer)
        return cast(f, self.isa, from_storage(f, self.isa, tile.dtype, raw), tile.dtype, dtype)

    def site(self, scope: Scope, number: int) -> _LoopSite:
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

    def widened(self, scope: Scope, axis: int, width: int, number: int | None) -> Scope:
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

    def store(self, scope: Scope, number: int) -> None:
        stage = self.kernel.stages[number]
        site = self.site(scope, number)
        for store in stage.stores:
            render_store(site, stage.body, store, scope.values[number])


class Plan:
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
        # A place that is the same for all lanes is better left a scalar: then they are loaded as a vector.
        spread = [i for i in numbered if stage.body[i].op not in ("gather", "checked_offset", "load_moved")]
        self.needed_after = [
            stored | {a for i in spread if levels[i] > axis or waits[i] for a in stage.body[i].arguments}
            for axis in range(axes)
        ]


def _level(affine: Affine) -> int:
    """How many axes, from the outermost, must be known to evaluate an affine map."""
    return max((axis + 1 for axis, stride in enumerate(affine.strides) if stride), default=0)
