"""What a measurement was made on: the processor, its cores and memory, and versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python, Treadle and packages, of those that are installed."""
    import treadle

    found = {"python": platform.python_version(), "treadle": treadle.__version__}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """The processor, its cores, the memory, and how busy others keep them."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": [round(x, 2) for x in load],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    found = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    where = f"family {found.get('cpu family')}, model {found.get('model')}"
    return f"{found.get('model name', platform.processor())} ({where})"


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
