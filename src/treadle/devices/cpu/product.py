"""Kernels of a matrix product in register tiles: the product itself, the packing of b, and the sum of split ranges of k.

A task is a range of row tiles and panels of one product of the batch (and one range of k). It walks blocks of k; in each, row tiles;
for each of these, panels of b. c holds the sum between two blocks. Knows strides in elements and a `Schedule`, nothing of
graphs; what c's rows must be like (contiguous) is seen to by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from treadle.devices.cpu.ir import Function, Index, Module, Value, vector
from treadle.devices.cpu.microkernel import (
    ITEMSIZES,
    SCALARS,
    Tile,
    accumulate,
    active_lanes,
    load_vector,
    offsets,
    store_vector,
    zeros,
)
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.packing import pack_panel, pack_rows
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, Schedule, share


@dataclass(frozen=True)
class Product:
    """c[batch..., m, n] = sum of a[batch..., m, k] * b[batch..., k, n]; c's rows are contiguous; no size is 0."""

    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a: tuple[int, ...]
    """Strides in elements: batch..., m, k."""
    b: tuple[int, ...]
    c: tuple[int, ...]
    dtype: str

    @property
    def scalar(self) -> str:
        return SCALARS[self.dtype]

    @property
    def itemsize(self) -> int:
        return ITEMSIZES[self.scalar]


