"""The kernel of a matrix product in register tiles.

A task is a range of row tiles and of panels of one product of the batch (and one range of k). It walks blocks
of k; in each, row tiles; for each of these, panels of b. c holds the sum between two blocks; with one block
an epilogue is applied tile by tile. Packing is
done inside the task, to scratch that stays in its cache: a step of its own that packs everything first was
5 to 10 % slower, and packing b again in several tasks costs less where each has some 500 rows to use it.

Knows strides in elements and a `Schedule`, nothing of graphs; the caller sees to it that c's rows are
contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from treadle.devices.cpu.elements import (
    ITEMSIZES,
    SCALARS,
    load_vector,
    plus,
    store_vector,
    summed_as_stored,
)
from treadle.devices.cpu.epilogue import Epilogue, each_vector
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.microkernel import Tile, accumulate, active_lanes, offsets, zeros
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.packing import STRIP, Source, each_panel, pack_panels, pack_rows
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, Schedule, share

Span = tuple[Index, Index]


@dataclass(frozen=True)
class Product:
    """c[batch..., m, n] = sum of a[batch..., m, k] * b[batch..., k, n]; no size is 0."""

    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a: tuple[int, ...]
    """Strides in elements: batch..., m, k."""
    b: tuple[int, ...]
    c: tuple[int, ...]
    dtype: str
    """Of a and b."""
    epilogue: Epilogue | None = None
    """None: the sum is stored as it is summed, which is wider than a 16-bit float or an 8-bit integer."""

    @property
    def results(self) -> int:
        """How many operands come after a and b: c, and what the epilogue reads."""
        return len(self.epilogue.operands) if self.epilogue else 1

    @property
    def scalar(self) -> str:
        return SCALARS[self.dtype]

    @property
    def itemsize(self) -> int:
        """Of a sum, and of what is packed."""
        return ITEMSIZES[self.scalar]

    @property
    def stored_nbytes(self) -> int:
        """Of an element of a or b in memory."""
        return ITEMSIZE[self.dtype]

    def a_source(self, isa: Isa) -> Source:
        """a as packing sees it."""
        return Source(self.dtype, isa, self.a[-1] * self.stored_nbytes, self.a[-2] * self.stored_nbytes)

    def b_source(self, isa: Isa) -> Source:
        """b as packing sees it."""
        return Source(self.dtype, isa, self.b[-2] * self.stored_nbytes, self.b[-1] * self.stored_nbytes)


class ProductWriter:
    """Writes the kernel ``(a, b, c, extra...)`` of a product.

    With split ranges of k, range s is stored `split_stride` elements after range s - 1.
    """

    def __init__(self, product: Product, schedule: Schedule, isa: Isa, split_stride: int = 0):
        self.product, self.schedule, self.isa, self.split_stride = product, schedule, isa, split_stride
        self.itemsize = product.itemsize
        self.lanes = isa.lanes(self.itemsize)
        self.type = vector(product.scalar, self.lanes)
        self.width = schedule.vectors * self.lanes
        self.tiles = EvenCut(product.m, schedule.rows)
        self.panels = -(-product.n // self.width)
        self.splits = EvenCut(product.k, -(-product.k // schedule.splits))
        self.blocks = EvenCut(self.splits.large, schedule.k_block)
        self.least_k = self.splits.smallest // self.blocks.parts
        self.panel_nbytes = self.width * (
            self.itemsize * self.blocks.large if schedule.pack_b else product.stored_nbytes
        )
        self.at_once = product.epilogue is not None and self.blocks.parts == 1
        """Whether c never holds sums, but only what the epilogue makes of them."""
        self.stored_nbytes = product.stored_nbytes
        self.a_place = product.a[-2] * self.stored_nbytes, product.a[-1] * self.stored_nbytes
        self.tile_names: dict[tuple, str] = {}
        self.module = module_for(isa)
        self.f = self.module.function("kernel", ["ptr", "i64", "i64", "ptr"])

    @property
    def tasks(self) -> int:
        return self.splits.parts * prod(self.product.batch) * prod(self.schedule.grid)

    def kernel(self, label: str) -> NativeKernel:
        p, f = self.product, self.f
        arguments, first, last, self.scratch = f.arguments
        loaded = [f.load("ptr", f.at(arguments, 8 * i)) for i in range(2 + p.results)]
        self.a, self.b, self.c, *self.extra = loaded
        if self.schedule.pack_b and self.blocks.parts == 1 and self.tasks == self.schedule.grid[0]:
            # Tasks that differ in their rows alone are one task: what it packs serves all of them.
            with f.when(f.compare("icmp slt", first, last)):
                self.task(first, last)
        else:
            f.loop(first, last, self.task)
        f.ret()
        count = prod(p.batch)
        return NativeKernel(
            self.module.text(),
            label,
            self.tasks,
            self.waiting_at() + self.at_once * self.tiles.large * self.width * self.itemsize,
            flops=2 * count * p.m * p.n * p.k,
            nbytes=self.stored_nbytes * count * (p.m * p.k + p.k * p.n + p.m * p.n),
        )

    # -- scratch: the packed panels of this task's b, packed tiles of a, sums that wait for the epilogue

    def panels_nbytes(self) -> int:
        if not self.schedule.pack_b:
            return 0
        return -(-self.panels // self.schedule.grid[1]) * self.panel_nbytes

    def waiting_at(self) -> int:
        return self.panels_nbytes() + self.schedule.pack_a * -(-self.tile_nbytes() // 64) * 64

    def tile_nbytes(self) -> int:
        row, step = self.tile_place(self.tiles.large)
        return max(row * self.tiles.large, step * self.blocks.large)

    def tile_place(self, rows: int) -> tuple[int, int]:
        """Bytes between rows and between steps of k of a packed tile of a."""
        if self.product.a[-1] == 1:
            return (self.blocks.large + self.lanes) * self.itemsize, self.itemsize
        return self.itemsize, active_lanes(rows, self.lanes)[0] * self.lanes * self.itemsize

    # -- the loops, outermost first

    def task(self, task: Index, end: Index | None = None) -> None:
        """One task, or all those before `end` as one."""
        f, p = self.f, self.product
        if self.schedule.rows_first:
            along_m, rest = f.divmod(task, self.tasks // self.schedule.grid[0])
        else:
            rest, along_m = f.divmod(task, self.schedule.grid[0])
        rest, along_n = f.divmod(rest, self.schedule.grid[1])
        split, batch = f.divmod(rest, prod(p.batch)) if self.splits.parts > 1 else (0, rest)
        self.digits = batch_digits(f, p.batch, batch)
        a, b, c = (
            f.at(base, batch_offset(f, self.digits, strides, nbytes))
            for base, strides, nbytes in (
                (self.a, p.a, self.stored_nbytes),
                (self.b, p.b, self.stored_nbytes),
                (self.c, p.c, self.itemsize),
            )
        )
        c = f.at(c, f.mul(split, self.split_stride * self.itemsize))
        tiles = share(f, self.tiles.parts, self.schedule.grid[0], along_m)
        if end is not None:
            tiles = tiles[0], share(f, self.tiles.parts, self.schedule.grid[0], f.sub(end, 1))[1]
        panels = share(f, self.panels, self.schedule.grid[1], along_n)
        first = self.splits.start(f, split)
        k = f.sub(self.splits.start(f, f.add(split, 1)), first)
        each, more = f.divmod(k, self.blocks.parts)

        def block(index: Index) -> None:
            start = f.add(f.mul(index, each), f.min(index, more))
            after = f.add(index, 1)
            stop = f.add(f.mul(after, each), f.min(after, more))
            # One size for all blocks is a constant; else it is found at run time.
            size = each if more == 0 else f.sub(stop, start)
            self.block(a, b, c, tiles, panels, f.add(first, start), size, index)

        f.loop(0, self.blocks.parts, block)

    def block(
        self, a: Value, b: Value, c: Value, tiles: Span, panels: Span, k0: Index, k: Index, index: Index
    ) -> None:
        """Add one block of k to the task's part of c."""
        f, p = self.f, self.product
        a = f.at(a, f.mul(k0, p.a[-1] * self.stored_nbytes))
        b = f.at(b, f.mul(k0, p.b[-2] * self.stored_nbytes))
        if self.schedule.pack_b:
            # The first panel of the task lies at the beginning of the scratch memory.
            dest = f.at(self.scratch, f.mul(panels[0], -self.panel_nbytes))
            pack_panels(
                f,
                p.b_source(self.isa),
                b,
                p.n,
                self.width,
                dest,
                self.panel_nbytes,
                panels,
                k,
                self.least_k,
            )
            b = dest

        group = self.schedule.pack_a or self.tiles.parts

        def row_tiles(first: Index) -> None:
            last = f.min(f.add(first, group), tiles[1])
            packed = f.at(self.scratch, f.sub(self.panels_nbytes(), f.mul(first, self.tile_nbytes())))
            if self.schedule.pack_a:
                self.pack_tiles(a, packed, first, last, k)

            def row_tile(rows: int, tile: Index) -> None:
                row = self.tiles.start(f, tile)
                if self.schedule.pack_a:
                    source, place = f.at(packed, f.mul(tile, self.tile_nbytes())), self.tile_place(rows)
                else:
                    source, place = f.at(a, f.mul(row, p.a[-2] * self.stored_nbytes)), self.a_place
                dest = f.at(c, f.mul(row, p.c[-2] * self.itemsize))

                def tile_of(panel: Index, columns: int) -> None:
                    from_b, column = f.at(b, f.mul(panel, self.panel_nbytes)), f.mul(panel, self.width)
                    self.call_tile(place, rows, columns, [source, from_b, dest, row, column, k, index])

                each_panel(f, p.n, self.width, *panels, tile_of)
                if p.epilogue and not self.at_once:
                    last_block = self.blocks.parts - 1
                    f.loop(last_block, f.add(index, 1), lambda _: self.finish(row, rows, dest, panels))

            self.tiles.each(f, first, last, row_tile)

        f.loop(*tiles, row_tiles, step=group)

    def pack_tiles(self, a: Value, dest: Value, first: Index, last: Index, k: Index) -> None:
        """Copy row tiles to `dest`, which is where tile 0 would go. Few steps of k of all tiles come before
        the next.
        """
        f, strip = self.f, STRIP if self.product.a[-1] != 1 else self.blocks.large

        def steps(start: Index) -> None:
            count = f.min(strip, f.sub(k, start))

            def tile(rows: int, tile: Index) -> None:
                place = self.tile_place(rows)
                offset = f.add(
                    f.mul(self.tiles.start(f, tile), self.a_place[0]), f.mul(start, self.a_place[1])
                )
                to = f.add(f.mul(tile, self.tile_nbytes()), f.mul(start, place[1]))
                source = self.product.a_source(self.isa)
                pack_rows(f, source, f.at(a, offset), f.at(dest, to), place, rows, count, self.least_k)

            self.tiles.each(f, first, last, tile)

        f.loop(0, k, steps, step=strip)

    def call_tile(self, place: tuple[int, int], rows: int, columns: int, arguments: list[Index]) -> None:
        """Call the function that does a register tile of this kind, writing it at its first use.

        In the midst of the loops it would run as fast, but LLVM would take up to three times as long to
        compile it: its loop strength reduction compares the addresses of all of c's vectors.
        """
        f, outer = self.f, self.f
        if self.at_once:
            arguments = [*arguments, self.scratch, *self.extra, self.c, *self.digits]
        kind = place, rows, columns, tuple(x if isinstance(x, int) else None for x in arguments)
        name = self.tile_names.get(kind)
        values = [x for x in arguments if isinstance(x, Value)]
        if name is None:
            name = self.tile_names[kind] = f"tile{len(self.tile_names)}"
            self.f = self.module.function(name, [x.type for x in values], internal=True)
            inside = iter(self.f.arguments)
            a, b, c, *rest = [next(inside) if isinstance(x, Value) else x for x in arguments]
            assert isinstance(a, Value) and isinstance(b, Value) and isinstance(c, Value)
            self.tile(place, rows, columns, a, b, c, *rest)
            self.f.ret()
            self.f = outer
        f.call("void", name, *values)

    def tile(
        self,
        place: tuple[int, int],
        rows: int,
        columns: int,
        a: Value,
        b: Value,
        c: Value,
        row: Index,
        column: Index,
        k: Index,
        index: Index,
        *epilogue: Index,
    ) -> None:
        """One register tile: multiply, add what c holds unless this is the first block, store."""
        f, p = self.f, self.product
        c = f.at(c, f.mul(column, self.itemsize))
        vectors, active = active_lanes(columns, self.lanes)
        packed = self.schedule.pack_b
        b_nbytes = self.itemsize if packed else self.stored_nbytes
        tile = Tile(
            p.scalar,
            self.lanes,
            offsets(rows, place[0]),
            place[1],
            offsets(vectors, self.lanes * b_nbytes),
            self.width * b_nbytes if packed else p.b[-2] * b_nbytes,
            active=0 if packed else active,
            stored="" if packed or summed_as_stored(p.dtype) else p.dtype,
            unroll=self.schedule.unroll,
        )
        scratch, *pointers = [x for x in epilogue[: 1 + p.results] if isinstance(x, Value)] or [c]
        corner = (*epilogue[1 + p.results :], row, column)
        for begin, itemsize in self.results(c, pointers, corner):
            for r in range(rows):
                for v in range(vectors):
                    # What is stored, and what an old value is read from, is in the cache by then.
                    f.prefetch(f.at(begin, (r * p.c[-2] + v * self.lanes) * itemsize), write=True)
        sums = accumulate(f, self.isa, tile, zeros(f, rows, vectors, self.type), a, b, k)
        if self.at_once:
            self.finish_tile(sums, columns, pointers, corner, scratch)
            return
        flat = [value for row in sums for value in row]
        places = [
            (f.at(c, (r * p.c[-2] + v * self.lanes) * self.itemsize), active if v == vectors - 1 else 0)
            for r in range(rows)
            for v in range(vectors)
        ]

        def resume(_: Index, *flat: Value) -> list[Value]:
            pairs = zip(flat, places, strict=True)
            return [plus(f, load_vector(f, to, self.type, tail), value) for value, (to, tail) in pairs]

        if self.blocks.parts > 1:
            # A loop of no turn or one: the branch and the merge of the sums in one.
            flat = f.loop(0, f.min(index, 1), resume, flat)
        for value, (to, tail) in zip(flat, places, strict=True):
            store_vector(f, value, to, tail)

    def results(self, c: Value, pointers: list[Value], corner: tuple[Index, ...]) -> list[tuple[Value, int]]:
        """Where the first element of a tile is in each result, and the size of an element there."""
        epilogue = self.product.epilogue
        if epilogue is None or not self.at_once:
            return [(c, self.itemsize)]
        found: list[tuple[Value, int]] = []
        for operand in epilogue.results:
            itemsize = ITEMSIZE[epilogue.operands[operand].dtype]
            at = batch_offset(self.f, list(corner), epilogue.target.strides, itemsize)
            found.append((self.f.at(pointers[operand], at), itemsize))
        return found

    def finish_tile(
        self,
        sums: list[list[Value]],
        columns: int,
        pointers: list[Value],
        corner: tuple[Index, ...],
        scratch: Value,
    ) -> None:
        """Apply the epilogue to a register tile: in registers, or in a loop over sums in scratch memory."""
        f, epilogue, lanes = self.f, self.product.epilogue, self.lanes
        assert epilogue is not None
        if epilogue.cheap:
            epilogue.finish_tile(f, self.isa, pointers, corner, sums, lanes, columns % lanes)
            return
        vector_nbytes = lanes * self.itemsize
        waiting, width = f.at(scratch, self.waiting_at()), len(sums[0])
        for r, vectors in enumerate(sums):
            for v, value in enumerate(vectors):
                f.store(value, f.at(waiting, (r * width + v) * vector_nbytes))
        *digits, row, column = corner
        known = epilogue.before(f, self.isa, pointers, corner)

        def row_of(r: Index) -> None:
            begin = f.at(waiting, f.mul(r, width * vector_nbytes))

            def chunk(v: Index, active: int) -> None:
                value = f.load(self.type, f.at(begin, f.mul(v, vector_nbytes)))
                index = (*digits, f.add(row, r), f.add(column, f.mul(v, lanes)))
                epilogue.finish(f, self.isa, pointers, index, value, lanes, active, known)

            each_vector(f, columns, lanes, 0, width, chunk)

        f.loop(0, len(sums), row_of)

    def finish(self, row: Index, rows: int, c: Value, panels: Span) -> None:
        """Apply the epilogue to the sums of some rows, which are in c; `c` points to the first row."""
        f, p, epilogue = self.f, self.product, self.product.epilogue
        assert epilogue is not None

        def row_of(r: Index) -> None:
            begin = f.at(c, f.mul(r, p.c[-2] * self.itemsize))

            def chunk(v: Index, active: int) -> None:
                column = f.mul(v, self.lanes)
                sums = load_vector(f, f.at(begin, f.mul(column, self.itemsize)), self.type, active)
                index = (*self.digits, f.add(row, r), column)
                epilogue.finish(f, self.isa, [*self.extra, self.c], index, sums, self.lanes, active)

            first, last = (f.mul(panel, self.schedule.vectors) for panel in panels)
            each_vector(f, p.n, self.lanes, first, f.min(last, -(-p.n // self.lanes)), chunk)

        f.loop(0, rows, row_of)


def batch_digits(f: Function, sizes: tuple[int, ...], index: Index) -> list[Index]:
    """Element `index` of a batch as its position along each axis."""
    digits: list[Index] = []
    for size in reversed(sizes[1:]):
        index, digit = f.divmod(index, size)
        digits.insert(0, digit)
    return [index, *digits] if sizes else []


def batch_offset(f: Function, digits: list[Index], strides: tuple[int, ...], itemsize: int) -> Index:
    """Where an element of a batch begins, in bytes; strides of further axes are not looked at."""
    offset: Index = 0
    for digit, stride in zip(digits, strides, strict=False):
        offset = f.add(offset, f.mul(digit, stride * itemsize))
    return offset
