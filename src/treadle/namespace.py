"""The public functions over arrays. Generated from the op records by ``./dev generate``: do not edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle import dtypes
from treadle.array import Array, ArrayLike, as_device, as_operand, as_operands, wrap
from treadle.ops import attention as _attention
from treadle.ops import contraction as _contraction
from treadle.ops import creation as _creation
from treadle.ops import cumulative as _cumulative
from treadle.ops import einsum as _einsum
from treadle.ops import elementwise as _elementwise
from treadle.ops import gather as _gather
from treadle.ops import movement as _movement
from treadle.ops import pooling as _pooling
from treadle.ops import reduction as _reduction
from treadle.ops import sort as _sort
from treadle.ops import window as _window

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "average_pool",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "broadcast_arrays",
    "broadcast_to",
    "ceil",
    "clip",
    "concat",
    "conj",
    "conv",
    "copysign",
    "cos",
    "cosh",
    "count_nonzero",
    "cumulative_prod",
    "cumulative_sum",
    "diagonal",
    "diff",
    "divide",
    "einsum",
    "empty",
    "empty_like",
    "equal",
    "erf",
    "exp",
    "expand_dims",
    "expm1",
    "eye",
    "flip",
    "floor",
    "floor_divide",
    "full",
    "full_like",
    "gelu",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isfinite",
    "isin",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "linspace",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_softmax",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "matmul",
    "matrix_transpose",
    "max",
    "max_pool",
    "maximum",
    "mean",
    "meshgrid",
    "min",
    "minimum",
    "moveaxis",
    "multiply",
    "negative",
    "nextafter",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "pad",
    "permute_dims",
    "positive",
    "pow",
    "prod",
    "real",
    "reciprocal",
    "relu",
    "remainder",
    "reshape",
    "roll",
    "round",
    "scaled_dot_product_attention",
    "searchsorted",
    "sigmoid",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sort",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stop_gradient",
    "subtract",
    "sum",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tensordot",
    "tile",
    "top_k",
    "tril",
    "triu",
    "trunc",
    "unstack",
    "var",
    "vecdot",
    "where",
    "zeros",
    "zeros_like",
]


def abs(x: ArrayLike, /) -> Array:
    """The absolute value.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype; of complex numbers, of the dtype of their parts.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.abs(as_operand(x)))


def acos(x: ArrayLike, /) -> Array:
    """Inverse cosine, in radians.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.acos(as_operand(x)))


def acosh(x: ArrayLike, /) -> Array:
    """Inverse hyperbolic cosine; NaN below one.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.acosh(as_operand(x)))


