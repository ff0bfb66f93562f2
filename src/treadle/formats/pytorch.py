"""Tensors by name from a file that ``torch.save`` wrote: the zip archive of version 1.6 and later, and the
pickles in a row of earlier versions.

Both hold a pickle in which tensors are views of storages, and the storages' bytes. Knows nothing of networks.
"""

from __future__ import annotations

import io
import math
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from treadle.errors import FormatError
from treadle.formats.pickles import Damage, Unpickler

DTYPES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": ml_dtypes.bfloat16,
    "Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64", "Bool": "bool",
    "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
"""The first two values of a file of pickles in a row."""
ZIP = b"PK\x03\x04"
COUNT = struct.Struct("<q")
UNZIPPING = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    struct.error,
)
"""What `zipfile` raises for damage in one place or another."""


class Storage(NamedTuple):
    """Elements in a row: of what dtype, under which key, how many."""

    dtype: Any
    key: str
    count: int


class Tensor(NamedTuple):
    """A view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _are_counts(values: Any) -> bool:
    return type(values) is tuple and all(type(n) is int and 0 <= n < 1 << 62 for n in values)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """``_rebuild_tensor`` and ``_rebuild_tensor_v2``; whether it wants a gradient and its hooks are left."""
    if type(storage) is not Storage or not _are_counts((offset,)):
        raise Damage("a tensor has no storage, or no offset in it")
    if not _are_counts(shape) or not _are_counts(strides) or len(shape) != len(strides) or len(shape) > 64:
        raise Damage("a tensor's sizes and strides are none")
    if math.prod(max(n, 1) for n in shape) >= 1 << 58:
        raise Damage(f"a tensor {shape} is larger than any memory")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
        raise Damage(f"a tensor {shape} at {offset} ends beyond its storage of {storage.count} elements")
    return Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Tensor:
    if type(data) is not Tensor:
        raise Damage("a parameter has no tensor")
    return data


def _ordered(*items: Any) -> dict[Any, Any]:
    """An OrderedDict: empty, or of a list of pairs, as Python 2 wrote it."""
    pairs = items[0] if items else []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], (str, int))
        for pair in pairs
    ):
        raise Damage("an OrderedDict is not made of pairs")
    return dict(pairs)


class _StorageType(NamedTuple):
    dtype: Any

    def __call__(self, *_: Any) -> Any:
        raise Damage("a storage is made without its bytes")


NAMES: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": lambda sizes=(): tuple(sizes) if isinstance(sizes, (list, tuple)) else (),
    **{f"torch.{name}Storage": _StorageType(np.dtype(dtype)) for name, dtype in DTYPES.items()},
}
"""All that a file of weights may name."""


def _storage(given: Any) -> Storage:
    """What a persistent id stands for: ("storage", type, key, device, count), and in old files a view."""
    if type(given) is not tuple or len(given) not in (5, 6) or given[0] != "storage":
        raise Damage("a persistent id is no storage's")
    kind, key, count = getattr(given[1], "rebuild", None), given[2], given[4]
    if type(kind) is not _StorageType or type(key) is not str or not _are_counts((count,)):
        raise Damage("a storage has no type, key or size")
    if len(given) == 6 and given[5] is not None:
        raise Damage("a storage is a view of another, as PyTorch before 0.4 wrote them")
    return Storage(kind.dtype, key, count)


def _tensors(found: Any, where: str) -> dict[str, Tensor]:
    """The tensors among a dict's values, or those of its entry ``state_dict`` (or ``model``)."""
    for inner in ("state_dict", "model_state_dict", "model"):
        if type(found) is dict and type(found.get(inner)) is dict:
            found = found[inner]
    if type(found) is not dict or not any(type(value) is Tensor for value in found.values()):
        raise FormatError(
            f"{where}, byte 0: it holds no tensors by name: save net.state_dict(), as safetensors if you can"
        )
    return {str(name): value for name, value in found.items() if type(value) is Tensor}


def _viewed(tensor: Tensor, elements: np.ndarray) -> np.ndarray:
    """A tensor, as a read-only view of its storage's elements."""
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, elements.dtype)
    strides = [
        s * elements.itemsize if n > 1 else 0 for n, s in zip(tensor.shape, tensor.strides, strict=True)
    ]
    begin = elements[tensor.offset :]
    return np.lib.stride_tricks.as_strided(begin, tensor.shape, strides, writeable=False)


