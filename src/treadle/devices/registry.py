"""The devices there are, by name, made when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from treadle import config
from treadle.compiler.executable import Executable
from treadle.devices.base import Device
from treadle.errors import DeviceError
from treadle.graph.node import Node


class ReferenceDevice(Device):
    """Every op by its NumPy reference."""

    name = "reference"
    describes = "NumPy, node by node"

    def compile_graph(
        self, outputs: Sequence[Node], donors: Sequence[int | None], lasting: Collection[int] = ()
    ) -> Executable:
        from treadle.devices.reference import ReferenceExecutable

        return ReferenceExecutable(outputs)


def _cpu() -> Device:
    from treadle.devices.cpu.device import CpuDevice

    return CpuDevice()


MAKERS: dict[str, Callable[[], Device]] = {"cpu": _cpu, "reference": ReferenceDevice}
_made: dict[str, Device] = {}


def find(name: str) -> Device:
    """The device of that name.

    Raises:
        DeviceError: there is none.
    """
    found = _made.get(name)
    if found is None:
        if name not in MAKERS:
            raise DeviceError(f"there is no device {name!r}; this build knows {', '.join(MAKERS)}")
        found = _made[name] = MAKERS[name]()
    return found


def compile_graph(
    name: str, outputs: Sequence[Node], donors: Sequence[int | None], lasting: Collection[int] = ()
) -> Executable:
    """A graph as a program of a device, as the options ask for.

    Raises:
        DeviceError: there is no such device.
    """
    program = find(name).compile_graph(outputs, donors, lasting)
    if not config.options.numerics:
        return program
    from treadle.devices.numerics import Checked

    return Checked(program)
