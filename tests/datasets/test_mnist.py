"""MNIST's files are found, scaled and checked; the real Fashion-MNIST where its package is installed."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

import treadle as td
from treadle.datasets.mnist import FILES, SETS
from treadle.errors import DataError, FormatError

INSTALLED = Path(str(SETS["fashion_mnist"].installed))


def write(folder, counts=(3, 3, 2, 2), compressed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in zip(FILES, counts):
        shape = (count, 28, 28) if "images" in name else (count,)
        content = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
        content += (np.arange(np.prod(shape)) % 256).astype("u1").tobytes()
        path = folder / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)


@pytest.mark.parametrize("compressed", [True, False])
def test_from_a_folder_and_from_the_environment(tmp_path, monkeypatch, compressed):
    write(tmp_path / "mnist", compressed=compressed)
    train, labels, test, test_labels = td.datasets.mnist(tmp_path / "mnist")
    assert (train.shape, train.dtype, labels.dtype) == ((3, 1, 28, 28), np.float32, np.int64)
    assert (test.shape, labels.tolist(), test_labels.tolist()) == ((2, 1, 28, 28), [0, 1, 2], [0, 1])
    assert train[0, 0, 0, 1] == np.float32(1 / 255) and train.max() == 1
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path))
    assert np.array_equal(td.datasets.mnist()[0], train)
    (tmp_path / "mnist").rename(tmp_path / "fashion-mnist")
    assert np.array_equal(td.datasets.fashion_mnist()[0], train), "one's own folder comes before a package's"


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("TREADLE_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=r"TREADLE_DATA_DIR is not set.*yann\.lecun"):
        td.datasets.mnist()
    write(tmp_path)
    (tmp_path / f"{FILES[3]}.gz").unlink()
    with pytest.raises(DataError, match=rf"no {FILES[3]}.*apt install dataset-fashion-mnist"):
        td.datasets.fashion_mnist(tmp_path)
    write(tmp_path, (3, 2, 2, 2))
    with pytest.raises(FormatError, match=r"\(3, 28, 28\) and \(2,\)"):
        td.datasets.fashion_mnist(tmp_path)


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_real_one():
    train, labels, test, test_labels = td.datasets.fashion_mnist(INSTALLED)
    assert (train.shape, test.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert np.bincount(labels).tolist() == [6000] * 10 and np.bincount(test_labels).tolist() == [1000] * 10
    assert train.min() == 0 and train.max() == 1 and round(float(train.mean(dtype=np.float64)), 4) == 0.2860
    assert td.datasets.FASHION_MNIST_CLASSES[labels[0]] == "ankle boot"