def read(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name, as read-only arrays.

    Raises:
        FormatError: it is no whole file of tensors by name, or asks for code to be run.
    """
    data = path.read_bytes()
    return _from_zip(data, path) if data.startswith(ZIP) else _from_pickles(data, path)


def is_pytorch(begin: bytes) -> bool:
    """Whether a file that begins so may be one of PyTorch's."""
    return begin.startswith((ZIP, b"\x80"))


# -- the archive


def _from_zip(data: bytes, path: Path) -> dict[str, np.ndarray]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except UNZIPPING as error:
        raise FormatError(f"{path}, byte {len(data)}: the archive is cut off or damaged: {error}") from None
    entries = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise FormatError(
            f"{path}, byte 0: a zip archive with {len(pickles)} entries data.pkl; files of PyTorch have one"
        )
    # Entries are stored as they are; what unfolds to more than the file holds is no file of weights.
    if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()) or len(data) < sum(
        info.file_size for info in entries.values()
    ):
        raise FormatError(f"{path}, byte 0: the archive is compressed, which PyTorch does not do")

    def entry(name: str) -> bytes:
        if name not in entries:
            raise FormatError(f"{path}, byte {len(data)}: the archive has no entry {name}: it is not whole")
        try:
            return archive.read(name)
        except UNZIPPING as error:
            at = entries[name].header_offset
            raise FormatError(f"{path}, byte {at}: entry {name} is damaged: {error}") from None

    folder = pickles[0].removesuffix("data.pkl")
    order = entry(folder + "byteorder").decode("latin-1") if folder + "byteorder" in entries else "little"
    if order not in ("little", "big"):
        raise FormatError(f"{path}, byte {entries[folder + 'byteorder'].header_offset}: no order of bytes")
    found = Unpickler(entry(pickles[0]), f"{path}, {pickles[0]}", NAMES, _storage).load()
    tensors = _tensors(found, f"{path}, {pickles[0]}")
    storages: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        if storage.key not in storages:
            raw = entry(f"{folder}data/{storage.key}")
            if len(raw) < storage.count * storage.dtype.itemsize:
                at = entries[f"{folder}data/{storage.key}"].header_offset
                raise FormatError(
                    f"{path}, byte {at}: the storage of {name} has {len(raw)} bytes; {storage.count} of "
                    f"{storage.dtype} are claimed"
                )
            storages[storage.key] = _elements(raw, 0, storage, order)
    return {name: _of(name, tensor, storages, str(path)) for name, tensor in tensors.items()}


def _elements(raw: Any, begin: int, storage: Storage, order: str) -> np.ndarray:
    elements = np.frombuffer(raw, storage.dtype, storage.count, begin)
    return elements if order == sys.byteorder else elements.byteswap()


def _of(name: str, tensor: Tensor, storages: dict[str, np.ndarray], where: str) -> np.ndarray:
    elements = storages[tensor.storage.key]
    if elements.dtype != tensor.storage.dtype or elements.size < tensor.storage.count:
        raise FormatError(f"{where}, byte 0: the storage of {name} is claimed in two ways")
    return _viewed(tensor, elements)


# -- pickles in a row


def _from_pickles(data: bytes, path: Path) -> dict[str, np.ndarray]:
    reader = Unpickler(data, str(path), NAMES, _storage)
    for expected in (MAGIC, VERSION):
        if reader.load() != expected:
            reader.fail("this is no file of PyTorch's weights: torch.save writes other first values")
    machine = reader.load()
    order = "little" if type(machine) is not dict or machine.get("little_endian", True) else "big"
    tensors = _tensors(reader.load(), str(path))
    keys = reader.load()
    if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
        reader.fail("the list of storages is none")
    claimed = {tensor.storage.key: (name, tensor.storage) for name, tensor in tensors.items()}
    storages: dict[str, np.ndarray] = {}
    place = reader.place
    for key in keys:
        if key not in claimed:
            raise FormatError(f"{path}, byte {place}: storage {key} belongs to no tensor by name")
        name, storage = claimed[key]
        begin, nbytes = place + COUNT.size, storage.count * storage.dtype.itemsize
        if begin > len(data) or begin + nbytes > len(data):
            raise FormatError(
                f"{path}, byte {place}: the storage of {name} takes {nbytes} bytes, the file ends after "
                f"{len(data)}: it is cut off"
            )
        (count,) = COUNT.unpack_from(data, place)
        if count != storage.count:
            raise FormatError(
                f"{path}, byte {place}: {name} has {count} elements; {storage.count} are claimed"
            )
        storages[key] = _elements(data, begin, storage, order)
        place = begin + nbytes
    missing = [name for name, tensor in tensors.items() if tensor.storage.key not in storages]
    if missing:
        raise FormatError(f"{path}, byte {place}: there are no values of {', '.join(missing)}")
    return {name: _of(name, tensor, storages, str(path)) for name, tensor in tensors.items()}
