"""How each dtype lies in memory and in registers, and how values go from one dtype to another.

Booleans are bytes in memory and bits in registers. The 16-bit floats are 16 bits in memory and `float` in
registers, always holding a value that the 16-bit type has. Knows nothing of operands, loops or kernels.
"""

from __future__ import annotations

import struct

from treadle.devices.cpu.ir import Function, Value, lanes_of, scalar_of, vector
from treadle.devices.cpu.target import Isa


class Unsupported(Exception):
    """An instruction that is not rendered for the dtypes it has; the caller falls back to another
    implementation.
    """


FLOATS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
SIGNED = {"int8": 1, "int16": 2, "int32": 4, "int64": 8}
UNSIGNED = {"uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8}
ITEMSIZE = {"bool": 1, **SIGNED, **UNSIGNED, **FLOATS}
KIND = {
    "bool": "bool",
    **dict.fromkeys(SIGNED, "signed"),
    **dict.fromkeys(UNSIGNED, "unsigned"),
    **dict.fromkeys(FLOATS, "float"),
}
REGISTER = {
    "bool": "i1",
    **{dtype: f"i{8 * nbytes}" for dtype, nbytes in (SIGNED | UNSIGNED).items()},
    "float16": "float",
    "bfloat16": "float",
    "float32": "float",
    "float64": "double",
}
STORAGE = {**REGISTER, "bool": "i8", "float16": "i16", "bfloat16": "i16"}
NARROW = ("float16", "bfloat16")


def register_type(dtype: str, lanes: int = 1) -> str:
    """The LLVM type of `lanes` values of a dtype in registers."""
    if dtype not in REGISTER:
        raise Unsupported(f"dtype {dtype}")
    return vector(REGISTER[dtype], lanes)


def storage_type(dtype: str, lanes: int = 1) -> str:
    """The LLVM type of `lanes` values of a dtype in memory."""
    if dtype not in STORAGE:
        raise Unsupported(f"dtype {dtype}")
    return vector(STORAGE[dtype], lanes)


def widen(f: Function, value: Value, lanes: int) -> Value:
    """A value in every lane; one that has the lanes already is returned as it is."""
    if lanes == 1 or value.type[0] == "<":
        return value
    if value.name[0] not in "%@":
        return Value(vector(value.type, lanes), f"splat ({value.type} {value.name})")
    return f.splat(value, lanes)


def any_lane(f: Function, mask: Value) -> Value:
    """Whether a lane of a mask is set, as i1."""
    lanes = lanes_of(mask.type)
    if lanes == 1:
        return mask
    bits = f.cast("bitcast", mask, f"i{lanes}")
    return f.compare("icmp ne", bits, Value(bits.type, "0"))


def bits_of(f: Function, value: Value) -> Value:
    """The bits of a floating value as integers of the same width."""
    scalar = "i32" if scalar_of(value.type) == "float" else "i64"
    return f.cast("bitcast", value, vector(scalar, lanes_of(value.type)))


def scalar_constant(f: Function, dtype: str, number: int | float | bool) -> Value:
    """A Python number as a scalar constant, rounded to the dtype; integers wrap."""
    kind = KIND.get(dtype)
    if kind == "bool":
        return f.constant("i1", bool(number))
    if kind in ("signed", "unsigned"):
        bits = 8 * ITEMSIZE[dtype]
        wrapped = int(number) & ((1 << bits) - 1)
        return Value(f"i{bits}", str(wrapped - (1 << bits) if wrapped >> (bits - 1) else wrapped))
    if kind != "float":
        raise Unsupported(f"dtype {dtype}")
    return f.constant(REGISTER[dtype], _rounded(dtype, float(number)))


def _rounded(dtype: str, number: float) -> float:
    """A double as the nearest number of a 16-bit type; of other types the literal's writer rounds."""
    if dtype == "float16":
        try:
            return struct.unpack("<e", struct.pack("<e", number))[0]
        except OverflowError:
            return float("inf") if number > 0 else float("-inf")
    if dtype == "float32" and abs(number) > 3.4028235677973366e38 and number == number:
        return float("inf") if number > 0 else float("-inf")
    if dtype == "bfloat16" and number == number and abs(number) != float("inf"):
        bits = struct.unpack("<I", struct.pack("<f", number))[0]
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        return struct.unpack("<f", struct.pack("<I", bits))[0]
    return number


# -- memory to registers and back


def from_storage(f: Function, isa: Isa, dtype: str, raw: Value) -> Value:
    """What was loaded, as it is computed with."""
    lanes = lanes_of(raw.type)
    if dtype == "bool":
        return f.compare("icmp ne", raw, f.constant(raw.type, 0))
    if dtype == "bfloat16":
        wide = f.cast("zext", raw, vector("i32", lanes))
        shifted = f.op("shl", wide, f.constant(wide.type, 16))
        return f.cast("bitcast", shifted, vector("float", lanes))
    if dtype == "float16":
        if _converts_halves(isa):
            return f.cast("fpext", f.cast("bitcast", raw, vector("half", lanes)), vector("float", lanes))
        return _half_to_float(f, f.cast("zext", raw, vector("i32", lanes)))
    return raw


def to_storage(f: Function, isa: Isa, dtype: str, value: Value) -> Value:
    """A value of the dtype, as it is stored."""
    lanes = lanes_of(value.type)
    if dtype == "bool":
        return f.cast("zext", value, vector("i8", lanes))
    if dtype == "bfloat16":
        bits = f.cast("bitcast", value, vector("i32", lanes))
        return f.cast("trunc", f.op("lshr", bits, f.constant(bits.type, 16)), vector("i16", lanes))
    if dtype == "float16":
        if _converts_halves(isa):
            return f.cast("bitcast", f.cast("fptrunc", value, vector("half", lanes)), vector("i16", lanes))
        return f.cast("trunc", _float_to_half(f, value), vector("i16", lanes))
    return value


def round_narrow(f: Function, isa: Isa, dtype: str, value: Value) -> Value:
    """A `float` rounded to the nearest value of a 16-bit type, ties to even, and still a `float`."""
    lanes = lanes_of(value.type)
    if dtype == "float16":
        if _converts_halves(isa):
            return f.cast("fpext", f.cast("fptrunc", value, vector("half", lanes)), value.type)
        return _half_to_float(f, _float_to_half(f, value))
    bits = f.cast("bitcast", value, vector("i32", lanes))
    type = bits.type
    odd = f.op("and", f.op("lshr", bits, f.constant(type, 16)), f.constant(type, 1))
    nearest = f.op("add", f.op("add", bits, f.constant(type, 0x7FFF)), odd)
    quiet = f.op("or", bits, f.constant(type, 0x400000))
    rounded = f.select(f.compare("fcmp uno", value, value), quiet, nearest)
    return f.cast("bitcast", f.op("and", rounded, f.constant(type, -65536)), value.type)


def _converts_halves(isa: Isa) -> bool:
    """Whether the instruction set has the conversions; without them LLVM would call a function that may not
    be there.
    """
    return "f16c" in isa.features or isa.name == "neon"


def _half_to_float(f: Function, half: Value) -> Value:
    """float16 bits in i32 lanes to `float`: the exponent is moved by an exact multiplication, which also
    handles subnormals.
    """
    type = half.type
    float_type = vector("float", lanes_of(type))
    magnitude = f.op("and", half, f.constant(type, 0x7FFF))
    shifted = f.op("shl", magnitude, f.constant(type, 13))
    scaled = f.op("fmul", f.cast("bitcast", shifted, float_type), f.constant(float_type, 2.0**112))
    special = f.compare("icmp ugt", magnitude, f.constant(type, 0x7BFF))
    infinite = f.op("or", shifted, f.constant(type, 0x7F800000))
    bits = f.select(special, infinite, f.cast("bitcast", scaled, type))
    sign = f.op("shl", f.op("and", half, f.constant(type, 0x8000)), f.constant(type, 16))
    return f.cast("bitcast", f.op("or", bits, sign), float_type)


def _float_to_half(f: Function, value: Value) -> Value:
    """`float` to float16 bits in i32 lanes, nearest, ties to even."""
    bits = f.cast("bitcast", value, vector("i32", lanes_of(value.type)))
    type = bits.type
    magnitude = f.op("and", bits, f.constant(type, 0x7FFFFFFF))
    odd = f.op("and", f.op("lshr", magnitude, f.constant(type, 13)), f.constant(type, 1))
    rebiased = f.op("add", f.op("add", magnitude, f.constant(type, 0xFFF - (112 << 23))), odd)
    normal = f.op("lshr", rebiased, f.constant(type, 13))
    # Below 2**-14, adding one half leaves the float16's subnormal bits, rounded, at the bottom of the
    # significand.
    added = f.op("fadd", f.cast("bitcast", magnitude, value.type), f.constant(value.type, 0.5))
    subnormal = f.op("sub", f.cast("bitcast", added, type), f.constant(type, 0x3F000000))
    finite = f.select(f.compare("icmp ult", magnitude, f.constant(type, 0x38800000)), subnormal, normal)
    payload = f.op("and", f.op("lshr", magnitude, f.constant(type, 13)), f.constant(type, 0x3FF))
    nan = f.op("or", payload, f.constant(type, 0x7E00))
    is_nan = f.compare("icmp ugt", magnitude, f.constant(type, 0x7F800000))
    special = f.select(is_nan, nan, f.constant(type, 0x7C00))
    large = f.compare("icmp ugt", magnitude, f.constant(type, 0x477FFFFF))
    sign = f.op("and", f.op("lshr", bits, f.constant(type, 16)), f.constant(type, 0x8000))
    return f.op("or", f.select(large, special, finite), sign)


# -- casts


def cast(f: Function, isa: Isa, value: Value, source: str, target: str) -> Value:
    """NumPy's ``astype``, defined for every value: what an integer type cannot hold wraps, as it does for
    NumPy on x86.
    """
    if source == target:
        return value
    lanes = lanes_of(value.type)
    type = register_type(target, lanes)
    kinds = KIND[source], KIND[target]
    if kinds[1] == "bool":
        zero = f.constant(value.type, 0)
        return f.compare("fcmp une" if kinds[0] == "float" else "icmp ne", value, zero)
    if kinds[0] == "bool":
        if kinds[1] == "float":
            return f.select(value, f.constant(type, 1), f.constant(type, 0))
        return f.cast("zext", value, type)
    if kinds[0] == "float":
        return _from_float(f, isa, value, source, target)
    if kinds[1] == "float":
        converted = f.cast("sitofp" if kinds[0] == "signed" else "uitofp", value, type)
        return round_narrow(f, isa, target, converted) if target in NARROW else converted
    if ITEMSIZE[source] > ITEMSIZE[target]:
        return f.cast("trunc", value, type)
    return f.cast("sext" if kinds[0] == "signed" else "zext", value, type)


def _from_float(f: Function, isa: Isa, value: Value, source: str, target: str) -> Value:
    """From a floating type to another, or to an integer."""
    lanes = lanes_of(value.type)
    if KIND[target] == "float":
        if source == "float64":
            # float16 is rounded once: to odd in float32, where no tie of float16 can be lost.
            # ml_dtypes rounds bfloat16 twice, by way of float32, and so do we.
            value = (
                _round_to_odd(f, value)
                if target == "float16"
                else f.cast("fptrunc", value, vector("float", lanes))
            )
        elif target == "float64":
            return f.cast("fpext", value, vector("double", lanes))
        return round_narrow(f, isa, target, value) if target in NARROW else value
    type = register_type(target, lanes)
    if target == "uint64":
        top = f.compare("fcmp oge", value, f.constant(value.type, 2.0**63))
        lowered = f.select(top, f.op("fsub", value, f.constant(value.type, 2.0**63)), value)
        bit = f.select(top, f.constant(type, -(1 << 63)), f.constant(type, 0))
        return f.op("xor", _to_signed(f, lowered, 64), bit)
    return f.cast("trunc", _to_signed(f, value, 64 if target in ("int64", "uint32") else 32), type)


def _to_signed(f: Function, value: Value, bits: int) -> Value:
    """Toward zero; what does not fit, and NaN, gives the least integer: x86's own conversion, without LLVM's
    poison.
    """
    type = vector(f"i{bits}", lanes_of(value.type))
    limit = f.constant(value.type, 2.0 ** (bits - 1))
    below = f.constant(value.type, -(2.0 ** (bits - 1)))
    if bits == 32 and scalar_of(value.type) == "double":
        low = f.compare("fcmp ogt", value, f.constant(value.type, -(2.0**31) - 1))
    else:
        low = f.compare("fcmp oge", value, below)
    fits = f.op("and", low, f.compare("fcmp olt", value, limit))
    converted = f.cast("fptosi", f.select(fits, value, f.constant(value.type, 0)), type)
    return f.select(fits, converted, f.constant(type, -(1 << (bits - 1))))


def _round_to_odd(f: Function, value: Value) -> Value:
    """double to `float`: an inexact result gets an odd last bit, so that rounding again gives what rounding
    once would.
    """
    lanes = lanes_of(value.type)
    near = f.cast("fptrunc", value, vector("float", lanes))
    back = f.cast("fpext", near, value.type)
    bits = f.cast("bitcast", near, vector("i32", lanes))
    one = f.constant(bits.type, 1)
    over = f.compare("fcmp ogt", f.intrinsic("fabs", back), f.intrinsic("fabs", value))
    truncated = f.op("sub", bits, f.select(over, one, f.constant(bits.type, 0)))
    inexact = f.compare("fcmp one", back, value)
    return f.cast("bitcast", f.select(inexact, f.op("or", truncated, one), bits), near.type)
