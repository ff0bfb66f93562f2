"""What is saved is read back; what is not there, damaged or something else is an error that says so."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from treadle.errors import FormatError
from treadle.train import saved
from treadle.train.digits import initialize


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "digits.safetensors"


def test_what_is_saved_is_read_back(path):
    parameters = initialize(seed=5)
    saved.save(parameters, path, {"seed": "5"})
    found = saved.load(path)
    assert list(found) == list(parameters)
    for name, variable in parameters.items():
        np.testing.assert_array_equal(found[name].numpy(), variable.numpy())
    assert list(path.parent.iterdir()) == [path]


def test_nothing_saved_yet(path):
    with pytest.raises(FileNotFoundError, match="yet: type `treadle train digits` first"):
        saved.load(path)


def test_a_cut_file(path):
    saved.save(initialize(seed=0), path, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"not a whole safetensors file.*make it anew"):
        saved.load(path)


def test_another_network(path):
    saved.save(initialize(seed=0), path, {})
    arrays = load_file(path)
    save_file(arrays, path)  # without the notes
    with pytest.raises(FormatError, match="does not hold the network for the digits"):
        saved.load(path)
    arrays.pop("dense2.bias")
    save_file(arrays, path, metadata={"kind": saved.KIND})
    with pytest.raises(FormatError, match="does not hold the network for the digits"):
        saved.load(path)


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    saved.save(initialize(seed=0), path, {})
    before = path.read_bytes()

    def fail(*paths):
        raise OSError("no space left")

    monkeypatch.setattr(saved.os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        saved.save(initialize(seed=1), path, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [
        ("linux", "XDG_DATA_HOME", "treadle"),
        ("win32", "LOCALAPPDATA", "treadle"),
        ("linux", "TREADLE_DATA_DIR", ""),
    ],
)
def test_where_networks_are_kept(platform, variable, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(saved.sys, "platform", platform)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "TREADLE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert saved.default_path() == tmp_path / folder / "digits.safetensors"
