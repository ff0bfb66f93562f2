"""The digits are all there, unchanged, and split the same way everywhere."""

from __future__ import annotations

import zlib
from importlib.resources import files

import numpy as np
import pytest

from treadle.datasets import digits, load_digits

COUNT_OF_EACH_DIGIT = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def pairs(images, labels):
    return {(image.tobytes(), int(label)) for image, label in zip(images, labels)}


def test_stored_digits_are_the_published_ones():
    with np.load(str(files("treadle.datasets") / "digits.npz")) as archive:
        images, labels = archive["images"], archive["labels"]
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((1797, 8, 8), "u1", (1797,), "u1")
    assert zlib.crc32(images.tobytes()) == 0xF3A2533C
    assert zlib.crc32(labels.tobytes()) == 0xF86FC929


def test_split_has_the_promised_shapes_dtypes_and_range():
    train_images, train_labels, test_images, test_labels = digits()
    assert (train_images.shape, train_images.dtype) == ((1437, 1, 8, 8), np.float32)
    assert (test_images.shape, test_images.dtype) == ((360, 1, 8, 8), np.float32)
    assert (train_labels.shape, train_labels.dtype) == ((1437,), np.int64)
    assert (test_labels.shape, test_labels.dtype) == ((360,), np.int64)
    assert train_images.min() == 0.0 and train_images.max() == 1.0
    assert np.bincount(np.concatenate([train_labels, test_labels])).tolist() == COUNT_OF_EACH_DIGIT


def test_split_is_a_shuffle_that_keeps_each_image_with_its_label():
    with np.load(str(files("treadle.datasets") / "digits.npz")) as archive:
        stored = pairs(archive["images"], archive["labels"])
    train_images, train_labels, test_images, test_labels = load_digits(seed=5, test=100)
    images, labels = np.concatenate([train_images, test_images]), np.concatenate([train_labels, test_labels])
    assert pairs((images * 16).astype("u1"), labels) == stored


def test_seed_0_gives_the_same_order_in_every_numpy():
    _, train_labels, _, test_labels = digits()
    assert train_labels[:10].tolist() == [2, 8, 2, 6, 6, 7, 1, 9, 8, 5]
    assert test_labels[-10:].tolist() == [1, 4, 8, 4, 5, 3, 3, 7, 7, 8]
    assert digits(seed=1)[1][:10].tolist() != [2, 8, 2, 6, 6, 7, 1, 9, 8, 5]


@pytest.mark.parametrize("test", [-1, 1797, 5000])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(test):
    with pytest.raises(ValueError, match=f"test={test}; expected 0 to 1796 digits"):
        digits(test=test)
