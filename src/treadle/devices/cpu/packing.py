"""Copy parts of a matrix into the order in which a register tile reads them.

A panel of b is ``[k][vectors * lanes]``: each step of k is one contiguous run. Lanes past the last column hold zeros or copies of
the last column; no lane of them is ever stored into a result. Everything is written as loops of run-time length, so that
one copy of the code serves every panel.
"""

from __future__ import annotations

from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.microkernel import active_lanes, load_vector, store_vector


def pack_panel(
    f: Function,
    scalar: str,
    itemsize: int,
    lanes: int,
    source: Value,
    strides: tuple[int, int],
    dest: Value,
    row_nbytes: int,
    k: Index,
    least_k: int,
    columns: Index,
    most_columns: int,
) -> None:
    """Copy ``source[k, columns]`` with the given strides (k, n), in elements, to rows of `row_nbytes`.

    `columns`, at most `most_columns`, and `k`, at least `least_k`, may be run-time values.
    """
    k_stride, n_stride = strides[0] * itemsize, strides[1] * itemsize
    if n_stride == itemsize and isinstance(columns, int):
        vectors, active = active_lanes(columns, lanes)
        type = vector(scalar, lanes)

        def row(step: Index) -> None:
            begin, place = f.at(source, f.mul(step, k_stride)), f.at(dest, f.mul(step, row_nbytes))
            for v in range(vectors):
                value = load_vector(
                    f, f.at(begin, v * lanes * itemsize), type, active if v == vectors - 1 else 0
                )
                f.store(value, f.at(place, v * lanes * itemsize))

        f.loop(0, k, row)
    elif k_stride == itemsize and least_k >= lanes and lanes > 1:
        _transpose_blocks(f, scalar, itemsize, lanes, source, n_stride, dest, row_nbytes, k, columns)
    else:
        width = -(-most_columns // lanes) * lanes

        def element(step: Index, column: Index) -> None:
            inside = f.min(column, f.sub(columns, 1))
            value = f.load(scalar, f.at(source, f.add(f.mul(step, k_stride), f.mul(inside, n_stride))))
            f.store(value, f.at(dest, f.add(f.mul(step, row_nbytes), f.mul(column, itemsize))))

        f.loop(0, k, lambda step: f.loop(0, width, lambda column: element(step, column)) and None)


def _transpose_blocks(
    f: Function,
    scalar: str,
    itemsize: int,
    lanes: int,
    source: Value,
    n_stride: int,
    dest: Value,
    row_nbytes: int,
    k: Index,
    columns: Index,
) -> None:
    """Pack columns that are contiguous along k, `lanes` x `lanes` elements at a time; the last block overlaps its neighbour."""
    type = vector(scalar, lanes)

    def vector_of_columns(v: Index) -> None:
        first = f.mul(v, lanes)
        last = f.sub(columns, 1)
        starts = [f.at(source, f.mul(f.min(f.add(first, lane), last), n_stride)) for lane in range(lanes)]
        place = f.at(dest, f.mul(first, itemsize))

        def block(step: Index) -> None:
            begin = f.min(step, f.sub(k, lanes))
            loaded = [f.load(type, f.at(start, f.mul(begin, itemsize))) for start in starts]
            below = f.at(place, f.mul(begin, row_nbytes))
            for lane, value in enumerate(transpose(f, loaded)):
                f.store(value, f.at(below, lane * row_nbytes))

        f.loop(0, k, block, step=lanes)

    f.loop(0, f.divmod(f.add(columns, lanes - 1), lanes)[0], vector_of_columns)


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
    scalar: str,
    itemsize: int,
    lanes: int,
    source: Value,
    strides: tuple[int, int],
    dest: Value,
    place: tuple[int, int],
    rows: int,
    k: Index,
    least_k: int,
) -> None:
    """Copy ``source[rows, k]``, strides (m, k) in elements, to `dest` where the strides in bytes are `place`."""
    m_stride, k_stride = strides[0] * itemsize, strides[1] * itemsize
    if k_stride == itemsize == place[1] and least_k >= lanes:

        def row(index: Index) -> None:
            begin, there = f.at(source, f.mul(index, m_stride)), f.at(dest, f.mul(index, place[0]))

            def chunk(step: Index) -> None:
                offset = f.mul(f.min(step, f.sub(k, lanes)), itemsize)
                f.store(f.load(vector(scalar, lanes), f.at(begin, offset)), f.at(there, offset))

            f.loop(0, k, chunk, step=lanes)

        f.loop(0, rows, row)
    elif m_stride == itemsize == place[0]:
        vectors, active = active_lanes(rows, lanes)

        def column(step: Index) -> None:
            begin, there = f.at(source, f.mul(step, k_stride)), f.at(dest, f.mul(step, place[1]))
            for v in range(vectors):
                tail = active if v == vectors - 1 else 0
                value = load_vector(f, f.at(begin, v * lanes * itemsize), vector(scalar, lanes), tail)
                store_vector(f, value, f.at(there, v * lanes * itemsize), tail)

        f.loop(0, k, column)
    else:

        def element(index: Index, step: Index) -> None:
            value = f.load(scalar, f.at(source, f.add(f.mul(index, m_stride), f.mul(step, k_stride))))
            f.store(value, f.at(dest, f.add(f.mul(index, place[0]), f.mul(step, place[1]))))

        f.loop(0, rows, lambda index: f.loop(0, k, lambda step: element(index, step)) and None)
