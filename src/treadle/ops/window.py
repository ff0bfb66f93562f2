"""Convolutions: sums of products over windows that move along one to three spatial dimensions.

A convolution here is a cross-correlation, as in every framework. Three records are closed under gradients:
the convolution, and its gradients by the input and by the weights, each linear in both of its operands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Shape, Size, quotient
from treadle.graph.node import Node, Op, Type, make
from treadle.ops.batch import Flags
from treadle.ops.contraction import widened
from treadle.ops.elementwise import conj
from treadle.ops.movement import moveaxis
from treadle.ops.record import Operand, cast, expect_kind, promoted, public, register, reshaped

Sizes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]


# -- geometry


def output_sizes(
    name: str, sizes: Shape, window: Shape, stride: Sizes, padding: Padding, dilation: Sizes
) -> Shape:
    """How many windows fit along each spatial dimension."""
    result = []
    for size, n, step, (low, high), gap in zip(sizes, window, stride, padding, dilation, strict=True):
        if not (n > 0 and step > 0 and gap > 0 and low >= 0 and high >= 0):
            raise ArgumentError(
                f"[{name}] window {window}, stride {stride}, padding {padding}, dilation {dilation}: sizes "
                f"are positive, padding is not negative"
            )
        reach = gap * (n - 1) + 1
        if size + low + high < reach:
            dilated = f" with dilation {dilation}" if set(dilation) != {1} else ""
            raise ShapeError(
                f"[{name}] a window of {window}{dilated} does not fit into the spatial sizes {sizes} of x "
                f"with padding {padding}"
            )
        result.append((size + low + high - reach) // step + 1)
    return tuple(result)


def per_dimension(name: str, argument: str, value: Any, count: int) -> Sizes:
    """A positive number for each spatial dimension, from one for all or one for each."""
    numbers = (value,) * count if isinstance(value, int) else value
    if not isinstance(numbers, (tuple, list)) or len(numbers) != count:
        raise ArgumentError(
            f"[{name}] {argument}={value!r}; expected one integer, or one for each of the {count} spatial "
            f"dimensions"
        )
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
        raise ArgumentError(f"[{name}] {argument}={value!r}; expected positive integers")
    return tuple(numbers)


def read_padding(
    name: str, padding: Any, sizes: Shape, window: Shape, stride: Sizes, dilation: Sizes
) -> Padding:
    """The elements added before and after each spatial dimension."""
    if padding == "valid":
        return ((0, 0),) * len(window)
    if padding == "same":
        return tuple(
            _same(size, gap * (n - 1) + 1, step)
            for size, n, step, gap in zip(sizes, window, stride, dilation, strict=True)
        )
    if isinstance(padding, str):
        raise ArgumentError(
            f'[{name}] padding={padding!r}; there are "same", "valid", integers and pairs of them'
        )
    items = (padding,) * len(window) if isinstance(padding, int) else padding
    if not isinstance(items, (tuple, list)) or len(items) != len(window):
        raise ArgumentError(
            f"[{name}] padding={padding!r}; expected one item for each of the {len(window)} spatial "
            f"dimensions"
        )
    pairs = [(item, item) if isinstance(item, int) else item for item in items]
    for pair in pairs:
        if (
            not isinstance(pair, (tuple, list))
            or len(pair) != 2
            or not all(isinstance(n, int) and n >= 0 for n in pair)
        ):
            raise ArgumentError(
                f"[{name}] padding={padding!r}; expected integers of 0 and up, or pairs (before, after) of "
                f"them"
            )
    return tuple((low, high) for low, high in pairs)


def _same(size: Size, reach: int, step: int) -> tuple[int, int]:
    """What makes ceil(size / step) windows, the odd element after."""
    missing = max(0, (-(-size // step) - 1) * step + reach - size)
    return missing // 2, missing - missing // 2


def taps(
    window: Sizes, output: Sizes, stride: Sizes, dilation: Sizes
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Every place of a window, row-major, and the slice of the padded input that it meets on its way."""
    for place in itertools.product(*map(range, window)):
        yield (
            place,
            tuple(
                slice(t * gap, t * gap + (n - 1) * step + 1, step)
                for t, gap, n, step in zip(place, dilation, output, stride, strict=True)
            ),
        )


def padded(x: Any, padding: Padding, value: Any = 0) -> Any:
    """A NumPy array with its spatial dimensions padded."""
    return np.pad(x, [(0, 0)] * (x.ndim - len(padding)) + list(padding), constant_values=value)


def unpadded(x: Any, padding: Padding) -> Any:
    return x[
        (
            ...,
            *(slice(low, n - high) for n, (low, high) in zip(x.shape[-len(padding) :], padding, strict=True)),
        )
    ]


def padded_zeros(lead: Sizes, size: Sizes, padding: Padding, dtype: Any) -> Any:
    return np.zeros((*lead, *(n + low + high for n, (low, high) in zip(size, padding, strict=True))), dtype)


# -- records

SHARED = ("stride", "padding", "dilation", "groups")

