"""The forward kernel of attention: running maxima, sums and results of a block of queries, over blocks of
keys (Milakov and Gimelshein 2018, arXiv:1805.02867).
"""

from __future__ import annotations

import math
from math import prod

from treadle.devices.cpu.attention_problem import MOST_TASKS, VECTORS, Attention, part_of
from treadle.devices.cpu.attention_writer import AttentionWriter
from treadle.devices.cpu.elements import plus, store_vector
from treadle.devices.cpu.ir import Index, Value
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.packing import each_panel
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import share

OPERANDS = ("query", "key", "value", "mask", "result", "normalizer")


def forward_kernel(a: Attention, isa: Isa) -> NativeKernel:
    """The kernel of `OPERANDS`."""
    return ForwardWriter(a, isa).kernel()


class ForwardWriter(AttentionWriter):
    """Writes the kernel. A task is some blocks of queries of a head."""

    def __init__(self, a: Attention, isa: Isa):
        super().__init__(a, isa, OPERANDS)
        cuts = self.cuts
        self.several = cuts.blocks.parts > 1
        self.reserve("query", a.size)
        self.reserve("scores", cuts.block_keys)
        if a.mask is not None:
            self.reserve("mask", cuts.block_keys)
        self.reserve("result", -(-a.features // self.lanes) * self.lanes)
        self.reserve("kept", 1)
        """By how much what was summed before shrinks, and at the end what it is to be multiplied by."""

    def kernel(self) -> NativeKernel:
        f, a, cuts = self.f, self.a, self.cuts
        grid = max(1, min(cuts.queries, -(-MOST_TASKS // prod(a.batch))))
        operands = self.operands()

        def task(task: Index) -> None:
            head, part = f.divmod(task, grid)
            of_head = self.of_head(operands, head)
            blocks = share(f, cuts.queries, grid, part)
            each_panel(
                f, a.targets, cuts.width, *blocks, lambda block, columns: self.block(of_head, block, columns)
            )

        f.loop(self.f.arguments[1], self.f.arguments[2], task)
        f.ret()
        heads = prod(a.batch)
        elements = heads * (a.targets + a.sources) * (a.size + a.features) + heads * a.targets
        return NativeKernel(
            self.module.text(),
            f"attention {a.label}",
            heads * grid,
            self.scratch_nbytes,
            flops=2 * a.pairs * (a.size + a.features),
            nbytes=elements * self.itemsize,
        )

    def block(self, operands: dict[str, Value], block: Index, columns: int) -> None:
        """One block of queries, of which `columns` are there."""
        f, a, cuts = self.f, self.a, self.cuts
        query = f.mul(block, cuts.width)
        self.turn_in("query", operands["query"], block, a.size)
        seen: Index = f.min(f.add(query, columns), a.sources) if a.causal else a.sources
        tiles = f.add(part_of(f, cuts.tiles, f.sub(seen, 1)), 1)
        blocks = f.add(part_of(f, cuts.blocks, f.sub(tiles, 1)), 1)
        if self.several:
            self.clear("result", a.features)

        def keys(number: Index, *carried: Value) -> list[Value]:
            first = cuts.blocks.start(f, number)
            last = f.min(cuts.blocks.start(f, f.add(number, 1)), tiles)
            key = cuts.tiles.start(f, first)
            stop = cuts.tiles.start(f, last)
            if "mask" in operands:
                self.turn_mask(
                    operands["mask"],
                    block,
                    key,
                    f.sub(cuts.tiles.start(f, cuts.blocks.start(f, f.add(number, 1))), key),
                )
            self.scores(operands, first, last, key, query, columns)
            count = f.sub(f.min(stop, seen), key)
            tops, totals = self.weights(count, list(carried[:VECTORS]), list(carried[VECTORS:]))
            source = f.at(operands["value"], f.mul(key, self.nbytes("value", -2)))
            grown = "kept" if self.several else None
            self.sum_over_keys("value", "scores", "result", source, count, cuts.feature_tiles, grown)
            return [*tops, *totals]

        start = [self.constant(-math.inf)] * VECTORS + [self.constant(0.0)] * VECTORS
        after = f.loop(0, blocks, keys, start)
        self.finish(operands, query, columns, after[:VECTORS], after[VECTORS:])

    def weights(
        self, count: Index, tops: list[Value], totals: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        """Turn the scores of `count` keys into weights, less than they will be by a common factor; the new
        maxima and sums.
        """
        f = self.f
        scores = self.area("scores")

        def place(key: Index) -> Value:
            return f.at(scores, f.mul(key, self.cuts.row_nbytes))

        def higher(key: Index, *tops: Value) -> list[Value]:
            pairs = zip(self.load_row(place(key)), tops, strict=True)
            return [f.select(f.compare("fcmp ogt", score, top), score, top) for score, top in pairs]

        before, tops = tops, f.loop(0, count, higher, tops)
        finite = [self.finite(top) for top in tops]

        def weigh(key: Index, *totals: Value) -> list[Value]:
            row = zip(self.load_row(place(key)), finite, strict=True)
            weights = [self.weight(f.op("fsub", score, top)) for score, top in row]
            self.store_row(weights, place(key))
            return [plus(f, total, weight) for total, weight in zip(totals, weights, strict=True)]

        if not self.several:
            return tops, f.loop(0, count, weigh, totals)
        kept = [self.weight(f.op("fsub", old, top)) for old, top in zip(before, finite, strict=True)]
        self.store_row(kept, self.area("kept"))
        totals = [f.op("fmul", total, factor) for total, factor in zip(totals, kept, strict=True)]
        return tops, f.loop(0, count, weigh, totals)

    def finite(self, top: Value) -> Value:
        """What to subtract from scores: 0 where all are masked, so that their weights are zero, not NaN."""
        none = self.f.compare("fcmp oeq", top, self.constant(-math.inf))
        return self.f.select(none, self.constant(0.0), top)

    def finish(
        self, operands: dict[str, Value], query: Index, columns: int, tops: list[Value], totals: list[Value]
    ) -> None:
        """Divide by the sums, and store."""
        f, one, zero = self.f, self.constant(1.0), self.constant(0.0)
        factors = [
            f.select(f.compare("fcmp oeq", total, zero), zero, f.op("fdiv", one, total)) for total in totals
        ]
        self.store_row(factors, self.area("kept"))
        dest = f.at(operands["result"], f.mul(query, self.nbytes("result", -2)))
        self.turn_out("result", "result", dest, self.a.features, columns, "kept")
        rows = f.at(operands["normalizer"], f.mul(query, self.itemsize))
        for v, (top, total) in enumerate(zip(tops, totals, strict=True)):
            active = min(columns - v * self.lanes, self.lanes)
            if active > 0:
                value = plus(f, self.finite(top), self.math["log"](f, total))
                store_vector(f, value, f.at(rows, v * self.lanes * self.itemsize), active)
