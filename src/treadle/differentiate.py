"""Gradients for users: `gradients` and what is made of it, over arrays and variables, in either style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import reduce, wraps
from typing import Any

from treadle import autodiff, state
from treadle.array import Array, ArrayLike, Marked, Variable, as_node, asarray, wrap
from treadle.dtypes import KINDS
from treadle.errors import ArgumentError, GradientError, StateError
from treadle.graph.graph import ordered
from treadle.graph.node import DETACHED, MAPPED, PINNED, STATIC, TRACKED, Node, surrounded
from treadle.ops.elementwise import add
from treadle.ops.record import DATA
from treadle.state import READ, Cell, Version


def gradients(
    ys: ArrayLike | Sequence[ArrayLike],
    xs: ArrayLike | Sequence[ArrayLike],
    grad_ys: Any = None,
    *,
    unconnected: str = "error",
) -> Any:
    """The gradients of ys by xs, as arrays of the same graph: they can be run, looked at, and differentiated
    again.

    Args:
        ys: one array or several, of floating dtype; their sum is differentiated.
        xs: one array or variable, or several. A variable means the version that ys read.
        grad_ys: what each y is multiplied with first, of its shape; None for ones.
        unconnected: "error", or "zero" to get zeros for an x on which no y depends.

    Returns:
        An array of x's shape and dtype for each x: a list if xs is one, a dict of the same keys if xs is a
        dict, else a single array.

    Raises:
        GradientError: there is no gradient: not connected, not floating point, not differentiable, or the
            history ended.

    >>> import treadle as td
    >>> x = td.Variable([1.0, 2.0])
    >>> td.gradients((x * x).sum(), x).tolist()
    [2.0, 4.0]
    """
    if unconnected not in ("error", "zero"):
        raise ArgumentError(f'[gradients] unconnected={unconnected!r}; it is "error" or "zero"')
    many = isinstance(xs, (list, tuple, dict))
    targets = list(xs.values() if isinstance(xs, dict) else xs) if many else [xs]
    y_nodes = [as_node(y) for y in (ys if isinstance(ys, (list, tuple)) else [ys])]
    given = None
    if grad_ys is not None:
        given = [
            None if g is None else as_node(g)
            for g in (grad_ys if isinstance(grad_ys, (list, tuple)) else [grad_ys])
        ]
        if len(given) != len(y_nodes):
            raise ArgumentError(f"[gradients] there are {len(y_nodes)} ys and {len(given)} grad_ys")
    order = ordered(y_nodes, stop=lambda node: node.op is READ)
    reads = [_x_nodes(x, order) for x in targets]
    x_nodes = [node for found in reads for node in found]
    ended = _ended_history(order)
    if ended is not None and unconnected == "error":
        y = next((y for y in y_nodes if y.op is DATA), None)
        if y is not None and y not in x_nodes:
            raise GradientError(_history_message(ended))

    def why_not(x: Node) -> str:
        if ended is not None:
            return f"; {_history_message(ended)}"
        if x.flags & (TRACKED | STATIC) or not any(node.op is DATA for node in order):
            return ""
        return (
            "; if ys, or what they were made from, have been computed already: that keeps no history "
            "unless requires_grad = True was set on the array"
        )

    results = autodiff.gradients(y_nodes, x_nodes, given, unconnected, why_not)
    parts = iter(results)
    found = []
    for nodes in reads:
        g = reduce(add, [next(parts) for _ in nodes])
        found.append(Array(g))
    if isinstance(xs, dict):
        return dict(zip(xs, found, strict=True))
    return found if many else found[0]


def _x_nodes(x: Any, order: Sequence[Node]) -> list[Node]:
    """The node an x means. For a variable: its reads among what the ys read, which are several where a static
    graph goes on from one of define-by-run. Several versions are an error.
    """
    if not isinstance(x, Variable):
        return [as_node(x)]
    reads = [node for node in order if state.cell_of(node) is x.cell]
    versions = {_epoch(node): node for node in reads}
    if len(versions) > 1:
        lines = " and ".join(f"at {node.line}" for node in versions.values())
        raise GradientError(
            f"[gradients] ys read several versions of {x.name}: {lines}; differentiate by one of them, "
            f"held in an array"
        )
    return reads or [state.read(x.cell)]


def _epoch(read: Node) -> Any:
    """What reads that may stand for one value have in common: between them lie no assignments, at most runs
    of a door, for which a static graph reads late.
    """
    version = read.binding
    return version.epoch if isinstance(version, Version) and read.flags & (STATIC | PINNED) else version


def _ended_history(order: Sequence[Node]) -> Cell | None:
    """The variable whose assignment ended the history of a node that the ys need."""
    for node in order:
        if node.op is DATA and isinstance(node.binding, Cell):
            return node.binding
    return None


def _history_message(cell: Cell) -> str:
    return (
        f"the history of an array they were computed from ended when {cell.name} was assigned, at "
        f"{cell.current.line}: "
        f"take gradients before the assignment, or set requires_grad = True on the array to make it a "
        f"start of its own"
    )


def _spread(result: Any) -> tuple[Any, Any]:
    """A function's result as (value, auxiliary)."""
    if isinstance(result, tuple):
        if len(result) != 2:
            raise GradientError("a function that is differentiated returns the value, or (value, auxiliary)")
        return result
    return result, None


