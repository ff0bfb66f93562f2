"""Compiles kernels for GPUs without one: many in one source, each in a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.devices.csource import dialect
from treadle.devices.csource.kernel import Kernel, SourceKernel
from treadle.devices.cuda import nvrtc

CAPABILITIES = ((8, 0), (9, 0))
TOGETHER = 40


def available() -> bool:
    """Whether NVRTC is installed."""
    try:
        nvrtc.version()
    except Exception:
        return False
    return True


def check(kernels: Iterable[Kernel]) -> int:
    """Compile all of them for the GPUs that are asked for; how many there were.

    Raises:
        nvrtc.CompileError: one does not compile; the message names its lines in the source.
    """
    # Groups of one work item are for devices where those of a group do not run side by side.
    different = [
        kernel for kernel in dict.fromkeys(kernels) if isinstance(kernel, SourceKernel) and kernel.lanes > 1
    ]
    for first in range(0, len(different), TOGETHER):
        parts = [dialect.cuda()]
        for i, kernel in enumerate(different[first : first + TOGETHER]):
            text = kernel.text.replace(f"KERNEL({kernel.entry},", f"KERNEL({kernel.entry}_{i},")
            parts.append(f"namespace n{i} {{\n{text}}}\n")
        for capability in CAPABILITIES:
            nvrtc.cubin("".join(parts), capability)
    return len(different)
