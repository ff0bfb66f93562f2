"""A CUDA driver without a GPU: it keeps memory in NumPy arrays, runs kernels by OpenCL, and watches.

It has the methods of `treadle.devices.cuda.driver.Driver`. Kernels run at once, in the order in which they
are launched, their sources compiled with OpenCL's preamble: "machine code" is the source. What a device must
not do is an `AssertionError`: touch memory that is not allocated or given back, launch or copy past the end
of an allocation, allocate or copy to the host while a graph is captured, use a stream of another context,
give memory back twice.
"""

from __future__ import annotations

import bisect
import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyopencl as cl

from treadle.devices.csource import dialect
from treadle.devices.cuda.driver import Properties
from treadle.errors import OutOfMemory

FIRST = 1 << 40
"""The first address, far from any of the host's."""
PARAM = (
    "#define PARAM(T, p) __global T* p##_base, const i64 p##_start",
    "#define PARAM(T, p) __global char* p##_base, const i64 p##_start",
)
OPEN = (
    "#define OPEN(T, p) __global T* p = p##_base + p##_start;",
    "#define OPEN(T, p) __global T* p = (__global T*)(p##_base + p##_start);",
)
"""Addresses count bytes, and not elements as OpenCL's do."""


def keep_source(text: str, capability: tuple[int, int], label: str) -> bytes:
    """In place of NVRTC: the source itself, without CUDA's preamble."""
    assert text.startswith(dialect.cuda())
    return text.removeprefix(dialect.cuda()).encode()


