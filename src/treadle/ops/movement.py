"""Ops that move elements without computing: reshape, permute, broadcast, slice, flip, pad, concatenate, and
what they compose.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import ArgumentError, ShapeError
from treadle.graph.dimension import Dimension, Shape, Size, product, quotient
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import Flags, in_front, shifted
from treadle.ops.record import (
    BROADCAST,
    RESHAPE,
    Operand,
    broadcast,
    broadcast_shapes,
    cast,
    constant,
    expect_axes,
    expect_node,
    filled,
    method,
    naming,
    normal_axes,
    normal_axis,
    promoted,
    public,
    register,
    reshaped,
)
from treadle.ops.reduction import sum_to


def as_shape(name: str, shape: Any) -> Shape:
    """A shape argument as a tuple of sizes."""
    items = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    for item in items:
        if not isinstance(item, (int, np.integer, Dimension)) or item is True or item is False:
            raise ShapeError(f"[{name}] shape={shape!r}: {item!r} is not a size")
        if not isinstance(item, Dimension) and item < 0:
            raise ShapeError(f"[{name}] shape={shape!r} has the negative size {item}")
    return tuple(item if isinstance(item, Dimension) else int(item) for item in items)


# -- reshape


RESHAPE.reference = lambda x, shape: np.reshape(x, shape)
RESHAPE.vjp = lambda g, y, x, shape: (reshaped(g, x.shape),)
RESHAPE.batch = lambda y, size, inputs, batched: reshaped(inputs[0], (size, *y.shape))
RESHAPE.doc = "The same elements in row-major order, in another shape."


@method
def reshape(x: Operand, /, shape: Sequence[int] | int, *, copy: bool | None = None) -> Node:
    """The same elements, in row-major order, in another shape.

    Args:
        x: array of any dtype.
        shape: the new sizes; one of them may be -1 and is then computed.
        copy: as the standard has it. Every value of it gives the same: what an array holds is never
            changed, in-place syntax makes a new one.

    Returns:
        Array of the new shape; no copy is made where none is needed.

    Raises:
        ShapeError: the numbers of elements differ.
    """
    x = expect_node("reshape", "x", x)
    sizes = list(shape) if isinstance(shape, (tuple, list)) else [shape]
    unknown = [i for i, size in enumerate(sizes) if not isinstance(size, Dimension) and size == -1]
    if len(unknown) > 1:
        raise ShapeError(f"[reshape] shape={shape}: only one size may be -1")
    if unknown:
        rest = product([size for i, size in enumerate(sizes) if i != unknown[0]])
        size = quotient(product(x.shape), rest)
        if size is None:
            raise ShapeError(
                f"[reshape] x of shape {x.shape} has {product(x.shape)} elements: not a multiple of "
                f"{rest}, so no size fits -1 in {shape}"
            )
        sizes[unknown[0]] = size
    return reshaped(x, as_shape("reshape", sizes))


# -- permutation


def _infer_permute(x: Type, axes: tuple[int, ...]) -> Type:
    if sorted(axes) != list(range(len(x.shape))):
        raise ShapeError(
            f"[permute_dims] axes={axes} is not an order of the {len(x.shape)} dimensions of x, of shape "
            f"{x.shape}"
        )
    return Type([x.shape[axis] for axis in axes], x.dtype)


PERMUTE = register(
    Op(
        "permute_dims",
        _infer_permute,
        lambda x, axes: np.transpose(x, axes),
        lambda g, y, x, axes: (permute_dims(g, tuple(int(i) for i in np.argsort(axes))),),
        attributes=("axes",),
        view=True,
        batch=lambda y, size, inputs, batched: permute_dims(
            inputs[0], (0, *(axis + 1 for axis in y.attributes[0]))
        ),
        doc="The dimensions in another order.",
    )
)


@public
def permute_dims(x: Operand, /, axes: Sequence[int]) -> Node:
    """The dimensions in another order.

    Args:
        x: array of any dtype.
        axes: for each dimension of the result, the dimension of x it is.

    Returns:
        Array of shape ``[x.shape[axis] for axis in axes]``.

    Raises:
        ShapeError: axes is not an order of x's dimensions.
    """
    x = expect_node("permute_dims", "x", x)
    order = tuple(normal_axis("permute_dims", axis, x.ndim, "axes") for axis in axes)
    return x if order == tuple(range(x.ndim)) else make(PERMUTE, (x,), (order,))


@public
def matrix_transpose(x: Operand, /) -> Node:
    """The last two dimensions exchanged.

    Args:
        x: array of at least two dimensions.

    Returns:
        Array of shape [..., columns, rows].

    Raises:
        ShapeError: x has fewer than two dimensions.
    """
    x = expect_node("matrix_transpose", "x", x)
    if x.ndim < 2:
        raise ShapeError(f"[matrix_transpose] x has shape {x.shape}; at least two dimensions are needed")
    return permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@public
def moveaxis(x: Operand, source: int | Sequence[int], destination: int | Sequence[int], /) -> Node:
    """Dimensions moved to other places, the others staying in order.

    Args:
        x: array of any dtype.
        source: the dimensions to move.
        destination: where each of them goes.

    Returns:
        Array with the dimensions in the new order.

    Raises:
        ArgumentError: a dimension does not exist, or is named twice.
    """
    x = expect_node("moveaxis", "x", x)
    start: list[Any] = list(source) if isinstance(source, (tuple, list)) else [source]
    stop: list[Any] = list(destination) if isinstance(destination, (tuple, list)) else [destination]
    start = [normal_axis("moveaxis", a, x.ndim, "source") for a in start]
    stop = [normal_axis("moveaxis", a, x.ndim, "destination") for a in stop]
    if len(start) != len(stop) or len(set(start)) != len(start) or len(set(stop)) != len(stop):
        raise ArgumentError(f"[moveaxis] source={source} and destination={destination} do not pair up")
    order = [axis for axis in range(x.ndim) if axis not in start]
    for place, axis in sorted(zip(stop, start, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, order)


# -- broadcast

BROADCAST.reference = lambda x, shape: np.broadcast_to(x, shape)
BROADCAST.vjp = lambda g, y, x, shape: (sum_to(g, x.shape),)
BROADCAST.batch = lambda y, size, inputs, batched: broadcast(
    reshaped(inputs[0], (size, *(1,) * (y.ndim - inputs[0].ndim + 1), *inputs[0].shape[1:])),
    (size, *y.shape),
)
BROADCAST.doc = "The array seen in a larger shape."


@public
def broadcast_to(x: Operand, /, shape: Sequence[int]) -> Node:
    """The array seen in a larger shape: sizes of 1 are repeated, missing dimensions are added in front.

    Args:
        x: array of any dtype.
        shape: the sizes wanted.

    Returns:
        Array of that shape; no copy is made where none is needed.

    Raises:
        ShapeError: x does not broadcast to that shape.
    """
    return broadcast(expect_node("broadcast_to", "x", x), as_shape("broadcast_to", shape))


@public
def broadcast_arrays(*arrays: Operand) -> tuple[Node, ...]:
    """Arrays seen in their common shape.

    Args:
        arrays: arrays that broadcast together.

    Returns:
        The arrays, each of the common shape.

    Raises:
        ShapeError: the shapes do not broadcast together.
    """
    nodes = [expect_node("broadcast_arrays", f"arrays[{i}]", x) for i, x in enumerate(arrays)]
    if not nodes:
        return ()
    shape = broadcast_shapes("broadcast_arrays", [node.shape for node in nodes])
    return tuple(broadcast(node, shape) for node in nodes)


@public
def expand_dims(x: Operand, /, axis: int | Sequence[int]) -> Node:
    """New dimensions of size 1.

    Args:
        x: array of any dtype.
        axis: where they stand in the result.

    Returns:
        Array with as many more dimensions.

    Raises:
        ArgumentError: axis is out of range or names a place twice.
    """
    x = expect_node("expand_dims", "x", x)
    count = 1 if isinstance(axis, int) else len(axis)
    places = normal_axes("expand_dims", axis, x.ndim + count)
    rest = iter(x.shape)
    return reshaped(x, tuple(1 if i in places else next(rest) for i in range(x.ndim + count)))


@method
def squeeze(x: Operand, /, axis: int | Sequence[int]) -> Node:
    """Without the given dimensions, which must be of size 1.

    Args:
        x: array of any dtype.
        axis: the dimensions to leave out.

    Returns:
        Array with as many fewer dimensions.

    Raises:
        ShapeError: one of them is not of size 1.
    """
    x = expect_node("squeeze", "x", x)
    axes = normal_axes("squeeze", axis, x.ndim)
    for a in axes:
        if x.shape[a] != 1:
            raise ShapeError(
                f"[squeeze] dimension {a} of x, of shape {x.shape}, has size {x.shape[a]}, not 1"
            )
    return reshaped(x, tuple(size for i, size in enumerate(x.shape) if i not in axes))


# -- slices


def _infer_slice(x: Type, start: tuple[int, ...], stop: tuple[Size, ...], step: tuple[int, ...]) -> Type:
    for size, a, b, c in zip(x.shape, start, stop, step, strict=True):
        if (a, c) != (0, 1) or b != size:
            # Reading outside is not to be had by any attributes, from wherever they come.
            outside = isinstance(b, int) and isinstance(size, int) and b > size and a < b
            if a < 0 or c < 1 or outside:
                raise ArgumentError(f"[slice] {start} to {stop} by {step} is not inside the shape {x.shape}")
    return Type(
        [
            size if (a, c) == (0, 1) and b == size else max(0, -(-(b - a) // c))
            for size, a, b, c in zip(x.shape, start, stop, step, strict=True)
        ],
        x.dtype,
    )


def _slice_vjp(g: Node, y: Node, x: Node, start: Any, stop: Any, step: Any) -> tuple[Node]:
    """Zeros with the cotangent at the places taken."""
    places = []
    for size, out, a, c in zip(x.shape, y.shape, start, step, strict=True):
        if size == out and (a, c) == (0, 1):
            places.append((0, 0, 0))
        else:
            places.append((a, size - a - ((out - 1) * c + 1 if out else 0), c - 1))
    return (make(PAD, (g, filled(0, (), g.dtype)), (tuple(places),)),)


def _slice_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node:
    start, stop, step = y.attributes
    return take_slice(inputs[0], (0, *start), (size, *stop), (1, *step))


def _slice_reference(x: Any, start: Any, stop: Any, step: Any) -> Any:
    return x[tuple(builtins.slice(a, b, c) for a, b, c in zip(start, stop, step, strict=True))]


SLICE = register(
    Op(
        "slice",
        _infer_slice,
        _slice_reference,
        _slice_vjp,
        attributes=("start", "stop", "step"),
        view=True,
        batch=_slice_batch,
        doc="Elements start, start + step, ... below stop of every dimension; steps are positive.",
    )
)


def take_slice(x: Node, start: Sequence[int], stop: Sequence[Size], step: Sequence[int]) -> Node:
    """The slice of every dimension, bounds already normal, steps positive."""
    whole = all(
        (a, c) == (0, 1) and b == size for size, a, b, c in zip(x.shape, start, stop, step, strict=True)
    )
    return x if whole else make(SLICE, (x,), (tuple(start), tuple(stop), tuple(step)))


def _infer_flip(x: Type, axes: tuple[int, ...]) -> Type:
    expect_axes("flip", axes, len(x.shape))
    return x


FLIP = register(
    Op(
        "flip",
        _infer_flip,
        lambda x, axes: np.flip(x, axes),
        lambda g, y, x, axes: (make(FLIP, (g,), (axes,)),),
        attributes=("axes",),
        view=True,
        batch=shifted,
        doc="The given dimensions in reverse.",
    )
)


@public
def flip(x: Operand, /, *, axis: int | Sequence[int] | None = None) -> Node:
    """The elements in reverse order along dimensions.

    Args:
        x: array of any dtype.
        axis: the dimensions to reverse; None for all.

    Returns:
        Array of the same shape.

    Raises:
        ArgumentError: axis is out of range.
    """
    x = expect_node("flip", "x", x)
    axes = normal_axes("flip", axis, x.ndim)
    return make(FLIP, (x,), (axes,)) if axes else x


# -- padding


def _infer_pad(x: Type, value: Type, widths: tuple[tuple[int, int, int], ...]) -> Type:
    sizes = []
    for size, (low, high, inner) in zip(x.shape, widths, strict=True):
        if (low, high, inner) == (0, 0, 0):
            sizes.append(size)
            continue
        if inner < 0:
            raise ArgumentError(f"[pad] widths={widths}: there cannot be {inner} elements between two")
        total = size + low + high + (inner * (size - 1) if size else 0)
        if total < 0:
            raise ShapeError(f"[pad] x of shape {x.shape} cannot be cut by {widths}")
        sizes.append(total)
    return Type(sizes, x.dtype)


def _pad_reference(x: Any, value: Any, widths: Any) -> Any:
    shape = [
        max(0, n + low + high + (inner * (n - 1) if n else 0))
        for n, (low, high, inner) in zip(x.shape, widths, strict=True)
    ]
    spread = np.full(
        [n + (inner * (n - 1) if n else 0) for n, (_, _, inner) in zip(x.shape, widths, strict=True)],
        value,
        x.dtype,
    )
    spread[tuple(builtins.slice(None, None, inner + 1) for _, _, inner in widths)] = x
    result = np.full(shape, value, x.dtype)
    source = tuple(
        builtins.slice(max(0, -low), n - max(0, -high))
        for n, (low, high, _) in zip(spread.shape, widths, strict=True)
    )
    target = tuple(
        builtins.slice(max(0, low), n - max(0, high)) for n, (low, high, _) in zip(shape, widths, strict=True)
    )
    result[target] = spread[source]
    return result


def _pad_vjp(g: Node, y: Node, x: Node, value: Node, widths: Any) -> tuple[Node, Node]:
    from treadle.ops.elementwise import subtract
    from treadle.ops.reduction import sum

    # Where elements were cut off, the cotangent has none to give.
    cut = tuple((max(0, -low), max(0, -high), 0) for low, high, _ in widths)
    if any(low or high for low, high, _ in cut):
        g = make(PAD, (g, filled(0, (), g.dtype)), (cut,))
    start = [max(0, low) for low, _, _ in widths]
    stop = [
        first + size + (inner * (size - 1) if size else 0) if (low, high, inner) != (0, 0, 0) else size
        for first, size, (low, high, inner) in zip(start, x.shape, widths, strict=True)
    ]
    inside = take_slice(g, start, stop, [inner + 1 for _, _, inner in widths])
    return inside, subtract(sum(g), sum(inside))


def _pad_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node:
    """Where the examples differ in the value around them, it is chosen by a mask."""
    from treadle.ops.elementwise import where

    x, value = inputs
    widths = ((0, 0, 0), *y.attributes[0])
    if not batched[1]:
        return make(PAD, (x, value), (widths,))
    x = in_front(x, size, batched[0])
    inside = make(PAD, (filled(True, x.shape, dtypes.bool), constant(False, dtypes.bool)), (widths,))
    around = broadcast(reshaped(value, (size, *(1,) * y.ndim)), (size, *y.shape))
    return where(inside, make(PAD, (x, filled(0, (), x.dtype)), (widths,)), around)


PAD = register(
    Op(
        "pad",
        _infer_pad,
        _pad_reference,
        _pad_vjp,
        attributes=("widths",),
        view=True,
        batch=_pad_batch,
        doc="Each dimension widened by `low` elements before, `high` after and `inner` between any two.",
    )
)


@public
def pad(
    x: Operand, /, pad_width: int | Sequence[Any], *, mode: str = "constant", constant_values: Operand = 0
) -> Node:
    """The array with a border around it, as ``numpy.pad``.

    Args:
        x: array of any dtype.
        pad_width: elements added on each side: one number, one pair (before, after), or a pair for every
            dimension.
        mode: "constant", "edge", "reflect" or "wrap".
        constant_values: the number around it in mode "constant".

    Returns:
        Array of shape ``[before + size + after ...]``.

    Raises:
        ArgumentError: the widths do not fit x, or are negative, or the mode is unknown.
    """
    x = expect_node("pad", "x", x)
    if isinstance(pad_width, int):
        widths = [(pad_width, pad_width)] * x.ndim
    elif len(pad_width) == 2 and all(isinstance(w, int) for w in pad_width):
        widths = [(int(pad_width[0]), int(pad_width[1]))] * x.ndim
    else:
        widths = [(w, w) if isinstance(w, int) else (int(w[0]), int(w[1])) for w in pad_width]
    if len(widths) != x.ndim or any(w < 0 for pair in widths for w in pair):
        raise ArgumentError(
            f"[pad] pad_width={pad_width} does not fit x, of shape {x.shape}: one pair of non-negative "
            f"widths for each dimension"
        )
    if mode == "constant":
        value = cast(constant_values, x.dtype)
        if not any(low or high for low, high in widths):
            return x
        return make(PAD, (x, value), (tuple((low, high, 0) for low, high in widths),))
    if mode not in ("edge", "reflect", "wrap"):
        raise ArgumentError(f'[pad] mode={mode!r}; there are "constant", "edge", "reflect" and "wrap"')
    for axis, (low, high) in enumerate(widths):
        if low or high:
            x = _pad_from_itself(x, axis, low, high, mode)
    return x


def _pad_from_itself(x: Node, axis: int, low: int, high: int, mode: str) -> Node:
    """A border made of the array's own elements along one dimension."""
    size = x.shape[axis]
    if mode != "edge" and max(low, high) > size - (mode == "reflect"):
        raise ArgumentError(
            f"[pad] mode={mode!r} with widths ({low}, {high}) needs more elements than dimension {axis} "
            f"has: {size}"
        )

    def part(start: int, stop: int) -> Node:
        starts, stops = [0] * x.ndim, list(x.shape)
        starts[axis], stops[axis] = start, stop
        return take_slice(x, starts, stops, [1] * x.ndim)

    def repeated(piece: Node, count: int) -> Node:
        return broadcast(piece, tuple(count if i == axis else n for i, n in enumerate(x.shape)))

    if mode == "edge":
        before, after = repeated(part(0, 1), low), repeated(part(size - 1, size), high)
    elif mode == "reflect":
        before, after = flip(part(1, low + 1), axis=axis), flip(part(size - 1 - high, size - 1), axis=axis)
    else:
        before, after = part(size - low, size), part(0, high)
    return concat([before, x, after], axis=axis)


