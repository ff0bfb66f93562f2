"""How each dtype lies in memory and is computed with in C.

Booleans are bytes in memory and `bool` in registers. The 16-bit floats are 16 bits in memory and `f32` in
registers, always holding a value that the 16-bit type has.
"""

from __future__ import annotations

import math
import struct

from treadle.devices.csource.kernel import Unsupported

STORED = {
    "bool": "u8", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
    "float16": "u16", "bfloat16": "u16", "float32": "f32", "float64": "f64",
}  # fmt: skip
"""The C type of an element in memory."""
COMPUTED = {**STORED, "bool": "bool", "float16": "f32", "bfloat16": "f32"}
"""The C type of a value in a register."""
ITEMSIZE = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
    "int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip
NARROW = {"float16": "f16", "bfloat16": "bf16"}
"""The floats of 16 bits, by the suffix of what converts them."""


def kind(dtype: str) -> str:
    """bool, int, uint or float."""
    if dtype not in STORED:
        raise Unsupported(f"dtype {dtype}")
    return "float" if "float" in dtype else dtype.rstrip("0123456789")


def bits(dtype: str) -> int:
    """How wide a value is."""
    return 8 * ITEMSIZE[dtype]


def stored(dtype: str) -> str:
    """The C type of an element in memory."""
    if dtype not in STORED:
        raise Unsupported(f"dtype {dtype}")
    return STORED[dtype]


def computed(dtype: str) -> str:
    """The C type of a value in a register."""
    if dtype not in COMPUTED:
        raise Unsupported(f"dtype {dtype}")
    return COMPUTED[dtype]


def literal(number: int | float | bool, dtype: str) -> str:
    """A number as C writes it, exactly."""
    what = kind(dtype)
    if what == "bool":
        return "true" if number else "false"
    if what == "float":
        return _float(float(number), computed(dtype))
    width = bits(dtype)
    wrapped = int(number) & ((1 << width) - 1)
    return f"({computed(dtype)}){wrapped:#x}{'ul' if width == 64 else 'u'}"


def _float(number: float, type: str) -> str:
    wide, suffix = type == "f64", "" if type == "f64" else "f"
    if not wide and math.isfinite(number):
        number = _single(number)
    if math.isfinite(number):
        return f"({number.hex()}{suffix})"
    pack, unpack, end = ("<d", "<Q", "ul") if wide else ("<f", "<I", "u")
    (word,) = struct.unpack(unpack, struct.pack(pack, number))
    return f"as_{type}({word:#x}{end})"


def _single(number: float) -> float:
    """The nearest float32: an infinity for what is too large."""
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)


def cast(value: str, source: str, target: str) -> str:
    """A value converted as NumPy's astype does it; floats outside an integer's range give what x86 gives."""
    if source == target:
        return value
    from_kind, to_kind, to = kind(source), kind(target), computed(target)
    if to_kind == "bool":
        return f"({value} != 0)"
    if from_kind == "float" and to_kind in ("int", "uint"):
        wide = "i64" if target in ("int64", "uint32") else "u64" if target == "uint64" else "i32"
        return f"({to}){wide}_{computed(source)}({value})"
    if target in NARROW:
        return value if source == target else f"round_{NARROW[target]}(({to}){value})"
    if computed(source) == to:
        return value
    return f"({to}){value}"
