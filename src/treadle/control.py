"""Control flow for users: `cond`, `while_loop`, `scan` and `map`, over arrays in tuples, lists and dicts.

The functions given are called once, with arrays that have no value, and what they do becomes a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle import control_batching as _batching  # noqa: F401  gives the records their rules
from treadle import dtypes
from treadle.array import Array, ArrayLike, as_node
from treadle.dtypes import DType
from treadle.errors import ArgumentError, DTypeError, ShapeError, TreadleError
from treadle.graph.closed import close
from treadle.graph.dimension import Size
from treadle.graph.node import Node, Type, surrounded, surroundings
from treadle.ops import control
from treadle.ops import control_gradients as _rules  # noqa: F401  gives the records their rules
from treadle.ops.control import Loop, apply_loop
from treadle.ops.creation import iota
from treadle.ops.elementwise import add
from treadle.ops.record import INPUT, MIXED, cast, constant, number
from treadle.ops.tracing import Body
from treadle.structure import fill, take_leaves

BOOL = Type((), dtypes.bool)


def cond(
    predicate: ArrayLike,
    true_function: Callable[..., Any],
    false_function: Callable[..., Any],
    *operands: Any,
) -> Any:
    """The result of one of two functions of the operands. Only the one that is chosen is computed.

    Args:
        predicate: 0-d array of dtype bool; a Python bool chooses at once.
        true_function: what to compute where it holds.
        false_function: what to compute elsewhere; its result has the same structure, shapes and dtypes.
        operands: arrays, or tuples, lists and dicts of them. The functions may use others from around, too.

    Returns:
        What the functions return.

    Raises:
        ShapeError, DTypeError: the predicate is no 0-d bool, or the results differ in shape or dtype.
        ArgumentError: the results differ in structure.

    >>> import treadle as td
    >>> x = td.asarray(-3.0)
    >>> td.cond(x > 0, lambda x: td.sqrt(x), lambda x: td.square(x), x).item()
    9.0
    """
    if isinstance(predicate, (bool, np.bool_)):
        return (true_function if predicate else false_function)(*operands)
    chosen = as_node(predicate)
    if chosen.type is not BOOL:
        kind = ShapeError if chosen.dtype is dtypes.bool else DTypeError
        raise kind(
            f"[cond] predicate is {chosen.type!r}; expected bool[]: compare, or reduce with td.any or td.all"
        )
    given, shape = _leaves("cond", operands, "operands")
    branches = []
    for function in (true_function, false_function):
        with Body("td.cond") as body:
            parameters = [body.parameter(node.type) for _, node in given]
            result = function(*_arrays(shape, parameters))
            branches.append((body, parameters, *_results("cond", result, "the result")))
    (_, first, taken, one), (_, second, otherwise, other) = branches
    labels = "true_function returns", "false_function returns"
    outputs = _matched("cond", taken, one, otherwise, other, labels)
    bodies = [branch[0] for branch in branches]
    (true, false), captured = close(
        INPUT,
        [(first, outputs[0]), (second, outputs[1])],
        lambda node: any(body.inside(node) for body in bodies),
    )
    nodes = [node for _, node in given]
    return _arrays(one, control.cond(chosen, true, false, [*nodes, *captured]))


def while_loop(
    condition: Callable[[Any], Any], body: Callable[[Any], Any], carry: Any, max_steps: int | None = None
) -> Any:
    """``while condition(carry): carry = body(carry)``, and the last carry.

    Args:
        condition: of a carry, a 0-d bool array.
        body: of a carry, the next one, of the same structure, shapes and dtypes.
        carry: the first one: an array, or tuples, lists and dicts of them.
        max_steps: stop after so many steps in any case. Without it there is no gradient, because the room it
            needs is not known.

    Returns:
        The last carry.

    Raises:
        ShapeError, DTypeError: the body changes a shape or dtype, or the condition is no 0-d bool.
        ArgumentError: the body changes the structure.

    >>> import treadle as td
    >>> double = lambda c: {"x": c["x"] * 2, "steps": c["steps"] + 1}
    >>> td.while_loop(lambda c: c["x"] < 100, double, {"x": 3, "steps": 0})["steps"].item()
    6
    """
    if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 0):
        raise ArgumentError(f"[while_loop] max_steps={max_steps!r}; expected an integer, or None")
    given, shape = _leaves("while_loop", carry, "carry")
    with Body("td.while_loop") as tested:
        seen = [tested.parameter(node.type) for _, node in given]
        holds = condition(_arrays(shape, seen))
        if not isinstance(holds, Array) or as_node(holds).type is not BOOL:
            what = repr(as_node(holds).type) if isinstance(holds, Array) else repr(holds)
            raise DTypeError(
                f"[while_loop] condition returns {what}; expected a bool[] array that depends on the carry"
            )
    with Body("td.while_loop", loop=True) as traced:
        parameters = [traced.parameter(node.type) for _, node in given]
        found, after = _results("while_loop", body(_arrays(shape, parameters)), "carry")
        outputs = _carried("while_loop", given, shape, found, after)
    nodes = [node for _, node in given]
    if traced.number is not None:
        # The number of the iteration is one more carry.
        with surrounded(body=traced):
            more = add(traced.number, constant(1, dtypes.uint64))
        nodes, outputs = [*nodes, constant(0, dtypes.uint64)], [*outputs, more]
        parameters, seen = [*parameters, traced.number], [*seen, tested.parameter(Type((), dtypes.uint64))]
    (stepping, testing), captured = close(
        INPUT,
        [(parameters, outputs), (seen, [as_node(holds)])],
        lambda node: traced.inside(node) or tested.inside(node),
    )
    loop = Loop(stepping, testing, len(nodes), 0, max_steps, False, False)
    last, _, _ = apply_loop(loop, [*nodes, *captured])
    return _arrays(shape, last[: len(given)])


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """A loop over the first dimension of arrays: ``carry, y = function(carry, x)`` for every x of xs.

    Compiled, it is one loop of native code, and so is its gradient.

    Args:
        function: takes a carry and a slice of xs; returns the next carry, of the same structure, shapes and
            dtypes, and what to stack up (None for nothing).
        carry: the first carry: an array, or tuples, lists and dicts of them.
        xs: arrays of equal first dimension [length, ...], in any structure; None for none.
        length: how many times; only needed without xs.
        reverse: begin with the last slice. What is stacked stands where its slice of xs stood.

    Returns:
        The last carry, and the results stacked, [length, ...].

    Raises:
        ShapeError: first dimensions differ, or the function changes a shape of the carry.
        DTypeError: it changes a dtype.
        ArgumentError: it changes the structure, or no length is known.

    >>> import treadle as td
    >>> total, sums = td.scan(lambda total, x: (total + x, total + x), 0.0, td.asarray([1.0, 2.0, 3.0]))
    >>> total.item(), sums.tolist()
    (6.0, [1.0, 3.0, 6.0])
    """
    return _scan("scan", function, carry, xs, length, reverse)


def map(function: Callable[[Any], Any], xs: Any) -> Any:
    """The function applied to one slice of xs after the other, and the results stacked.

    Where all slices fit in memory at once `td.vmap` is quicker.

    Args:
        function: takes a slice of xs.
        xs: arrays of equal first dimension [length, ...], in any structure.

    Returns:
        What the function returns, stacked: [length, ...].

    Raises:
        ShapeError: first dimensions differ.
        ArgumentError: there is no array in xs.

    >>> import treadle as td
    >>> td.map(lambda x: x.sum(), td.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [3.0, 7.0]
    """
    return _scan("map", lambda carry, x: (None, function(x)), None, xs, None, False)[1]


def _scan(name: str, function: Any, carry: Any, xs: Any, length: Any, reverse: bool) -> tuple[Any, Any]:
    given, shape = _leaves(name, carry, "carry")
    stacked, slices_shape = _leaves(name, xs, "xs")
    size = _length(name, stacked, length)
    with Body(f"td.{name}", loop=True) as traced:
        carries = [traced.parameter(node.type) for _, node in given]
        slices = [traced.parameter(Type(node.shape[1:], node.dtype)) for _, node in stacked]
        result = function(_arrays(shape, carries), _arrays(slices_shape, slices))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ArgumentError(
                f"[{name}] function returns a {type(result).__name__}; expected a pair (carry, y)",
                traced.line,
            )
        found, after = _results(name, result[0], "carry")
        outputs = _carried(name, given, shape, found, after)
        made, made_shape = _results(name, result[1], "y")
        ys = [_as_node(value) for _, value in made]
    nodes, stacks = [node for _, node in given], [node for _, node in stacked]
    if traced.number is not None:
        stacks, slices = [*stacks, iota(size, dtypes.uint64)], [*slices, traced.number]
    (body,), captured = close(INPUT, [([*carries, *slices], [*outputs, *ys])], traced.inside)
    loop = Loop(body, None, len(nodes), len(stacks), size, bool(reverse), False)
    last, kept, _ = apply_loop(loop, [*nodes, *stacks, *captured])
    return _arrays(shape, last), _arrays(made_shape, kept)


def _length(name: str, stacked: Sequence[tuple[str, Node]], length: Any) -> Size:
    """How many slices there are."""
    sizes = {}
    for path, node in stacked:
        if not node.ndim:
            raise ShapeError(f"[{name}] {path} is 0-d: there is no dimension to go along")
        sizes.setdefault(node.shape[0], path)
    if len(sizes) > 1:
        said = ", ".join(f"{path} has {size}" for size, path in sizes.items())
        raise ShapeError(f"[{name}] the first dimensions of xs differ: {said}")
    if length is not None and (not isinstance(length, int) or length < 0 or (sizes and length not in sizes)):
        raise ArgumentError(
            f"[{name}] length={length!r}" + (f", but xs have {next(iter(sizes))} slices" if sizes else "")
        )
    if not sizes and length is None:
        raise ArgumentError(
            f"[{name}] there is no array in xs" + ("; pass length=" if name == "scan" else "")
        )
    return next(iter(sizes), length)


# -- structures of arrays and nodes


def _leaves(name: str, structure: Any, label: str) -> tuple[list[tuple[str, Node]], Any]:
    """The arrays of a structure as nodes, with their paths, and the structure."""
    found, shape = _results(name, structure, label)
    return [(path, _as_node(value)) for path, value in found], shape


def _results(name: str, structure: Any, label: str) -> tuple[list[tuple[str, Any]], Any]:
    found: list[tuple[str, Any]] = []
    try:
        shape = take_leaves(structure, label, found)
    except ArgumentError as error:
        raise ArgumentError(f"[{name}] {error.message}") from None
    return found, shape


def _as_node(value: Any) -> Node:
    return value if isinstance(value, Node) else as_node(value)


def _arrays(shape: Any, nodes: Sequence[Node]) -> Any:
    return fill(shape, iter([Array(node) for node in nodes]))


def _as(value: Any, dtype: DType) -> Node:
    """A leaf as a node; a Python number takes the dtype of what it stands beside."""
    if isinstance(value, (bool, int, float, complex)) and not isinstance(value, np.generic):
        try:
            return number(value, dtype)
        except TreadleError:
            pass
    return _as_node(value)


def _carried(
    name: str,
    given: Sequence[tuple[str, Node]],
    shape: Any,
    found: Sequence[tuple[str, Any]],
    after: Any,
) -> list[Node]:
    """The next carry, which must be like the first. With mixed precision around, it is as wide as that."""
    before = [(path, node) for path, node in given]
    if surroundings.mixed is not None and len(found) == len(before):
        found = [(path, _as_wide(x, node.dtype)) for (path, x), (_, node) in zip(found, before, strict=True)]
    return _matched(name, before, shape, found, after, ("goes in as", "comes out as"))[1]


def _as_wide(value: Any, dtype: DType) -> Any:
    mixed = isinstance(value, Node) and value.dtype in MIXED and dtype in MIXED
    return cast(value, dtype) if mixed else value


def _matched(
    name: str,
    first: Sequence[tuple[str, Any]],
    one: Any,
    second: Sequence[tuple[str, Any]],
    other: Any,
    labels: tuple[str, str],
) -> tuple[list[Node], list[Node]]:
    """The leaves of two structures, which must be alike in structure, shapes and dtypes."""
    if repr(one) != repr(other):
        raise ArgumentError(f"[{name}] the structures differ: {labels[0]} {one!r}, {labels[1]} {other!r}")
    lefts, rights = [], []
    for (path, a), (_, b) in zip(first, second, strict=True):
        left = a if isinstance(a, Node) else _as(a, b.dtype if isinstance(b, Node) else _as_node(b).dtype)
        right = _as(b, left.dtype)
        if left.type is not right.type:
            kind, hint = ShapeError, "reshape or broadcast one of them"
            if left.dtype is not right.dtype:
                kind, hint = DTypeError, "convert one of them with astype"
            places = [f", made at {node.line}" if node.line else "" for node in (left, right)]
            raise kind(
                f"[{name}] {path}: {labels[0]} {left.type!r}{places[0]}; {labels[1]} {right.type!r}"
                f"{places[1]}: {hint}",
                right.line,
            )
        lefts.append(left)
        rights.append(right)
    return lefts, rights
