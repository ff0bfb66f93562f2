"""What this build of the code generator is, as a short text: names on the disk of what it made begin with it.
And which machine this is, for what was measured on it.

Another version of Treadle, of llvmlite or of Python, or a changed source file, is another build.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from treadle.devices.cpu.target import host_isas

PACKAGE = Path(__file__).resolve().parents[2]
ROOMS = ("", "graph", "ops", "compiler", "compiler/rules", "devices", "devices/cpu")
"""The folders whose files decide what is generated."""


@cache
def build() -> str:
    """Equal where the same graph gives the same program."""
    parts = [sys.version, sys.platform, os.uname().machine if hasattr(os, "uname") else ""]
    for room in ROOMS:
        with os.scandir(PACKAGE / room) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(".py"):
                    parts.append(_state(entry.path))
    llvmlite = importlib.util.find_spec("llvmlite")
    parts.append("" if llvmlite is None or llvmlite.origin is None else _state(llvmlite.origin))
    return "\n".join(parts)


def _state(path: str) -> str:
    status = os.stat(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def machine() -> dict[str, Any]:
    """What tells machines apart."""
    if hasattr(os, "uname"):
        system = os.uname()
        names = system.machine, system.sysname, system.nodename
    else:
        import platform

        names = platform.machine(), platform.system(), platform.node()
    architecture, system, host = names
    return {
        "processor": _processor() or architecture,
        "architecture": architecture,
        "system": system,
        "host": host,
        "cores": os.cpu_count(),
        "instruction sets": [isa.name for isa in host_isas()],
    }


def _processor() -> str:
    """The name of the first processor, where Linux says it."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            lines = file.read(4096).split("\n\n")[0].splitlines()
    except OSError:
        return ""
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in told:
        return ""
    return f"{told['model name']}, family {told.get('cpu family')}, model {told.get('model')}"
