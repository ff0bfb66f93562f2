"""MNIST and Fashion-MNIST from the four IDX files they are published as. Finds files; downloads nothing.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE, 1998. H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms", 2017, arXiv:1708.07747, licensed MIT.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from treadle.data.files import read_idx
from treadle.errors import DataError, FormatError

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""What the labels of Fashion-MNIST count."""

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Images and labels to train on, then those to test on; each as it is or with `.gz`."""

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class _Set(NamedTuple):
    folder: str
    installed: str | None
    """The folder into which a system's package puts the files."""
    source: str
    """Where a person gets the files."""


SETS = {
    "fashion_mnist": _Set(
        "fashion-mnist",
        "/usr/share/datasets/fashion-mnist",
        "Debian and Ubuntu have them as a package (apt install dataset-fashion-mnist), others get the four "
        "files from github.com/zalandoresearch/fashion-mnist",
    ),
    "mnist": _Set("mnist", None, "get the four files from yann.lecun.com/exdb/mnist or a copy of it"),
}


def fashion_mnist(folder: str | os.PathLike[str] | None = None) -> Split:
    """The 70,000 grey 28x28 images of clothes, 60,000 to train on and 10,000 to test on.

    Args:
        folder: with the four files; without it they are looked for in ``fashion-mnist`` below the folder that
            the environment variable TREADLE_DATA_DIR names, and where Debian's package puts them.

    Returns:
        ``(train_images, train_labels, test_images, test_labels)``: images float32 ``[count, 1, 28, 28]`` from
        0 (background) to 1, labels int64 ``[count]``, which count `FASHION_MNIST_CLASSES`.

    Raises:
        DataError: the files are in no such folder; it says which were looked for and where to get them.
        FormatError: a file is broken, or images and labels differ in number.
    """
    return _read("fashion_mnist", folder)


def mnist(folder: str | os.PathLike[str] | None = None) -> Split:
    """The 70,000 handwritten digits, 60,000 to train on and 10,000 to test on.

    Args:
        folder: with the four files; without it they are looked for in ``mnist`` below the folder that the
            environment variable TREADLE_DATA_DIR names.

    Returns:
        ``(train_images, train_labels, test_images, test_labels)``: images float32 ``[count, 1, 28, 28]`` from
        0 (paper) to 1 (ink), labels int64 ``[count]``.

    Raises:
        DataError, FormatError: as of `fashion_mnist`.
    """
    return _read("mnist", folder)


def _read(name: str, folder: str | os.PathLike[str] | None) -> Split:
    paths = _find(name, folder)
    train_images, train_labels, test_images, test_labels = (read_idx(path) for path in paths)
    for images, labels, path in (
        (train_images, train_labels, paths[0]),
        (test_images, test_labels, paths[2]),
    ):
        if images.dtype != np.uint8 or images.ndim != 3 or labels.shape != images.shape[:1]:
            raise FormatError(
                f"{path} and the labels beside it hold {images.dtype} {images.shape} and {labels.shape}: "
                "expected uint8 (count, height, width) and (count,), get the files again"
            )
    return (
        _scaled(train_images),
        train_labels.astype(np.int64),
        _scaled(test_images),
        test_labels.astype(np.int64),
    )


def _scaled(images: np.ndarray) -> np.ndarray:
    return np.multiply(images[:, None], np.float32(1 / 255), dtype=np.float32)


def _find(name: str, folder: str | os.PathLike[str] | None) -> list[Path]:
    """The four files, from the first folder that has them all."""
    known = SETS[name]
    if folder is not None:
        folders = [Path(folder)]
    else:
        own = os.environ.get("TREADLE_DATA_DIR")
        folders = [Path(own) / known.folder] if own else []
        folders += [Path(known.installed)] if known.installed else []
    missing = []
    for place in folders:
        found = [
            next((p for p in (place / f"{file}.gz", place / file) if p.is_file()), None) for file in FILES
        ]
        if all(found):
            return [path for path in found if path is not None]
        missing.append(f"{place} has no {FILES[found.index(None)]} (with or without .gz)")
    looked = "; ".join(missing) or "TREADLE_DATA_DIR is not set"
    raise DataError(
        f"[datasets.{name}] the data set's files are not here: {looked}. Put them into a folder and give it "
        f"as folder=..., or into {known.folder} below the folder that TREADLE_DATA_DIR names; {known.source}"
    )
