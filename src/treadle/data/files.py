"""Data sets in files: IDX and NPZ. Read whole; a file that is not what it should be is a FormatError."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from treadle.data.dataset import Dataset
from treadle.data.sources import arrays
from treadle.errors import ArgumentError, FormatError

IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""By the third byte of an IDX file."""


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, the format of MNIST; compressed with gzip or not.

    Raises:
        FormatError: it is no IDX file, or shorter or longer than it says.
        FileNotFoundError: it is not there.

    >>> from pathlib import Path
    >>> from treadle import data
    >>> _ = Path("labels.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> data.read_idx("labels.idx").tolist()
    [7, 9]
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise FormatError(f"{path} is not a whole gzip file ({error}): get it again") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_DTYPES:
        raise FormatError(
            f"{path} is no IDX file: offset 0 holds {content[:4].hex(' ') or 'nothing'}, expected 00 00, a "
            f"type ({', '.join(f'{code:02x}' for code in IDX_DTYPES)}) and the number of dimensions"
        )
    dtype, rank = np.dtype(IDX_DTYPES[content[2]]), content[3]
    begin = 4 + 4 * rank
    if len(content) < begin:
        raise FormatError(f"{path} ends at offset {len(content)}, within its {rank} dimensions: get it again")
    shape = struct.unpack(f">{rank}I", content[4:begin])
    end = begin + math.prod(shape) * dtype.itemsize
    if len(content) != end:
        raise FormatError(
            f"{path} ends at offset {len(content)}: it says {shape} of {dtype.name}, which end at {end}"
        )
    return np.frombuffer(content, dtype, offset=begin).reshape(shape).astype(dtype.newbyteorder("="))


def idx(*paths: str | os.PathLike[str]) -> Dataset:
    """The rows of one IDX file, or of several as tuples: images and labels.

    Raises:
        FormatError: as of `read_idx`.
        ShapeError: the numbers of items differ.
    """
    return arrays(*(read_idx(path) for path in paths))


def npz(path: str | os.PathLike[str], *names: str) -> Dataset:
    """The rows of arrays in an NPZ file, as tuples in the order of `names`; without names, as dicts of all.

    Raises:
        FormatError, ArgumentError: as of `read_npz`.
        ShapeError: the numbers of items differ.
    """
    held = read_npz(path, *names)
    return arrays(*held.values()) if names else arrays(held)


def read_npz(path: str | os.PathLike[str], *names: str) -> dict[str, np.ndarray]:
    """The arrays of some names in an NPZ file; without names, all.

    Raises:
        FormatError: it is no whole NPZ file, or holds pickled objects, which are not read.
        ArgumentError: it has no array of a name.
    """
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise FormatError(f"{path} holds one array (NPY): give np.load of it to data.arrays")
                missing = [name for name in names if name not in archive.files]
                if missing:
                    raise ArgumentError(f"[data.npz] {path} has no {missing[0]!r}, it has {archive.files}")
                return {name: archive[name] for name in names or archive.files}
        except (FormatError, ArgumentError):
            raise
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise FormatError(f"{path} is no whole NPZ file of plain arrays: {error}") from None
