"""Mean and variance of the columns of a matrix, in one walk over memory.

A chunk of rows gives its means and its sums of squares about them, while it is in the caches; the chunks are
put together by the pairwise formula of Chan, Golub and LeVeque (1983, "Algorithms for computing the sample
variance", The American Statistician 37). So nothing cancels, however far the mean is from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from treadle.devices.cpu.elements import load_vector, multiply_add, store_vector
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.native import Lowered, NativeKernel, Step
from treadle.devices.cpu.registers import ITEMSIZE, REGISTER
from treadle.devices.cpu.target import Isa

CHUNK_NBYTES = 128 * 1024
"""Rows that are walked twice: half of a small second-level cache."""
SUM_LENGTH = 128
"""Numbers that are added one after another."""
MOST_VECTORS = 8
"""Vectors of columns that are walked together."""


@dataclass(frozen=True)
class Moments:
    """Of a row-major matrix, not empty."""

    rows: int
    columns: int
    dtype: str

    @property
    def chunk(self) -> int:
        """Rows of a chunk."""
        return max(8, CHUNK_NBYTES // (self.columns * ITEMSIZE[self.dtype]))

    @property
    def chunks(self) -> int:
        return -(-self.rows // self.chunk)

    @property
    def label(self) -> str:
        return f"moments[{self.rows}, {self.columns}]"


def moments(spec: Moments, isa: Isa) -> Lowered:
    """Operands: the matrix; its columns' means, and their variances (divided by the number of rows)."""
    parts = _Writer(spec, isa).parts(), _Writer(spec, isa).whole()
    places = (("in", 0), ("temp", 0)), (("temp", 0), ("out", 0), ("out", 1))
    steps = tuple([Step(kernel, place) for kernel, place in zip(parts, places, strict=True)])
    return Lowered(steps, (2 * spec.chunks * spec.columns * ITEMSIZE[spec.dtype],))


