"""The neighbour of every 16-bit float, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from guard import run_kernel

from treadle.compiler.kernel import Access, Affine, Instruction, LoopKernel, Operand, Stage, Store
from treadle.devices.cpu import loops
from treadle.devices.cpu.target import host_isas
from treadle.dtypes import as_dtype


@pytest.mark.parametrize("isa", host_isas(), ids=lambda isa: isa.name)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_number_has_its_neighbours(dtype, isa):
    numbers = np.arange(1 << 16).astype(np.uint16).view(as_dtype(dtype).numpy)
    place = Affine(0, (1,))
    body = (
        Instruction("load", (), dtype, Access(0, place)),
        Instruction("load", (), dtype, Access(1, place)),
        Instruction("nextafter", (0, 1), dtype),
    )
    operands = (*[Operand(dtype, numbers.size)] * 2, Operand(dtype, numbers.size, written=True))
    stage = Stage("row", body, (), (Store(Access(2, place), 2),))
    kernel = LoopKernel((numbers.size,), 1, operands, (stage,), "")
    (step,) = loops.render(kernel, isa).steps
    for target in (0.0, -0.0, np.inf, -np.inf, 1.0, np.nan):
        toward, found = np.full_like(numbers, target), np.empty_like(numbers)
        run_kernel(step.kernel, [numbers, toward, found], isa)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            expected = np.nextafter(numbers, toward)
        # Of equal numbers C's function gives the second; NumPy's of float16 gives the first.
        expected = np.where(numbers == toward, toward, expected)
        nan = np.isnan(expected.astype(np.float32))
        assert (np.isnan(found.astype(np.float32)) == nan).all()
        assert np.array_equal(found.view(np.uint16)[~nan], expected.view(np.uint16)[~nan])
