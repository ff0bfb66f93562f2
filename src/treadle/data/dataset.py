"""A data set: items by index, and what is done to each when it is asked for.

Everything is a function of the index and of seeds, never of who computes it or when; therefore any number of
threads and processes gives the same batches. Grain's `MapDataset` is underneath.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.data.extra import needed
from treadle.data.item import MISSING, Item, guarded, stacked
from treadle.errors import ArgumentError

if TYPE_CHECKING:
    from treadle.data.loader import Loader

ENDLESS = 2**62
"""A data set at least this long has no end."""


class Reading:
    """An indexable whose items come as `Item`, named; what fails to be read is one, too."""

    def __init__(self, indexable: Any, name: Callable[[int], str] | None):
        self.indexable, self.name = indexable, name

    def __len__(self) -> int:
        return len(self.indexable)

    def __getitem__(self, index: Any) -> Item:
        index = int(index)
        name = self.name(index) if self.name else f"item {index}"
        return guarded(lambda: self.indexable[index], "reading", Item(MISSING, (name,)))


class Mapping:
    """A function of values as one of items; items that are missing pass."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.stage = getattr(function, "stage", None) or getattr(
            function, "__name__", type(function).__name__
        )

    def __call__(self, item: Item, *more: Any) -> Item:
        if item.value is MISSING:
            return item
        return guarded(lambda: self.function(item.value, *more), self.stage, item)


