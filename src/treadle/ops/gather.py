"""Reading and writing at places that arrays of integers name; taking, diagonals and one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.dtypes import DType, as_dtype
from treadle.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from treadle.graph.dimension import Dimension, Shape, Size, product
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import Flags, in_front
from treadle.ops.contraction import widened
from treadle.ops.creation import iota
from treadle.ops.elementwise import add, equal, less, like, where
from treadle.ops.movement import moveaxis, permute_dims, take_slice
from treadle.ops.record import (
    Operand,
    broadcast,
    broadcast_shapes,
    cast,
    constant,
    expect_node,
    filled,
    method,
    normal_axis,
    public,
    register,
    reshaped,
)

Axes = tuple[int, ...]


def _check_indices(name: str, x: Type, indices: Sequence[Type], axes: Axes) -> Shape:
    """The shape that the indices share."""
    if not indices or len(indices) != len(axes) or len(set(axes)) != len(axes) or max(axes) >= len(x.shape):
        raise ShapeError(
            f"[{name}] {len(indices)} arrays of indices for the dimensions {axes} of x, of shape {x.shape}"
        )
    for index in indices:
        if index.dtype.kind not in dtypes.KINDS["integer"]:
            raise DTypeError(f"[{name}] an index is {index!r}; expected an integer dtype")
        if index.shape != indices[0].shape:
            raise ShapeError(
                f"[{name}] indices have the shapes {[i.shape for i in indices]}; all must be equal"
            )
    return indices[0].shape


def _other(shape: Shape, axes: Axes) -> Shape:
    """The sizes of the dimensions that are not indexed."""
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _check_bounds(shape: Sequence[int], indices: Sequence[Any], axes: Axes) -> None:
    """Refuse what lies outside. Indices come here with n added where they were negative."""
    for index, axis in zip(indices, axes, strict=True):
        size = shape[axis]
        wrong = index[(index < 0) | (index >= size)]
        if wrong.size:
            value = int(wrong.flat[0])
            given = value - size if value < 0 else value
            raise IndexingError(f"index {given} is out of range for dimension {axis} of x, of size {size}")


def _indexed_first(x: Any, axes: Axes) -> Any:
    """A view of a NumPy array with the indexed dimensions in front."""
    return x.transpose(*axes, *(axis for axis in range(x.ndim) if axis not in axes))


# -- gather


def _infer_gather(x: Type, *indices: Type, axes: Axes) -> Type:
    return Type(_check_indices("gather", x, indices, axes) + _other(x.shape, axes), x.dtype)


def _gather_reference(x: Any, *indices: Any, axes: Axes) -> Any:
    _check_bounds(x.shape, indices, axes)
    return np.asarray(_indexed_first(x, axes)[tuple(indices)])


def _gather_vjp(g: Node, y: Node, x: Node, *indices: Node, axes: Axes) -> list[Node | None]:
    return [make(SCATTER_ADD, (like(0, x), g, *indices), (axes,)), *([None] * len(indices))]


def _alike(size: Size, indices: Sequence[Node], batched: Flags) -> list[Node]:
    """Indices with the dimension of the examples in front, and in front of them the number of the example."""
    alike = [in_front(index, size, b) for index, b in zip(indices, batched, strict=True)]
    return [positions(alike[0].shape, 0), *alike]


def _gather_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node:
    (x, *indices), (axes,) = inputs, y.attributes
    later = tuple([axis + 1 for axis in axes])
    if not any(batched[1:]):
        return moveaxis(make(GATHER, tuple(inputs), (later,)), indices[0].ndim, 0)
    numbered = _alike(size, indices, batched[1:])
    if batched[0]:
        return make(GATHER, (x, *numbered), ((0, *later),))
    return make(GATHER, (x, *numbered[1:]), (axes,))


GATHER = register(
    Op("gather", _infer_gather, _gather_reference, _gather_vjp, attributes=("axes",), batch=_gather_batch,
       doc="x at integer places of the dimensions `axes`: the places' shape, then the other dimensions of x.")
)  # fmt: skip

# -- class numbers


def _infer_class_number(x: Type, classes: Size) -> Type:
    if x.dtype.kind not in dtypes.KINDS["integer"]:
        raise DTypeError(f"[class_number] x is {x!r}; expected an integer dtype")
    return x


def _class_number_reference(x: Any, classes: int) -> Any:
    wrong = x[(x < 0) | (x >= classes)]
    if wrong.size:
        raise IndexingError(
            f"{int(wrong.flat[0])} is not the number of a class: with {classes} classes it is from 0 to "
            f"{classes - 1}"
        )
    return x


CLASS_NUMBER = register(
    Op("class_number", _infer_class_number, _class_number_reference, attributes=("classes",),
       elementwise=True, no_gradient="x is whole numbers",
       doc="x, refused when the graph runs where it is not from 0 to classes - 1.")
)  # fmt: skip

# -- scatter


def _infer_scatter(name: str, x: Type, values: Type, indices: Sequence[Type], axes: Axes) -> Type:
    wanted = _check_indices(name, x, indices, axes) + _other(x.shape, axes)
    if values.shape != wanted:
        raise ShapeError(f"[{name}] values have shape {values.shape}; the places have shape {wanted}")
    if values.dtype is not x.dtype:
        raise DTypeError(f"[{name}] values are {values!r}, x is {x!r}; expected one dtype")
    return x


def _infer_scatter_add(x: Type, values: Type, *indices: Type, axes: Axes) -> Type:
    if x.dtype.kind not in dtypes.KINDS["numeric"]:
        raise DTypeError(f"[scatter_add] x is {x!r}; expected a numeric dtype")
    return _infer_scatter("scatter_add", x, values, indices, axes)


def _scatter_add_reference(x: Any, values: Any, *indices: Any, axes: Axes) -> Any:
    _check_bounds(x.shape, indices, axes)
    result = widened(x.copy())
    np.add.at(_indexed_first(result, axes), tuple(indices), widened(values))
    return result.astype(x.dtype)


def _scatter_add_vjp(
    g: Node, y: Node, x: Node, values: Node, *indices: Node, axes: Axes
) -> list[Node | None]:
    return [g, make(GATHER, (g, *indices), (axes,)), *([None] * len(indices))]


def _scatter_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node:
    (axes,) = y.attributes
    later = tuple([axis + 1 for axis in axes])
    x, values = (in_front(node, size, b) for node, b in zip(inputs[:2], batched, strict=False))
    indices = inputs[2:]
    if not any(batched[2:]):
        return make(y.op, (x, moveaxis(values, 0, indices[0].ndim), *indices), (later,))
    return make(y.op, (x, values, *_alike(size, indices, batched[2:])), ((0, *later),))


SCATTER_ADD = register(
    Op("scatter_add", _infer_scatter_add, _scatter_add_reference, _scatter_add_vjp, attributes=("axes",),
       batch=_scatter_batch,
       doc="x with values added at integer places of the dimensions `axes`, in the order of the values.")
)  # fmt: skip


def _infer_scatter_set(x: Type, values: Type, *indices: Type, axes: Axes) -> Type:
    return _infer_scatter("scatter_set", x, values, indices, axes)


def _scatter_set_reference(x: Any, values: Any, *indices: Any, axes: Axes) -> Any:
    _check_bounds(x.shape, indices, axes)
    result = x.copy()
    view = _indexed_first(result, axes)
    if indices[0].size:
        # NumPy does not promise which of several values for one place stays: name the last alone.
        flat = tuple(index.ravel() for index in indices)
        places: Any = np.ravel_multi_index(flat, view.shape[: len(axes)])
        _, last = np.unique(places[::-1], return_index=True)
        last = len(places) - 1 - last
        view[tuple(index[last] for index in flat)] = values.reshape(len(places), *view.shape[len(axes) :])[
            last
        ]
    return result


def _scatter_set_vjp(
    g: Node, y: Node, x: Node, values: Node, *indices: Node, axes: Axes
) -> list[Node | None]:
    """To x where nothing was written; to each value if it stayed, that is, if no later one has its place."""
    zero = like(0, values)
    order = reshaped(iota(product(indices[0].shape), dtypes.int64), indices[0].shape)
    sizes = tuple(x.shape[axis] for axis in axes)
    dims = tuple(range(len(axes)))
    writer = make(SCATTER_SET, (filled(0, sizes, dtypes.int64), order, *indices), (dims,))
    stayed = equal(make(GATHER, (writer, *indices), (dims,)), order)
    stayed = broadcast(reshaped(stayed, stayed.shape + (1,) * (values.ndim - stayed.ndim)), values.shape)
    taken = where(stayed, make(GATHER, (g, *indices), (axes,)), zero)
    return [make(SCATTER_SET, (g, zero, *indices), (axes,)), taken, *([None] * len(indices))]


SCATTER_SET = register(
    Op("scatter_set", _infer_scatter_set, _scatter_set_reference, _scatter_set_vjp, attributes=("axes",),
       batch=_scatter_batch,
       doc="x with values put at integer places of the dimensions `axes`; for one place the last stays.")
)  # fmt: skip

# -- indices as users give them


def normal_index(index: Node, size: Size) -> Node:
    """Indices as int64, counted from the front. Their bounds are checked when the graph runs."""
    signed = index.dtype.kind == "int"
    index = cast(index, dtypes.int64)
    if not signed:
        return index
    return where(
        less(index, like(0, index)), add(index, broadcast(constant(size, dtypes.int64), index.shape)), index
    )


def expect_indices(name: str, argument: str, value: Operand) -> Node:
    """The operand as a node of integers."""
    node = expect_node(name, argument, value)
    if node.dtype.kind not in dtypes.KINDS["integer"]:
        raise IndexingError(
            f"[{name}] {argument} is {node.type!r}; indices are integers: convert with astype(td.int64)"
        )
    return node


def check_static_index(name: str, argument: str, value: Any, axis: int, size: Size) -> None:
    """Refuse a Python number that lies outside a dimension, where the size is known."""
    if isinstance(value, int) and isinstance(size, int) and not -size <= value < size:
        raise IndexingError(
            f"[{name}] {argument}={value} is out of range for dimension {axis}, of size {size}"
        )


@method
def take(x: Operand, indices: Operand, /, *, axis: int | None = None) -> Node:
    """Slices of x along one dimension, at places given by an array.

    Args:
        x: array of any dtype.
        indices: array of integers of any shape; negative ones count from the end.
        axis: the dimension; may be left out where x has only one.

    Returns:
        Array of x's dtype in whose shape the dimension is replaced by the shape of the indices.

    Raises:
        ArgumentError: axis is out of range, or missing where x has several dimensions.
        IndexingError: indices are not integers, or (when the graph runs) one is out of range.
    """
    x = expect_node("take", "x", x)
    if axis is None and x.ndim != 1:
        raise ArgumentError(f"[take] axis is missing: x has shape {x.shape}")
    axis = normal_axis("take", 0 if axis is None else axis, x.ndim)
    check_static_index("take", "indices", indices, axis, x.shape[axis])
    index = normal_index(expect_indices("take", "indices", indices), x.shape[axis])
    y = make(GATHER, (x, index), ((axis,),))
    places, rest = range(index.ndim), range(index.ndim, y.ndim)
    return permute_dims(y, [*rest[:axis], *places, *rest[axis:]])


def positions(shape: Shape, axis: int) -> Node:
    """For each element of a shape, its index along a dimension."""
    line = iota(shape[axis], dtypes.int64)
    return broadcast(reshaped(line, tuple(n if i == axis else 1 for i, n in enumerate(shape))), shape)


def gather_along(x: Node, indices: Node, axis: int) -> Node:
    """`take_along_axis` with indices already normal, whose shape is that of x but for `axis`."""
    places = [indices if a == axis else positions(indices.shape, a) for a in range(x.ndim)]
    return make(GATHER, (x, *places), (tuple(range(x.ndim)),))


@public
def take_along_axis(x: Operand, indices: Operand, /, *, axis: int = -1) -> Node:
    """Elements of x at places along one dimension that differ from line to line, as `argsort` and `argmax`
    give them.

    Args:
        x: array of any dtype.
        indices: array of integers with as many dimensions as x; negative ones count from the end.
        axis: the dimension; the others broadcast together.

    Returns:
        Array of x's dtype and the shape of the indices.

    Raises:
        ShapeError: the numbers of dimensions differ, or the other dimensions do not broadcast.
        ArgumentError: axis is out of range.
        IndexingError: indices are not integers, or (when the graph runs) one is out of range.
    """
    x, index = expect_node("take_along_axis", "x", x), expect_indices("take_along_axis", "indices", indices)
    if x.ndim != index.ndim:
        raise ShapeError(
            f"[take_along_axis] x has shape {x.shape} and indices {index.shape}: both must have as many "
            f"dimensions"
        )
    axis = normal_axis("take_along_axis", axis, x.ndim)
    others = broadcast_shapes(
        "take_along_axis",
        [node.shape[:axis] + (1,) + node.shape[axis + 1 :] for node in (x, index)],
        ["x", "indices"],
    )
    x, index = (
        broadcast(node, others[:axis] + node.shape[axis : axis + 1] + others[axis + 1 :])
        for node in (x, index)
    )
    return gather_along(x, normal_index(index, x.shape[axis]), axis)


@method
def diagonal(x: Operand, /, *, offset: int = 0) -> Node:
    """The diagonal of the matrices in the last two dimensions.

    Args:
        x: array of at least two dimensions.
        offset: which diagonal: 0 for the main one, positive above it, negative below.

    Returns:
        Array with those two dimensions replaced by one, the diagonal; it is empty where there is none.

    Raises:
        ShapeError: x has fewer than two dimensions.
        ArgumentError: offset is no integer.
    """
    x = expect_node("diagonal", "x", x)
    if x.ndim < 2:
        raise ShapeError(f"[diagonal] x has shape {x.shape}; at least two dimensions are needed")
    if not isinstance(offset, int):
        raise ArgumentError(f"[diagonal] offset={offset!r} is not an integer")
    *lead, rows, columns = x.shape
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    # In row-major order the elements of a diagonal are columns + 1 places apart.
    flat = reshaped(x, (*lead, rows * columns))
    start = (offset if offset >= 0 else -offset * columns) if count else 0
    stop = start + (count - 1) * (columns + 1) + 1 if count else 0
    zeros, ones = [0] * len(lead), [1] * len(lead)
    return take_slice(flat, [*zeros, start], [*lead, stop], [*ones, columns + 1])


@public
def one_hot(
    x: Operand,
    num_classes: int,
    /,
    *,
    dtype: DType = dtypes.float32,
    axis: int = -1,
    outside: str = "zeros",
) -> Node:
    """Numbers of classes as rows that are 1 at the class and 0 elsewhere.

    Args:
        x: array of integers.
        num_classes: how many classes there are.
        dtype: of the result.
        axis: where the new dimension stands in the result.
        outside: what a number outside 0 to num_classes - 1 gives: "zeros", or an "error" when the graph runs.

    Returns:
        Array with one more dimension, of size num_classes.

    Raises:
        DTypeError: x is not of an integer dtype.
        ArgumentError: num_classes is no size, axis is out of range, or outside is neither.
        IndexingError: with outside="error", a number is not a class.
    """
    x = expect_node("one_hot", "x", x)
    if x.dtype.kind not in dtypes.KINDS["integer"]:
        raise DTypeError(f"[one_hot] x is {x.type!r}; expected class numbers: convert with astype(td.int64)")
    known = isinstance(num_classes, int) and not isinstance(num_classes, bool) and num_classes > 0
    if not known and not isinstance(num_classes, Dimension):
        raise ArgumentError(f"[one_hot] num_classes={num_classes!r} is not a positive integer")
    if outside not in ("zeros", "error"):
        raise ArgumentError(f'[one_hot] outside={outside!r}; it is "zeros" or "error"')
    axis = normal_axis("one_hot", axis, x.ndim + 1)
    if outside == "error":
        x = make(CLASS_NUMBER, (x,), (num_classes,))
    shape = (*x.shape[:axis], num_classes, *x.shape[axis:])
    spread = broadcast(reshaped(x, (*x.shape[:axis], 1, *x.shape[axis:])), shape)
    return cast(equal(cast(spread, dtypes.int64), positions(shape, axis)), as_dtype(dtype))
