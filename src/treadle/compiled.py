"""The compile door: `@compile` traces a Python function once per signature and then runs the graph, as JAX's
jit does.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from treadle import evaluate, state
from treadle.array import Array, Variable, borrowed
from treadle.compiler.executable import Executable
from treadle.door import Door, feed_buffer
from treadle.door import placeholder as placeholder_node
from treadle.dtypes import float64
from treadle.errors import ArgumentError
from treadle.graph.graph import ordered, rewrite
from treadle.graph.node import STATIC, Node, Type, Types, surroundings
from treadle.ops.record import DATA, SCALAR, weak
from treadle.structure import SLOT, fill, take_outputs

MOST_TRACES = 256


@overload
def compile(function: Callable[..., Any], *, debug: bool = False) -> Compiled: ...


@overload
def compile(*, debug: bool = False) -> Callable[[Callable[..., Any]], Compiled]: ...


def compile(function: Callable[..., Any] | None = None, *, debug: bool = False) -> Any:
    """A function traced once per signature and then run as one program; for use as a decorator.

    Arrays, NumPy arrays and floats are traced. Other Python values are static: another value is another
    trace. Variables that are read and assigned inside are found by themselves; arrays closed over are
    constants.

    Args:
        function: takes and returns arrays, in whatever lists, tuples and dicts.
        debug: run node by node by the references, so that an error names the node's line.

    Returns:
        Function of the same arguments; `.traces` tells why it was traced, `.memory(*args)` what a call will
        need.

    Raises:
        StateError: an array from outside is changed in place inside.

    >>> import treadle as td
    >>> w = td.Variable(1.0)
    >>> @td.compile
    ... def step(x):
    ...     w.assign(w + x)
    ...     return w * 2
    >>> step(1.5).item(), float(w)
    (5.0, 2.5)
    """
    if function is None:
        return functools.partial(Compiled, debug=debug)
    return Compiled(function, debug)


class Traced:
    """One traced signature: the structure of the arguments (positional, by keyword), the placeholders in it,
    the door, and the structure of the result.
    """

    def __init__(self, arguments: Any, inputs: list[Node], door: Door, result: Any, trace: state.Trace):
        self.arguments = arguments
        self.inputs = inputs
        self.door = door
        self.result = result
        self.modes = trace.modes
        self.computed = trace.computed
        self._fitted: int | None = None

    def fits(self) -> bool:
        """Whether the modules it depends on are in the mode in which it was traced, and compute in the same
        dtype.
        """
        changes = state.mode_changes
        if self._fitted == changes:
            return True
        fits = all(module.training is mode for module, mode in self.modes.items()) and all(
            module.compute_dtype is dtype for module, dtype in self.computed.items()
        )
        if fits:
            self._fitted = changes
        return fits


class Compiled:
    """What `compile` makes."""

    def __init__(self, function: Callable[..., Any], debug: bool = False):
        functools.update_wrapper(self, function)
        self.function = function
        self.debug = debug
        self.traces: list[str] = []
        """Why every trace was made, the last ones."""
        self._traced: dict[Any, list[Traced]] = {}
        """By signature, for each combination of modes of the modules that the function looked at."""
        self._plain: dict[tuple[Any, ...], list[Traced]] = {}
        """The same by types alone, where all arguments are arrays and floats: found without a description."""
        self._last: dict[str, Any] = {}
        self._runs = itertools.count()

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if state.pending.trace is not None or surroundings.mapped:
            return self.function(*args, **keywords)
        traced, values = self._find(args, keywords)
        feeds = {node: feed_buffer(node, value) for node, value in zip(traced.inputs, values, strict=True)}
        outputs = iter([Array(node) for node in traced.door.run(feeds, next(self._runs))])
        return fill(traced.result, outputs)

    def continue_at(self, run: int) -> None:
        """Let the next call draw the random numbers of call number `run`, counted from 0."""
        self._runs = itertools.count(run)

    def program(self, *args: Any, **keywords: Any) -> Executable:
        """The program that a call runs, compiled if it is new, and not run."""
        door, feeds = self.door(*args, **keywords)
        return door.plan(feeds).executable

    def memory(self, *args: Any, **keywords: Any) -> dict[str, int]:
        """The bytes a call will need, by kind (inputs, outputs, arena), before it runs."""
        return self.program(*args, **keywords).memory()

    def door(self, *args: Any, **keywords: Any) -> tuple[Door, dict[Node, Type]]:
        """The static graph of a call's signature, and the types it is fed: for pictures and explanations."""
        traced, values = self._find(args, keywords)
        return traced.door, {
            node: feed_buffer(node, value)[0] for node, value in zip(traced.inputs, values, strict=True)
        }

    def signatures(self) -> list[Traced]:
        """What has been traced so far: of every signature the trace for the modes that modules are in now, or
        the last.
        """
        return [next((t for t in traces if t.fits()), traces[-1]) for traces in self._traced.values()]

    def signature(self, *args: Any, **keywords: Any) -> Traced:
        """A trace of its own for arguments, among which placeholders stand for any array of their type."""
        values: list[Any] = []
        description: dict[str, Any] = {}
        shape = _split((args, dict(sorted(keywords.items()))), values, description, "", static=True)
        return self._trace(shape, values, description)

    def _find(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Traced, list[Any]]:
        types = None if keywords else _plain_types(args)
        if types is not None:
            for found in self._plain.get(types, ()):
                if found.fits():
                    return found, list(args)
        values: list[Any] = []
        description: dict[str, Any] = {}
        shape = _split((args, dict(sorted(keywords.items()))), values, description, "")
        key = tuple(description.items())
        known = self._traced.get(key, [])
        for found in known:
            if found.fits():
                return found, values
        found = self._trace(shape, values, description)
        if len(self._traced) >= MOST_TRACES:
            self._traced.pop(next(iter(self._traced)))
            self._plain.clear()
        self._traced[key] = [*known, found]
        if types is not None:
            self._plain[types] = self._traced[key]
        reason = _difference(self._last, description) if not known else _changed_mode(known[-1])
        self.traces = [*self.traces[1 - MOST_TRACES :], reason]
        self._last = description
        return found, values

    def _trace(self, shape: Any, values: list[Any], description: dict[str, Any]) -> Traced:
        evaluate.run_pending()
        inputs = []
        for name, what in description.items():
            if what is FLOAT:
                inputs.append(weak(placeholder_node(name, (), float64)))
            elif isinstance(what, Type):
                inputs.append(placeholder_node(name, what.shape, what.dtype))
        outputs: list[Node] = []
        with state.tracing() as trace:
            args, keywords = fill(shape, iter([Array(node) for node in inputs]))
            result = take_outputs(self.function(*args, **keywords), outputs)
        values_assigned = [version.value for version in trace.updates.values() if version.value is not None]
        nodes = _closed([*outputs, *values_assigned])
        updates = list(zip(trace.updates, nodes[len(outputs) :], strict=True))
        return Traced(shape, inputs, Door(nodes[: len(outputs)], updates, self.debug), result, trace)


