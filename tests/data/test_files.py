"""IDX and NPZ files: what they hold, and what is said of those that are broken."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from treadle import data
from treadle.errors import ArgumentError, FormatError, ShapeError

IMAGES = bytes([0, 0, 0x0B, 3]) + struct.pack(">3I", 2, 1, 2) + np.array([1, -2, 300, 4], ">i2").tobytes()
LABELS = bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + bytes([5, 6])


def test_idx(tmp_path):
    (tmp_path / "images").write_bytes(IMAGES)
    (tmp_path / "labels.gz").write_bytes(gzip.compress(LABELS))
    image, label = data.idx(tmp_path / "images", tmp_path / "labels.gz")[1]
    assert image.tolist() == [[300, 4]] and image.dtype == np.dtype("int16") and label == 6


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "offset 0 holds nothing"),
        (b"\x89PNG", "offset 0 holds 89 50 4e 47"),
        (IMAGES[:9], "ends at offset 9, within its 3 dimensions"),
        (IMAGES[:-1], r"ends at offset 23: it says \(2, 1, 2\) of int16, which end at 24"),
        (IMAGES + b"x", "ends at offset 25"),
        (gzip.compress(IMAGES, mtime=0)[:-6], "not a whole gzip file"),
    ],
)
def test_broken_idx(tmp_path, content, says):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(FormatError, match=says):
        data.read_idx(tmp_path / "file")


def test_npz(tmp_path):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=np.arange(6).reshape(3, 2), y=np.arange(3), z=np.arange(2))
    x, y = data.npz(path, "x", "y")[2]
    assert x.tolist() == [4, 5] and y == 2
    with pytest.raises(ShapeError, match="x has 3, y has 3, z has 2"):
        data.npz(path)
    with pytest.raises(ArgumentError, match="has no 'w', it has"):
        data.npz(path, "w")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FormatError, match="no whole NPZ file"):
        data.npz(path, "x")
    np.savez(path, x=np.array([{}], object))
    with pytest.raises(FormatError, match="no whole NPZ file of plain arrays"):
        data.npz(path, "x")
    with pytest.raises(FileNotFoundError):
        data.npz(tmp_path / "none.npz")
