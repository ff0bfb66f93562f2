"""What this build of the code generator is, as a short text: names on the disk of what it made begin with it.

Another version of Treadle, of llvmlite or of Python, or a changed source file, is another build.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from pathlib import Path

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
