"""The kinds of data: what they read, how it is split, prepared and augmented, and where batches stand."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest

from treadle.datasets.mnist import FILES
from treadle.errors import ArgumentError, DataError, ShapeError
from treadle.train.recipe.batches import Augment, Batches, Prepare
from treadle.train.recipe.data import Common, make_data

NUMBERS = np.random.RandomState(0)
IMAGES = NUMBERS.randint(0, 256, (40, 6, 5), np.uint8)
LABELS = (np.arange(40) % 4).astype(np.uint8)


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return path


def made(kind, keys=None, augment=None, **common):
    return make_data(kind, keys or {}, Common(**common), augment or Augment(), seed=0)


def rows(batches):
    """All inputs and targets of a pass."""
    inputs, targets = zip(*batches)
    return np.concatenate(inputs), np.concatenate(targets)


def test_digits():
    data = made("digits", drop_last=True)
    assert len(data.training) == 44 and len(data.validation) == 12
    x, y = next(data.training)
    assert x.shape == (32, 1, 8, 8) and x.dtype == np.float32 and y.dtype == np.int64
    image, label = data.example(7)
    assert image.shape == (8, 8) and data.classes[int(label)] == "1"


def test_idx_files(tmp_path):
    images, labels = write_idx(tmp_path / "x", IMAGES), write_idx(tmp_path / "y", LABELS)
    data = made(
        "idx", {"images": images, "labels": labels, "classes": list("abcd")}, holdout=0.25, layout="NHWC"
    )
    x, y = rows(data.training)
    held, held_y = rows(data.validation)
    assert x.shape == (30, 6, 5, 1) and len(held) == 10 and data.classes == tuple("abcd")
    assert x.max() <= 1 and x.dtype == np.float32
    # Every image is in one of the two, with its own label.
    known = {image.tobytes(): label for image, label in zip((IMAGES / np.float32(255)).astype("f4"), LABELS)}
    found = {image.tobytes(): label for image, label in zip([*x, *held], [*y, *held_y])}
    assert found == known
    with pytest.raises(ArgumentError, match="validation_images and validation_labels go together"):
        made("idx", {"images": images, "labels": labels, "validation_images": images})


def test_fashion_mnist(tmp_path, monkeypatch):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    with pytest.raises(DataError, match="the data set's files are not here"):
        made("fashion_mnist", {"folder": str(folder)})
    for name in FILES:
        write_idx(folder / f"{name}.gz", IMAGES if "images" in name else LABELS)
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path))
    data = made("fashion_mnist", limit=10, mean=[0.5], std=[0.25])
    x, _ = rows(data.training)
    assert x.shape == (10, 1, 6, 5) and x.min() >= -2 and x.max() <= 2 and x.min() < -1
    assert data.classes[9] == "ankle boot" and len(rows(data.validation)[0]) == 40


def test_npz_and_csv(tmp_path):
    x = NUMBERS.normal(size=(20, 3))
    np.savez(tmp_path / "a.npz", features=x, kind=np.arange(20) % 2)
    data = made("npz", {"file": tmp_path / "a.npz", "inputs": "features", "targets": "kind"}, holdout=5)
    found, labels = rows(data.training)
    assert found.dtype == np.float32 and len(found) == 15 and set(labels.tolist()) == {0, 1}
    lines = ["a,b,price", *(f"{i},{2 * i},{3 * i + 0.5}" for i in range(10))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    data = made(
        "csv", {"file": tmp_path / "a.csv", "target": "price", "validation": tmp_path / "a.csv"}, batch=4
    )
    found, prices = rows(data.validation)
    np.testing.assert_array_equal(found[3], [3, 6])
    assert prices[3] == 9.5 and len(data.validation) == 3


def test_image_folders(tmp_path):
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("grain")
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(6):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.full((8, 9, 3), 100 * label + i, np.uint8))
    keys = {"folder": tmp_path, "size": [4, 4]}
    data = made("image_folder", keys, Augment(noise=1e-6), batch=3, holdout=3)
    x, y = rows(data.training)
    assert x.shape == (9, 3, 4, 4) and len(rows(data.validation)[0]) == 3
    np.testing.assert_array_equal((x.mean(axis=(1, 2, 3)) > 0.3).astype(int), y)
    assert data.example(0)[0].shape == (4, 4, 3) and data.classes == ("cat", "dog")
    with pytest.raises(ArgumentError, match=r"size=\[4\]: expected height and width"):
        made("image_folder", {**keys, "size": [4]})


def test_tar_files(tmp_path):
    pytest.importorskip("cv2")
    simplejpeg = pytest.importorskip("simplejpeg")
    pytest.importorskip("grain")
    for shard in range(2):
        with tarfile.open(tmp_path / f"a-{shard}.tar", "w") as tar:
            for i in range(5):
                label = (5 * shard + i) % 2
                picture = np.full((8 + i, 9, 3), 50 + 100 * label, np.uint8)
                for name, content in {"jpg": simplejpeg.encode_jpeg(picture), "cls": b"%d" % label}.items():
                    header = tarfile.TarInfo(f"{5 * shard + i}.{name}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
    keys = {"files": tmp_path / "a-*.tar", "size": [4, 6], "classes": ["dark", "light"]}
    data = made("tars", keys, Augment(flip=True), batch=3, holdout=3)
    x, y = rows(data.training)
    assert x.shape == (7, 3, 4, 6) and x.dtype == np.float32 and len(rows(data.validation)[0]) == 3
    np.testing.assert_array_equal((x.mean(axis=(1, 2, 3)) > 0.4).astype(int), y)
    assert data.name(1) == "light" and data.example(0)[0].shape == (4, 6, 3)
    # Of the data set underneath, once.
    with pytest.raises(
        DataError, match=r"a-1.tar:\d cannot be used.*\d has no 'png', it has jpg, cls; rep"
    ) as e:
        made("tars", {**keys, "image": "png"})
    assert str(e.value).count("cannot be used") == 1
    whole = made("tars", {**keys, "validation": tmp_path / "a-1.tar"})
    assert len(whole) == 5 and len(rows(whole.training)[0]) == 10


def test_batches_go_on_where_they_stood():
    def fresh():
        return Batches(
            (IMAGES, LABELS),
            16,
            Prepare(True),
            Augment(flip=True, shift=2, noise=0.1),
            seed=3,
            drop_last=True,
        )

    whole = fresh()
    passes = [list(whole) for _ in range(2)]
    assert [len(batches) for batches in passes] == [2, 2]
    assert not np.array_equal(passes[0][0][0], passes[1][0][0])
    half = fresh()
    list(half)
    next(half)
    other = fresh()
    other.load_state(half.state())
    np.testing.assert_array_equal(next(other)[0], passes[1][1][0])
    with pytest.raises(ArgumentError, match="batch=41 with drop_last leaves nothing of 40 examples"):
        Batches((IMAGES, LABELS), 41, Prepare(True), None, seed=0, drop_last=True)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_augmentation_moves_and_mirrors_whole_images(layout):
    image = np.arange(1, 31, dtype=np.float32).reshape(6, 5)
    batch = np.repeat(image[None, None] if layout == "NCHW" else image[None, ..., None], 200, axis=0)
    numbers = np.random.default_rng(0)
    mirrored, _ = Augment(flip=True, layout=layout)((batch, None), numbers)
    flat = mirrored.reshape(200, 6, 5)
    kinds = [np.array_equal(one, image[:, ::-1]) for one in flat]
    assert 60 < sum(kinds) < 140
    assert all(np.array_equal(one, image) for one, is_mirrored in zip(flat, kinds) if not is_mirrored)
    moved, _ = Augment(shift=1, layout=layout)((batch, None), numbers)
    places = set()
    for one in moved.reshape(200, 6, 5):
        wide = np.pad(image, 1)
        places |= {
            (a, b) for a in range(3) for b in range(3) if np.array_equal(one, wide[a : a + 6, b : b + 5])
        }
    assert len(places) == 9


def test_what_cannot_be():
    with pytest.raises(ShapeError, match=r"inputs of shape \(2, 3\) are no images: flip and shift need them"):
        Augment(flip=True)((np.zeros((2, 3)), None), np.random.default_rng(0))
    with pytest.raises(ShapeError, match="mean has 3 numbers, the inputs 1 channels"):
        Prepare(True, mean=(1, 2, 3)).inputs(IMAGES)
    with pytest.raises(ArgumentError, match=r"std=.* is not positive"):
        Prepare(True, std=(0.0,))
    with pytest.raises(ArgumentError, match=r"holdout=40 holds 40 of 40 examples out"):
        made_of_arrays(holdout=40)


def made_of_arrays(**common):
    from treadle.train.recipe.data import _split

    return _split((IMAGES, LABELS), **common)
