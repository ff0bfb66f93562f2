"""What a device is to the rest: memory for values, and a compiler of graphs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from treadle.compiler.executable import Executable
from treadle.devices.buffer import Buffer
from treadle.devices.host import allocate, available_nbytes, from_array, nbytes_of, total_nbytes
from treadle.graph.node import Node, Type


class Device:
    """A place where programs run. This base keeps its memory on the host, as the CPU and the reference device
    do.
    """

    name = ""
    describes = ""

    def allocate(self, type: Type) -> Buffer:
        """Memory for a value, contents undefined."""
        return allocate(nbytes_of(type))

    def copy_in(self, array: np.ndarray, type: Type, copy: bool = True) -> Buffer:
        """A NumPy array's values in the device's memory."""
        return from_array(array, type, copy)

    def copy_out(self, buffer: Buffer, type: Type) -> np.ndarray:
        """A value as a read-only NumPy array; of host memory a view."""
        return buffer.view(type)

    def weights_order(self, gradient: Node) -> tuple[int, ...] | None:
        """In which order of dimensions weights had better lie, of which a node is the gradient; None: any."""
        return None

    def memory(self) -> tuple[int, int]:
        """Bytes that are free for programs to come, and that there are: here of the host."""
        return available_nbytes(), total_nbytes()

    def compile_graph(
        self, outputs: Sequence[Node], donors: Sequence[int | None], lasting: Collection[int] = ()
    ) -> Executable:
        """A graph with `input` leaves as a program. `donors[i]` is the leaf whose buffer output i might be
        written into; `lasting` leaves hold the same from run to run, as a rule.
        """
        raise NotImplementedError