def value_and_grad(
    function: Callable[..., Any], argument: int | Sequence[int] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives `function`'s value and its gradient.

    Args:
        function: returns a 0-d array, or with `has_aux` a pair of it and anything else.
        argument: by which positional arguments: a number or several.
        has_aux: whether function returns such a pair.

    Returns:
        Function of the same arguments, giving (value, gradient); the value is the pair with `has_aux`.

    Raises:
        GradientError: the value has more than one element.

    >>> import treadle as td
    >>> value, slope = td.value_and_grad(lambda x: (x * x).sum())(td.asarray([3.0]))
    >>> float(value), slope.tolist()
    (9.0, [6.0])
    """
    positions = [argument] if isinstance(argument, int) else list(argument)

    @wraps(function)
    def differentiated(*args: Any, **keywords: Any) -> tuple[Any, Any]:
        inputs = list(args)
        for p in positions:
            if not isinstance(inputs[p], Variable):
                node = as_node(inputs[p])
                inputs[p] = Array(autodiff.start(node))
        with surrounded(tracking=True):
            result = function(*inputs, **keywords)
        value, _ = _spread(result) if has_aux else (result, None)
        if as_node(value).shape != ():
            raise GradientError(
                f"[grad] the function's value has shape {as_node(value).shape}: a gradient is of one "
                f"number; sum it, or use td.vjp"
            )
        found = gradients(value, [inputs[p] for p in positions])
        return result, found[0] if isinstance(argument, int) else found

    return differentiated


def grad(function: Callable[..., Any], argument: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that gives the gradient of `function`, which returns a 0-d array.

    Args:
        function: the function to differentiate.
        argument: by which positional arguments: a number or several.

    Returns:
        Function of the same arguments, giving the gradient; a list for several arguments.

    Raises:
        GradientError: the value has more than one element.

    >>> import treadle as td
    >>> td.grad(td.grad(lambda x: x**3.0))(td.asarray(2.0)).item()
    12.0
    """
    pair = value_and_grad(function, argument)

    @wraps(function)
    def differentiated(*args: Any, **keywords: Any) -> Any:
        return pair(*args, **keywords)[1]

    return differentiated


def vjp(function: Callable[..., Any], *inputs: ArrayLike) -> tuple[Any, Callable[..., Any]]:
    """A function's value, and the function that pulls a cotangent back to its inputs.

    Args:
        function: takes the inputs, returns an array or a tuple of them.
        inputs: where to evaluate it.

    Returns:
        (value, pull): ``pull(cotangent)``, with as many cotangents as values, gives a tuple of arrays, one
        an input.

    >>> import treadle as td
    >>> y, pull = td.vjp(td.exp, td.asarray([0.0]))
    >>> pull(td.asarray([2.0]))[0].tolist()
    [2.0]
    """
    with surrounded(tracking=True):
        starts = [autodiff.start(as_node(x)) for x in inputs]
        value = function(*[Array(x) for x in starts])
        values = [as_node(v) for v in (value if isinstance(value, (list, tuple)) else [value])]
        pullback = autodiff.pullback(values, starts)

    def pull(*cotangents: ArrayLike) -> tuple[Array, ...]:
        if len(cotangents) != len(values):
            raise ArgumentError(
                f"[vjp] the function has {len(values)} values, and {len(cotangents)} cotangents were given"
            )
        return tuple([Array(g) for g in pullback([as_node(g) for g in cotangents])])

    return value, pull


def jvp(
    function: Callable[..., Any], inputs: Sequence[ArrayLike], tangents: Sequence[ArrayLike]
) -> tuple[Any, Any]:
    """A function's value, and its derivative in the direction of tangents: forward mode, as the vjp of a vjp.

    Args:
        function: takes the inputs, returns an array or a tuple of them.
        inputs: where to evaluate it.
        tangents: the direction, one array an input, of its shape.

    Returns:
        (value, derivative), of the same structure.

    Raises:
        ShapeError: a tangent's shape is not its input's.

    >>> import treadle as td
    >>> td.jvp(td.sin, [td.asarray(0.0)], [td.asarray(2.0)])[1].item()
    2.0
    """
    with surrounded(tracking=True):
        starts = [autodiff.start(as_node(x)) for x in inputs]
        value = function(*[Array(x) for x in starts])
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        found = wrap(autodiff.jvp([as_node(v) for v in values], starts, [as_node(t) for t in tangents]))
    return value, tuple(found) if isinstance(value, (list, tuple)) else found[0]


def hvp(
    function: Callable[..., Any], inputs: Sequence[ArrayLike], vectors: Sequence[ArrayLike]
) -> list[Array]:
    """The Hessian of a function, times vectors, without the Hessian.

    Args:
        function: takes the inputs, returns a 0-d array.
        inputs: where to evaluate it.
        vectors: one array an input, of its shape.

    Returns:
        List of arrays, one an input.

    >>> import treadle as td
    >>> td.hvp(lambda x: (x**3.0).sum(), [td.asarray([1.0, 2.0])], [td.asarray([1.0, 0.0])])[0].tolist()
    [6.0, 0.0]
    """
    with surrounded(tracking=True):
        starts = [autodiff.start(as_node(x)) for x in inputs]
        value = as_node(function(*[Array(x) for x in starts]))
        return wrap(autodiff.hvp(value, starts, [as_node(v) for v in vectors]))


def checkpoint(function: Callable[..., Any], *inputs: ArrayLike) -> Any:
    """The function's value, whose intermediate values are computed again for the gradient instead of kept.

    Random numbers drawn inside are the same both times (Chen et al. 2016, arXiv:1604.06174).

    Args:
        function: takes the inputs, returns an array or a tuple of them.
        inputs: arrays.

    Returns:
        What the function returns.

    Raises:
        ArgumentError: there are no inputs.

    >>> import treadle as td
    >>> td.checkpoint(lambda x: td.exp(td.sin(x)), td.asarray(0.0)).item()
    1.0
    """
    if not inputs:
        raise ArgumentError(
            "[checkpoint] no inputs: it is called with the function and what the function takes, "
            "td.checkpoint(f, x)"
        )
    starts = [autodiff.start(as_node(x)) if not isinstance(x, Variable) else x.node for x in inputs]
    value = function(*[Array(x) for x in starts])
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    found = wrap(autodiff.checkpoint([as_node(v) for v in values], starts))
    return type(value)(found) if isinstance(value, (list, tuple)) else found[0]


def custom_vjp(function: Callable[..., Any]) -> CustomVjp:
    """A function with a gradient rule of its own, for use as a decorator; give the rule with ``.rule``.

    >>> import treadle as td
    >>> @td.custom_vjp
    ... def clipped(x):
    ...     return td.clip(x, 0.0, 1.0)
    >>> @clipped.rule
    ... def straight_through(g, y, x):
    ...     return (g,)
    >>> td.grad(lambda x: clipped(x).sum())(td.asarray([-1.0, 2.0])).tolist()
    [1.0, 1.0]
    """
    return CustomVjp(function)


class CustomVjp:
    """What `custom_vjp` makes: call it as the function; ``rule(g, y, *inputs)`` returns a cotangent (or None)
    for each input.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self._rule: Callable[..., Sequence[Any]] | None = None
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", "custom_vjp")

    def rule(self, rule: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
        """Give the rule; usable as a decorator."""
        self._rule = rule
        return rule

    def __call__(self, *inputs: ArrayLike) -> Array:
        if self._rule is None:
            raise GradientError(
                f"[custom_vjp] {self.__name__} has no rule yet: give one with @{self.__name__}.rule"
            )
        nodes = [as_node(x) for x in inputs]
        value = as_node(self.function(*[Array(node) for node in nodes]))
        rule = self._rule

        def pull(g: Node, value: Node, *nodes: Node) -> Sequence[Node | None]:
            parts = rule(Array(g), Array(value), *[Array(node) for node in nodes])
            if len(parts) != len(nodes):
                raise GradientError(
                    f"[custom_vjp] the rule of {self.__name__} gives {len(parts)} cotangents for "
                    f"{len(nodes)} inputs"
                )
            return [None if part is None else as_node(part) for part in parts]

        return Array(autodiff.with_rule(value, nodes, pull))


def no_grad() -> AbstractContextManager[None]:
    """A block, or a decorator, in which what is computed keeps no history.

    >>> import treadle as td
    >>> w = td.Variable(1.0)
    >>> with td.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """
    return surrounded(tracking=False)


def backward(y: Array, gradient: ArrayLike | None = None) -> None:
    """Add y's gradient to `.grad` of every trainable variable and marked array it depends on
    (`Array.backward`).
    """
    node = y.node
    if node.flags & MAPPED:
        raise GradientError(
            "[backward] the array is one example's, inside td.vmap, and .grad would be one array for all of "
            "them: use td.grad or td.gradients, and return the gradient"
        )
    if gradient is None and node.shape != ():
        raise GradientError(
            f"[backward] the array has shape {node.shape}: sum it to one number, or pass the gradient to "
            f"multiply with"
        )
    order = ordered([node], stop=autodiff.ends_here)
    leaves: list[Node] = []
    for n in order:
        cell = state.cell_of(n)
        if (cell is not None and cell.trainable and cell.type.dtype.kind in KINDS["floating"]) or (
            n.op is DATA and n.flags & TRACKED and isinstance(n.binding, Marked)
        ):
            leaves.append(n)
    if not leaves:
        ended = _ended_history(order)
        raise GradientError(
            f"[backward] {_history_message(ended)}"
            if ended
            else "[backward] the array depends on no variable and on no array marked with requires_grad = "
            "True" + ("; it was computed under no_grad" if any(n.flags & DETACHED for n in order) else "")
        )
    given = None if gradient is None else [as_node(asarray(gradient))]
    for leaf, g in zip(leaves, autodiff.gradients([node], leaves, given, unconnected="zero"), strict=True):
        place: Any = state.cell_of(leaf) or leaf.binding
        earlier = _earlier(place)
        place.gradient = Array(g if earlier is None else add(earlier.node, g))


def _earlier(place: Any) -> Array | None:
    """The gradient that is there already. While a function is traced only the function's own counts."""
    earlier: Array | None = place.gradient
    trace = state.pending.trace
    if trace is None or place in trace.gradients:
        return earlier
    trace.gradients[place] = earlier
    if earlier is not None:
        raise StateError(
            "[backward] inside a compiled function, but there is a gradient from outside already: the "
            "trace would add that one "
            "in every run; set grad = None first, or use td.gradients"
        )
    return None
