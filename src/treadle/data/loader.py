"""What a training loop iterates over: made ahead, waiting measured, resumed exactly."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Iterator, Mapping
from pickle import PicklingError
from types import TracebackType
from typing import Any

from treadle.data.ahead import Ahead, copied
from treadle.data.dataset import ENDLESS, Dataset
from treadle.data.extra import needed
from treadle.data.item import MISSING, Fault, added
from treadle.data.workers import begin
from treadle.errors import ArgumentError, DataError, StateError

KEPT = 1000
"""As many faults are kept with their reasons; all are counted."""

_LOADERS: weakref.WeakSet[Loader] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Give back what worker processes share, while there is still an interpreter to do it."""
    for loader in list(_LOADERS):
        loader.close()


ADVICE = {
    "reading": "read from a faster disk, or keep all with data.in_memory",
    "decoding": "store smaller images, decode them smaller (size=, least=), or keep them with data.in_memory",
    "augmenting": "do it on the device (nn.RandomShift, nn.RandomFlip)",
    "batching": "make smaller items, or of smaller dtypes",
    "copying": "copy smaller dtypes, and convert them on the device",
}
"""What to do about each stage that is not a function of the user's."""


class Loader:
    """Passes over a data set, each in a loop of its own. Threads and processes work ahead of it, from one
    pass into the next, until `close`.

    A loop that was left goes on in the next one. `state` says where it stands, `load_state` goes there: the
    batches that follow are those of a run that was never interrupted, for any number of workers.

    >>> from treadle import data
    >>> loader = data.arrays([1, 2, 3]).shuffle(0).batch(2).loader()
    >>> [len(batch) for batch in loader], loader.state()["passes"]
    ([2, 1], 1)
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        threads: int = 1,
        processes: int = 0,
        ahead: int = 2,
        bad: str = "raise",
        device: str | None = None,
    ):
        for name, value, least in (("threads", threads, 0), ("processes", processes, 0), ("ahead", ahead, 1)):
            if value < least:
                raise ArgumentError(f"[loader] {name}={value} is less than {least}")
        if bad not in ("raise", "skip"):
            raise ArgumentError(f'[loader] bad={bad!r}: expected "raise" or "skip"')
        self.dataset, self.bad = dataset, bad
        if device is not None:
            from treadle.array import as_device

            device = as_device(device)
        self.threads, self.processes, self.ahead, self.device = threads, processes, ahead, device
        self.faults: list[Fault] = []
        """What was left out and why, the first thousand."""
        self.skipped = 0
        """How many items were left out."""
        self.waited_s = 0.0
        """Seconds that the loop waited for batches."""
        self.total_s = 0.0
        """Seconds from asking for a batch to asking for the next, all added up."""
        self.spent: dict[str, float] = {}
        """Seconds of work in each stage (reading, decoding, the mapped functions, batching, copying), of all
        workers together.
        """
        self._passes = 0
        self._place = 0
        self._single = False
        """Whether nothing after this pass is made ahead."""
        _LOADERS.add(self)
        self._running: Any = None
        self._asked: float | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def waited_share(self) -> float:
        """The share of the time in loops that was spent waiting for data."""
        return self.waited_s / self.total_s if self.total_s else 0.0

    def __iter__(self) -> Iterator[Any]:
        self._asked = None
        return self

    def __next__(self) -> Any:
        asked = time.perf_counter()
        if self._asked is not None:
            self.total_s += asked - self._asked
        self._asked = asked
        try:
            return self._next()
        except BaseException:
            self._asked = None
            self.total_s += time.perf_counter() - asked
            raise
        finally:
            self.waited_s += time.perf_counter() - asked

    def _next(self) -> Any:
        while True:
            if self._place == len(self.dataset):
                self._passes, self._place = self._passes + 1, 0
                if self._single:
                    self.close()
                raise StopIteration
            try:
                if self._running is None:
                    self._running = self._from_here()
                item = next(self._running)
            except StopIteration:  # of an endless data set, never; of others, where the run was to end
                self.close()
                raise
            except (TypeError, AttributeError, PicklingError) as error:
                self.close()
                if not self.processes:
                    raise
                raise DataError(
                    f"the data set cannot be sent to a worker process: {error}; map functions of a module's "
                    "top level, or take threads"
                ) from error
            except RuntimeError as error:
                self.close()
                if not self.processes:
                    raise
                raise DataError(
                    f"a worker process died at batch {self._place} of pass {self._passes}: {error} It may "
                    "have been killed for its memory; go on from here with fewer processes, or none"
                ) from error
            if item.faults and self.bad == "raise":
                # The place stays before what failed: what it needs can be repaired, and the loop goes on.
                self.close()
                raise item.faults[0].error()
            self._place += 1
            self.spent = dict(added([*self.spent.items(), *item.spent]))
            self.skipped += len(item.faults)
            self.faults += item.faults[: KEPT - len(self.faults)]
            if item.value is not MISSING:
                return item.value

    def _from_here(self) -> Any:
        """What is left of this pass and the passes after it: workers go on over its end."""
        grain = needed("grain", "a loader")
        length = len(self.dataset)
        made = self.dataset._made
        if length < ENDLESS:
            made = made.repeat()
        first = self._passes * length
        made = made[first + self._place : first + length if self._single else None]
        ahead = max(self.ahead, self.threads) if self.threads else 0
        read = made.to_iter_dataset(grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=ahead))
        if self.processes:
            read = read.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self.processes, per_worker_buffer_size=self.ahead),
                begin,
            )
        convert = None if self.device is None else copied(self.device)
        if self.processes or (convert and self.threads):
            return Ahead(iter(read), self.ahead, convert, processes=self.processes > 0)
        return iter(read) if convert is None else map(convert, iter(read))

    def close(self) -> None:
        """Stop the workers; the next loop starts them again where this one stood."""
        if self._running is not None:
            running, self._running = self._running, None
            close = getattr(running, "close", None)
            if close is not None:
                close()

    def __del__(self) -> None:
        if getattr(self, "_running", None) is not None:
            self.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def state(self) -> dict[str, int]:
        """Where it stands, for JSON: whole passes, batches of this one, batches in a pass."""
        return {"passes": self._passes, "place": self._place, "length": len(self.dataset)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to where a loader of the same data set stood.

        Raises:
            StateError: it is no such state, or the data set has another length; nothing changes then.
        """
        values = [state.get(name) for name in ("passes", "place", "length")]
        if not all(isinstance(value, int) and value >= 0 for value in values):
            raise StateError(f"[Loader.load_state] {dict(state)} is not the state of a loader")
        passes, place, length = (int(value) for value in values if value is not None)
        if length != len(self.dataset) or place > length:
            raise StateError(
                f"[Loader.load_state] the state is of a pass of {length} (place {place}), this data set has "
                f"{len(self.dataset)}: make it as it was made then"
            )
        self.close()
        self._passes, self._place = passes, place

    def advice(self) -> str:
        """What takes the workers most time, and what would shorten it."""
        if not self.spent:
            return "more threads or processes would shorten it"
        slowest = max(self.spent, key=lambda stage: self.spent[stage])
        share = self.spent[slowest] / (sum(self.spent.values()) or 1.0)
        workers, cores = max(self.threads, 1) * max(self.processes, 1), os.cpu_count() or 1
        say = [f"{slowest} is {100 * share:.0f} % of the work: {ADVICE.get(slowest, 'do less in it')}"]
        if workers < cores:
            kind = "processes" if slowest not in ADVICE and not self.processes else "threads"
            say.insert(0, f"{workers} of {cores} cores work for it, more {kind} would take more")
        return ", or ".join(say)

    def report(self) -> str:
        """A sentence on how long the loop waited, what to change, and what was left out.

        >>> from treadle import data
        >>> data.arrays([1]).loader().report()
        'waited 0.0 s of 0.0 s for data (0 %)'
        """
        text = (
            f"waited {self.waited_s:.1f} s of {self.total_s:.1f} s for data ({100 * self.waited_share:.0f} %)"
        )
        if self.waited_share > 0.05:
            text += f"; {self.advice()}"
        if self.skipped:
            text += f"; {self.skipped} left out, first {self.faults[0]}"
        return text