# -- joining


def _infer_concat(*parts: Type, axis: int) -> Type:
    first = parts[0]
    expect_axes("concat", (axis,), len(first.shape))
    for i, part in enumerate(parts):
        if len(part.shape) != len(first.shape) or any(
            a != b for d, (a, b) in enumerate(zip(part.shape, first.shape, strict=True)) if d != axis
        ):
            raise ShapeError(
                f"[concat] arrays[{i}] of shape {part.shape} does not fit arrays[0] of shape "
                f"{first.shape}: all sizes but that of axis {axis} must be equal"
                + naming(part.shape, first.shape)
            )
    total: Any = 0
    for part in parts:
        total = part.shape[axis] if len(parts) == 1 else total + part.shape[axis]
    return Type((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def _concat_vjp(g: Node, y: Node, *parts: Node, axis: int) -> list[Node]:
    result, start = [], 0
    for part in parts:
        starts, stops = [0] * y.ndim, list(y.shape)
        starts[axis], stops[axis] = start, start + part.shape[axis]
        result.append(take_slice(g, starts, stops, [1] * y.ndim))
        start = stops[axis]
    return result


CONCAT = register(
    Op(
        "concat",
        _infer_concat,
        lambda *parts, axis: np.concatenate(parts, axis),
        _concat_vjp,
        attributes=("axis",),
        batch=shifted,
        doc="Arrays one after another along a dimension.",
    )
)


@public
def concat(arrays: Sequence[Operand], /, *, axis: int | None = 0) -> Node:
    """Arrays joined along a dimension they have.

    Args:
        arrays: one or more arrays; all sizes but that of `axis` are equal. They promote to one dtype.
        axis: the dimension along which they follow each other; None flattens them first.

    Returns:
        Array whose size along `axis` is the sum.

    Raises:
        ShapeError: the other sizes differ.
        ArgumentError: there are no arrays, or axis is out of range.
    """
    if not arrays:
        raise ArgumentError("[concat] arrays is empty")
    operands, dtype = promoted("concat", list(arrays))
    nodes = [cast(x, dtype) for x in operands]
    if axis is None:
        nodes, axis = [reshaped(node, (product(node.shape),)) for node in nodes], 0
    axis = normal_axis("concat", axis, nodes[0].ndim)
    return nodes[0] if len(nodes) == 1 else make(CONCAT, tuple(nodes), (axis,))


@public
def stack(arrays: Sequence[Operand], /, *, axis: int = 0) -> Node:
    """Arrays of one shape joined along a new dimension.

    Args:
        arrays: one or more arrays of equal shapes.
        axis: where the new dimension stands in the result.

    Returns:
        Array with one more dimension, of size ``len(arrays)``.

    Raises:
        ShapeError: the shapes differ.
        ArgumentError: there are no arrays, or axis is out of range.
    """
    if not arrays:
        raise ArgumentError("[stack] arrays is empty")
    nodes = [expect_node("stack", f"arrays[{i}]", x) for i, x in enumerate(arrays)]
    for i, node in enumerate(nodes):
        if node.shape != nodes[0].shape:
            raise ShapeError(
                f"[stack] arrays[{i}] has shape {node.shape}, arrays[0] has shape {nodes[0].shape}: all "
                f"must be equal"
            )
    axis = normal_axis("stack", axis, nodes[0].ndim + 1)
    return concat([expand_dims(node, axis) for node in nodes], axis=axis)


@public
def unstack(x: Operand, /, *, axis: int = 0) -> tuple[Node, ...]:
    """The slices of an array along a dimension.

    Args:
        x: array of at least one dimension.
        axis: the dimension to take apart.

    Returns:
        As many arrays as the size of that dimension, each without it.

    Raises:
        ArgumentError: axis is out of range.
    """
    x = expect_node("unstack", "x", x)
    axis = normal_axis("unstack", axis, x.ndim)
    parts = []
    for i in range(x.shape[axis]):
        start, stop = [0] * x.ndim, list(x.shape)
        start[axis], stop[axis] = i, i + 1
        parts.append(squeeze(take_slice(x, start, stop, [1] * x.ndim), axis))
    return tuple(parts)


@public
def roll(x: Operand, /, shift: int | Sequence[int], *, axis: int | Sequence[int] | None = None) -> Node:
    """The elements moved along dimensions, those that leave at the end coming back at the start.

    Args:
        x: array of any dtype.
        shift: by how many places, for each axis.
        axis: the dimensions; None rolls the flattened array.

    Returns:
        Array of the same shape.

    Raises:
        ArgumentError: axis is out of range, or shift and axis differ in number.
    """
    x = expect_node("roll", "x", x)
    if axis is None:
        flat = reshaped(x, (product(x.shape),))
        return reshaped(roll(flat, shift, axis=0), x.shape)
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifts = [shift] * len(axes) if isinstance(shift, int) else list(shift)
    if len(shifts) != len(axes):
        raise ArgumentError(f"[roll] shift={shift} and axis={axis} differ in number")
    for amount, a in zip(shifts, axes, strict=True):
        a = normal_axis("roll", a, x.ndim)
        size = x.shape[a]
        amount = amount % size if size else 0
        if amount:
            x = concat([_along(x, a, size - amount, size), _along(x, a, 0, size - amount)], axis=a)
    return x


def _along(x: Node, axis: int, start: int, stop: int) -> Node:
    """A slice of one dimension."""
    starts, stops = [0] * x.ndim, list(x.shape)
    starts[axis], stops[axis] = start, stop
    return take_slice(x, starts, stops, [1] * x.ndim)


@public
def tile(x: Operand, repetitions: Sequence[int], /) -> Node:
    """The array repeated as a whole along each dimension.

    Args:
        x: array of any dtype.
        repetitions: how often, for each dimension, counted from the last.

    Returns:
        Array whose sizes are multiplied by the repetitions.

    Raises:
        ArgumentError: a repetition is negative.
    """
    x = expect_node("tile", "x", x)
    counts = tuple(repetitions)
    if any(count < 0 for count in counts):
        raise ArgumentError(f"[tile] repetitions={repetitions} has a negative number")
    counts = (1,) * (x.ndim - len(counts)) + counts
    shape = (1,) * (len(counts) - x.ndim) + x.shape
    apart = reshaped(x, tuple(size for n in shape for size in (1, n)))
    spread = broadcast(
        apart, tuple(size for count, n in zip(counts, shape, strict=True) for size in (count, n))
    )
    return reshaped(spread, tuple(count * n for count, n in zip(counts, shape, strict=True)))


def repeat(x: Operand, repeats: int, /, *, axis: int | None = None) -> Node:
    """Each element repeated in place, equally often; `selection.repeat` takes counts too."""
    x = expect_node("repeat", "x", x)
    if not isinstance(repeats, int) or repeats < 0:
        raise ArgumentError(f"[repeat] repeats={repeats!r} is not a non-negative integer")
    if axis is None:
        x, axis = reshaped(x, (product(x.shape),)), 0
    axis = normal_axis("repeat", axis, x.ndim)
    before, after = x.shape[: axis + 1], x.shape[axis + 1 :]
    spread = broadcast(reshaped(x, (*before, 1, *after)), (*before, repeats, *after))
    return reshaped(spread, (*before[:-1], before[-1] * repeats, *after))
