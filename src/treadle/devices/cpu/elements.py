"""How the numbers of a dtype are summed: what they are in memory, what in registers, and the way between.

16-bit floats are summed as `float` and 8-bit integers, which no instruction multiplies, in 16 bits: they are
widened as they are loaded or packed, and a finished sum is narrowed once. Integers wrap, so their signs do
not matter. Knows registers and memory, nothing of tensors.
"""

from __future__ import annotations

from treadle.devices.cpu.ir import FLOAT_WIDTHS, Function, Value, lanes_of, scalar_of, vector
from treadle.devices.cpu.registers import (
    ITEMSIZE,
    KIND,
    NARROW,
    from_storage,
    round_narrow,
    storage_type,
    to_storage,
)
from treadle.devices.cpu.target import Isa

SCALARS = {
    "float32": "float",
    "float64": "double",
    "float16": "float",
    "bfloat16": "float",
    "int8": "i16",
    "uint8": "i16",
    "int16": "i16",
    "uint16": "i16",
    "int32": "i32",
    "uint32": "i32",
    "int64": "i64",
    "uint64": "i64",
}
"""The LLVM type that products of each dtype are summed in."""

ITEMSIZES = {"float": 4, "double": 8, "i8": 1, "i16": 2, "i32": 4, "i64": 8}


def summed_as_stored(dtype: str) -> bool:
    """Whether a number is the same in memory and in a sum."""
    return dtype in SCALARS and ITEMSIZE[dtype] == ITEMSIZES[SCALARS[dtype]]


def load_vector(f: Function, pointer: Value, type: str, active: int = 0) -> Value:
    """Load a vector, or only its first `active` lanes (0: all), the others zero."""
    if not active or active == lanes_of(type):
        return f.load(type, pointer)
    return f.masked_load(type, pointer, f.mask(lanes_of(type), active))


def store_vector(f: Function, value: Value, pointer: Value, active: int = 0) -> None:
    """Store a vector, or only its first `active` lanes (0: all)."""
    if not active or active == lanes_of(value.type):
        f.store(value, pointer)
    else:
        f.masked_store(value, pointer, f.mask(lanes_of(value.type), active))


def load_numbers(f: Function, isa: Isa, dtype: str, pointer: Value, lanes: int, active: int = 0) -> Value:
    """`load_vector` of numbers of a dtype, as they are summed."""
    return widened(f, isa, dtype, load_vector(f, pointer, storage_type(dtype, lanes), active))


def widened(f: Function, isa: Isa, dtype: str, stored: Value) -> Value:
    """What was loaded, as it is summed."""
    if dtype in NARROW:
        return from_storage(f, isa, dtype, stored)
    opcode = "sext" if KIND[dtype] == "signed" else "zext"
    return f.cast(opcode, stored, vector(SCALARS[dtype], lanes_of(stored.type)))


def finished(f: Function, isa: Isa, dtype: str, total: Value) -> Value:
    """A sum as a value of its dtype in a register."""
    if dtype in NARROW:
        return round_narrow(f, isa, dtype, total)
    return f.cast("trunc", total, storage_type(dtype, lanes_of(total.type)))


def narrowed(f: Function, isa: Isa, dtype: str, total: Value) -> Value:
    """A sum as it is stored: rounded once, or wrapped."""
    value = total if dtype == "float16" else finished(f, isa, dtype, total)  # float16's store rounds.
    return to_storage(f, isa, dtype, value)


def is_float(type: str) -> bool:
    return scalar_of(type) in FLOAT_WIDTHS


def plus(f: Function, a: Value, b: Value) -> Value:
    """a + b."""
    return f.op("fadd" if is_float(a.type) else "add", a, b)


def multiply_add(f: Function, isa: Isa, a: Value, b: Value, c: Value) -> Value:
    """a * b + c; two roundings where the instruction set has no fused form (``llvm.fma`` would call libm
    there).
    """
    if not is_float(a.type):
        return f.op("add", f.op("mul", a, b), c)
    return f.fma(a, b, c) if fuses(isa) else f.op("fadd", f.op("fmul", a, b), c)


def fuses(isa: Isa) -> bool:
    """Whether the instruction set has a fused multiply-add."""
    return "+fma" in isa.features.split(",") or isa.name == "neon"
