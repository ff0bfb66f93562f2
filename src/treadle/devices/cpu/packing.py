"""Copy parts of a matrix into the order in which a register tile reads them.

A panel of b is ``[k][vectors * lanes]``: each step of k is one contiguous run. Lanes past the last column
hold zeros or copies of the last column; what is computed from them is never stored. Ranges may have
run-time lengths, so that one copy of the code serves every panel. What is copied is widened to what it is
summed as.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from treadle.devices.cpu.elements import ITEMSIZES, SCALARS, load_numbers
from treadle.devices.cpu.ir import Function, Index, Value, lanes_of, scalar_of
from treadle.devices.cpu.microkernel import active_lanes
from treadle.devices.cpu.registers import ITEMSIZE
from treadle.devices.cpu.target import Isa

STRIP = 8
"""Steps of k that are copied for all panels before the next: whole rows of b are read, few pages at a time.
"""


@dataclass(frozen=True)
class Source:
    """A matrix to be packed: its dtype and its strides in bytes along k and along the other axis."""

    dtype: str
    isa: Isa
    k_stride: int
    stride: int

    @property
    def stored_nbytes(self) -> int:
        """Of an element in memory."""
        return ITEMSIZE[self.dtype]

    @property
    def itemsize(self) -> int:
        """Of an element that is packed."""
        return ITEMSIZES[SCALARS[self.dtype]]

    @property
    def lanes(self) -> int:
        return self.isa.lanes(self.itemsize)

    def load(self, f: Function, pointer: Value, lanes: int, active: int = 0) -> Value:
        """Neighbours in memory, as they are packed."""
        return load_numbers(f, self.isa, self.dtype, pointer, lanes, active)


def pack_panels(
    f: Function,
    b: Source,
    source: Value,
    n: int,
    width: int,
    dest: Value,
    panel_nbytes: int,
    panels: tuple[Index, Index],
    k: Index,
    least_k: int,
) -> None:
    """Copy `k` steps (at least `least_k`) of a range of panels, each `width` columns of the `n` that b has.

    `source` is where step 0 of column 0 is, `dest` where that of panel 0 goes; panels are `panel_nbytes`
    apart.
    """
    row_nbytes = width * b.itemsize

    def place(panel: Index) -> tuple[Value, Value]:
        column = f.mul(panel, width)
        return f.at(source, f.mul(column, b.stride)), f.at(dest, f.mul(panel, panel_nbytes))

    def copy(start: Index) -> None:
        count = f.min(STRIP, f.sub(k, start))

        def panel(index: Index, columns: int) -> None:
            begin, there = place(index)
            begin, there = f.at(begin, f.mul(start, b.k_stride)), f.at(there, f.mul(start, row_nbytes))
            f.loop(0, count, lambda step: _copy_row(f, b, begin, there, row_nbytes, step, columns))

        each_panel(f, n, width, *panels, panel)

    def turn(panel: Index) -> None:
        begin, there = place(panel)
        if b.k_stride == b.stored_nbytes and least_k >= b.lanes > 1:
            first = f.mul(panel, width // b.lanes)
            last = f.min(f.add(first, width // b.lanes), -(-n // b.lanes))

            def vector_of_columns(v: Index, columns: int) -> None:
                column = f.mul(f.sub(v, first), b.lanes)
                from_b, to = f.at(begin, f.mul(column, b.stride)), f.at(there, f.mul(column, b.itemsize))
                _transpose_columns(f, b, from_b, to, row_nbytes, k, columns)

            each_panel(f, n, b.lanes, first, last, vector_of_columns)
        else:
            columns = f.min(width, f.sub(n, f.mul(panel, width)))
            _copy_elements(f, b, begin, there, row_nbytes, k, columns, -(-min(width, n) // b.lanes) * b.lanes)

    if b.stride == b.stored_nbytes:
        f.loop(0, k, copy, step=STRIP)
    else:
        f.loop(*panels, turn)


def each_panel(
    f: Function, n: int, width: int, first: Index, last: Index, body: Callable[[Index, int], None]
) -> None:
    """``body(panel, columns)`` in a loop over the whole panels of a range, and once for the narrower last
    one.
    """
    whole, rest = divmod(n, width)
    f.loop(first, f.min(last, whole), lambda panel: body(panel, width))
    if rest:
        f.loop(f.max(first, whole), last, lambda panel: body(panel, rest))


def _copy_row(
    f: Function, b: Source, source: Value, dest: Value, row_nbytes: int, step: Index, columns: int
) -> None:
    """Copy one step of k of a panel whose columns are contiguous."""
    vectors, active = active_lanes(columns, b.lanes)
    begin, there = f.at(source, f.mul(step, b.k_stride)), f.at(dest, f.mul(step, row_nbytes))
    for v in range(vectors):
        from_b = f.at(begin, v * b.lanes * b.stored_nbytes)
        value = b.load(f, from_b, b.lanes, active if v == vectors - 1 else 0)
        f.store(value, f.at(there, v * b.lanes * b.itemsize))


def _copy_elements(
    f: Function, b: Source, source: Value, dest: Value, row_nbytes: int, k: Index, columns: Index, width: int
) -> None:
    """Pack a panel one element at a time."""

    def element(step: Index, column: Index) -> None:
        inside = f.min(column, f.sub(columns, 1))
        value = b.load(f, f.at(source, f.add(f.mul(step, b.k_stride), f.mul(inside, b.stride))), 1)
        f.store(value, f.at(dest, f.add(f.mul(step, row_nbytes), f.mul(column, b.itemsize))))

    f.loop(0, k, lambda step: f.loop(0, width, lambda column: element(step, column)) and None)


def _transpose_columns(
    f: Function, b: Source, source: Value, dest: Value, row_nbytes: int, k: Index, columns: int
) -> None:
    """Pack a vector of columns that are contiguous along k, by squares; the last overlaps the one before."""
    # A function of its own: in a loop its many addresses would cost LLVM more time than all the rest.
    name = f"transpose_{columns}_{b.stride}_{row_nbytes}"
    if not any(written.name == name for written in f.module.functions):
        square = f.module.function(name, ["ptr", "ptr"], internal=True)
        begin, to = square.arguments
        starts = [square.at(begin, min(lane, columns - 1) * b.stride) for lane in range(b.lanes)]
        turned = transpose(square, [b.load(square, start, b.lanes) for start in starts])
        for lane, value in enumerate(turned):
            square.store(value, square.at(to, lane * row_nbytes))
        square.ret()

    def block(step: Index) -> None:
        begin = f.min(step, f.sub(k, b.lanes))
        from_b = f.at(source, f.mul(begin, b.stored_nbytes))
        f.call("void", name, from_b, f.at(dest, f.mul(begin, row_nbytes)))

    f.loop(0, k, block, step=b.lanes)


def transpose(f: Function, rows: list[Value]) -> list[Value]:
    """Transpose a square of vectors: first inside blocks of 16 bytes, then the blocks.

    These are the shuffles that x86 has as single instructions (unpack, and moves of whole blocks).
    """
    rows = [*rows]
    block = min(len(rows), 16 // ITEMSIZES[scalar_of(rows[0].type)])
    size = 1
    while size < block:
        for j in range(len(rows)):
            if not j & size:
                left, right = rows[j], rows[j | size]
                rows[j] = _unpack(f, left, right, size, block, 0)
                rows[j | size] = _unpack(f, left, right, size, block, 1)
        size *= 2
    turned = [*rows]
    bits = block.bit_length() - 1
    for j in range(block):
        # Unpacking leaves the columns of a block in the order of their reversed bits.
        column = sum((j >> bit & 1) << (bits - 1 - bit) for bit in range(bits))
        turned[column::block] = _transpose_blocks(f, rows[j::block], block)
    return turned


def _unpack(f: Function, left: Value, right: Value, size: int, block: int, half: int) -> Value:
    """In every block, interleave one half of two vectors, `size` elements at a time."""
    lanes, picks = lanes_of(left.type), []
    for begin in range(half * block // 2, lanes, block):
        for run in range(begin, begin + block // 2, size):
            picks += [*range(run, run + size), *range(lanes + run, lanes + run + size)]
    return f.shuffle(left, right, picks)


def _transpose_blocks(f: Function, vectors: list[Value], block: int) -> list[Value]:
    """Vector i of the result holds block i of every vector, of which there are as many."""
    if len(vectors) == 1:
        return vectors
    turned = [*vectors]
    for parity in (0, 1):
        begins = range(parity * block, 2 * lanes_of(vectors[0].type), 2 * block)
        picks = [begin + lane for begin in begins for lane in range(block)]
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        turned[parity::2] = _transpose_blocks(f, [f.shuffle(*pair, picks) for pair in pairs], block)
    return turned


def pack_rows(
    f: Function,
    a: Source,
    source: Value,
    dest: Value,
    place: tuple[int, int],
    rows: int,
    k: Index,
    least_k: int,
) -> None:
    """Copy `rows` rows of `k` steps (at least `least_k`) to `dest`, where rows and steps are `place` bytes
    apart.
    """
    row_nbytes, step_nbytes = place

    def row(index: Index) -> None:
        begin, there = f.at(source, f.mul(index, a.stride)), f.at(dest, f.mul(index, row_nbytes))

        def chunk(step: Index) -> None:
            first = f.min(step, f.sub(k, a.lanes))
            value = a.load(f, f.at(begin, f.mul(first, a.stored_nbytes)), a.lanes)
            f.store(value, f.at(there, f.mul(first, a.itemsize)))

        f.loop(0, k, chunk, step=a.lanes)

    def element(index: Index, step: Index) -> None:
        value = a.load(f, f.at(source, f.add(f.mul(index, a.stride), f.mul(step, a.k_stride))), 1)
        f.store(value, f.at(dest, f.add(f.mul(index, row_nbytes), f.mul(step, step_nbytes))))

    if a.k_stride == a.stored_nbytes and step_nbytes == a.itemsize and least_k >= a.lanes:
        f.loop(0, rows, row)
    elif a.stride == a.stored_nbytes and row_nbytes == a.itemsize:
        f.loop(0, k, lambda step: _copy_row(f, a, source, dest, step_nbytes, step, rows))
    else:
        f.loop(0, rows, lambda index: f.loop(0, k, lambda step: element(index, step)) and None)
