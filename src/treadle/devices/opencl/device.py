"""OpenCL as a device, through pyopencl: one context and one queue in order for each of the machine's OpenCL
devices.

Binaries are kept on the disk by the text of the program, the device, and its driver.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from treadle.devices.accelerator.device import Accelerator, DeviceBuffer
from treadle.devices.accelerator.sources import kept_source
from treadle.devices.cpu import disk
from treadle.devices.csource import dialect
from treadle.devices.csource.kernel import Facts, Kernel, SourceKernel
from treadle.devices.csource.lowering import Generator
from treadle.devices.csource.types import ITEMSIZE
from treadle.errors import DeviceError, OutOfMemory

INSTALL = "pip install 'treadle[opencl]'"
KEPT_NBYTES = 1 << 30
"""How much freed memory is kept for the next value of the same size."""


def library() -> Any:
    """The module pyopencl.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        import pyopencl  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DeviceError(f"the device 'opencl' needs pyopencl: type `{INSTALL}`") from None
    return pyopencl


@cache
def found() -> list[Any]:
    """The OpenCL devices of this machine, GPUs first; empty where there is no driver.

    Raises:
        DeviceError: pyopencl is not installed.
    """
    cl = library()
    try:
        platforms = cl.get_platforms()
    except cl.Error:
        return []
    devices = []
    for platform in platforms:
        try:
            devices += platform.get_devices()
        except cl.Error:
            continue
    return sorted(devices, key=lambda device: not device.type & cl.device_type.GPU)


