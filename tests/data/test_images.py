"""Folders of images: classes, sizes, colours, and files that are broken or gone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import simplejpeg

from treadle import data
from treadle.errors import ArgumentError, DataError

RED = np.full((12, 8, 3), (200, 30, 10), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(simplejpeg.encode_jpeg(RED, quality=95))
    (tmp_path / "b" / "2.png").write_bytes(cv2.imencode(".png", np.ascontiguousarray(RED[..., ::-1]))[1])
    (tmp_path / "b" / "notes.txt").write_text("no image")
    return tmp_path


@pytest.mark.parametrize(
    ("size", "shape"), [(None, (12, 8, 3)), ((6, 4), (6, 4, 3)), ((20, 30), (20, 30, 3))]
)
def test_folder(folder, size, shape):
    images = data.image_folder(folder, size=size)
    assert images.classes == images.batch(2).classes == ("a", "b")
    batch, labels = images.batch(2)[0]
    assert batch.shape == (2, *shape) and batch.dtype == np.uint8 and labels.tolist() == [0, 1]
    assert np.abs(batch.astype(int) - RED[0, 0]).max() < 6
    assert data.image_folder(folder, size=size, channels=1).batch(2)[0][0].shape == (2, *shape[:2], 1)


def test_a_jpeg_is_decoded_as_small_as_it_may_be(folder):
    large = np.repeat(np.repeat(RED, 20, 0), 20, 1)
    (folder / "a" / "1.jpg").write_bytes(simplejpeg.encode_jpeg(large, quality=95))
    assert data.read_image(folder / "a" / "1.jpg").shape == (240, 160, 3)
    small = data.image_folder(folder, least=40)[0][0]
    assert small.shape == (60, 40, 3) and np.abs(small.astype(int) - RED[0, 0]).max() < 6
    assert data.image_folder(folder, size=(50, 30))[0][0].shape == (50, 30, 3)
    assert data.decode_image((folder / "b" / "2.png").read_bytes(), least=3).shape == (12, 8, 3)


def test_broken_and_missing_files_are_named(folder):
    images = data.image_folder(folder)
    jpeg, png = folder / "a" / "1.jpg", folder / "b" / "2.png"
    jpeg.write_bytes(jpeg.read_bytes()[:300])
    png.unlink()
    loader = images.loader(bad="skip")
    assert list(loader) == [] and loader.skipped == 2
    assert loader.faults[0].name == str(jpeg) and "no whole JPEG" in loader.faults[0].reason
    assert loader.faults[1].name == str(png) and "FileNotFoundError" in loader.faults[1].reason
    png.write_bytes(b"GIF8")
    with pytest.raises(DataError, match="offset 0 holds 47 49 46 38"):
        images[1]


def test_nothing_there(tmp_path):
    with pytest.raises(ArgumentError, match="the data set is empty"):
        data.image_folder(tmp_path)
    with pytest.raises(ArgumentError, match="is not a folder"):
        data.image_folder(tmp_path / "none")