class _Writer:
    """Writes one of the two kernels. Chunks are [chunk][mean, sum of squares][column] in memory."""

    def __init__(self, spec: Moments, isa: Isa):
        self.spec, self.isa = spec, isa
        self.module = module_for(isa)
        self.f: Function = self.module.function("kernel", ["ptr", "i64", "i64", "ptr"])
        self.nbytes = ITEMSIZE[spec.dtype]
        self.lanes = isa.lanes(self.nbytes)
        self.type = vector(REGISTER[spec.dtype], self.lanes)

    def operands(self, count: int) -> list[Value]:
        return [self.f.load("ptr", self.f.at(self.f.arguments[0], 8 * i), 8) for i in range(count)]

    def number(self, value: float) -> Value:
        return self.f.constant(self.type, value)

    def places(self, body: Callable[[Index, list[int]], None]) -> None:
        """Call `body` for vectors of columns: the first column, the active lanes of each vector (0: all)."""
        columns, lanes = self.spec.columns, self.lanes
        together = min(MOST_VECTORS, max(1, columns // lanes))
        whole = columns // (together * lanes)
        self.f.loop(0, whole, lambda i: body(self.f.mul(i, together * lanes), [0] * together))
        left = columns - whole * together * lanes
        if left:
            body(columns - left, [0] * (left // lanes) + [left % lanes] * (left % lanes > 0))

    def row(self, place: Value, active: list[int]) -> list[Value]:
        """The vectors of a row that start at `place`."""
        f, step = self.f, self.lanes * self.nbytes
        return [load_vector(f, f.at(place, v * step), self.type, n) for v, n in enumerate(active)]

    def store(self, values: list[Value], place: Value, active: list[int]) -> None:
        for v, (value, n) in enumerate(zip(values, active, strict=True)):
            store_vector(self.f, value, self.f.at(place, v * self.lanes * self.nbytes), n)

    def total(
        self, count: Index, active: list[int], term: Callable[[Index, list[Value]], list[Value]]
    ) -> list[Value]:
        """The sums over `count` indices, which `term` adds to: in parts of `SUM_LENGTH`."""
        f, zeros = self.f, [self.number(0.0) for _ in active]

        def part(first: Index, *sums: Value) -> list[Value]:
            last = f.min(f.add(first, SUM_LENGTH), count)
            inner = f.loop(first, last, lambda i, *values: term(i, list(values)), zeros)
            return [f.op("fadd", a, b) for a, b in zip(sums, inner, strict=True)]

        return f.loop(0, count, part, zeros, step=SUM_LENGTH)

    def parts(self) -> NativeKernel:
        """The moments of every chunk."""
        f, spec = self.f, self.spec
        _, first, last, _ = f.arguments
        matrix, parts = self.operands(2)
        pitch = spec.columns * self.nbytes

        def chunk(index: Index) -> None:
            begin = f.mul(index, spec.chunk)
            rows = f.i64(f.min(spec.chunk, f.sub(spec.rows, begin)))
            count = f.splat(f.cast("sitofp", rows, REGISTER[spec.dtype]), self.lanes)
            share = f.op("fdiv", self.number(1.0), count)

            def columns(column: Index, active: list[int]) -> None:
                start = f.at(matrix, f.add(f.mul(begin, pitch), f.mul(column, self.nbytes)))

                def values(i: Index) -> list[Value]:
                    return self.row(f.at(start, f.mul(i, pitch)), active)

                def add(i: Index, sums: list[Value]) -> list[Value]:
                    return [f.op("fadd", s, x) for s, x in zip(sums, values(i), strict=True)]

                means = [f.op("fmul", s, share) for s in self.total(rows, active, add)]

                def square(i: Index, sums: list[Value]) -> list[Value]:
                    apart = [f.op("fsub", x, mean) for x, mean in zip(values(i), means, strict=True)]
                    return [multiply_add(f, self.isa, d, d, s) for d, s in zip(apart, sums, strict=True)]

                into = f.at(parts, f.add(f.mul(index, 2 * pitch), f.mul(column, self.nbytes)))
                self.store(means, into, active)
                self.store(self.total(rows, active, square), f.at(into, pitch), active)

            self.places(columns)

        f.loop(first, last, chunk)
        f.ret()
        elements = spec.rows * spec.columns
        return NativeKernel(
            self.module.text(), spec.label, spec.chunks, flops=4 * elements, nbytes=elements * self.nbytes
        )

    def whole(self) -> NativeKernel:
        """The moments of all rows."""
        f, spec = self.f, self.spec
        _, first, last, _ = f.arguments
        parts, mean_place, variance_place = self.operands(3)
        pitch, full = spec.columns * self.nbytes, self.number(float(spec.chunk))
        rest = self.number(float(spec.rows - (spec.chunks - 1) * spec.chunk))
        share = self.number(1.0 / spec.rows)

        def columns(column: Index, active: list[int]) -> None:
            move = f.mul(column, self.nbytes)
            start = f.at(parts, move)

            def part(i: Index, number: int) -> list[Value]:
                return self.row(f.at(start, f.add(f.mul(i, 2 * pitch), number * pitch)), active)

            def count(i: Index) -> Value:
                return f.select(f.compare("icmp eq", f.i64(i), f.i64(spec.chunks - 1)), rest, full)

            def add(i: Index, sums: list[Value]) -> list[Value]:
                n = count(i)
                return [multiply_add(f, self.isa, n, m, s) for m, s in zip(part(i, 0), sums, strict=True)]

            means = [f.op("fmul", s, share) for s in self.total(spec.chunks, active, add)]

            def square(i: Index, sums: list[Value]) -> list[Value]:
                n = count(i)
                after = []
                for m, mean, own, s in zip(part(i, 0), means, part(i, 1), sums, strict=True):
                    apart = f.op("fsub", m, mean)
                    between = f.op("fmul", f.op("fmul", n, apart), apart)
                    after.append(f.op("fadd", s, f.op("fadd", own, between)))
                return after

            squares = self.total(spec.chunks, active, square)
            self.store(means, f.at(mean_place, move), active)
            self.store([f.op("fmul", s, share) for s in squares], f.at(variance_place, move), active)

        f.loop(first, last, lambda _: self.places(columns))
        f.ret()
        elements = 2 * spec.chunks * spec.columns
        return NativeKernel(
            self.module.text(), f"{spec.label}, chunks", 1, flops=3 * elements, nbytes=elements * self.nbytes
        )
