"""Writing values at places that are known only at run time: scatter_add and scatter_set, in the order of
the values.

Each task owns a range of the elements that one place holds (the other dimensions) and walks all places in
order, so that the sums have one order and no two tasks write the same element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from treadle.devices.cpu.elements import plus
from treadle.devices.cpu.expression import module_for
from treadle.devices.cpu.ir import Function, Index, Value
from treadle.devices.cpu.native import NativeKernel
from treadle.devices.cpu.registers import (
    ITEMSIZE,
    KIND,
    NARROW,
    STORAGE,
    Unsupported,
    from_storage,
    storage_type,
)
from treadle.devices.cpu.target import Isa

TASK_ELEMENTS = 64
"""Elements of a place that one task owns, at least: a cache line or more of every dtype."""


@dataclass(frozen=True)
class Scatter:
    """``out[places[p], other] (+)= values[p, other]`` for every point p of `points`; strides count elements.

    Place k of a point lies in ``0 <= place < limits[k]``; where it does not, nothing is written and the
    status word is set to `fault_code`.
    """

    dtype: str
    add: bool
    points: tuple[int, ...]
    others: tuple[int, ...]
    out_place_strides: tuple[int, ...]
    out_other_strides: tuple[int, ...]
    value_point_strides: tuple[int, ...]
    value_other_strides: tuple[int, ...]
    index_dtypes: tuple[str, ...]
    index_strides: tuple[tuple[int, ...], ...]
    limits: tuple[int, ...]
    fault_code: int = 1

    @property
    def summed(self) -> str:
        """The dtype of `out`: sums of 16-bit floats are float32, for the caller to round once."""
        return "float32" if self.add and self.dtype in NARROW else self.dtype


def scatter(spec: Scatter, isa: Isa) -> NativeKernel:
    """The kernel, with operands: out, values, each index array, status word."""
    if spec.dtype not in STORAGE or (spec.add and spec.dtype == "bool"):
        raise Unsupported(f"scatter of {spec.dtype}")
    module = module_for(isa)
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    arguments, first, last, _ = f.arguments
    operands = [f.load("ptr", f.at(arguments, 8 * i), 8) for i in range(len(spec.limits) + 3)]
    out, values, *indices, status = operands
    inner = math.prod(spec.others)
    tasks = max(1, inner // TASK_ELEMENTS)
    begin = f.op("udiv", f.op("mul", first, f.i64(inner)), f.i64(tasks)) if tasks > 1 else f.i64(0)
    end = f.op("udiv", f.op("mul", last, f.i64(inner)), f.i64(tasks)) if tasks > 1 else f.i64(inner)

    def at_point(point: list[Index]) -> None:
        place: Index = 0
        inside: Value | None = None
        for k, (pointer, dtype, strides) in enumerate(
            zip(indices, spec.index_dtypes, spec.index_strides, strict=True)
        ):
            index = _load_index(f, pointer, dtype, _dot(f, point, strides))
            ok = f.compare("icmp ult", index, f.i64(spec.limits[k]))
            inside = ok if inside is None else f.op("and", inside, ok)
            place = f.add(place, f.mul(index, spec.out_place_strides[k]))
        assert inside is not None
        source = _dot(f, point, spec.value_point_strides)
        with f.when(inside):
            _write(f, spec, isa, out, values, place, source, begin, end)
        with f.when(f.op("xor", inside, Value("i1", "true"))):
            f.store(Value("i32", str(spec.fault_code)), status, 4)

    _nest(f, spec.points, at_point, [])
    f.ret()
    nbytes = (math.prod(spec.points) * inner * 2 + inner) * ITEMSIZE[spec.dtype]
    name = "scatter_add" if spec.add else "scatter_set"
    return NativeKernel(module.text(), f"{name} {math.prod(spec.points)}x{inner}", tasks, nbytes=nbytes)


def _nest(f: Function, sizes: tuple[int, ...], body: object, point: list[Index]) -> None:
    """Loops over all points, in row-major order."""
    if not sizes:
        body(point)  # type: ignore[operator]
        return

    def step(i: Index) -> None:
        _nest(f, sizes[1:], body, [*point, i])

    f.loop(0, sizes[0], step)


def _dot(f: Function, point: list[Index], strides: tuple[int, ...]) -> Index:
    total: Index = 0
    for i, stride in zip(point, strides, strict=True):
        total = f.add(total, f.mul(i, stride))
    return total


def _load_index(f: Function, pointer: Value, dtype: str, element: Index) -> Value:
    """An index as i64."""
    raw = f.load(STORAGE[dtype], f.at(pointer, f.mul(element, ITEMSIZE[dtype])), ITEMSIZE[dtype])
    return raw if raw.type == "i64" else f.cast("sext" if KIND[dtype] == "signed" else "zext", raw, "i64")


def _write(
    f: Function,
    spec: Scatter,
    isa: Isa,
    out: Value,
    values: Value,
    place: Index,
    source: Index,
    begin: Value,
    end: Value,
) -> None:
    """One point's values, elements `begin` to `end` of the others in row-major order."""
    nbytes, size = ITEMSIZE[spec.dtype], ITEMSIZE[spec.summed]

    def combine(here: Index, there: Index, lanes: int) -> None:
        target = f.at(out, f.mul(there, size))
        value = f.load(storage_type(spec.dtype, lanes), f.at(values, f.mul(here, nbytes)), nbytes)
        if spec.add:
            value = from_storage(f, isa, spec.dtype, value)
            value = plus(f, f.load(value.type, target, size), value)
        f.store(value, target, size)

    def element(e: Index) -> None:
        rest, there, here = e, place, source
        for n, o, v in zip(
            reversed(spec.others),
            reversed(spec.out_other_strides),
            reversed(spec.value_other_strides),
            strict=True,
        ):
            rest, digit = f.divmod(rest, n)
            there = f.add(there, f.mul(digit, o))
            here = f.add(here, f.mul(digit, v))
        combine(here, there, 1)

    if not _contiguous(spec):
        f.loop(begin, end, element)
        return
    lanes = isa.vector_nbytes // size
    stop = f.op("add", begin, f.op("and", f.op("sub", end, begin), f.i64(-lanes)))

    f.loop(begin, stop, lambda e: combine(f.add(source, e), f.add(place, e), lanes), step=lanes)
    f.loop(stop, end, element)


def _contiguous(spec: Scatter) -> bool:
    """Whether the others of a point lie together in both arrays."""
    step = 1
    for n, o, v in zip(
        reversed(spec.others),
        reversed(spec.out_other_strides),
        reversed(spec.value_other_strides),
        strict=True,
    ):
        if n != 1 and (o != step or v != step):
            return False
        step *= n
    return True
