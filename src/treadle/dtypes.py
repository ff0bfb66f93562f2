"""Element types and the rules by which they promote.

The contract is the Python Array API standard 2025.12, section "Type Promotion Rules"; what it leaves open
is decided here: bool promotes to anything, an integer with a floating type gives that floating type, and
float16 with bfloat16 gives float32.
"""

from __future__ import annotations

import builtins
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from treadle.errors import DTypeError


class DType:
    """An element type: `name`, `kind` (bool, int, uint, float, complex), `itemsize` in bytes, and its NumPy
    twin.

    There is one object per type, so ``x.dtype is td.float32`` and ``x.dtype == np.float32`` both hold.
    """

    __slots__ = ("itemsize", "kind", "name", "numpy")

    def __init__(self, name: str, kind: str, numpy_type: Any):
        self.name = name
        self.kind = kind
        self.numpy: np.dtype = np.dtype(numpy_type)
        self.itemsize = self.numpy.itemsize

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> builtins.bool:
        if self is other:
            return True
        if isinstance(other, DType) or other is None:  # NumPy's float64 equals None
            return False
        try:
            return self.numpy == other
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.numpy)

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)

    def __copy__(self) -> DType:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DType:
        return self


bool = DType("bool", "bool", np.bool_)
int8 = DType("int8", "int", np.int8)
int16 = DType("int16", "int", np.int16)
int32 = DType("int32", "int", np.int32)
int64 = DType("int64", "int", np.int64)
uint8 = DType("uint8", "uint", np.uint8)
uint16 = DType("uint16", "uint", np.uint16)
uint32 = DType("uint32", "uint", np.uint32)
uint64 = DType("uint64", "uint", np.uint64)
float16 = DType("float16", "float", np.float16)
bfloat16 = DType("bfloat16", "float", ml_dtypes.bfloat16)
float32 = DType("float32", "float", np.float32)
float64 = DType("float64", "float", np.float64)
complex64 = DType("complex64", "complex", np.complex64)
complex128 = DType("complex128", "complex", np.complex128)

ALL = (
    bool,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    float16,
    bfloat16,
    float32,
    float64,
    complex64,
    complex128,
)
BY_NAME = {dtype.name: dtype for dtype in ALL}
_BY_NUMPY = {dtype.numpy: dtype for dtype in ALL}

# Named sets, as error messages and op records use them.
KINDS = {
    "boolean": ("bool",),
    "integer": ("int", "uint"),
    "integer or boolean": ("int", "uint", "bool"),
    "floating": ("float", "complex"),
    "real floating": ("float",),
    "real": ("int", "uint", "float"),
    "numeric": ("int", "uint", "float", "complex"),
    "any": ("bool", "int", "uint", "float", "complex"),
}

DEFAULTS = {"bool": bool, "int": int64, "uint": uint64, "float": float32, "complex": complex64}
"""The dtype a Python number gets where nothing else decides, by kind."""


def as_dtype(dtype: Any) -> DType:
    """The `DType` named by a DType, a NumPy dtype, a Python type or a string.

    Raises:
        DTypeError: it names no dtype of Treadle.
    """
    if isinstance(dtype, DType):
        return dtype
    if isinstance(dtype, str) and dtype in BY_NAME:
        return BY_NAME[dtype]
    if dtype is float:
        return float32
    if dtype is complex:
        return complex64
    try:
        found = _BY_NUMPY.get(np.dtype(dtype).newbyteorder("="))
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(f"{dtype!r} is not a dtype; there are {', '.join(BY_NAME)}")
    return found


_ORDER = {"bool": 0, "uint": 1, "int": 1, "float": 2, "complex": 3}


@cache
def promote(left: DType, right: DType) -> DType:
    """The dtype of an operation on both (`result_type` of two).

    Raises:
        DTypeError: uint64 with a signed integer: no integer type holds both.
    """
    if left is right:
        return left
    low, high = sorted((left, right), key=lambda d: _ORDER[d.kind])
    if _ORDER[low.kind] < _ORDER[high.kind]:
        if low is float64 and high is complex64:
            return complex128
        return high
    if high.kind == "complex":
        return complex128
    if high.kind == "float":
        if low.itemsize == high.itemsize:
            return float32
        return max(low, high, key=lambda d: d.itemsize)
    if low.kind == high.kind:
        return max(low, high, key=lambda d: d.itemsize)
    signed, unsigned = (low, high) if low.kind == "int" else (high, low)
    if signed.itemsize > unsigned.itemsize:
        return signed
    wider = {1: int16, 2: int32, 4: int64}.get(unsigned.itemsize)
    if wider is None:
        raise DTypeError(
            f"uint64 and {signed} do not promote: no integer type holds both; convert one with astype"
        )
    return wider


def component(dtype: DType) -> DType:
    """The dtype of the real and the imaginary part: a real dtype's own."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def kind_of_number(value: Any) -> str:
    """bool, int, float or complex for a Python number."""
    if value is True or value is False:
        return "bool"
    if isinstance(value, int):
        return "int"
    return "float" if isinstance(value, float) else "complex"


@cache
def promote_number(dtype: DType, kind: str) -> DType:
    """The dtype of an operation on an array of `dtype` and a Python number of `kind`: numbers are weak."""
    order = _ORDER[kind]
    if order <= _ORDER[dtype.kind]:
        return dtype
    if kind == "complex" and dtype.kind == "float":
        return complex128 if dtype is float64 else complex64
    return DEFAULTS[kind]