def _closed(nodes: list[Node]) -> list[Node]:
    """A traced graph without its reads of what it assigned itself, and with what it took from outside as
    constants.
    """
    outside = [
        node for node in ordered(nodes, stop=_from_outside) if _from_outside(node) and not _is_constant(node)
    ]
    evaluate.evaluate(outside)
    constants = {node: evaluate.data(node.buffer, node.type, node.device) for node in outside}

    def change(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if node.op is state.READ and inputs:
            return inputs[0]
        return constants.get(node)

    return rewrite(nodes, change, stop=_from_outside)


def _from_outside(node: Node) -> bool:
    # Of a node with several results the single ones are taken.
    return not node.flags & STATIC and type(node.type) is not Types


def _is_constant(node: Node) -> bool:
    """Whether a node from outside is a value already."""
    return node.op is DATA or node.op is SCALAR or (node.op.leaf and node.op.reference is not None)


class _Float:
    """What is said of a Python float among the arguments: it is traced, and as weak as it is outside."""

    def __repr__(self) -> str:
        return "a float"


FLOAT = _Float()


def _plain_types(args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The types of arguments that are all arrays and floats; None where one is anything else."""
    types: list[Any] = []
    for value in args:
        if type(value) is Array:
            node = value.node
            if node.flags & STATIC:
                return None
            types.append(node.type)
        elif type(value) is float:
            types.append(FLOAT)
        else:
            return None
    return tuple(types)


def _split(
    structure: Any, values: list[Any], description: dict[str, Any], path: str, static: bool = False
) -> Any:
    """Take the traced values out of the arguments; describe what is left. With `static` what depends on
    placeholders is taken too, for its type.
    """
    if isinstance(structure, Variable):
        description[path] = ("variable", structure.cell)
        return structure
    if type(structure) is float:
        description[path] = FLOAT
        values.append(structure)
        return SLOT
    if isinstance(structure, (Array, np.ndarray, np.generic)):
        value = structure if isinstance(structure, Array) else borrowed(structure)
        if value.node.flags & STATIC and not static:
            raise ArgumentError(f"argument {path} depends on a placeholder: a compiled function takes values")
        description[path] = value.node.type
        values.append(value)
        return SLOT
    if isinstance(structure, dict):
        description[path + ".keys"] = tuple(structure)
        return {
            k: _split(v, values, description, f"{path}.{k}" if path else str(k), static)
            for k, v in structure.items()
        }
    if isinstance(structure, (list, tuple)):
        items = [_split(v, values, description, f"{path}[{i}]", static) for i, v in enumerate(structure)]
        description[path + ".length"] = (type(structure).__name__, len(items))
        return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
    try:
        hash(structure)
    except TypeError:
        raise ArgumentError(
            f"argument {path} is a {type(structure).__name__}: static arguments must be hashable"
        ) from None
    description[path] = (type(structure).__name__, structure)
    return structure


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Which argument made a new trace necessary."""
    if not before:
        return "the first call"
    for path, what in now.items():
        if before.get(path) != what:
            if path not in before:
                return f"argument {path} is new"
            return f"argument {path} is {_said(what)}, in the last trace {_said(before[path])}"
    return "an argument is gone"


def _changed_mode(traced: Traced) -> str:
    """Which module is in another mode, or computes in another dtype, than in the last trace."""
    for module, mode in traced.modes.items():
        if module.training is not mode:
            now = "evaluation" if mode else "training"
            return f"{type(module).__name__} is in {now} mode now, in the last trace it was not"
    for module, dtype in traced.computed.items():
        if module.compute_dtype is not dtype:
            now = module.compute_dtype
            return f"{type(module).__name__} computes in {now} now, in the last trace in {dtype}"
    return "a module is in another mode"


def _said(what: Any) -> str:
    return repr(what[1]) if isinstance(what, tuple) and len(what) == 2 else repr(what)
