"""The inner loop of depthwise convolutions: lanes are channels on both sides, so nothing is broadcast.

It takes the place of the microkernel's `accumulate`, with the same arguments, in the kernels of every
direction.
"""

from __future__ import annotations

from treadle.devices.cpu.elements import ITEMSIZES, load_vector, multiply_add
from treadle.devices.cpu.ir import Function, Index, Value
from treadle.devices.cpu.microkernel import Accumulators, Tile
from treadle.devices.cpu.target import Isa


def accumulate_lanes(
    f: Function, isa: Isa, tile: Tile, acc: Accumulators, a: Value, b: Value, k: Index
) -> Accumulators:
    """acc[row][v] += a[row][v] * b[v] for each of `k` steps; the vectors of a row of a lie side by side."""
    vectors, nbytes = len(tile.b_offsets), tile.lanes * ITEMSIZES[tile.scalar]

    def active(v: int) -> int:
        return tile.active if v == vectors - 1 else 0

    def step(a: Value, b: Value, flat: list[Value]) -> list[Value]:
        factors = [load_vector(f, f.at(b, at), tile.type, active(v)) for v, at in enumerate(tile.b_offsets)]
        sums = []
        for row, at in enumerate(tile.a_offsets):
            for v in range(vectors):
                value = load_vector(f, f.at(a, at + v * nbytes), tile.type, active(v))
                sums.append(multiply_add(f, isa, value, factors[v], flat[row * vectors + v]))
        return sums

    flat = f.loop(
        0,
        k,
        lambda _, a, b, *flat: [f.at(a, tile.a_step), f.at(b, tile.b_step), *step(a, b, list(flat))],
        [a, b, *(value for row in acc for value in row)],
    )[2:]
    return [flat[row * vectors : (row + 1) * vectors] for row in range(len(acc))]
