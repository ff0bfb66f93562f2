"""The CUDA driver's calls that a device is made of, through cuda-bindings, each checked: what it refuses is a
`DeviceError` in the driver's own words, or `OutOfMemory`.

Handles, addresses and streams are plain numbers and objects that nobody but this file looks into. A fake with
the same methods stands in for it in tests.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from treadle.errors import DeviceError, OutOfMemory

INSTALL = "pip install 'treadle[cuda]'"
OLDEST = 12000
"""The oldest driver: that of CUDA 12.0, the first with all that is called here."""
OUT_OF_MEMORY = 2


class Properties(NamedTuple):
    """What is known of a device."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    nbytes: int


class Driver:
    """The driver of this machine.

    Raises:
        DeviceError: cuda-bindings is not installed, or no driver, or one that is too old.
    """

    def __init__(self) -> None:
        try:
            from cuda.bindings import driver  # pyright: ignore
        except ImportError:
            raise DeviceError(f"the device 'cuda' needs cuda-bindings: type `{INSTALL}`") from None
        self.calls = driver
        self._entered = threading.local()
        try:
            self._do("cuInit", 0)
        except DeviceError:
            raise
        except Exception as error:
            raise DeviceError(
                "no NVIDIA driver answers on this machine: install the GPU's driver, not the toolkit"
            ) from error
        self.version = self._do("cuDriverGetVersion")
        if self.version < OLDEST:
            spoken, needed = [f"{n // 1000}.{n % 1000 // 10}" for n in (self.version, OLDEST)]
            raise DeviceError(
                f"the NVIDIA driver is too old: it speaks CUDA {spoken}, Treadle needs {needed} or later"
            )

    def _do(self, name: str, *arguments: Any) -> Any:
        """Call a function of the driver; its result, or several."""
        status, *results = getattr(self.calls, name)(*arguments)
        if int(status):
            self._raise(name, status)
        return results[0] if len(results) == 1 else results

    def _raise(self, name: str, status: Any) -> None:
        words = self.calls.cuGetErrorString(status)[1]
        said = words.decode() if isinstance(words, bytes) else str(status)
        if int(status) == OUT_OF_MEMORY:
            raise OutOfMemory(f"the GPU has no memory left: {said}")
        raise DeviceError(f"the CUDA driver refuses {name}: {said} ({int(status)})")

    # -- devices

    def count(self) -> int:
        """How many devices there are."""
        return self._do("cuDeviceGetCount")

    def properties(self, number: int) -> Properties:
        """What is known of a device."""
        attribute = self.calls.CUdevice_attribute
        device = self._do("cuDeviceGet", number)
        asked = (
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
        )
        major, minor, units = [self._do("cuDeviceGetAttribute", what, device) for what in asked]
        name = self._do("cuDeviceGetName", 256, device).split(b"\0")[0].decode()
        return Properties(name, (major, minor), units, self._do("cuDeviceTotalMem", device))

    def open(self, number: int) -> Any:
        """The device's context."""
        return self._do("cuDevicePrimaryCtxRetain", self._do("cuDeviceGet", number))

    def enter(self, context: Any) -> None:
        """Let this thread's calls mean a device."""
        if getattr(self._entered, "context", None) is not context:
            self._do("cuCtxSetCurrent", context)
            self._entered.context = context

    def stream(self) -> Any:
        """A new queue of work."""
        return self._do("cuStreamCreate", self.calls.CUstream_flags.CU_STREAM_NON_BLOCKING.value)

    def keep_memory(self, number: int) -> None:
        """Let memory that is given back stay with this process, for the next value."""
        pool = self._do("cuDeviceGetDefaultMemPool", self._do("cuDeviceGet", number))
        what = self.calls.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
        self._do("cuMemPoolSetAttribute", pool, what, self.calls.cuuint64_t((1 << 64) - 1))

    # -- memory

    def allocate(self, nbytes: int, stream: Any) -> int:
        """The address of memory that a stream may use from here on."""
        return int(self._do("cuMemAllocAsync", nbytes, stream))

    def free(self, address: int, stream: Any) -> None:
        """Give memory back when the stream has done all that was asked of it."""
        self._do("cuMemFreeAsync", address, stream)

    def memory(self) -> tuple[int, int]:
        """Bytes that are free, and bytes that there are."""
        free, total = self._do("cuMemGetInfo")
        return free, total

    def pinned(self, nbytes: int) -> int:
        """The address of host memory that is copied without waiting."""
        return int(self._do("cuMemAllocHost", nbytes))

    def free_pinned(self, address: int) -> None:
        """Give such memory back."""
        self._do("cuMemFreeHost", address)

    def copy_in(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy from host memory; of pinned memory it may come later."""
        self._do("cuMemcpyHtoDAsync", target, source, nbytes, stream)

    def copy_out(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy to host memory; it may come later."""
        self._do("cuMemcpyDtoHAsync", target, source, nbytes, stream)

    def copy(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        """Copy on the device."""
        self._do("cuMemcpyDtoDAsync", target, source, nbytes, stream)

    def fill_zeros(self, target: int, nbytes: int, stream: Any) -> None:
        """Make bytes zero."""
        self._do("cuMemsetD8Async", target, 0, nbytes, stream)

    # -- kernels

    def load(self, code: bytes, entry: str) -> tuple[Any, Any]:
        """A module, and a kernel of it; the module holds the kernel."""
        module = self._do("cuModuleLoadData", code)
        return module, self._do("cuModuleGetFunction", module, entry.encode())

    def launch(self, function: Any, groups: int, lanes: int, addresses: Sequence[int], stream: Any) -> None:
        """Let a kernel run on operands."""
        values = np.array(addresses, np.uint64)
        places = np.array([values.ctypes.data + 8 * i for i in range(len(addresses))], np.uint64)
        self._do("cuLaunchKernel", function, groups, 1, 1, lanes, 1, 1, 0, stream, places.ctypes.data, 0)

    def synchronize(self, stream: Any) -> None:
        """Wait until a stream has done all that was asked of it."""
        self._do("cuStreamSynchronize", stream)

    def event(self) -> Any:
        """Something that marks a moment of a stream."""
        return self._do("cuEventCreate", 0)

    def record(self, event: Any, stream: Any) -> None:
        """Let an event mark when the stream comes here."""
        self._do("cuEventRecord", event, stream)

    def wait(self, event: Any) -> None:
        """Let the host wait until a mark has passed."""
        self._do("cuEventSynchronize", event)

    def elapsed_ms(self, first: Any, last: Any) -> float:
        """The time between two marks, when the last has passed."""
        self._do("cuEventSynchronize", last)
        return self._do("cuEventElapsedTime", first, last)

    # -- graphs

    def begin_capture(self, stream: Any) -> None:
        """Let what is asked of a stream be noted, and not done."""
        self._do(
            "cuStreamBeginCapture", stream, self.calls.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        )

    def end_capture(self, stream: Any) -> Any:
        """What was noted, as one piece of work."""
        graph = self._do("cuStreamEndCapture", stream)
        try:
            return self._do("cuGraphInstantiate", graph, 0)
        finally:
            self._do("cuGraphDestroy", graph)

    def launch_graph(self, work: Any, stream: Any) -> None:
        """Do what was noted."""
        self._do("cuGraphLaunch", work, stream)

    def free_graph(self, work: Any) -> None:
        """Forget what was noted."""
        self._do("cuGraphExecDestroy", work)
