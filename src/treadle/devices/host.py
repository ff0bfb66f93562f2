"""Memory of the host: aligned buffers, counted by Python's references and used again when nobody holds
them.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from functools import cache
from typing import Any

import numpy as np

from treadle.devices.buffer import Buffer
from treadle.errors import OutOfMemory
from treadle.graph.node import Type

ALIGNMENT = 64
_KEPT_NBYTES = 1 << 30
"""How much freed memory is kept for the next allocation of the same size."""

LARGE_NBYTES = 16 << 20
"""So much is worth to look for memory that can be given back."""

_free: dict[int, list[tuple[np.ndarray, int]]] = {}
"""Memory by the size of the buffers that it is for, with the aligned address in it."""
_kept = 0
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A child must not find it held by a thread that it does not have.
    os.register_at_fork(before=_lock.acquire, after_in_child=_lock.release, after_in_parent=_lock.release)


def nbytes_of(type: Type) -> int:
    """The size of a value in bytes."""
    size = type.dtype.itemsize
    for n in type.shape:
        size *= n  # type: ignore[assignment]
    return size


class HostBuffer(Buffer):
    """`nbytes` bytes at `address`. `raw` is the NumPy array that owns them; views handed out keep it alive.
    A borrowed buffer is never written here, and its memory never used again.
    """

    __slots__ = ("address", "raw")

    def __init__(self, raw: np.ndarray, address: int, nbytes: int, borrowed: bool = False):
        # Not by the base's: this is on the way of every value.
        self.raw = raw
        self.address = address
        self.nbytes = nbytes
        self.borrowed = borrowed
        self.contents = None

    def view(self, type: Type) -> np.ndarray:
        """The buffer as a read-only array, without a copy."""
        view = self.writable(type)
        view.flags.writeable = False
        return view

    def writable(self, type: Type) -> np.ndarray:
        """The buffer as an array that may be written: only for who fills it."""
        if self.borrowed:
            return self.raw.view()
        start = self.address - self.raw.ctypes.data
        return np.ndarray(type.shape, type.dtype.numpy, self.raw, start)

    def held_by_views(self) -> bool:
        """Whether an array that was handed out still shares this memory."""
        return self.borrowed or sys.getrefcount(self.raw) > _ALONE

    def __del__(self) -> None:
        global _kept
        if self.held_by_views():
            return
        raw = self.raw
        if _kept + raw.nbytes <= _KEPT_NBYTES:
            _kept += raw.nbytes
            _free.setdefault(self.nbytes, []).append((raw, self.address))


def allocate(nbytes: int) -> HostBuffer:
    """A buffer with undefined contents, aligned to 64 bytes.

    Raises:
        OutOfMemory: the host has no such memory.
    """
    global _kept
    nbytes = max(nbytes, 1)
    kept = _free.get(nbytes)
    if kept:
        with _lock:
            if kept:
                raw, address = kept.pop()
                _kept -= raw.nbytes
                return HostBuffer(raw, address, nbytes)
    try:
        raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    except MemoryError:
        raise OutOfMemory(f"the host has no {nbytes / 1e6:.1f} MB left") from None
    return HostBuffer(raw, (raw.ctypes.data + ALIGNMENT - 1) & -ALIGNMENT, nbytes)


def make_room(nbytes: int) -> None:
    """Give kept memory back to the system, the largest first, for `nbytes` that will be held for long."""
    global _kept
    with _lock:
        wanted = nbytes
        for size in sorted([*_free], reverse=True):
            while _free[size] and wanted > 0:
                raw, _ = _free[size].pop()
                _kept -= raw.nbytes
                wanted -= raw.nbytes
    # What the C library holds back of that, and of what a compiler took: 40 to 120 MB for a network.
    trim = getattr(_libc(), "malloc_trim", None)
    if nbytes >= LARGE_NBYTES and trim is not None:
        trim(0)


@cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def from_array(array: Any, type: Type, copy: bool = True) -> HostBuffer:
    """A buffer holding an array's values: a copy, or the array's own memory borrowed."""
    if not copy:
        return HostBuffer(array, array.ctypes.data, array.nbytes, borrowed=True)
    buffer = allocate(nbytes_of(type))
    buffer.writable(type)[...] = array
    return buffer


_ALONE = 1 << 30


def _calibrate() -> int:
    """What `getrefcount` says of a buffer's memory that no view shares: it differs between versions of
    Python.
    """
    buffer = HostBuffer(np.empty(1, np.uint8), 0, 1)

    def count(self: HostBuffer) -> int:
        return sys.getrefcount(self.raw)

    alone = count(buffer)
    buffer.borrowed = True
    return alone


_ALONE = _calibrate()


def available_nbytes() -> int:
    """Memory that this process may still take: what the machine has, and the process's limit leaves."""
    return min(_free_nbytes(), _allowed_nbytes())


def _allowed_nbytes() -> int:
    """What a limit on the process's addresses (``ulimit -v``) leaves."""
    if not hasattr(os, "sysconf"):
        return 1 << 62
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return 1 << 62
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 1 << 62
    return max(0, limit - taken)


def _free_nbytes() -> int:
    """What the machine has."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return total_nbytes()


def total_nbytes() -> int:
    """What the machine has, in use or not."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 1 << 62
