"""What a device with memory of its own and kernels in C is to programs: the whole of what a new one brings.

Knows no particular device. What is launched runs in the order in which it was launched, and later than the
call returns; `synchronize` and whatever brings bytes to the host wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from treadle import config
from treadle.compiler.executable import Executable
from treadle.devices.base import Device
from treadle.devices.buffer import Buffer
from treadle.devices.csource.kernel import Kernel
from treadle.devices.csource.lowering import Generator
from treadle.devices.host import nbytes_of
from treadle.devices.reference import ReferenceExecutable
from treadle.graph.node import Node, Type


class DeviceBuffer(Buffer):
    """`nbytes` bytes from `start` on in a piece of a device's memory, which views of it share."""

    __slots__ = ("device", "memory", "start")

    def __init__(self, device: Accelerator, memory: Any, start: int, nbytes: int):
        super().__init__(nbytes)
        self.device = device
        self.memory = memory
        self.start = start

    def view(self, type: Type) -> np.ndarray:
        array = np.empty(type.shape, type.dtype.numpy)
        if array.nbytes:
            self.device.read(self, array)
        array.flags.writeable = False
        return array

    def part(self, offset: int, nbytes: int) -> DeviceBuffer:
        """A view of some of it."""
        return DeviceBuffer(self.device, self.memory, self.start + offset, nbytes)


class Accelerator(Device):
    """A device whose kernels are C. What follows is what each brings of its own."""

    generator: Generator
    """How calls become launches; what it knows of the device is its `facts`."""
    lock: threading.RLock
    """Held while a run is launched."""

    def reserve(self, nbytes: int) -> Any:
        """A piece of the device's memory, given back when nobody refers to it any more.

        Raises:
            OutOfMemory: there is no such piece.
        """
        raise NotImplementedError

    def write(self, target: DeviceBuffer, array: np.ndarray) -> None:
        """Copy a contiguous host array in; when this returns the array may change."""
        raise NotImplementedError

    def read(self, source: DeviceBuffer, array: np.ndarray) -> None:
        """Fill a contiguous host array from the device, when all that was launched is done."""
        raise NotImplementedError

    def copy(self, source: DeviceBuffer, target: DeviceBuffer, nbytes: int) -> None:
        """Copy on the device."""
        raise NotImplementedError

    def fill_zeros(self, target: DeviceBuffer) -> None:
        """Make bytes zero."""
        raise NotImplementedError

    def compile(self, kernels: Sequence[Kernel]) -> list[Any]:
        """Kernels ready to be launched, from the disk where they have been compiled before.

        Raises:
            DeviceError: one does not compile; its source and the compiler's words are kept in a file.
        """
        raise NotImplementedError

    def launch(self, kernel: Any, buffers: Sequence[DeviceBuffer]) -> None:
        """Let a kernel run on operands when all that was launched before is done."""
        raise NotImplementedError

    plans = False
    """Whether launches that follow each other can be made one piece of work."""

    def plan(self, launches: Sequence[tuple[Any, Sequence[DeviceBuffer]]]) -> Callable[[], None]:
        """Launches as one piece of work, to be done again and again on the same addresses."""
        raise NotImplementedError

    def address(self, buffer: DeviceBuffer) -> int:
        """Where a buffer begins in the device's memory, where `plans` holds."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until all that was launched is done."""
        raise NotImplementedError

    def unsupported(self, dtype: str) -> str | None:
        """Why the device has no such dtype; None: it has."""
        raise NotImplementedError

    # -- what they share

    def allocate(self, type: Type) -> DeviceBuffer:
        nbytes = nbytes_of(type)
        return DeviceBuffer(self, self.reserve(nbytes), 0, nbytes)

    def copy_in(self, array: np.ndarray, type: Type, copy: bool = True) -> DeviceBuffer:
        buffer = self.allocate(type)
        if buffer.nbytes:
            self.write(buffer, np.ascontiguousarray(array, type.dtype.numpy))
        return buffer

    def compile_graph(
        self, outputs: Sequence[Node], donors: Sequence[int | None], lasting: Collection[int] = ()
    ) -> Executable:
        from treadle.devices.accelerator.program import AcceleratorExecutable, OnHost

        if config.options.debug:
            return OnHost(ReferenceExecutable(outputs), self)
        return AcceleratorExecutable(outputs, donors, self)
