"""The cache of object code: what is put comes back, and whatever goes wrong means compiling."""

from __future__ import annotations

import errno
import os
import stat
import time

import pytest

from treadle.devices.cpu import disk, ir, jit, objects
from treadle.devices.cpu.disk import DiskCache
from treadle.devices.cpu.native import NativeKernel

PAYLOAD = bytes(range(256)) * 10


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "kernels")


@pytest.fixture
def compiled(monkeypatch):
    """The texts that were compiled, not found."""
    texts = []
    compile = jit.object_code
    monkeypatch.setattr(jit, "object_code", lambda text, isa: texts.append(text) or compile(text, isa))
    return texts


def kernel(tag: str) -> NativeKernel:
    module = ir.Module()
    f = module.function("kernel", ["ptr", "i64", "i64", "ptr"])
    f.ret()
    return NativeKernel(module.text() + f"; {tag}\n", "nothing", 1)


def load_afresh(kernel: NativeKernel) -> int:
    """Load as a new process would."""
    objects._libraries.clear()
    return jit.load(kernel).address


def test_what_is_put_comes_back(cache):
    assert cache.get("a") is None
    assert cache.put("a", PAYLOAD)
    assert cache.get("a") == PAYLOAD
    assert cache.get("b") is None
    assert cache.put("a", b"")
    assert cache.get("a") == b""
    assert os.listdir(cache.directory) == ["a"]


def test_names_tell_apart_where_parts_end():
    names = {disk.name("ab", "c"), disk.name("a", "bc"), disk.name("abc"), disk.name("ab", "c", "")}
    assert len(names) == 4


@pytest.mark.parametrize("position", [0, 7, 8, 39, 40, 41, -1])
def test_a_damaged_file_is_not_here(cache, position):
    cache.put("a", PAYLOAD)
    data = bytearray((cache.directory / "a").read_bytes())
    data[position] ^= 1
    (cache.directory / "a").write_bytes(data)
    assert cache.get("a") is None
    assert cache.put("a", PAYLOAD)
    assert cache.get("a") == PAYLOAD


@pytest.mark.parametrize("length", [0, 1, 8, 20, 40, 100])
def test_a_truncated_file_is_not_here(cache, length):
    cache.put("a", PAYLOAD)
    data = (cache.directory / "a").read_bytes()
    (cache.directory / "a").write_bytes(data[:length])
    assert cache.get("a") is None


def test_a_full_disk_keeps_nothing(cache, monkeypatch):
    def write_some(path, data):
        path.write_bytes(data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "_write", write_some)
    assert not cache.put("a", PAYLOAD)
    assert cache.get("a") is None
    assert os.listdir(cache.directory) == []


def test_a_read_only_directory_keeps_nothing(cache, monkeypatch):
    cache.put("a", PAYLOAD)

    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(disk, "_write", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    assert not cache.put("b", PAYLOAD)
    assert cache.get("a") == PAYLOAD


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file" / "kernels")
    assert not cache.put("a", PAYLOAD)
    assert cache.get("a") is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no file modes")
def test_code_that_others_could_have_written_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    directory = tmp_path / "kernels"
    directory.mkdir()
    directory.chmod(0o777)
    assert disk.from_environment() is None
    assert not DiskCache(directory).put("a", PAYLOAD)


def test_a_new_directory_is_the_users_alone(cache):
    cache.put("a", PAYLOAD)
    if hasattr(os, "getuid"):
        assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700


def test_the_files_longest_unused_are_dropped(tmp_path):
    size = len(PAYLOAD) + len(disk.MAGIC) + disk.DIGEST_NBYTES
    cache = DiskCache(tmp_path, limit_nbytes=4 * size)
    now = time.time()
    for age, name in ((3, "c"), (9, "a"), (5, "b"), (1, "d")):
        cache.put(name, PAYLOAD)
        os.utime(tmp_path / name, (now - age * disk.DAY_S,) * 2)
    assert cache.get("a") == PAYLOAD  # and so it has just been used
    cache.put("e", PAYLOAD)
    assert sorted(os.listdir(tmp_path)) == ["a", "d", "e"]


def test_the_size_of_what_was_there_before_counts(tmp_path):
    size = len(PAYLOAD) + len(disk.MAGIC) + disk.DIGEST_NBYTES
    first = DiskCache(tmp_path, limit_nbytes=4 * size)
    for name in "abcd":
        first.put(name, PAYLOAD)
        os.utime(tmp_path / name, (1000.0 + ord(name),) * 2)
    DiskCache(tmp_path, limit_nbytes=4 * size).put("e", PAYLOAD)
    assert sorted(os.listdir(tmp_path)) == ["c", "d", "e"]


def test_the_environment_chooses(tmp_path, monkeypatch):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    chosen = disk.from_environment()
    assert chosen is not None and chosen.directory == tmp_path / "kernels"
    assert disk.from_environment() is chosen
    monkeypatch.setenv("TREADLE_CACHE", "0")
    assert disk.from_environment() is None


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    monkeypatch.delenv("TREADLE_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert disk.from_environment() is None


def test_a_kernel_is_compiled_once(tmp_path, monkeypatch, compiled):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    load_afresh(kernel("once"))
    load_afresh(kernel("once"))
    load_afresh(kernel("twice"))
    assert len(compiled) == 2
    monkeypatch.setenv("TREADLE_CACHE", "0")
    load_afresh(kernel("once"))
    assert len(compiled) == 3


def test_a_damaged_cache_means_compiling(tmp_path, monkeypatch, compiled):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path))
    load_afresh(kernel("damaged"))
    (file,) = (tmp_path / "kernels").iterdir()
    file.write_bytes(b"\0" * 1000)
    load_afresh(kernel("damaged"))
    load_afresh(kernel("damaged"))
    assert len(compiled) == 2


def test_a_cache_in_an_impossible_place_means_compiling(tmp_path, monkeypatch, compiled):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path / "file"))
    load_afresh(kernel("nowhere"))
    load_afresh(kernel("nowhere"))
    assert len(compiled) == 2