Fold = tuple[tuple[int, bool], tuple[int, bool]]
"""The dimension of an operand that the examples join, and that of the result; for each, whether its channels
are in groups.
"""
FOLDS: dict[str, tuple[Fold, Fold, tuple[int, int, int]]] = {
    "conv": (((0, False), (0, False)), ((0, True), (1, True)), (1, 0, 1)),
    "conv_input_gradient": (((0, False), (0, False)), ((1, False), (1, True)), (1, 0, 1)),
    "conv_weight_gradient": (((1, True), (1, False)), ((1, True), (0, True)), (1, 1, 0)),
}
"""For each of the three records: where the examples go if only the first operand differs between them, or
only the second; and, if both do, the dimensions of both and of the result whose channels get a group for each
example.
"""


def _joined(x: Node, axis: int, groups: int) -> Node:
    """[examples, ..., groups * channels, ...] as [..., groups * examples * channels, ...]."""
    size, *shape = x.shape
    channels = shape[axis] if groups == 1 else shape[axis] // groups
    apart = reshaped(x, (size, *shape[:axis], groups, channels, *shape[axis + 1 :]))
    total = groups * size * channels
    return reshaped(moveaxis(apart, 0, axis + 1), (*shape[:axis], total, *shape[axis + 1 :]))


def _apart(x: Node, size: Size, shape: Shape, axis: int, groups: int) -> Node:
    """The reverse: of one example, `shape`."""
    channels = shape[axis] if groups == 1 else shape[axis] // groups
    apart = reshaped(x, (*shape[:axis], groups, size, channels, *shape[axis + 1 :]))
    return reshaped(moveaxis(apart, axis + 1, 0), (size, *shape))


def _conv_batch(y: Node, size: Size, inputs: Sequence[Node], batched: Flags) -> Node:
    """One convolution: a larger batch, more channels, or a group for every example."""
    first, second, both = FOLDS[y.op.name]
    groups = y.attribute("groups")
    if all(batched):
        operands = tuple([_joined(x, axis, 1) for x, axis in zip(inputs, both, strict=False)])
        made = make(y.op, operands, (*y.attributes[:-1], size * groups))
        return _apart(made, size, y.shape, both[2], 1)
    place = 0 if batched[0] else 1
    (axis, grouped), (result_axis, result_grouped) = (first, second)[place]
    operands = list(inputs)
    operands[place] = _joined(inputs[place], axis, groups if grouped else 1)
    made = make(y.op, tuple(operands), y.attributes)
    return _apart(made, size, y.shape, result_axis, groups if result_grouped else 1)


def _check_operands(name: str, x: Type, w: Type) -> None:
    if x.dtype is not w.dtype or x.dtype.kind not in dtypes.KINDS["numeric"]:
        raise DTypeError(f"[{name}] operands are {x!r} and {w!r}; expected one numeric dtype")
    if not 3 <= len(x.shape) <= 5 or len(w.shape) != len(x.shape):
        raise ShapeError(
            f"[{name}] operands have shapes {x.shape} and {w.shape}; expected equal ranks, of 1 to 3 spatial "
            f"dimensions"
        )


def _infer_conv(x: Type, w: Type, stride: Sizes, padding: Padding, dilation: Sizes, groups: int) -> Type:
    _check_operands("conv", x, w)
    if x.shape[1] != w.shape[1] * groups or quotient(w.shape[0], groups) is None:
        raise ShapeError(
            f"[conv] x of shape {x.shape} has {x.shape[1]} channels, w of shape {w.shape} with "
            f"groups={groups} takes "
            f"{w.shape[1] * groups} to {w.shape[0]}: w is [out_channels, in_channels / groups, spatial...], "
            f"and groups divides both"
        )
    sizes = output_sizes("conv", x.shape[2:], w.shape[2:], stride, padding, dilation)
    return Type((x.shape[0], w.shape[0], *sizes), x.dtype)


def _grouped(x: Any, groups: int, axis: int) -> Any:
    """Channels as [groups, channels of a group], widened for summing."""
    x = widened(x)
    return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])


def _conv_reference(x: Any, w: Any, stride: Sizes, padding: Padding, dilation: Sizes, groups: int) -> Any:
    output = output_sizes("conv", x.shape[2:], w.shape[2:], stride, padding, dilation)
    source, weights = _grouped(padded(x, padding), groups, 1), _grouped(w, groups, 0)
    result = np.zeros((x.shape[0], *weights.shape[:2], *output), source.dtype)
    for place, met in taps(w.shape[2:], output, stride, dilation):  # type: ignore[arg-type]
        result += np.einsum("bgc...,gkc->bgk...", source[(..., *met)], weights[(..., *place)])
    return result.reshape(x.shape[0], w.shape[0], *output).astype(x.dtype)


def _conv_vjp(
    g: Node, y: Node, x: Node, w: Node, stride: Any, padding: Any, dilation: Any, groups: Any
) -> tuple[Node, Node]:
    shared = (stride, padding, dilation, groups)
    return (
        make(CONV_INPUT_GRADIENT, (g, conj(w)), (x.shape[2:], *shared)),
        make(CONV_WEIGHT_GRADIENT, (conj(x), g), (w.shape[2:], *shared)),
    )


