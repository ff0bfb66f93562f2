"""What is installed to be measured against, in which version, and the machine that all of it runs on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

try:
    import torch
except ImportError:
    torch = None

NAMES = ("treadle", "numpy", "llvmlite", "torch")


def versions() -> dict[str, str]:
    """Of everything that is compared or part of it, where it is installed."""
    found = {"python": platform.python_version()}
    for name in NAMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            if name == "treadle":  # on the path, but not installed
                import treadle

                found[name] = treadle.__version__
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


def use_threads(count: int) -> None:
    """Give everybody so many threads. NumPy's BLAS reads its setting from the environment, before."""
    import treadle as td

    td.set_num_threads(count)
    if torch is not None:
        torch.set_num_threads(count)


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
