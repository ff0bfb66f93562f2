"""A step that copies a view of memory into another, from one dtype to another.

For kernels that want their operands contiguous, or that add up in a wider dtype than the result has.
"""

from __future__ import annotations

from treadle.compiler.kernel import Access, Affine, Instruction, LoopKernel, Operand, Stage, Store
from treadle.devices.cpu import loops
from treadle.devices.cpu.native import Step
from treadle.devices.cpu.target import Isa

Place = tuple[str, int]
Strides = tuple[int, ...]


def row_major(shape: tuple[int, ...]) -> Strides:
    """The strides, in elements, of a contiguous array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def copied(
    isa: Isa,
    shape: tuple[int, ...],
    source: tuple[Place, Strides, str],
    target: tuple[Place, Strides, str],
) -> Step:
    """Copy `shape` elements; of `source` and `target` the place, the strides in elements and the dtype."""
    (origin, strides, dtype), (there, steps, wanted) = source, target
    body = [Instruction("load", (), dtype, Access(0, Affine(0, strides)))]
    if wanted != dtype:
        body.append(Instruction("cast", (0,), wanted))
    stage = Stage("row", tuple(body), stores=(Store(Access(1, Affine(0, steps)), len(body) - 1),))
    operands = (
        Operand(dtype, reach(shape, strides)),
        Operand(wanted, reach(shape, steps), written=True),
    )
    kernel = LoopKernel(shape, len(shape), operands, (stage,), f"copy{list(shape)}")
    (step,) = loops.render(kernel, isa).steps
    return Step(step.kernel, (origin, there))


def reach(shape: tuple[int, ...], strides: Strides) -> int:
    """Elements from the first to the last, both included."""
    return 1 + sum(abs(stride) * (n - 1) for n, stride in zip(shape, strides, strict=True))
