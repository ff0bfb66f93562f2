"""Arrays from arrays: of other libraries by DLPack, and in another dtype or on another device."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.array import Array, ArrayLike, as_device, as_node, asarray


def astype(x: ArrayLike, dtype: Any, /, *, copy: bool = True, device: str | None = None) -> Array:
    """The array converted to another dtype.

    Args:
        x: array of any dtype.
        dtype: the new dtype; floating values going to integers are truncated towards zero.
        copy: False returns the array itself where it has the dtype and is on the device.
        device: where to put it; None for where it is.

    Returns:
        Array of the same shape.

    Raises:
        DTypeError: dtype names no dtype, or x is complex and dtype is real.
        DeviceError: there is no such device.

    >>> import treadle as td
    >>> td.astype(td.asarray([1.5, 2.5]), td.int32).tolist()
    [1, 2]
    """
    array = x if isinstance(x, Array) else Array(as_node(x))
    return array.astype(dtype, copy=copy, device=device)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Array:
    """An array of the values of an object of the DLPack protocol: another library's array.

    Args:
        x: the object.
        device: where to put it; None for the device that x is on, as Treadle names it.
        copy: None copies memory that others can still write; False borrows it (the caller must not write it
            any more); True always copies.

    Returns:
        Array of x's shape and dtype.

    Raises:
        BufferError: x cannot be exported: its dtype is not of the protocol, or copy=False where its memory is
            not the host's.
        ArgumentError: copy=False where a copy is needed.
        DTypeError: x is no object of the protocol.

    >>> import numpy as np, treadle as td
    >>> td.from_dlpack(np.arange(3)).tolist()
    [0, 1, 2]
    """
    as_device(device)
    if isinstance(x, Array):
        return asarray(x, device=device, copy=True if copy is None else copy)
    if not hasattr(x, "__dlpack__"):
        from treadle.errors import DTypeError

        raise DTypeError(f"[from_dlpack] x is a {type(x).__name__}, which has no __dlpack__; use td.asarray")
    on_host = int(x.__dlpack_device__()[0]) == 1
    # From another device's memory the producer brings it to the host, which is a copy.
    values = np.from_dlpack(x) if on_host else np.from_dlpack(x, device="cpu", copy=copy)
    return asarray(values, device=device, copy=copy)
