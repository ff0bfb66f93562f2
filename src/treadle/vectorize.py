"""`vmap`: a function of one example as a function of a batch, in either style."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np

from treadle.array import Array, as_node
from treadle.batching import Batching
from treadle.errors import ArgumentError, ShapeError
from treadle.graph.dimension import Size
from treadle.graph.node import Node, surrounded, surroundings
from treadle.ops.batch import in_front
from treadle.ops.movement import moveaxis
from treadle.ops.record import normal_axis

Axes = Any
"""Which dimension of an argument is that of the examples: an integer, None if it has none, or a list, tuple
or dict of these where the argument is one.
"""


def vmap(function: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0) -> Callable[..., Any]:
    """A function that maps `function` over a dimension of its arguments: all examples are computed at once.

    The function is called once, with arrays that stand for one example each and have no values. What it
    returns is rewritten, op by op, for the whole batch. Arrays and variables that it uses from outside are
    the same for all examples. Random numbers that it draws differ from example to example, unless it gives a
    key.

    Args:
        function: takes the arguments of one example; returns arrays, in whatever lists, tuples and dicts.
        in_axes: the dimension of the arguments to map over, or None for what is the same for all examples:
            one for all, or a tuple or list with one for each. For an argument that is a list, tuple or dict,
            one for all its arrays, or a list, tuple or dict of them. Arguments that hold no array are passed
            as they are.
        out_axes: where results have the dimension of the examples, in the same way for the structure that
            the function returns; None for what is the same for all.

    Returns:
        Function of the same arguments. Those by keyword are the same for all examples.

    Raises:
        ArgumentError: an axis is out of range, or does not fit the arguments; nothing is mapped over.
        ShapeError: the dimensions mapped over differ in size.

    >>> import treadle as td
    >>> x = td.asarray([[1.0, 2.0], [3.0, 4.0]])
    >>> td.vmap(td.vecdot)(x, x).tolist()
    [5.0, 25.0]
    >>> slopes = td.vmap(td.grad(lambda w, x: td.exp(w * x)), in_axes=(None, 0))
    >>> slopes(td.asarray(0.0), td.asarray([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 3.0]
    """

    @wraps(function)
    def over_examples(*args: Any, **keywords: Any) -> Any:
        names = _names(function, len(args))
        places = list(_places(args, _per_argument(in_axes, len(args)), names))
        size = _size(places)
        batching = Batching(size)
        examples = iter(
            [
                value if axis is None else Array(batching.example(moveaxis(as_node(value), axis, 0), path))
                for path, value, axis in places
            ]
        )
        inputs = [_filled(argument, examples) for argument in args]
        around = surroundings
        with surrounded(mapped=(*around.mapped, batching), inside=(*around.inside, object())):
            result = function(*inputs, **keywords)
        outputs = list(_results(result, out_axes, "the result"))
        with surrounded(mixed=None):  # the types are those of the nodes that are mapped
            made = batching.nodes([node for _, node, _ in outputs])
        results = iter(
            [
                Array(_placed(path, found, node, axis, size))
                for found, (path, node, axis) in zip(made, outputs, strict=True)
            ]
        )
        return _filled(result, results, _is_result)

    return over_examples


# -- arguments


def _names(function: Callable[..., Any], count: int) -> list[str]:
    """What messages call the positional arguments."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return [f"argument {i}" for i in range(count)]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "argument")
    return (names + [f"{rest}[{i}]" for i in range(max(0, count - len(names)))])[:count]


def _per_argument(in_axes: Axes, count: int) -> list[Axes]:
    """The axes of each positional argument."""
    if not isinstance(in_axes, (tuple, list)):
        return [in_axes] * count
    if len(in_axes) != count:
        raise ArgumentError(
            f"[vmap] in_axes={in_axes!r} has {len(in_axes)} entries, and {count} positional arguments were "
            f"given: one entry for each"
        )
    return list(in_axes)


def _is_array(value: Any) -> bool:
    return isinstance(value, (Array, np.ndarray, np.generic))


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, complex))


def _is_result(value: Any) -> bool:
    return _is_array(value) or _is_number(value)


