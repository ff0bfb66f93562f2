"""What training goes over, whatever it was given as: batches of an epoch, and where in it one stands.

Like `data.Loader`: a loop that was left goes on in the next one, `state` and `load_state` say and set where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from treadle.array import Array, asarray
from treadle.errors import ArgumentError, ShapeError, StateError
from treadle.nn.inputs import is_numbers


class ArrayBatches:
    """Batches of arrays in memory, in an order that is another one in each pass.

    Args:
        arrays: nested tuples, lists and dicts of arrays whose first sizes are equal.
        batch: examples in a batch; the last one of a pass may be smaller.
        shuffle: whether the order is drawn, from `seed` and the number of the pass.
    """

    def __init__(self, arrays: Any, batch: int, *, shuffle: bool = False, seed: int = 0):
        if not isinstance(batch, int) or batch < 1:
            raise ArgumentError(f"batch={batch!r} is not a positive integer")
        self.arrays = _on_host(arrays)
        self.batch, self.shuffle, self.seed = batch, shuffle, seed
        self.count = _examples(self.arrays)
        self.passes = self.place = 0
        self._order: np.ndarray | None = None

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.place >= len(self):
            self.passes, self.place, self._order = self.passes + 1, 0, None
            raise StopIteration
        begin = self.place * self.batch
        self.place += 1
        if not self.shuffle:
            return _taken(self.arrays, slice(begin, begin + self.batch))
        if self._order is None:
            numbers = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, self.passes))))
            self._order = numbers.permutation(self.count)
        return _taken(self.arrays, self._order[begin : begin + self.batch])

    def state(self) -> dict[str, Any]:
        """Where it stands: whole passes, batches of this one, and what the order depends on."""
        return {"passes": self.passes, "place": self.place, **self._kind()}

    def _kind(self) -> dict[str, Any]:
        return {"examples": self.count, "batch": self.batch, "shuffle": self.shuffle, "seed": self.seed}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to where batches of the same arrays stood. Raises StateError if they were others."""
        other = [
            f"{name} was {state.get(name)}, is {value}"
            for name, value in self._kind().items()
            if state.get(name) != value
        ]
        if other:
            raise StateError(f"the data are not those of the run: {'; '.join(other)}")
        self.passes, self.place, self._order = state["passes"], state["place"], None


class AnyBatches:
    """Any iterable of batches, gone through from its beginning in each pass."""

    def __init__(self, batches: Iterable[Any]):
        self.batches = batches
        self.passes = self.place = 0
        self._running: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._running is None:
            self._running = iter(self.batches)
            if self._running is self.batches and self.passes:
                raise ArgumentError(
                    "the data are an iterator, which is exhausted after one pass: give a list, a data.Loader "
                    "or an object whose __iter__ begins anew"
                )
            for skipped in range(self.place):
                if next(self._running, None) is None:
                    raise StateError(
                        f"the data end after {skipped} batches, the run had {self.place} of them"
                    )
        try:
            batch = next(self._running)
        except StopIteration:
            self.passes, self.place, self._running = self.passes + 1, 0, None
            raise
        self.place += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Where it stands: whole passes, batches of this one."""
        return {"passes": self.passes, "place": self.place}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to where another run stood: the batches before are made again and left out."""
        self.passes, self.place, self._running = state["passes"], state["place"], None


def as_batches(
    data: Any, batch: int | None = None, *, shuffle: bool = False, seed: int = 0, passes: int = 0
) -> Any:
    """Data as users give them, as batches.

    Args:
        data: a `data.Loader`; a `data.Dataset` of batches, or of examples if `batch` is given; a tuple of
            arrays or lists of numbers, which are cut into batches; or any iterable of batches.
        batch: examples in a batch; for arrays 32 if None.
        shuffle, seed: the order of arrays.
        passes: how many went before, each in another order.
    """
    if all(hasattr(data, name) for name in ("load_state", "state", "__next__")):
        return data
    if hasattr(data, "loader"):
        return (data if batch is None else data.batch(batch)).loader()
    data = listed(data)
    if isinstance(data, tuple) and all(_is_arrays(part) for part in data):
        made = ArrayBatches(data, 32 if batch is None else batch, shuffle=shuffle, seed=seed)
        made.passes = passes
        return made
    if isinstance(data, Iterable):
        return AnyBatches(data)
    raise ArgumentError(
        f"data is a {type(data).__name__}: give a data.Loader, a data.Dataset, a tuple of arrays (inputs, "
        f"targets) or an iterable of such batches"
    )


def whole_pass(operation: str, batches: Any) -> Any:
    """Batches at the beginning of a pass, also where a loop was left before its end.

    Raises:
        ArgumentError: a pass has no end.
    """
    check_end(operation, batches)
    if all(hasattr(batches, name) for name in ("load_state", "state")):
        state = batches.state()
        if state.get("place"):
            batches.load_state({**state, "place": 0})
    return batches


def check_end(operation: str, batches: Any) -> None:
    """Refuse batches that have no end.

    Raises:
        ArgumentError: they have none.
    """
    if length_of(batches) is None and hasattr(batches, "__len__"):
        raise ArgumentError(
            f"[{operation}] the data have no end: leave out .repeat(), or take a part of them"
        )


def length_of(batches: Any) -> int | None:
    """Batches in a pass, None if that is not known or there is no end."""
    count = len(batches) if hasattr(batches, "__len__") else None
    if count is None and hasattr(batches, "batches") and hasattr(batches.batches, "__len__"):
        count = len(batches.batches)
    # An endless data set has 2**62 items or more, and batches of it are a fraction of that.
    return count if count is None or count < 2**40 else None


def listed(data: Any) -> Any:
    """Data with what is nested lists of numbers in a tuple as arrays."""
    if not isinstance(data, tuple):
        return data
    return tuple([asarray(part).numpy() if is_numbers(part) else part for part in data])


def _is_arrays(structure: Any) -> bool:
    if isinstance(structure, Mapping):
        return all(_is_arrays(value) for value in structure.values())
    if isinstance(structure, tuple):
        return all(_is_arrays(item) for item in structure)
    return isinstance(structure, np.ndarray | Array)


def _on_host(structure: Any) -> Any:
    if isinstance(structure, Mapping):
        return {key: _on_host(value) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return tuple(_on_host(item) for item in structure)
    return np.asarray(structure)


def _arrays(structure: Any) -> list[np.ndarray]:
    if isinstance(structure, Mapping):
        structure = tuple(structure.values())
    if isinstance(structure, tuple):
        return [array for item in structure for array in _arrays(item)]
    return [structure]


def _examples(structure: Any) -> int:
    sizes = {array.shape[0] if array.ndim else 0 for array in _arrays(structure)}
    if len(sizes) != 1:
        raise ShapeError(f"the arrays have {', '.join(map(str, sorted(sizes)))} examples: expected one count")
    (count,) = sizes
    if not count:
        raise ArgumentError("the data set is empty")
    return count


def _taken(structure: Any, which: Any) -> Any:
    if isinstance(structure, Mapping):
        return {key: _taken(value, which) for key, value in structure.items()}
    if isinstance(structure, tuple):
        return tuple([_taken(item, which) for item in structure])
    return structure[which]
