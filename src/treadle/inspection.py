"""What can be asked of dtypes, shapes, devices and the namespace, as the Array API standard has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from treadle import dtypes
from treadle.array import Array, ArrayLike, as_device, as_operand
from treadle.devices import registry
from treadle.dtypes import DType, as_dtype, component
from treadle.errors import ArgumentError, DTypeError
from treadle.ops import record

API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")
"""The versions of the standard that `__array_namespace__` answers to: all by the namespace of the last."""

KINDS = {
    "bool": ("bool",),
    "signed integer": ("int",),
    "unsigned integer": ("uint",),
    "integral": ("int", "uint"),
    "real floating": ("float",),
    "complex floating": ("complex",),
    "numeric": ("int", "uint", "float", "complex"),
}
"""The standard's names of kinds of dtypes, and ours."""

MOST_DIMENSIONS = 64  # NumPy's limit: any op may run by its reference


def _dtype_of(value: Any) -> DType:
    return value.dtype if isinstance(value, Array) else as_dtype(value)


def result_type(*arrays_and_dtypes: ArrayLike | DType) -> DType:
    """The dtype of an operation on operands.

    Args:
        arrays_and_dtypes: arrays, dtypes and Python numbers, at least one. Numbers are weak.

    Raises:
        DTypeError: they do not promote.
        ArgumentError: there are none.

    >>> import treadle as td
    >>> td.result_type(td.float16, td.float32), td.result_type(td.ones(2, dtype=td.int8), 3)
    (float32, int8)
    """
    if not arrays_and_dtypes:
        raise ArgumentError("[result_type] there is nothing to promote: give an array or a dtype")
    found: DType | None = None
    numbers = []
    for given in arrays_and_dtypes:
        operand = given if isinstance(given, (DType, str, type, np.dtype)) else as_operand(given)
        if isinstance(operand, (bool, int, float, complex)):
            numbers.append(dtypes.kind_of_number(operand))
            continue
        dtype = operand.dtype if isinstance(operand, record.Node) else as_dtype(operand)
        found = dtype if found is None else dtypes.promote(found, dtype)
    for kind in numbers:
        found = dtypes.DEFAULTS[kind] if found is None else dtypes.promote_number(found, kind)
    assert found is not None
    return found


def can_cast(from_: ArrayLike | DType, to: DType, /) -> bool:
    """Whether promotion can turn a dtype into another: whether an operation on both has the second one.

    Args:
        from_: a dtype, or an array of it.
        to: the other dtype.

    >>> import treadle as td
    >>> td.can_cast(td.int8, td.int16), td.can_cast(td.float64, td.float32)
    (True, False)
    """
    source, target = _dtype_of(from_), as_dtype(to)
    try:
        return dtypes.promote(source, target) is target
    except DTypeError:
        return False


def isdtype(dtype: DType, kind: DType | str | tuple[DType | str, ...]) -> bool:
    """Whether a dtype is of a kind.

    Args:
        dtype: the dtype.
        kind: a dtype; one of "bool", "signed integer", "unsigned integer", "integral", "real floating",
            "complex floating" and "numeric"; or a tuple of these, of which one must hold.

    Raises:
        ArgumentError: there is no such kind.

    >>> import treadle as td
    >>> td.isdtype(td.int8, "integral"), td.isdtype(td.float32, ("bool", td.float64))
    (True, False)
    """
    given = as_dtype(dtype)
    for item in kind if isinstance(kind, tuple) else (kind,):
        if isinstance(item, str) and item not in KINDS and item not in dtypes.BY_NAME:
            raise ArgumentError(f"[isdtype] kind={item!r}; there are {', '.join(KINDS)}, and dtypes")
        if isinstance(item, str) and item in KINDS:
            if given.kind in KINDS[item]:
                return True
        elif given is as_dtype(item):
            return True
    return False


@dataclass(frozen=True)
class finfo_object:
    """Limits of a floating dtype; of a complex one those of its parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class iinfo_object:
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: DType | ArrayLike, /) -> finfo_object:
    """The limits of a floating dtype.

    Args:
        type: a dtype, or an array of it; a complex one gives the limits of its parts.

    Returns:
        Object with `bits`, `eps`, `max`, `min`, `smallest_normal` and `dtype`, the real dtype.

    Raises:
        DTypeError: the dtype is not a floating one.

    >>> import treadle as td
    >>> td.finfo(td.float32).eps == 2**-23, td.finfo(td.complex128).dtype
    (True, float64)
    """
    given = _dtype_of(type)
    if given.kind not in dtypes.KINDS["floating"]:
        raise DTypeError(f"[finfo] type is {given}; expected a floating dtype: td.iinfo is for integers")
    part = component(given)
    found = ml_dtypes.finfo(part.numpy)
    limits = [float(getattr(found, name)) for name in ("eps", "max", "min", "smallest_normal")]
    return finfo_object(8 * part.itemsize, *limits, dtype=part)


def iinfo(type: DType | ArrayLike, /) -> iinfo_object:
    """The limits of an integer dtype.

    Args:
        type: a dtype, or an array of it.

    Returns:
        Object with `bits`, `max`, `min` and `dtype`.

    Raises:
        DTypeError: the dtype is not an integer one.

    >>> import treadle as td
    >>> td.iinfo(td.int8).max
    127
    """
    given = _dtype_of(type)
    if given.kind not in dtypes.KINDS["integer"]:
        raise DTypeError(f"[iinfo] type is {given}; expected an integer dtype: td.finfo is for floats")
    found = np.iinfo(given.numpy)
    return iinfo_object(8 * given.itemsize, int(found.max), int(found.min), given)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The common shape that arrays of these shapes are seen in.

    Args:
        shapes: tuples of sizes.

    Raises:
        ShapeError: they do not broadcast together.

    >>> import treadle as td
    >>> td.broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    return record.broadcast_shapes("broadcast_shapes", [tuple(shape) for shape in shapes]) if shapes else ()


class ArrayNamespaceInfo:
    """What the namespace can do, which devices and dtypes it has."""

    def capabilities(self) -> dict[str, Any]:
        """Masks and shapes that depend on values work in define-by-run; a static graph refuses them."""
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": MOST_DIMENSIONS,
        }

    def default_device(self) -> str:
        """The device of arrays of which nothing else is said."""
        return "cpu"

    def default_dtypes(self, *, device: str | None = None) -> dict[str, DType]:
        """The dtypes of which nothing else is said, by kind."""
        as_device(device)
        return {
            "real floating": dtypes.DEFAULTS["float"],
            "complex floating": dtypes.DEFAULTS["complex"],
            "integral": dtypes.DEFAULTS["int"],
            "indexing": dtypes.int64,
        }

    def dtypes(
        self, *, device: str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, DType]:
        """The standard's dtypes by name, all or those of a kind; every device has them."""
        as_device(device)
        named = {d.name: d for d in dtypes.ALL if d not in (dtypes.float16, dtypes.bfloat16)}
        return {name: d for name, d in named.items() if kind is None or isdtype(d, kind)}

    def devices(self) -> list[str]:
        """The names of the devices that this build knows."""
        return list(registry.MAKERS)


def __array_namespace_info__() -> ArrayNamespaceInfo:
    """What the namespace can do, as the Array API standard's inspection has it.

    >>> import treadle as td
    >>> td.__array_namespace_info__().default_device()
    'cpu'
    """
    return ArrayNamespaceInfo()
