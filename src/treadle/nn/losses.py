"""Losses: how far predictions are from what was wanted. None of them broadcasts its operands silently, and
16-bit operands are taken in float32.

Each takes `reduction`: "mean" over all elements (or examples), "sum", or "none" for one value each.
"""

from __future__ import annotations

from typing import Any

import treadle as td
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.nn.mixed import wide
from treadle.ops.record import naming

REDUCTIONS = ("mean", "sum", "none")


def _same_shape(name: str, a: td.Array, b: td.Array, names: tuple[str, str]) -> tuple[td.Array, td.Array]:
    """Both as arrays, not of 16 bits, refused if one would be broadcast to the other."""
    a, b = wide(td.asarray(a)), wide(td.asarray(b))
    if a.shape != b.shape:
        raise ShapeError(
            f"[{name}] {names[0]} has shape {a.shape}, {names[1]} has shape {b.shape}: they must be equal"
            + (naming(a.shape, b.shape) or "; reshape one of them")
        )
    return a, b


def _reduced(name: str, values: td.Array, reduction: str) -> td.Array:
    if reduction not in REDUCTIONS:
        raise ArgumentError(f"[{name}] reduction={reduction!r}; it is one of {', '.join(REDUCTIONS)}")
    if reduction == "none":
        return values
    return td.mean(values) if reduction == "mean" else td.sum(values)


def squared_error(prediction: td.Array, target: td.Array, *, reduction: str = "mean") -> td.Array:
    """(prediction - target)**2, the squared L2 loss.

    Args:
        prediction, target: floating arrays of one shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.

    >>> import treadle as td
    >>> td.nn.squared_error(td.asarray([1.0, 3.0]), td.asarray([1.0, 1.0])).item()
    2.0
    """
    prediction, target = _same_shape("squared_error", prediction, target, ("prediction", "target"))
    return _reduced("squared_error", td.square(prediction - target), reduction)


def absolute_error(prediction: td.Array, target: td.Array, *, reduction: str = "mean") -> td.Array:
    """|prediction - target|, the L1 loss.

    Args:
        prediction, target: floating arrays of one shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.
    """
    prediction, target = _same_shape("absolute_error", prediction, target, ("prediction", "target"))
    return _reduced("absolute_error", td.abs(prediction - target), reduction)


def huber(prediction: td.Array, target: td.Array, *, delta: float = 1.0, reduction: str = "mean") -> td.Array:
    """Half the square of the error up to `delta`, linear beyond (Huber 1964).

    Args:
        prediction, target: floating arrays of one shape.
        delta: where it becomes linear, positive.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.
    """
    if not delta > 0:
        raise ArgumentError(f"[huber] delta={delta} is not positive")
    prediction, target = _same_shape("huber", prediction, target, ("prediction", "target"))
    size = td.abs(prediction - target)
    values = td.where(size <= delta, 0.5 * td.square(size), delta * (size - 0.5 * delta))
    return _reduced("huber", values, reduction)


def hinge(scores: td.Array, labels: td.Array, *, margin: float = 1.0, reduction: str = "mean") -> td.Array:
    """The multi-class support vector machine's loss: by how much each wrong class comes within `margin` of
    the right one, summed over the wrong classes (Weston and Watkins 1999).

    Args:
        scores: floating, ``[batch, classes]``.
        labels: integers ``[batch]``.
        margin: how far the right class should be ahead.
        reduction: over the examples.

    Raises:
        ShapeError: the shapes do not fit.
        IndexingError: a label is not from 0 to classes - 1 (found when the graph runs).
    """
    scores, labels = _classes("hinge", scores, labels)
    right = td.one_hot(labels, scores.shape[-1], dtype=scores.dtype, outside="error")
    own = td.sum(scores * right, axis=-1, keepdims=True)
    behind = td.maximum(scores - own + margin, 0.0) * (1 - right)
    return _reduced("hinge", td.sum(behind, axis=-1), reduction)


def _classes(name: str, scores: td.Array, labels: td.Array) -> tuple[td.Array, td.Array]:
    scores, labels = wide(td.asarray(scores)), td.asarray(labels)
    if labels.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"[{name}] labels are {labels.dtype}; expected integers")
    if scores.ndim < 1 or scores.shape[:-1] != labels.shape:
        raise ShapeError(
            f"[{name}] scores have shape {scores.shape}, labels {labels.shape}: expected "
            f"[..., classes] and [...]" + naming(scores.shape[:-1], labels.shape)
        )
    return scores, labels


