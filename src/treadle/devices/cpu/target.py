"""Which instructions the CPU has, as the facts that generators and passes ask for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm


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


@cache
def host_isas() -> tuple[Isa, ...]:
    """The instruction sets this machine runs, widest first."""
    features = llvm.get_host_cpu_features()
    needed = {
        "avx512": ("avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"),
        "avx2": ("avx2", "fma"),
        "sse": ("sse4.2",),
        "neon": ("neon",),
    }
    return tuple(isa for name, isa in ISAS.items() if all(features.get(feature) for feature in needed[name]))
