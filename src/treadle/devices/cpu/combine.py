"""The last step of a product whose tiles could not store c themselves: ranges of k, any strides, another
dtype.

The sums are [range, batch..., m, n], dense. A product over no k at all is the sum of no ranges.
"""

from __future__ import annotations

from math import prod

from treadle.devices.cpu.elements import load_vector, plus, store_vector
from treadle.devices.cpu.epilogue import each_vector
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Index, Value, vector
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.product import Product, batch_digits, batch_offset
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import EvenCut, share

TASK_ELEMENTS = 8192


def combine_kernel(product: Product, ranges: int, isa: Isa, label: str) -> NativeKernel:
    """The step ``(sums, c, extra...)``; without ranges, `sums` is not touched."""
    p = product
    lanes = isa.lanes(p.itemsize) if p.c[-1] == 1 else 1
    type = vector(p.scalar, lanes)
    rows, size = prod(p.batch) * p.m, prod((*p.batch, p.m, p.n))
    columns = EvenCut(-(-p.n // lanes), -(-TASK_ELEMENTS // lanes))
    shares = max(1, min(rows, size // TASK_ELEMENTS))
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, _ = f.arguments
    sums, c, *extra = (f.load("ptr", f.at(arguments, 8 * i)) for i in range(1 + p.results))

    def total(source: Value, active: int) -> Value:
        if not ranges:
            return f.constant(type, 0.0)

        def add(s: Index, sum: Value) -> list[Value]:
            return [plus(f, sum, load_vector(f, f.at(source, f.mul(s, size * p.itemsize)), type, active))]

        return f.loop(1, ranges, add, [load_vector(f, source, type, active)])[0]

    def task(task: Index) -> None:
        part, along_n = f.divmod(task, columns.parts)

        def row(row: Index) -> None:
            digits = batch_digits(f, (*p.batch, p.m), row)
            source = f.at(sums, f.mul(row, p.n * p.itemsize))
            dest = f.at(c, batch_offset(f, digits, p.c, p.itemsize))

            def chunk(v: Index, active: int) -> None:
                column = f.mul(v, lanes)
                value = total(f.at(source, f.mul(column, p.itemsize)), active)
                if p.epilogue:
                    p.epilogue.finish(f, isa, [*extra, c], (*digits, column), value, lanes, active)
                else:
                    store_vector(f, value, f.at(dest, f.mul(column, p.c[-1] * p.itemsize)), active)

            begin, end = columns.start(f, along_n), columns.start(f, f.add(along_n, 1))
            each_vector(f, p.n, lanes, begin, end, chunk)

        f.loop(*share(f, rows, shares, part), row)

    f.loop(first, last, task)
    f.ret()
    nbytes = size * (ranges + 1) * p.itemsize
    flops = size * max(0, ranges - 1)
    return NativeKernel(module.text(), label, shares * columns.parts, flops=flops, nbytes=nbytes)
