"""Copies that change how a value lies in memory, as loop kernels."""

from __future__ import annotations

from treadle.compiler.indexmap import row_major
from treadle.compiler.kernel import Access, Affine, Instruction, LoopKernel, Operand, Stage, Store
from treadle.compiler.program import View
from treadle.devices.csource import loops
from treadle.devices.csource.kernel import Facts, Launch, Place, product


def reach(view: View) -> int:
    """The elements of a buffer up to the last one of a view."""
    steps = [s * (int(n) - 1) for n, s in zip(view.shape, view.strides, strict=True) if s > 0 and n]
    return 1 + view.offset + sum(steps)


def contiguous(view: View) -> bool:
    """Whether a view's elements follow each other in memory, row-major."""
    shape: tuple[int, ...] = view.shape  # type: ignore[assignment]
    made = row_major(shape)
    return 0 in shape or all(a == b for n, a, b in zip(shape, view.strides, made, strict=True) if n != 1)


def copied(
    view: View, dtype: str, source: Place, target: Place, facts: Facts, made: str | None = None
) -> Launch:
    """A launch that brings a view's elements next to each other, row-major, converted to the dtype `made`."""
    shape: tuple[int, ...] = view.shape  # type: ignore[assignment]
    made = made or dtype
    body = (
        Instruction("load", (), dtype, Access(0, Affine(view.offset, view.strides))),
        Instruction("cast", (0,), made),
    )
    stage = Stage("row", body, stores=(Store(Access(1, Affine(0, tuple(row_major(shape)))), 1),))
    operands = Operand(dtype, reach(view)), Operand(made, product(shape), written=True)
    (launch,) = loops.render(
        LoopKernel(shape, len(shape), operands, (stage,), f"copy {list(shape)}"), facts
    ).launches
    return Launch(launch.kernel, (source, target))
