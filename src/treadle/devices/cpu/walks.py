"""The loops of a loop kernel: how an axis is walked in vectors, and how accumulators are carried so that
long sums stay accurate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from treadle.devices.cpu import folds
from treadle.devices.cpu.ir import Index, Value
from treadle.devices.cpu.registers import FLOATS, NARROW
from treadle.devices.cpu.scope import Scope, Scopes

Carried = dict[int, list[Value]]
"""The accumulators of a stage's folds, by their number of lanes."""

SUM_LENGTH = 128
"""Floating-point numbers that are added one after another in one lane."""


class Walks(Scopes):
    """Walks axes."""

    def widths(self) -> tuple[int, ...]:
        """The numbers of lanes in which the vector axis is walked, in order."""
        width, lanes = self.arranged.width, self.arranged.lanes
        size = self.extent(self.arranged.vector)
        if self.arranged.masks or size % width == 0:
            return (width,)
        return (width, lanes, 1) if width > lanes and size % width >= lanes else (width, 1)

    def extent(self, axis: int) -> int:
        """How far an axis goes in all; one that has a limit is walked in pieces that vectors divide."""
        limit = self.arranged.limit
        return limit.guard.size if limit is not None and axis == limit.axis else self.kernel.sizes[axis]

    def vectors(
        self,
        scope: Scope,
        axis: int,
        start: Index,
        stop: Index,
        visit: Callable[[Index, int, Value | None, Scope, Carried], Carried],
        carried: Carried,
        number: int | None = None,
    ) -> Carried:
        """Walk the vector axis, as wide as it goes first; what is left is one masked vector, or narrower
        steps.
        """
        f, size = self.f, self.extent(axis)
        done = dict(carried)
        for width in self.widths():
            wide = self.widened(scope, axis, width, number)
            end = stop if size % width == 0 else f.sub(stop, f.divmod(stop, width)[1])
            pieces: list[tuple[Index, Index, Value | None]] = [(start, end, None)]
            if self.arranged.masks and size % width:
                pieces.append((end, stop, f.mask(width, size % width)))
            for first, last, mask in pieces:

                def body(
                    place: Index,
                    carried: Carried,
                    width: int = width,
                    mask: Value | None = mask,
                    wide: Scope = wide,
                ) -> Carried:
                    return visit(place, width, mask, wide, carried)

                part = {width: done[width]} if width in done else {}
                done |= self.walk(first, last, width, body, part, number, 1, axis)
            start = end
        return done

    def walk(
        self,
        start: Index,
        stop: Index,
        step: int,
        body: Callable[[Index, Carried], Carried],
        carried: Carried,
        number: int | None,
        below: int,
        axis: int,
    ) -> Carried:
        """A loop along an axis that carries the accumulators of stage `number`; each turn takes `below`
        values.

        Long sums are made of sums of about `SUM_LENGTH` numbers, so that rounding errors stay small.
        """
        f = self.f

        def plain(
            start: Index, stop: Index, body: Callable[[Index, Carried], Carried], carried: Carried
        ) -> Carried:
            values = f.loop(
                start,
                stop,
                lambda place, *values: flatten(body(place, unflatten(carried, values))),
                flatten(carried),
                step=step,
            )
            return unflatten(carried, values)

        if number is None or not self.rounds(number):
            return plain(start, stop, body, carried)

        def apart(place: Index, carried: Carried) -> Carried:
            return self.merged(number, carried, body(place, self.fresh(number, list(carried))))

        turn = body
        if below * 4 >= SUM_LENGTH:
            turn, below = apart, 1
        last = stop if isinstance(stop, int) else self.kernel.sizes[axis]
        first = start if isinstance(start, int) else last - step
        if len(range(first, last, step)) * below <= 2 * SUM_LENGTH:
            return plain(start, stop, turn, carried)
        block = SUM_LENGTH // below * step

        def blocks(place: Index, *values: Value) -> list[Value]:
            end = f.min(f.add(place, block), stop)
            part = plain(place, end, turn, self.fresh(number, list(carried)))
            return flatten(self.merged(number, unflatten(carried, values), part))

        return unflatten(carried, f.loop(start, stop, blocks, flatten(carried), step=block))

    # -- accumulators

    def rounds(self, number: int) -> bool:
        """Whether the order of a stage's folds matters."""
        stage = self.kernel.stages[number]
        return any(fold.combine in ("add", "multiply") and fold.dtype in FLOATS for fold in stage.folds)

    def fold_dtypes(self, number: int) -> list[str]:
        """What each fold of a stage accumulates values as."""
        stage = self.kernel.stages[number]
        dtypes = [f.dtype if f.position is None else stage.body[f.value].dtype for f in stage.folds]
        return ["float32" if dtype in NARROW else dtype for dtype in dtypes]

    def fresh(self, number: int, widths: Sequence[int]) -> Carried:
        """Accumulators that have taken nothing yet."""
        pairs = list(zip(self.kernel.stages[number].folds, self.fold_dtypes(number), strict=True))
        return {w: [v for fold, dtype in pairs for v in folds.start(self.f, fold, dtype, w)] for w in widths}

    def by_fold(self, number: int, values: list[Value]) -> list[folds.Accumulator]:
        """A list of values as one accumulator for each fold of a stage."""
        remaining = iter(values)
        return [
            [next(remaining) for _ in range(1 if fold.position is None else 2)]
            for fold in self.kernel.stages[number].folds
        ]

    def merged(self, number: int, left: Carried, right: Carried) -> Carried:
        """Both sets of accumulators in one."""
        stage, dtypes = self.kernel.stages[number], self.fold_dtypes(number)
        result = {}
        for width in left:
            pairs = zip(self.by_fold(number, left[width]), self.by_fold(number, right[width]), strict=True)
            result[width] = [
                value
                for fold, dtype, (a, b) in zip(stage.folds, dtypes, pairs, strict=True)
                for value in folds.merge(self.f, fold, dtype, a, b)
            ]
        return result


def flatten(carried: Carried) -> list[Value]:
    """The values that a loop carries."""
    return [value for values in carried.values() for value in values]


def unflatten(like: Carried, values: Sequence[Value]) -> Carried:
    """The values that a loop carried, by width again."""
    remaining = iter(values)
    return {width: [next(remaining) for _ in old] for width, old in like.items()}
