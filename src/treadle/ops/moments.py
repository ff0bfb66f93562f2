"""Mean and variance at once, for normalisation.

As one record they are found in one walk over memory where an array is large, and their gradient is free of
the terms that cancel: the variance does not depend on the mean it is taken about.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from treadle import dtypes
from treadle.errors import DTypeError
from treadle.graph.node import Node, Op, Type, Types, make
from treadle.ops.batch import shifted
from treadle.ops.contraction import widened
from treadle.ops.elementwise import add, divide, multiply, subtract
from treadle.ops.record import expect_axes, register, results
from treadle.ops.reduction import counted, spread


def _infer(x: Type, axes: tuple[int, ...]) -> Types:
    if x.dtype.kind not in dtypes.KINDS["real floating"]:
        raise DTypeError(f"[moments] x is {x!r}; expected a real floating dtype")
    expect_axes("moments", axes, len(x.shape))
    reduced = Type([size for axis, size in enumerate(x.shape) if axis not in axes], x.dtype)
    return Types((reduced, reduced))


def _reference(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    wide = widened(x)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing there is no mean
        mean, variance = np.mean(wide, axis=axes), np.var(wide, axis=axes)
    return np.asarray(mean).astype(x.dtype), np.asarray(variance).astype(x.dtype)


def _vjp(g: Any, y: Node, x: Node, axes: tuple[int, ...]) -> tuple[Node | None]:
    of_mean, of_variance = g
    count = counted(x, axes)
    parts = []
    if of_mean is not None:
        parts.append(spread(divide(of_mean, count), x.shape, axes))
    if of_variance is not None:
        apart = subtract(x, spread(results(y)[0], x.shape, axes))
        weight = divide(multiply(2.0, of_variance), count)
        parts.append(multiply(spread(weight, x.shape, axes), apart))
    return (parts[0] if len(parts) == 1 else add(*parts),)


MOMENTS = register(
    Op("moments", _infer, _reference, _vjp, attributes=("axes",), batch=shifted,
       doc="The mean, and the variance (divided by the number of elements), over dimensions.")
)  # fmt: skip


def moments(x: Node, axes: tuple[int, ...]) -> tuple[Node, Node]:
    """The mean and the variance over some of x's dimensions, which are gone."""
    mean, variance = results(make(MOMENTS, (x,), (axes,)))
    return mean, variance