class Dataset:
    """Items by index. Made by `data.arrays` and `data.source`; its methods give new ones.

    >>> from treadle import data
    >>> batches = data.arrays([1, 2, 3, 4, 5]).map(lambda x: 10 * x).batch(2)
    >>> [batch.tolist() for batch in batches.loader()]
    [[10, 20], [30, 40], [50]]
    """

    def __init__(self, made: Any, classes: tuple[str, ...] = ()):
        self._made = made
        self.classes = classes
        """Names of the classes that labels count, where the source has them."""

    def _then(self, made: Any) -> Dataset:
        return Dataset(made, self.classes)

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, index: int) -> Any:
        """The value at an index, negative ones from the end. Raises DataError if it cannot be made."""
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside a data set of {len(self)}")
        item = self._made[index % len(self)]
        if item.value is MISSING:
            raise item.faults[0].error()
        return item.value

    def __repr__(self) -> str:
        return f"Dataset({'endless' if len(self) >= ENDLESS else len(self)})"

    def map(self, function: Callable[..., Any], *, seed: int | None = None) -> Dataset:
        """A function of each value; after `batch`, of each batch.

        Args:
            function: takes the value; with a seed, also a `numpy.random.Generator`: the item's own,
                and another one in each pass.
            seed: non-negative.

        >>> from treadle import data
        >>> int(data.arrays([1, 2, 3]).map(lambda x: x + 1)[2])
        4
        """
        if seed is None:
            return self._then(self._made.map(Mapping(function)))
        return self._then(self._made.random_map(Mapping(function), seed=_spread("map", seed)))

    def augment(
        self,
        *steps: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        seed: int,
        at: int | str | None = None,
    ) -> Dataset:
        """Each item's image changed at random, differently in each pass.

        Args:
            steps: what is done, in this order: `RandomCrop`, `RandomFlip`, ... or any function of an image
                ``[height, width, channels]`` and a `numpy.random.Generator`, the item's own.
            seed: non-negative.
            at: where in an item its image is: a place in tuples, a key of dicts; None for the item itself,
                the first of a tuple, a dict's ``image``.

        >>> import numpy as np
        >>> from treadle import data
        >>> images = data.arrays(np.zeros((10, 32, 32, 3), "uint8"), np.arange(10))
        >>> image, label = images.augment(data.RandomFlip(), seed=1)[3]
        >>> image.shape, int(label)
        ((32, 32, 3), 3)
        """
        from treadle.data.augment import Augment

        return self.map(Augment(steps, at), seed=seed)

    def shuffle(self, seed: int) -> Dataset:
        """All items in an order that the seed gives, another one in each pass. Needs no memory.

        >>> from treadle import data
        >>> sorted(int(x) for x in data.arrays(range(5)).shuffle(1).loader())
        [0, 1, 2, 3, 4]
        """
        return self._then(self._made.shuffle(seed=_spread("shuffle", seed)))

    def repeat(self, times: int | None = None) -> Dataset:
        """So many passes as one; None for no end. Batches made after it go over the ends of passes.

        >>> from treadle import data
        >>> len(data.arrays([1, 2, 3]).repeat(4))
        12
        """
        if times is not None and times < 1:
            raise ArgumentError(f"[repeat] times={times} is not positive")
        if len(self) >= ENDLESS:
            raise ArgumentError("[repeat] the data set is endless already")
        return self._then(self._made.repeat(times))

    def batch(self, size: int, *, drop_last: bool = False) -> Dataset:
        """`size` items as one: arrays `[...]` become `[size, ...]`, in the same tuples and dicts.

        Args:
            size: positive.
            drop_last: leave out the last batch of a pass if it is smaller.

        Raises:
            ArgumentError: no batch would be left.

        Items left out with ``loader(bad="skip")`` make their batch smaller.

        >>> from treadle import data
        >>> data.arrays([1, 2, 3]).batch(2)[0].tolist()
        [1, 2]
        """
        if not isinstance(size, int) or size < 1:
            raise ArgumentError(f"[batch] size={size!r} is not a positive integer")
        if drop_last and len(self) < size:
            raise ArgumentError(
                f"[batch] size={size} with drop_last=True leaves nothing of {len(self)} items: "
                "take a smaller size or keep the last batch"
            )
        return self._then(self._made.batch(size, drop_remainder=drop_last, batch_fn=stacked))

    def shard(self, index: int, count: int) -> Dataset:
        """Every `count`-th item from `index` on: the part of one of `count` computers.

        Args:
            index: from 0 to `count` - 1; shards together have each item once, and differ by one item at most.
            count: positive.

        Shuffle before for shards of other items in each pass, after for the same ones.

        >>> from treadle import data
        >>> [int(x) for x in data.arrays(range(5)).shard(1, 2).loader()]
        [1, 3]
        """
        if count < 1 or not 0 <= index < count:
            raise ArgumentError(f"[shard] index={index}, count={count}: expected 0 <= index < count")
        if len(self) <= index:
            raise ArgumentError(
                f"[shard] the data set is empty: shard {index} of {count} of {len(self)} items has none"
            )
        return self._then(self._made[index::count])

    def loader(
        self,
        *,
        threads: int = 1,
        processes: int = 0,
        ahead: int = 2,
        bad: str = "raise",
        device: str | None = None,
    ) -> Loader:
        """What a training loop iterates over: `Loader`, which computes ahead in the background.

        Args:
            threads: which read and map, in each process; 0 for none, in the loop itself.
            processes: workers; 0 for none. What is mapped must be picklable then, and a program's own start
                below ``if __name__ == "__main__":``.
            ahead: how many batches are ready before they are asked for.
            bad: "raise" or "skip" what cannot be read or mapped.
            device: where batches are put, as arrays of Treadle, while the last one computes; None leaves them
                NumPy's. A CPU uses the loader's memory as it is.
        """
        from treadle.data.loader import Loader

        return Loader(self, threads=threads, processes=processes, ahead=ahead, bad=bad, device=device)


def _spread(operation: str, seed: int) -> int:
    """A seed far from its neighbours': Grain adds the pass to it, so that 1 would begin as 0 goes on."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ArgumentError(f"[{operation}] seed={seed!r} is not a non-negative integer")
    return int(np.random.SeedSequence(int(seed)).generate_state(1)[0])


def dataset(
    indexable: Any, operation: str, name: Callable[[int], str] | None = None, classes: tuple[str, ...] = ()
) -> Dataset:
    """A data set over what has `len` and integer indices."""
    grain = needed("grain", f"data.{operation}")
    if not (hasattr(indexable, "__len__") and hasattr(indexable, "__getitem__")):
        raise ArgumentError(
            f"[data.{operation}] a {type(indexable).__name__} has no length or no indices: give a list, an "
            "array or an object with __len__ and __getitem__"
        )
    if len(indexable) == 0:
        raise ArgumentError(f"[data.{operation}] the data set is empty")
    return Dataset(grain.MapDataset.source(Reading(indexable, name)), classes)
