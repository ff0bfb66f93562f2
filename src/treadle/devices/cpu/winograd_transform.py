"""Winograd's F(4x4, 3x3): the transforms under which a 3x3 correlation is 36 products, one for each place
of a 6x6 tile.

    output = OUTPUT ((FILTER filter FILTER^T) * (INPUT input INPUT^T)) OUTPUT^T

An output tile of 4x4 pixels comes from an input tile of 6x6. The transforms evaluate polynomials at 0,
+-5/8, +-3/2 and infinity: a choice whose error is about twice that of direct sums (2 to 2.5 times in weight
gradients), where the textbook's 0, +-1, +-2 loses several times as much. Knows matrices and registers,
nothing of convolutions' layouts.

Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, 2015; the construction from
points is Toom's and Cook's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from treadle.devices.cpu.elements import ITEMSIZES, multiply_add
from treadle.devices.cpu.ir import Function, Index, Value, lanes_of, scalar_of
from treadle.devices.cpu.target import Isa

TILE = 4
"""Outputs of a tile along each axis."""
TAPS = 3
PATCH = TILE + TAPS - 1
"""Inputs of a tile along each axis."""
PLACES = PATCH * PATCH
"""Products of a tile for each channel and filter."""
POINTS = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))
"""The finite ones; infinity is the last."""

Matrix = tuple[tuple[Fraction, ...], ...]


def powers(columns: int) -> Matrix:
    """A polynomial's values at all points from its `columns` coefficients, lowest first."""
    finite = tuple(tuple(point**power for power in range(columns)) for point in POINTS)
    return (*finite, tuple(Fraction(int(power == columns - 1)) for power in range(columns)))


def roots(points: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """The coefficients of the polynomial with these roots, lowest first, as many as a patch has."""
    coefficients = [Fraction(1)]
    for point in points:
        shifted = [Fraction(0), *coefficients]
        coefficients = [a - point * b for a, b in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return (*coefficients, *(Fraction(0),) * (PATCH - len(coefficients)))


def others(point: Fraction) -> list[Fraction]:
    return [other for other in POINTS if other != point]


def transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _filter_matrix() -> Matrix:
    weights = [1 / math.prod((p - q for q in others(p)), start=Fraction(1)) for p in POINTS] + [Fraction(1)]
    return tuple(tuple(w * value for value in row) for w, row in zip(weights, powers(TAPS), strict=True))


OUTPUT_GRADIENT = powers(TILE)
"""[6][4]: a tile of output gradients, to be multiplied with a transformed input for the weights' gradient."""
OUTPUT = transposed(OUTPUT_GRADIENT)
"""[4][6]: products to outputs."""
FILTER = _filter_matrix()
"""[6][3]: taps to factors."""
FILTER_GRADIENT = transposed(FILTER)
"""[3][6]: products summed over tiles to the gradient by the taps."""
INPUT = (*(roots(others(point)) for point in POINTS), roots(POINTS))
"""[6][6]: a patch of inputs to factors."""


def combine(f: Function, isa: Isa, terms: Sequence[tuple[Fraction, Value]]) -> Value:
    """The sum of factor times value; terms whose factor is 1 or -1 cost no multiplication. Some factor is not
    0.
    """
    terms = sorted((term for term in terms if term[0]), key=lambda term: abs(term[0]) != 1)
    (factor, first), *rest = terms
    if factor == 1:
        total = first
    elif factor == -1:
        total = f.fneg(first)
    else:
        total = f.op("fmul", first, f.constant(first.type, float(factor)))
    for factor, value in rest:
        if abs(factor) == 1:
            total = f.op("fadd" if factor > 0 else "fsub", total, value)
        else:
            total = multiply_add(f, isa, value, f.constant(value.type, float(factor)), total)
    return total


def transform(f: Function, isa: Isa, matrix: Matrix, values: Sequence[Value]) -> list[Value]:
    """``matrix @ values`` as straight-line code.

    Points come as p and -p. So rows come in pairs that differ by the signs of some columns: what they add and
    what they subtract is computed once for both. In a transposed matrix the columns do: then sum and
    difference of the two values are.
    """
    columns = transposed(matrix)
    kept: list[tuple[tuple[Fraction, ...], Value]] = []
    remaining = list(range(len(columns)))
    while remaining:
        j = remaining.pop(0)
        twin = next((k for k in remaining if _differ_in_signs(columns[j], columns[k])), None)
        if twin is None:
            kept.append((columns[j], values[j]))
            continue
        remaining.remove(twin)
        same = tuple(a if a == b else Fraction(0) for a, b in zip(columns[j], columns[twin], strict=True))
        apart = tuple(a - b for a, b in zip(columns[j], same, strict=True))
        kept.append((same, f.op("fadd", values[j], values[twin])))
        kept.append((apart, f.op("fsub", values[j], values[twin])))
    rows = transposed(tuple(column for column, _ in kept))
    operands = [value for _, value in kept]
    results: list[Value | None] = [None] * len(rows)
    for i, row in enumerate(rows):
        if results[i] is not None:
            continue
        twin = next((k for k in range(i + 1, len(rows)) if _differ_in_signs(row, rows[k])), None)
        if twin is None:
            results[i] = combine(f, isa, list(zip(row, operands, strict=True)))
            continue
        same = [(a, x) for a, b, x in zip(row, rows[twin], operands, strict=True) if a == b and a]
        apart = [(a, x) for a, b, x in zip(row, rows[twin], operands, strict=True) if a != b]
        scale = abs(apart[0][0])
        base = combine(f, isa, same)
        step = combine(f, isa, [(a / scale, x) for a, x in apart])
        results[i] = combine(f, isa, [(Fraction(1), base), (scale, step)])
        results[twin] = combine(f, isa, [(Fraction(1), base), (-scale, step)])
    return [value for value in results if value is not None]


def _differ_in_signs(a: Sequence[Fraction], b: Sequence[Fraction]) -> bool:
    """Whether two rows or columns are the same but for some signs, and not all of those."""
    pairs = list(zip(a, b, strict=True))
    negated = [x == -y for x, y in pairs if x or y]
    return all(abs(x) == abs(y) for x, y in pairs) and any(negated) and not all(negated)


def work_nbytes(matrix: Matrix, vector_nbytes: int) -> int:
    """The memory that `transform_in_memory` works in."""
    return len(matrix) * len(matrix[0]) * vector_nbytes


def transform_in_memory(
    f: Function,
    isa: Isa,
    matrix: Matrix,
    type: str,
    work: Value,
    load: Callable[[int, Index], Value],
    store: Callable[[Index, list[Value]], None],
    rows: Index | None = None,
) -> None:
    """``matrix @ tile @ matrix^T`` of a tile whose values are ``load(row, column)``; ``store(row, values)``
    takes the first `rows` rows of the result (None: all).

    Two short loops that meet in `work`: few instructions where much follows each row. Straight-line code is
    three times as fast.
    """
    size, width = len(matrix[0]), lanes_of(type) * ITEMSIZES[scalar_of(type)]

    def column(c: Index) -> None:
        to = f.at(work, f.mul(c, width))
        for r, value in enumerate(transform(f, isa, matrix, [load(r, c) for r in range(size)])):
            f.store(value, f.at(to, r * size * width))

    def row(r: Index) -> None:
        begin = f.at(work, f.mul(r, size * width))
        store(r, transform(f, isa, matrix, [f.load(type, f.at(begin, c * width)) for c in range(size)]))

    f.loop(0, size, column)
    f.loop(0, len(matrix) if rows is None else rows, row)
