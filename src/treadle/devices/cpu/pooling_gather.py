"""Writes the gradients of pooling with overlapping windows, lanes being channels: what every window gives
goes to scratch, a row of outputs at a time; every element of the input is written once, the sum of what it
gets.

Adding to elements where they lie, window by window, waits for what was just stored and writes everything as
often as windows overlap. The order of the sums is the same: row-major order of the outputs.
"""

from __future__ import annotations

import math

from treadle.devices.cpu.elements import plus
from treadle.devices.cpu.ir import Index, Value
from treadle.devices.cpu.pooling_writer import LINE_NBYTES, PoolWriter, Window, WindowAxis
from treadle.devices.cpu.registers import any_lane
from treadle.devices.cpu.tiling import EvenCut

MOST_TAPS, MOST_PHASES = 49, 16
SCRATCH_NBYTES = 160 << 10
"""What a task's rows should need: they stay in the second cache."""
MOST_SCRATCH_NBYTES = 4 << 20
WANTED_TASKS = 64
LEAST_ROWS = 4
"""Rows of a task for each row of outputs that it computes again."""

Phase = tuple[tuple[int, int], ...]
"""The windows that have the elements ``q * stride + r``: (tap, output - q) each, by increasing output."""


def phases(axis: WindowAxis) -> tuple[Phase, ...]:
    """By r."""
    return tuple(
        tuple(
            (tap, (r + axis.low - tap * axis.dilation) // axis.stride)
            for tap in reversed(range(axis.window))
            if (r + axis.low - tap * axis.dilation) % axis.stride == 0
        )
        for r in range(axis.stride)
    )


def reach(axis: WindowAxis) -> tuple[int, int]:
    """The least and the greatest difference in the axis' phases."""
    found = [output for phase in phases(axis) for _, output in phase]
    return min(found), max(found)


class GatherWriter(PoolWriter):
    """Writes one kernel; see the module's docstring."""

    channels: tuple[Index, Index]
    """Of the task that is being written, as vectors."""
    cell: Value
    """Where in scratch the window that is being written goes."""

    @property
    def fits(self) -> bool:
        """Whether this is a way for the pooling."""
        axes = self.axes
        if not (self.gradient and self.by_channel and len(axes) == 2 and axes[0].out and axes[1].out):
            return False
        few = (
            math.prod(a.window for a in axes) <= MOST_TAPS
            and math.prod(a.stride for a in axes) <= MOST_PHASES
        )
        return few and not all(a.disjoint for a in axes) and self._needed(self._unit) <= MOST_SCRATCH_NBYTES

    @property
    def _unit(self) -> int:
        return max(1, LINE_NBYTES // self.isa.vector_nbytes)

    def _needed(self, vectors: int) -> int:
        """The scratch of so many vectors of channels."""
        least, most = reach(self.axes[0])
        return (most - least + 1) * self._width * vectors * self._cell_nbytes

    @property
    def _width(self) -> int:
        """Places of a row in scratch: outputs, and on both sides those that are not there."""
        axis = self.axes[1]
        least, most = reach(axis)
        return max(axis.out, -(-axis.size // axis.stride) + most) + max(0, -least)

    @property
    def _place_nbytes(self) -> int:
        return 0 if self.kind == "average_gradient" else self.lanes * (8 if self.itemsize == 8 else 4)

    @property
    def _cell_nbytes(self) -> int:
        return self._place_nbytes + self.lanes * self.itemsize

    def write(self) -> tuple[str, int]:
        f, spec = self.f, self.spec
        arguments, first, last, self.scratch = f.arguments
        self.operands = [f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(len(self.dtypes))]
        vectors = -(-spec.channels // self.lanes)
        lines = max(1, SCRATCH_NBYTES // self._needed(self._unit))
        groups = EvenCut(vectors, self._unit * lines)
        self.least, self.most = reach(self.axes[0])
        self.rows = self.most - self.least + 1
        self.left = max(0, -reach(self.axes[1])[0])
        self.pixel_nbytes = groups.large * self._cell_nbytes
        self.row_nbytes = self._width * self.pixel_nbytes
        self.scratch_nbytes = self.rows * self.row_nbytes
        count = -(-self.axes[0].size // self.axes[0].stride)
        wanted = -(-WANTED_TASKS // (spec.batch * groups.parts))
        parts = EvenCut(count, max(-(-count // wanted), LEAST_ROWS * (self.rows - 1)))

        def task(index: Index) -> None:
            plane, part = f.divmod(index, parts.parts)
            batch, group = f.divmod(plane, groups.parts)
            self.channels = groups.start(f, group), groups.start(f, f.add(group, 1))
            self.strip(batch, parts.start(f, part), parts.start(f, f.add(part, 1)))

        f.loop(first, last, task)
        f.ret()
        return self.module.text(), spec.batch * groups.parts * parts.parts

    def strip(self, batch: Index, first: Index, last: Index) -> None:
        """The rows ``first * stride <= row < last * stride``."""
        f, axis = self.f, self.axes[1]
        for beside in (range(self.left), range(self.left + axis.out, self._width)):
            if len(beside):
                f.loop(
                    0,
                    self.rows,
                    lambda slot, b=beside: self.blank(f.mul(slot, self.row_nbytes), b[0], b[-1] + 1),
                )
        f.loop(f.add(first, self.least), f.add(first, self.most), lambda out: self.outputs(batch, out))

        def row(q: Index) -> None:
            self.outputs(batch, f.add(q, self.most))
            self.elements(batch, q)

        f.loop(first, last, row)

    def slot(self, out: Index) -> Value:
        """Where the row of an output along the first axis is in scratch."""
        f = self.f
        _, place = f.divmod(f.sub(out, self.least), self.rows)
        return f.at(self.scratch, f.mul(place, self.row_nbytes))

    def blank(self, offset: Index, first: int, last: int) -> None:
        """Let no window be at some places of a row of scratch."""
        f = self.f
        base = f.at(self.scratch, offset)
        nothing = f.constant(self.places, -1) if self._place_nbytes else f.constant(self.type, 0.0)
        f.loop(
            first * self.pixel_nbytes // self._cell_nbytes,
            last * self.pixel_nbytes // self._cell_nbytes,
            lambda cell: f.store(nothing, f.at(base, f.mul(cell, self._cell_nbytes))),
        )

    # -- what the windows give

    def outputs(self, batch: Index, out: Index) -> None:
        """Put a row of outputs into scratch."""
        f, spec, (rows, columns) = self.f, self.spec, self.axes
        base = self.slot(out)
        there = f.compare("icmp ult", f.i64(out), f.i64(rows.out))
        with f.when(there):
            start = Window(f.mul(batch, spec.input_strides[0]), f.mul(batch, spec.output_strides[0]), [], [])
            window = self.moved(start, rows, out)

            def column(place: Index) -> None:
                moved = self.moved(window, columns, place)
                pixel = f.at(base, f.mul(f.add(place, self.left), self.pixel_nbytes))

                def lanes(v: Index) -> None:
                    self.cell = f.at(pixel, f.mul(f.sub(v, self.channels[0]), self._cell_nbytes))
                    self.channel_lanes(moved, v)

                f.loop(*self.channels, lanes)

            f.loop(0, columns.out, column)
        with f.when(f.op("xor", there, Value("i1", "true"))):
            _, place = f.divmod(f.sub(out, self.least), self.rows)
            self.blank(f.mul(place, self.row_nbytes), self.left, self.left + columns.out)

    def maximum_gradient(self, window: Window) -> None:
        f = self.f
        gradient = self.load(1, window.output, self.output_step, window.mask)
        f.store(gradient, f.at(self.cell, self._place_nbytes))
        whole = self.unrolled(window) and window.taps == [(0, axis.window) for axis in self.axes]
        if not whole or self.kind_of_number != "float":
            f.store(self.first_maximum(window)[0], self.cell)
            return
        at, doubtful = self.first_of_numbers(window)
        f.store(at, self.cell)
        with f.when(any_lane(f, doubtful)):
            f.store(self.first_maximum(window)[0], self.cell)

    def first_of_numbers(self, window: Window) -> tuple[Value, Value]:
        """The place of the maximum in a window away from the padding, and in which lanes there may be a NaN:
        where the sum is one. To ask that at every tap takes twice the time.
        """
        f = self.f

        def tap(moved: Index, place: Index, mask: Value | None, *known: Value) -> list[Value]:
            value = self.load(0, f.add(window.input, moved), self.input_step, mask)
            if not known:
                return [value, self.place(place), value]
            best, at, total = known
            better = f.compare("fcmp ogt", value, best)
            return [
                f.select(better, value, best),
                f.select(better, self.place(place), at),
                plus(f, total, value),
            ]

        _, at, total = self.taps(window, tap, [])
        return at, f.compare("fcmp uno", total, total)

    def average_gradient(self, window: Window) -> None:
        f = self.f
        gradient = self.load(0, window.output, self.output_step, window.mask)
        f.store(f.op("fdiv", gradient, self.divisor(window)), self.cell)

    # -- what the elements get

    def elements(self, batch: Index, q: Index) -> None:
        """Write the rows ``q * stride`` and following, up to the next multiple."""
        f, spec, (rows, columns) = self.f, self.spec, self.axes
        slots = {
            difference: self.slot(f.add(q, difference)) for difference in range(self.least, self.most + 1)
        }
        start = f.mul(batch, spec.input_strides[0])

        def row(r: int, index: Index) -> None:
            at = f.add(start, f.mul(index, rows.input_stride))
            above = [(tap, slots[difference]) for tap, difference in phases(rows)[r]]
            whole, rest = divmod(columns.size, columns.stride)

            def pixels(p: Index, count: int) -> None:
                for s in range(count):
                    place = f.add(f.mul(p, columns.stride), s)
                    self.element(f.add(at, f.mul(place, columns.input_stride)), p, above, phases(columns)[s])

            f.loop(0, whole, lambda p: pixels(p, columns.stride))
            pixels(whole, rest)

        for r, _ in enumerate(phases(rows)):
            index = f.add(f.mul(q, rows.stride), r)
            if rows.size % rows.stride:
                with f.when(f.compare("icmp slt", f.i64(index), f.i64(rows.size))):
                    row(r, index)
            else:
                row(r, index)

    def element(self, at: Index, p: Index, above: list[tuple[int, Value]], beside: Phase) -> None:
        """Write one pixel: the sum of what the windows in rows `above` and columns `beside` give it."""
        f, spec, window = self.f, self.spec, self.axes[1].window
        bases = [(tap, f.at(slot, f.mul(p, self.pixel_nbytes))) for tap, slot in above]

        def lanes(v: Index) -> None:
            channel, total = f.mul(v, self.lanes), f.constant(self.type, 0.0)
            mask = (
                f.tail_mask(self.lanes, f.sub(spec.channels, channel)) if spec.channels % self.lanes else None
            )
            within = f.mul(f.sub(v, self.channels[0]), self._cell_nbytes)
            for tap, base in bases:
                mine = f.at(base, within)
                for other, difference in beside:
                    cell = f.at(mine, (self.left + difference) * self.pixel_nbytes)
                    value = f.load(self.type, f.at(cell, self._place_nbytes))
                    if self._place_nbytes:
                        place = f.constant(self.places, tap * window + other)
                        hit = f.compare("icmp eq", f.load(self.places, cell), place)
                        value = f.select(hit, value, f.constant(self.type, 0.0))
                    total = plus(f, total, value)
            self.store(len(self.operands) - 1, total, f.add(at, channel), 1, mask)

        f.loop(*self.channels, lanes)