def add(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 + x2.

    Args:
        x1: array of any dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one.
    """
    return wrap(_elementwise.add(as_operand(x1), as_operand(x2)))


def all(x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    """Whether all elements over dimensions are true (not zero).

    Args:
        x: array of any dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of dtype bool; True where there are no elements.

    Raises:
        ArgumentError: axis is out of range or repeated.
    """
    return wrap(_reduction.all(as_operand(x), axis=axis, keepdims=keepdims))


def any(x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    """Whether any element over dimensions is true (not zero).

    Args:
        x: array of any dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of dtype bool; False where there are no elements.

    Raises:
        ArgumentError: axis is out of range or repeated.
    """
    return wrap(_reduction.any(as_operand(x), axis=axis, keepdims=keepdims))


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: str | None
    = None
) -> Array:
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
    return wrap(_creation.arange(start, stop, step, dtype=dtype, device=as_device(device)))


def argmax(x: ArrayLike, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first largest element; of the first NaN, if there is one.

    Args:
        x: array of real dtype.
        axis: along which dimension; None for the flattened array.
        keepdims: leave the dimension in place with size 1.

    Returns:
        Array of dtype int64.

    Raises:
        ShapeError: there are no elements.
        ArgumentError: axis is out of range.
    """
    return wrap(_reduction.argmax(as_operand(x), axis=axis, keepdims=keepdims))


def argmin(x: ArrayLike, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first smallest element; of the first NaN, if there is one.

    Args:
        x: array of real dtype.
        axis: along which dimension; None for the flattened array.
        keepdims: leave the dimension in place with size 1.

    Returns:
        Array of dtype int64.

    Raises:
        ShapeError: there are no elements.
        ArgumentError: axis is out of range.
    """
    return wrap(_reduction.argmin(as_operand(x), axis=axis, keepdims=keepdims))


def argsort(x: ArrayLike, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The indices that sort an array along a dimension; NaN counts as larger than any number.

    Args:
        x: array of real dtype.
        axis: the dimension.
        descending: from the largest to the smallest.
        stable: whether equal elements must keep their order; they do in any case.

    Returns:
        Array of dtype int64 and the same shape, to be given to `take_along_axis`.

    Raises:
        DTypeError: x is not of a real dtype.
        ArgumentError: axis is out of range.
    """
    return wrap(_sort.argsort(as_operand(x), axis=axis, descending=descending, stable=stable))


def asin(x: ArrayLike, /) -> Array:
    """Inverse sine, in radians.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.asin(as_operand(x)))


def asinh(x: ArrayLike, /) -> Array:
    """Inverse hyperbolic sine.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.asinh(as_operand(x)))


def atan(x: ArrayLike, /) -> Array:
    """Inverse tangent, in radians.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.atan(as_operand(x)))


def atan2(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The angle of the point (x2, x1), in radians.

    Args:
        x1: array of real floating dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real floating.
    """
    return wrap(_elementwise.atan2(as_operand(x1), as_operand(x2)))


def atanh(x: ArrayLike, /) -> Array:
    """Inverse hyperbolic tangent.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.atanh(as_operand(x)))


def average_pool(
    x: ArrayLike, window: int | Sequence[int], /, *, stride: int | Sequence[int] | None = None, padding:
    Any = 0, count_include_pad: bool = True
) -> Array:
    """The mean of each window.

    Args:
        x: array of floating dtype, of shape ``[batch, channels, spatial...]`` with one to three spatial
            dimensions.
        window: its size, for all spatial dimensions or for each.
        stride: by how much the window moves; None for its size.
        padding: as in `conv`; smaller than the window.
        count_include_pad: whether padding counts, as zeros.

    Returns:
        Array of shape ``[batch, channels, windows...]``.

    Raises:
        ShapeError: x has too few or too many dimensions, or no window fits.
        ArgumentError: window, stride or padding is malformed.
        DTypeError: x is not of a floating dtype.
    """
    return wrap(
        _pooling.average_pool(as_operand(x), window, stride=stride, padding=padding,
        count_include_pad=count_include_pad)
    )


def bitwise_and(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Bits set in both.

    Args:
        x1: array of integer or boolean dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not integer or boolean.
    """
    return wrap(_elementwise.bitwise_and(as_operand(x1), as_operand(x2)))


def bitwise_invert(x: ArrayLike, /) -> Array:
    """Every bit flipped.

    Args:
        x: array of any shape and integer or boolean dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a integer or boolean dtype.
    """
    return wrap(_elementwise.bitwise_invert(as_operand(x)))


def bitwise_left_shift(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 shifted left by x2 bits; 0 from the width of the dtype on.

    Args:
        x1: array of integer dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not integer.
    """
    return wrap(_elementwise.bitwise_left_shift(as_operand(x1), as_operand(x2)))


def bitwise_or(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Bits set in either.

    Args:
        x1: array of integer or boolean dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not integer or boolean.
    """
    return wrap(_elementwise.bitwise_or(as_operand(x1), as_operand(x2)))


def bitwise_right_shift(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 shifted right by x2 bits, keeping the sign.

    Args:
        x1: array of integer dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not integer.
    """
    return wrap(_elementwise.bitwise_right_shift(as_operand(x1), as_operand(x2)))


def bitwise_xor(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Bits set in one but not both.

    Args:
        x1: array of integer or boolean dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not integer or boolean.
    """
    return wrap(_elementwise.bitwise_xor(as_operand(x1), as_operand(x2)))


def broadcast_arrays(*arrays: ArrayLike) -> tuple[Array, ...]:
    """Arrays seen in their common shape.

    Args:
        arrays: arrays that broadcast together.

    Returns:
        The arrays, each of the common shape.

    Raises:
        ShapeError: the shapes do not broadcast together.
    """
    return wrap(_movement.broadcast_arrays(*as_operands(arrays)))


def broadcast_to(x: ArrayLike, /, shape: Sequence[int]) -> Array:
    """The array seen in a larger shape: sizes of 1 are repeated, missing dimensions are added in front.

    Args:
        x: array of any dtype.
        shape: the sizes wanted.

    Returns:
        Array of that shape; no copy is made where none is needed.

    Raises:
        ShapeError: x does not broadcast to that shape.
    """
    return wrap(_movement.broadcast_to(as_operand(x), shape))


def ceil(x: ArrayLike, /) -> Array:
    """Rounded up to an integer.

    Args:
        x: array of any shape and real dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a real dtype.
    """
    return wrap(_elementwise.ceil(as_operand(x)))


def clip(x: ArrayLike, /, min: ArrayLike | None = None, max: ArrayLike | None = None) -> Array:
    """Values limited to the interval from min to max.

    Args:
        x: array of real dtype.
        min: lower bound, array or number; None for none.
        max: upper bound, likewise.

    Returns:
        Array of the broadcast shape and x's dtype.

    Raises:
        DTypeError: x is not of a real dtype.
    """
    return wrap(
        _elementwise.clip(as_operand(x), None if min is None else as_operand(min), None if max is None
        else as_operand(max))
    )


def concat(arrays: Sequence[ArrayLike], /, *, axis: int | None = 0) -> Array:
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
    return wrap(_movement.concat(as_operands(arrays), axis=axis))


def conj(x: ArrayLike, /) -> Array:
    """The complex conjugate; of a real array, the array itself.

    Args:
        x: array of any shape and numeric dtype.

    Returns:
        Array of the same shape and dtype.
    """
    return wrap(_elementwise.conj(as_operand(x)))


def conv(
    x: ArrayLike, w: ArrayLike, /, *, stride: int | Sequence[int] = 1, padding: Any = 0, dilation: int |
    Sequence[int] = 1, groups: int = 1
) -> Array:
    """Convolution (cross-correlation) over one to three spatial dimensions.

    Args:
        x: array of numeric dtype, of shape ``[batch, channels, spatial...]``.
        w: the weights, of shape ``[out_channels, channels / groups, window...]``; dtypes promote.
        stride: by how much the window moves, for all spatial dimensions or for each.
        padding: zeros around x: an integer, one for each spatial dimension, a pair (before, after) for each,
            "valid" for none, or "same" for as many windows as ``ceil(size / stride)``.
        dilation: the distance of neighbouring places of the window in x, for all spatial dimensions or for
            each.
        groups: channels are divided into as many groups, each seen by its own part of the output channels.

    Returns:
        Array of shape ``[batch, out_channels, windows...]``.

    Raises:
        ShapeError: the channels do not fit, the ranks differ or are not 3 to 5, or no window fits.
        ArgumentError: stride, padding, dilation or groups is malformed.
        DTypeError: the promoted dtype is bool.
    """
    return wrap(
        _window.conv(as_operand(x), as_operand(w), stride=stride, padding=padding, dilation=dilation,
        groups=groups)
    )


def copysign(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """|x1| with the sign of x2.

    Args:
        x1: array of real floating dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real floating.
    """
    return wrap(_elementwise.copysign(as_operand(x1), as_operand(x2)))


def cos(x: ArrayLike, /) -> Array:
    """Cosine of x in radians.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.cos(as_operand(x)))


def cosh(x: ArrayLike, /) -> Array:
    """Hyperbolic cosine.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.cosh(as_operand(x)))


def count_nonzero(
    x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False
) -> Array:
    """The number of elements that are not zero.

    Args:
        x: array of any dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of dtype int64.

    Raises:
        ArgumentError: axis is out of range or repeated.
    """
    return wrap(_reduction.count_nonzero(as_operand(x), axis=axis, keepdims=keepdims))


def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """The product of each element and all before it along a dimension.

    Args:
        x: array of numeric or bool dtype.
        axis: the dimension; may be left out where x has only one.
        dtype: of the result, as in `cumulative_sum`.
        include_initial: begin with the product of nothing, 1, so that the dimension grows by one.

    Returns:
        Array of the same shape, or one longer along `axis`.

    Raises:
        ArgumentError: axis is out of range, or missing where x has several dimensions.
    """
    return wrap(
        _cumulative.cumulative_prod(as_operand(x), axis=axis, dtype=dtype,
        include_initial=include_initial)
    )


def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """The sum of each element and all before it along a dimension.

    Args:
        x: array of numeric or bool dtype.
        axis: the dimension; may be left out where x has only one.
        dtype: of the result; None keeps floating dtypes and sums integers and bools as int64 (unsigned as
            uint64).
        include_initial: begin with the sum of nothing, 0, so that the dimension grows by one.

    Returns:
        Array of the same shape, or one longer along `axis`.

    Raises:
        ArgumentError: axis is out of range, or missing where x has several dimensions.
    """
    return wrap(
        _cumulative.cumulative_sum(as_operand(x), axis=axis, dtype=dtype,
        include_initial=include_initial)
    )


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Array:
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
    return wrap(_gather.diagonal(as_operand(x), offset=offset))


def diff(
    x: ArrayLike, /, *, axis: int = -1, n: int = 1, prepend: ArrayLike | None = None, append: ArrayLike |
    None = None
) -> Array:
    """The difference of each element from the one before it along a dimension.

    Args:
        x: array of numeric dtype.
        axis: the dimension.
        n: how often differences are taken, of differences again from the second time on.
        prepend: array put before x along the dimension; its other sizes are x's.
        append: array put after x, likewise.

    Returns:
        Array of the promoted dtype and x's shape, but for the dimension, which is n shorter; empty if it
        would be less.

    Raises:
        ArgumentError: axis is out of range, or n is no non-negative integer.
        ShapeError: the sizes of what is put before or after differ.
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(
        _cumulative.diff(as_operand(x), axis=axis, n=n, prepend=None if prepend is None else
        as_operand(prepend), append=None if append is None else as_operand(append))
    )


def divide(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 / x2, of floating dtypes.

    Args:
        x1: array of floating dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not floating.
    """
    return wrap(_elementwise.divide(as_operand(x1), as_operand(x2)))


def einsum(subscripts: str, /, *arrays: ArrayLike) -> Array:
    """Products of arrays summed over indices, in Einstein's notation, as ``numpy.einsum``.

    ``einsum("ij,jk->ik", a, b)`` is the matrix product. A letter names a dimension: within one array a
    repeated letter takes the diagonal, across arrays it pairs dimensions, and letters not after ``->`` are
    summed over. ``...`` stands for leading dimensions that broadcast. Without ``->`` the result has the
    letters that occur once, in alphabetical order.

    Args:
        subscripts: the letters of each array's dimensions, separated by commas, and those of the result.
        arrays: as many arrays of numeric dtype; they promote to one.

    Returns:
        Array with the dimensions named after ``->``.

    Raises:
        ArgumentError: the subscripts are malformed or do not fit the arrays.
        ShapeError: one letter names dimensions of different sizes.
        DTypeError: the promoted dtype is bool.
    """
    return wrap(_einsum.einsum(subscripts, *as_operands(arrays)))


def empty(shape: Sequence[int] | int, *, dtype: Any = None, device: str | None = None) -> Array:
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
    return wrap(_creation.empty(shape, dtype=dtype, device=as_device(device)))


def empty_like(x: ArrayLike, /, *, dtype: Any = None, device: str | None = None) -> Array:
    """An array of x's shape whose contents do not matter: zeros.

    Args:
        x: array of any dtype.
        dtype: of the result; None takes x's.
        device: where to put it; None for x's.

    Returns:
        Array of x's shape.
    """
    return wrap(_creation.empty_like(as_operand(x), dtype=dtype, device=as_device(device)))


def equal(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 == x2.

    Args:
        x1: array of any dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one.
    """
    return wrap(_elementwise.equal(as_operand(x1), as_operand(x2)))


def erf(x: ArrayLike, /) -> Array:
    """The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.

    Args:
        x: array of any shape and real floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    return wrap(_elementwise.erf(as_operand(x)))


def exp(x: ArrayLike, /) -> Array:
    """e to the power x.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.exp(as_operand(x)))


def expand_dims(x: ArrayLike, /, axis: int | Sequence[int]) -> Array:
    """New dimensions of size 1.

    Args:
        x: array of any dtype.
        axis: where they stand in the result.

    Returns:
        Array with as many more dimensions.

    Raises:
        ArgumentError: axis is out of range or names a place twice.
    """
    return wrap(_movement.expand_dims(as_operand(x), axis))


def expm1(x: ArrayLike, /) -> Array:
    """exp(x) - 1, accurate near zero.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.expm1(as_operand(x)))


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: str | None =
    None
) -> Array:
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
    return wrap(_creation.eye(n_rows, n_cols, k=k, dtype=dtype, device=as_device(device)))


def flip(x: ArrayLike, /, *, axis: int | Sequence[int] | None = None) -> Array:
    """The elements in reverse order along dimensions.

    Args:
        x: array of any dtype.
        axis: the dimensions to reverse; None for all.

    Returns:
        Array of the same shape.

    Raises:
        ArgumentError: axis is out of range.
    """
    return wrap(_movement.flip(as_operand(x), axis=axis))


def floor(x: ArrayLike, /) -> Array:
    """Rounded down to an integer.

    Args:
        x: array of any shape and real dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a real dtype.
    """
    return wrap(_elementwise.floor(as_operand(x)))


def floor_divide(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 / x2 rounded down.

    Args:
        x1: array of real dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real.
    """
    return wrap(_elementwise.floor_divide(as_operand(x1), as_operand(x2)))


def full(
    shape: Sequence[int] | int, fill_value: ArrayLike, *, dtype: Any = None, device: str | None = None
) -> Array:
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
    return wrap(_creation.full(shape, as_operand(fill_value), dtype=dtype, device=as_device(device)))


def full_like(
    x: ArrayLike, /, fill_value: ArrayLike, *, dtype: Any = None, device: str | None = None
) -> Array:
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
    return wrap(
        _creation.full_like(as_operand(x), as_operand(fill_value), dtype=dtype, device=as_device(device))
    )


def gelu(x: ArrayLike, /, *, approximate: bool = False) -> Array:
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Args:
        x: array of real floating dtype, any shape.
        approximate: use the paper's tanh formula instead of erf.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    return wrap(_elementwise.gelu(as_operand(x), approximate=approximate))


def greater(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 > x2.

    Args:
        x1: array of real dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real.
    """
    return wrap(_elementwise.greater(as_operand(x1), as_operand(x2)))


def greater_equal(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 >= x2.

    Args:
        x1: array of real dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real.
    """
    return wrap(_elementwise.greater_equal(as_operand(x1), as_operand(x2)))


def hypot(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """sqrt(x1**2 + x2**2) without overflow on the way.

    Args:
        x1: array of real floating dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real floating.
    """
    return wrap(_elementwise.hypot(as_operand(x1), as_operand(x2)))


def imag(x: ArrayLike, /) -> Array:
    """The imaginary part.

    Args:
        x: array of any shape and complex dtype.

    Returns:
        Array of the same shape and the dtype of the parts: float32 of complex64, float64 of complex128.

    Raises:
        DTypeError: x is not of a complex dtype.
    """
    return wrap(_elementwise.imag(as_operand(x)))


def isfinite(x: ArrayLike, /) -> Array:
    """Whether x is neither NaN nor infinite.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the dtype bool.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.isfinite(as_operand(x)))


def isin(x1: ArrayLike, x2: ArrayLike, /, *, invert: bool = False) -> Array:
    """Whether each element of x1 is equal to any element of x2.

    Args:
        x1: array of any dtype, or a number.
        x2: likewise; dtypes promote.
        invert: whether it is equal to none of them instead.

    Returns:
        Array of dtype bool and x1's shape. NaN is equal to nothing.

    Raises:
        DTypeError: the dtypes do not promote.
    """
    return wrap(_sort.isin(as_operand(x1), as_operand(x2), invert=invert))


def isinf(x: ArrayLike, /) -> Array:
    """Whether x is infinite.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the dtype bool.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.isinf(as_operand(x)))


def isnan(x: ArrayLike, /) -> Array:
    """Whether x is NaN.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the dtype bool.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.isnan(as_operand(x)))


def less(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 < x2.

    Args:
        x1: array of real dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real.
    """
    return wrap(_elementwise.less(as_operand(x1), as_operand(x2)))


def less_equal(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 <= x2.

    Args:
        x1: array of real dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real.
    """
    return wrap(_elementwise.less_equal(as_operand(x1), as_operand(x2)))


def linspace(
    start: complex, stop: complex, /, num: int, *, dtype: Any = None, device: str | None = None,
    endpoint: bool = True
) -> Array:
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
    return wrap(
        _creation.linspace(start, stop, num, dtype=dtype, device=as_device(device), endpoint=endpoint)
    )


def log(x: ArrayLike, /) -> Array:
    """Natural logarithm.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.log(as_operand(x)))


def log10(x: ArrayLike, /) -> Array:
    """Logarithm to base 10.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.log10(as_operand(x)))


def log1p(x: ArrayLike, /) -> Array:
    """log(1 + x), accurate near zero.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.log1p(as_operand(x)))


def log2(x: ArrayLike, /) -> Array:
    """Logarithm to base 2.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.log2(as_operand(x)))


def log_softmax(x: ArrayLike, /, *, axis: int = -1) -> Array:
    """log(softmax(x)), accurate where softmax is near zero.

    Args:
        x: array of real floating dtype.
        axis: the dimension along which the exponentials sum to one.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ArgumentError: axis is out of range.
    """
    return wrap(_reduction.log_softmax(as_operand(x), axis=axis))


def logaddexp(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """log(exp(x1) + exp(x2)) without overflow.

    Args:
        x1: array of real floating dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real floating.
    """
    return wrap(_elementwise.logaddexp(as_operand(x1), as_operand(x2)))


def logical_and(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 and x2.

    Args:
        x1: array of boolean dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not boolean.
    """
    return wrap(_elementwise.logical_and(as_operand(x1), as_operand(x2)))


def logical_not(x: ArrayLike, /) -> Array:
    """not x.

    Args:
        x: array of any shape and boolean dtype, or a Python number.

    Returns:
        Array of the same shape and the dtype bool.

    Raises:
        DTypeError: x is not of a boolean dtype.
    """
    return wrap(_elementwise.logical_not(as_operand(x)))


def logical_or(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 or x2.

    Args:
        x1: array of boolean dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not boolean.
    """
    return wrap(_elementwise.logical_or(as_operand(x1), as_operand(x2)))


def logical_xor(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 != x2, of booleans.

    Args:
        x1: array of boolean dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not boolean.
    """
    return wrap(_elementwise.logical_xor(as_operand(x1), as_operand(x2)))


def logsumexp(x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) without overflow.

    Args:
        x: array of real floating dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ShapeError: there are no elements.
    """
    return wrap(_reduction.logsumexp(as_operand(x), axis=axis, keepdims=keepdims))


def matmul(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The matrix product over the last dimension of x1 and the second-to-last of x2.

    Args:
        x1: array of numeric dtype, of shape ``[..., m, k]``, or ``[k]`` for a row.
        x2: array of shape ``[..., k, n]``, or ``[k]`` for a column; leading dimensions broadcast, dtypes
            promote.

    Returns:
        Array of shape ``[..., m, n]``, without m where x1 is a row and without n where x2 is a column.

    Raises:
        ShapeError: an operand is 0-d, the summed sizes differ, or the leading dimensions do not broadcast.
        DTypeError: the promoted dtype is bool.
    """
    return wrap(_contraction.matmul(as_operand(x1), as_operand(x2)))


def matrix_transpose(x: ArrayLike, /) -> Array:
    """The last two dimensions exchanged.

    Args:
        x: array of at least two dimensions.

    Returns:
        Array of shape [..., columns, rows].

    Raises:
        ShapeError: x has fewer than two dimensions.
    """
    return wrap(_movement.matrix_transpose(as_operand(x)))


def max(x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    """The largest element over dimensions; NaN if there is one.

    Args:
        x: array of real dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions.

    Raises:
        ShapeError: there are no elements.
        ArgumentError: axis is out of range or repeated.
    """
    return wrap(_reduction.max(as_operand(x), axis=axis, keepdims=keepdims))


def max_pool(
    x: ArrayLike, window: int | Sequence[int], /, *, stride: int | Sequence[int] | None = None, padding:
    Any = 0
) -> Array:
    """The maximum of each window; NaN where there is one. Padding never counts.

    Args:
        x: array of real dtype, of shape ``[batch, channels, spatial...]`` with one to three spatial
            dimensions.
        window: its size, for all spatial dimensions or for each.
        stride: by how much the window moves; None for its size.
        padding: as in `conv`; smaller than the window.

    Returns:
        Array of shape ``[batch, channels, windows...]``.

    Raises:
        ShapeError: x has too few or too many dimensions, or no window fits.
        ArgumentError: window, stride or padding is malformed.
        DTypeError: x is not of a real dtype.
    """
    return wrap(_pooling.max_pool(as_operand(x), window, stride=stride, padding=padding))


def maximum(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The larger of x1 and x2; NaN where either is.

    Args:
        x1: array of real dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real.
    """
    return wrap(_elementwise.maximum(as_operand(x1), as_operand(x2)))


def mean(x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    """The arithmetic mean over dimensions.

    Args:
        x: array of floating dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of x's dtype; NaN where there are no elements.

    Raises:
        DTypeError: x is not of a floating dtype.
        ArgumentError: axis is out of range or repeated.
    """
    return wrap(_reduction.mean(as_operand(x), axis=axis, keepdims=keepdims))


def meshgrid(*arrays: ArrayLike, indexing: str = 'xy') -> tuple[Array, ...]:
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
    return wrap(_creation.meshgrid(*as_operands(arrays), indexing=indexing))


def min(x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
    """The smallest element over dimensions; NaN if there is one.

    Args:
        x: array of real dtype.
        axis: the dimensions; None for all.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions.

    Raises:
        ShapeError: there are no elements.
        ArgumentError: axis is out of range or repeated.
    """
    return wrap(_reduction.min(as_operand(x), axis=axis, keepdims=keepdims))


def minimum(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The smaller of x1 and x2; NaN where either is.

    Args:
        x1: array of real dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real.
    """
    return wrap(_elementwise.minimum(as_operand(x1), as_operand(x2)))


def moveaxis(x: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int], /) -> Array:
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
    return wrap(_movement.moveaxis(as_operand(x), source, destination))


def multiply(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 * x2.

    Args:
        x1: array of any dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one.
    """
    return wrap(_elementwise.multiply(as_operand(x1), as_operand(x2)))


def negative(x: ArrayLike, /) -> Array:
    """-x.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.negative(as_operand(x)))


def nextafter(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The next number of the dtype after x1 towards x2.

    Args:
        x1: array of real floating dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real floating.
    """
    return wrap(_elementwise.nextafter(as_operand(x1), as_operand(x2)))


def not_equal(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 != x2.

    Args:
        x1: array of any dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and dtype bool.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one.
    """
    return wrap(_elementwise.not_equal(as_operand(x1), as_operand(x2)))


def one_hot(
    x: ArrayLike, num_classes: int, /, *, dtype: Any = dtypes.float32, axis: int = -1, outside: str =
    'zeros'
) -> Array:
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
    return wrap(_gather.one_hot(as_operand(x), num_classes, dtype=dtype, axis=axis, outside=outside))


def ones(shape: Sequence[int] | int, *, dtype: Any = None, device: str | None = None) -> Array:
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
    return wrap(_creation.ones(shape, dtype=dtype, device=as_device(device)))


def ones_like(x: ArrayLike, /, *, dtype: Any = None, device: str | None = None) -> Array:
    """Ones in x's shape.

    Args:
        x: array of any dtype.
        dtype: of the result; None takes x's.
        device: where to put it; None for x's.

    Returns:
        Array of x's shape.
    """
    return wrap(_creation.ones_like(as_operand(x), dtype=dtype, device=as_device(device)))


def pad(
    x: ArrayLike, /, pad_width: int | Sequence[Any], *, mode: str = 'constant', constant_values:
    ArrayLike = 0
) -> Array:
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
    return wrap(
        _movement.pad(as_operand(x), pad_width, mode=mode, constant_values=as_operand(constant_values))
    )


def permute_dims(x: ArrayLike, /, axes: Sequence[int]) -> Array:
    """The dimensions in another order.

    Args:
        x: array of any dtype.
        axes: for each dimension of the result, the dimension of x it is.

    Returns:
        Array of shape ``[x.shape[axis] for axis in axes]``.

    Raises:
        ShapeError: axes is not an order of x's dimensions.
    """
    return wrap(_movement.permute_dims(as_operand(x), axes))


def positive(x: ArrayLike, /) -> Array:
    """+x: x itself.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.positive(as_operand(x)))


def pow(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 to the power x2.

    Args:
        x1: array of numeric dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not numeric.
    """
    return wrap(_elementwise.pow(as_operand(x1), as_operand(x2)))


def prod(
    x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, dtype: Any = None, keepdims: bool =
    False
) -> Array:
    """The product over dimensions.

    Args:
        x: array of numeric or bool dtype.
        axis: the dimensions; None for all.
        dtype: of the result, as in `sum`.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions; 1 where there is nothing to multiply.

    Raises:
        ArgumentError: axis is out of range or repeated.
        DTypeError: x is complex and dtype is real.
    """
    return wrap(_reduction.prod(as_operand(x), axis=axis, dtype=dtype, keepdims=keepdims))


def real(x: ArrayLike, /) -> Array:
    """The real part; of a real array, the array itself.

    Args:
        x: array of any shape and numeric dtype.

    Returns:
        Array of the same shape and the dtype of the parts: float32 of complex64, float64 of complex128.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.real(as_operand(x)))


def reciprocal(x: ArrayLike, /) -> Array:
    """1 / x.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.reciprocal(as_operand(x)))


def relu(x: ArrayLike, /) -> Array:
    """max(x, 0), with gradient 0 at 0.

    Args:
        x: array of real dtype, any shape.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real dtype.
    """
    return wrap(_elementwise.relu(as_operand(x)))


def remainder(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 - floor(x1 / x2) * x2: the remainder with the sign of x2.

    Args:
        x1: array of real dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not real.
    """
    return wrap(_elementwise.remainder(as_operand(x1), as_operand(x2)))


def reshape(x: ArrayLike, /, shape: Sequence[int] | int, *, copy: bool | None = None) -> Array:
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
    return wrap(_movement.reshape(as_operand(x), shape, copy=copy))


def roll(x: ArrayLike, /, shift: int | Sequence[int], *, axis: int | Sequence[int] | None = None) -> Array:
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
    return wrap(_movement.roll(as_operand(x), shift, axis=axis))


def round(x: ArrayLike, /) -> Array:
    """Rounded to the nearest integer, halves to even; of complex numbers each part.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.round(as_operand(x)))


def scaled_dot_product_attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, *, mask: ArrayLike | None = None, causal: bool =
    False, scale: float | None = None
) -> Array:
    """``softmax(query @ key^T * scale + mask) @ value`` (Vaswani et al. 2017, arXiv:1706.03762), without
    keeping the scores of all pairs in memory (Dao et al. 2022, arXiv:2205.14135).

    Args:
        query: array of real floating dtype, ``[..., targets, size]``.
        key: ``[..., sources, size]``.
        value: ``[..., sources, features]``; leading dimensions broadcast, dtypes promote.
        mask: broadcast to ``[..., targets, sources]``: bool, where it is False nothing is taken; or floating,
            added to the scores.
        causal: whether place i takes from places 0 to i alone.
        scale: None for 1 / sqrt(size).

    Returns:
        Array ``[..., targets, features]``; zeros where everything is masked. 16-bit operands are computed
        with in float32, and the result is rounded once.

    Raises:
        ShapeError: sizes of query and key, or the numbers of keys and values, differ; or leading dimensions
            or the mask do not broadcast.
        DTypeError: an operand is not of a real floating dtype, or the mask neither of that nor bool.

    >>> import treadle as td
    >>> td.scaled_dot_product_attention(td.ones((2, 3, 4)), td.ones((2, 5, 4)), td.ones((2, 5, 6))).shape
    (2, 3, 6)
    """
    return wrap(
        _attention.scaled_dot_product_attention(as_operand(query), as_operand(key), as_operand(value),
        mask=None if mask is None else as_operand(mask), causal=causal, scale=scale)
    )


def searchsorted(
    x1: ArrayLike, x2: ArrayLike, /, *, side: str = 'left', sorter: ArrayLike | None = None
) -> Array:
    """Where numbers would have to be inserted into a sorted array to keep it sorted.

    Args:
        x1: 1-d array of real dtype in ascending order.
        x2: array of real dtype, or a number: what to look for.
        side: "left" for the place before elements that are equal, "right" for the place after them.
        sorter: array of the indices that sort x1, where it is not in order.

    Returns:
        Array of dtype int64 and x2's shape: 0 to the size of x1.

    Raises:
        ShapeError: x1 is not 1-d.
        ArgumentError: side is neither of the two.
        DTypeError: a dtype is not real.
    """
    return wrap(
        _sort.searchsorted(as_operand(x1), as_operand(x2), side=side, sorter=None if sorter is None else
        as_operand(sorter))
    )


def sigmoid(x: ArrayLike, /) -> Array:
    """The logistic function 1 / (1 + exp(-x)).

    Args:
        x: array of any shape and real floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    return wrap(_elementwise.sigmoid(as_operand(x)))


def sign(x: ArrayLike, /) -> Array:
    """-1, 0 or 1, of complex numbers x / abs(x); NaN of NaN.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.sign(as_operand(x)))


def signbit(x: ArrayLike, /) -> Array:
    """Whether the sign bit is set, of -0.0 and negative NaN too.

    Args:
        x: array of any shape and real floating dtype, or a Python number.

    Returns:
        Array of the same shape and the dtype bool.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    return wrap(_elementwise.signbit(as_operand(x)))


def silu(x: ArrayLike, /) -> Array:
    """x * sigmoid(x) (Elfwing et al. 2017, arXiv:1702.03118).

    Args:
        x: array of real floating dtype, any shape.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    return wrap(_elementwise.silu(as_operand(x)))


def sin(x: ArrayLike, /) -> Array:
    """Sine of x in radians.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.sin(as_operand(x)))


def sinh(x: ArrayLike, /) -> Array:
    """Hyperbolic sine.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.sinh(as_operand(x)))


def softmax(x: ArrayLike, /, *, axis: int = -1) -> Array:
    """exp(x) over its sum along a dimension, without overflow.

    Args:
        x: array of real floating dtype.
        axis: the dimension along which the results sum to one.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ArgumentError: axis is out of range.
    """
    return wrap(_reduction.softmax(as_operand(x), axis=axis))


def softplus(x: ArrayLike, /) -> Array:
    """log(1 + exp(x)) without overflow.

    Args:
        x: array of real floating dtype, any shape.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
    """
    return wrap(_elementwise.softplus(as_operand(x)))


def sort(x: ArrayLike, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The elements in order along a dimension; NaN counts as larger than any number.

    Args:
        x: array of real dtype.
        axis: the dimension.
        descending: from the largest to the smallest.
        stable: whether equal elements must keep their order; they do in any case.

    Returns:
        Array of the same shape and dtype.

    Raises:
        DTypeError: x is not of a real dtype.
        ArgumentError: axis is out of range.
    """
    return wrap(_sort.sort(as_operand(x), axis=axis, descending=descending, stable=stable))


def sqrt(x: ArrayLike, /) -> Array:
    """Square root; NaN below zero.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.sqrt(as_operand(x)))


def square(x: ArrayLike, /) -> Array:
    """x * x.

    Args:
        x: array of any shape and numeric dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a numeric dtype.
    """
    return wrap(_elementwise.square(as_operand(x)))


def squeeze(x: ArrayLike, /, axis: int | Sequence[int]) -> Array:
    """Without the given dimensions, which must be of size 1.

    Args:
        x: array of any dtype.
        axis: the dimensions to leave out.

    Returns:
        Array with as many fewer dimensions.

    Raises:
        ShapeError: one of them is not of size 1.
    """
    return wrap(_movement.squeeze(as_operand(x), axis))


def stack(arrays: Sequence[ArrayLike], /, *, axis: int = 0) -> Array:
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
    return wrap(_movement.stack(as_operands(arrays), axis=axis))


def std(
    x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, correction: float = 0.0, keepdims: bool
    = False
) -> Array:
    """The standard deviation over dimensions: the square root of `var`.

    Args:
        x: array of real floating dtype.
        axis: the dimensions; None for all.
        correction: subtracted from the number of elements in the divisor.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of x's dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ArgumentError: axis is out of range or repeated.
    """
    return wrap(_reduction.std(as_operand(x), axis=axis, correction=correction, keepdims=keepdims))


def stop_gradient(x: ArrayLike, /) -> Array:
    """x itself, through which no gradient flows.

    Args:
        x: array of any shape and dtype.

    Returns:
        Array of the same shape, dtype and values.
    """
    return wrap(_elementwise.stop_gradient(as_operand(x)))


def subtract(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 - x2.

    Args:
        x1: array of numeric dtype, or a Python number.
        x2: likewise; the two broadcast together and promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the dtypes do not promote to one, or it is not numeric.
    """
    return wrap(_elementwise.subtract(as_operand(x1), as_operand(x2)))


def sum(
    x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, dtype: Any = None, keepdims: bool =
    False
) -> Array:
    """The sum over dimensions.

    Args:
        x: array of numeric or bool dtype.
        axis: the dimensions to sum over; None for all.
        dtype: of the result; None keeps floating dtypes and sums integers and bools as int64 (unsigned as
            uint64).
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array without the dimensions; 0 where there is nothing to sum.

    Raises:
        ArgumentError: axis is out of range or repeated.
        DTypeError: x is complex and dtype is real.
    """
    return wrap(_reduction.sum(as_operand(x), axis=axis, dtype=dtype, keepdims=keepdims))


def take(x: ArrayLike, indices: ArrayLike, /, *, axis: int | None = None) -> Array:
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
    return wrap(_gather.take(as_operand(x), as_operand(indices), axis=axis))


def take_along_axis(x: ArrayLike, indices: ArrayLike, /, *, axis: int = -1) -> Array:
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
    return wrap(_gather.take_along_axis(as_operand(x), as_operand(indices), axis=axis))


def tan(x: ArrayLike, /) -> Array:
    """Tangent of x in radians.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.tan(as_operand(x)))


def tanh(x: ArrayLike, /) -> Array:
    """Hyperbolic tangent.

    Args:
        x: array of any shape and floating dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a floating dtype.
    """
    return wrap(_elementwise.tanh(as_operand(x)))


def tensordot(
    x1: ArrayLike, x2: ArrayLike, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2
) -> Array:
    """The sum of products over pairs of dimensions.

    Args:
        x1: array of numeric dtype.
        x2: likewise; dtypes promote.
        axes: a number n, to pair the last n dimensions of x1 with the first n of x2 in order; or the
            dimensions of x1 and, in the same order, those of x2.

    Returns:
        Array with the other dimensions of x1, then those of x2.

    Raises:
        ShapeError: paired sizes differ.
        ArgumentError: axes do not pair up, or are out of range.
    """
    return wrap(_contraction.tensordot(as_operand(x1), as_operand(x2), axes=axes))


def tile(x: ArrayLike, repetitions: Sequence[int], /) -> Array:
    """The array repeated as a whole along each dimension.

    Args:
        x: array of any dtype.
        repetitions: how often, for each dimension, counted from the last.

    Returns:
        Array whose sizes are multiplied by the repetitions.

    Raises:
        ArgumentError: a repetition is negative.
    """
    return wrap(_movement.tile(as_operand(x), repetitions))


def top_k(x: ArrayLike, k: int, /, *, axis: int = -1, mode: str = 'largest') -> tuple[Array, Array]:
    """The k largest or smallest elements along a dimension, in order, and their places.

    Args:
        x: array of real dtype.
        k: how many.
        axis: the dimension.
        mode: "largest", of which NaN counts as the largest, or "smallest".

    Returns:
        The elements, of x's dtype, and their indices, of dtype int64; the dimension has size k in both. Of
        equal elements the first are taken.

    Raises:
        ArgumentError: k is not between 0 and the size of the dimension, or mode is neither of the two.
        DTypeError: x is not of a real dtype.
    """
    return wrap(_sort.top_k(as_operand(x), k, axis=axis, mode=mode))


def tril(x: ArrayLike, /, *, k: int = 0) -> Array:
    """The lower triangle of the matrices in the last two dimensions, zeros above it.

    Args:
        x: array of at least two dimensions.
        k: the highest diagonal kept: 0 for the main one, positive above it, negative below.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ShapeError: x has fewer than two dimensions.
    """
    return wrap(_creation.tril(as_operand(x), k=k))


def triu(x: ArrayLike, /, *, k: int = 0) -> Array:
    """The upper triangle of the matrices in the last two dimensions, zeros below it.

    Args:
        x: array of at least two dimensions.
        k: the lowest diagonal kept: 0 for the main one, positive above it, negative below.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ShapeError: x has fewer than two dimensions.
    """
    return wrap(_creation.triu(as_operand(x), k=k))


def trunc(x: ArrayLike, /) -> Array:
    """Rounded towards zero.

    Args:
        x: array of any shape and real dtype, or a Python number.

    Returns:
        Array of the same shape and the same dtype.

    Raises:
        DTypeError: x is not of a real dtype.
    """
    return wrap(_elementwise.trunc(as_operand(x)))


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices of an array along a dimension.

    Args:
        x: array of at least one dimension.
        axis: the dimension to take apart.

    Returns:
        As many arrays as the size of that dimension, each without it.

    Raises:
        ArgumentError: axis is out of range.
    """
    return wrap(_movement.unstack(as_operand(x), axis=axis))


def var(
    x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, correction: float = 0.0, keepdims: bool
    = False
) -> Array:
    """The variance over dimensions.

    Args:
        x: array of real floating dtype.
        axis: the dimensions; None for all.
        correction: subtracted from the number of elements in the divisor; 1 gives the unbiased estimate.
        keepdims: leave the dimensions in place with size 1.

    Returns:
        Array of x's dtype.

    Raises:
        DTypeError: x is not of a real floating dtype.
        ArgumentError: axis is out of range or repeated.
    """
    return wrap(_reduction.var(as_operand(x), axis=axis, correction=correction, keepdims=keepdims))


def vecdot(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Array:
    """The sum of conj(x1) * x2 over one dimension.

    Args:
        x1: array of numeric dtype.
        x2: likewise; the dimensions other than `axis` broadcast, dtypes promote.
        axis: the dimension to sum over, counted from the end and so negative, or 0 and up where the ranks are
            equal.

    Returns:
        Array of the broadcast shape without that dimension.

    Raises:
        ShapeError: the sizes along `axis` differ, or the other dimensions do not broadcast.
        ArgumentError: axis is out of range.
    """
    return wrap(_contraction.vecdot(as_operand(x1), as_operand(x2), axis=axis))


def where(condition: ArrayLike, x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 where the condition holds, x2 elsewhere.

    Args:
        condition: array of dtype bool.
        x1: array or Python number.
        x2: likewise; the three broadcast together, x1 and x2 promote to one dtype.

    Returns:
        Array of the broadcast shape and the promoted dtype.

    Raises:
        ShapeError: the shapes do not broadcast together.
        DTypeError: the condition is not bool.
    """
    return wrap(_elementwise.where(as_operand(condition), as_operand(x1), as_operand(x2)))


def zeros(shape: Sequence[int] | int, *, dtype: Any = None, device: str | None = None) -> Array:
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
    return wrap(_creation.zeros(shape, dtype=dtype, device=as_device(device)))


def zeros_like(x: ArrayLike, /, *, dtype: Any = None, device: str | None = None) -> Array:
    """Zeros in x's shape.

    Args:
        x: array of any dtype.
        dtype: of the result; None takes x's.
        device: where to put it; None for x's.

    Returns:
        Array of x's shape.
    """
    return wrap(_creation.zeros_like(as_operand(x), dtype=dtype, device=as_device(device)))
