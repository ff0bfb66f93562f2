"""Parameters in groups with settings of their own, and the checks of what an optimizer is made with.

Knows nothing of how steps are made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import treadle as td
from treadle.dtypes import KINDS
from treadle.errors import ArgumentError, DTypeError, TreadleError

Parameters = Mapping[str, td.Variable] | Sequence[td.Variable]
Constraint = Callable[[td.Array], td.Array]
"""What a parameter's next value is brought to, such as `nn.MaxNorm`."""
Rate = float | Callable[[td.Array], Any]
"""A learning rate: a number, or a schedule, a function of the number of steps made so far."""


OF_ITSELF = re.compile(r"variable\d+")
"""A name that a variable got because it was given none: it depends on how many there were before."""


class Group(NamedTuple):
    """Parameters with a rate, a weight decay and a constraint of their own; what is None is the
    optimizer's.
    """

    parameters: Parameters
    rate: Rate | None = None
    weight_decay: float | None = None
    constraint: Constraint | None = None


class Settled:
    """A group as the optimizer keeps it: its rate is a variable, so that changing it is no new program."""

    def __init__(
        self,
        parameters: dict[str, td.Variable],
        rate: Rate,
        weight_decay: float,
        constraint: Constraint | None,
        name: str,
    ):
        self.parameters = parameters
        self.schedule = rate if callable(rate) else None
        self.rate = td.Variable(np.float32(0.0 if callable(rate) else rate), name, trainable=False)
        self.weight_decay = weight_decay
        self.constraint = constraint


def _checked_constraint(owner: str, constraint: Any) -> Any:
    if constraint is not None and not callable(constraint):
        raise ArgumentError(f"[{owner}] constraint={constraint!r}; expected a function of a parameter")
    return constraint


def settled(
    owner: str, parameters: Any, rate: Any, weight_decay: Any, constraint: Any = None
) -> list[Settled]:
    """The groups, nothing left open, every parameter by its path.

    Raises:
        ArgumentError: there are no parameters, something else is given for them, one is there twice, or a
            setting is none.
        DTypeError: a parameter is no real floating one.
    """
    given = _groups(owner, parameters)
    lists = [_listed(owner, _label(i, len(given)), group.parameters) for i, group in enumerate(given)]
    names = [getattr(w, "name", "") for listed in lists if not isinstance(listed, Mapping) for w in listed]
    by_name = len(set(names)) == len(names) and not any(map(OF_ITSELF.fullmatch, names))
    found: list[Settled] = []
    seen: dict[Any, str] = {}
    paths: set[str] = set()
    for number, (group, listed) in enumerate(zip(given, lists, strict=True)):
        named = _named(owner, listed, _label(number, len(given)), by_name)
        if not named:
            where = f" in group {number}" if len(given) > 1 else ""
            raise ArgumentError(f"[{owner}] there are no parameters{where}; are they all frozen?")
        # Parts of one network have the same names inside.
        taken = not paths.isdisjoint(named)
        paths.update(named)
        named = {f"{number}.{path}" if taken else path: w for path, w in named.items()}
        for path, w in named.items():
            if w.cell in seen:
                raise ArgumentError(f"[{owner}] {path} is there twice, first as {seen[w.cell]}")
            if w.dtype.kind not in KINDS["real floating"]:
                raise DTypeError(f"[{owner}] {path} is {w.dtype}; only real floating parameters are learned")
            seen[w.cell] = path
        own_rate = checked_rate(owner, rate if group.rate is None else group.rate)
        decay = weight_decay if group.weight_decay is None else group.weight_decay
        checked_number(owner, "weight_decay", decay, "at least 0", lambda value: value >= 0)
        bound = _checked_constraint(owner, constraint if group.constraint is None else group.constraint)
        found.append(Settled(named, own_rate, decay, bound, f"rate.{number}"))
    return found


def checked_number(owner: str, name: str, value: Any, wanted: str, fits: Callable[[float], bool]) -> Any:
    """The value, refused if it is no finite number that fits."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not fits(float(value)):
        raise ArgumentError(f"[{owner}] {name}={value!r}; expected a number, {wanted}")
    return value


def checked_rate(owner: str, rate: Any) -> Rate:
    """The rate, refused if it is neither a number from 0 nor a schedule that works on a step that is not
    known yet.
    """
    if not callable(rate):
        if isinstance(rate, td.Array):
            raise ArgumentError(
                f"[{owner}] rate is an array of shape {rate.shape}; expected a number, or a function of the "
                f"number of steps"
            )
        return checked_number(
            owner,
            "rate",
            rate,
            "at least 0, or a schedule such as optim.cosine(1e-3, 1000)",
            lambda r: r >= 0,
        )
    said = f"[{owner}] rate={getattr(rate, '__name__', rate)!r}"
    try:
        value = rate(td.placeholder((), name="step"))
        value = td.asarray(value)
    except TypeError as error:
        raise ArgumentError(
            f"{said} is no function of the number of steps ({error}): a schedule is made with its settings "
            f"first, as in optim.cosine(1e-3, 1000)"
        ) from None
    except TreadleError as error:
        raise ArgumentError(
            f"{said} cannot be computed from a step that is not known yet ({error.message}): use td.where "
            f"and the like in place of Python's if"
        ) from None
    if value.shape != () or value.dtype.kind not in KINDS["real"]:
        raise ArgumentError(f"{said} gives {value.dtype}{list(value.shape)}; expected a number")
    return rate


def _groups(owner: str, parameters: Any) -> list[Group]:
    """What was given as groups."""
    if isinstance(parameters, Group):
        return [parameters]
    listed = _listed(owner, "parameters", parameters)
    if isinstance(listed, Mapping) or not any(isinstance(item, Group) for item in listed):
        return [Group(listed)]
    for i, item in enumerate(listed):
        if not isinstance(item, Group):
            raise ArgumentError(
                f"[{owner}] item {i} is a {type(item).__name__} among groups: put it in an optim.Group too"
            )
    return listed


def _listed(owner: str, label: str, parameters: Any) -> Any:
    """A mapping or list, as given."""
    if _has_parameters(parameters):
        raise ArgumentError(f"[{owner}] {label} is a {type(parameters).__name__}: pass its parameters()")
    if isinstance(parameters, Mapping):
        return parameters
    if isinstance(parameters, (td.Array, str)) or not isinstance(parameters, Iterable):
        raise ArgumentError(
            f"[{owner}] {label} is a {type(parameters).__name__}; expected a module's parameters(), or a "
            f"list of variables or of optim.Group"
        )
    return list(parameters)


def _has_parameters(value: Any) -> bool:
    """Whether it is a module, or something like one."""
    return callable(getattr(value, "parameters", None))


def _named(owner: str, listed: Any, label: str, by_name: bool) -> dict[str, td.Variable]:
    """A group's variables by path: the keys they came with, their names, or their places."""
    items: dict[Any, td.Variable] = dict(listed) if isinstance(listed, Mapping) else dict(enumerate(listed))
    for key, w in items.items():
        if not isinstance(w, td.Variable):
            hint = ": pass its parameters()" if _has_parameters(w) else "; expected a td.Variable"
            raise ArgumentError(f"[{owner}] {label}[{key!r}] is a {type(w).__name__}{hint}")
    if isinstance(listed, Mapping):
        return items
    return {w.name if by_name else str(i): w for i, w in items.items()}


def _label(number: int, count: int) -> str:
    return "parameters" if count == 1 else f"parameters of group {number}"
