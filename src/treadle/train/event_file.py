"""TensorBoard's event files: records with checksums, each a small protocol-buffer message. Knows no trainer.

The messages are TensorFlow's `Event`, `Summary` and `GraphDef`, written field by field: they need no
protocol-buffer library, and no TensorFlow.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from treadle.errors import ArgumentError, ShapeError
from treadle.train.graph_message import graph_message
from treadle.train.naming import naming
from treadle.train.wire import bytes_field, double_field, doubles_field, float_field, integer_field

VERSION = b"brain.Event:2"
BINS = 30
POLYNOMIAL = 0x82F63B78
"""CRC-32C (Castagnoli), bits reversed."""
_count = itertools.count()


def _crc_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ (POLYNOMIAL if value & 1 else 0) for value in table]
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The CRC-32C of bytes (RFC 3720, appendix B.4)."""
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """The checksum as records hold it: rotated and shifted, since a file may hold checksums of its own."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """One record: length, checksum of the length, data, checksum of the data."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        [length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data))]
    )


class EventFile:
    """A file of events in a folder that `tensorboard --logdir` shows. Each event is on the disk when the call
    returns.

    Args:
        folder: made if it is not there.
        restart: the step from which on a run that is continued writes again what earlier files of the folder
            hold: TensorBoard forgets those.

    Raises:
        OSError: the folder cannot be written.

    >>> from treadle import train
    >>> with train.EventFile("runs") as events:
    ...     events.scalars(1, {"loss": 0.5, "accuracy": 0.9})
    ...     events.histogram(1, "weights", [1.0, 2.0, 2.0])
    """

    def __init__(self, folder: str | os.PathLike[str], *, restart: int | None = None):
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}.{next(_count)}"
        self.path = Path(folder) / name
        self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115  closed by close
        self._write(0, bytes_field(3, VERSION))
        if restart is not None:
            self._write(restart, bytes_field(7, integer_field(1, 1)))  # SessionLog.START

    def _write(self, step: int, message: bytes) -> None:
        event = double_field(1, time.time()) + integer_field(2, step) + message
        with naming(self.path):
            self._file.write(record(event))

    def _summary(self, step: int, values: Sequence[bytes]) -> None:
        self._write(step, bytes_field(5, b"".join(bytes_field(1, value) for value in values)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name; ``a/b`` stands in the group a."""
        self._summary(step, [bytes_field(1, name) + float_field(2, float(x)) for name, x in values.items()])

    def histogram(self, step: int, name: str, values: Any) -> None:
        """How often values of any array occur, in 30 intervals; NaN and infinities are left out."""
        flat = np.asarray(values, np.float64).ravel()
        flat = flat[np.isfinite(flat)]
        if not flat.size:
            return
        counts, edges = np.histogram(flat, BINS)
        message = b"".join(
            [
                double_field(1, flat.min()),
                double_field(2, flat.max()),
                double_field(3, flat.size),
                double_field(4, flat.sum()),
                double_field(5, np.square(flat).sum()),
                doubles_field(6, edges[1:]),
                doubles_field(7, counts),
            ]
        )
        self._summary(step, [bytes_field(1, name) + bytes_field(5, message)])

    def image(self, step: int, name: str, image: Any) -> None:
        """A picture: ``[height, width]``, or ``[height, width, channels]`` with 1, 3 or 4 channels.

        Args:
            image: uint8, or floating from 0 (black) to 1.

        Raises:
            ShapeError: it has another shape.
        """
        pixels = as_pixels(image)
        height, width, channels = pixels.shape
        fields = integer_field(1, height) + integer_field(2, width) + integer_field(3, channels)
        message = fields + bytes_field(4, png(pixels))
        self._summary(step, [bytes_field(1, name) + bytes_field(4, message)])

    def graph(self, x: Any, *args: Any) -> None:
        """A graph, grouped by modules and scopes: whatever `td.show` takes."""
        self._write(0, bytes_field(4, graph_message(x, args)))

    def close(self) -> None:
        """Nothing can be written after it."""
        self._file.close()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def as_pixels(image: Any) -> np.ndarray:
    """A picture as uint8 ``[height, width, channels]``."""
    array = np.asarray(image)
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise ShapeError(
            f"[image] a picture of shape {array.shape}: expected [height, width] or "
            "[height, width, channels] with 1, 3 or 4 channels"
        )
    if pixels.dtype.kind == "f":
        pixels = np.rint(255 * np.clip(np.nan_to_num(pixels), 0, 1)).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise ArgumentError(f"[image] a picture of {array.dtype}: expected uint8, or floating from 0 to 1")
    return pixels


def png(pixels: np.ndarray) -> bytes:
    """A PNG file (ISO/IEC 15948) of uint8 ``[height, width, channels]``."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    # Every row begins with its filter's number, 0 for none.
    rows = np.pad(pixels.reshape(height, width * channels), ((0, 0), (1, 0)))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows.tobytes())), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
