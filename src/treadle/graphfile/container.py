"""A safetensors file: named tensors behind a JSON header, written whole or not at all, read with every claim
checked.

Layout (the safetensors format): 8 bytes with the header's length, little endian; the header, an object of
``name: {dtype, shape, data_offsets}`` and ``__metadata__``, strings by name; then the data without gaps.
Complex numbers, of which not every reader knows, are pairs of real ones in a last dimension. Knows nothing of
graphs.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from treadle import dtypes
from treadle.errors import FormatError
from treadle.graph.node import Type

LENGTH = struct.Struct("<Q")
MOST_HEADER_NBYTES = 100_000_000
"""What the format allows."""
TAGS = {
    "BOOL": dtypes.bool, "I8": dtypes.int8, "I16": dtypes.int16, "I32": dtypes.int32, "I64": dtypes.int64,
    "U8": dtypes.uint8, "U16": dtypes.uint16, "U32": dtypes.uint32, "U64": dtypes.uint64,
    "F16": dtypes.float16, "BF16": dtypes.bfloat16, "F32": dtypes.float32, "F64": dtypes.float64,
}  # fmt: skip
BY_DTYPE = {dtype: tag for tag, dtype in TAGS.items()}
PARTS = {dtypes.complex64: dtypes.float32, dtypes.complex128: dtypes.float64}
"""What the real and imaginary parts of complex dtypes are kept as."""


def kept_as(type: Type) -> Type:
    """The type of the tensor that keeps a value."""
    part = PARTS.get(type.dtype)
    return type if part is None else Type((*type.shape, 2), part)


def bytes_of(array: np.ndarray) -> memoryview:
    """An array's elements, row-major."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def digest(array: np.ndarray) -> str:
    """The SHA-256 of a tensor's bytes."""
    return hashlib.sha256(bytes_of(array)).hexdigest()


DOCUMENT, HASH = "graph", "graph_sha256"
"""The metadata that hold a graph's document and its hash."""


