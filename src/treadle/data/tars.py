"""Samples in tar files, as WebDataset writes them: the members of one stem are the fields of one sample.

An index of where each member lies is made once, from the headers; each sample is then read by itself.
"""

from __future__ import annotations

import glob
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from treadle.data.dataset import Dataset, dataset
from treadle.data.images import decode_image
from treadle.errors import ArgumentError, FormatError

BLOCK = 512
"""Bytes; a tar file's headers and members begin at multiples of it (POSIX.1-2001, ustar)."""

OPEN = 128
"""As many files stay open in a process, of the 1,024 that systems allow; others are opened for each read."""


def _npy(content: bytes, name: str) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


READERS: dict[str, Callable[[bytes, str], Any]] = {
    "jpg": lambda content, name: decode_image(content, name=name),
    "jpeg": lambda content, name: decode_image(content, name=name),
    "png": lambda content, name: decode_image(content, name=name),
    "cls": lambda content, name: int(content),
    "json": lambda content, name: json.loads(content),
    "txt": lambda content, name: content.decode("utf-8"),
    "npy": _npy,
}
"""How fields are decoded, by the last part of their names; others stay bytes."""


class Sample(NamedTuple):
    """Where the members of a sample lie: of each field its offset in the file and its size, in bytes."""

    path: str
    key: str
    fields: dict[str, tuple[int, int]]


class Damage(NamedTuple):
    """A tar file that ends or breaks where it should not; it stands where its next sample would."""

    path: str
    reason: str


def samples(path: str) -> tuple[list[Sample], Damage | None]:
    """The samples of a tar file in its order, and what is wrong with it."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    place, error, key = 0, "", ""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                place = tar.offset  # of the next header
                if member.isreg():
                    folder, _, name = member.name.rpartition("/")
                    stem, _, field = name.partition(".")
                    key = f"{folder}/{stem}" if folder else stem
                    found.setdefault(key, {})[field] = (member.offset_data, member.size)
    except tarfile.ReadError as failed:
        error = f": {failed}"
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        file.seek(place)
        end = file.read(BLOCK)
    if end == bytes(BLOCK) and not error:
        reason = None
    elif place > size:
        reason = f"it ends at offset {size}, within {key}, which ends at {place}"
    elif size - place in range(1, BLOCK):
        reason = f"it ends at offset {size}, within a member's header"
    elif place == size:
        reason = f"it ends at offset {size}, without the empty block that ends tar files"
    else:
        reason = f"offset {place} holds no member's header{error}"
    if reason is not None:
        found.pop(key, None)  # more members of it may be lost
    return [Sample(path, name, fields) for name, fields in found.items()], Damage(
        path, reason
    ) if reason else None


class _Tars:
    """The contents of samples' members by index."""

    def __init__(self, entries: list[Sample | Damage], wanted: tuple[str, ...]):
        self.entries, self.wanted = entries, wanted
        self.files: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "files": {}}

    def __del__(self) -> None:
        for file in self.files.values():
            os.close(file)

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        entry = self.entries[index]
        return entry.path if isinstance(entry, Damage) else f"{entry.path}:{entry.key}"

    def __getitem__(self, index: int) -> tuple[str, dict[str, bytes]]:
        entry = self.entries[index]
        if isinstance(entry, Damage):
            raise _damaged(entry)
        missing = [field for field in self.wanted if field not in entry.fields]
        if missing:
            raise FormatError(
                f"{entry.path}: sample {entry.key} has no {missing[0]!r}, it has {', '.join(entry.fields)}"
            )
        chosen = self.wanted or tuple(entry.fields)
        return self.name(index), {field: self._bytes(entry, *entry.fields[field]) for field in chosen}

    def _bytes(self, entry: Sample, begin: int, length: int) -> bytes:
        file = self.files.get(entry.path)
        if file is not None:
            return _part(file, entry, begin, length)
        file, stays = os.open(entry.path, os.O_RDONLY), False
        try:
            # Another thread may be first.
            stays = len(self.files) < OPEN and self.files.setdefault(entry.path, file) == file
            return _part(file, entry, begin, length)
        finally:
            if not stays:
                os.close(file)


def _part(file: int, entry: Sample, begin: int, length: int) -> bytes:
    content = os.pread(file, length, begin)  # has no position that threads would share
    if len(content) != length:
        raise FormatError(
            f"{entry.path} ends at offset {os.fstat(file).st_size}, within sample {entry.key}: it "
            "was whole when its index was made"
        )
    return content


def _damaged(damage: Damage) -> FormatError:
    return FormatError(f"{damage.path} is no whole tar file: {damage.reason}; get it again")


class _Fields:
    """The fields of a sample, decoded: a tuple of those wanted, a dict of all."""

    stage = "decoding"

    def __init__(self, wanted: tuple[str, ...]):
        self.wanted = wanted

    def __call__(self, sample: tuple[str, dict[str, bytes]]) -> Any:
        name, contents = sample
        values = {
            field: self._decoded(f"{name}.{field}", field, content) for field, content in contents.items()
        }
        return tuple(values[field] for field in self.wanted) if self.wanted else {"__key__": name, **values}

    def _decoded(self, name: str, field: str, content: bytes) -> Any:
        read = READERS.get(field.rpartition(".")[2].lower())
        if read is None:
            return content
        try:
            return read(content, name)
        except (ValueError, EOFError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{name} is not what its name says: {error}") from None


def tars(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *fields: str, bad: str = "raise"
) -> Dataset:
    """The samples of tar files (WebDataset): members of one stem, ``0042.jpg`` and ``0042.cls``, are one.

    They are read by themselves, in any order: each is one read of each of its members. `shuffle` therefore
    mixes those of all files, `shard` gives each of several computers its part.

    Args:
        paths: one file, several, or a pattern (``train-*.tar``), whose files are taken in the order of their
            names. Compressed ones cannot be read in any order: unpack them.
        fields: names behind the stem, which come as tuples in this order; without them all come as dicts,
            with the sample's name as ``__key__``. Those that end in jpg, jpeg and png are decoded to uint8
            ``[height, width, 3]``, cls to int, json, npy and txt; others are bytes.
        bad: of a file that is damaged or breaks off, "raise" it now, or "skip" what is not whole: a loader
            with ``bad="skip"`` then counts it, once for the file.

    Raises:
        FormatError: a file is no whole tar file; it says where.
        ArgumentError: there is no file, or no sample.
    """
    if bad not in ("raise", "skip"):
        raise ArgumentError(f'[data.tars] bad={bad!r}: expected "raise" or "skip"')
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files: list[str] = []
    for path in [os.fspath(path) for path in given]:
        found = [path] if Path(path).is_file() else sorted(glob.glob(path))
        if not found:
            raise ArgumentError(f"[data.tars] there is no file {path}")
        files += found
    entries: list[Sample | Damage] = []
    for file in files:
        whole, damage = samples(file)
        entries += whole
        if damage is not None:
            if bad == "raise":
                raise _damaged(damage)
            entries.append(damage)
    if not entries:
        raise ArgumentError(f"[data.tars] the data set is empty: {', '.join(files) or given} has no samples")
    items = _Tars(entries, fields)
    return dataset(items, "tars", items.name).map(_Fields(fields))
