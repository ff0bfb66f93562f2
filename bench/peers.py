"""What is installed to be measured against, in which version, and the machine that all of it runs on."""

from __future__ import annotations

from treadle.bench import host
from treadle.bench.host import cores, machine

try:
    import torch
except ImportError:
    torch = None

__all__ = ["cores", "machine", "torch", "use_threads", "versions"]


def versions() -> dict[str, str]:
    """Of everything that is compared or part of it, where it is installed."""
    return host.versions(["numpy", "llvmlite", "torch"])


def use_threads(count: int) -> None:
    """Give everybody so many threads. NumPy's BLAS reads its setting from the environment, before."""
    import treadle as td

    td.set_num_threads(count)
    if torch is not None:
        torch.set_num_threads(count)
