"""What is measured of predictions: sums over batches made in the compiled program, and the result of them on
the host. Knows nothing of loops.

Batches may be of different sizes: what is added up are sums and counts, never means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import treadle as td
from treadle.errors import ArgumentError, DTypeError, ShapeError

Given = str | Callable[..., Any]
"""A metric as users give it: its name, a `Metric`, or a function of outputs and targets."""


class Metric:
    """Base of metrics. A subclass writes `batch`, what is added up over batches, and `result`.

    >>> import treadle as td
    >>> from treadle import train
    >>> accuracy = train.Accuracy()
    >>> sums = accuracy.batch(td.asarray([[0.1, 0.9], [0.8, 0.2]]), td.asarray([1, 1]))
    >>> accuracy.result(*[total.numpy() for total in sums])
    0.5
    """

    collects = False
    """Whether what `batch` gives is kept, one batch after the other along the first dimension, not added up;
    such a metric is measured in evaluations alone.
    """

    def batch(self, outputs: Any, targets: Any) -> Sequence[td.Array]:
        """Of a batch: arrays whose shapes do not depend on its size. Integers are added up in int64, floats
        in float64.
        """
        raise NotImplementedError

    def result(self, *totals: np.ndarray) -> Any:
        """A number, or an array, of the totals."""
        raise NotImplementedError


class Mean(Metric):
    """The mean of a function of outputs and targets.

    Args:
        function: gives one value for each example (or each element of it), or the batch's mean, 0-d, which
            then counts as often as the batch has examples.
    """

    def __init__(self, function: Callable[[Any, Any], Any]):
        self.function = function

    def batch(self, outputs: Any, targets: Any) -> Sequence[td.Array]:
        values = td.asarray(self.function(outputs, targets))
        if values.dtype.kind == "complex":
            raise DTypeError(f"[Mean] the function gives {values.dtype}; expected real numbers")
        values = td.astype(values, td.float64)
        if values.ndim == 0:
            count = examples((targets, outputs))
            return values * count, td.asarray(count, dtype=td.int64)
        return td.sum(values), td.asarray(math.prod(values.shape), dtype=td.int64)

    def result(self, *totals: np.ndarray) -> float:
        total, count = totals
        return float(total / count) if count else math.nan


class Accuracy(Metric):
    """The share of examples whose class was found.

    Args:
        k: how many guesses count: whether the right class is among the k of the highest scores.
        threshold: for two classes with one score: from where on it means 1 (0 for logits).
        ignore: a label whose examples do not count.

    Outputs are scores ``[..., classes]``, targets labels ``[...]`` or probabilities ``[..., classes]``; with
    a threshold, both are of one shape.
    """

    def __init__(self, k: int = 1, *, threshold: float | None = None, ignore: int | None = None):
        if not isinstance(k, int) or k < 1:
            raise ArgumentError(f"[Accuracy] k={k!r} is not a positive integer")
        self.k, self.threshold, self.ignore = k, threshold, ignore

    def batch(self, outputs: Any, targets: Any) -> Sequence[td.Array]:
        if self.threshold is not None:
            if outputs.shape != targets.shape:
                raise ShapeError(
                    f"[Accuracy] with a threshold, outputs {outputs.shape} and targets {targets.shape} must "
                    f"have one shape; reshape one of them"
                )
            right = (outputs >= self.threshold) == (targets >= 0.5)
        else:
            if outputs.ndim and outputs.shape[-1] == 1:
                raise ShapeError(
                    f"[Accuracy] outputs of shape {outputs.shape} are one score an example, which is always "
                    f"the largest: for two classes give train.Accuracy(threshold=0), for numbers a function"
                )
            targets = _labels("Accuracy", outputs, targets)
            if self.k == 1:
                right = td.argmax(outputs, axis=-1) == targets
            else:
                right = _guesses_before(outputs, targets) < self.k
        if self.ignore is None:
            count = td.asarray(math.prod(targets.shape), dtype=td.int64)
        else:
            counted = targets != self.ignore
            right, count = right & counted, td.sum(td.astype(counted, td.int64))
        return td.sum(td.astype(right, td.int64)), count

    def result(self, *totals: np.ndarray) -> float:
        right, count = totals
        return float(right / count) if count else math.nan


class Confusion(Metric):
    """How often each class was taken for each: int64 ``[classes, classes]``, a row for each right class.

    Outputs are scores ``[..., classes]``, targets labels ``[...]`` or probabilities ``[..., classes]``.
    """

    def batch(self, outputs: Any, targets: Any) -> Sequence[td.Array]:
        targets = _labels("Confusion", outputs, targets)
        classes = outputs.shape[-1]
        # Counts of a batch are exact in float32, whose products are native code.
        right = td.reshape(td.one_hot(targets, classes, dtype=td.float32), (-1, classes))
        taken = td.reshape(td.one_hot(td.argmax(outputs, axis=-1), classes, dtype=td.float32), (-1, classes))
        return (td.astype(td.matrix_transpose(right) @ taken, td.int64),)

    def result(self, *totals: np.ndarray) -> np.ndarray:
        return totals[0]


class Perplexity(Metric):
    """e to the mean cross-entropy: among how many classes one might as well guess.

    Args:
        ignore: a label that does not count, of padding.

    Outputs are scores ``[..., classes]``, targets labels ``[...]``.
    """

    def __init__(self, *, ignore: int | None = None):
        self.ignore = ignore

    def batch(self, outputs: Any, targets: Any) -> Sequence[td.Array]:
        values = td.nn.cross_entropy(outputs, targets, ignore=self.ignore, reduction="sum")
        if self.ignore is None:
            count = td.asarray(math.prod(targets.shape), dtype=td.int64)
        else:
            count = td.sum(td.astype(targets != self.ignore, td.int64))
        return td.astype(values, td.float64), count

    def result(self, *totals: np.ndarray) -> float:
        total, count = totals
        return float(np.exp(total / count)) if count else math.nan


class AUC(Metric):
    """The area under the receiver operating characteristic: how probably an example of a class scores higher
    than one that is not (Hanley and McNeil 1982), ties counted half; exact, from all scores. For more than
    two classes the mean over the classes that occur, each against the rest.

    Outputs are one score ``[batch]`` or ``[batch, 1]`` of class 1, or scores ``[batch, classes]``; targets
    labels ``[batch]``.
    """

    collects = True

    def batch(self, outputs: Any, targets: Any) -> Sequence[td.Array]:
        if outputs.ndim == 1:
            outputs = td.expand_dims(outputs, axis=1)
        targets = td.reshape(targets, (-1,))
        if outputs.ndim != 2 or outputs.shape[0] != targets.shape[0]:
            raise ShapeError(
                f"[AUC] outputs have shape {outputs.shape}, targets {targets.shape}: expected [batch] or "
                f"[batch, classes], and [batch]"
            )
        if outputs.shape[1] == 2:
            outputs = outputs[:, 1:] - outputs[:, :1]
        elif outputs.shape[1] > 2:
            outputs = td.softmax(outputs, axis=1)
        return td.astype(outputs, td.float32), targets

    def result(self, *totals: np.ndarray) -> float:
        scores, labels = totals
        if scores.shape[1] == 1:
            return _area(scores[:, 0], labels > 0)
        areas = [_area(scores[:, c], labels == c) for c in range(scores.shape[1])]
        there = [area for area in areas if not math.isnan(area)]
        return float(np.mean(there)) if there else math.nan


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The share of pairs of a positive and a negative example in which the positive one scores higher; NaN
    where there is no pair, or a score is NaN.
    """
    count = int(positive.sum())
    pairs = count * (len(scores) - count)
    if not pairs or np.isnan(scores).any():
        return math.nan
    _, place, many = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(many) - (many - 1) / 2
    return float((ranks[place.reshape(-1)][positive].sum() - count * (count + 1) / 2) / pairs)