CONV = register(
    Op("conv", _infer_conv, _conv_reference, _conv_vjp, attributes=SHARED, batch=_conv_batch,
       doc="y[b, k, o] = sum over c, t of x[b, c, o * stride - padding + t * dilation] * w[k, c, t].")
)  # fmt: skip


def _infer_input_gradient(
    g: Type, w: Type, size: Shape, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Type:
    _check_operands("conv_input_gradient", g, w)
    x = Type((g.shape[0], w.shape[1] * groups, *size), g.dtype)
    _expect("conv_input_gradient", "g", g, _infer_conv(x, w, stride, padding, dilation, groups))
    return x


def _expect(name: str, argument: str, given: Type, wanted: Type) -> None:
    if given is not wanted:
        raise ShapeError(f"[{name}] {argument} is {given!r}; the convolution gives {wanted!r}")


def _input_gradient_reference(
    g: Any, w: Any, size: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Any:
    cotangent, weights = _grouped(g, groups, 1), _grouped(w, groups, 0)
    result = padded_zeros((g.shape[0], groups, w.shape[1]), size, padding, cotangent.dtype)
    for place, met in taps(w.shape[2:], g.shape[2:], stride, dilation):
        result[(..., *met)] += np.einsum("bgk...,gkc->bgc...", cotangent, weights[(..., *place)])
    return unpadded(result, padding).reshape(g.shape[0], w.shape[1] * groups, *size).astype(g.dtype)


def _input_gradient_vjp(h: Node, x: Node, g: Node, w: Node, size: Shape, **shared: Any) -> tuple[Node, Node]:
    attributes = tuple(shared[name] for name in SHARED)
    return (
        make(CONV, (h, conj(w)), attributes),
        make(CONV_WEIGHT_GRADIENT, (h, conj(g)), (w.shape[2:], *attributes)),
    )


CONV_INPUT_GRADIENT = register(
    Op("conv_input_gradient", _infer_input_gradient, _input_gradient_reference, _input_gradient_vjp,
       attributes=("size", *SHARED), batch=_conv_batch,
       doc="The gradient of `conv` by an input of spatial sizes `size`: of g and w.")
)  # fmt: skip


def _infer_weight_gradient(
    x: Type, g: Type, size: Shape, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Type:
    _check_operands("conv_weight_gradient", x, g)
    channels = quotient(x.shape[1], groups)
    w = Type((g.shape[1], x.shape[1] if channels is None else channels, *size), x.dtype)
    _expect("conv_weight_gradient", "g", g, _infer_conv(x, w, stride, padding, dilation, groups))
    return w


def _weight_gradient_reference(
    x: Any, g: Any, size: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Any:
    source, cotangent = _grouped(padded(x, padding), groups, 1), _grouped(g, groups, 1)
    result = np.zeros((*cotangent.shape[1:3], source.shape[2], *size), source.dtype)
    flat = cotangent.reshape(*cotangent.shape[:3], -1)
    for place, met in taps(size, g.shape[2:], stride, dilation):
        seen = source[(..., *met)].reshape(*source.shape[:3], -1)
        result[(..., *place)] = np.einsum("bgcs,bgks->gkc", seen, flat)
    return result.reshape(g.shape[1], source.shape[2], *size).astype(x.dtype)


def _weight_gradient_vjp(h: Node, w: Node, x: Node, g: Node, size: Shape, **shared: Any) -> tuple[Node, Node]:
    attributes = tuple(shared[name] for name in SHARED)
    return (
        make(CONV_INPUT_GRADIENT, (conj(g), h), (x.shape[2:], *attributes)),
        make(CONV, (conj(x), h), attributes),
    )


CONV_WEIGHT_GRADIENT = register(
    Op("conv_weight_gradient", _infer_weight_gradient, _weight_gradient_reference, _weight_gradient_vjp,
       attributes=("size", *SHARED), batch=_conv_batch,
       doc="The gradient of `conv` by weights of spatial sizes `size`: of x and g.")
)  # fmt: skip


@public
def conv(
    x: Operand,
    w: Operand,
    /,
    *,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Node:
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
    (left, right), dtype = promoted("conv", (x, w))
    x, w = cast(left, dtype), cast(right, dtype)
    for label, node in (("x", x), ("w", w)):
        expect_kind("conv", label, node, "numeric")
    if not 3 <= x.ndim <= 5 or w.ndim != x.ndim:
        raise ShapeError(
            f"[conv] x has shape {x.shape} and w {w.shape}; expected [batch, channels, spatial...] and "
            "[out_channels, in_channels / groups, spatial...] with 1 to 3 spatial dimensions"
        )
    if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1:
        raise ArgumentError(f"[conv] groups={groups!r} is not a positive integer")
    count, window = x.ndim - 2, w.shape[2:]
    steps = per_dimension("conv", "stride", stride, count)
    gaps = per_dimension("conv", "dilation", dilation, count)
    return make(
        CONV, (x, w), (steps, read_padding("conv", padding, x.shape[2:], window, steps, gaps), gaps, groups)
    )
