"""The base of layers and networks: a tree of variables and children, found by walking attributes.

Knows nothing of any layer.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

import treadle as td
from treadle import state
from treadle.dtypes import DType
from treadle.errors import ArgumentError, StateError, TreadleError
from treadle.graph.node import surrounded, surroundings
from treadle.nn.initial import First, checked_sizes, drawing, first_value
from treadle.nn.inputs import as_inputs, no_array
from treadle.nn.mixed import called, checked_dtype
from treadle.nn.values import assign_all
from treadle.unknown import unknown_attribute

if TYPE_CHECKING:
    from treadle.nn.summary import Summary

M = TypeVar("M", bound="Module")


class _Drawn(td.Variable):
    """What parameters and statistics share: first values, but within `without_values` none."""

    __slots__ = ()

    def __init__(self, shape: tuple[int, ...], first: First, dtype: Any, name: str, trainable: bool):
        shape = checked_sizes(shape)
        if drawing.on:
            super().__init__(first_value(first, shape, dtype), name, trainable=trainable)
        else:
            self._begin_without_value(shape, dtype, name, trainable)


class Parameter(_Drawn):
    """A variable that is learned.

    Args:
        shape: sizes, as integers.
        first: its first values: a rule of `nn.initial`, an array of that shape, or a number.
        dtype: element type.
        name: what messages call it, until a module names it by its place.

    >>> from treadle import nn
    >>> nn.Parameter((2, 3), 0.0).shape
    (2, 3)
    """

    __slots__ = ()

    def __init__(
        self, shape: tuple[int, ...], first: First, dtype: Any = td.float32, name: str = "parameter"
    ):
        super().__init__(shape, first, dtype, name, trainable=True)


class Statistic(_Drawn):
    """A variable that is kept, not learned: a running mean, a count. It is saved with the parameters."""

    __slots__ = ()

    def __init__(
        self, shape: tuple[int, ...], first: First, dtype: Any = td.float32, name: str = "statistic"
    ):
        super().__init__(shape, first, dtype, name, trainable=False)

    def keep(self, x: td.Array, next_value: Callable[[td.Array], td.Array]) -> td.Array:
        """x, whose computation also gives the statistic its next value, as a function of the one before.

        Two uses in one program chain. In a static graph whoever runs a door that computes x performs it.
        """
        node = state.keep(self.cell, x.node, lambda before: next_value(td.Array(before)).node)
        return x if node is x.node else td.Array(node)


class _Calls(threading.local):
    """The modules whose calls this thread is in, outermost first, each with its name in the one around it."""

    def __init__(self) -> None:
        self.stack: list[tuple[Module, str]] = []
        self.observer: Callable[[Module, tuple[str, ...], Any], None] | None = None


_calls = _Calls()


@contextmanager
def observed(observer: Callable[[Module, tuple[str, ...], Any], None]) -> Iterator[None]:
    """A block in which every call of a module in this thread is told of: the module, the scope in which it
    computed, its result.
    """
    before, _calls.observer = _calls.observer, observer
    try:
        yield
    finally:
        _calls.observer = before


class Module:
    """A part of a network: variables and other modules as attributes, in lists, tuples and dicts of them, and
    `forward`, which computes.

    Their names are the attributes' names, joined by dots: ``features.0.weight``. A variable that is reachable
    in two ways has the first name.

    >>> import treadle as td
    >>> from treadle import nn
    >>> class Scaled(nn.Module):
    ...     def __init__(self, count):
    ...         self.scale = nn.Parameter((count,), 2.0)
    ...     def forward(self, x):
    ...         return x * self.scale
    >>> layer = Scaled(3)
    >>> layer(td.ones((2, 3))).shape, list(layer.parameters())
    ((2, 3), ['scale'])
    """

    _training = True
    _compute_dtype: DType | None = None
    _names: dict[int, str] | None = None

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """What the module computes; a subclass writes it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """`forward`, in a scope of the module's name. NumPy's arrays, and lists of numbers as the first
        argument, become arrays. An error in it says in which module of the tree.
        """
        inputs = as_inputs(inputs)
        stack = _calls.stack
        if not stack and any(isinstance(x, td.Array) and x.dtype is td.float64 for x in inputs):
            self._warn_of_float64()
        trace: Any = state.pending.trace
        if trace is not None:
            trace.computed.setdefault(self, self._compute_dtype)
        name = stack[-1][0]._name_of(self) if stack else type(self).__name__
        stack.append((self, name))
        try:
            with surrounded(scope=(*surroundings.scope, name)):
                if self._compute_dtype is None:
                    result = self.forward(*inputs, **keywords)
                else:
                    result = called(self._compute_dtype, self.forward, inputs, keywords)
                if _calls.observer is not None:
                    _calls.observer(self, surroundings.scope, result)
                return result
        except TreadleError as error:
            path = ".".join(name for _, name in stack[1:])
            error.place(f"in {path + ', ' if path else ''}{self._summary()}")
            raise
        except AttributeError as error:
            wrong = no_array(type(self).__name__, inputs, error)
            if wrong is None:
                raise
            path = ".".join(name for _, name in stack[1:])
            wrong.place(f"in {path + ', ' if path else ''}{self._summary()}")
            raise wrong from error
        finally:
            stack.pop()

    def _warn_of_float64(self) -> None:
        """Say that float32 parameters meet float64, which makes all that follows float64."""
        dtypes = {variable.dtype for variable in self.variables().values() if variable.dtype.kind == "float"}
        if dtypes and td.float64 not in dtypes:
            narrow = next(iter(dtypes))
            warnings.warn(
                f"[{type(self).__name__}] x is float64, the parameters are {narrow}: all of it is computed "
                f'in float64, which takes twice the time and memory; pass x.astype("{narrow}")',
                stacklevel=3,
            )

    # -- the tree

    def children(self) -> dict[str, Module]:
        """The modules directly below, by name."""
        return {name: value for name, value in members(self) if isinstance(value, Module)}

    def modules(self) -> dict[str, Module]:
        """This module, as ``""``, and all below it, by path."""
        found: dict[str, Module] = {"": self}
        for name, child in self.children().items():
            for path, module in child.modules().items():
                if not any(module is known for known in found.values()):
                    found[f"{name}.{path}" if path else name] = module
        return found

    def variables(self) -> dict[str, td.Variable]:
        """All variables, parameters and statistics, by path; they are named so from here on."""
        found: dict[str, td.Variable] = {}
        seen: set[int] = set()
        for path, module in self.modules().items():
            for name, value in members(module):
                if isinstance(value, td.Variable) and id(value.cell) not in seen:
                    seen.add(id(value.cell))
                    whole = f"{path}.{name}" if path else name
                    if whole.endswith(value.cell.name):
                        value.cell.name = whole  # not the shorter name that a part of a network gives it
                    found[whole] = value
        return found

    def parameters(self) -> dict[str, td.Variable]:
        """The variables that are learned and not frozen, by path."""
        return {path: variable for path, variable in self.variables().items() if variable.trainable}

    def _name_of(self, child: Module) -> str:
        """What a child is called here; the class's name for a module that is not a child."""
        if self._names is None or id(child) not in self._names:
            first_last = reversed(self.children().items())  # of several names the first counts
            self._names = {id(module): name for name, module in first_last}
        return self._names.get(id(child), type(child).__name__)

    # -- values

    def state(self) -> dict[str, np.ndarray]:
        """The values of all variables by path, as read-only arrays."""
        return {path: variable.numpy() for path, variable in self.variables().items()}

    def load_state(self, values: Mapping[str, Any], *, strict: bool = True) -> None:
        """Assign values by path, all of them or none.

        Args:
            values: arrays of the variables' shapes; they are converted to the variables' dtypes.
            strict: whether every variable must have a value, and every value a variable. Without it one value
                of a variable is enough.

        Raises:
            FormatError: values are missing, unexpected or of another shape: the message lists all of them.
        """
        assign_all(type(self).__name__, self.variables(), values, strict)

    def to(self: M, device: str) -> M:
        """Put the variables of it and all below it on a device. An optimizer keeps its state where the
        parameters were when it was made: make it afterwards.

        Args:
            device: "cpu", "cuda", "opencl:1" ...

        Raises:
            DeviceError: there is no such device.
            StateError: inside a compiled function.

        >>> from treadle import nn
        >>> nn.Dense(3, 2).to("cpu").weight.device
        'cpu'
        """
        if state.pending.trace is not None:
            raise StateError("a module goes to another device inside a compiled function: move it outside")
        for variable in self.variables().values():
            variable.move(device)
        return self

    # -- modes

    @property
    def training(self) -> bool:
        """Whether it behaves as in training (dropout drops, batch-norm uses the batch) or as in use."""
        trace: Any = state.pending.trace
        if trace is not None:
            trace.modes.setdefault(self, self._training)
        return self._training

    def train(self: M, on: bool = True) -> M:
        """Put it and all below it in training mode; compiled functions trace anew for the other mode."""
        if state.pending.trace is not None:
            raise StateError("a module's mode is changed inside a compiled function: change it outside")
        for module in self.modules().values():
            module._training = on
        return self

    def eval(self: M) -> M:
        """Put it and all below it in evaluation mode."""
        return self.train(False)

    @property
    def compute_dtype(self) -> DType | None:
        """The dtype in which it and all below it compute products, while parameters, sums and what comes out
        stay float32: "bfloat16" or "float16", as a block `nn.mixed` has it; "float32" for a part of such a
        module in which nothing is mixed; None for what is around it. Compiled functions trace anew for
        another one.

        Raises:
            ArgumentError: it is assigned another dtype.
        """
        return self._compute_dtype

    @compute_dtype.setter
    def compute_dtype(self, dtype: Any) -> None:
        if state.pending.trace is not None:
            raise StateError(
                "a module's compute_dtype is changed inside a compiled function: change it outside"
            )
        self._compute_dtype = None if dtype is None else checked_dtype(dtype)

    def freeze(self: M, pattern: str = "*") -> M:
        """Keep the parameters whose path matches from being learned (``features.*``)."""
        return self._set_trainable(pattern, False)

    def unfreeze(self: M, pattern: str = "*") -> M:
        """Let the parameters whose path matches be learned again."""
        return self._set_trainable(pattern, True)

    def _set_trainable(self: M, pattern: str, on: bool) -> M:
        chosen = [
            variable
            for path, variable in self.variables().items()
            if fnmatchcase(path, pattern) and not isinstance(variable, Statistic)
        ]
        if not chosen:
            raise ArgumentError(
                f"no parameter of {type(self).__name__} matches {pattern!r}; there are "
                f"{', '.join(self.variables())}"
            )
        for variable in chosen:
            variable.cell.trainable = on
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. A variable is not replaced by an array: it would be learned and saved no more.

        Raises:
            ArgumentError: the attribute is a variable, and the value an array or a number.
        """
        if isinstance(vars(self).get(name), td.Variable) and _is_value(value):
            raise ArgumentError(
                f"[{type(self).__name__}] {name} is a variable, and would be one no more: give it a value "
                f"with .{name}.assign(value), or another variable"
            )
        super().__setattr__(name, value)
        if name in ("_training", "_compute_dtype"):
            state.note_mode_change()

    # -- names of other systems

    def __getattr__(self, name: str) -> NoReturn:
        raise unknown_attribute("network", self, name)

    # -- looking at it

    def summary(self, *inputs: Any, **options: Any) -> Summary:
        """The network as a table, by module: shapes, parameters, FLOPs, memory; see `nn.summary`."""
        from treadle.nn.summary import summary

        return summary(self, *inputs, **options)

    def _summary(self) -> str:
        """One line about it; layers add their sizes."""
        return type(self).__name__

    def __repr__(self) -> str:
        lines = []
        for name, child in self.children().items():
            first, *rest = repr(child).split("\n")
            lines += [f"  {name}: {first}", *("  " + line for line in rest)]
        return "\n".join([self._summary(), *lines])


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """A block in which a model is in evaluation mode; each module's mode comes back after it."""
    modes = {module: module.training for module in model.modules().values()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module._training = mode


def _is_value(value: Any) -> bool:
    if isinstance(value, td.Variable):
        return False
    return isinstance(value, td.Array | np.ndarray | np.number | bool | int | float | list)


def members(module: Module) -> Iterator[tuple[str, Any]]:
    """The variables and modules among a module's attributes, by name."""
    for name, value in vars(module).items():
        if not name.startswith("_"):
            yield from _inside(name, value)


def _inside(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (td.Variable, Module)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _inside(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _inside(f"{name}.{key}", item)
