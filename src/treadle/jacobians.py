"""Jacobians and Hessians: all rows or all columns at once, by `vmap`'s rewriting of a pulled-back graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from treadle import autodiff
from treadle.array import Array, as_node
from treadle.batching import mapped
from treadle.differentiate import grad
from treadle.errors import ArgumentError
from treadle.graph.dimension import product
from treadle.graph.node import Node, surrounded
from treadle.ops.creation import eye
from treadle.ops.movement import moveaxis
from treadle.ops.record import reshaped

MODES = ("forward", "reverse")


def jacobian(
    function: Callable[..., Any], argument: int | Sequence[int] = 0, *, mode: str | None = None
) -> Callable[..., Any]:
    """A function that gives the Jacobian of `function`: the derivative of every element by every element.

    Args:
        function: returns an array, or a list or tuple of them.
        argument: by which positional arguments: a number or several.
        mode: "reverse" computes all rows at once, one for each element of the value; "forward" all columns,
            one for each element of the argument; None takes what is less.

    Returns:
        Function of the same arguments, giving an array of shape ``value.shape + argument.shape``; a list of
        them for several arguments; and a list or tuple of what one value gives for several values.

    Raises:
        ArgumentError: mode is none of these.
        GradientError: there is no gradient: not floating point, or not differentiable.

    >>> import treadle as td
    >>> td.jacobian(lambda x: x * x)(td.asarray([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    if mode not in (None, *MODES):
        raise ArgumentError(f'[jacobian] mode={mode!r}; it is "forward", "reverse" or None')
    positions = [argument] if isinstance(argument, int) else list(argument)

    @wraps(function)
    def differentiated(*args: Any, **keywords: Any) -> Any:
        inputs = list(args)
        for p in positions:
            inputs[p] = Array(autodiff.start(as_node(inputs[p])))
        with surrounded(tracking=True):
            value = function(*inputs, **keywords)
            many = isinstance(value, (list, tuple))
            found = []
            for y in value if many else [value]:
                parts = [Array(_jacobian(as_node(y), inputs[p].node, mode)) for p in positions]
                found.append(parts[0] if isinstance(argument, int) else parts)
        return type(value)(found) if many else found[0]

    return differentiated


def hessian(function: Callable[..., Any], argument: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that gives the Hessian of `function`, which returns a 0-d array: the Jacobian of its
    gradient.

    Args:
        function: the function to differentiate twice.
        argument: by which positional arguments: a number or several.

    Returns:
        Function of the same arguments, giving an array of shape ``argument.shape + argument.shape``; for
        several arguments a list of lists of arrays.

    Raises:
        GradientError: the value has more than one element.

    >>> import treadle as td
    >>> td.hessian(lambda x: x[0] * x[0] * x[1])(td.asarray([1.0, 2.0])).tolist()
    [[4.0, 2.0], [2.0, 0.0]]
    """
    # The Hessian is symmetric, so its rows, by reverse mode, are its columns.
    return jacobian(grad(function, argument), argument, mode="reverse")


def _jacobian(y: Node, x: Node, mode: str | None) -> Node:
    """Of one value by one argument."""
    rows, columns = product(y.shape), product(x.shape)
    if mode is None:
        known = isinstance(rows, int) and isinstance(columns, int)
        mode = "forward" if known and columns < rows else "reverse"
    if mode == "reverse":
        pull = autodiff.pullback([y], [x])
        (found,) = mapped(rows, [_units(y)], lambda u: pull([u]))
        return reshaped(found, (*y.shape, *x.shape))
    (found,) = mapped(columns, [_units(x)], lambda t: autodiff.jvp([y], [x], [t]))
    return reshaped(moveaxis(found, 0, -1), (*y.shape, *x.shape))


def _units(x: Node) -> Node:
    """For each element of x an array of x's shape that is 1 there and 0 elsewhere."""
    count = product(x.shape)
    return reshaped(eye(count, dtype=x.dtype), (count, *x.shape))