class ProductWriter:
    """Writes the kernel ``(a, b, c)`` of a product; b is packed already if the schedule says "step".

    With split ranges of k, range s is stored `split_stride` elements after range s - 1.
    """

    def __init__(self, product: Product, schedule: Schedule, isa: Isa, split_stride: int = 0):
        self.product, self.schedule, self.isa, self.split_stride = product, schedule, isa, split_stride
        self.lanes = isa.lanes(product.itemsize)
        self.type = vector(product.scalar, self.lanes)
        self.width = schedule.vectors * self.lanes
        self.tiles = EvenCut(product.m, schedule.rows)
        self.panels = -(-product.n // self.width)
        self.splits = EvenCut(product.k, -(-product.k // schedule.splits))
        self.blocks = EvenCut(self.splits.large, schedule.k_block)
        self.least_k = self.splits.smallest // self.blocks.parts
        self.module = Module(isa.attributes)
        self.f = self.module.function("kernel", ["ptr", "i64", "i64", "ptr"])

    @property
    def tasks(self) -> int:
        return self.splits.parts * prod(self.product.batch) * prod(self.schedule.grid)

    def kernel(self, label: str) -> NativeKernel:
        p, f = self.product, self.f
        arguments, first, last, self.scratch = f.arguments
        self.a, self.b, self.c = (f.load("ptr", f.at(arguments, 8 * i)) for i in range(3))
        f.loop(first, last, self.task)
        f.ret()
        count = prod(p.batch)
        return NativeKernel(
            self.module.text(),
            label,
            self.tasks,
            self.panels_nbytes() + self.tile_nbytes(),
            flops=2 * count * p.m * p.n * p.k,
            nbytes=p.itemsize * count * (p.m * p.k + p.k * p.n + p.m * p.n),
        )

    # -- scratch: packed panels of this task's b, then one packed tile of a

    def panels_nbytes(self) -> int:
        if self.schedule.pack_b != "task":
            return 0
        most = -(-self.panels // self.schedule.grid[1])
        return most * self.width * self.blocks.large * self.product.itemsize

    def tile_nbytes(self) -> int:
        if not self.schedule.pack_a:
            return 0
        row, step = self.tile_place(self.tiles.large)
        return max(row * self.tiles.large, step * self.blocks.large)

    def tile_place(self, rows: int) -> tuple[int, int]:
        """Bytes between rows and between steps of k of a packed tile of a."""
        itemsize = self.product.itemsize
        if self.product.a[-1] == 1:
            return (self.blocks.large + self.lanes) * itemsize, itemsize
        return itemsize, active_lanes(rows, self.lanes)[0] * self.lanes * itemsize

    # -- the loops, outermost first

    def task(self, task: Index) -> None:
        f, p = self.f, self.product
        rest, along_m = f.divmod(task, self.schedule.grid[0])
        rest, along_n = f.divmod(rest, self.schedule.grid[1])
        split, batch = f.divmod(rest, prod(p.batch)) if self.splits.parts > 1 else (0, rest)
        offsets = batch_offsets(f, p.batch, batch, (p.a, p.b, p.c), p.itemsize)
        a, b, c = (f.at(base, offset) for base, offset in zip((self.a, self.b, self.c), offsets, strict=True))
        c = f.at(c, f.mul(split, self.split_stride * p.itemsize))
        tiles = share(f, self.tiles.parts, self.schedule.grid[0], along_m)
        panels = share(f, self.panels, self.schedule.grid[1], along_n)
        first = self.splits.start(f, split)
        k = f.sub(self.splits.start(f, f.add(split, 1)), first)
        # Blocks of ranges whose sizes differ by one are cut at run time: all are ceil(k / parts) long but the last.
        if isinstance(k, int) and self.blocks.parts == 1:
            self.block(a, b, c, tiles, panels, first, k, None)
        else:
            length = f.divmod(f.add(k, self.blocks.parts - 1), self.blocks.parts)[0]

            def block(start: Index) -> None:
                extra = f.compare("icmp sgt", f.i64(start), f.i64(0))
                self.block(a, b, c, tiles, panels, f.add(first, start), f.min(length, f.sub(k, start)), extra)

            self.run_time_steps(k, length, block)

    def run_time_steps(self, k: Index, length: Index, block) -> None:
        """Visit the blocks: 0, length, 2 * length, ... below k."""
        f = self.f

        def one(index: Index) -> None:
            block(f.mul(index, length))

        f.loop(0, self.blocks.parts, one)

    def block(self, a, b, c, tiles, panels, k0: Index, k: Index, resumes: Value | None) -> None:
        """Add one block of k to the task's part of c."""
        f, p = self.f, self.product
        a = f.at(a, f.mul(k0, p.a[-1] * p.itemsize))
        if self.schedule.pack_b == "task":
            b = f.at(b, f.mul(k0, p.b[-2] * p.itemsize))
            self.each_panel(*panels, lambda j, full: self.pack(b, panels[0], j, full, k))
        elif self.schedule.pack_b == "step":
            b = f.at(b, f.mul(k0, self.width * p.itemsize))
        else:
            b = f.at(b, f.mul(k0, p.b[-2] * p.itemsize))

        def row_tile(rows: int, tile: Index) -> None:
            row = self.tiles.start(f, tile)
            from_a = f.at(a, f.mul(row, p.a[-2] * p.itemsize))
            place = p.a[-2] * p.itemsize, p.a[-1] * p.itemsize
            if self.schedule.pack_a:
                packed, place = f.at(self.scratch, self.panels_nbytes()), self.tile_place(rows)
                pack_rows(
                    f,
                    p.scalar,
                    p.itemsize,
                    self.lanes,
                    from_a,
                    p.a[-2:],
                    packed,
                    place,
                    rows,
                    k,
                    self.least_k,
                )
                from_a = packed
            to_c = f.at(c, f.mul(row, p.c[-2] * p.itemsize))
            self.each_panel(
                *panels,
                lambda j, full: self.tile(from_a, place, rows, b, panels[0], to_c, j, full, k, resumes),
            )

        self.tiles.each(f, *tiles, row_tile)

    def each_panel(self, first: Index, last: Index, body) -> None:
        """``body(panel, whole)`` in a loop over the whole panels of a range, and once for the narrower last one."""
        f = self.f
        whole = self.product.n // self.width
        f.loop(first, f.min(last, whole), lambda j: body(j, True))
        if whole < self.panels:
            f.loop(f.max(first, whole), last, lambda j: body(j, False))

    def pack(self, b: Value, first: Index, j: Index, whole: bool, k: Index) -> None:
        """Pack one panel of this task's block of k."""
        f, p = self.f, self.product
        columns = self.width if whole else p.n % self.width
        dest = f.at(self.scratch, f.mul(f.sub(j, first), self.blocks.large * self.width * p.itemsize))
        source = f.at(b, f.mul(j, self.width * p.b[-1] * p.itemsize))
        pack_panel(
            f, p.scalar, p.itemsize, self.lanes, source, p.b[-2:], dest, self.width * p.itemsize, k, self.least_k,
            columns, columns,
        )  # fmt: skip

    def tile(
        self, a, place, rows, b, first, c, j: Index, whole: bool, k: Index, resumes: Value | None
    ) -> None:
        """One register tile: multiply, add what c holds, store."""
        f, p, schedule = self.f, self.product, self.schedule
        columns = self.width if whole else p.n % self.width
        vectors, active = active_lanes(columns, self.lanes)
        if schedule.pack_b == "task":
            b = f.at(self.scratch, f.mul(f.sub(j, first), self.blocks.large * self.width * p.itemsize))
        elif schedule.pack_b == "step":
            b = f.at(b, f.mul(j, p.k * self.width * p.itemsize))
        else:
            b = f.at(b, f.mul(j, self.width * p.itemsize))
        c = f.at(c, f.mul(j, self.width * p.itemsize))
        packed = schedule.pack_b != "none"
        tile = Tile(
            p.scalar,
            self.lanes,
            offsets(rows, place[0]),
            place[1],
            offsets(vectors, self.lanes * p.itemsize),
            self.width * p.itemsize if packed else p.b[-2] * p.itemsize,
            active=0 if packed else active,
            unroll=schedule.unroll,
        )
        sums = accumulate(f, self.isa, tile, zeros(f, rows, vectors, self.type), a, b, k)
        spots = [
            [(f.at(c, (row * p.c[-2] + v * self.lanes) * p.itemsize), active if v == vectors - 1 else 0)
             for v in range(vectors)]
            for row in range(rows)
        ]  # fmt: skip
        flat = [value for row in sums for value in row]
        if resumes is not None:
            places = [spot for row in spots for spot in row]

            def resume(_: Index, *flat: Value) -> list[Value]:
                return [
                    f.op("fadd", load_vector(f, place, self.type, lanes), value)
                    for value, (place, lanes) in zip(flat, places, strict=True)
                ]

            # A loop of zero or one turns: the branch and its merge in one.
            flat = f.loop(0, f.cast("zext", resumes, "i64"), resume, flat)
        for row in range(rows):
            for v in range(vectors):
                store_vector(f, flat[row * vectors + v], *spots[row][v])


def batch_offsets(
    f: Function, sizes: tuple[int, ...], index: Index, strides: tuple[tuple[int, ...], ...], itemsize: int
) -> list[Index]:
    """Where element `index` of a batch begins in each operand, in bytes."""
    places: list[Index] = [0] * len(strides)
    for axis in reversed(range(len(sizes))):
        index, digit = f.divmod(index, sizes[axis]) if axis else (0, index)
        places = [
            f.add(place, f.mul(digit, stride[axis] * itemsize))
            for place, stride in zip(places, strides, strict=True)
        ]
    return places


def pack_kernel(product: Product, schedule: Schedule, isa: Isa) -> tuple[NativeKernel, Product, int]:
    """The step ``(b, packed)`` that packs all of b; the product as it is afterwards, and the size of packed in bytes.

    Packed is [batch of b..., panel, k, width]: a b that the whole batch shares is packed once.
    """
    p, lanes = product, isa.lanes(product.itemsize)
    width = schedule.vectors * lanes
    panels = -(-p.n // width)
    own = [axis for axis, stride in enumerate(p.b[:-2]) if stride]
    sizes = tuple(p.batch[axis] for axis in own)
    each = panels * width * p.k
    packed = [0] * len(p.batch)
    for position, axis in enumerate(own):
        packed[axis] = each * prod(sizes[position + 1 :])
    ranges = EvenCut(p.k, max(lanes, min(p.k, 16384 // width)))
    if ranges.smallest < lanes:
        ranges = EvenCut(p.k, p.k)
    module = Module(isa.attributes)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, _ = f.arguments
    b, dest = (f.load("ptr", f.at(arguments, 8 * i)) for i in range(2))

    def task(task: Index) -> None:
        rest, part = f.divmod(task, ranges.parts)
        batch, panel = f.divmod(rest, panels)
        strides = tuple(p.b[axis] for axis in own), tuple(packed[axis] for axis in own)
        from_b, to = batch_offsets(f, sizes, batch, strides, p.itemsize)
        k0 = ranges.start(f, part)
        k = f.sub(ranges.start(f, f.add(part, 1)), k0)
        column = f.mul(panel, width)
        source = f.at(f.at(b, from_b), f.mul(f.add(f.mul(k0, p.b[-2]), f.mul(column, p.b[-1])), p.itemsize))
        target = f.at(f.at(dest, to), f.mul(f.add(f.mul(panel, p.k * width), f.mul(k0, width)), p.itemsize))

        def write(columns: Index) -> None:
            pack_panel(
                f, p.scalar, p.itemsize, lanes, source, p.b[-2:], target, width * p.itemsize, k, ranges.smallest,
                columns, min(width, p.n),
            )  # fmt: skip

        if p.b[-1] == 1:
            whole = p.n // width
            f.loop(panel, f.min(f.add(panel, 1), whole), lambda _: write(width))
            if whole < panels:
                f.loop(f.max(panel, whole), f.add(panel, 1), lambda _: write(p.n - whole * width))
        else:
            write(f.min(width, f.sub(p.n, column)))

    f.loop(first, last, task)
    f.ret()
    count = prod(sizes)
    nbytes = count * each * p.itemsize
    kernel = NativeKernel(
        module.text(), f"pack {p.k}x{p.n}", count * panels * ranges.parts,
        nbytes=nbytes + count * p.k * p.n * p.itemsize,
    )  # fmt: skip
    after = Product(p.batch, p.m, p.n, p.k, p.a, (*packed, width, 1), p.c, p.dtype)
    return kernel, after, nbytes