def cross_entropy(
    scores: td.Array,
    target: td.Array,
    *,
    smoothing: float = 0.0,
    ignore: int | None = None,
    reduction: str = "mean",
) -> td.Array:
    """Minus the log-probability of the right class under softmax of the scores.

    Args:
        scores: floating, ``[..., classes]``.
        target: integers ``[...]``, or probabilities ``[..., classes]``.
        smoothing: how much of the probability is spread over all classes (Szegedy et al. 2016,
            arXiv:1512.00567).
        ignore: a label whose examples do not count.
        reduction: over the examples, those ignored left out.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: target has the shape of labels, but is not of integers.
        IndexingError: a label is not from 0 to classes - 1 (found when the graph runs).
        ArgumentError: smoothing is not in [0, 1), or `ignore` is given with probabilities.

    >>> import treadle as td
    >>> round(td.nn.cross_entropy(td.asarray([[0.0, 0.0]]), td.asarray([1])).item(), 4)
    0.6931
    """
    if not 0 <= smoothing < 1:
        raise ArgumentError(f"[cross_entropy] smoothing={smoothing} is not in [0, 1)")
    scores, target = wide(td.asarray(scores)), td.asarray(target)
    logs = td.log_softmax(scores, axis=-1)
    classes: Any = scores.shape[-1]
    if target.dtype.kind not in ("int", "uint"):
        if ignore is not None:
            raise ArgumentError("[cross_entropy] ignore is a label; target holds probabilities")
        if target.ndim == scores.ndim - 1:
            raise DTypeError(
                f"[cross_entropy] target has shape {target.shape} and dtype {target.dtype}: labels are "
                f"integers, td.astype(target, td.int64); probabilities have the scores' shape, {scores.shape}"
            )
        scores, target = _same_shape("cross_entropy", scores, target, ("scores", "target"))
        values = -td.sum((target * (1 - smoothing) + smoothing / classes) * logs, axis=-1)
        return _reduced("cross_entropy", values, reduction)
    scores, target = _classes("cross_entropy", scores, target)
    counted = None if ignore is None else target != ignore
    labels = target if counted is None else td.where(counted, target, 0)
    chosen = td.one_hot(labels, classes, dtype=logs.dtype, outside="error")
    values = -(1 - smoothing) * td.sum(chosen * logs, axis=-1)
    if smoothing:
        values = values - smoothing * td.mean(logs, axis=-1)
    if counted is None:
        return _reduced("cross_entropy", values, reduction)
    values = td.where(counted, values, 0.0)
    if reduction == "mean":
        return td.sum(values) / td.maximum(td.sum(td.astype(counted, values.dtype)), 1.0)
    return _reduced("cross_entropy", values, reduction)


def binary_cross_entropy(logits: td.Array, target: td.Array, *, reduction: str = "mean") -> td.Array:
    """Minus the log-probability of the target under sigmoid of the logits, without overflow.

    Args:
        logits: floating.
        target: 0 and 1, or probabilities, of the same shape.
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the shapes differ.
    """
    logits, target = _same_shape("binary_cross_entropy", logits, target, ("logits", "target"))
    target = td.astype(target, logits.dtype)
    values = td.maximum(logits, 0.0) - logits * target + td.log1p(td.exp(-td.abs(logits)))
    return _reduced("binary_cross_entropy", values, reduction)


def kl_divergence(log_prediction: td.Array, target: td.Array, *, reduction: str = "mean") -> td.Array:
    """The divergence of predictions, given as log-probabilities, from target probabilities (Kullback and
    Leibler 1951), summed over the last dimension.

    Args:
        log_prediction, target: floating arrays of one shape ``[..., classes]``.
        reduction: over the examples.

    Raises:
        ShapeError: the shapes differ.
    """
    logs, target = _same_shape("kl_divergence", log_prediction, target, ("log_prediction", "target"))
    positive = target > 0
    own = td.where(positive, target * td.log(td.where(positive, target, 1.0)), 0.0)
    return _reduced("kl_divergence", td.sum(own - target * logs, axis=-1), reduction)


def triplet(
    anchor: td.Array, same: td.Array, other: td.Array, *, margin: float = 1.0, reduction: str = "mean"
) -> td.Array:
    """By how much an anchor is not nearer, by `margin`, to one of its class than to one of another (Schroff
    et al. 2015, arXiv:1503.03832), with Euclidean distances over the last dimension.

    Args:
        anchor, same, other: floating arrays of one shape ``[..., features]``.
        margin: the distance wanted between both distances.
        reduction: over the examples.

    Raises:
        ShapeError: the shapes differ.
    """
    anchor, same = _same_shape("triplet", anchor, same, ("anchor", "same"))
    anchor, other = _same_shape("triplet", anchor, other, ("anchor", "other"))
    near, far = (td.sqrt(td.sum(td.square(anchor - to + 1e-6), axis=-1)) for to in (same, other))
    return _reduced("triplet", td.maximum(near - far + margin, 0.0), reduction)
