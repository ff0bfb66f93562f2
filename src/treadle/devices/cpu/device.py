"""The CPU as a device."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.compiler.executable import Executable
from treadle.devices.base import Device
from treadle.devices.reference import ReferenceExecutable
from treadle.graph.node import Node


class CpuDevice(Device):
    """This machine's cores, with generated code."""

    name = "cpu"

    def compile_graph(self, outputs: Sequence[Node], donors: Sequence[int | None]) -> Executable:
        return ReferenceExecutable(outputs)