class FakeDriver:
    """See the module's docstring. `calls` are the names of what was called, in order."""

    def __init__(self, nbytes: int = 1 << 31, devices: int = 1):
        self.nbytes, self.devices = nbytes, devices
        self.calls: list[str] = []
        self.live: dict[int, cl.Buffer] = {}
        self.sizes: dict[int, int] = {}
        self.next = FIRST
        self.returned: dict[int, list[int]] = {}
        """Addresses to be used again, by size."""
        self.pinned_memory: dict[int, Any] = {}
        self.capturing: list[Any] | None = None
        self.launches = 0
        self.times: list[float] = []
        """What the next measurements are to give."""
        device = next(d for p in cl.get_platforms() for d in p.get_devices())
        self.cl = cl.Context([device])
        self.queue = cl.CommandQueue(self.cl)
        self.preamble = dialect.opencl(True).replace(*PARAM).replace(*OPEN)
        self.functions: dict[bytes, Any] = {}

    # -- devices

    def count(self) -> int:
        return self.devices

    def properties(self, number: int) -> Properties:
        return Properties("a fake GPU", (9, 0), 132, self.nbytes)

    def open(self, number: int) -> str:
        return f"context {number}"

    def enter(self, context: str) -> None:
        assert context.startswith("context")

    def stream(self) -> int:
        return 5

    def keep_memory(self, number: int) -> None:
        pass

    # -- memory

    def allocate(self, nbytes: int, stream: int) -> int:
        assert self.capturing is None, "memory is asked for while a graph is captured"
        self.calls.append("allocate")
        if sum(self.sizes.values()) + nbytes > self.nbytes:
            raise OutOfMemory("the GPU has no memory left: out of memory")
        kept = self.returned.get(nbytes)
        if kept:
            address = kept.pop()
        else:
            address, self.next = self.next, self.next + -(-nbytes // 512) * 512 + 512
        # What was there before is somebody else's.
        poison = np.full(nbytes, 0xFF, np.uint8)
        self.live[address] = cl.Buffer(
            self.cl, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=poison
        )
        self.sizes[address] = nbytes
        return address

    def free(self, address: int, stream: int) -> None:
        assert self.capturing is None, "memory is given back while a graph is captured"
        assert address in self.live, "memory is given back twice"
        self.returned.setdefault(self.sizes[address], []).append(address)
        del self.live[address], self.sizes[address]

    def memory(self) -> tuple[int, int]:
        return self.nbytes - sum(self.sizes.values()), self.nbytes

    def pinned(self, nbytes: int) -> int:
        memory = ctypes.create_string_buffer(nbytes)
        address = ctypes.addressof(memory)
        self.pinned_memory[address] = memory
        return address

    def free_pinned(self, address: int) -> None:
        del self.pinned_memory[address]

    def at(self, address: int, nbytes: int = 1) -> tuple[cl.Buffer, int]:
        """The allocation that an address is in, and where in it."""
        places = sorted(self.live)
        i = bisect.bisect_right(places, address) - 1
        assert i >= 0, f"{address:#x} is no memory of the device"
        start = address - places[i]
        assert start + nbytes <= self.sizes[places[i]], (
            f"{nbytes} bytes at {start} of {self.sizes[places[i]]}"
        )
        return self.live[places[i]], start

    def copy_in(self, target: int, source: int, nbytes: int, stream: int) -> None:
        self.calls.append("copy_in")
        held = np.frombuffer((ctypes.c_char * nbytes).from_address(source), np.uint8).copy()

        def work() -> None:
            buffer, start = self.at(target, nbytes)
            cl.enqueue_copy(self.queue, buffer, held, dst_offset=start)

        self._now(work)

    def copy_out(self, target: int, source: int, nbytes: int, stream: int) -> None:
        assert self.capturing is None, "the host waits while a graph is captured"
        self.calls.append("copy_out")
        buffer, start = self.at(source, nbytes)
        held = np.frombuffer((ctypes.c_char * nbytes).from_address(target), np.uint8)
        cl.enqueue_copy(self.queue, held, buffer, src_offset=start)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        self.calls.append("copy")

        def work() -> None:
            (to, there), (of, here) = self.at(target, nbytes), self.at(source, nbytes)
            cl.enqueue_copy(self.queue, to, of, byte_count=nbytes, src_offset=here, dst_offset=there).wait()

        self._now(work)

    def fill_zeros(self, target: int, nbytes: int, stream: int) -> None:
        self.calls.append("fill")

        def work() -> None:
            buffer, start = self.at(target, nbytes)
            cl.enqueue_fill_buffer(self.queue, buffer, np.zeros(1, np.uint8), start, nbytes).wait()

        self._now(work)

    # -- kernels

    def load(self, code: bytes, entry: str) -> tuple[str, Any]:
        self.calls.append("load")
        if code not in self.functions:
            program = cl.Program(self.cl, self.preamble + code.decode()).build()
            self.functions[code] = cl.Kernel(program, entry)
        return "module", self.functions[code]

    def launch(self, function: Any, groups: int, lanes: int, addresses: Sequence[int], stream: int) -> None:
        assert groups > 0 and 0 < lanes <= 1024, (groups, lanes)
        self.calls.append("launch")
        self._now(lambda: self._run(function, groups, lanes, addresses))

    def _run(self, function: Any, groups: int, lanes: int, addresses: Sequence[int]) -> None:
        self.launches += 1
        arguments: list[Any] = []
        for address in addresses:
            buffer, start = self.at(address)
            arguments += [buffer, np.int64(start)]
        function(self.queue, (groups * lanes,), (lanes,), *arguments).wait()

    def _now(self, work: Any) -> None:
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def synchronize(self, stream: int) -> None:
        assert self.capturing is None, "the host waits while a graph is captured"
        self.queue.finish()

    def event(self) -> list[int]:
        return []

    def record(self, event: list[int], stream: int) -> None:
        event.append(len(self.calls))

    def elapsed_ms(self, first: list[int], last: list[int]) -> float:
        return self.times.pop(0)

    def wait(self, event: list[int]) -> None:
        assert self.capturing is None, "the host waits while a graph is captured"
        self.calls.append("wait")

    # -- graphs

    def begin_capture(self, stream: int) -> None:
        assert self.capturing is None
        self.calls.append("begin_capture")
        self.capturing = []

    def end_capture(self, stream: int) -> list[Any]:
        self.calls.append("end_capture")
        work, self.capturing = self.capturing, None
        assert work is not None
        return work

    def launch_graph(self, work: list[Any], stream: int) -> None:
        self.calls.append("launch_graph")
        for do in work:
            do()

    def free_graph(self, work: list[Any]) -> None:
        work.clear()
