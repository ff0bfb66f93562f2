"""Kernels that do nothing useful as fast as the machine can: multiply-adds in registers, a register tile,
reading and writing memory. What a machine's limits are measured with.

Every task does the same work on memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from treadle.devices.cpu.elements import load_vector, multiply_add
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Function, Index, Value, vector
from treadle.devices.cpu.microkernel import Tile, accumulate, offsets, rows_that_fit, zeros
from treadle.devices.cpu.native import ENTRY, NativeKernel
from treadle.devices.cpu.target import Isa

ITEMSIZE = 4
MEMORY = {"read": 1, "copy": 2, "triad": 3}
"""What is measured of memory: the sum of an array, b = a, and c = a + 3 * b; and how many arrays each has."""
STREAMS = 8
"""Vectors under way at once."""
Task = Callable[[Function, Index, list[Value]], None]
"""Writes one task: its number, and the operands' addresses."""
TILE_K, TILE_VECTORS = 128, 2
"""The sums of a tile, which keeps its operands in the first cache, and its width."""


def multiply_adds(isa: Isa, tasks: int, rounds: int) -> NativeKernel:
    """`rounds` multiply-adds of vectors in each of many accumulators that do not wait for each other."""
    lanes, count = isa.lanes(), isa.registers - 4
    type = vector("float", lanes)

    def task(f: Function, t: Index, operands: list[Value]) -> None:
        mine = f.at(operands[0], f.mul(t, isa.vector_nbytes))
        factor = f.load(type, mine)

        def step(_: Value, *acc: Value) -> list[Value]:
            return [multiply_add(f, isa, value, factor, factor) for value in acc]

        acc = f.loop(0, rounds, step, [factor] * count)
        total = acc[0]
        for value in acc[1:]:
            total = f.op("fadd", total, value)
        f.store(total, mine)

    return _kernel(isa, f"multiply-adds {isa.name}", 1, tasks, 2 * tasks * rounds * count * lanes, 0, task)


def tile(isa: Isa, tasks: int, rounds: int) -> NativeKernel:
    """The register tile that products are made of, its operands in the first cache: a, b and the result."""
    lanes, vectors = isa.lanes(), TILE_VECTORS
    rows, width = rows_that_fit(isa, vectors), vectors * isa.vector_nbytes
    shape = Tile(
        "float", lanes, offsets(rows, ITEMSIZE), rows * ITEMSIZE, offsets(vectors, isa.vector_nbytes), width
    )
    nbytes = tile_nbytes(isa)

    def task(f: Function, t: Index, operands: list[Value]) -> None:
        a = f.at(operands[0], f.mul(t, nbytes))
        b = f.at(a, -(-TILE_K * rows * ITEMSIZE // 64) * 64)
        start = zeros(f, rows, vectors, shape.type)

        def step(_: Value, *flat: Value) -> list[Value]:
            acc = [list(flat[row * vectors : (row + 1) * vectors]) for row in range(rows)]
            return [value for row in accumulate(f, isa, shape, acc, a, b, TILE_K) for value in row]

        acc = f.loop(0, rounds, step, [value for row in start for value in row])
        total = acc[0]
        for value in acc[1:]:
            total = f.op("fadd", total, value)
        f.store(total, f.at(operands[1], f.mul(t, isa.vector_nbytes)))

    flops = 2 * tasks * rounds * TILE_K * rows * vectors * lanes
    return _kernel(isa, f"tile {isa.name}", 2, tasks, flops, 0, task)


def tile_nbytes(isa: Isa) -> int:
    """The memory of a task's operands."""
    rows = rows_that_fit(isa, TILE_VECTORS)
    return -(-TILE_K * rows * ITEMSIZE // 64) * 64 + TILE_K * TILE_VECTORS * isa.vector_nbytes


def memory(isa: Isa, kind: str, tasks: int, nbytes: int, rounds: int) -> NativeKernel:
    """Go `rounds` times over `nbytes` of each array (see `MEMORY`), each task over its own, a multiple of
    `STREAMS` vectors.
    """
    type, arrays = vector("float", isa.lanes()), MEMORY[kind]
    step_nbytes = STREAMS * isa.vector_nbytes

    def task(f: Function, t: Index, operands: list[Value]) -> None:
        mine = [f.at(operand, f.mul(t, nbytes)) for operand in operands]
        start = [f.constant(type, 0.0)] * STREAMS
        three = f.constant(type, 3.0)

        def over(_: Value, *acc: Value) -> list[Value]:
            return f.loop(0, nbytes // step_nbytes, lambda i, *sums: step(f.mul(i, step_nbytes), sums), acc)

        def step(offset: Index, sums: tuple[Value, ...]) -> list[Value]:
            after = []
            for s, total in enumerate(sums):
                places = [f.at(f.at(pointer, offset), s * isa.vector_nbytes) for pointer in mine]
                value = load_vector(f, places[0], type, 0)
                if kind == "read":
                    after.append(f.op("fadd", total, value))
                    continue
                if kind == "triad":
                    value = multiply_add(f, isa, load_vector(f, places[1], type, 0), three, value)
                f.store(value, places[-1])
                after.append(total)
            return after

        sums = f.loop(0, rounds, over, start)
        if kind == "read":
            total = sums[0]
            for value in sums[1:]:
                total = f.op("fadd", total, value)
            f.store(total, mine[0])

    moved = tasks * rounds * arrays * nbytes
    return _kernel(isa, f"{kind} {nbytes}", arrays, tasks, 0, moved, task)


def nothing(isa: Isa) -> NativeKernel:
    """No work at all."""
    return _kernel(isa, "nothing", 0, 1, 1, 0, lambda f, t, operands: None)


def _kernel(
    isa: Isa, label: str, operands: int, tasks: int, flops: int, nbytes: int, task: Task
) -> NativeKernel:
    module = module_for(isa)
    f = module.function(ENTRY, ["ptr", "i64", "i64", "ptr"])
    table, first, last, _ = f.arguments
    pointers = [f.load("ptr", f.at(table, 8 * i), 8) for i in range(operands)]
    f.loop(first, last, lambda t: task(f, t, pointers))
    f.ret()
    return NativeKernel(module.text(), label, tasks, 0, flops, nbytes)
