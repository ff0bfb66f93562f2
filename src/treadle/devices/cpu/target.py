"""Which instructions the CPU has, as the facts that generators and passes ask for."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Isa:
    """One instruction set: its vector registers and what LLVM is told."""

    name: str
    vector_nbytes: int
    registers: int
    features: str
    """LLVM feature string added to the baseline of the architecture; empty: the host's own features."""

    def lanes(self, itemsize: int = 4) -> int:
        """How many elements of `itemsize` bytes one register holds."""
        return self.vector_nbytes // itemsize

    @property
    def attributes(self) -> str:
        """The attributes every function of this width carries."""
        bits = self.vector_nbytes * 8
        return f'nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'


ISAS = {
    "avx512": Isa(
        "avx512",
        64,
        32,
        "+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512cd,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+popcnt",
    ),
    "avx2": Isa("avx2", 32, 16, "+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+popcnt"),
    "sse": Isa("sse", 16, 16, "+sse4.2,+popcnt"),
    "neon": Isa("neon", 16, 32, "+neon"),
}


NEEDED = {
    "avx512": ("avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"),
    "avx2": ("avx2", "fma"),
    "sse": ("sse4.2",),
    "neon": ("neon",),
}
"""What a machine must have for each instruction set, by LLVM's names."""


@cache
def host_isas() -> tuple[Isa, ...]:
    """The instruction sets this machine runs, widest first."""
    features = linux_features() or llvm_features()
    return tuple(isa for name, isa in ISAS.items() if features.issuperset(NEEDED[name]))


def architecture() -> str:
    """The processor's family, as LLVM names it."""
    name = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name.lower(), name.lower())


def linux_features(path: str = "/proc/cpuinfo") -> set[str]:
    """What Linux says of an x86 processor, so that LLVM need not be loaded to ask; empty elsewhere."""
    if sys.platform != "linux" or architecture() != "x86_64":
        return set()
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return set()
    return {flag.replace("sse4_", "sse4.") for flag in flags.split()[2:]}


def llvm_features() -> set[str]:
    """What LLVM finds that the processor has."""
    import llvmlite.binding as llvm

    return {name for name, there in llvm.get_host_cpu_features().items() if there}
