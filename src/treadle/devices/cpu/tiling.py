"""How a matrix product is cut: register tiles, blocks of k, tasks, and what is packed.

Everything here is a function of the shape, the dtype's size and the instruction set, so that the order of
every sum is. Knows the product's sizes and strides, and nothing of the code that is written from its
answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from treadle.devices.cpu.ir import Function, Index
from treadle.devices.cpu.microkernel import rows_that_fit
from treadle.devices.cpu.target import Isa

K_BLOCK_NBYTES = 4096
"""Of one row of a tile that is read as it lies, and half of it where tiles are packed: the tile, and the
panel of b that it meets, then stay in the first two caches.
"""
PACKED_K = 128
"""Steps of k from which it pays to pack tiles of a transposed a: each step is in another page of memory."""
PACKED_TILES = 8
"""Of a, packed together."""
LONG_K = 1024
"""Steps of k from which packing b pays for few tiles already: 64 x 3136 x 512 took 2.7 ms without, 1.7 with.
"""
DOT_ROWS = 16
"""Most rows of a for which dot products are faster than packing b."""
MOST_STREAMS = 8
"""Columns of b that are read side by side."""
STREAM_NBYTES = 1 << 20
"""Of b: a single row of a times this much is bound by memory."""
SPLIT_NBYTES = 1 << 19
"""Of b that one range of k then reads."""
STREAM_ROWS = 8
FAR_NBYTES = 1 << 22
"""Of b that does not stay in the second cache: it is fast only in long runs of its rows. 8 x 4096 x 4096
takes 16.9 ms by whole columns of tiles and 6.2 by a few rows at a time, 32 x 4096 x 4096 54 ms unpacked and
13.2 packed by tasks of 256 columns.
"""
FAR_ROWS, FAR_K = 16, 32
"""Most rows of a for which a far b is not packed, and steps of k then between two visits of a tile of c."""
SHORT_K, SHORT_NBYTES, SHORT_ROW_NBYTES = 64, 1 << 20, 1 << 11
"""Steps of k, and bytes of c and of its rows, for which a product is bound by c: each task writes whole rows
of it, in wide tiles. 3072 x 4 x 4096 with momentum takes 6.1 ms and not 10.3, 1024 x 64 x 512 0.69 and not 1.
"""
SHORT_SIDE, SHARED_NBYTES, PERIOD = 112, 1 << 17, 1024
"""Of m and k, and of c, for which threads share c by wide columns, as the other products of a layer share
its weight: less moves between their caches (64 x 100 x 1000 in a step on two threads: 71 us and not 98). Not
where rows are a multiple of `PERIOD` bytes apart, so that columns throw each other out of the cache.
"""
RANGES, RANGED_K = 4, 256
RANGED_READS, RANGED_NBYTES, RANGED_WHOLE_NBYTES = 5 << 19, 1 << 20, 1 << 19
"""Of a and b at least, and of c at most, where the gradient of a weight is summed in ranges of k: each task
then packs long runs of rows of both factors once. 512 x 2048 x 512 takes 6.3 ms and not 7.1. A c up to the
last of them is not divided further: 64 x 25088 x 256 takes 2.6 ms on two threads and not 3.0.
"""
WIDE = 4
"""Vectors of a tile that touches few rows of memory at a time."""
HALVED_READS = 16
"""Elements of a and b for one of c from which k is halved, so that two threads read different halves of both:
the rows of a weight are then read and updated by one thread, and stay in its cache.
"""
HALVED_FLOPS = 4_000_000
STACKED_ROWS, STACKED_ROW_NBYTES, STACKED_NBYTES = (16, 64), 128, 5 << 18
"""Of a, and of b, for which a stack of products is divided by rows: by panels, an LSTM's gates are read from
the other core, which wrote them (32 x 256 x 1024 in a loop on two threads).
"""
MOST_TASKS = 64
TASK_COLUMNS = 128, 256
"""Columns of c of a task, where there are many rows: a tile of a is used for all of them."""
PACKED_ROWS = 512
"""Rows of a task whose packed panels of b then cost a few per cent of its time."""
WHOLE_K, WHOLE_NBYTES, WHOLE_ROWS = 512, 1 << 20, 1024
"""Steps of k and bytes of b for which tasks are so many rows of c and all of its columns: b is packed once
for all rows that a thread has, and rows of a are read once. 6272 x 128 x 512 takes 4.3 ms and not 4.9.
"""
TASK_FLOPS = 200_000
"""Work below which a task is not divided: about two microseconds, several times what waking a thread costs.
"""


@dataclass(frozen=True)
class EvenCut:
    """`size` things in the fewest parts of at most `most`, as even as can be; the larger parts come first."""

    size: int
    most: int

    @property
    def parts(self) -> int:
        return -(-self.size // self.most)

    @property
    def large(self) -> int:
        """The size of the larger parts; the others have one less."""
        return -(-self.size // self.parts) if self.size else 0

    @property
    def larger(self) -> int:
        """How many parts are large."""
        return self.size - (self.large - 1) * self.parts

    @property
    def smallest(self) -> int:
        return self.large if self.larger == self.parts else self.large - 1

    def start(self, f: Function, part: Index) -> Index:
        """Where a part begins."""
        past = f.max(0, f.sub(part, self.larger)) if self.larger < self.parts else 0
        return f.sub(f.mul(part, self.large), past)

    def kinds(self) -> Iterator[tuple[int, int, int]]:
        """``(size of a part, first part, last part + 1)`` for each size that occurs."""
        if self.larger:
            yield self.large, 0, self.larger
        if self.larger < self.parts:
            yield self.large - 1, self.larger, self.parts

    def each(self, f: Function, first: Index, last: Index, body: Callable[[int, Index], None]) -> None:
        """Write ``body(size, part)`` in loops over the parts ``first <= part < last``."""
        for size, begin, end in self.kinds():
            f.loop(f.max(first, begin), f.min(last, end), lambda part, size=size: body(size, part))


def share(f: Function, size: int, parts: int, part: Index) -> tuple[Index, Index]:
    """The range of `size` things that belongs to one of `parts` equal shares."""
    if parts == 1:
        return 0, size
    if size % parts == 0:
        return f.mul(part, size // parts), f.mul(f.add(part, 1), size // parts)
    return f.divmod(f.mul(part, size), parts)[0], f.divmod(f.mul(f.add(part, 1), size), parts)[0]


@dataclass(frozen=True)
class Schedule:
    """The cuts of one product."""

    rows: int
    """Most rows of a register tile."""
    vectors: int
    """Vectors of a register tile."""
    unroll: int
    k_block: int
    """Most steps of k between two visits of a tile of c."""
    splits: int
    """Ranges of k summed apart, each into its own copy of c, and added afterwards; 1: none."""
    grid: tuple[int, int]
    """Tasks along m and n."""
    pack_a: int
    """Row tiles of a that are copied to scratch together, where their rows lie close; 0: a is read as it
    lies.
    """
    pack_b: bool
    """Each task copies the panels of b that it needs to its scratch."""
    rows_first: bool = False
    """Tasks of the same rows of c follow each other, over the whole batch, so that a thread has them all."""


def choose_stack(
    batch: int, m: int, n: int, k: int, b_strides: tuple[int, ...], itemsize: int, isa: Isa
) -> Schedule | None:
    """The schedule of one a times a stack of b, where threads divide the rows: what is computed of each row
    before and after stays in one core's cache, and each has room for all of b. None where that is not so.
    """
    if not STACKED_ROWS[0] <= m <= STACKED_ROWS[1] or batch * n * k * itemsize > STACKED_NBYTES:
        return None
    if b_strides != (n, 1) or n * itemsize > STACKED_ROW_NBYTES:
        return None
    rows, vectors = register_tile(m, n, itemsize, isa)
    tiles = 2 * EvenCut(m, 2 * rows).parts
    return Schedule(-(-m // tiles), vectors, 4, K_BLOCK_NBYTES // itemsize, 1, (tiles, 1), 0, False, True)


def choose(
    batch: int,
    m: int,
    n: int,
    k: int,
    a_strides: tuple[int, ...],
    b_strides: tuple[int, ...],
    itemsize: int,
    isa: Isa,
) -> Schedule:
    """The schedule of a product with the given strides ``(m, k)`` of a and ``(k, n)`` of b, in elements."""
    lanes = isa.lanes(itemsize)
    far = b_strides[1] == 1 and b_strides[0] * itemsize >= 1024 and n * k * itemsize >= FAR_NBYTES
    streamed = choose_streamed(batch, m, n, k, far, itemsize, isa) if b_strides[1] == 1 else None
    if streamed:
        return streamed
    rows, vectors = register_tile(m, n, itemsize, isa)
    turned = batch == 1 and a_strides[1] != 1 and b_strides[1] == 1 and k >= LONG_K
    if turned and k * (m + n) * itemsize >= RANGED_READS and m * n * itemsize <= RANGED_NBYTES:
        halves = (1, 1) if m * n * itemsize <= RANGED_WHOLE_NBYTES else (2, 1) if m > n else (1, 2)
        return Schedule(rows, vectors, 2, RANGED_K, RANGES, halves, PACKED_TILES, True)
    unroll = max(2, min(4, 24 // (rows * vectors)))
    tiles, panels = EvenCut(m, rows).parts, -(-n // (vectors * lanes))
    wanted = wanted_tasks(batch, m, n, k)
    splits = 1
    halved = 2 * m * n * k >= HALVED_FLOPS and HALVED_READS * m * n <= k * (m + n)
    long_runs = far and m < PACKED_ROWS // 2 and n >= 8 * TASK_COLUMNS[0]
    if batch * tiles * panels < min(wanted, 8) and k >= 1024:
        splits = min(-(-wanted // (batch * tiles * panels)), k // 256, 16)
    elif batch == 1 and halved and not long_runs:
        splits = 2
    used = 2 if far else 4 if k >= LONG_K else 6
    pack_b = b_strides[1] != 1 or (tiles >= used and b_strides[0] * itemsize >= 1024)
    wanted = -(-wanted // (batch * splits))
    if pack_b:
        tiles = max(1, min(tiles, m // PACKED_ROWS))
    grid = task_grid(tiles, panels, wanted, m, n, far)
    whole = batch == splits == 1 and k <= WHOLE_K and n * k * itemsize <= WHOLE_NBYTES
    if pack_b and whole and m >= 2 * PACKED_ROWS:
        grid = min(MOST_TASKS, 2 * round(m / WHOLE_ROWS)), 1
    wide = -(-panels // grid[1]) * vectors * lanes >= 128
    pack_a = PACKED_TILES if wide and a_strides[1] != 1 and k >= PACKED_K else 0
    k_block = K_BLOCK_NBYTES // itemsize // (2 if pack_a else 1)
    return Schedule(rows, vectors, unroll, k_block, splits, grid, pack_a, pack_b)


def alternatives(schedule: Schedule, m: int, n: int, b_stride: int, lanes: int) -> list[Schedule]:
    """The schedule and others that give the same bits: other tasks, and panels of b packed or not."""
    tiles, panels = EvenCut(m, schedule.rows).parts, -(-n // (schedule.vectors * lanes))
    along_m, along_n = schedule.grid
    grids = [
        (min(tiles, max(1, rows)), min(panels, max(1, columns)))
        for rows, columns in (
            (along_m, along_n), (2 * along_m, along_n), (along_m, 2 * along_n), (along_m // 2, along_n),
            (along_m, along_n // 2),
        )
    ]  # fmt: skip
    packed = (schedule.pack_b, not schedule.pack_b) if b_stride == 1 else (schedule.pack_b,)
    found = [replace(schedule, grid=grid, pack_b=pack) for pack in packed for grid in grids]
    return list(dict.fromkeys(found))


def choose_streamed(
    batch: int, m: int, n: int, k: int, far: bool, itemsize: int, isa: Isa
) -> Schedule | None:
    """The schedule of a product whose time is that of reading b, or of writing c, in long runs of whole rows;
    None for others.
    """
    rows, nbytes = min(m, rows_that_fit(isa, WIDE)), n * k * itemsize
    # A few rows of b at a time, ranges of rows apart: each task reads one run of memory.
    splits = max(1, min(16 // batch, nbytes // SPLIT_NBYTES, k // 64))
    if m == 1 and nbytes >= STREAM_NBYTES:
        vectors = min(4, -(-n // isa.lanes(itemsize)))
        return Schedule(1, vectors, STREAM_ROWS, STREAM_ROWS, splits, (1, 1), 0, False)
    if far and m <= FAR_ROWS:
        return Schedule(rows, WIDE, 2, FAR_K, splits, (1, 1), 0, False)
    written, row_nbytes = m * n * itemsize, n * itemsize
    tasks = -(-wanted_tasks(batch, m, n, k) // batch)
    if k <= SHORT_K and written >= SHORT_NBYTES and row_nbytes >= SHORT_ROW_NBYTES:
        return Schedule(rows, WIDE, 2, k, 1, (min(tasks, EvenCut(m, rows).parts), 1), 0, False)
    shared = written >= SHARED_NBYTES and row_nbytes >= SHORT_ROW_NBYTES and row_nbytes % PERIOD
    if max(m, k) <= SHORT_SIDE and shared:
        panels = -(-n // (WIDE * isa.lanes(itemsize)))
        return Schedule(rows, WIDE, 2, k, 1, (1, min(tasks, panels)), 0, False)
    return None


@dataclass(frozen=True)
class DotSchedule:
    """The cuts of a product of contiguous rows of a and columns of b."""

    rows: int
    """Most rows of a register tile."""
    columns: int
    """Most columns of a register tile."""
    tasks: int
    """Along n, for each product of the batch."""


def choose_dot(
    batch: int,
    m: int,
    n: int,
    k: int,
    a_strides: tuple[int, ...],
    b_strides: tuple[int, ...],
    itemsize: int,
    isa: Isa,
) -> DotSchedule | None:
    """The schedule in dot products, or None where they cannot be had or packing b serves better."""
    lanes = isa.lanes(itemsize)
    if a_strides[1] != 1 or b_strides[0] != 1 or k < 2 * lanes or m > min(DOT_ROWS, k // (2 * lanes)):
        return None
    shapes = [
        (min(m, rows), min(n, columns))
        for rows in range(1, isa.registers)
        for columns in range(1, MOST_STREAMS + 1)
        if rows * columns + columns + 1 <= isa.registers
    ]

    def cost(shape: tuple[int, int]) -> float:
        cuts = EvenCut(m, shape[0]), EvenCut(n, shape[1])
        return sum(
            (last - first) * (end - begin) * dot_cycles(rows, columns)
            for rows, first, last in cuts[0].kinds()
            for columns, begin, end in cuts[1].kinds()
        )

    rows, columns = min(sorted(set(shapes)), key=cost)
    wanted = -(-wanted_tasks(batch, m, n, k) // batch)
    return DotSchedule(rows, columns, max(1, min(wanted, n // columns)))


def dot_cycles(rows: int, columns: int) -> float:
    """Cycles of one vector of k; the last term stands for what does not come from the first cache."""
    return max(rows * columns / 2, (rows + columns) / 2, 4) + 0.15 * (rows + columns)


def wanted_tasks(batch: int, m: int, n: int, k: int) -> int:
    """How many tasks the work is worth."""
    return max(1, min(MOST_TASKS, 2 * batch * m * n * k // TASK_FLOPS))


def register_tile(m: int, n: int, itemsize: int, isa: Isa) -> tuple[int, int]:
    """Rows and vectors of the register tile that takes the fewest cycles for all of m x n."""
    lanes = isa.lanes(itemsize)
    width = -(-n // lanes)

    def cost(shape: tuple[int, int]) -> float:
        rows, vectors = shape
        full, rest = divmod(width, vectors)
        cut = EvenCut(m, rows)
        return sum(
            (last - first) * count * tile_cycles(size, wide)
            for size, first, last in cut.kinds()
            for wide, count in ((vectors, full), (rest, 1))
            if wide
        )

    shapes = {
        (min(m, rows_that_fit(isa, vectors)), vectors)
        for vectors in range(1, min(width, isa.registers // 2) + 1)
    }
    return min(sorted(shapes, reverse=True), key=cost)


def tile_cycles(rows: int, vectors: int) -> float:
    """Cycles of one step of k: two multiply-adds or two loads each, and never less than the latency of a
    multiply-add.

    The last term stands for panels of b that come from the second cache.
    """
    return max(rows * vectors / 2, (rows + vectors) / 2, 4) + 0.1 * vectors


def task_grid(tiles: int, panels: int, wanted: int, m: int, n: int, wide: bool) -> tuple[int, int]:
    """Tasks along m and n: about `wanted`, each near a square of c; `wide` says that rows of b are to be read
    in long runs.
    """
    columns = max(TASK_COLUMNS[0], min(n // 8, TASK_COLUMNS[1]))
    most = min(panels, -(-n // columns)) if wide or m >= PACKED_ROWS // 2 else panels
    along_n = min(most, max(-(-wanted // tiles), round(math.sqrt(wanted * n / m)), 1))
    return max(1, min(tiles, wanted // along_n)), along_n
