"""Copy parts of a matrix into the order in which a register tile reads them.

A panel of b is ``[k][vectors * lanes]``: each step of k is one contiguous run. Lanes past the last column
hold zeros or copies of the last column; what is computed from them is never stored. Ranges may have
run-time lengths, so that one copy of the code serves every panel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.microkernel import active_lanes, load_vector

STRIP = 8
"""Steps of k that are copied for all panels before the next: whole rows of b are read, few pages at a time.
"""


@dataclass(frozen=True)
class Source:
    """A matrix to be packed: its element type and its strides in bytes along k and along the other axis."""

    scalar: str
    itemsize: int
    lanes: int
    k_stride: int
    stride: int

    @property
    def type(self) -> str:
        return vector(self.scalar, self.lanes)


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
        columns = f.min(width, f.sub(n, f.mul(panel, width)))
        begin, there = place(panel)
        if b.k_stride == b.itemsize and least_k >= b.lanes > 1:
            _transpose_blocks(f, b, begin, there, row_nbytes, k, columns)
        else:
            _copy_elements(f, b, begin, there, row_nbytes, k, columns, -(-min(width, n) // b.lanes) * b.lanes)

    if b.stride == b.itemsize:
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
        offset = v * b.lanes * b.itemsize
        f.store(
            load_vector(f, f.at(begin, offset), b.type, active if v == vectors - 1 else 0),
            f.at(there, offset),
        )


def _copy_elements(
    f: Function, b: Source, source: Value, dest: Value, row_nbytes: int, k: Index, columns: Index, width: int
) -> None:
    """Pack a panel one element at a time."""

    def element(step: Index, column: Index) -> None:
        inside = f.min(column, f.sub(columns, 1))
        value = f.load(b.scalar, f.at(source, f.add(f.mul(step, b.k_stride), f.mul(inside, b.stride))))
        f.store(value, f.at(dest, f.add(f.mul(step, row_nbytes), f.mul(column, b.itemsize))))

    f.loop(0, k, lambda step: f.loop(0, width, lambda column: element(step, column)) and None)


def _transpose_blocks(
    f: Function, b: Source, source: Value, dest: Value, row_nbytes: int, k: Index, columns: Index
) -> None:
    """Pack columns that are contiguous along k by squares of lanes; the last square overlaps the one
    before.
    """

    def vector_of_columns(v: Index) -> None:
        first, last = f.mul(v, b.lanes), f.sub(columns, 1)
        starts = [f.at(source, f.mul(f.min(f.add(first, lane), last), b.stride)) for lane in range(b.lanes)]
        there = f.at(dest, f.mul(first, b.itemsize))

        def square(step: Index) -> None:
            begin = f.min(step, f.sub(k, b.lanes))
            loaded = [f.load(b.type, f.at(start, f.mul(begin, b.itemsize))) for start in starts]
            below = f.at(there, f.mul(begin, row_nbytes))
            for lane, value in enumerate(transpose(f, loaded)):
                f.store(value, f.at(below, lane * row_nbytes))

        f.loop(0, k, square, step=b.lanes)

    f.loop(0, f.divmod(f.add(columns, b.lanes - 1), b.lanes)[0], vector_of_columns)


def transpose(f: Function, rows: list[Value]) -> list[Value]:
    """Transpose a square of vectors by exchanging ever larger quarters."""
    lanes = len(rows)
    size = 1
    while size < lanes:
        low = [j if not j & size else lanes + (j ^ size) for j in range(lanes)]
        high = [j | size if not j & size else lanes + j for j in range(lanes)]
        turned = list(rows)
        for j in range(lanes):
            if not j & size:
                turned[j] = f.shuffle(rows[j], rows[j | size], low)
                turned[j | size] = f.shuffle(rows[j], rows[j | size], high)
        rows, size = turned, 2 * size
    return rows


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
            offset = f.mul(f.min(step, f.sub(k, a.lanes)), a.itemsize)
            f.store(f.load(a.type, f.at(begin, offset)), f.at(there, offset))

        f.loop(0, k, chunk, step=a.lanes)

    def element(index: Index, step: Index) -> None:
        value = f.load(a.scalar, f.at(source, f.add(f.mul(index, a.stride), f.mul(step, a.k_stride))))
        f.store(value, f.at(dest, f.add(f.mul(index, row_nbytes), f.mul(step, step_nbytes))))

    if a.k_stride == a.itemsize == step_nbytes and least_k >= a.lanes:
        f.loop(0, rows, row)
    elif a.stride == a.itemsize == row_nbytes:
        f.loop(0, k, lambda step: _copy_row(f, a, source, dest, step_nbytes, step, rows))
    else:
        f.loop(0, rows, lambda index: f.loop(0, k, lambda step: element(index, step)) and None)