def text_digest(text: str) -> str:
    """The SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


# -- writing


def write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a file, or leave what is there as it is. Raises OSError where `path` cannot be written."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    # Large elements first: then each tensor is aligned to its elements.
    arrays = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    place = 0
    for name, array in arrays:
        kept = kept_as(Type(array.shape, dtypes.as_dtype(array.dtype)))
        header[name] = {
            "dtype": BY_DTYPE[kept.dtype],
            "shape": list(kept.shape),
            "data_offsets": [place, place + array.nbytes],
        }
        place += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MOST_HEADER_NBYTES:
        raise FormatError(
            f"{path}: the graph takes {len(text) / 1e6:.0f} MB of text, a file holds "
            f"{MOST_HEADER_NBYTES / 1e6:.0f}"
        )
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with open(draft, "wb") as file:
            file.write(LENGTH.pack(len(text)) + text)
            for _, array in arrays:
                file.write(bytes_of(array))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


# -- reading


class Entry(NamedTuple):
    """A tensor of a file: its type, and where its bytes begin in the file."""

    type: Type
    begin: int
    nbytes: int


class Container:
    """An open file whose header holds what it says; tensors are read one by one.

    Raises:
        FormatError: it is no safetensors file, is cut off, or claims what cannot be; nothing of the claimed
            size is allocated before the file has been seen to be that long.
    """

    def __init__(self, path: Path, file: BinaryIO):
        self.path = path
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        if self.size < LENGTH.size:
            self.fail(0, f"{self.size} bytes are no safetensors file")
        (length,) = LENGTH.unpack(self._bytes(0, LENGTH.size))
        if length > MOST_HEADER_NBYTES:
            self.fail(0, f"a header of {length} bytes is claimed: this is no safetensors file")
        self.data = LENGTH.size + length
        if self.data > self.size:
            self.fail(
                0, f"the header is {length} bytes long, the file ends after {self.size}: it is cut off, or "
                "no safetensors file",
            )  # fmt: skip
        header = self._header(self._bytes(LENGTH.size, length))
        self.metadata = self._metadata(header.pop("__metadata__", {}))
        self.entries = {name: self._entry(name, claim) for name, claim in header.items()}
        self._check_places()

    def fail(self, offset: int, what: str) -> Any:
        raise FormatError(f"{self.path}, byte {offset}: {what}")

    def _bytes(self, offset: int, nbytes: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(nbytes)

    def _header(self, text: bytes) -> dict[str, Any]:
        try:
            header = json.loads(text.decode(), object_pairs_hook=_no_name_twice)
        except UnicodeDecodeError as error:
            return self.fail(LENGTH.size + error.start, "the header is no UTF-8 text")
        except json.JSONDecodeError as error:
            at = LENGTH.size + len(text.decode()[: error.pos].encode())
            return self.fail(at, f"the header is no JSON: {error.msg}")
        except (ValueError, RecursionError) as error:
            return self.fail(LENGTH.size, f"the header is no JSON: {error}")
        if not isinstance(header, dict):
            return self.fail(LENGTH.size, "the header is no object")
        return header

    def _metadata(self, found: Any) -> dict[str, str]:
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            return self.fail(LENGTH.size, "__metadata__ is no object of strings")
        return found

    def _entry(self, name: str, claim: Any) -> Entry:
        def refuse(what: str) -> Any:
            return self.fail(LENGTH.size, f"tensor {name!r}: {what}")

        if not isinstance(claim, dict) or set(claim) != {"dtype", "shape", "data_offsets"}:
            return refuse("expected dtype, shape and data_offsets")
        shape, offsets = claim["shape"], claim["data_offsets"]
        if not isinstance(claim["dtype"], str) or claim["dtype"] not in TAGS:
            return refuse(f"there is no dtype {claim['dtype']!r}")
        if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
            return refuse(f"shape {shape!r} or data_offsets {offsets!r} are no sizes")
        type, (begin, end) = Type(shape, TAGS[claim["dtype"]]), offsets
        if end - begin != math.prod(shape) * type.dtype.itemsize:
            return refuse(f"{type!r} does not take the {end - begin} bytes of data_offsets {offsets}")
        if self.data + end > self.size:
            return refuse(
                f"it ends at byte {self.data + end}, the file after {self.size}: the file is cut off"
            )
        return Entry(type, self.data + begin, end - begin)

    def _check_places(self) -> None:
        place = self.data
        for name, entry in sorted(self.entries.items(), key=lambda item: (item[1].begin, item[1].nbytes)):
            if entry.begin != place:
                self.fail(
                    place, f"tensor {name!r} begins at byte {entry.begin}, where another ends or a gap is"
                )
            place = entry.begin + entry.nbytes
        if place != self.size:
            self.fail(place, f"the tensors end here, the file goes on to byte {self.size}")

    def read(self, name: str, type: Type) -> np.ndarray:
        """The tensor that keeps a value of that type."""
        entry = self.entries.get(name)
        if entry is None:
            return self.fail(LENGTH.size, f"there is no tensor {name!r}")
        if entry.type is not kept_as(type):
            self.fail(
                LENGTH.size, f"tensor {name!r} is {entry.type!r}; the graph takes {kept_as(type)!r}"
            )  # fmt: skip
        array = np.empty(entry.type.shape, entry.type.dtype.numpy)
        self.file.seek(entry.begin)
        if entry.nbytes and self.file.readinto(bytes_of(array)) != entry.nbytes:  # type: ignore[attr-defined]
            self.fail(entry.begin, f"tensor {name!r} could not be read whole")
        if entry.type.dtype is dtypes.bool and array.size and array.view(np.uint8).max() > 1:
            at = entry.begin + int(np.argmax(array.reshape(-1).view(np.uint8) > 1))
            self.fail(at, f"tensor {name!r}: a bool is neither 0 nor 1")
        return array.view(type.dtype.numpy).reshape(type.shape)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in values)


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a name twice")
    return found
