"""Augmentation: in training every example in its own way, none in evaluation."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle import nn
from treadle.errors import ArgumentError, DTypeError, ShapeError

IMAGES = np.random.default_rng(0).uniform(0.5, 1.0, (64, 3, 9, 8)).astype("float32")


def made(layer, layout, x=IMAGES):
    """What a layer makes of images, channels first."""
    turned = np.moveaxis(x, 1, -1) if layout == "NHWC" else x
    y = layer(td.asarray(turned)).numpy()
    return np.moveaxis(y, -1, 1) if layout == "NHWC" else y


LAYERS = {
    "flip": lambda layout: nn.RandomFlip(layout=layout),
    "flip up": lambda layout: nn.RandomFlip(vertical=True, layout=layout),
    "shift": lambda layout: nn.RandomShift(2, layout=layout),
    "shift edge": lambda layout: nn.RandomShift(2, mode="edge", layout=layout),
    "shift reflect": lambda layout: nn.RandomShift(3, mode="reflect", layout=layout),
    "cutout": lambda layout: nn.Cutout(4, layout=layout),
    "jitter": lambda layout: nn.ColorJitter(0.3, 0.4, layout=layout),
}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", LAYERS)
def test_training_draws_anew_and_evaluation_changes_nothing(name, layout):
    layer = LAYERS[name](layout)
    y = made(layer, layout)
    assert y.shape == IMAGES.shape and (y != IMAGES).any()
    assert (made(layer, layout) != y).any()
    step = td.compile(layer)
    first = made(step, layout)
    assert (first != made(step, layout)).any()
    np.testing.assert_array_equal(made(layer.eval(), layout), IMAGES)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_flips(layout):
    y = made(nn.RandomFlip(layout=layout), layout)
    mirrored = [(a == b[..., ::-1]).all() for a, b in zip(y, IMAGES)]
    same = [(a == b).all() for a, b in zip(y, IMAGES)]
    assert all(m ^ s for m, s in zip(mirrored, same)) and 10 < sum(mirrored) < 54
    up = made(nn.RandomFlip(1.0, vertical=True, layout=layout), layout)
    np.testing.assert_array_equal(up, IMAGES[:, :, ::-1])


PADDING = {"constant": "constant", "edge": "edge", "reflect": "reflect"}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("mode", PADDING)
def test_a_shift_is_a_crop_of_the_padded_image(mode, layout):
    y = made(nn.RandomShift(2, mode=mode, layout=layout), layout)
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (2, 2), (2, 2)), mode=PADDING[mode])
    places = set()
    for image, whole in zip(y, padded):
        starts = [(i, j) for i in range(5) for j in range(5)]
        crops = [(i, j) for i, j in starts if (image == whole[:, i : i + 9, j : j + 8]).all()]
        assert len(crops) == 1
        places.add(crops[0])
    assert len(places) > 12


def test_a_square_is_cut_out():
    y = nn.Cutout(4)(td.asarray(IMAGES)).numpy()
    for image, before in zip(y, IMAGES):
        gone = (image == 0).all(axis=0)
        rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
        assert 1 <= len(rows) <= 4 and 1 <= len(columns) <= 4
        assert gone.sum() == len(rows) * len(columns) and np.ptp(rows) == len(rows) - 1
        np.testing.assert_array_equal(image[:, ~gone], before[:, ~gone])


def test_brightness_and_contrast():
    y = nn.ColorJitter(0.0, 0.5)(td.asarray(IMAGES)).numpy()
    np.testing.assert_allclose(y.mean((1, 2, 3)), IMAGES.mean((1, 2, 3)), rtol=1e-5)
    share = y.std((1, 2, 3)) / IMAGES.std((1, 2, 3))
    assert share.min() > 0.49 and share.max() < 1.51 and np.ptp(share) > 0.5


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_views_are_averaged_in_evaluation(layout):
    net = nn.Sequential(
        nn.Conv(3, 4, 3, layout=layout), td.relu, nn.GlobalAveragePool(layout=layout), nn.Dense(4, 5)
    )
    views = nn.standard_views(shift=1, layout=layout)
    whole = nn.Views(net, views)
    x = td.asarray(np.moveaxis(IMAGES, 1, -1) if layout == "NHWC" else IMAGES)
    np.testing.assert_array_equal(whole(x).numpy(), net(x).numpy())
    whole.eval()
    axes = (1, 2) if layout == "NHWC" else (2, 3)
    probabilities = []
    for flip in (False, True):
        for move in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            moved = np.roll(x.numpy(), move, axes)
            if move[0]:
                np.moveaxis(moved, axes[0], 0)[0 if move[0] > 0 else -1] = 0
            if move[1]:
                np.moveaxis(moved, axes[1], 0)[0 if move[1] > 0 else -1] = 0
            moved = np.flip(moved, axes[1]) if flip else moved
            probabilities.append(td.softmax(net(td.asarray(moved)), axis=-1).numpy())
    for run in (whole, td.compile(whole)):
        np.testing.assert_allclose(np.exp(run(x).numpy()), np.mean(probabilities, axis=0), rtol=1e-4)


REFUSED = {
    "rate": (lambda: nn.RandomFlip(1.5), ArgumentError, r"1.5 is not in \[0, 1\]"),
    "pixels": (lambda: nn.RandomShift(0), ArgumentError, "positive integer"),
    "mode": (lambda: nn.RandomShift(1, mode="mirror"), ArgumentError, "constant, edge, reflect"),
    "small": (lambda: nn.RandomShift(8)(IMAGES), ShapeError, "make it fewer"),
    "dimensions": (lambda: nn.Cutout(2)(IMAGES[0]), ShapeError, "expected 4 dimensions, NCHW"),
    "dtype": (lambda: nn.ColorJitter(0.1)(np.ones((1, 1, 2, 2), "u1")), DTypeError, "expected floating"),
    "unknown sizes": (
        lambda: nn.Cutout(2)(td.placeholder((2, 3, "height", 8))),
        ShapeError,
        "needs to know the sizes of x",
    ),
    "layout": (lambda: nn.Cutout(2, layout="HWC"), ArgumentError, "NCHW, NHWC"),
    "views": (lambda: nn.Views(nn.Dense(2, 2), []), ArgumentError, "standard_views"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_use(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()
