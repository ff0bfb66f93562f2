"""The threads that share a kernel's tasks: started once, spinning briefly between kernels, then asleep.

What they run and how they meet is native code (`fork_join`) that never needs the interpreter: they are
Python's daemon threads only so that Python knows them. Which thread runs which task never changes a result:
that is the kernels' contract. Knows nothing of programs and tables.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from functools import cache

import numpy as np

from treadle.devices.cpu import fork_join, objects

MAXIMUM_THREADS = 1024
SPIN_S = 300e-6
"""How long an idle thread spins before it sleeps. Waking one takes 30 to 80 us, and between two steps of a
training loop Python works for about 100 us: a thread that spins for less sleeps in every step.
"""


class Scratch:
    """Uninitialised memory, 64-byte aligned, at `address`."""

    def __init__(self, nbytes: int):
        self.nbytes = nbytes
        self._memory = np.empty(nbytes + 64, np.uint8)
        self.address = -(-self._memory.ctypes.data // 64) * 64


class Pool:
    """`threads` threads, the caller of each run being one of them. `address` is the control block that native
    code takes.
    """

    def __init__(self, threads: int):
        self.threads = threads
        claims = fork_join.THREAD + fork_join.THREAD_NBYTES * threads
        self._control = Scratch(claims + 8 * fork_join.SHARES_PER_THREAD * threads)
        self.address = self._control.address
        ctypes.memset(self.address, 0, self._control.nbytes)
        for offset, value in (
            (fork_join.THREADS, threads),
            (fork_join.SPIN_LIMIT, int(SPIN_S / _pause_s())),
            (fork_join.CLAIMS, self.address + claims),
        ):
            self._word(offset).value = value
        native = _native()
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(native["initialise"])(self.address)
        self._wake = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(native["wake"])
        self._lock = threading.Lock()
        self._scratch: list[Scratch] = []
        self._scratch_nbytes = 0
        self._workers = [
            threading.Thread(target=self._work, args=(t,), name=f"treadle-{t}", daemon=True)
            for t in range(1, threads)
        ]
        for worker in self._workers:
            worker.start()

    def reserve_scratch(self, nbytes: int) -> None:
        """Give every worker at least `nbytes` of scratch memory. May be called while others are running."""
        if nbytes <= self._scratch_nbytes:
            return
        with self._lock:
            if nbytes > self._scratch_nbytes:
                # A run under way may be using the smaller buffers: they are kept. Doubling bounds what that
                # costs.
                nbytes = max(nbytes, 2 * self._scratch_nbytes)
                for t in range(1, self.threads):
                    self._scratch.append(Scratch(nbytes))
                    self._word(
                        fork_join.THREAD + fork_join.THREAD_NBYTES * t + fork_join.THREAD_SCRATCH
                    ).value = self._scratch[-1].address
                self._scratch_nbytes = nbytes

    def stop(self) -> None:
        """End the workers. A run under way is finished by its caller."""
        self._word(fork_join.STOP).value = 1
        self._wake(self.address)
        deadline = time.monotonic() + 2
        for worker in self._workers:
            # One that is in the middle of a very long kernel is not waited for.
            worker.join(timeout=max(0.0, deadline - time.monotonic()))

    @property
    def sleeping(self) -> int:
        """How many workers are asleep now."""
        return self._word(fork_join.SLEEPERS).value

    def _work(self, thread: int) -> None:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(_native()["worker"])(self.address, thread)

    def _word(self, offset: int) -> ctypes.c_int64:
        return ctypes.c_int64.from_address(self.address + offset)


def num_threads() -> int:
    """How many threads a program may use: `set_num_threads`, else ``TREADLE_THREADS``, else the cores of this
    process.
    """
    global _threads
    if _threads is None:
        text = os.environ.get("TREADLE_THREADS")
        _threads = _cores() if text is None else _checked(text)
    return _threads


def set_num_threads(threads: int) -> None:
    """Use this many threads from the next run on. Results do not depend on it."""
    global _threads, _pool
    threads = _checked(threads)
    with _pool_lock:
        old, _pool, _threads = _pool, None, threads
    if old is not None:
        old.stop()


def pool() -> Pool | None:
    """The pool in use, started now if need be; None if there is but one thread."""
    return _pool or _start_pool()


def fork_join_address() -> int:
    """Where the native function `fork_join` is."""
    return _native()["fork_join"]


_pool: Pool | None = None
_pool_lock = threading.Lock()
_threads: int | None = None


def _start_pool() -> Pool | None:
    global _pool
    with _pool_lock:
        if _pool is None and num_threads() > 1:
            _pool = Pool(num_threads())
        return _pool


def _stop_pool() -> None:
    """At exit: workers must be gone before the interpreter frees their code."""
    global _pool
    old, _pool = _pool, None
    if old is not None:
        old.stop()


def _forget_pool() -> None:
    """In the child of a fork, where the workers do not exist."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


atexit.register(_stop_pool)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _checked(threads: int | str) -> int:
    try:
        count = int(threads)
    except ValueError:
        count = 0
    if not 1 <= count <= MAXIMUM_THREADS:
        raise ValueError(f"the number of threads must be from 1 to {MAXIMUM_THREADS}, not {threads!r}")
    return count


def _cores(quota: str = "/sys/fs/cgroup/cpu.max") -> int:
    """The cores this process may run on, and no more than its container pays for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open(quota) as file:
            microseconds, period = file.read().split()
        if microseconds != "max":
            # Threads beyond the quota would spin their way into being stopped by the kernel.
            cores = min(cores, max(1, -(-int(microseconds) // int(period))))
    except (OSError, ValueError):
        pass
    return min(cores, MAXIMUM_THREADS)


@cache
def _native() -> objects.Library:
    return objects.load_written(fork_join.module_text, fork_join.SYMBOLS)


@cache
def _pause_s() -> float:
    """How long one turn of a spinning loop takes here: from 4 to 50 ns."""
    spin = ctypes.CFUNCTYPE(None, ctypes.c_int64)(_native()["spin"])
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        spin(500)
        best = min(best, time.perf_counter() - began)
    return max(best / 500, 1e-9)
