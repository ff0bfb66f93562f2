"""The 1,797 handwritten digits of the UCI repository, as they are and split for training.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998, doi:10.24432/C50P49, licensed CC BY 4.0. These are the images of its test set; ATTRIBUTION.md says
what was changed.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from treadle.errors import ArgumentError

LARGEST_PIXEL = 16


def digits(seed: int = 0, test: int = 360) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The 1,797 handwritten digits that come with Treadle, shuffled.

    Args:
        seed: of their order.
        test: how many, the last of them, are to test on.

    Returns:
        ``(train_images, train_labels, test_images, test_labels)``: images float32 ``[count, 1, 8, 8]`` from 0
        (paper) to 1 (ink), labels int64 ``[count]``.

    Raises:
        ArgumentError: `test` leaves nothing to train on.

    >>> train_images, train_labels, test_images, test_labels = digits()
    >>> train_images.shape, test_images.shape
    ((1437, 1, 8, 8), (360, 1, 8, 8))
    """
    with (files("treadle.datasets") / "digits.npz").open("rb") as file, np.load(file) as archive:
        images, labels = archive["images"], archive["labels"]
    if not 0 <= test < len(labels):
        raise ArgumentError(
            f"[datasets.digits] test={test}; expected 0 to {len(labels) - 1} digits to test on"
        )
    # NumPy promises the same numbers in every release from RandomState, and not from default_rng.
    order = np.random.RandomState(seed).permutation(len(labels))
    images = (images[order, None] / np.float32(LARGEST_PIXEL)).astype(np.float32)
    labels = labels[order].astype(np.int64)
    train = len(labels) - test
    return images[:train], labels[:train], images[train:], labels[train:]


load_digits = digits
"""The name that scikit-learn has for them."""
