"""The CPU as a device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from treadle import config
from treadle.compiler.executable import Executable
from treadle.devices.base import Device
from treadle.devices.reference import ReferenceExecutable
from treadle.errors import DeviceError
from treadle.graph.node import Node
from treadle.ops.channels_last import filters_last

if TYPE_CHECKING:
    from treadle.devices.cpu.target import Isa


class CpuDevice(Device):
    """This machine's cores, with generated code."""

    name = "cpu"

    def weights_order(self, gradient: Node) -> tuple[int, ...] | None:
        """Vectors hold filters, so these lie side by side. Winograd's kernels read and write all taps of a
        filter together: apart, those of 512 channels of 7 x 7 take a fifth longer. Weights of single pixels
        are matrices, and those of one channel a group vectors, as good in one order as in the other.
        """
        window, stride = gradient.attribute("size"), gradient.attribute("stride")
        dense = gradient.shape[1] != 1 or gradient.attribute("groups") == 1
        suits_winograd = window == (3, 3) and stride == (1, 1) and gradient.attribute("groups") == 1
        wants = dense and set(window) != {1} and not suits_winograd and gradient.dtype.kind == "float"
        return filters_last(gradient.ndim) if wants else None

    def compile_graph(
        self, outputs: Sequence[Node], donors: Sequence[int | None], lasting: Collection[int] = ()
    ) -> Executable:
        if config.options.debug:
            return ReferenceExecutable(outputs)
        # Not before something is compiled: LLVM takes longer to load than everything else together.
        from treadle.devices.cpu.program import CpuExecutable

        return CpuExecutable(outputs, donors, chosen_isa(), lasting)


def chosen_isa() -> Isa:
    """The instruction set to generate for: the one asked for, or the widest.

    Raises:
        DeviceError: this machine does not run the one asked for.
    """
    from treadle.devices.cpu.target import ISAS, host_isas

    available = host_isas()
    wanted = config.options.isa
    if not wanted:
        return available[0]
    if wanted not in ISAS or ISAS[wanted] not in available:
        raise DeviceError(
            f"TREADLE_ISA={wanted!r}: this machine runs {', '.join(isa.name for isa in available)}"
        )
    return ISAS[wanted]