def _inside(structure: Any, axes: Axes, path: str, argument: str) -> Iterator[tuple[str, Any, Axes]]:
    """The items of a list, tuple or dict, with their names and axes."""
    keys = list(structure) if isinstance(structure, dict) else list(range(len(structure)))
    if isinstance(axes, (tuple, list, dict)):
        known = list(axes) if isinstance(axes, dict) else list(range(len(axes)))
        if isinstance(axes, dict) is not isinstance(structure, dict) or sorted(known) != sorted(keys):
            raise ArgumentError(
                f"[vmap] {argument}={axes!r} does not fit {path}, a {type(structure).__name__} of "
                f"{len(keys)}: give one axis for all of it, or one for each item"
            )
    for key in keys:
        yield f"{path}[{key!r}]", structure[key], axes[key] if isinstance(axes, (tuple, list, dict)) else axes


def _checked_axis(axes: Axes, path: str, argument: str) -> int | None:
    if axes is not None and (not isinstance(axes, int) or isinstance(axes, bool)):
        raise ArgumentError(
            f"[vmap] {argument}={axes!r} for {path}: an axis is an integer, or None where there is none"
        )
    return axes


def _places(args: Any, axes: list[Axes], names: list[str]) -> Iterator[tuple[str, Any, int | None]]:
    """Every array of the arguments: its name, the array, and the axis to map over."""
    for name, argument, axis in zip(names, args, axes, strict=True):
        yield from _arrays(argument, axis, name)


def _arrays(structure: Any, axes: Axes, path: str) -> Iterator[tuple[str, Any, int | None]]:
    if isinstance(structure, (list, tuple, dict)):
        for inner, item, axis in _inside(structure, axes, path, "in_axes"):
            yield from _arrays(item, axis, inner)
        return
    axis = _checked_axis(axes, path, "in_axes")
    if _is_array(structure):
        ndim = len(structure.shape)
        if axis is not None and not -ndim <= axis < ndim:
            raise ArgumentError(
                f"[vmap] in_axes is {axis} for {path}, which has shape {structure.shape}: give an axis that "
                f"it has, or None if it is the same for all examples"
            )
        yield path, structure, None if axis is None else axis % ndim
    elif axis is not None and _is_number(structure):
        raise ArgumentError(
            f"[vmap] in_axes is {axis} for {path}, which is {structure!r}: a number has no axis to map over; "
            f"give None for it"
        )


def _size(places: list[tuple[str, Any, int | None]]) -> Size:
    """How many examples there are."""
    sizes = [(path, value, axis, value.shape[axis]) for path, value, axis in places if axis is not None]
    if not sizes:
        raise ArgumentError("[vmap] no argument is mapped over: in_axes must be an integer for one at least")
    first, size = sizes[0], sizes[0][3]
    for path, value, axis, other in sizes:
        if other != size:
            raise ShapeError(
                f"[vmap] {first[0]} has {size} examples, in dimension {first[2]} of shape "
                f"{first[1].shape}, and {path} has {other}, in dimension {axis} of shape {value.shape}: the "
                f"numbers must be equal"
            )
    return size


# -- results


def _results(structure: Any, axes: Axes, path: str) -> Iterator[tuple[str, Node, int | None]]:
    """Every array and number of a result: its name, its node, and where the examples go."""
    if isinstance(structure, (list, tuple, dict)):
        for inner, item, axis in _inside(structure, axes, path, "out_axes"):
            yield from _results(item, axis, inner)
    elif _is_result(structure):
        yield path, as_node(structure), _checked_axis(axes, path, "out_axes")


def _placed(path: str, found: Node, example: Node, axis: int | None, size: Size) -> Node:
    """A result with the dimension of the examples where it is wanted."""
    batched = found.ndim > example.ndim
    if axis is None:
        if batched:
            raise ArgumentError(
                f"[vmap] out_axes is None for {path}, of shape {example.shape}, which differs between the "
                f"examples: say at which axis they go"
            )
        return found
    axis = normal_axis("vmap", axis, example.ndim + 1, "out_axes")
    return moveaxis(in_front(found, size, batched), 0, axis)


def _filled(structure: Any, values: Iterator[Any], is_value: Callable[[Any], bool] = _is_array) -> Any:
    """A structure with other arrays in it, taken in order."""
    if isinstance(structure, dict):
        return {key: _filled(item, values, is_value) for key, item in structure.items()}
    if isinstance(structure, (list, tuple)):
        items = [_filled(item, values, is_value) for item in structure]
        return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
    return next(values) if is_value(structure) else structure
