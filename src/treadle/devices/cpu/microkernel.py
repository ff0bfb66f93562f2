"""The register-tiled microkernel: every product on the CPU is made of calls of `accumulate`.

    acc[row][v] += broadcast(a[row]) * b[v]        for each k

All offsets and strides are compile-time constants in bytes, so that one loop with two moving pointers
addresses the whole tile. Matrix products and convolutions differ only in the offsets they pass. Knows
registers and memory, not tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.devices.cpu.elements import load_numbers, load_vector, multiply_add
from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.target import Isa

LINE_NBYTES = 64
"""Of a cache."""

Accumulators = list[list[Value]]
"""acc[row][v], each a vector of the tile's width."""


@dataclass(frozen=True)
class Tile:
    """A register tile: `len(a_offsets)` rows of `len(b_offsets)` vectors, and where its operands lie."""

    scalar: str
    """LLVM type of an element of a, b and acc."""
    lanes: int
    a_offsets: tuple[int, ...]
    """Byte offset of each row's element of a."""
    a_step: int
    """Bytes from one k to the next in a."""
    b_offsets: tuple[int, ...]
    """Byte offset of each vector of b."""
    b_step: int
    """Bytes from one k to the next in b."""
    active: int = 0
    """Lanes of the last vector of b that may be read; 0 means all. The rest are zero in the accumulators'
    sums.
    """
    unroll: int = 2
    a_prefetch: int = 0
    """Bytes ahead of a that are prefetched every k; 0: none."""
    b_prefetch: int = 0
    """Bytes ahead of every vector of b that are prefetched every k; 0: none."""
    stored: str = ""
    """The dtype of b, where it is widened as it is loaded; empty: b lies in memory as it is summed."""

    @property
    def type(self) -> str:
        """The LLVM type of one accumulator."""
        return vector(self.scalar, self.lanes)


def zeros(f: Function, rows: int, vectors: int, type: str) -> Accumulators:
    """Accumulators to start from."""
    zero = f.constant(type, 0.0)
    return [[zero] * vectors for _ in range(rows)]


def accumulate(
    f: Function,
    isa: Isa,
    tile: Tile,
    acc: Accumulators,
    a: Value,
    b: Value,
    k: Index,
    ahead: Sequence[tuple[Value, int]] = (),
) -> Accumulators:
    """Add the products of `k` steps to `acc` and return the sums. The order of the sum is k = 0, 1, ... for
    every element.

    `ahead` names memory that later products read: from each pointer on so many lines are fetched in every
    round of `Tile.unroll` steps.

    `a` and `b` point to the operands at k = 0; `k` may be a run-time value. Calls may be chained over
    several ranges of k (a convolution's taps): the accumulators stay in registers.
    """
    vectors = len(tile.b_offsets)

    def load_b(pointer: Value, active: int) -> Value:
        if tile.stored:
            return load_numbers(f, isa, tile.stored, pointer, tile.lanes, active)
        return load_vector(f, pointer, tile.type, active)

    def step(a: Value, b: Value, flat: list[Value], u: int) -> list[Value]:
        loaded = [
            load_b(f.at(b, offset + u * tile.b_step), tile.active if v == vectors - 1 else 0)
            for v, offset in enumerate(tile.b_offsets)
        ]
        if tile.b_prefetch:
            for offset in tile.b_offsets:
                f.prefetch(f.at(b, offset + u * tile.b_step + tile.b_prefetch))
        if tile.a_prefetch:
            f.prefetch(f.at(a, u * tile.a_step + tile.a_prefetch))
        sums = []
        for row, offset in enumerate(tile.a_offsets):
            factor = f.broadcast(tile.scalar, f.at(a, offset + u * tile.a_step), tile.lanes)
            sums += [multiply_add(f, isa, factor, loaded[v], flat[row * vectors + v]) for v in range(vectors)]
        return sums

    def steps(count: int, a: Value, b: Value, *rest: Value) -> list[Value]:
        fetched, flat = rest[: len(ahead)], list(rest[len(ahead) :])
        for pointer, (_, lines) in zip(fetched, ahead, strict=True):
            for line in range(lines):
                f.prefetch(f.at(pointer, line * LINE_NBYTES), locality=2)
        for u in range(count):
            flat = step(a, b, flat, u)
        moved = [f.at(p, lines * LINE_NBYTES) for p, (_, lines) in zip(fetched, ahead, strict=True)]
        return [f.at(a, count * tile.a_step), f.at(b, count * tile.b_step), *moved, *flat]

    unroll = tile.unroll if not isinstance(k, int) else max(1, min(tile.unroll, k))
    rounds, rest = f.divmod(k, unroll)
    carried = [a, b, *(pointer for pointer, _ in ahead), *(value for row in acc for value in row)]
    carried = f.loop(0, rounds, lambda _, *values: steps(unroll, *values), carried)
    if isinstance(rest, int):
        carried = steps(rest, *carried) if rest else carried
    else:
        carried = f.loop(0, rest, lambda _, *values: steps(1, *values), carried)
    flat = carried[2 + len(ahead) :]
    return [flat[row * vectors : (row + 1) * vectors] for row in range(len(acc))]


def rows_that_fit(isa: Isa, vectors: int, limit: int = 30) -> int:
    """How many rows a tile of `vectors` vectors may have so that it never spills.

    The accumulators share the registers with the vectors of b and one broadcast (which AVX-512 folds into the
    multiplication when a row has a single vector).
    """
    return max(1, min(limit, (isa.registers - vectors - 1) // vectors))


def offsets(count: int, stride: int) -> tuple[int, ...]:
    """0, stride, 2 * stride, ... : the offsets of evenly spaced rows or vectors."""
    return tuple(range(0, count * stride, stride)) if stride else (0,) * count


def active_lanes(width: int, lanes: int) -> tuple[int, int]:
    """How many vectors cover `width` elements, and how many lanes of the last one are active (0: all)."""
    return -(-width // lanes), width % lanes
