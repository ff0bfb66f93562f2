"""The devices there are, by name, made when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from treadle import config
from treadle.compiler.executable import Executable
from treadle.devices.base import Device
from treadle.devices.buffer import Buffer
from treadle.devices.host import HostBuffer, from_array
from treadle.devices.several import SeveralDevices, is_apart, without_idle_copies
from treadle.errors import DeviceError
from treadle.graph.node import HOSTS, Node, Type


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


class Family(NamedTuple):
    """Devices of which a machine has none, one or several: "opencl" is the first, "opencl:1" the second."""

    make: Callable[[str, int], Device]
    count: Callable[[], int]
    """How many this machine has; 0 too where the package that finds them is not installed."""


def _opencl(name: str, number: int) -> Device:
    from treadle.devices.opencl.device import OpenClDevice

    return OpenClDevice(name, number)


def _opencl_count() -> int:
    from treadle.devices.opencl.device import found

    try:
        return len(found())
    except DeviceError:
        return 0


def _cuda(name: str, number: int) -> Device:
    from treadle.devices.cuda.device import CudaDevice

    return CudaDevice(name, number)


def _cuda_count() -> int:
    from treadle.devices.cuda.driver import Driver

    try:
        return Driver().count()
    except DeviceError:
        return 0


MAKERS: dict[str, Callable[[], Device]] = {"cpu": _cpu, "reference": ReferenceDevice}
"""The devices that are always there."""
FAMILIES = {"cuda": Family(_cuda, _cuda_count), "opencl": Family(_opencl, _opencl_count)}
_made: dict[str, Device] = {}


def names() -> list[str]:
    """The devices that this machine has."""
    found = list(MAKERS)
    for family, (_, count) in FAMILIES.items():
        found += [family if i == 0 else f"{family}:{i}" for i in range(count())]
    return found


def canonical(name: str) -> str:
    """The one spelling of a device's name: the first of a family goes without its number."""
    return name[:-2] if name.endswith(":0") else name


def find(name: str) -> Device:
    """The device of that name.

    Raises:
        DeviceError: there is none.
    """
    found = _made.get(name)
    if found is None:
        found = _made[name] = _make(canonical(name))
    return found


def _make(name: str) -> Device:
    if name in MAKERS:
        return MAKERS[name]()
    if name in _made:
        return _made[name]
    family, _, number = name.partition(":")
    if family not in FAMILIES or not (number.isdecimal() or name == family):
        raise DeviceError(f"there is no device {name!r}; this build knows {', '.join([*MAKERS, *FAMILIES])}")
    made = _made[name] = FAMILIES[family].make(name, int(number or 0))
    return made


def placed(buffer: Buffer, type: Type, name: str) -> Buffer:
    """A value's memory on a device: itself if it is there."""
    here = isinstance(buffer, HostBuffer)
    if name in HOSTS:
        return buffer if here else from_array(buffer.view(type), type)
    device = find(name)
    if not here and getattr(buffer, "device", None) is device:
        return buffer
    return device.copy_in(buffer.view(type), type)


def compile_graph(
    outputs: Sequence[Node], donors: Sequence[int | None], lasting: Collection[int] = ()
) -> Executable:
    """A graph as a program of the devices that its outputs are on, as the options ask for.

    Raises:
        DeviceError: there is no such device.
    """
    outputs = without_idle_copies(outputs)
    if is_apart(outputs):
        program: Executable = SeveralDevices(outputs, find, placed)
    else:
        name = outputs[0].device if outputs else "cpu"
        program = find(name).compile_graph(outputs, donors, lasting)
    if not config.options.numerics:
        return program
    from treadle.devices.numerics import Checked

    return Checked(program)
