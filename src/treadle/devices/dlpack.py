"""Host arrays as DLPack capsules: versions, devices and copies as the Array API standard 2025.12 asks.

Knows NumPy arrays and the protocol, nothing of nodes.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from treadle.dtypes import DType

CPU = (1, 0)
"""The device type and number of host memory (kDLCPU)."""


def capsule(
    array: np.ndarray,
    dtype: DType,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[Any, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A read-only host array for who consumes DLPack.

    Before version 1.0 the protocol cannot say that memory is read-only: such a consumer gets a copy, unless
    it asks for none and so promises not to write.

    Raises:
        BufferError: the consumer wants another device, a stream, or the dtype is not of the protocol.
    """
    if stream is not None:
        raise BufferError(f"[__dlpack__] stream={stream!r}: memory of the host has no streams")
    if dl_device is not None and (int(dl_device[0]), int(dl_device[1])) != CPU:
        raise BufferError(f"[__dlpack__] dl_device={dl_device}: the values are on the host, {CPU}")
    if dtype.name == "bfloat16":
        raise BufferError("[__dlpack__] NumPy exports no bfloat16: convert with astype(td.float32)")
    read_only_known = max_version is not None and max_version[0] >= 1
    if copy or (copy is None and not read_only_known):
        array = array.copy()
    elif not read_only_known:
        array = _writable(array)
    return array.__dlpack__(max_version=max_version) if read_only_known else array.__dlpack__()


def _writable(array: np.ndarray) -> np.ndarray:
    """The same memory as an array that calls itself writable, and keeps the first one alive."""
    if array.size == 0:
        return array.copy()
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory.array = array
    return np.ndarray(array.shape, array.dtype, memory, strides=array.strides)
