"""Random changes to images: the same for any number of workers, what they say they are, and wrong use."""

from __future__ import annotations

import json

import numpy as np
import pytest

import treadle as td
from treadle import data
from treadle.errors import ArgumentError, DataError, IndexingError

IMAGES = np.random.default_rng(0).integers(0, 256, (13, 12, 10, 3), dtype=np.uint8)
STEPS = (
    data.RandomResizedCrop((9, 9), scale=(0.4, 1)),
    data.RandomFlip(),
    data.ColorJitter(0.4, 0.4, 0.4, 0.1),
    data.RandomCrop(8, padding=1),
)


def pipeline():
    items = data.arrays(IMAGES, np.arange(13)).shuffle(4).repeat(2).augment(*STEPS, seed=7)
    return items.batch(4, drop_last=True).map(data.Mixup(13, 0.4), seed=2)


def taken(loader, count):
    found = []
    while len(found) < count:
        for x, y in loader:
            found.append((np.asarray(x).tobytes(), np.asarray(y).tobytes()))
            if len(found) == count:
                break
    return found


def test_the_same_for_any_number_of_workers_resumed_with_others():
    whole = taken(pipeline().loader(threads=0), 16)
    assert len(set(whole)) == 16, "each pass and each item has changes of its own"
    assert taken(pipeline().loader(threads=3, device="cpu"), 16) == whole
    first = pipeline().loader(threads=2)
    begun = taken(first, 8)
    with pipeline().loader(processes=2) as second:
        second.load_state(json.loads(json.dumps(first.state())))
        assert begun + taken(second, 8) == whole


def test_crops_flips_and_sizes():
    numbers = np.random.default_rng(1)
    image = IMAGES[0]
    part = data.RandomCrop((5, 4))(image, numbers)
    windows = np.lib.stride_tricks.sliding_window_view(image, (5, 4, 3)).reshape(-1, 5, 4, 3)
    assert (windows == part).all((1, 2, 3)).any()
    assert np.array_equal(data.CenterCrop((6, 6))(image, numbers), image[3:9, 2:8])
    flips = [data.RandomFlip(vertical=vertical)(image, numbers) for vertical in (False, True) * 20]
    kinds = {flip.tobytes() for flip in flips}
    assert kinds == {image.tobytes(), image[:, ::-1].tobytes(), image[::-1].tobytes()}
    assert data.RandomFlip(0)(image, numbers) is image
    assert data.Resize(20)(image, numbers).shape == (24, 20, 3)
    assert data.Resize((3, 4))(image, numbers).shape == (3, 4, 3)
    narrow = np.zeros((2, 60, 1), np.uint8)
    assert data.RandomResizedCrop(4, scale=(0.9, 1))(narrow, numbers).shape == (4, 4, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colours(dtype):
    image = IMAGES[1] if dtype == np.uint8 else IMAGES[1].astype(np.float32) / 255
    largest = 255 if dtype == np.uint8 else 1
    numbers = np.random.default_rng(2)
    assert np.array_equal(data.ColorJitter()(image, numbers), image)
    for jitter in (data.ColorJitter(0.9), data.ColorJitter(0, 3), data.ColorJitter(0, 0, 3, 0.5)):
        made = jitter(image, numbers)
        assert made.dtype == dtype and made.min() >= 0 and made.max() <= largest
        assert not np.array_equal(made, image)
    grey = np.full((4, 4, 3), largest // 2 or 0.5, dtype)
    assert np.abs(data.ColorJitter(0, 2, 2, 0.5)(grey, numbers) - grey.astype(float)).max() <= largest / 255
    hued = data.ColorJitter(hue=0.5)(image, numbers).astype(float)
    assert np.allclose(hued.max(2), image.max(2), atol=largest / 100), "a hue's turn leaves the value"


def test_where_the_image_is():
    class Bright:
        def __call__(self, image, numbers):
            return image + 1

    rows = data.source([{"image": np.zeros((2, 2)), "label": 3}])
    assert rows.augment(Bright(), seed=0)[0]["image"].sum() == 4
    pairs = data.source([(7, np.zeros((2, 2)))])
    assert pairs.augment(Bright(), seed=0, at=1)[0][1].sum() == 4
    with pytest.raises(
        DataError, match=r"item 0 cannot be used, augmenting failed: ShapeError.*\(\) is no im"
    ):
        pairs.augment(Bright(), seed=0)[0]
    with pytest.raises(DataError, match=r"an image of \(12, 10\) is smaller than \(11, 11\)"):
        data.arrays(IMAGES).augment(data.RandomCrop(11), seed=0)[0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: data.RandomCrop((3, 0)), "size"),
        (lambda: data.RandomResizedCrop(3, scale=(0.5, 0.1)), "scale"),
        (lambda: data.RandomFlip(2), "rate=2"),
        (lambda: data.ColorJitter(-1), "brightness=-1"),
        (lambda: data.ColorJitter(hue=1), "hue=1"),
        (lambda: data.Mixup(2, 0), "alpha=0"),
        (lambda: data.Mixup(0), "classes=0"),
    ],
)
def test_wrong_use(wrong, says):
    with pytest.raises(ArgumentError, match=says):
        wrong()


def test_batches_on_the_device_are_the_loaders_own_memory():
    loader = data.arrays(IMAGES, np.arange(13)).batch(4).loader(device="cpu")
    batches = list(loader)
    assert all(isinstance(x, td.Array) and isinstance(y, td.Array) for x, y in batches)
    assert np.array_equal(np.concatenate([x.numpy() for x, _ in batches]), IMAGES)
    names = data.source([{"x": 1.5, "name": "a"}]).batch(1).loader(device="cpu", threads=0)
    (batch,) = names
    assert batch["name"] == ("a",) and batch["x"].tolist() == [1.5]
    assert "copying" in loader.spent and "copying" in names.spent


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_that_are_no_classes_are_not_mixed(label):
    with pytest.raises(IndexingError, match=f"label {label} is not from 0 to 1"):
        data.Mixup(2)((np.ones((2, 1)), np.array([0, label])), np.random.default_rng(0))
