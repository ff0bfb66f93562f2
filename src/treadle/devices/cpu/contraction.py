"""Matrix products on the CPU: from shapes and strides to kernels.

`lower` puts a contraction into its simplest form (no axes of size 1, batch axes merged, the contiguous axis
of c last), chooses a schedule, and lists the steps: multiply, combine. Knows nothing of graphs; what the
epilogue computes is written by `treadle.devices.cpu.expression`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

from treadle.compiler.kernel import Affine, Instruction, Operand
from treadle.devices.cpu.combine import combine_kernel
from treadle.devices.cpu.dot import dot_kernel
from treadle.devices.cpu.elements import ITEMSIZES, SCALARS, summed_as_stored
from treadle.devices.cpu.epilogue import Epilogue, rewrite_affines
from treadle.devices.cpu.native import Lowered, Step
from treadle.devices.cpu.product import Product, ProductWriter
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import (
    DotSchedule,
    Schedule,
    alternatives,
    choose,
    choose_dot,
    choose_stack,
)
from treadle.devices.cpu.tuning import pick

PACKED_TILES, PACKED_K_BLOCK = 8, 512
"""Row tiles of an a that is widened as it is packed, and the most steps of k of them."""

A, B, C = ("in", 0), ("in", 1), ("out", 0)


@dataclass(frozen=True)
class Contraction:
    """C[batch..., m, n] = epilogue(sum_k A[batch..., m, k] * B[batch..., k, n]).

    Strides are in elements and may have any sign; a stride of 0 repeats an operand over an axis. The
    elements of C are distinct.
    """

    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a_strides: tuple[int, ...]
    """batch..., m, k"""
    b_strides: tuple[int, ...]
    """batch..., k, n"""
    c_strides: tuple[int, ...]
    """batch..., m, n"""
    dtype: str = "float32"
    epilogue: tuple[Instruction, ...] = ()
    """A straight-line body whose op ``accumulator`` is the sum; its loads are accesses to `extra`, affine
    over (batch..., m, n). Empty: the sum is stored."""
    stores: tuple[int, ...] = ()
    """Which values of the epilogue are stored, by position; empty: its last. The first goes to C, the others
    to results of the same strides."""
    extra: tuple[Operand, ...] = ()
    in_place: bool = False
    """Whether a result may lie where an operand of `extra` does that the epilogue reads at the same
    element."""


def lower(contraction: Contraction, isa: Isa, schedule: Schedule | DotSchedule | None = None) -> Lowered:
    """The kernels of a contraction. Operands: A is ``("in", 0)``, B ``("in", 1)``, `extra` follow, C is
    ``("out", 0)``, further results follow.

    Raises NotImplementedError for a dtype that is not multiplied natively. `schedule` overrides the choice
    (tests do).
    """
    if contraction.dtype not in SCALARS:
        raise NotImplementedError(
            f"contraction of {contraction.dtype}: the CPU multiplies "
            f"{' and '.join(SCALARS)}; cast the operands first"
        )
    label = f"matmul {contraction.m}x{contraction.k}x{contraction.n}"
    if contraction.batch:
        label += f" batch {'x'.join(map(str, contraction.batch))}"
    if 0 in (*contraction.batch, contraction.m, contraction.n):
        return Lowered(())
    itemsize = ITEMSIZES[SCALARS[contraction.dtype]]
    if not contraction.epilogue and not summed_as_stored(contraction.dtype):
        contraction = replace(contraction, epilogue=(Instruction("accumulator", (), contraction.dtype),))
    simple, swapped = simplify(contraction)
    a, b = (B, A) if swapped else (A, B)
    extra = [("in", 2 + i) for i in range(len(contraction.extra))]
    extra += [("out", i) for i in range(1, len(contraction.stores))]
    p = product_of(simple)
    if p.k == 0:
        return Lowered((Step(combine_kernel(p, 0, isa, label), (C, C, *extra)),), in_place=True)
    facts = prod(p.batch), p.m, p.n, p.k, p.a[-2:], p.b[-2:], itemsize, isa
    schedule = schedule or choose_dot(*facts)
    if schedule is None:
        first = choose_stack(*facts[:4], facts[5], itemsize, isa) if is_stack(p) else None
        schedules = alternatives(first or choose(*facts), p.m, p.n, p.b[-1], isa.lanes(itemsize))
        schedule = pick(("product", facts[:-1], p.dtype), schedules, isa)
    if isinstance(schedule, DotSchedule):
        return Lowered((Step(dot_kernel(p, schedule, isa, label), (a, b, C, *extra)),), in_place=True)
    if not summed_as_stored(p.dtype):
        k_block = min(schedule.k_block, PACKED_K_BLOCK)
        schedule = replace(schedule, pack_a=schedule.pack_a or PACKED_TILES, k_block=k_block)
    if schedule.splits == 1 and p.c[-1] == 1:
        writer = ProductWriter(p, schedule, isa)
        waits = p.epilogue is None or (p.epilogue.dtype == p.dtype and summed_as_stored(p.dtype))
        # Sums that wait in c between blocks of k would destroy what an epilogue reads there.
        if writer.at_once or (waits and not contraction.in_place):
            return Lowered((Step(writer.kernel(label), (a, b, C, *extra)),), in_place=writer.at_once)
    sizes = (*p.batch, p.m, p.n)
    dense, size, sums = tuple(prod(sizes[axis + 1 :]) for axis in range(len(sizes))), prod(sizes), ("temp", 0)
    writer = ProductWriter(replace(p, c=dense, epilogue=None), schedule, isa, size)
    combine = combine_kernel(p, writer.splits.parts, isa, f"combine {label}")
    steps = Step(writer.kernel(label), (a, b, sums)), Step(combine, (sums, C, *extra))
    return Lowered(steps, (size * writer.splits.parts * itemsize,), in_place=True)


def is_stack(p: Product) -> bool:
    """Whether one matrix is multiplied by all of a batch."""
    return prod(p.batch) > 1 and not any(p.a[:-2])


def product_of(c: Contraction) -> Product:
    """The product that a simplified contraction asks for."""
    epilogue = None
    if c.epilogue:
        sizes = (*c.batch, c.m, c.n)
        span = 1 + sum((size - 1) * abs(stride) for size, stride in zip(sizes, c.c_strides, strict=True))
        values = c.stores or (len(c.epilogue) - 1,)
        first, *others = (Operand(c.epilogue[value].dtype, span, written=True) for value in values)
        epilogue = Epilogue(c.epilogue, (*c.extra, *others, first), values, Affine(0, c.c_strides))
    return Product(c.batch, c.m, c.n, c.k, c.a_strides, c.b_strides, c.c_strides, c.dtype, epilogue)


def simplify(contraction: Contraction) -> tuple[Contraction, bool]:
    """The same with fewer axes and c's contiguous axis last, and whether A and B (and m and n) were
    exchanged.
    """
    c = contraction
    kept = [axis for axis, size in enumerate(c.batch) if size != 1]
    c = change_maps(c, lambda s: (*(s[axis] for axis in kept), *s[-2:]))
    c = replace(c, batch=tuple(c.batch[axis] for axis in kept))
    swapped = c.m > 1 and (c.n == 1 or (c.c_strides[-1] != 1 and c.c_strides[-2] == 1))
    if swapped:
        c = change_maps(c, lambda s: (*s[:-2], s[-1], s[-2]))
        c = replace(c, m=c.n, n=c.m, a_strides=c.b_strides, b_strides=c.a_strides)
    if c.n == 1:
        # The stride of an axis of size 1 means nothing: make it the one that suits.
        epilogue = rewrite_affines(c.epilogue, lambda s: (*s[:-1], 0))
        b_strides, c_strides = (*c.b_strides[:-1], 1), (*c.c_strides[:-1], 1)
        c = replace(c, b_strides=b_strides, c_strides=c_strides, epilogue=epilogue)
    while c.batch and (merged := merge_rows(c)):
        c = merged
    while merged := merge_batch(c):
        c = merged
    return c, swapped


def change_maps(c: Contraction, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Contraction:
    """Apply the same change to the strides of every operand; a's end in (m, k), b's in (k, n), others in
    (m, n).
    """
    return replace(
        c,
        a_strides=change(c.a_strides),
        b_strides=change(c.b_strides),
        c_strides=change(c.c_strides),
        epilogue=rewrite_affines(c.epilogue, change),
    )


def result_maps(c: Contraction) -> list[tuple[int, ...]]:
    """The strides over (batch..., m, n) of everything but a and b."""
    maps = [c.c_strides]
    rewrite_affines(c.epilogue, lambda strides: maps.append(strides) or strides)
    return maps


def merge_rows(c: Contraction) -> Contraction | None:
    """Make the last batch axis part of m, where b is the same for all of it and rows follow each other
    evenly.
    """
    size, m = c.batch[-1], c.m
    if c.b_strides[-3] or any(m > 1 and s[-3] != m * s[-2] for s in (c.a_strides, *result_maps(c))):
        return None
    b_strides = (*c.b_strides[:-3], *c.b_strides[-2:])
    c = change_maps(c, lambda s: (*s[:-3], s[-2] if m > 1 else s[-3], s[-1]))
    return replace(c, batch=c.batch[:-1], m=size * m, b_strides=b_strides)


def merge_batch(c: Contraction) -> Contraction | None:
    """Join the first two neighbouring batch axes that every operand walks as if they were one."""
    maps = (c.a_strides, c.b_strides, *result_maps(c))
    for axis, inner in enumerate(c.batch[1:]):
        if all(s[axis] == inner * s[axis + 1] for s in maps):
            c = change_maps(c, lambda s, axis=axis: (*s[:axis], *s[axis + 1 :]))
            return replace(c, batch=(*c.batch[:axis], c.batch[axis] * inner, *c.batch[axis + 2 :]))
    return None
