"""What travels through a pipeline: a value, where it came from, and what went wrong on the way.

A fault is kept as data, so that it crosses threads and processes, and who asks for batches decides whether
it is raised. Knows nothing of Grain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from treadle.errors import DataError, ShapeError, TreadleError


class Fault(NamedTuple):
    """An item that could not be read or mapped."""

    name: str
    """Its file, or its index in the data set."""
    stage: str
    """What failed: reading, or the name of the mapped function."""
    reason: str
    """The error's type and message."""

    def __str__(self) -> str:
        return f"{self.name}: {self.stage}: {self.reason}"

    def error(self) -> DataError:
        """The fault as an error."""
        error = DataError(
            f"{self.name} cannot be used, {self.stage} failed: {self.reason}; repair it, or leave such items "
            'out with loader(bad="skip")'
        )
        error.fault = self
        return error


class _Missing:
    """The value of an item that could not be made."""

    def __reduce__(self) -> str:
        return "MISSING"


MISSING = _Missing()


class Item(NamedTuple):
    """A value with the names of the items it is made of, the faults of those left out, and the seconds that
    each stage took.
    """

    value: Any
    names: tuple[str, ...]
    faults: tuple[Fault, ...] = ()
    spent: tuple[tuple[str, float], ...] = ()


def guarded(function: Callable[[], Any], stage: str, before: Item) -> Item:
    """What a function gives, as the item that was; where it fails, a missing one that says why."""
    began = time.perf_counter()
    value, names, faults = MISSING, before.names, before.faults
    try:
        value = function()
    except (Exception, SystemExit) as error:  # a worker that exits would leave its loop waiting
        if isinstance(error, DataError) and error.fault is not None:  # of a data set that this one reads
            return Item(value, names, (*faults, error.fault), added([*before.spent, _since(stage, began)]))
        text = error.message if isinstance(error, TreadleError) else str(error)
        shown = (
            names[0] if len(names) == 1 else f"the batch of {', '.join(names[:4])}{' ...' * (len(names) > 4)}"
        )
        faults = (*faults, Fault(shown, stage, f"{type(error).__name__}: {text}"))
    return Item(value, names, faults, added([*before.spent, _since(stage, began)]))


def _since(stage: str, began: float) -> tuple[str, float]:
    return stage, time.perf_counter() - began


def added(spent: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Seconds by stage, those of the same stage added up."""
    total: dict[str, float] = {}
    for stage, seconds in spent:
        total[stage] = total.get(stage, 0.0) + seconds
    return tuple(total.items())


def stacked(items: Sequence[Item]) -> Item:
    """One item of several, those that are missing left out: arrays get a first dimension."""
    good = [item for item in items if item.value is not MISSING]
    faults = tuple(fault for item in items for fault in item.faults)
    names = tuple(name for item in good for name in item.names)
    spent = added(pair for item in items for pair in item.spent)
    if not good:
        return Item(MISSING, names, faults, spent)
    return guarded(
        lambda: stack([item.value for item in good], names), "batching", Item(MISSING, names, faults, spent)
    )


def stack(values: Sequence[Any], names: Sequence[str]) -> Any:
    """Equal structures of arrays and numbers as one; text becomes a tuple.

    Raises ShapeError where shapes or structures differ, naming the first that does.
    """
    first = values[0]
    if isinstance(first, dict):
        _same(values, names, lambda value: isinstance(value, dict) and sorted(value), "the keys")
        return {key: stack([value[key] for value in values], names) for key in first}
    if isinstance(first, tuple | list):
        _same(values, names, lambda value: isinstance(value, tuple | list) and len(value), "the length")
        return tuple(stack([value[i] for value in values], names) for i in range(len(first)))
    if isinstance(first, str | bytes):
        return tuple(values)
    if isinstance(first, float) and not isinstance(first, np.generic):
        return np.array(values, np.float32)
    arrays = [np.asarray(value) for value in values]
    _same(arrays, names, lambda array: array.shape, "the shape")
    return np.stack(arrays)


def _same(values: Sequence[Any], names: Sequence[str], of: Callable[[Any], Any], what: str) -> None:
    wanted = of(values[0])
    for value, name in zip(values, names, strict=False):
        if of(value) != wanted:
            raise ShapeError(
                f"[batch] {what} of {name} is {of(value)}, of {names[0]} {wanted}: items of a batch must be "
                "alike; make them so in a map before"
            )