class OpenClDevice(Accelerator):
    """One OpenCL device."""

    kept_nbytes = KEPT_NBYTES  # The module's names are gone when the last values go, at exit.

    def __init__(self, name: str, number: int):
        cl = self.cl = library()
        devices = found()
        if not devices:
            raise DeviceError(
                "no OpenCL driver answers: install one (a GPU's own, or PoCL for processors: "
                "`apt-get install pocl-opencl-icd`)"
            )
        if number >= len(devices):
            names = ", ".join([device.name.strip() for device in devices])
            raise DeviceError(f"there is no device {name!r}; this machine's OpenCL devices are {names}")
        self.name = name
        self.device = device = devices[number]
        self.describes = f"{device.name.strip()}, {device.platform.name.strip()}, {device.version.strip()}"
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context, device)
        self.lock = threading.RLock()
        gpu = bool(device.type & cl.device_type.GPU)
        double = bool(device.double_fp_config)
        lanes = min(256, device.max_work_group_size)
        self.generator = Generator(Facts(gpu, lanes, device.max_compute_units, double))
        self.preamble = dialect.opencl(double)
        self._kernels: dict[Kernel, Any] = {}
        self._pool: dict[int, list[Any]] = {}
        self._pooled_nbytes = 0
        self.taken_nbytes = 0

    # -- memory

    def reserve(self, nbytes: int) -> Any:
        nbytes = max(nbytes, 4)
        with self.lock:
            pool = self._pool.get(nbytes)
            if pool:
                self._pooled_nbytes -= nbytes
                return _Memory(self, pool.pop(), nbytes)
        try:
            memory = self._buffer(nbytes)
        except self.cl.Error as error:
            self._drop_pool()
            try:
                memory = self._buffer(nbytes)
            except self.cl.Error:
                raise OutOfMemory(
                    f"{self.name!r} has no {nbytes / 1e6:.1f} MB left: {_words(error)}"
                ) from None
        self.taken_nbytes += nbytes
        return _Memory(self, memory, nbytes)

    def _buffer(self, nbytes: int) -> Any:
        return self.cl.Buffer(self.context, self.cl.mem_flags.READ_WRITE, nbytes)

    def release(self, memory: Any, nbytes: int) -> None:
        """Take memory back, for the next value of its size."""
        if self._pooled_nbytes + nbytes <= self.kept_nbytes:
            self._pool.setdefault(nbytes, []).append(memory)
            self._pooled_nbytes += nbytes
        else:
            memory.release()
            self.taken_nbytes -= nbytes

    def _drop_pool(self) -> None:
        """Give back to the driver what nobody uses."""
        with self.lock:
            for nbytes, pool in self._pool.items():
                self.taken_nbytes -= nbytes * len(pool)
                for memory in pool:
                    memory.release()
            self._pool.clear()
            self._pooled_nbytes = 0

    def memory(self) -> tuple[int, int]:
        total = self.device.global_mem_size
        return total - self.taken_nbytes + self._pooled_nbytes, total

    def write(self, target: DeviceBuffer, array: np.ndarray) -> None:
        self._copied(target.memory.handle, array, dst_offset=target.start)

    def read(self, source: DeviceBuffer, array: np.ndarray) -> None:
        self._copied(array, source.memory.handle, src_offset=source.start)

    def _copied(self, target: Any, source: Any, **offset: int) -> None:
        with self.lock:
            try:
                self.cl.enqueue_copy(self.queue, target, source, is_blocking=True, **offset)
            except self.cl.Error as error:
                raise DeviceError(f"{self.name!r} does not copy: {_words(error)}") from None

    def copy(self, source: DeviceBuffer, target: DeviceBuffer, nbytes: int) -> None:
        self.cl.enqueue_copy(
            self.queue, target.memory.handle, source.memory.handle,
            byte_count=nbytes, src_offset=source.start, dst_offset=target.start,
        )  # fmt: skip

    def fill_zeros(self, target: DeviceBuffer) -> None:
        self.cl.enqueue_fill_buffer(
            self.queue, target.memory.handle, np.zeros(1, np.uint8), target.start, target.nbytes
        )

    # -- kernels

    def compile(self, kernels: Sequence[Kernel]) -> list[Any]:
        return [self._compiled(kernel) for kernel in kernels]

    def _compiled(self, kernel: Kernel) -> Any:
        compiled = self._kernels.get(kernel)
        if compiled is None:
            assert isinstance(kernel, SourceKernel)
            program = self._program(self.preamble + kernel.text, kernel.label)
            compiled = _Kernel(self.cl.Kernel(program, kernel.entry), kernel)
            self._kernels[kernel] = compiled
        return compiled

    def _program(self, text: str, label: str) -> Any:
        device, store = self.device, disk.from_environment()
        identity = (device.name, device.vendor, device.version, device.driver_version)
        name = disk.name("opencl", *identity, text)
        binary = store.get(name) if store is not None else None
        if binary is not None:
            try:
                return self.cl.Program(self.context, [device], [binary]).build(cache_dir=False)
            except self.cl.Error:
                pass  # Of another driver after all: from its source, then.
        try:
            program = self.cl.Program(self.context, text).build(cache_dir=False)
        except self.cl.Error as error:
            raise DeviceError(
                f"a kernel does not compile for {self.name!r} ({label}); its source and the compiler's words "
                f"are in {kept_source(text, str(error), '.cl')}"
            ) from None
        if store is not None:
            store.put(name, program.binaries[0])
        return program

    def launch(self, kernel: Any, buffers: Sequence[DeviceBuffer]) -> None:
        arguments: list[Any] = []
        for buffer, itemsize in zip(buffers, kernel.itemsizes, strict=True):
            arguments.append(buffer.memory.handle)
            arguments.append(np.int64(buffer.start // itemsize))
        kernel.handle(self.queue, kernel.total, kernel.lanes, *arguments)

    def synchronize(self) -> None:
        self.queue.finish()

    def unsupported(self, dtype: str) -> str | None:
        if dtype in ("float64", "complex128", "complex64") and not self.generator.facts.double:
            return f"{self.describes} does not compute in float64; convert to float32"
        return None


class _Memory:
    """A piece of a device's memory that goes back to the pool when nobody refers to it."""

    __slots__ = ("device", "handle", "nbytes")

    def __init__(self, device: OpenClDevice, handle: Any, nbytes: int):
        self.device, self.handle, self.nbytes = device, handle, nbytes

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending():
            self.device.release(self.handle, self.nbytes)


class _Kernel:
    """A kernel that can be launched."""

    __slots__ = ("handle", "itemsizes", "lanes", "total")

    def __init__(self, handle: Any, kernel: SourceKernel):
        self.handle = handle
        self.total, self.lanes = (kernel.groups * kernel.lanes,), (kernel.lanes,)
        self.itemsizes = [ITEMSIZE[dtype] for dtype in kernel.operands]


def _words(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
