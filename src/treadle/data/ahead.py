"""Batches fetched and copied to a device in a thread of their own, while the last one computes.

A thread that waits for a worker that died is given up: whoever asks is never left waiting with it.
"""

from __future__ import annotations

import multiprocessing.util
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from treadle.data.item import MISSING, Item, guarded

PATIENCE_S = 3.0
"""A worker that died is an error if for so long nothing comes."""


class Ahead:
    """An iterator over what another one gives, which runs ahead of it in a thread.

    Args:
        items: run and closed by the thread.
        count: how many may be ready.
        convert: what the thread does with each.
        processes: whether there are worker processes to watch.
    """

    def __init__(
        self, items: Any, count: int, convert: Callable[[Item], Item] | None, *, processes: bool = False
    ):
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(count)
        self._stopped = threading.Event()
        self._processes = processes
        self._others = set(_grains())
        self._workers: set[Any] = set()
        self._thread = threading.Thread(
            target=self._run, args=(items, convert), daemon=True, name="treadle-data-ahead"
        )
        self._thread.start()

    def _run(self, items: Any, convert: Callable[[Item], Item] | None) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    item = next(items)
                    if self._processes:
                        item = item._replace(value=_owned(item.value))
                    self._put((item if convert is None else convert(item), None))
                except BaseException as error:
                    self._put((None, error))
                    return
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _put(self, made: tuple[Any, BaseException | None]) -> None:
        while not self._stopped.is_set():
            try:
                return self._ready.put(made, timeout=0.2)
            except queue.Full:
                continue

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while True:
            try:
                item, error = self._ready.get(timeout=PATIENCE_S if self._processes else None)
            except queue.Empty:
                # The message of one that died may be half written: the thread would wait for the rest.
                self._look()
                dead = [child.exitcode for child in self._workers if child.exitcode]
                if dead and self._ready.empty():
                    raise RuntimeError(f"it ended with exit code {dead[0]}.") from None
                continue
            self._look()
            if error is not None:
                raise error
            return item

    def _look(self) -> None:
        """Note the worker processes that began since."""
        if self._processes:
            self._workers |= set(_grains()) - self._others

    def close(self) -> None:
        """End the thread and what it runs."""
        self._stopped.set()
        while not self._ready.empty():  # it may be waiting for room
            self._ready.get_nowait()
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            for child in self._workers:
                child.kill()
            _forget(self._workers)


def _grains() -> dict[Any, Any]:
    """Grain's iterators that have a worker process, by it: a list of the system's running processes would not
    have one that began and died unseen.
    """
    found = {}
    for finalizer in list(getattr(multiprocessing.util, "_finalizer_registry", {}).values()):
        for held in getattr(finalizer, "_args", ()):
            iterator: Any = held() if isinstance(held, weakref.ref) else None
            process = getattr(iterator, "_prefetch_process", None)
            if process is not None:
                found[process] = iterator
    return found


def _forget(workers: set[Any]) -> None:
    """Keep Grain from emptying, when the program ends, the queues of workers that were killed: the message
    that one was sending has no end, and would be waited for.
    """
    for process, iterator in _grains().items():
        if process in workers:
            iterator._prefetch_process = None


def _owned(value: Any) -> Any:
    """A value whose arrays are no longer in memory that processes share, which is scarce."""
    return _each(value, lambda array: np.array(array) if isinstance(array, np.ndarray) else array)


def _each(value: Any, function: Callable[[Any], Any]) -> Any:
    """A structure with a function of each of its arrays."""
    if isinstance(value, dict):
        return {key: _each(part, function) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [_each(part, function) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return function(value) if isinstance(value, np.ndarray | np.generic) else value


def copied(device: str) -> Callable[[Item], Item]:
    """A function that puts the arrays of a batch on a device; memory that the loader owns is not copied
    where the device can use it as it is.
    """
    import treadle as td

    def put(array: np.ndarray | np.generic) -> Any:
        if array.dtype.kind in "OUSMmV":
            return array
        fits = array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative
        return td.asarray(array, device=device, copy=False if fits else None)

    def copy(item: Item) -> Item:
        return item if item.value is MISSING else guarded(lambda: _each(item.value, put), "copying", item)

    return copy
