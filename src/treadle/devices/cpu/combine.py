"""The last step of a product whose tiles could not store c themselves: add the ranges of k, and store with any strides.

The sums are [range, batch..., m, n], dense. A product over no k at all is the sum of no ranges.
"""

from __future__ import annotations

from math import prod

from treadle.devices.cpu.ir import Index, Module, vector
from treadle.devices.cpu.microkernel import active_lanes, load_vector, store_vector
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.product import Product, batch_offsets
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, share

TASK_ELEMENTS = 16384


def combine_kernel(product: Product, ranges: int, isa: Isa, label: str) -> NativeKernel:
    """The step ``(sums, c)``."""
    p = product
    lanes = isa.lanes(p.itemsize) if p.c[-1] == 1 else 1
    type = vector(p.scalar, lanes)
    rows, size = prod(p.batch) * p.m, prod((*p.batch, p.m, p.n))
    columns = EvenCut(-(-p.n // lanes), -(-TASK_ELEMENTS // lanes))
    tasks = max(1, min(rows, size // TASK_ELEMENTS))
    module = Module(isa.attributes)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, _ = f.arguments
    sums, c = (f.load("ptr", f.at(arguments, 8 * i)) for i in range(2))
    _, active = active_lanes(p.n, lanes)
    whole = p.n // lanes

    def task(task: Index) -> None:
        part, column_part = f.divmod(task, columns.parts)
        begin, end = columns.start(f, column_part), columns.start(f, f.add(column_part, 1))

        def row(row: Index) -> None:
            (place,) = batch_offsets(f, (*p.batch, p.m), row, (p.c[:-1],), p.itemsize)
            source, dest = f.at(sums, f.mul(row, p.n * p.itemsize)), f.at(c, place)

            def chunk(v: Index, tail: int) -> None:
                from_sums = f.at(source, f.mul(v, lanes * p.itemsize))
                total = f.constant(type, 0.0)
                if ranges:
                    total = load_vector(f, from_sums, type, tail)
                    (total,) = f.loop(
                        1, ranges,
                        lambda s, total: [
                            f.op("fadd", total, load_vector(f, f.at(from_sums, f.mul(s, size * p.itemsize)), type, tail))
                        ],
                        [total],
                    )  # fmt: skip
                store_vector(f, total, f.at(dest, f.mul(v, lanes * p.c[-1] * p.itemsize)), tail)

            f.loop(begin, f.min(end, whole), lambda v: chunk(v, 0))
            if active:
                f.loop(f.max(begin, whole), end, lambda v: chunk(v, active))

        f.loop(*share(f, rows, tasks, part), row)

    f.loop(first, last, task)
    f.ret()
    nbytes = size * (ranges + 1) * p.itemsize
    return NativeKernel(
        module.text(), label, tasks * columns.parts, flops=size * max(0, ranges - 1), nbytes=nbytes
    )
