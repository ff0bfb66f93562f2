"""Matrix products on the CPU: from shapes and strides to kernels.

`lower` puts a contraction into its simplest form (no axes of size 1, batch axes merged, the contiguous axis of c last), chooses
a schedule, and lists the steps: pack b, multiply, combine. Knows nothing of graphs; what the epilogue computes is
written by `treadle.devices.cpu.expression`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from treadle.compiler.kernel import Instruction, Operand
from treadle.devices.cpu.combine import combine_kernel
from treadle.devices.cpu.microkernel import ITEMSIZES, SCALARS
from treadle.devices.cpu.native import Lowered, Step
from treadle.devices.cpu.product import Product, ProductWriter, pack_kernel
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import Schedule, choose

A, B, C = ("in", 0), ("in", 1), ("out", 0)


@dataclass(frozen=True)
class Contraction:
    """C[batch..., m, n] = epilogue(sum_k A[batch..., m, k] * B[batch..., k, n]).

    Strides are in elements and may have any sign; a stride of 0 repeats an operand over an axis. The elements of C are distinct.
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
    """A straight-line body whose op ``accumulator`` is the sum and whose last instruction is stored; its loads are accesses to
    `extra`, affine over (batch..., m, n). Empty: the sum is stored."""
    extra: tuple[Operand, ...] = ()


def lower(contraction: Contraction, isa: Isa, schedule: Schedule | None = None) -> Lowered:
    """The kernels of a contraction. Operands: A is ``("in", 0)``, B ``("in", 1)``, `extra` follow, C is ``("out", 0)``.

    Raises NotImplementedError for a dtype that is not multiplied natively. `schedule` overrides the choice (tests do).
    """
    if contraction.dtype not in SCALARS:
        raise NotImplementedError(
            f"contraction of {contraction.dtype}: the CPU multiplies {' and '.join(SCALARS)}; cast the operands first"
        )
    label = f"matmul {contraction.m}x{contraction.k}x{contraction.n}"
    if contraction.batch:
        label += f" batch {'x'.join(map(str, contraction.batch))}"
    if 0 in (*contraction.batch, contraction.m, contraction.n):
        return Lowered(())
    itemsize = ITEMSIZES[SCALARS[contraction.dtype]]
    simple, swapped = simplify(contraction)
    a, b = (B, A) if swapped else (A, B)
    p = Product(
        simple.batch,
        simple.m,
        simple.n,
        simple.k,
        simple.a_strides,
        simple.b_strides,
        simple.c_strides,
        simple.dtype,
    )
    if p.k == 0:
        return Lowered((Step(combine_kernel(p, 0, isa, label), (C, C)),))
    schedule = schedule or choose(prod(p.batch), p.m, p.n, p.k, p.a[-2:], p.b[-2:], itemsize, isa)
    steps, temporaries = [], []
    if schedule.pack_b == "step":
        kernel, p, nbytes = pack_kernel(p, schedule, isa)
        b_packed = ("temp", len(temporaries))
        temporaries.append(nbytes)
        steps.append(Step(kernel, (b, b_packed)))
        b = b_packed
    direct = schedule.splits == 1 and p.c[-1] == 1
    if direct:
        steps.append(Step(ProductWriter(p, schedule, isa).kernel(label), (a, b, C)))
    else:
        dense = tuple(prod((*p.batch, p.m, p.n)[axis + 1 :]) for axis in range(len(p.batch) + 2))
        size = prod((*p.batch, p.m, p.n))
        sums = ("temp", len(temporaries))
        writer = ProductWriter(replace(p, c=dense), schedule, isa, size)
        temporaries.append(size * writer.splits.parts * itemsize)
        steps.append(Step(writer.kernel(label), (a, b, sums)))
        steps.append(Step(combine_kernel(p, writer.splits.parts, isa, f"combine {label}"), (sums, C)))
    return Lowered(tuple(steps), tuple(temporaries))


def simplify(contraction: Contraction) -> tuple[Contraction, bool]:
    """The same contraction with fewer axes and c's contiguous axis last; and whether A and B (with m and n) were exchanged."""
    c = contraction
    kept = [axis for axis, size in enumerate(c.batch) if size != 1]

    def pick(strides: tuple[int, ...]) -> tuple[int, ...]:
        return (*(strides[axis] for axis in kept), *strides[-2:])

    c = replace(
        c,
        batch=tuple(c.batch[axis] for axis in kept),
        a_strides=pick(c.a_strides),
        b_strides=pick(c.b_strides),
        c_strides=pick(c.c_strides),
    )
    swapped = c.m > 1 and (c.n == 1 or (c.c_strides[-1] != 1 and c.c_strides[-2] == 1))
    if swapped:
        c = replace(
            c,
            m=c.n,
            n=c.m,
            a_strides=(*c.b_strides[:-2], c.b_strides[-1], c.b_strides[-2]),
            b_strides=(*c.a_strides[:-2], c.a_strides[-1], c.a_strides[-2]),
            c_strides=(*c.c_strides[:-2], c.c_strides[-1], c.c_strides[-2]),
        )
    # The stride of an axis of size 1 means nothing: make it the one that suits.
    if c.n == 1:
        c = replace(c, b_strides=(*c.b_strides[:-1], 1), c_strides=(*c.c_strides[:-1], 1))
    while c.batch and (merged := merge_rows(c)):
        c = merged
    while (merged := merge_batch(c)) is not None:
        c = merged
    return c, swapped


def merge_rows(c: Contraction) -> Contraction | None:
    """Make the last batch axis part of m, where b is the same for all of it and the rows follow each other evenly."""
    size, maps = c.batch[-1], (c.a_strides, c.c_strides)
    if c.b_strides[-3] or any(c.m > 1 and s[-3] != c.m * s[-2] for s in maps):
        return None

    def merge(strides: tuple[int, ...]) -> tuple[int, ...]:
        return (*strides[:-3], strides[-2] if c.m > 1 else strides[-3], strides[-1])

    return replace(
        c,
        batch=c.batch[:-1],
        m=size * c.m,
        a_strides=merge(c.a_strides),
        b_strides=(*c.b_strides[:-3], *c.b_strides[-2:]),
        c_strides=merge(c.c_strides),
    )


def merge_batch(c: Contraction) -> Contraction | None:
    """Join the first two neighbouring batch axes that every operand walks as if they were one."""
    for axis in range(len(c.batch) - 1):
        if all(s[axis] == c.batch[axis + 1] * s[axis + 1] for s in (c.a_strides, c.b_strides, c.c_strides)):
            drop = slice(axis, axis + 1)
            batch = list(c.batch)
            batch[axis : axis + 2] = [c.batch[axis] * c.batch[axis + 1]]
            rest = {}
            for name in ("a_strides", "b_strides", "c_strides"):
                strides = list(getattr(c, name))
                del strides[drop]
                rest[name] = tuple(strides)
            return replace(c, batch=tuple(batch), **rest)
    return None
