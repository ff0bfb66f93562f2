"""What the kernels of attention have in common: scratch memory, turned queries, tiles of scores, sums over
keys, and results that are turned back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from treadle.devices.cpu.attention_problem import VECTORS, Attention, Cuts, part_of
from treadle.devices.cpu.elements import store_vector
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Index, Value, vector
from treadle.devices.cpu.math import FLOAT32, FLOAT64
from treadle.devices.cpu.microkernel import Tile, accumulate, offsets, zeros
from treadle.devices.cpu.packing import Source, pack_panels, transpose
from treadle.devices.cpu.product import batch_digits, batch_offset
from treadle.devices.cpu.target import Isa


class AttentionWriter:
    """Writes one kernel whose operands are `names`. A scratch area is a number of rows of one number for
    every query of a block, under a name.
    """

    def __init__(self, a: Attention, isa: Isa, names: Sequence[str]):
        self.a, self.isa, self.cuts = a, isa, Cuts(a, isa)
        self.scalar, self.itemsize, self.lanes = self.cuts.scalar, self.cuts.itemsize, self.cuts.lanes
        self.type = vector(self.scalar, self.lanes)
        self.math = FLOAT64 if self.scalar == "double" else FLOAT32
        self.names = [name for name in names if name != "mask" or a.mask is not None]
        self.areas: dict[str, int] = {}
        self.scratch_nbytes = 0
        self.written: dict[tuple, str] = {}
        self.module = module_for(isa)
        self.f = self.module.function("kernel", ["ptr", "i64", "i64", "ptr"])
        self.scratch = self.f.arguments[3]

    def reserve(self, name: str, rows: int) -> None:
        """Make a scratch area."""
        self.areas[name] = self.scratch_nbytes
        self.scratch_nbytes += rows * self.cuts.row_nbytes

    def area(self, name: str, row: Index = 0) -> Value:
        """Where a row of an area lies."""
        return self.f.at(self.scratch, self.f.add(self.areas[name], self.f.mul(row, self.cuts.row_nbytes)))

    def operands(self) -> dict[str, Value]:
        """The addresses that the kernel is given."""
        arguments = self.f.arguments[0]
        return {name: self.f.load("ptr", self.f.at(arguments, 8 * i)) for i, name in enumerate(self.names)}

    def of_head(self, operands: dict[str, Value], head: Index) -> dict[str, Value]:
        """Where each operand of one head begins."""
        digits = batch_digits(self.f, self.a.batch, head)
        return {
            name: self.f.at(base, batch_offset(self.f, digits, getattr(self.a, name), self.itemsize))
            for name, base in operands.items()
        }

    def nbytes(self, name: str, axis: int) -> int:
        """Bytes between neighbours of an operand: along axis -2 places, along -1 what a place has."""
        return getattr(self.a, name)[axis] * self.itemsize

    def call(self, kind: tuple, arguments: Sequence[Index], body: Callable[..., None]) -> None:
        """Call the function ``body(*arguments)``, writing it at its first use. Functions keep the kernel's
        loops short, which LLVM compiles in time.
        """
        outer, scratch = self.f, self.scratch
        arguments = [scratch, *arguments]
        kind = kind, tuple(x if isinstance(x, int) else None for x in arguments)
        values = [x for x in arguments if isinstance(x, Value)]
        if kind not in self.written:
            self.written[kind] = f"part{len(self.written)}"
            self.f = self.module.function(self.written[kind], [x.type for x in values], internal=True)
            inside = iter(self.f.arguments)
            self.scratch, *given = [next(inside) if isinstance(x, Value) else x for x in arguments]
            body(*given)
            self.f.ret()
            self.f, self.scratch = outer, scratch
        outer.call("void", self.written[kind], *values)

    # -- rows of scratch memory

    def load_row(self, pointer: Value) -> list[Value]:
        return [
            self.f.load(self.type, self.f.at(pointer, v * self.lanes * self.itemsize)) for v in range(VECTORS)
        ]

    def store_row(self, values: Sequence[Value], pointer: Value) -> None:
        for v, value in enumerate(values):
            self.f.store(value, self.f.at(pointer, v * self.lanes * self.itemsize))

    def constant(self, number: float) -> Value:
        return self.f.constant(self.type, number)

    def clear(self, name: str, rows: int) -> None:
        begin = self.area(name)

        def row(i: Index) -> None:
            self.store_row(
                [self.constant(0.0)] * VECTORS, self.f.at(begin, self.f.mul(i, self.cuts.row_nbytes))
            )

        self.f.loop(0, rows, row)

    def gather_row(self, name: str, source: Value, first: Index, columns: int) -> None:
        """Copy one number for each query of a block to the area of the name."""
        begin = self.f.at(source, self.f.mul(first, self.nbytes(name, -1)))
        row = self.area(name)

        def copy(i: Index) -> None:
            number = self.f.load(self.scalar, self.f.at(begin, self.f.mul(i, self.nbytes(name, -1))))
            self.f.store(number, self.f.at(row, self.f.mul(i, self.itemsize)))

        self.f.loop(0, columns, copy)

    # -- parts

    def turn_in(self, name: str, source: Value, block: Index, rows: int) -> None:
        """Bring a block of queries, or of what has their shape, into lanes: a row for each of its numbers."""

        def body(source: Value, block: Value) -> None:
            packed = Source(self.a.dtype, self.isa, self.nbytes(name, -1), self.nbytes(name, -2))
            panels = (block, self.f.add(block, 1))
            pack_panels(
                self.f,
                packed,
                source,
                self.a.targets,
                self.cuts.width,
                self.area(name),
                0,
                panels,
                rows,
                rows,
            )

        self.call(("in", name), [source, self.f.i64(block)], body)

    def turn_mask(self, source: Value, block: Index, first: Index, count: Index) -> None:
        """Bring the mask of a block of queries and some keys into lanes."""
        assert self.a.mask is not None
        source = self.f.at(source, self.f.mul(first, self.nbytes("mask", -1)))

        def body(source: Value, block: Value, count: Index) -> None:
            packed = Source(self.a.dtype, self.isa, self.nbytes("mask", -1), self.nbytes("mask", -2))
            panels = (block, self.f.add(block, 1))
            least = self.cuts.least_keys
            pack_panels(
                self.f,
                packed,
                source,
                self.a.targets,
                self.cuts.width,
                self.area("mask"),
                0,
                panels,
                count,
                least,
            )

        self.call(("mask",), [source, self.f.i64(block), count], body)

    def turn_out(
        self, name: str, to: str, dest: Value, features: int, columns: int, factor: str = ""
    ) -> None:
        """Store an area as rows of an operand, whose first is at `dest`: what is in lane i goes to row i,
        times its number in the area `factor`.
        """
        self.call(
            ("out", name, columns), [dest], lambda dest: self._out(name, to, dest, features, columns, factor)
        )

    def _out(self, name: str, to: str, dest: Value, features: int, columns: int, factor: str) -> None:
        f, lanes = self.f, self.lanes
        factors = self.load_row(self.area(factor)) if factor else None

        def square(v: int, chunk: Index, active: int) -> None:
            first = self.f.at(self.area(name, f.mul(chunk, lanes)), v * lanes * self.itemsize)
            rows = [f.load(self.type, f.at(first, i * self.cuts.row_nbytes)) for i in range(lanes)]
            if factors is not None:
                rows = [f.op("fmul", row, factors[v]) for row in rows]
            begin = f.at(dest, f.add(v * lanes * self.nbytes(to, -2), f.mul(chunk, lanes * self.itemsize)))
            for i, value in enumerate(transpose(f, rows)[: columns - v * lanes]):
                store_vector(f, value, f.at(begin, i * self.nbytes(to, -2)), active)

        for v in range(-(-columns // lanes)):
            f.loop(0, features // lanes, lambda chunk, v=v: square(v, chunk, 0))
            if features % lanes:
                square(v, features // lanes, features % lanes)

    def scores(
        self, operands: dict[str, Value], first: Index, last: Index, key: Index, query: Index, columns: int
    ) -> None:
        """Scores of tiles `first` to `last` of the keys, whose first key is `key`, and the block of queries
        that begins at `query`: rows of the area "scores".
        """
        f, a, cuts = self.f, self.a, self.cuts
        below = last
        if a.causal:
            # Tiles none of whose keys comes after a query.
            below = f.min(last, part_of(f, cuts.tiles, f.min(f.add(query, 1), a.sources)))

        def tile(diagonal: bool, rows: int, tile: Index) -> None:
            start = cuts.tiles.start(f, tile)
            source = f.at(operands["key"], f.mul(start, self.nbytes("key", -2)))

            def body(source: Value, place: Index, start: Index, query: Index) -> None:
                self._scores(source, place, start, query, rows, diagonal)

            place = f.sub(start, key)
            self.call(
                ("scores", rows, diagonal), [source, place, *((start, query) if diagonal else (0, 0))], body
            )

        cuts.tiles.each(f, first, below, lambda rows, t: tile(False, rows, t))
        if a.causal:
            cuts.tiles.each(f, f.max(first, below), last, lambda rows, t: tile(True, rows, t))

    def _scores(
        self, source: Value, place: Index, start: Index, query: Index, rows: int, diagonal: bool
    ) -> None:
        f, a, lanes = self.f, self.a, self.lanes
        sums = self.products("key", "query", source, a.size, rows)
        lowest = self.constant(-math.inf)
        word = "i64" if self.scalar == "double" else "i32"
        words = vector(word, lanes)
        for r, row in enumerate(sums):
            row = [f.op("fmul", value, self.constant(a.scale)) for value in row]
            if a.mask is not None:
                added = self.load_row(self.area("mask", f.add(place, r)))
                row = [
                    f.select(f.compare("fcmp oeq", m, lowest), lowest, f.op("fadd", value, m))
                    for value, m in zip(row, added, strict=True)
                ]
            if diagonal:
                # Lane i is query `query` + i: it sees this key from lane key - query on.
                ahead = f.sub(f.add(start, r), query)
                ahead = f.cast("trunc", f.i64(ahead), word) if word != "i64" else f.i64(ahead)
                limit = f.splat(ahead, lanes)
                row = [
                    f.select(
                        f.compare("icmp sge", f.constants(words, range(v * lanes, (v + 1) * lanes)), limit),
                        value,
                        lowest,
                    )
                    for v, value in enumerate(row)
                ]
            self.store_row(row, self.area("scores", f.add(place, r)))

    def products(self, name: str, area: str, source: Value, k: int, rows: int) -> list[list[Value]]:
        """Products of `rows` places of an operand, the first at `source`, with what an area holds of the
        queries.
        """
        tile = Tile(
            self.scalar,
            self.lanes,
            offsets(rows, self.nbytes(name, -2)),
            self.nbytes(name, -1),
            offsets(VECTORS, self.lanes * self.itemsize),
            self.cuts.row_nbytes,
        )
        start = zeros(self.f, rows, VECTORS, self.type)
        return accumulate(self.f, self.isa, tile, start, source, self.area(area), k)

    def sum_over_keys(
        self, name: str, weights: str, to: str, source: Value, count: Index, tiles, grown: str | None
    ) -> None:
        """Add up `count` keys of an operand, the first at `source`, times their rows of the area `weights`,
        in the area `to`; `grown`: what it holds is kept, times the area of that name if there is one.
        """

        def tile(rows: int, tile: Index) -> None:
            start = tiles.start(self.f, tile)
            begin = self.f.at(source, self.f.mul(start, self.nbytes(name, -1)))

            def body(begin: Value, place: Index, count: Index) -> None:
                self._sum_over_keys(name, weights, to, begin, place, count, rows, grown)

            self.call(("sum", name, rows), [begin, start, count], body)

        tiles.each(self.f, 0, tiles.parts, tile)

    def _sum_over_keys(
        self,
        name: str,
        weights: str,
        to: str,
        begin: Value,
        place: Index,
        count: Index,
        rows: int,
        grown: str | None,
    ) -> None:
        f = self.f
        tile = Tile(
            self.scalar,
            self.lanes,
            offsets(rows, self.nbytes(name, -1)),
            self.nbytes(name, -2),
            offsets(VECTORS, self.lanes * self.itemsize),
            self.cuts.row_nbytes,
        )
        sums = accumulate(
            f, self.isa, tile, zeros(f, rows, VECTORS, self.type), begin, self.area(weights), count
        )
        factors = self.load_row(self.area(grown)) if grown else None
        for r, row in enumerate(sums):
            dest = self.area(to, f.add(place, r))
            if grown is not None:
                old = self.load_row(dest)
                if factors is not None:
                    old = [f.op("fmul", value, factor) for value, factor in zip(old, factors, strict=True)]
                row = [f.op("fadd", value, more) for value, more in zip(old, row, strict=True)]
            self.store_row(row, dest)

    def weight(self, x: Value) -> Value:
        """exp(x) of an x that is not positive; zero where that is below the normal numbers, which are slow to
        make: a masked score would cost as much as a hundred others.
        """
        least = self.constant(-708.0 if self.scalar == "double" else -87.0)
        below = self.f.compare("fcmp olt", x, least)
        return self.f.select(
            below, self.constant(0.0), self.math["exp"](self.f, self.f.select(below, least, x))
        )
