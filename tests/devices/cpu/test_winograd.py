"""Winograd's transforms: exact in fractions, and as code on every instruction set."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from guard import run_kernel

from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Index, Value
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.target import host_isas
from treadle.devices.cpu.winograd_transform import (
    FILTER,
    FILTER_GRADIENT,
    INPUT,
    OUTPUT,
    OUTPUT_GRADIENT,
    PATCH,
    TAPS,
    TILE,
    transform_in_memory,
    work_nbytes,
)

MATRICES = {
    "input": INPUT,
    "filter": FILTER,
    "output": OUTPUT,
    "output gradient": OUTPUT_GRADIENT,
    "filter gradient": FILTER_GRADIENT,
}


def apply(matrix, values) -> list[Fraction]:
    return [sum((a * x for a, x in zip(row, values, strict=True)), Fraction(0)) for row in matrix]


def fractions(count: int) -> list[Fraction]:
    return [Fraction(random.randrange(-99, 99)) for _ in range(count)]


def test_transforms_are_exact() -> None:
    """Outputs, and the gradient by the taps, are sums of products, to the last digit."""
    x, w, g = fractions(PATCH), fractions(TAPS), fractions(TILE)
    factors = apply(INPUT, x)
    y = apply(OUTPUT, [a * b for a, b in zip(apply(FILTER, w), factors, strict=True)])
    assert y == [sum(w[t] * x[o + t] for t in range(TAPS)) for o in range(TILE)]
    products = [a * b for a, b in zip(apply(OUTPUT_GRADIENT, g), factors, strict=True)]
    dw = apply(FILTER_GRADIENT, products)
    assert dw == [sum(g[o] * x[o + t] for o in range(TILE)) for t in range(TAPS)]


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
def test_transform_code(name: str, isa) -> None:
    """The code of a transform of a tile gives what the matrix does."""
    matrix = MATRICES[name]
    size, lanes = len(matrix[0]), isa.lanes()
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    source, target = (f.load("ptr", f.at(f.arguments[0], 8 * i), 8) for i in range(2))
    type = f"<{lanes} x float>"
    width = 4 * lanes

    def load(row: int, column: Index) -> Value:
        return f.load(type, f.at(source, f.mul(f.add(column, row * size), width)))

    def store(row: Index, values: list[Value]) -> None:
        for c, value in enumerate(values):
            f.store(value, f.at(target, f.mul(f.add(f.mul(row, len(matrix)), c), width)))

    transform_in_memory(f, isa, matrix, type, f.arguments[3], load, store)
    f.ret()
    scratch = work_nbytes(matrix, width)
    x = np.random.default_rng(0).standard_normal((size, size, lanes)).astype(np.float32)
    x.flags.writeable = False
    y = np.zeros((len(matrix), len(matrix), lanes), np.float32)
    run_kernel(NativeKernel(module.text(), "transform", 1, scratch), [x, y], isa)
    m = np.array(matrix, np.float64)
    np.testing.assert_allclose(y, np.einsum("ar,bc,rcl->abl", m, m, x), rtol=0, atol=1e-4)
