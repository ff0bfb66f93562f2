"""The kernel of a matrix product whose rows of a and columns of b are contiguous along k: dot products.

Lanes run along k and are folded at the end, so nothing has to be transposed: for few rows that is what
counts. A register tile is some rows of a by some columns of b, each pair with an accumulator of its own. c
may have any strides.
"""

from __future__ import annotations

from math import prod

from treadle.devices.cpu.elements import load_numbers, multiply_add, plus
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Index, Value, vector
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.product import Product, batch_digits, batch_offset
from treadle.devices.cpu.target import Isa
from treadle.devices.cpu.tiling import DotSchedule, EvenCut, share


def dot_kernel(product: Product, schedule: DotSchedule, isa: Isa, label: str) -> NativeKernel:
    """The kernel ``(a, b, c, extra...)``."""
    p, itemsize, stored_nbytes = product, product.itemsize, product.stored_nbytes
    lanes = isa.lanes(itemsize)
    type = vector(p.scalar, lanes)
    rows, columns = EvenCut(p.m, schedule.rows), EvenCut(p.n, schedule.columns)
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, scratch = f.arguments
    a_base, b_base, c_base, *extra = (f.load("ptr", f.at(arguments, 8 * i)) for i in range(2 + p.results))

    def load(pointer: Value, active: int) -> Value:
        return load_numbers(f, isa, p.dtype, pointer, lanes, active)

    def add(sums: list[Value], a: Value, b: Value, height: int, width: int, active: int) -> list[Value]:
        """One vector of k."""
        right = [load(f.at(b, j * p.b[-1] * stored_nbytes), active) for j in range(width)]
        added = []
        for i in range(height):
            left = load(f.at(a, i * p.a[-2] * stored_nbytes), active)
            added += [multiply_add(f, isa, left, right[j], sums[i * width + j]) for j in range(width)]
        return added

    def tile(a: Value, b: Value, height: int, width: int) -> list[Value]:
        """The dot products of some rows and columns, as scalars."""

        def step(_: Index, a: Value, b: Value, *sums: Value) -> list[Value]:
            added = add(list(sums), a, b, height, width, 0)
            return [f.at(a, lanes * stored_nbytes), f.at(b, lanes * stored_nbytes), *added]

        zeros = [f.constant(type, 0.0)] * (height * width)
        a, b, *sums = f.loop(0, p.k // lanes, step, [a, b, *zeros])
        if p.k % lanes:
            sums = add(sums, a, b, height, width, p.k % lanes)
        return [f.fold_lanes(sum, lambda x, y: plus(f, x, y)) for sum in sums]

    def task(task: Index) -> None:
        batch, along_n = f.divmod(task, schedule.tasks)
        digits = batch_digits(f, p.batch, batch)
        a, b, c = (
            f.at(base, batch_offset(f, digits, strides, nbytes))
            for base, strides, nbytes in (
                (a_base, p.a, stored_nbytes),
                (b_base, p.b, stored_nbytes),
                (c_base, p.c, itemsize),
            )
        )

        def strip(width: int, part: Index) -> None:
            column = columns.start(f, part)
            from_b = f.at(b, f.mul(column, p.b[-1] * stored_nbytes))

            def block(height: int, part: Index) -> None:
                row = rows.start(f, part)
                values = tile(f.at(a, f.mul(row, p.a[-2] * stored_nbytes)), from_b, height, width)
                if p.epilogue:
                    finish(row, column, height, width, values)
                    return
                corner = f.at(c, f.add(f.mul(row, p.c[-2] * itemsize), f.mul(column, p.c[-1] * itemsize)))
                for place, value in enumerate(values):
                    i, j = divmod(place, width)
                    f.store(value, f.at(corner, (i * p.c[-2] + j * p.c[-1]) * itemsize))

            rows.each(f, 0, rows.parts, block)

        def finish(row: Index, column: Index, height: int, width: int, values: list[Value]) -> None:
            """The epilogue, one element after the other, of sums that wait in scratch memory."""
            epilogue = p.epilogue
            assert epilogue is not None
            for place, value in enumerate(values):
                f.store(value, f.at(scratch, place * itemsize))

            def element(place: Index) -> None:
                i, j = f.divmod(place, width)
                index = (*digits, f.add(row, i), f.add(column, j))
                sum = f.load(p.scalar, f.at(scratch, f.mul(place, itemsize)))
                epilogue.finish(f, isa, [*extra, c_base], index, sum, 1, 0)

            f.loop(0, height * width, element)

        columns.each(f, *share(f, columns.parts, schedule.tasks, along_n), strip)

    f.loop(first, last, task)
    f.ret()
    count = prod(p.batch)
    return NativeKernel(
        module.text(),
        label,
        count * schedule.tasks,
        rows.large * columns.large * itemsize,
        flops=2 * count * p.m * p.n * p.k,
        nbytes=stored_nbytes * count * (p.m * p.k + p.k * p.n + p.m * p.n),
    )
