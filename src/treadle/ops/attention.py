"""Attention: each place of a sequence takes a mean of values, weighted by how its query fits their keys.

Two records, `attention` and `attention_gradient`, whose kernels never store the scores of all pairs. Inside
them places come before heads, `[batch..., places, heads, size]`: so a projection's features are split into
heads, and joined again, without moving anything. Second gradients are written with ordinary ops.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Shape
from treadle.graph.node import Node, Op, Type, Types, make
from treadle.ops.batch import everywhere
from treadle.ops.contraction import MATMUL
from treadle.ops.creation import tril
from treadle.ops.elementwise import add, equal, exp, like, multiply, subtract, where
from treadle.ops.movement import expand_dims, matrix_transpose, moveaxis
from treadle.ops.record import (
    Operand,
    broadcast,
    broadcast_shapes,
    cast,
    describe,
    expect_kind,
    expect_node,
    filled,
    promoted,
    public,
    register,
    reshaped,
    results,
)
from treadle.ops.reduction import sum

WIDE = (dtypes.float32, dtypes.float64)
"""What the records compute in."""


# -- records


def _check(name: str, q: Type, k: Type, v: Type, *mask: Type) -> None:
    """[batch..., targets, heads, size], [batch..., sources, heads, size], [batch..., sources, heads,
    features], and a mask [batch..., heads, targets, sources].
    """
    types = (q, k, v, *mask)
    if any(type.dtype is not q.dtype for type in types) or q.dtype not in WIDE:
        raise DTypeError(f"[{name}] operands are {types}; expected all float32 or all float64")
    alike = len(q.shape) >= 3 and k.shape[:-3] == v.shape[:-3] == q.shape[:-3]
    if (
        not alike
        or q.shape[-2:] != k.shape[-2:]
        or len(v.shape) != len(k.shape)
        or v.shape[-3:-1] != k.shape[-3:-1]
        or any(m.shape != _pairs(q.shape, k.shape) for m in mask)
    ):
        raise ShapeError(
            f"[{name}] operands are {types}; expected [batch..., targets, heads, size], [batch..., sources, "
            f"heads, size], [batch..., sources, heads, features] and a mask [batch..., heads, targets, "
            f"sources]"
        )


def _pairs(q: Shape, k: Shape) -> Shape:
    """The shape of the scores."""
    return (*q[:-3], q[-2], q[-3], k[-3])


def _infer_attention(q: Type, k: Type, v: Type, *mask: Type, causal: bool, scale: float) -> Types:
    _check("attention", q, k, v, *mask)
    lead, (targets, heads, _) = q.shape[:-3], q.shape[-3:]
    return Types(
        [
            Type((*lead, targets, heads, v.shape[-1]), q.dtype),
            Type((*lead, heads, targets), q.dtype),
        ]
    )


def _scores_of(q: Any, k: Any, mask: tuple[Any, ...], causal: bool, scale: float) -> Any:
    """NumPy: [batch..., heads, targets, sources]."""
    scores = np.swapaxes(q, -3, -2) @ np.moveaxis(k, -3, -1) * q.dtype.type(scale)
    for added in mask:
        scores = np.where(np.isneginf(added), added, scores + added)
    if causal:
        past = np.tri(*scores.shape[-2:], dtype=bool)
        scores = np.where(past, scores, scores.dtype.type(-np.inf))
    return scores


def _attention_reference(q: Any, k: Any, v: Any, *mask: Any, causal: bool, scale: float) -> Any:
    scores = _scores_of(q, k, mask, causal, scale)
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isneginf(top), 0, top))
    total = np.sum(weights, axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        normalizer = np.squeeze(top + np.log(total), -1)
    y = weights @ np.swapaxes(v, -3, -2) / np.where(total == 0, 1, total)
    return np.swapaxes(y, -3, -2).astype(q.dtype), normalizer.astype(q.dtype)


def _attention_vjp(
    g: Any, y: Node, q: Node, k: Node, v: Node, *mask: Node, causal: bool, scale: float
) -> Any:
    by_value, by_normalizer = g
    value, normalizer = results(y)
    by_value = filled(0, value.shape, value.dtype) if by_value is None else by_value
    # A score's share of the gradient is its weight times (what it is worth - what all of its row are).
    worth = matrix_transpose(sum(multiply(by_value, value), axis=-1, dtype=value.dtype))
    worth = worth if by_normalizer is None else subtract(worth, by_normalizer)
    operands = (by_value, worth, normalizer, q, k, v, *mask)
    parts = results(make(ATTENTION_GRADIENT, operands, (causal, scale)))
    if not mask:
        return parts
    return (*parts, _Parts(*operands, causal=causal, scale=scale).by_scores)


def _infer_gradient(
    g: Type, worth: Type, normalizer: Type, q: Type, k: Type, v: Type, *mask: Type, causal: bool, scale: float
) -> Types:
    _check("attention_gradient", q, k, v, *mask)
    value, row = _infer_attention(q, k, v, *mask, causal=causal, scale=scale)
    if (g, worth, normalizer) != (value, row, row):
        raise ShapeError(f"[attention_gradient] {(g, worth, normalizer)} are not of {(value, row, row)}")
    return Types([q, k, v])


def _gradient_reference(
    g: Any, worth: Any, normalizer: Any, q: Any, k: Any, v: Any, *mask: Any, causal: bool, scale: float
) -> Any:
    g, q, k, v = (np.swapaxes(x, -3, -2) for x in (g, q, k, v))
    scores = _scores_of(np.swapaxes(q, -3, -2), np.swapaxes(k, -3, -2), mask, causal, scale)
    normalizer = np.where(np.isneginf(normalizer), 0, normalizer)
    weights = np.exp(scores - normalizer[..., None])
    by_scores = weights * (g @ np.swapaxes(v, -1, -2) - worth[..., None]) * q.dtype.type(scale)
    parts = by_scores @ k, np.swapaxes(by_scores, -1, -2) @ q, np.swapaxes(weights, -1, -2) @ g
    return tuple(np.swapaxes(part, -3, -2).astype(q.dtype) for part in parts)


class _Parts:
    """What the gradient of attention is made of, as ordinary ops over [batch..., heads, places, size] and
    [batch..., heads, targets, sources].
    """

    def __init__(
        self,
        g: Node,
        worth: Node,
        normalizer: Node,
        q: Node,
        k: Node,
        v: Node,
        *mask: Node,
        causal: bool,
        scale: float,
    ):
        self.g, self.q, self.k, self.v = (heads_first(x) for x in (g, q, k, v))
        scores = product(self.q, matrix_transpose(self.k))
        scores = multiply(scores, like(scale, scores))
        for added in mask:
            scores = add(scores, added)
        if causal:
            past = tril(filled(True, scores.shape, dtypes.bool))
            scores = where(past, scores, like(-math.inf, scores))
        # A row in which everything is masked has no weights.
        masked = equal(normalizer, like(-math.inf, normalizer))
        normalizer = where(masked, like(0, normalizer), normalizer)
        self.weights = exp(subtract(scores, row(normalizer, scores)))
        self.above = subtract(product(self.g, matrix_transpose(self.v)), row(worth, scores))
        self.by_scores = multiply(self.weights, self.above)


def product(x: Node, y: Node) -> Node:
    return make(MATMUL, (x, y))


def row(x: Node, pairs: Node) -> Node:
    """[..., targets] for every source."""
    return broadcast(expand_dims(x, axis=-1), pairs.shape)


def heads_first(x: Node) -> Node:
    """[..., places, heads, size] as [..., heads, places, size], and the reverse."""
    return moveaxis(x, -3, -2)


def _gradient_vjp(
    cotangents: Any,
    _: Node,
    g: Node,
    worth: Node,
    normalizer: Node,
    q: Node,
    k: Node,
    v: Node,
    *mask: Node,
    causal: bool,
    scale: float,
) -> Any:
    p = _Parts(g, worth, normalizer, q, k, v, *mask, causal=causal, scale=scale)
    given = zip(cotangents, (q, k, v), strict=True)
    by_q, by_k, by_v = (
        heads_first(filled(0, x.shape, x.dtype) if cotangent is None else cotangent) for cotangent, x in given
    )
    turned = matrix_transpose
    factor = like(scale, p.weights)
    by_scores = add(product(by_q, turned(p.k)), product(p.q, turned(by_k)))
    by_scores = multiply(by_scores, factor)
    scaled = multiply(p.by_scores, factor)
    by_above = multiply(by_scores, p.weights)
    # Of the scores that the weights are made of.
    back = add(product(p.g, turned(by_v)), multiply(by_scores, p.above))
    back = multiply(back, p.weights)
    again = multiply(back, factor)
    found = (
        heads_first(add(product(p.weights, by_v), product(by_above, p.v))),
        sum(multiply(by_above, like(-1, by_above)), axis=-1, dtype=g.dtype),
        sum(multiply(back, like(-1, back)), axis=-1, dtype=g.dtype),
        heads_first(add(product(again, p.k), product(scaled, by_k))),
        heads_first(add(product(turned(again), p.q), product(turned(scaled), by_q))),
        heads_first(product(turned(by_above), p.g)),
    )
    return (*found, back) if mask else found


ATTENTION = register(
    Op(
        "attention", _infer_attention, _attention_reference, _attention_vjp, ("causal", "scale"),
        batch=everywhere,
        doc="softmax(q k^T * scale + mask) v by heads, and the logarithms of the sums of exponentials.",
    )
)  # fmt: skip
ATTENTION_GRADIENT = register(
    Op(
        "attention_gradient", _infer_gradient, _gradient_reference, _gradient_vjp, ("causal", "scale"),
        batch=everywhere,
        doc="The gradients of attention by q, k and v, of its results and their gradient; the weights are "
        "computed anew.",
    )
)  # fmt: skip


# -- what users call


@public
def scaled_dot_product_attention(
    query: Operand,
    key: Operand,
    value: Operand,
    *,
    mask: Operand | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Node:
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
    name = "scaled_dot_product_attention"
    operands, dtype = promoted(name, (query, key, value))
    given = [
        expect_node(name, label, x) for label, x in zip(("query", "key", "value"), operands, strict=True)
    ]
    for label, x in zip(("query", "key", "value"), given, strict=True):
        expect_kind(name, label, x, "real floating")
    q, k, v = (cast(x, dtype) for x in given)
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"[{name}] query has shape {q.shape}, key {k.shape}, value {v.shape}: expected "
            f"[..., targets, size], [..., sources, size], [..., sources, features]"
        )
    if scale is None:
        if not isinstance(q.shape[-1], int):
            raise ShapeError(f"[{name}] the size of query, of shape {q.shape}, is not known: give scale=")
        scale = 1 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0
    if isinstance(scale, bool) or not isinstance(scale, (int, float)):
        raise ArgumentError(f"[{name}] scale={scale!r}; expected a Python number, or None for 1 / sqrt(size)")
    lead = broadcast_shapes(
        name,
        [q.shape[:-2], k.shape[:-2], v.shape[:-2]],
        ["leading dimensions of query", "of key", "of value"],
    )
    wide = dtype if dtype in WIDE else dtypes.float32
    # One head where there are none, in the last leading dimension; a single one belongs to the batch.
    alone = len(lead) < 2
    inside = []
    for x in (q, k, v):
        x = broadcast(cast(x, wide), (*lead, *x.shape[-2:]))
        inside.append(expand_dims(x, axis=-2) if alone else heads_first(x))
    pairs = (*lead, *(1,) * alone, q.shape[-2], k.shape[-2])
    if mask is not None:
        inside.append(_added(name, mask, (*lead, q.shape[-2], k.shape[-2]), pairs, wide))
    y = results(make(ATTENTION, tuple(inside), (bool(causal), float(scale))))[0]
    y = reshaped(y, (*y.shape[:-2], y.shape[-1])) if alone else heads_first(y)
    return cast(y, dtype)


def _added(name: str, mask: Operand, given: Shape, pairs: Shape, dtype: dtypes.DType) -> Node:
    """A mask as what is added to the scores."""
    mask = expect_node(name, "mask", mask)
    if mask.dtype is dtypes.bool:
        mask = where(mask, filled(0, mask.shape, dtype), filled(-math.inf, mask.shape, dtype))
    elif mask.dtype.kind != "float":
        raise DTypeError(f"[{name}] mask is {describe(mask)}; expected bool or a real floating dtype")
    if broadcast_shapes(name, [mask.shape, given], ["mask", "the scores"]) != given:
        raise ShapeError(f"[{name}] mask has shape {mask.shape}; expected one that broadcasts to {given}")
    return reshaped(broadcast(cast(mask, dtype), given), pairs)
