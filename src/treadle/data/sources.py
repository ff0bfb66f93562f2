"""Data sets of what is in memory or can be indexed."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.data.dataset import ENDLESS, Dataset, dataset
from treadle.data.item import stack
from treadle.errors import ArgumentError, ShapeError


class _Rows:
    """The rows of a structure of arrays."""

    def __init__(self, columns: Any, length: int):
        self.columns, self.length = columns, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.columns, dict):
            return {name: column[index] for name, column in self.columns.items()}
        if isinstance(self.columns, tuple):
            return tuple(column[index] for column in self.columns)
        return self.columns[index]


def arrays(*columns: Any) -> Dataset:
    """The rows of one array, of several as tuples, or of a dict of arrays as dicts.

    Args:
        columns: arrays or lists `[items, ...]`, or one dict of them.

    Raises:
        ShapeError: their first dimensions differ.
        ArgumentError: there are no items.

    >>> from treadle import data
    >>> image, label = data.arrays([[1.0, 2.0], [3.0, 4.0]], [0, 1])[1]
    >>> image.tolist(), int(label)
    ([3.0, 4.0], 1)
    """
    if len(columns) == 1 and isinstance(columns[0], dict):
        made: Any = {name: _column(value) for name, value in columns[0].items()}
        named = made
    else:
        made = tuple(_column(value) for value in columns)
        named = {f"argument {place}": column for place, column in enumerate(made)}
    if not named:
        raise ArgumentError("[data.arrays] no array is given")
    flat = [name for name, column in named.items() if not column.ndim]
    if flat:
        raise ShapeError(f"[data.arrays] {flat[0]} is a number: expected arrays [items, ...]")
    lengths = {name: len(column) for name, column in named.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ShapeError(f"[data.arrays] the numbers of items differ: {shown}")
    length = next(iter(lengths.values()))
    return dataset(_Rows(made[0] if len(made) == 1 and made is not named else made, length), "arrays")


def _column(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "numpy"):
        return value.numpy()
    array = np.asarray(value)
    # Python's floats become float32, as in td.asarray; an array of the user's keeps its dtype.
    return (
        array.astype(np.float32) if array.dtype == np.float64 and isinstance(value, list | tuple) else array
    )


def source(indexable: Any) -> Dataset:
    """The items of anything with `len` and integer indices; each is read when it is needed.

    Raises:
        ArgumentError: it has no length or indices, or no items.

    >>> from treadle import data
    >>> data.source("abc")[1]
    'b'
    """
    return dataset(indexable, "source")


def in_memory(items: Dataset, *, threads: int = 1, processes: int = 0, bad: str = "raise") -> Dataset:
    """All values of a data set, read and mapped once, and kept as arrays.

    Args:
        items: not yet in batches; map what is random after.
        threads, processes, bad: as of `Dataset.loader`.

    >>> from treadle import data
    >>> int(data.in_memory(data.source([3, 4]).map(lambda x: x * x))[1])
    16
    """
    if len(items) >= ENDLESS:
        raise ArgumentError("[data.in_memory] the data set is endless: repeat it after")
    with items.loader(threads=threads, processes=processes, bad=bad, ahead=64) as loader:
        loader._single = True
        values = list(loader)
    if not values:
        raise ArgumentError(
            f"[data.in_memory] the data set is empty: all {len(items)} items were left out, the first "
            f"because of {loader.faults[0]}"
        )
    columns = stack(values, [f"item {place}" for place in range(len(values))])
    return dataset(_Rows(columns, len(values)), "in_memory", classes=items.classes)
