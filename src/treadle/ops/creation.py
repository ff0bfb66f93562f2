"""Arrays made from nothing: filled with a number, counting, and the masks over rows and columns that counting
gives.

None of them takes memory by itself: a filled array is a broadcast number, a counted one a function of the
position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from treadle import dtypes
from treadle.dtypes import DType, as_dtype
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Dimension, Shape, Size
from treadle.graph.node import Node, Op, Type, make, surrounded
from treadle.ops.elementwise import (
    add,
    equal,
    floor,
    floor_divide,
    greater_equal,
    less_equal,
    like,
    multiply,
    where,
)
from treadle.ops.movement import as_shape
from treadle.ops.record import (
    Operand,
    broadcast,
    cast,
    constant,
    expect_convertible,
    expect_node,
    filled,
    number,
    public,
    register,
    reshaped,
)

Device = str | None
"""The name of a device; None for that of the surroundings, or of the array that is to be like."""

F = TypeVar("F", bound=Callable[..., Any])


def placed(function: F) -> F:
    """A function of nodes whose keyword `device` says where they are made."""

    @wraps(function)
    def on_device(*arguments: Any, device: Device = None, **keywords: Any) -> Any:
        if device is None:
            return function(*arguments, **keywords)
        with surrounded(device=device):
            return function(*arguments, **keywords)

    return on_device  # type: ignore[return-value]


IOTA = register(
    Op("iota", lambda size, dtype: Type((size,), dtype),
       lambda size, dtype: np.arange(size).astype(dtype.numpy),
       attributes=("size", "dtype"), doc="0, 1, 2 ... below size.")
)  # fmt: skip


def iota(size: Size, dtype: DType) -> Node:
    """0, 1, 2 ... below size. No leaf: its type follows its attribute where a size gets its number."""
    return make(IOTA, (), (size, dtype))


# -- counting


def _dtype_of_numbers(values: Sequence[Any], dtype: Any) -> DType:
    """The dtype asked for, or that of Python numbers together."""
    if dtype is not None:
        return as_dtype(dtype)
    return dtypes.float32 if any(isinstance(value, float) for value in values) else dtypes.int64


def _expect_numbers(name: str, number_types: Any = (int, float), **values: Any) -> list[Any]:
    """The arguments as Python numbers."""
    numbers = [value.item() if isinstance(value, np.generic) else value for value in values.values()]
    for argument, value in zip(values, numbers):
        if not isinstance(value, number_types) or isinstance(value, bool):
            raise ArgumentError(
                f"[{name}] {argument}={value!r} is not a Python int or float: the size must be known"
            )
    return numbers


@public
@placed
def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DType | None = None,
    device: Device = None,
) -> Node:
    """Numbers from start, step apart, before stop; with one argument, from 0 to it.

    Args:
        start: the first number.
        stop: where to end, not included.
        step: the distance, which may be negative.
        dtype: of the result; None gives int64 where all three are ints, else float32.
        device: where to put it; None for the current device.

    Returns:
        Array of shape ``[ceil((stop - start) / step)]``, empty where that is negative.

    Raises:
        ArgumentError: an argument is not a Python number, or step is 0.
        DTypeError: dtype is bool.
    """
    if isinstance(start, Dimension) and stop is None and step == 1:
        return iota(start, dtypes.int64 if dtype is None else as_dtype(dtype))
    given = {"start": 0, "stop": start} if stop is None else {"start": start, "stop": stop}
    first, end, gap = _expect_numbers("arange", **given, step=step)
    if gap == 0:
        raise ArgumentError(f"[arange] step=0 never reaches stop={end}")
    target = _dtype_of_numbers((first, end, gap), dtype)
    if target.kind not in dtypes.KINDS["numeric"]:
        raise DTypeError(f"[arange] dtype={target}; expected a numeric dtype")
    whole = all(isinstance(value, int) for value in (first, end, gap))
    count = max(0, -((first - end) // gap) if whole else math.ceil((end - first) / gap))
    # Whole numbers are counted as such: a narrow float cannot count far.
    kind = dtypes.int64 if whole else dtypes.float64
    x = iota(count, target if (first, gap) == (0, 1) else kind)
    if gap != 1:
        x = multiply(x, broadcast(number(gap, kind), (count,)))
    if first != 0:
        x = add(x, broadcast(number(first, kind), (count,)))
    return cast(x, target)


@public
@placed
def linspace(
    start: complex,
    stop: complex,
    /,
    num: int,
    *,
    dtype: DType | None = None,
    device: Device = None,
    endpoint: bool = True,
) -> Node:
    """Numbers evenly spaced from start to stop.

    Args:
        start: the first number.
        stop: the last one.
        num: how many.
        dtype: of the result; None gives float32, complex64 where an end is complex. An integer one takes the
            floor of every number, exactly where both ends are ints.
        device: where to put it; None for the current device.
        endpoint: whether stop itself is the last number, or the one that would follow it.

    Returns:
        Array of shape ``[num]``.

    Raises:
        ArgumentError: start or stop is no Python number, or num no non-negative integer.
        DTypeError: dtype is bool, or real where an end is complex.
    """
    start, stop = _expect_numbers("linspace", number_types=(int, float, complex), start=start, stop=stop)
    if not isinstance(num, int) or num < 0:
        raise ArgumentError(f"[linspace] num={num!r} is not a non-negative integer")
    complex_ends = isinstance(start, complex) or isinstance(stop, complex)
    target = as_dtype(dtype or (dtypes.complex64 if complex_ends else dtypes.float32))
    if target.kind not in (("complex",) if complex_ends else dtypes.KINDS["numeric"]):
        raise DTypeError(
            f"[linspace] dtype={target}; expected a {'complex' if complex_ends else 'numeric'} dtype"
        )
    gaps = num - 1 if endpoint else num
    whole = target.kind in dtypes.KINDS["integer"]
    if whole and isinstance(start, int) and isinstance(stop, int):
        return cast(_spread_integers(start, stop - start, num, gaps), target)
    wide = dtypes.complex128 if complex_ends else dtypes.float64
    place = iota(num, dtypes.float64)
    # Each end apart where their distance is beyond the largest number.
    gap = stop - start
    step = gap / gaps if gaps and math.isfinite(abs(gap)) else stop / (gaps or 1) - start / (gaps or 1)
    x = multiply(cast(place, wide), broadcast(number(step if gaps else 0.0, wide), (num,)))
    x = add(x, filled(start, (num,), wide))
    if endpoint and num > 1:
        last = equal(place, filled(float(gaps), (num,), dtypes.float64))
        x = where(last, filled(stop, (num,), wide), x)
    return cast(floor(x) if whole else x, target)


def _spread_integers(start: int, distance: int, num: int, gaps: int) -> Node:
    """start + floor(i * distance / gaps) for i below num, modulo 2 ** 64.

    In integers throughout, since float64 has no number of its own for each of them above 2 ** 53. The
    distance is taken apart, so that no intermediate value is larger than num ** 2 or the distance itself.
    """
    per_gap, rest = divmod(distance, gaps) if gaps else (0, 0)
    place = iota(num, dtypes.int64)

    def everywhere(value: int) -> Node:
        signed = (value + 2**63) % 2**64 - 2**63
        return broadcast(number(signed, dtypes.int64), (num,))

    fractions = floor_divide(multiply(place, everywhere(rest)), everywhere(gaps or 1))
    return add(add(multiply(place, everywhere(per_gap)), fractions), everywhere(start))


# -- one number everywhere


def known(value: float, x: Node) -> Node:
    """A number that the compiler may compute with, in the shape and dtype of a node."""
    return broadcast(constant(value, x.dtype), x.shape)


@public
@placed
def full(
    shape: Sequence[int] | int, fill_value: Operand, *, dtype: DType | None = None, device: Device = None
) -> Node:
    """An array whose elements are all the same.

    Args:
        shape: the sizes.
        fill_value: a number, or a 0-d array.
        dtype: of the result; None takes that of the value (int64, float32, complex64 or bool for a Python
            number).
        device: where to put it; None for the current device.

    Returns:
        Array of that shape.

    Raises:
        ShapeError: shape is no shape, or fill_value is not 0-d.
        DTypeError: fill_value is no number, or does not fit dtype.
    """
    value = (
        expect_node("full", "fill_value", fill_value)
        if dtype is None or type(fill_value) is Node
        else fill_value
    )
    if type(value) is Node and value.ndim:
        raise ShapeError(f"[full] fill_value has shape {value.shape}; use broadcast_to")
    if not isinstance(value, (Node, bool, int, float, complex)):
        raise DTypeError(f"[full] fill_value is a {type(value).__name__}; expected a number or a 0-d array")
    target = value.dtype if dtype is None else as_dtype(dtype)  # type: ignore[union-attr]
    kind = value.dtype.kind if type(value) is Node else type(value).__name__
    expect_convertible("full", "fill_value", value.type if type(value) is Node else value, kind, target)
    return broadcast(cast(value, target), as_shape("full", shape))


@public
@placed
def zeros(shape: Sequence[int] | int, *, dtype: DType | None = None, device: Device = None) -> Node:
    """An array of zeros.

    Args:
        shape: the sizes.
        dtype: of the result; None gives float32.
        device: where to put it; None for the current device.

    Returns:
        Array of that shape.

    Raises:
        ShapeError: shape is no shape.
    """
    return filled(0, as_shape("zeros", shape), dtypes.float32 if dtype is None else as_dtype(dtype))


@public
@placed
def ones(shape: Sequence[int] | int, *, dtype: DType | None = None, device: Device = None) -> Node:
    """An array of ones.

    Args:
        shape: the sizes.
        dtype: of the result; None gives float32.
        device: where to put it; None for the current device.

    Returns:
        Array of that shape.

    Raises:
        ShapeError: shape is no shape.
    """
    return filled(1, as_shape("ones", shape), dtypes.float32 if dtype is None else as_dtype(dtype))


@public
@placed
def empty(shape: Sequence[int] | int, *, dtype: DType | None = None, device: Device = None) -> Node:
    """An array whose contents do not matter: zeros, which take no memory until they are written over.

    Args:
        shape: the sizes.
        dtype: of the result; None gives float32.
        device: where to put it; None for the current device.

    Returns:
        Array of that shape.

    Raises:
        ShapeError: shape is no shape.
    """
    return filled(0, as_shape("empty", shape), dtypes.float32 if dtype is None else as_dtype(dtype))


@public
def full_like(
    x: Operand, /, fill_value: Operand, *, dtype: DType | None = None, device: Device = None
) -> Node:
    """An array of x's shape whose elements are all the same.

    Args:
        x: array of any dtype.
        fill_value: a number, or a 0-d array.
        dtype: of the result; None takes x's.
        device: where to put it; None for x's.

    Returns:
        Array of x's shape.

    Raises:
        ShapeError: fill_value is not 0-d.
        DTypeError: fill_value is no number, or does not fit the dtype.
    """
    x = expect_node("full_like", "x", x)
    return full(x.shape, fill_value, dtype=x.dtype if dtype is None else dtype, device=device or x.device)


@public
def zeros_like(x: Operand, /, *, dtype: DType | None = None, device: Device = None) -> Node:
    """Zeros in x's shape.

    Args:
        x: array of any dtype.
        dtype: of the result; None takes x's.
        device: where to put it; None for x's.

    Returns:
        Array of x's shape.
    """
    x = expect_node("zeros_like", "x", x)
    return zeros(x.shape, dtype=x.dtype if dtype is None else dtype, device=device or x.device)


@public
def ones_like(x: Operand, /, *, dtype: DType | None = None, device: Device = None) -> Node:
    """Ones in x's shape.

    Args:
        x: array of any dtype.
        dtype: of the result; None takes x's.
        device: where to put it; None for x's.

    Returns:
        Array of x's shape.
    """
    x = expect_node("ones_like", "x", x)
    return ones(x.shape, dtype=x.dtype if dtype is None else dtype, device=device or x.device)


@public
def empty_like(x: Operand, /, *, dtype: DType | None = None, device: Device = None) -> Node:
    """An array of x's shape whose contents do not matter: zeros.

    Args:
        x: array of any dtype.
        dtype: of the result; None takes x's.
        device: where to put it; None for x's.

    Returns:
        Array of x's shape.
    """
    x = expect_node("empty_like", "x", x)
    return empty(x.shape, dtype=x.dtype if dtype is None else dtype, device=device or x.device)


# -- rows and columns


def _rows_and_columns(rows: Size, columns: Size, offset: int) -> tuple[Node, Node]:
    """For each element of a matrix, its row moved down by an offset, and its column."""
    shape = (rows, columns)
    if isinstance(rows, int) and isinstance(columns, int):
        offset = max(-rows - columns, min(offset, rows + columns))  # beyond, all are alike
    row = broadcast(reshaped(iota(rows, dtypes.int64), (rows, 1)), shape)
    return add(row, like(offset, row)) if offset else row, broadcast(iota(columns, dtypes.int64), shape)


@public
@placed
def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DType | None = None,
    device: Device = None,
) -> Node:
    """A matrix with ones on a diagonal and zeros elsewhere.

    Args:
        n_rows: number of rows.
        n_cols: number of columns; None for as many as rows.
        k: which diagonal: 0 for the main one, positive above it, negative below.
        dtype: of the result; None gives float32.
        device: where to put it; None for the current device.

    Returns:
        Array of shape ``[n_rows, n_cols]``.

    Raises:
        ShapeError: a number of rows or columns is no size.
    """
    rows, columns = as_shape("eye", (n_rows, n_rows if n_cols is None else n_cols))
    row, column = _rows_and_columns(rows, columns, k)
    return cast(equal(row, column), dtypes.float32 if dtype is None else as_dtype(dtype))


def _triangle(name: str, x: Operand, k: int, lower: bool) -> Node:
    x = expect_node(name, "x", x)
    if x.ndim < 2:
        raise ShapeError(f"[{name}] x has shape {x.shape}; at least two dimensions are needed")
    row, column = _rows_and_columns(x.shape[-2], x.shape[-1], k)
    keep = less_equal(column, row) if lower else greater_equal(column, row)
    return where(broadcast(keep, x.shape), x, like(0, x))


@public
def tril(x: Operand, /, *, k: int = 0) -> Node:
    """The lower triangle of the matrices in the last two dimensions, zeros above it.

    Args:
        x: array of at least two dimensions.
        k: the highest diagonal kept: 0 for the main one, positive above it, negative below.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ShapeError: x has fewer than two dimensions.
    """
    return _triangle("tril", x, k, lower=True)


@public
def triu(x: Operand, /, *, k: int = 0) -> Node:
    """The upper triangle of the matrices in the last two dimensions, zeros below it.

    Args:
        x: array of at least two dimensions.
        k: the lowest diagonal kept: 0 for the main one, positive above it, negative below.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ShapeError: x has fewer than two dimensions.
    """
    return _triangle("triu", x, k, lower=False)


@public
def meshgrid(*arrays: Operand, indexing: str = "xy") -> tuple[Node, ...]:
    """Coordinates of the points of a grid, from those along each of its axes.

    Args:
        arrays: 1-d arrays of coordinates.
        indexing: "xy" puts the second array's coordinates along the first dimension, as in a picture; "ij"
            keeps the order.

    Returns:
        As many arrays of the grid's shape; no copy is made where none is needed.

    Raises:
        ShapeError: an array is not 1-d.
        ArgumentError: indexing is neither of the two.
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f'[meshgrid] indexing={indexing!r}; there are "xy" and "ij"')
    nodes = [expect_node("meshgrid", f"arrays[{i}]", x) for i, x in enumerate(arrays)]
    for i, node in enumerate(nodes):
        if node.ndim != 1:
            raise ShapeError(f"[meshgrid] arrays[{i}] has shape {node.shape}; expected one dimension")
    order = list(range(len(nodes)))
    if indexing == "xy" and len(nodes) > 1:
        order[:2] = [1, 0]
    shape: Shape = tuple(nodes[i].shape[0] for i in order)
    grids = []
    for i, node in enumerate(nodes):
        place = order.index(i)
        grids.append(
            broadcast(reshaped(node, tuple(n if a == place else 1 for a, n in enumerate(shape))), shape)
        )
    return tuple(grids)
