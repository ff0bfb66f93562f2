"""Fields of protocol-buffer messages as bytes (the wire format of proto2 and proto3). Knows no message."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

VARINT, EIGHT_BYTES, WITH_LENGTH, FOUR_BYTES = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """An integer, seven bits a byte; negative ones as 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _key(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def integer_field(number: int, value: int) -> bytes:
    """An int32, int64, bool or enum."""
    return _key(number, VARINT) + varint(int(value))


def double_field(number: int, value: float) -> bytes:
    """A double."""
    return _key(number, EIGHT_BYTES) + struct.pack("<d", value)


def float_field(number: int, value: float) -> bytes:
    """A float; one too large for it is an infinity."""
    with np.errstate(over="ignore"):
        return _key(number, FOUR_BYTES) + np.float32(value).astype("<f4").tobytes()


def bytes_field(number: int, value: bytes | str) -> bytes:
    """Bytes, text, or a message within a message."""
    data = value.encode() if isinstance(value, str) else value
    return _key(number, WITH_LENGTH) + varint(len(data)) + data


def doubles_field(number: int, values: Sequence[float] | np.ndarray) -> bytes:
    """A packed list of doubles."""
    return bytes_field(number, np.asarray(values, "<f8").tobytes())
