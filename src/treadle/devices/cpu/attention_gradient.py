"""The kernels of the gradients of attention by queries, keys and values: weights are computed anew for each
block of queries and of keys (Dao et al. 2022, arXiv:2205.14135).
"""

from __future__ import annotations

import math
from math import prod

from treadle.devices.cpu.attention_problem import MOST_TASKS, VECTORS, Attention, part_of
from treadle.devices.cpu.attention_writer import AttentionWriter
from treadle.devices.cpu.elements import load_vector, plus, store_vector
from treadle.devices.cpu.ir import Index, Value
from treadle.devices.cpu.microkernel import Tile, accumulate, active_lanes, offsets, zeros
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.packing import each_panel
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import share

READ = ("result", "worth", "normalizer", "query", "key", "value", "mask")
"""`result` is its gradient."""


def gradient_kernel(a: Attention, part: str, isa: Isa) -> NativeKernel:
    """The kernel of `READ` and the gradients that `part` names."""
    return GradientWriter(a, part, isa).kernel(part)


class GradientWriter(AttentionWriter):
    """Writes the kernel. A task is all of a head; or some of its queries, if nothing else is asked for than
    their gradient, or some of its keys, if their gradient is not.
    """

    def __init__(self, a: Attention, part: str, isa: Isa):
        self.by_query, self.by_key = "query" in part, "key" in part
        written = ("query_gradient",) * self.by_query + ("key_gradient", "value_gradient") * self.by_key
        super().__init__(a, isa, (*READ, *written))
        cuts = self.cuts
        self.reserve("query", a.size)
        self.reserve("result", a.features)
        self.reserve("worth", 1)
        self.reserve("normalizer", 1)
        self.reserve("scores", cuts.block_keys)
        self.reserve("above", cuts.block_keys)
        if a.mask is not None:
            self.reserve("mask", cuts.block_keys)
        if self.by_query:
            self.reserve("query_gradient", -(-a.size // self.lanes) * self.lanes)

    def kernel(self, part: str) -> NativeKernel:
        f, a, cuts = self.f, self.a, self.cuts
        along = (cuts.queries if not self.by_key else 1, cuts.blocks.parts if not self.by_query else 1)
        wanted = -(-MOST_TASKS // prod(a.batch))
        grid = max(1, min(max(along), wanted))
        operands = self.operands()

        def task(task: Index) -> None:
            head, number = f.divmod(task, grid)
            of_head = self.of_head(operands, head)
            blocks = share(f, cuts.queries, grid, number) if along[0] > 1 else (0, cuts.queries)
            keys = share(f, cuts.blocks.parts, grid, number) if along[1] > 1 else (0, cuts.blocks.parts)
            if self.by_key:
                self.clear_rows(of_head, *(cuts.tiles.start(f, cuts.blocks.start(f, edge)) for edge in keys))
            each_panel(
                f, a.targets, cuts.width, *blocks,
                lambda block, columns: self.block(of_head, block, keys, columns),
            )  # fmt: skip

        f.loop(self.f.arguments[1], self.f.arguments[2], task)
        f.ret()
        heads = prod(a.batch)
        products = a.size + a.features + a.size * self.by_query + (a.size + a.features) * self.by_key
        elements = 2 * heads * (a.targets + a.sources) * (a.size + a.features)
        return NativeKernel(
            self.module.text(),
            f"attention gradient by {part} {a.label}",
            heads * grid,
            self.scratch_nbytes,
            flops=2 * a.pairs * products,
            nbytes=elements * self.itemsize,
        )

    def clear_rows(self, operands: dict[str, Value], first: Index, last: Index) -> None:
        """Let the gradients of some keys and values begin at zero."""
        for name, width in (("key_gradient", self.a.size), ("value_gradient", self.a.features)):

            def body(begin: Value, first: Index, last: Index, name: str = name, width: int = width) -> None:
                def row(place: Index) -> None:
                    dest = self.f.at(begin, self.f.mul(place, self.nbytes(name, -2)))

                    def piece(v: Index, active: int) -> None:
                        to = self.f.at(dest, self.f.mul(v, self.lanes * self.itemsize))
                        store_vector(self.f, self.constant(0.0), to, active)

                    whole, rest = divmod(width, self.lanes)
                    self.f.loop(0, whole, lambda v: piece(v, 0))
                    if rest:
                        piece(whole, rest)

                self.f.loop(first, last, row)

            self.call(("clear", name), [operands[name], first, last], body)

    def block(
        self, operands: dict[str, Value], block: Index, keys: tuple[Index, Index], columns: int
    ) -> None:
        """One block of queries, of which `columns` are there, and some blocks of keys."""
        f, a, cuts = self.f, self.a, self.cuts
        query = f.mul(block, cuts.width)
        self.turn_in("query", operands["query"], block, a.size)
        self.turn_in("result", operands["result"], block, a.features)
        for name in ("worth", "normalizer"):
            self.gather_row(name, operands[name], query, columns)
        seen: Index = f.min(f.add(query, columns), a.sources) if a.causal else a.sources
        tiles = f.add(part_of(f, cuts.tiles, f.sub(seen, 1)), 1)
        blocks = f.add(part_of(f, cuts.blocks, f.sub(tiles, 1)), 1)
        if self.by_query:
            self.clear("query_gradient", a.size)

        def of_keys(number: Index) -> None:
            first = cuts.blocks.start(f, number)
            end = cuts.blocks.start(f, f.add(number, 1))
            last = f.min(end, tiles)
            key = cuts.tiles.start(f, first)
            if "mask" in operands:
                self.turn_mask(operands["mask"], block, key, f.sub(cuts.tiles.start(f, end), key))
            self.scores(operands, first, last, key, query, columns)
            self.above(operands, first, last, key)
            count = f.sub(cuts.tiles.start(f, last), key)
            self.weigh(count)
            if self.by_query:
                source = f.at(operands["key"], f.mul(key, self.nbytes("key", -2)))
                self.sum_over_keys("key", "above", "query_gradient", source, count, cuts.size_tiles, "")
            if self.by_key:
                self.sums_over_queries(operands, first, last, key, query, columns)

        f.loop(keys[0], f.min(keys[1], blocks), of_keys)
        if self.by_query:
            dest = f.at(operands["query_gradient"], f.mul(query, self.nbytes("query_gradient", -2)))
            self.turn_out("query_gradient", "query_gradient", dest, a.size, columns)

    def above(self, operands: dict[str, Value], first: Index, last: Index, key: Index) -> None:
        """Products of values and the result's gradient, as `scores`."""
        f, cuts = self.f, self.cuts

        def tile(rows: int, tile: Index) -> None:
            start = cuts.tiles.start(f, tile)

            def body(source: Value, place: Index) -> None:
                for r, row in enumerate(self.products("value", "result", source, self.a.features, rows)):
                    self.store_row(row, self.area("above", self.f.add(place, r)))

            source = f.at(operands["value"], f.mul(start, self.nbytes("value", -2)))
            self.call(("above", rows), [source, f.sub(start, key)], body)

        cuts.tiles.each(f, first, last, tile)

    def weigh(self, count: Index) -> None:
        """Turn scores into weights, and products with values into gradients of scores, with their scale."""

        def body(count: Index) -> None:
            f = self.f
            masked = self.constant(-math.inf)
            # Where a row's normalizer is -infinity, so are its scores.
            normalizers = [
                f.select(f.compare("fcmp oeq", value, masked), self.constant(0.0), value)
                for value in self.load_row(self.area("normalizer"))
            ]
            worths = self.load_row(self.area("worth"))
            scale = self.constant(self.a.scale)
            scores, above = self.area("scores"), self.area("above")

            def of_key(key: Index) -> None:
                score_at, above_at = (
                    f.at(begin, f.mul(key, self.cuts.row_nbytes)) for begin in (scores, above)
                )
                weights = [
                    self.weight(f.op("fsub", score, normalizer))
                    for score, normalizer in zip(self.load_row(score_at), normalizers, strict=True)
                ]
                self.store_row(weights, score_at)
                parts = zip(self.load_row(above_at), worths, weights, strict=True)
                gradients = [
                    f.op("fmul", f.op("fmul", weight, scale), f.op("fsub", product, worth))
                    for product, worth, weight in parts
                ]
                self.store_row(gradients, above_at)

            f.loop(0, count, of_key)

        self.call(("weigh",), [count], body)

    def sums_over_queries(
        self, operands: dict[str, Value], first: Index, last: Index, key: Index, query: Index, columns: int
    ) -> None:
        """Add to the gradients of keys and values what a block of queries gives."""
        f, cuts = self.f, self.cuts
        sums = (
            ("value_gradient", "scores", "result", self.a.features),
            ("key_gradient", "above", "query", self.a.size),
        )

        def tile(rows: int, tile: Index) -> None:
            start = cuts.tiles.start(f, tile)
            for name, area, read, width in sums:
                dest = f.at(operands[name], f.mul(start, self.nbytes(name, -2)))
                source = f.at(operands[read], f.mul(query, self.nbytes(read, -2)))

                def panel(
                    index: Index, wide: int, name=name, area=area, read=read, dest=dest, source=source
                ) -> None:
                    def body(source: Value, dest: Value, place: Index) -> None:
                        self._sum_over_queries(name, area, read, source, dest, place, rows, wide, columns)

                    along = f.mul(index, VECTORS * self.lanes * self.itemsize)
                    places = [f.at(source, along), f.at(dest, along), f.sub(start, key)]
                    self.call(("queries", name, rows, wide, columns), places, body)

                each_panel(f, width, VECTORS * self.lanes, 0, -(-width // (VECTORS * self.lanes)), panel)

        cuts.tiles.each(f, first, last, tile)

    def _sum_over_queries(
        self,
        name: str,
        area: str,
        read: str,
        source: Value,
        dest: Value,
        place: Index,
        rows: int,
        wide: int,
        columns: int,
    ) -> None:
        f = self.f
        vectors, active = active_lanes(wide, self.lanes)
        tile = Tile(
            self.scalar,
            self.lanes,
            offsets(rows, self.cuts.row_nbytes),
            self.itemsize,
            offsets(vectors, self.lanes * self.itemsize),
            self.nbytes(read, -2),
            active=active,
        )
        start = zeros(f, rows, vectors, self.type)
        sums = accumulate(f, self.isa, tile, start, self.area(area, place), source, columns)
        for r, row in enumerate(sums):
            for v, value in enumerate(row):
                to = f.at(dest, r * self.nbytes(name, -2) + v * self.lanes * self.itemsize)
                tail = active if v == vectors - 1 else 0
                store_vector(f, plus(f, load_vector(f, to, self.type, tail), value), to, tail)