NAMED: dict[str, Callable[[], Metric]] = {
    "accuracy": Accuracy,
    "top5": lambda: Accuracy(5),
    "confusion": Confusion,
    "auc": AUC,
    "perplexity": Perplexity,
}
"""Metrics by the names they can be given by."""


def metrics_by_name(given: Mapping[str, Given] | Sequence[Given]) -> dict[str, Metric]:
    """Metrics as users give them, by name.

    Raises:
        ArgumentError: a name is unknown or there twice.
    """
    if isinstance(given, str):
        given = (given,)
    pairs = list(given.items()) if isinstance(given, Mapping) else [(_name_of(item), item) for item in given]
    found: dict[str, Metric] = {}
    for name, item in pairs:
        if name in found or name == "loss":
            raise ArgumentError(
                f"[metrics] {name!r} is there twice: give a dict with other names"
                if name in found
                else "[metrics] 'loss' is measured always; give the metric another name"
            )
        found[name] = _metric(item)
    return found


def _name_of(item: Given) -> str:
    return item if isinstance(item, str) else getattr(item, "__name__", type(item).__name__.lower())


def _metric(item: Any) -> Metric:
    if isinstance(item, Metric):
        return item
    if isinstance(item, str):
        if item not in NAMED:
            raise ArgumentError(f"[metrics] there is no metric {item!r}; there are {', '.join(NAMED)}")
        return NAMED[item]()
    if callable(item):
        return Mean(item)
    raise ArgumentError(f"[metrics] {item!r} is no name, no Metric and no function of outputs and targets")


def examples(structure: Any) -> int:
    """How many examples a batch has: the first size of its first array."""
    arrays = [structure] if hasattr(structure, "shape") else _arrays(structure)
    if not arrays or not arrays[0].ndim:
        raise ShapeError(
            "a batch needs arrays with a first dimension, that of its examples: is this a data set of single "
            "examples? Make batches of it with .batch(32), or fit(batch=32)"
        )
    return int(arrays[0].shape[0])


def _arrays(structure: Any) -> list[Any]:
    """The arrays of nested tuples, lists and dicts."""
    if isinstance(structure, Mapping):
        structure = list(structure.values())
    if isinstance(structure, list | tuple):
        return [array for item in structure for array in _arrays(item)]
    return [structure] if hasattr(structure, "shape") else []


def _guesses_before(outputs: td.Array, targets: td.Array) -> td.Array:
    """How many classes are guessed before the right one: those that score higher, and of equal ones the
    first, as in `argmax`. All, where the right one's score is NaN.
    """
    places = td.arange(outputs.shape[-1], dtype=td.int64)
    targets = td.expand_dims(td.astype(targets, td.int64), axis=-1)
    own = td.max(td.where(places == targets, outputs, -math.inf), axis=-1, keepdims=True)
    before = (outputs > own) | ((outputs == own) & (places < targets)) | td.isnan(own)
    return td.sum(td.astype(before, td.int64), axis=-1)


def _labels(name: str, outputs: td.Array, targets: td.Array) -> td.Array:
    """Targets as labels of the classes that outputs score."""
    if targets.shape == outputs.shape and targets.dtype.kind not in ("int", "uint"):
        return td.argmax(targets, axis=-1)
    if outputs.ndim < 1 or outputs.shape[:-1] != targets.shape:
        raise ShapeError(
            f"[{name}] outputs have shape {outputs.shape}, targets {targets.shape}: expected scores "
            f"[..., classes] and labels [...], or probabilities [..., classes]"
        )
    if targets.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"[{name}] targets are {targets.dtype}; labels are integers")
    return targets
