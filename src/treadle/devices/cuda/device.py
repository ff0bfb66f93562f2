"""A CUDA GPU as a device: one context, one stream, memory in the stream's order, kernels by NVRTC.

Launches of a program that come again with the same addresses are captured in a graph and launched as one.
Machine code is kept on the disk by its source, the compute capability and the compiler's version.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from treadle.devices.accelerator.device import Accelerator, DeviceBuffer
from treadle.devices.accelerator.sources import kept_source
from treadle.devices.cpu import disk
from treadle.devices.csource import dialect
from treadle.devices.csource.kernel import Facts, Kernel, SourceKernel
from treadle.devices.cuda import nvrtc
from treadle.devices.cuda.blas import Blas, Product
from treadle.devices.cuda.dnn import Convolution, Dnn
from treadle.devices.cuda.driver import Driver
from treadle.devices.cuda.library import VendorGenerator
from treadle.errors import DeviceError, OutOfMemory

STAGED_NBYTES = 64 * 1024
"""Up to so much goes to the device by way of pinned memory, without waiting for it."""
MOST_COMPILERS = 8


class CudaDevice(Accelerator):
    """One GPU. `compile_code` turns a source into machine code for its capability; `blas` has the functions
    of cuBLASLt's bindings.
    """

    def __init__(
        self,
        name: str,
        number: int,
        driver: Any = None,
        compile_code: Callable[[str, tuple[int, int], str], bytes] = nvrtc.cubin,
        blas: Any = None,
        cudnn: Any = None,
    ):
        self.driver = Driver() if driver is None else driver
        count = self.driver.count()
        if number >= count:
            names = ", ".join([self.driver.properties(i).name for i in range(count)])
            raise DeviceError(
                f"there is no device {name!r}; this machine's NVIDIA GPUs are {names}"
                if count
                else f"there is no device {name!r}: the driver finds no GPU (see CUDA_VISIBLE_DEVICES)"
            )
        self.name = name
        self.properties = found = self.driver.properties(number)
        self.capability = found.capability
        self.describes = (
            f"{found.name}, compute capability {found.capability[0]}.{found.capability[1]}, "
            f"{found.nbytes / 2**30:.0f} GiB"
        )
        self.lock = threading.RLock()
        self.context = self.driver.open(number)
        self.driver.enter(self.context)
        self.driver.keep_memory(number)
        self.stream = self.driver.stream()
        self.generator = VendorGenerator(Facts(True, 256, found.multiprocessors, True))
        self.preamble = dialect.cuda()
        self._compile_code = compile_code
        self._kernels: dict[Any, Any] = {}
        self._staging: _Staging | None = None
        self._capturing = False
        self._given_back: list[int] = []
        """The addresses of memory that nobody refers to since a capture began."""
        self._blas, self._dnn = blas, cudnn

    # -- memory

    def reserve(self, nbytes: int) -> Any:
        self.driver.enter(self.context)
        try:
            return Memory(self, self.driver.allocate(max(nbytes, 4), self.stream))
        except OutOfMemory:
            # What is on its way back comes with the end of what runs.
            self.synchronize()
            free, total = self.driver.memory()
            try:
                return Memory(self, self.driver.allocate(max(nbytes, 4), self.stream))
            except OutOfMemory:
                raise OutOfMemory(
                    f"{self.name!r} has no {nbytes / 1e6:.1f} MB left: {free / 1e6:.0f} of "
                    f"{total / 1e6:.0f} MB are free; other processes may use the GPU"
                ) from None

    def memory(self) -> tuple[int, int]:
        self.driver.enter(self.context)
        return self.driver.memory()

    def write(self, target: DeviceBuffer, array: np.ndarray) -> None:
        with self.lock:
            self.driver.enter(self.context)
            if self._staging is None:
                self._staging = _Staging(self)
            if array.nbytes <= STAGED_NBYTES:
                source = self._staging.hold(array)
                self.driver.copy_in(self.address(target), source, array.nbytes, self.stream)
                return
            block = self._staging.block(array.nbytes)
            ctypes.memmove(block.address, array.ctypes.data, array.nbytes)
            self.driver.copy_in(self.address(target), block.address, array.nbytes, self.stream)
            self.driver.record(block.copied, self.stream)

    def read(self, source: DeviceBuffer, array: np.ndarray) -> None:
        self.driver.enter(self.context)
        self.driver.copy_out(array.ctypes.data, self.address(source), array.nbytes, self.stream)
        self.driver.synchronize(self.stream)

    def copy(self, source: DeviceBuffer, target: DeviceBuffer, nbytes: int) -> None:
        self.driver.enter(self.context)
        self.driver.copy(self.address(target), self.address(source), nbytes, self.stream)

    def fill_zeros(self, target: DeviceBuffer) -> None:
        self.driver.enter(self.context)
        self.driver.fill_zeros(self.address(target), target.nbytes, self.stream)

    # -- kernels

    def compile(self, kernels: Sequence[Kernel]) -> list[Any]:
        with self.lock:
            self.driver.enter(self.context)
            new = [
                kernel
                for kernel in dict.fromkeys(kernels)
                if isinstance(kernel, SourceKernel) and kernel not in self._kernels
            ]
            # NVRTC works without Python's lock.
            if len(new) > 1:
                with ThreadPoolExecutor(min(MOST_COMPILERS, len(new))) as pool:
                    codes = list(pool.map(self.code, new))
            else:
                codes = [self.code(kernel) for kernel in new]
            for kernel, code in zip(new, codes, strict=True):
                self._kernels[kernel] = Loaded(kernel, *self.driver.load(code, kernel.entry))
            for kernel in kernels:
                if isinstance(kernel, Product) and kernel not in self._kernels:
                    self._kernels[kernel] = self.blas.prepared(kernel)
                elif isinstance(kernel, Convolution) and kernel not in self._kernels:
                    self._kernels[kernel] = self.dnn.prepared(kernel)
            return [self._kernels[kernel] for kernel in kernels]

    @property
    def blas(self) -> Blas:
        """cuBLASLt on this device, opened when first needed."""
        if not isinstance(self._blas, Blas):
            self._blas = Blas(self, self._blas)
        return self._blas

    @property
    def dnn(self) -> Dnn:
        """cuDNN on this device, opened when first needed."""
        if not isinstance(self._dnn, Dnn):
            self._dnn = Dnn(self, self._dnn)
        return self._dnn

    def code(self, kernel: SourceKernel) -> bytes:
        """The machine code of a kernel, from the disk where it has been compiled before."""
        text, store = self.preamble + kernel.text, disk.from_environment()
        name = disk.name("cuda", repr(self.capability), repr(nvrtc.OPTIONS), repr(self._compiler()), text)
        code = store.get(name) if store is not None else None
        if code is None:
            try:
                code = self._compile_code(text, self.capability, kernel.entry)
            except nvrtc.CompileError as error:
                raise DeviceError(
                    f"a kernel does not compile for {self.name!r} ({kernel.label}); its source and the "
                    f"compiler's words are in {kept_source(text, str(error), '.cu')}"
                ) from None
            if store is not None:
                store.put(name, code)
        return code

    def _compiler(self) -> Any:
        return nvrtc.version() if self._compile_code is nvrtc.cubin else self._compile_code

    def launch(self, kernel: Any, buffers: Sequence[DeviceBuffer]) -> None:
        self.driver.enter(self.context)
        kernel.launch(self, [self.address(buffer) for buffer in buffers])

    plans = True

    def address(self, buffer: DeviceBuffer) -> int:
        return buffer.memory.address + buffer.start

    def plan(self, launches: Sequence[tuple[Any, Sequence[DeviceBuffer]]]) -> Callable[[], None]:
        """Launches as one piece of work, which can be done again and again on the same memory."""
        driver, stream = self.driver, self.stream
        driver.enter(self.context)
        self._capturing = True
        driver.begin_capture(stream)
        try:
            for kernel, buffers in launches:
                self.launch(kernel, buffers)
        finally:
            work = driver.end_capture(stream)
            self._capturing = False
            while self._given_back:
                self.give_back(self._given_back.pop())
        return _Plan(self, work)

    def give_back(self, address: int) -> None:
        """Take memory back. While a graph is captured that waits: it would become part of the graph."""
        if self._capturing:
            self._given_back.append(address)
            return
        self.driver.enter(self.context)
        self.driver.free(address, self.stream)

    def synchronize(self) -> None:
        self.driver.enter(self.context)
        self.driver.synchronize(self.stream)

    def unsupported(self, dtype: str) -> str | None:
        return None


class Memory:
    """A piece of a device's memory that goes back, in the stream's order, when nobody refers to it."""

    __slots__ = ("address", "device")

    def __init__(self, device: CudaDevice, address: int):
        self.device, self.address = device, address

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if ending():
            return
        self.device.give_back(self.address)


class Loaded:
    """A generated kernel that can be launched."""

    __slots__ = ("function", "kernel", "module")

    def __init__(self, kernel: SourceKernel, module: Any, function: Any):
        self.kernel, self.module, self.function = kernel, module, function

    def launch(self, device: CudaDevice, addresses: Sequence[int]) -> None:
        """Let it run on operands."""
        device.driver.launch(self.function, self.kernel.groups, self.kernel.lanes, addresses, device.stream)


class _Plan:
    """A captured graph."""

    def __init__(self, device: CudaDevice, work: Any):
        self.device, self.work = device, work

    def __call__(self) -> None:
        self.device.driver.enter(self.device.context)
        self.device.driver.launch_graph(self.work, self.device.stream)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending():
            self.device.driver.free_graph(self.work)


class _Block(NamedTuple):
    """Pinned memory, and the moment from which on it may be written again."""

    address: int
    copied: Any


class _Staging:
    """Pinned memory that arrays are copied through, so that nobody waits for the device: a ring for small
    arrays, and two blocks in turn of each size for others.
    """

    ROUNDS = 16

    def __init__(self, device: CudaDevice):
        self.device = device
        self.nbytes = STAGED_NBYTES * self.ROUNDS
        self.address = device.driver.pinned(self.nbytes)
        self.used = 0
        self.blocks: dict[int, list[_Block]] = {}

    def hold(self, array: np.ndarray) -> int:
        """The address of a copy of the array that stays as it is until the device has it."""
        if self.used + array.nbytes > self.nbytes:
            self.device.synchronize()
            self.used = 0
        place = self.address + self.used
        ctypes.memmove(place, array.ctypes.data, array.nbytes)
        self.used += -(-array.nbytes // 64) * 64
        return place

    def block(self, nbytes: int) -> _Block:
        """A block that the device has no more use for."""
        driver, size = self.device.driver, 1 << (nbytes - 1).bit_length()
        blocks = self.blocks.setdefault(size, [])
        if len(blocks) < 2:
            blocks.append(_Block(driver.pinned(size), driver.event()))
            return blocks[-1]
        blocks.reverse()
        driver.wait(blocks[-1].copied)
        return blocks[-1]
