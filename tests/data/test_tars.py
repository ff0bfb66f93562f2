"""Samples in tar files: found, decoded, read in any order; broken files are named, with the place."""

from __future__ import annotations

import io
import json
import os
import tarfile
from importlib import import_module

import numpy as np
import pytest
import simplejpeg

from treadle import data
from treadle.data.tars import BLOCK
from treadle.errors import ArgumentError, DataError, FormatError


def image(number):
    return simplejpeg.encode_jpeg(np.full((8, 8, 3), number, np.uint8), quality=95)


def npy(value):
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def write(path, first, count):
    with tarfile.open(path, "w") as tar:
        for number in range(first, first + count):
            fields = {
                "jpg": image(number),
                "cls": str(number).encode(),
                "json": json.dumps({"n": number}).encode(),
                "box.npy": npy(np.arange(number)),
                "bin": b"\x01\x02",
            }
            for field, content in fields.items():
                header = tarfile.TarInfo(f"images/{number:04}.{field}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "a-0.tar", 10, 3)
    write(tmp_path / "a-1.tar", 13, 2)
    return tmp_path


def test_samples_of_all_files_in_any_order(folder):
    samples = data.tars(folder / "a-*.tar", "jpg", "cls")
    assert len(samples) == 5
    for place in (4, 0, 2):
        picture, label = samples[place]
        assert label == 10 + place and picture.shape == (8, 8, 3) and abs(int(picture[0, 0, 0]) - label) < 3
    whole = data.tars([folder / "a-1.tar"])[0]
    assert whole["__key__"].endswith("a-1.tar:images/0013") and whole["json"] == {"n": 13}
    assert whole["box.npy"].tolist() == list(range(13)) and whole["bin"] == b"\x01\x02"


def test_more_files_than_may_stay_open(folder, monkeypatch):
    tars = import_module("treadle.data.tars")
    monkeypatch.setattr(tars, "OPEN", 1)
    opened, closed = [], []
    real_open, real_close = os.open, os.close
    monkeypatch.setattr(tars.os, "open", lambda *given: opened.append(real_open(*given)) or opened[-1])
    monkeypatch.setattr(tars.os, "close", lambda file: closed.append(file) or real_close(file))
    samples = data.tars(folder / "a-*.tar", "cls", "json")
    assert [samples[place][0] for place in (0, 4, 1, 3)] == [10, 14, 11, 13]
    # Of the second file each of two fields is opened for itself, in two samples.
    assert (len(opened), len(closed)) == (5, 4)


def test_shards_and_workers_give_each_sample_once(folder):
    def labels(**workers):
        found = []
        for index in range(2):
            shard = data.tars(folder / "a-*.tar", "cls").shuffle(3).shard(index, 2)
            with shard.loader(**workers) as loader:
                found.append([[int(label) for (label,) in loader] for _ in range(2)])
        return found

    plain = labels(threads=0)
    first, second = ([*plain[0][p], *plain[1][p]] for p in range(2))
    assert sorted(first) == sorted(second) == [10, 11, 12, 13, 14] and plain[0][0] != plain[0][1]
    assert labels(threads=3) == plain == labels(processes=1)


def cut(path, where):
    content = path.read_bytes()
    path.write_bytes(content[:where])


def scribble(path, where):
    content = bytearray(path.read_bytes())
    content[where : where + 20] = b"\xff" * 20
    path.write_bytes(content)


SAMPLE = 11 * BLOCK
"""Of each sample: five headers, two blocks of JPEG, four others of one block."""


@pytest.mark.parametrize(
    ("harm", "says", "left"),
    [
        (lambda path: cut(path, SAMPLE + 2 * BLOCK), "ends at offset 6656, within images/0011", 1),
        (lambda path: cut(path, 2 * SAMPLE + 9), "ends at offset 11273, within a member's header", 1),
        (lambda path: cut(path, 2 * SAMPLE), r"ends at offset 11264, without the empty block", 1),
        (lambda path: scribble(path, SAMPLE), "offset 5632 holds no member's header", 0),
        (lambda path: path.write_bytes(b"no tar at all" * 100), "offset 0 holds no member's header", 0),
        (lambda path: path.write_bytes(b""), "ends at offset 0", 0),
    ],
)
def test_a_broken_file_is_raised_or_its_rest_is_left_out(folder, harm, says, left):
    harm(folder / "a-0.tar")
    with pytest.raises(FormatError, match=rf"a-0\.tar is no whole tar file: .*{says}"):
        data.tars(folder / "a-*.tar", "cls")
    samples = data.tars(folder / "a-*.tar", "cls", bad="skip")
    loader = samples.loader(bad="skip")
    assert [int(label) for (label,) in loader] == [*range(10, 10 + left), 13, 14]
    assert loader.skipped == 1 and loader.faults[0].name == str(folder / "a-0.tar")


def test_wrong_use(folder):
    with pytest.raises(ArgumentError, match=r"there is no file .*b-"):
        data.tars(folder / "b-*.tar")
    with pytest.raises(DataError, match=r"0010 has no 'png', it has jpg, cls"):
        data.tars(folder / "a-0.tar", "png")[0]
    samples = data.tars(folder / "a-0.tar", "jpg")
    cut(folder / "a-0.tar", 3 * BLOCK)
    with pytest.raises(DataError, match="ends at offset 1536, within sample images/0012"):
        samples[2]
    with tarfile.open(folder / "c.tar", "w") as tar:
        header = tarfile.TarInfo("1.cls")
        header.size = 3
        tar.addfile(header, io.BytesIO(b"cat"))
    with pytest.raises(DataError, match=r"c\.tar:1\.cls is not what its name says"):
        data.tars(folder / "c.tar")[0]
