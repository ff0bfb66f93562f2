"""The kinds of data that a recipe can name. A kind is a function whose arguments are its keys.

Images become floating numbers from 0 to 1 here, with channels where the model wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from treadle.errors import ArgumentError, DataError
from treadle.train.recipe.batches import Augment, Batches, Prepare

Pair = tuple[np.ndarray, np.ndarray]
"""Inputs and targets, ``[examples, ...]``."""


@dataclass
class Found:
    """What a kind of data has read: arrays, or data sets whose items are read when they are needed."""

    training: Any
    validation: Any = None
    classes: tuple[str, ...] = ()
    images: bool = False
    """Whether inputs are images: ``[height, width]``, or with channels last."""


def digits() -> Found:
    """The 1,797 handwritten digits that come with Treadle; 360 are held out."""
    from treadle import datasets

    images, labels, held, held_labels = datasets.digits()
    return Found((images[:, 0], labels), (held[:, 0], held_labels), tuple("0123456789"), images=True)


def mnist(folder: Path | None = None) -> Found:
    """MNIST: 60,000 handwritten digits, and 10,000 held out, where `datasets.mnist` finds them."""
    from treadle import datasets

    images, labels, held, held_labels = datasets.mnist(folder)
    return Found((images[:, 0], labels), (held[:, 0], held_labels), tuple("0123456789"), images=True)


def fashion_mnist(folder: Path | None = None) -> Found:
    """Fashion-MNIST: 60,000 images, and 10,000 held out, where `datasets.fashion_mnist` finds them."""
    from treadle import datasets
    from treadle.datasets.mnist import FASHION_MNIST_CLASSES

    images, labels, held, held_labels = datasets.fashion_mnist(folder)
    return Found((images[:, 0], labels), (held[:, 0], held_labels), FASHION_MNIST_CLASSES, images=True)


def idx(
    images: Path,
    labels: Path,
    validation_images: Path | None = None,
    validation_labels: Path | None = None,
    classes: Sequence[str] = (),
) -> Found:
    """IDX files, the format of MNIST."""
    from treadle.data import read_idx

    if (validation_images is None) != (validation_labels is None):
        raise ArgumentError("[data] validation_images and validation_labels go together: give both or none")
    held = None
    if validation_images is not None and validation_labels is not None:
        held = (read_idx(validation_images), read_idx(validation_labels))
    return Found((read_idx(images), read_idx(labels)), held, tuple(classes), images=True)


def npz(
    file: Path,
    inputs: str = "x",
    targets: str = "y",
    validation: Path | None = None,
    classes: Sequence[str] = (),
) -> Found:
    """Arrays of an NPZ file; images have their channels where the model wants them."""
    from treadle.data.files import read_npz

    def read(path: Path) -> Pair:
        held = read_npz(path, inputs, targets)
        return held[inputs], held[targets]

    return Found(read(file), None if validation is None else read(validation), tuple(classes))


def csv(
    file: Path,
    target: str,
    validation: Path | None = None,
    delimiter: str = ",",
    classes: Sequence[str] = (),
) -> Found:
    """Tables of numbers, whose first line names the columns."""
    from treadle.data.tables import read_csv

    def read(path: Path) -> Pair:
        columns = read_csv(path, target=target, delimiter=delimiter)
        return columns[0], columns[1]

    return Found(read(file), None if validation is None else read(validation), tuple(classes))


def image_folder(
    folder: Path, size: Sequence[int], validation: Path | None = None, channels: int = 3
) -> Found:
    """Folders of images, a folder for each class; they are read when they are needed."""
    from treadle import data

    shape = _height_and_width(size)
    training = data.image_folder(folder, size=shape, channels=channels)
    held = None if validation is None else data.image_folder(validation, size=shape, channels=channels)
    if held is not None and held.classes != training.classes:
        raise ArgumentError(
            f"[data] {folder} has the classes {', '.join(training.classes)}, {validation} has "
            f"{', '.join(held.classes)}"
        )
    return Found(training, held, training.classes, images=True)


def tars(
    files: Path,
    size: Sequence[int],
    image: str = "jpg",
    label: str = "cls",
    validation: Path | None = None,
    classes: Sequence[str] = (),
) -> Found:
    """Images and labels in tar files, as WebDataset writes them; they are read when they are needed."""
    from treadle import data

    shape = _height_and_width(size)

    def read(pattern: Path) -> Any:
        # Not random: `augment` wants a seed, and draws nothing here.
        return data.tars(pattern, image, label).augment(data.Resize(shape), seed=0)

    return Found(read(files), None if validation is None else read(validation), tuple(classes), images=True)


def _height_and_width(size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2:
        raise ArgumentError(f"[data] size={list(size)}: expected height and width")
    return int(size[0]), int(size[1])


KINDS: dict[str, Callable[..., Found]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "idx": idx,
    "npz": npz,
    "csv": csv,
    "image_folder": image_folder,
    "tars": tars,
}


@dataclass
class Common:
    """The keys of ``[data]`` that all kinds have."""

    batch: int = 32
    drop_last: bool = False
    holdout: float = 0.1
    """The part of the data, or the number of examples, to validate on, where the kind holds none out."""
    limit: int | None = None
    """Train on so many examples, drawn once."""
    layout: str = "NCHW"
    mean: Sequence[float] = ()
    """Of each channel, to be taken away from images; `std` is what they are divided by then."""
    std: Sequence[float] = ()
    threads: int = 1
    """Of kinds that read files when they are needed."""
    processes: int = 0
    bad: str = "raise"
    """Or "skip": what to do about files that cannot be read."""


@dataclass
class Data:
    """Batches to train and to validate on, and what is known of them."""

    training: Any
    validation: Any
    plain: Callable[[], Any] = field(repr=False)
    """Makes batches of the training data in order, without augmentation."""
    classes: tuple[str, ...]
    prepare: Prepare
    first: np.ndarray = field(repr=False)
    """An input as it was read."""
    held: Any = field(repr=False)
    """What is held out, as it was read: arrays, or a data set; None if nothing is."""

    def placeholder_of(self, batch: int) -> Any:
        """A placeholder for a batch of inputs as the model takes them."""
        import treadle as td

        sample = self.prepare.inputs(self.first[None])
        return td.placeholder((batch, *sample.shape[1:]), dtype=str(sample.dtype), name="inputs")

    def __len__(self) -> int:
        """How many examples are held out."""
        return 0 if self.held is None else _length(self.held)

    def example(self, index: int) -> tuple[np.ndarray, Any]:
        """An example of what is held out, as it was read."""
        if isinstance(self.held, tuple):
            return self.held[0][index], self.held[1][index]
        return self.held[index]

    def name(self, label: int) -> str:
        """What a class is called."""
        return self.classes[label] if label < len(self.classes) else str(label)


def make_data(kind: str, keys: dict[str, Any], common: Common, augment: Augment, seed: int) -> Data:
    """Read the data of a kind, and make batches of them."""
    found = KINDS[kind](**keys)
    training, held = found.training, found.validation
    if held is None and common.holdout:
        training, held = _split(training, common.holdout)
    if common.limit is not None:
        training = _some(training, np.random.RandomState(0).permutation(_length(training))[: common.limit])
    prepare = Prepare(found.images, common.layout, tuple(common.mean), tuple(common.std))
    return Data(
        _batches(training, common, prepare, augment, seed),
        None if held is None else _batches(held, common, prepare),
        lambda: _batches(training, common, prepare),
        found.classes,
        prepare,
        training[0][0] if isinstance(training, tuple) else _first(training),
        held,
    )


def _batches(
    items: Any, common: Common, prepare: Prepare, augment: Augment | None = None, seed: int | None = None
) -> Any:
    """Batches in order if there is no seed, else in another order in each pass."""
    drop = common.drop_last and seed is not None
    if isinstance(items, tuple):
        return Batches(items, common.batch, prepare, augment, seed=seed, drop_last=drop)
    if seed is not None:
        items = items.shuffle(seed)
    items = items.batch(common.batch, drop_last=drop).map(prepare)
    if augment is not None and augment:
        items = items.map(augment, seed=seed)
    return items.loader(threads=common.threads, processes=common.processes, bad=common.bad)


def _first(items: Any) -> np.ndarray:
    """The input of the first item that can be read."""
    for i in range(len(items)):
        try:
            return np.asarray(items[i][0])
        except DataError as error:
            if i == len(items) - 1:
                raise error
    raise AssertionError("a data set is not empty")


def _length(items: Any) -> int:
    return len(items[0]) if isinstance(items, tuple) else len(items)


def _some(items: Any, indices: np.ndarray) -> Any:
    """The examples of some indices."""
    if isinstance(items, tuple):
        return tuple(array[indices] for array in items)
    from treadle import data

    return data.source(_Chosen(items, indices))


class _Chosen:
    """Some items of a data set."""

    def __init__(self, items: Any, indices: np.ndarray):
        self.items, self.indices = items, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.items[int(self.indices[index])]


def _split(items: Any, holdout: float) -> tuple[Any, Any]:
    """What to train on, and a part or number of the examples, drawn once."""
    length = _length(items)
    count = round(holdout * length) if holdout < 1 else int(holdout)
    if not 0 < count < length:
        raise ArgumentError(f"[data] holdout={holdout} holds {count} of {length} examples out")
    order = np.random.RandomState(0).permutation(length)
    return _some(items, order[count:]), _some(items, order[:count])
